"""The ledger of a chapter of drills: what was predicted for each fault, and what was measured.

It is kept with the instance of the lab, in the folder that is its owner's, and goes when the lab goes. Who
keeps it may write anything into it: what a check reads there is what somebody said, and no evidence.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from halab import corosync
from halab.errors import StudentError
from halab.settings import Settings

if TYPE_CHECKING:
    from halab.lab import Lab
    from halab.predict import Prediction
    from halab.probe import Probe


@dataclass(frozen=True)
class Row:
    """One fault: the gap that was predicted (an upper bound; None: no time was) and measured, for how long two nodes
    held the address, and the token + consensus in force, all in s."""

    fault: str
    said: float | None
    gap: float
    double: float
    detection: float

    @property
    def right(self) -> bool | None:
        """Was the bound kept? None: no time was predicted."""
        return None if self.said is None else self.gap <= self.said

    def __str__(self) -> str:
        bound = "no bound" if self.said is None else f"within {self.said:g} s"
        mark = {None: " ", True: "✔", False: "✘"}[self.right]
        return f"{mark} {self.fault}: predicted {bound}, the gap was {self.gap:.1f} s, two holders for {self.double:.1f} s"


class Ledger:
    """The rows of this lab, in the order in which the faults were first tried; one that is tried again is written anew."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.path = _path(lab.settings)

    @property
    def rows(self) -> list[Row]:
        return kept(self.lab.settings)

    def note(self, fault: str, guess: Prediction, probe: Probe) -> Row:
        """Write down what was predicted for this fault and what a probe saw of it. Raises StudentError where no corosync runs."""
        said = guess.said.get("seconds")
        row = Row(fault, float(said) if isinstance(said, (int, float)) else None, probe.longest, probe.double_seconds, self._detection())
        rows = {old.fault: old for old in self.rows} | {fault: row}
        self.path.write_text(json.dumps([asdict(one) for one in rows.values()]))
        return row

    def _detection(self) -> float:
        for node in self.lab:
            try:
                return sum(corosync.timeouts(corosync.cmap(node))) / 1000
            except StudentError:
                continue
        raise StudentError("corosync runs on a node", "on none", "systemctl start corosync")

    def __repr__(self) -> str:
        return "\n".join(map(str, self.rows)) or "nothing was measured yet"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{word}</th>" for word in ("fault", "predicted", "measured gap", "two holders for"))
        lines = [(row.fault, _bound(row), f"{row.gap:.1f} s", f"{row.double:.1f} s") for row in self.rows]
        body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in line) + "</tr>" for line in lines)
        return f"<table><tr>{head}</tr>{body}</table>"


def _bound(row: Row) -> str:
    return "–" if row.said is None else f"≤ {row.said:g} s {'✔' if row.right else '✘'}"


def kept(settings: Settings) -> list[Row]:
    """What was written down in this instance of the lab; nothing when it is not there, or cannot be read."""
    try:
        return [Row(**row) for row in json.loads(_path(settings).read_text())]
    except (OSError, ValueError, TypeError):
        return []


def _path(settings: Settings) -> Path:
    return settings.folder / "keys" / "drills.json"
