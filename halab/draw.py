"""Pictures: the cluster with where each resource runs, and the timeline that a client outside saw."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from halab.errors import HalabError, StudentError
from halab.lab import Sight
from halab.pacemaker import Status, status
from halab.palette import BAD, GOOD, INK, OFF, PALE, SERIES
from halab.probe import Probe
from halab.timeline import explained

if TYPE_CHECKING:
    from halab.lab import Lab
    from halab.totem import Trade


def view(lab: Lab) -> Status | None:
    """The cluster's status from a node that is in it, with a DC and quorum; else from the first that answers, None when none does."""
    answers: list[Status] = []
    for node in lab:
        with suppress(HalabError, StudentError):
            if node.state == "running":
                answers.append(status(node))
                if answers[-1].dc and answers[-1].quorum:
                    return answers[-1]
    return answers[0] if answers else None


def cluster(lab: Lab) -> Figure:
    """Nodes on their bridge: power, DC, what pacemaker runs there, who holds the virtual IP (from outside)."""
    seen, holders = view(lab), lab.holders()
    n = len(lab.nodes)
    figure, axes = plt.subplots(figsize=(2.6 * n, 2.7))
    axes.set(xlim=(0, n), ylim=(0, 3), xticks=[], yticks=[])
    axes.axis("off")
    axes.plot([0.1, n - 0.1], [0.35, 0.35], color=INK, lw=4, solid_capstyle="round")
    axes.text(n / 2, 0.05, f"{lab.settings.bridge}  {lab.settings.subnet}", ha="center", color=INK, fontsize=9)
    for i, node in enumerate(lab):
        _node(axes, i, node, seen, holders[node.name])
    figure.tight_layout()
    plt.close(figure)
    return figure


def _node(axes, i: int, node, seen: Status | None, sight: Sight) -> None:
    on = node.state == "running"
    online = bool(seen and node.name in seen.online)
    edge = OFF if not on else GOOD if online else INK
    axes.plot([i + 0.5] * 2, [0.35, 0.7], color=edge, lw=2)
    box = FancyBboxPatch((i + 0.1, 0.7), 0.8, 2.1, boxstyle="round,pad=0.02,rounding_size=0.06", fc="white" if on else PALE, ec=edge, lw=2)
    axes.add_patch(box)
    axes.text(i + 0.5, 2.6, node.name, ha="center", va="center", weight="bold", color=INK if on else OFF)
    axes.text(i + 0.5, 2.35, str(node.address), ha="center", va="center", fontsize=8, color=INK if on else OFF)
    state = "off" if not on else "online" if online else "no cluster"
    role = ", DC" if seen and seen.dc == node.name and online else ""
    axes.text(i + 0.5, 2.08, state + role, ha="center", va="center", fontsize=8, color=edge)
    runs = [r for r, where in (seen.resources if seen else {}).items() if node.name in where and online]
    labels = [(r, SERIES[0]) for r in runs]
    if sight is Sight.HELD:
        labels.append((f"holds {node.lab.virtual_ip}", SERIES[1]))
    elif sight is Sight.UNKNOWN:
        labels.append(("addresses unknown", OFF))
    for k, (text, colour) in enumerate(labels):
        axes.text(i + 0.5, 1.72 - 0.34 * k, text, ha="center", va="center", fontsize=8, color="white",
                  bbox={"boxstyle": "round,pad=0.25", "fc": colour, "ec": colour})  # fmt: skip


def timeline(probe: Probe) -> Figure:
    """One lane a node: when it answered; gaps in red; what was done as vertical lines.

    Of a probe that looked who holds the address: bars for the holders too, and, once it was explained
    (`halab.measure.explain`), the events and the terms of the gap beside what was to be expected."""
    if probe.sightings:
        return explained(probe)
    lanes = sorted({s.node for s in probe.samples if s.node})
    figure, axes = plt.subplots(figsize=(8, 1.1 + 0.45 * max(len(lanes), 1)))
    for k, name in enumerate(lanes):
        axes.plot([s.done for s in probe.samples if s.node == name], [k] * sum(s.node == name for s in probe.samples),
                  "|", color=SERIES[k % len(SERIES)], ms=14)  # fmt: skip
    for gap in probe.outages:
        axes.axvspan(gap.start, gap.end, color=BAD, alpha=0.15, lw=0)
        axes.text((gap.start + gap.end) / 2, len(lanes) / 2 - 0.5, f"{gap.seconds:.1f} s", ha="center", va="center", color=BAD, fontsize=9)
    for at, text in probe.marks:
        axes.axvline(at, color=INK, lw=1, ls="--")
        axes.annotate(text, (at, 1), xycoords=("data", "axes fraction"), xytext=(3, -2), textcoords="offset points",
                      va="top", fontsize=8, color=INK, annotation_clip=False)  # fmt: skip
    axes.set_yticks(range(len(lanes)), lanes)
    axes.set_ylim(-0.6, max(len(lanes), 1) + 0.2)
    axes.set_xlabel("seconds; a line for each page, beside the node that it came from; red: no answer from the virtual IP", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    plt.close(figure)
    return figure


def trade(points: list[Trade]) -> Figure:
    """What a longer token costs (the gap at a power cut) and buys (the pause that is forgiven), over the token as it was set."""
    figure, axes = plt.subplots(figsize=(6, 3.4))
    tokens = [p.token for p in points]
    axes.plot(tokens, [p.detection for p in points], "--", color=INK, lw=1, label="token + consensus in force")
    axes.plot(tokens, [p.gap for p in points], "o-", color=BAD, label="gap at a power cut, measured")
    for right, marker, label in ((True, "^", "pause of corosync that was forgiven"), (False, "x", "pause that was not")):
        some = [p for p in points if p.forgiven is right]
        if some:
            axes.plot([p.token for p in some], [p.pause for p in some], marker, color=SERIES[0], ms=8, label=label)
    axes.set(xlabel="token in corosync.conf, s", ylabel="s", xticks=tokens, ylim=(0, None))
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    plt.close(figure)
    return figure
