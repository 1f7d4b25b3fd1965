"""One live proof that the cluster fences: the holder of the virtual IP is cut off from the others and hangs, watched from outside.

Both sides of the cut still reach the fence device. Who has quorum must fence the other side before the address is
started elsewhere; who has none must fence nobody; and the fenced node must find its way back by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from halab import fencing, pacemaker
from halab.errors import DeadlinePassed, HalabError, LabError
from halab.faults import heal
from halab.fencing import Event
from halab.hypervisor import Hypervisor
from halab.sightings import Double, Look, Sightings, doubles
from halab.wait import eventually, seconds

if TYPE_CHECKING:
    from halab.lab import Lab
    from halab.node import Node

#: Seconds between two looks at the machines; and that each step may take.
EVERY, PATIENCE = 0.1, 45
#: When more of the looks than this could not see into the victim, nothing was proved.
BLIND = 0.5


@dataclass(frozen=True)
class Drill:
    """What was seen; times are seconds since the cut, None when it did not happen.

    `events`: what the fencers' history has since; `restarted`: when each machine that did not simply go on was first seen
    off, or as another run; `moved`: when a node other than the victim first held the address; `late`: how long after the
    victim's machine ran again its corosync did; `missing`: what was still wrong when everything had had time to come back."""

    victim: str
    events: tuple[Event, ...]
    restarted: dict[str, float]
    moved: float | None
    doubles: tuple[Double, ...]
    late: float | None
    missing: str


@dataclass
class Machines:
    """Watches the machines while its `with` block runs: libvirt gives each run of a domain a number of its own."""

    lab: Lab
    victim: Node
    zero: float
    looks: list[tuple[float, dict[str, int | None], bool]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Machines:
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(seconds(15))

    def _watch(self) -> None:
        hypervisor = Hypervisor(self.lab.hypervisor.uri)
        while not self.stop.is_set():
            with suppress(HalabError):  # libvirt was busy: the next look sees it
                at = time.monotonic() - self.zero
                numbers = {node.name: hypervisor.pid(node.name) for node in self.lab}
                self.looks.append((at, numbers, self.lab.engine.runs(self.victim.identity, "corosync") is True))
            self.stop.wait(EVERY)

    @property
    def restarted(self) -> dict[str, float]:
        return restarted(self.looks)

    @property
    def late(self) -> float | None:
        return late(self.looks, self.victim.name)


Looks = list[tuple[float, dict[str, int | None], bool]]


def restarted(looks: Looks) -> dict[str, float]:
    """name -> when its machine was first seen off, or under another number than in the first look."""
    changed = [(name, at) for at, numbers, _ in looks for name, number in numbers.items() if number != looks[0][1][name]]
    return dict(reversed(changed))


def late(looks: Looks, victim: str) -> float | None:
    """From the first look at the victim's next run to the first in which corosync runs there; None: it has not come to that."""
    first = looks[0][1][victim] if looks else None
    again = [(at, runs) for at, numbers, runs in looks if numbers[victim] not in (first, None)]
    return next((at - again[0][0] for at, runs in again if runs), None)


def moved(looks: list[Look], victim: str) -> float | None:
    """When another node than the victim first held the address."""
    return next((look.at for look in looks if set(look.holders) - {victim}), None)


def unseen(looks: list[Look], name: str, off: float | None) -> float:
    """The share of the looks before its machine was off (None: of all) that could not see whether this node held the address."""
    early = [look for look in looks if off is None or look.at < off]
    return sum(name in look.unknown for look in early) / len(early) if early else 1.0


def drill(lab: Lab) -> Drill:
    """Do it, some 20 s; longer when nobody is fenced. The lab is healed afterwards.

    Raises LabError when there is no one holder to begin with, when the eyes could not see it, or the lab cannot be healed."""
    name = eventually(lab.holder, within="resource", what=f"one node holds {lab.virtual_ip}") or ""
    victim, other = lab.node(name), next(node for node in lab if node.name != name)
    before = fencing.clock(other)
    sightings, machines = Sightings(lab), Machines(lab, victim, time.monotonic())
    with ExitStack() as at_end:
        at_end.callback(heal, lab, bans=False)
        sightings.start(machines.zero)
        at_end.callback(sightings.stop)
        at_end.enter_context(machines)
        # What it holds it can't let go of by itself: only its end helps. (Its controller and its fencer go on.)
        victim.check_output("kill -STOP $(pidof pacemaker-execd)")
        others = [node.name for node in lab if node.name != name]
        with lab.network.dropping(([name], others), (others, [name])):  # faults.partition would mend the node: here it must come back
            missing = _missing("another node holds the address", lambda: lab.holder() not in (None, name))
            missing = missing or _missing(f"{name} is fenced", lambda: any(e.target == name for e in fencing.history(other, before)))
        victim.close()
        missing = missing or _missing(f"{name} answers SSH", lambda: victim.answers) or _missing("all nodes are ready", lambda: _ready(lab))
        events = fencing.history(other, before)
    looks = sightings.looks
    if (share := unseen(looks, name, machines.restarted.get(name))) > BLIND:
        raise LabError(f"it is seen from outside what {name} holds", f"unknown in {share:.0%} of the looks", "halab status")
    return Drill(name, events, machines.restarted, moved(looks, name), tuple(doubles(looks)), machines.late, missing)


def _missing(what: str, look: Callable[[], bool]) -> str:
    """What was waited for, when it did not come."""
    try:
        eventually(look, within=PATIENCE, what=what, retry=(HalabError,))
        return ""
    except DeadlinePassed as passed:
        return passed.expected


def _ready(lab: Lab) -> bool:
    names = tuple(node.name for node in lab)
    return all(seen.ready == names and seen.dc for seen in lab.each(pacemaker.status).values())
