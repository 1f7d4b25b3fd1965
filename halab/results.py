"""What all drills measured: the table, fault by fault, and what must not be.

The data of the run that is committed are in `notebooks/measured.json`: `about` the labs (release, engine, versions,
cores, date), and `measurements` (`halab.measure.Measurement`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median, quantiles

from halab.chain import NOTEBOOKS
from halab.drill import FAULTS
from halab.measure import Measurement

DATA, PAGE = NOTEBOOKS / "measured.json", NOTEBOOKS / "measured.md"
README = NOTEBOOKS.parent / "README.md"
#: Where the README's table begins and ends.
MARKS = "<!-- measured -->", "<!-- /measured -->"
#: Seconds that a gap may be longer than its terms say: the controller sleeps for a second before it asks for a plan while
#: changes of the CIB are on their way, which the loss of a node brings about once or twice (do_pe_invoke_callback in
#: daemons/controld/controld_schedulerd.c). And what cannot be told: the client asks every 50 ms, a timer is late by some.
SLACK, RESOLUTION = 2.0, 0.2
TERMS = ("detection", "consensus", "decision", "fencing", "recovery")
#: The faults that put a second holder there by hand: no fencing forbids it.
BY_HAND = ("address-added",)


def load(path: Path = DATA) -> list[Measurement]:
    """The measurements in a file of them."""
    return [Measurement.load(told) for told in json.loads(path.read_text())["measurements"]]


def p90(values: Sequence[float]) -> float:
    """The 90th percentile, between the values that are there (`statistics.quantiles`, inclusive)."""
    return quantiles(values, n=10, method="inclusive")[-1] if len(values) > 1 else values[0]


def surplus(one: Measurement) -> float:
    """How much longer the gap was than token and consensus of the map, fencing and the start of the resources, in s."""
    return one.gap - (one.predicted or 0) - (one.terms.fencing or 0) - (one.terms.recovery or 0)


def broken(measured: Iterable[Measurement]) -> list[str]:
    """What must not be, one text each: two holders with fencing on; the p90 of a lost node's gap beyond its prediction."""
    found = []
    for (fault, fencing), group in _groups(measured).items():
        words = f"{fault} {'with' if fencing else 'without'} fencing"
        if fencing and fault not in BY_HAND and (doubled := [m for m in group if _doubled(m)]):
            found.append(f"{words}: two holders in {len(doubled)} of {len(group)} drills")
        if group[0].predicted is not None and (over := p90([surplus(m) for m in group])) > SLACK + RESOLUTION:
            found.append(f"{words}: the gap is {over:.2f} s longer than its terms (p90), more than {SLACK:g} s")
    return found


def _doubled(one: Measurement) -> bool:
    """In one look at least, however short."""
    return any(" and " in names for names in one.holders)


def table(measured: Iterable[Measurement]) -> str:
    """Markdown, a row a fault: without and with fencing the gap (median, p90), two holders and lost requests (median)."""
    groups = _groups(measured)
    head = "| fault | predicted | without fencing: page gone | two holders | lost | with fencing: page gone | two holders | lost |"
    rows = [head, "|---|---|---|---|---|---|---|---|"]
    for fault in FAULTS:
        pair = [groups.get((fault, fencing), []) for fencing in (False, True)]
        if any(pair):
            some = (pair[0] or pair[1])[0]
            cells = [FAULTS[fault].about, f"{some.predicted:.1f} s" if some.predicted else "", *_cells(pair[0]), *_cells(pair[1])]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _cells(group: list[Measurement]) -> tuple[str, str, str]:
    if not group:
        return ("", "", "")
    gaps = [m.gap for m in group]
    doubled = [m.double for m in group if m.double]
    held = f"{median(doubled):.1f} s, {len(doubled)} of {len(group)}" if doubled else "never"
    if sum(m.doubled_to_the_end for m in group) * 2 > len(group):
        held = f"until repaired, {len(doubled)} of {len(group)}"
    gap = f"{median(gaps):.1f} s ({p90(gaps):.1f})" if max(gaps) else "never"
    return gap, held, f"{median(m.lost for m in group):.0f}"


def _groups(measured: Iterable[Measurement]) -> dict[tuple[str, bool], list[Measurement]]:
    found: dict[tuple[str, bool], list[Measurement]] = {}
    for one in measured:
        found.setdefault((one.fault, one.fencing), []).append(one)
    return found


def parts(measured: Iterable[Measurement]) -> str:
    """Markdown, what the gap of a lost node is made of (medians), and by how much it was longer than that (p90)."""
    rows = [
        "| fault | fencing | detection | consensus | decision | fencing takes | recovery | beyond (p90) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (fault, fencing), group in sorted(_groups(measured).items(), key=lambda one: (list(FAULTS).index(one[0][0]), one[0][1])):
        if group[0].predicted is not None:
            lengths = [[getattr(m.terms, name) for m in group if getattr(m.terms, name) is not None] for name in TERMS]
            cells = [f"{median(values):.1f} s" if values else "" for values in lengths]
            beyond = f"{p90([surplus(m) for m in group]):+.1f} s"
            rows.append(f"| {' | '.join([FAULTS[fault].about, 'on' if fencing else 'off', *cells, beyond])} |")
    return "\n".join(rows)


def page(measured: Sequence[Measurement], about: dict) -> str:
    """The page of the book: the tables, and how to read them."""
    looks, unknown = sum(m.looks for m in measured), sum(m.unknown for m in measured)
    versions = ", ".join(f"{name} {about['versions'][name]}" for name in ("corosync", "pacemaker"))
    return f"""# What was measured

{about["date"]}, engine {about["engine"]}, {about["release"]}, {versions}, on a machine of {about["cores"]} cores: {len(measured)} drills,
each fault on the node that serves, by `make drills`. A client outside asks for the page twenty times a second, and ten times a
second it is looked, from outside the nodes, who holds the address ({looks} looks, never more than
{max(m.pause for m in measured):.1f} s apart; {unknown} times a node could not be seen). Every drill ended with a healthy cluster,
verified. The data are in `notebooks/measured.json`.

{table(measured)}

*Page gone*: median, and the 90th percentile in brackets. *Two holders*: for how long (median of the drills in which it
happened), and in how many drills. *Lost*: requests without a good answer (median). *Predicted*: token and consensus of
the configuration map; it says when a new membership is there.

## What a gap is made of

{parts(measured)}

*Detection* ends with the lost token, *consensus* with the new membership, *decision* with pacemaker's plan: its controller sleeps
for a second, once or twice, while changes of the CIB are on their way. *Fencing* ends with the word that the node is off, *recovery*
with the page. *Beyond*: the gap less token and consensus of the map, less the fencing and the recovery that were measured; it must
not be more than {SLACK:g} s. It is negative where the old node goes on serving until another one takes over, or is fenced.
"""


def write(measured: Sequence[Measurement], about: dict) -> None:
    """Keep the data, the page and the README's table."""
    lines = ",\n".join(json.dumps(m.json) for m in measured)
    DATA.write_text(f'{{"about": {json.dumps(about)},\n"measurements": [\n{lines}\n]}}\n')
    PAGE.write_text(page(measured, about))
    begin, end = MARKS
    readme = README.read_text()
    README.write_text(re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{table(measured)}\n{end}", readme, flags=re.S))
