"""One live proof that the cluster fences: the holder of the virtual IP is cut off from the others, and watched from outside.

Both sides of the cut still reach the fence device. Whoever has quorum must fence the other side before the address
is started elsewhere; whoever has none must fence nobody. The fenced node must find its way back by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from halab import fencing, until
from halab.errors import DeadlinePassed, HalabError
from halab.expect import describe
from halab.faults import heal, partition
from halab.fencing import Event
from halab.hypervisor import Hypervisor
from halab.lab import Sight
from halab.sightings import Double, Sightings, doubles
from halab.wait import eventually, seconds

if TYPE_CHECKING:
    from halab.lab import Lab
    from halab.node import Node

#: Seconds between two looks.
EVERY = 0.1


@dataclass(frozen=True)
class Drill:
    """What was seen; times are seconds since the cut, None when it did not happen.

    `events`: what the history has since; `restarted`: when each machine that did not simply go on was first seen off or
    as another run; `moved`: when a node other than the victim first held the address; `late`: how long after the victim
    ran again its corosync did; `missing`: what was still wrong when everything had had time to come back by itself."""

    victim: str
    events: tuple[Event, ...]
    restarted: dict[str, float]
    moved: float | None
    doubles: list[Double]
    late: float | None
    missing: str


@dataclass
class Machines:
    """Watches the machines: libvirt gives each run of a domain a number of its own. `with Machines(…): …`"""

    lab: Lab
    victim: Node
    zero: float
    looks: list[tuple[float, dict[str, int | None]]] = field(default_factory=list)
    corosync: list[tuple[float, bool]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Machines:
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(seconds(15))

    @property
    def restarted(self) -> dict[str, float]:
        """name -> when its number was first another one than in the first look, or none."""
        first = self.looks[0][1]
        changed = [(name, at) for at, seen in self.looks for name, number in seen.items() if number != first[name]]
        return dict(reversed(changed))

    @property
    def late(self) -> float | None:
        """From the victim's first look as another run to its first with corosync; None while it has not come to that."""
        first = self.looks[0][1][self.victim.name]
        back = [at for at, seen in self.looks if seen[self.victim.name] not in (first, None)]
        runs = [at for at, yes in self.corosync if yes and back and at >= back[0]]
        return runs[0] - back[0] if runs else None

    def _watch(self) -> None:
        hypervisor = Hypervisor(self.lab.hypervisor.uri)
        while True:
            with suppress(HalabError):  # libvirt was busy, or a machine went meanwhile: the next look sees it
                at = time.monotonic() - self.zero
                self.looks.append((at, {node.name: hypervisor.pid(node.name) for node in self.lab}))
                self.corosync.append((at, self.lab.engine.runs(self.victim.identity, "corosync") is True))
            if self.stop.wait(EVERY):
                return


def drill(lab: Lab) -> Drill:
    """Do it; some 20 s, and twice that when nobody is fenced. The lab is healed afterwards.

    Raises LabError when no one holder is there to begin with, or the lab cannot be healed."""
    name = eventually(lab.holder, within="resource", what=f"one node holds {lab.virtual_ip}")
    victim = lab.node(name or "")
    other = next(node for node in lab if node is not victim)
    before = set(fencing.history(other))
    zero = time.monotonic()
    sightings = Sightings(lab)
    with ExitStack() as at_end:
        at_end.callback(heal, lab)
        sightings.start(zero)
        at_end.callback(sightings.stop)
        machines = at_end.enter_context(Machines(lab, victim, zero))
        with partition(lab, [victim]):
            _missing(lambda: until.held(lab, other_than=victim), until.fenced(other, victim, before) if False else None)
        victim.close()
    return Drill(name, (), {}, None, [], None, "")
