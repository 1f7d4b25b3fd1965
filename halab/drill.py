"""A drill: one fault on the node that serves, measured, explained and healed.

drill = run(lab, "power-cut")
drill.measurement.gap, drill.measurement.terms
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from threading import Event as Timer
from typing import Literal

from halab import faults, fencing, measure, pacemaker, until
from halab.errors import DeadlinePassed, UsageError
from halab.heal import heal, speaker
from halab.lab import Lab
from halab.measure import Measurement
from halab.node import Node
from halab.probe import Probe
from halab.repair import PACEMAKER
from halab.sightings import pause
from halab.wait import eventually, seconds

#: Seconds that a fault goes on after the page is back, so that what comes later is seen too.
HOLD = 5.0


@dataclass(frozen=True)
class Fault:
    """What breaks, in a sentence; how; where the page is expected after it (`another` node, the `same`, or `on`: it
    is never gone); whether corosync must find out by its timers that the node is lost."""

    about: str
    inject: Callable[[Lab, Node], AbstractContextManager]
    page: Literal["another", "same", "on"] = "another"
    loss: bool = False


@contextmanager
def _then_restarted(fault: AbstractContextManager, node: Node, unit: str) -> Iterator[None]:
    with fault:
        node.run("systemctl restart %s", unit, timeout=120)
        yield


def _killed(daemon: str, about: str, page: Literal["another", "same", "on"] = "on", loss: bool = False) -> Fault:
    return Fault(about, lambda lab, node: faults.killed(node, daemon), page, loss)


#: name -> fault, in the order of the table.
FAULTS: dict[str, Fault] = {
    "move": Fault("the web server is moved away (crm resource move)", lambda lab, node: faults.moved(node)),
    "standby": Fault("the node is put in standby", lambda lab, node: faults.standby(node)),
    "stopped": Fault("pacemaker and corosync are stopped in order", lambda lab, node: faults.stopped(node)),
    "maintenance": Fault("the cluster is in maintenance mode", lambda lab, node: faults.maintenance(lab), "on"),
    "apache2-killed": _killed("apache2", "the web server is killed", "same"),
    "address-removed": Fault("the address is deleted by hand", lambda lab, node: faults.address_removed(node), "same"),
    "address-added": Fault("a second node is given the address by hand", lambda lab, node: faults.address_added(_other(lab, node)), "on"),
    "power-cut": Fault("the power fails", lambda lab, node: faults.power_cut(node), loss=True),
    "paused": Fault("the whole node hangs, and goes on later", lambda lab, node: faults.paused(node), loss=True),
    "corosync-killed": _killed("corosync", "corosync is killed", "another", loss=True),
    "corosync-paused": Fault("corosync hangs, and goes on later", lambda lab, node: faults.paused(node, "corosync"), loss=True),
    "partition": Fault("the node is cut off from the others", lambda lab, node: faults.partition(lab, [node]), loss=True),
    "partition-in": Fault("the node hears nothing of the others", lambda lab, node: faults.partition(lab, [node], "in"), loss=True),
    "partition-out": Fault("nobody hears the node", lambda lab, node: faults.partition(lab, [node], "out"), loss=True),
    "cable-pulled": Fault("the node's cable is pulled", lambda lab, node: faults.cable_pulled(node), loss=True),
    **{f"{daemon}-killed": _killed(daemon, f"{daemon} is killed") for daemon in PACEMAKER},
    "disk-full": Fault("nothing can be written to the node's disk", lambda lab, node: faults.disk_full(node), "on"),
    "conf-damaged": Fault(
        "corosync is restarted with a damaged corosync.conf",
        lambda lab, node: _then_restarted(faults.conf_damaged(node), node, "corosync"),
    ),
    "cib-damaged": Fault(
        "pacemaker is restarted with a damaged CIB", lambda lab, node: _then_restarted(faults.cib_damaged(node), node, "pacemaker")
    ),
    "disturbed": Fault("5 % loss and 100 ms delay", lambda lab, node: faults.disturbed(node, loss=5, delay=100), "on"),
}


@dataclass(frozen=True)
class Drill:
    """A measurement, and what it was made from: a probe with its events, for `draw.timeline`."""

    measurement: Measurement
    probe: Probe

    def __repr__(self) -> str:
        m = self.measurement
        return f"<drill {m.fault} {'with' if m.fencing else 'without'} fencing: page gone {m.gap:.1f} s, two holders {m.double:.1f} s>"

    @property
    def text(self) -> str:
        """What a person wants to know, a line each."""
        m = self.measurement
        told = ", ".join(f"{name} {length:.1f} s" for name, length in m.terms.parts.items())
        lines = [
            f"{m.fault} on {m.victim}, {'with' if m.fencing else 'without'} fencing: {FAULTS[m.fault].about}",
            f"the page was gone for {m.gap:.1f} s; {m.lost} requests lost" if m.gap else "the page was never gone",
            f"held by {', then '.join(m.holders)}" + (f"; two holders for {m.double:.1f} s" if m.double else "; never by two"),
            f"from the fault to the page: {told}" if told else "",
            f"predicted: a new membership after {m.predicted:.1f} s (token and consensus)" if m.predicted else "",
            "the cluster is healthy again",
        ]
        return "\n".join(filter(None, lines))


def find(name: str) -> Fault:
    """The fault of that name. Raises UsageError."""
    if name not in FAULTS:
        raise UsageError(f"{name} is a fault", fix="the faults are " + ", ".join(FAULTS))
    return FAULTS[name]


def run(lab: Lab, name: str, *, hold: float = HOLD) -> Drill:
    """Inject one fault on the holder of the address, measure until it is undone and the cluster healed, explain.

    Raises UsageError for a fault that does not exist, LabError when the cluster cannot be healed."""
    fault = find(name)
    victim = lab.node(until.held(lab))
    on = fenced(lab)
    try:
        with Probe(lab, holders=True) as probe:
            until.served(probe, by=victim)
            begin = probe.mark(name)
            with fault.inject(lab, victim):
                _watch(probe, fault, victim, begin, hold)
                end = probe.mark("undone")
            heal(lab)
    except BaseException:
        heal(lab)
        raise
    terms = measure.explain(probe, victim, elsewhere=fault.page == "another")
    return Drill(
        Measurement(
            fault=name,
            fencing=on,
            gap=round(measure.gap(probe.outages, begin, end), 3),
            lost=sum(s.node is None and begin <= s.sent <= end for s in probe.samples),
            wrong=sum(begin <= s.sent <= end for s in probe.wrong),
            double=round(probe.double_seconds, 3),
            doubled_to_the_end=any(d.start <= end <= d.end for d in probe.doubles),
            looks=len(probe.looks),
            pause=round(pause(probe.looks), 3),
            unknown=sum(probe.blind.values()),
            victim=victim.name,
            holders=tuple(probe.sightings.holders) if probe.sightings else (),
            predicted=sum(probe.predicted) if fault.loss else None,
            terms=terms.rounded,
        ),
        probe,
    )


def _watch(probe: Probe, fault: Fault, victim: Node, begin: float, hold: float) -> None:
    """Wait until the page is back, and for `hold` seconds more. It may not come back: then that was measured."""
    with suppress(DeadlinePassed):
        if fault.page == "another":
            until.served(probe, other_than=victim)
        elif fault.page == "same":
            eventually(lambda: probe.now and any(o.start > begin - 1 for o in probe.outages), within="failover")
    Timer().wait(seconds(hold if fault.page != "on" else 2 * hold))


def _other(lab: Lab, node: Node) -> Node:
    return next(other for other in lab if other.name != node.name)


def fenced(lab: Lab) -> bool:
    """Is fencing on? Raises StudentError when no node sees quorum."""
    return fencing.enabled(pacemaker.cib(speaker(lab)))
