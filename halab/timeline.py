"""The picture of a drill: who held the address and whose page came, what the nodes told, and what the gap is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from halab.lab import Sight
from halab.palette import BAD, INK, OFF, PALE, SERIES
from halab.probe import Probe
from halab.sightings import Look

#: The terms of a gap and their colours, in order.
TERMS = {"detection": SERIES[2], "consensus": SERIES[3], "decision": OFF, "fencing": SERIES[5], "recovery": SERIES[4]}
#: What is told of the events: the first of each by a short name.
TOLD = {"token lost": "token lost", "membership": "new membership", "quorum lost": "quorum lost", "transition": "transition",
        "fenced": "fenced", "starting": "start", "started": "started"}  # fmt: skip
#: Names of events stand on so many levels, so that none covers another; so many characters fill a line.
LEVELS, CHARACTERS = 6, 100


def explained(probe: Probe) -> Figure:
    """Lanes of a probe that looked who holds the address; explained ones show terms and events too (`measure.explain`)."""
    looks = probe.looks
    names = sorted(looks[-1].seen) if looks else []
    rows = len(names) + (2 if probe.terms else 0)
    figure, axes = plt.subplots(figsize=(9, 1.8 + 0.45 * rows))
    for lane, name in enumerate(reversed(names)):
        _holding(axes, lane, looks, name)
        axes.plot([s.done for s in probe.samples if s.node == name], [lane] * sum(s.node == name for s in probe.samples),
                  "|", color="white", ms=7, mew=0.8)  # fmt: skip
    for outage in probe.outages:
        axes.axvspan(outage.start, outage.end, color=BAD, alpha=0.12, lw=0)
    lanes = [*reversed(names)]
    if probe.terms:
        lanes += ["predicted", "measured"]
        _terms(axes, len(names), probe)
        _colours(axes, probe.terms.parts)
    _events(axes, rows, probe)
    axes.set_yticks(range(rows), lanes)
    axes.set_ylim(-0.6, rows + 1.7)
    axes.set_xlim(0, _end(probe))
    axes.set_xlabel(_legend(probe), fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    plt.close(figure)
    return figure


def _end(probe: Probe) -> float:
    return probe.samples[-1].done if probe.samples else 1.0


def _legend(probe: Probe) -> str:
    gap = f"no page for {probe.longest:.1f} s" if probe.longest else "the page was never gone"
    double = f"; two holders for {probe.double_seconds:.1f} s (dark red)" if probe.doubles else ""
    return f"seconds\nbars: holds the address, with a line for each page; light red: {gap}{double}"


def _holding(axes, lane: int, looks: list[Look], name: str) -> None:
    """A bar while the node held the address, dark red while another one did too, hatched while it could not be seen."""
    for begin, end, sight, double in _stretches(looks, name):
        if sight is Sight.HELD:
            axes.barh(lane, end - begin, left=begin, height=0.5, color=BAD if double else SERIES[0], lw=0)
        elif sight is Sight.UNKNOWN:
            axes.barh(lane, end - begin, left=begin, height=0.5, color=PALE, edgecolor=OFF, hatch="///", lw=0)


def _stretches(looks: list[Look], name: str) -> Iterator[tuple[float, float, Sight, bool]]:
    """(begin, end, sight, is it one of several holders) while these stay the same."""
    begin = looks[0].at if looks else 0.0
    for look, after in pairwise([*looks, *looks[-1:]]):
        now, then = ((one.seen[name], len(one.holders) > 1) for one in (look, after))
        if now != then or after is look:
            yield begin, after.at, *now
            begin = after.at


def _terms(axes, lane: int, probe: Probe) -> None:
    """The measured terms as bars one after another, and token and consensus of the configuration map below them."""
    begin = probe.marks[0][0] if probe.marks else 0.0
    at = begin
    for name, length in probe.terms.parts.items() if probe.terms else ():
        _bar(axes, lane + 1, at, length, TERMS[name], name, _end(probe))
        at += length
    at = begin
    for name, length, colour in zip(("token", "consensus"), probe.predicted, TERMS.values(), strict=False):
        _bar(axes, lane, at, length, colour, name, _end(probe))
        at += length


def _colours(axes, terms: Iterable[str]) -> None:
    """Which colour is which term: a short one has no room for its name."""
    patches = [Patch(color=TERMS[name], label=name) for name in terms]
    axes.legend(handles=patches, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(TERMS), frameon=False, fontsize=7.5)


def _bar(axes, lane: int, at: float, length: float, colour: str, name: str, whole: float) -> None:
    axes.barh(lane, length, left=at, height=0.55, color=colour, lw=0)
    words = [name] * (length * 1.3 * CHARACTERS > len(name) * whole) + [f"{length:.1f}"] * (length * CHARACTERS > 3 * whole)
    axes.text(at + length / 2, lane, "\n".join(words), ha="center", va="center", fontsize=6.5, color="white")


def _events(axes, top: int, probe: Probe) -> None:
    """Marks, and the first event of each kind, as lines with their names above."""
    first: dict[str, float] = {}
    for event in probe.events:
        if event.node != probe.victim or event.kind == "quorum lost":  # what the others know; the terms are made of that
            first.setdefault(event.kind, event.at)
    lines = [(at, text, INK, "--") for at, text in probe.marks] + [(first[k], text, OFF, ":") for k, text in TOLD.items() if k in first]
    ends = [0.0] * LEVELS  # where the last name on each level ends
    for at, text, colour, style in sorted(lines):
        level = next((k for k, end in enumerate(ends) if end <= at), ends.index(min(ends)))
        ends[level] = at + len(text) * _end(probe) / CHARACTERS
        axes.axvline(at, color=colour, lw=1, ls=style, zorder=0.5)
        axes.text(at, top + 1.6 - 0.32 * level, f" {text}", ha="left", va="top", fontsize=7.5, color=colour)
