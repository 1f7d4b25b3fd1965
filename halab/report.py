"""The one report: verdicts of checks as JSON, and what is rendered from it.

Schema 1: {"schema": 1, "lab": {name, engine, release, image_digest, instance, start}, "chapters":
[{"name", "checks": [{"id", "title", "verdict", "points", "max_points", "message"}]}]}. It is written
after each verdict, whole or not at all, so that a crash of the checker loses nothing.
"""

import json
import os
import tempfile
from collections.abc import Iterable
from html import escape
from pathlib import Path

from pydantic import BaseModel, Field

from halab.errors import LabError

SCHEMA = 1
VERDICTS = ("passed", "failed", "skipped", "error", "warning")
SIGNS = {"passed": "✔", "failed": "✘", "skipped": "–", "error": "!", "warning": "△"}
COLOURS = {"passed": "#2e7d32", "failed": "#c62828", "skipped": "#757575", "error": "#6a1b9a", "warning": "#ef6c00"}


class Check(BaseModel):
    """One verdict. `points` is what was earned of `max_points`."""

    id: str
    title: str
    verdict: str = Field(pattern="^(" + "|".join(VERDICTS) + ")$")
    points: float = Field(0, ge=0)
    max_points: float = Field(0, ge=0)
    message: str = ""


class Chapter(BaseModel):
    name: str
    checks: list[Check] = []

    @property
    def points(self) -> float:
        return sum(c.points for c in self.checks)

    @property
    def max_points(self) -> float:
        return sum(c.max_points for c in self.checks)

    @property
    def exit_code(self) -> int:
        """0 all passed; 1 the student's work falls short; 3 the lab failed, or nothing was checked."""
        found = {c.verdict for c in self.checks}
        if "error" in found or not found:
            return 3
        return 1 if found & {"failed", "skipped"} else 0

    def __str__(self) -> str:
        """The table as text, free of times."""
        width = max((len(c.title) for c in self.checks), default=0)
        lines = [f"{self.name}: {self.points:g} of {self.max_points:g} points"]
        for c in self.checks:
            lines.append(f"  {SIGNS[c.verdict]} {c.title:<{width}}  {c.verdict:<7}  {c.points:g}/{c.max_points:g}")
            if c.verdict != "passed" and c.message:
                lines += [f"      {line}" for line in c.message.splitlines()]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(map(_row, self.checks))
        return (
            f"<table><caption>{escape(self.name)}: <b>{self.points:g} of {self.max_points:g} points</b></caption>"
            f"<tr><th>check</th><th>verdict</th><th>points</th></tr>{rows}</table>"
        )


class Report(BaseModel):
    """The verdicts of a run, by chapter."""

    schema_version: int = Field(alias="schema", ge=SCHEMA, le=SCHEMA)
    lab: dict
    chapters: list[Chapter] = []

    def chapter(self, name: str) -> Chapter:
        """The chapter of that name, made when it is not there."""
        for chapter in self.chapters:
            if chapter.name == name:
                return chapter
        self.chapters.append(Chapter(name=name))
        return self.chapters[-1]

    @property
    def exit_code(self) -> int:
        return max((c.exit_code for c in self.chapters), default=3)

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""
        data = self.model_dump(by_alias=True)
        for chapter, out in zip(self.chapters, data["chapters"], strict=True):
            out |= {"points": chapter.points, "max_points": chapter.max_points}
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}")
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump(data, file, indent=1)
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise

    @classmethod
    def load(cls, path: Path) -> "Report":
        """Raises LabError when it is no report."""
        try:
            return cls.model_validate_json(path.read_text())
        except (OSError, ValueError) as error:
            raise LabError(f"{path} is a report", str(error).splitlines()[0], "halab check") from None

    def __str__(self) -> str:
        return "\n".join(map(str, self.chapters))


def lab_facts(about: dict) -> dict:
    """The report's `lab` from what the lab host recorded about itself."""
    settings = about["settings"]
    picked = {key: settings[key] for key in ("name", "engine", "release")}
    return picked | {key: about[key] for key in ("image_digest", "instance", "start")}


def summary(chapters: Iterable[Chapter]) -> list[tuple[str, str, str]]:
    """(chapter, points, verdict) rows for a table."""
    words = {0: "passed", 1: "falls short", 3: "lab error"}
    return [(c.name, f"{c.points:g}/{c.max_points:g}", words[c.exit_code]) for c in chapters]


def _row(c: Check) -> str:
    message = f"<pre style='margin:2px;text-align:left'>{escape(c.message)}</pre>" if c.verdict != "passed" and c.message else ""
    return (
        f"<tr><td style='text-align:left'>{escape(c.title)}{message}</td>"
        f"<td style='color:{COLOURS[c.verdict]}'>{SIGNS[c.verdict]} {c.verdict}</td><td>{c.points:g}/{c.max_points:g}</td></tr>"
    )
