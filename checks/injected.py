"""Faults that checks inject themselves, each once a run of the checks, measured and healed.

They begin on a healthy cluster (what a check needs passed), wait as long as a cluster takes and no shorter, and
leave it healthy. The configuration is the student's, and stays as it is: `halab.faults.heal` would tidy it. That a
cluster does not get well again is an error of the lab, and no finding.
"""

from contextlib import suppress
from dataclasses import dataclass

from halab import faults, measure, pacemaker, until
from halab.errors import DeadlinePassed, StudentError, the_labs
from halab.lab import Lab
from halab.probe import Probe, ask
from halab.sightings import Double
from halab.wait import eventually, unhurried

#: Seconds after which a page that is not back counts as gone for good.
PATIENCE = 40.0


@dataclass(frozen=True)
class Injected:
    """What a fault on the node that served did, times in s: `gap` without a page, `detection` (token + consensus) and
    `start` of the resources; `servers` in turn; who held the address in the end; what failed."""

    victim: str
    gap: float
    detection: float
    start: float
    doubles: tuple[Double, ...]
    servers: tuple[str, ...]
    home: str
    failures: tuple[str, ...]


def power_cut(lab: Lab) -> Injected:
    """The power of the node that serves fails until another one serves, and comes back."""
    with unhurried():
        victim = lab.node(until.held(lab))
        try:
            with Probe(lab, holders=True) as probe:
                until.served(probe, by=victim)
                probe.mark("power cut")
                with faults.power_cut(victim), suppress(DeadlinePassed):
                    eventually(lambda: probe.now not in (None, victim.name), within=PATIENCE)
                until.all_ready(lab)
                until.idle(lab.nodes[0])
            return _told(lab, probe, victim.name, (measure.explain(probe, victim).start or 0.0))
        finally:
            _restored(lab)


def apache_killed(lab: Lab) -> Injected:
    """Apache is killed on the node that serves, until there is a page again."""
    with unhurried():
        victim = lab.node(until.held(lab))
        try:
            with Probe(lab, holders=True) as probe:
                until.served(probe, by=victim)
                probe.mark("apache killed")
                with faults.killed(victim, "apache2"), suppress(DeadlinePassed):
                    until.silent(probe)
                    eventually(lambda: probe.now, within=PATIENCE)
                until.idle(lab.nodes[0])
            return _told(lab, probe, victim.name, (measure.explain(probe, victim, elsewhere=False).start or 0.0))
        finally:
            _restored(lab)


@the_labs()
def _restored(lab: Lab) -> None:
    """What the fault left in the history is cleaned up, and what it stopped without anybody's notice runs again."""
    node = lab.nodes[0]

    def well() -> bool:
        return not pacemaker.status(node).failures and pacemaker.idle(node) and ask(f"http://{lab.virtual_ip}/") is not None

    until.all_ready(lab)
    node.check_output("crm_resource --cleanup")
    with suppress(DeadlinePassed):
        eventually(well, within=20, retry=(StudentError,))
        return
    node.check_output("crm_resource --refresh")
    eventually(well, within="resource", what="the service is back after the drill", retry=(StudentError,))


def _told(lab: Lab, probe: Probe, victim: str, start: float) -> Injected:
    failures = pacemaker.status(lab.nodes[0]).failures
    return Injected(victim, probe.longest, sum(probe.predicted), start, tuple(probe.doubles), tuple(probe.servers),
                    lab.where("ClusterIP") or "", failures)  # fmt: skip
