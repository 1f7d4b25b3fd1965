"""What a drill measured, as data: the gap, what it is made of, and who held the address."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from halab import corosync
from halab.errors import HalabError, StudentError
from halab.journal import Event, events
from halab.probe import Outage, Probe

if TYPE_CHECKING:
    from halab.lab import Lab
    from halab.node import Node


#: The resources that the page needs, as the chapters name them.
SERVICE = ("ClusterIP", "WebSite")


@dataclass(frozen=True)
class Terms:
    """What the time from a fault to the page is made of, in s, in this order, and `start`; None: it did not happen.

    detection: to the lost token (corosync) or, without one, to the transition (pacemaker); consensus: to the new
    membership; decision: to the transition, pacemaker's plan; fencing: to the confirmed end of the node;
    recovery: stops and starts, to the page. start: within the recovery, from the first start of a resource of
    the page to the end of the last one."""

    detection: float | None = None
    consensus: float | None = None
    decision: float | None = None
    fencing: float | None = None
    recovery: float | None = None
    start: float | None = None

    @property
    def parts(self) -> dict[str, float]:
        """Those that add up to the time from the fault to the page, in order, by name; without those that did not happen."""
        return {name: length for name, length in asdict(self).items() if length is not None and name != "start"}

    @property
    def rounded(self) -> Terms:
        """To the ms, as they are kept."""
        return Terms(**{name: length if length is None else round(length, 3) for name, length in asdict(self).items()})


@dataclass(frozen=True)
class Measurement:
    """One drill: times in s, `predicted` is token + consensus of the configuration map (None: nothing has to be noticed
    by corosync). `double` seconds of two holders, and `doubled_to_the_end`: until the fault was undone by hand; `looks` at
    all nodes, at most `pause` s apart, in which a node could not be seen `unknown` times; who held it, in order."""

    fault: str
    fencing: bool
    gap: float
    lost: int
    wrong: int
    double: float
    doubled_to_the_end: bool
    looks: int
    pause: float
    unknown: int
    victim: str
    holders: tuple[str, ...]
    predicted: float | None
    terms: Terms

    @property
    def json(self) -> dict:
        return asdict(self)

    @classmethod
    def load(cls, told: dict) -> Measurement:
        """From `json`. Raises TypeError when it is no such object."""
        known = {f.name for f in fields(cls)}
        if set(told) != known:
            raise TypeError(f"a measurement has {', '.join(sorted(known))}")
        return cls(**{**told, "holders": tuple(told["holders"]), "terms": Terms(**told["terms"])})


def gap(outages: Iterable[Outage], begin: float, end: float) -> float:
    """The longest outage of which a part is between these two times; 0 when there is none."""
    return max((o.seconds for o in outages if o.end > begin and o.start <= end), default=0.0)


def page(probe: Probe, fault: float, victim: str, *, elsewhere: bool) -> float | None:
    """When the page was back: the first one of another node; with `elsewhere` false, the end of the longest outage."""
    if elsewhere:
        return next((s.done for s in probe.samples if s.node and s.sent > fault and s.node != victim), None)
    after = [o for o in probe.outages if o.end > fault]
    return max(after, key=lambda o: o.seconds).end if after else None


def terms(told: Iterable[Event], fault: float, page: float | None, victim: str) -> Terms:
    """The terms, by what the survivors (all nodes but `victim`) tell; times on one clock, `page` when it was back.

    What was told after the page is no part of them (an agent tells of its start when the page is there already)."""
    later = sorted(e for e in told if e.at >= fault)
    start = _start(later, page)
    seen = [e for e in later if page is None or e.at <= page]
    others = [e for e in seen if e.node != victim]
    lost = _first(others, "token lost", fault)
    if lost is None:
        begun = _first(seen, "transition", fault)
        return Terms() if page is None else Terms(_between(fault, begun), recovery=_between(begun, page), start=start)
    member = _first(others, "membership", lost)
    begun = _first(others, "transition", member)
    fenced = _first(others, "fenced", begun, victim)
    return Terms(_between(fault, lost), _between(lost, member), _between(member, begun), _between(begun, fenced),
                 _between(fenced or begun, page), start)  # fmt: skip


def _first(events: list[Event], kind: str, since: float | None, about: str = "") -> float | None:
    return None if since is None else next((e.at for e in events if e.kind == kind and e.at >= since and about in e.about), None)


def _start(events: list[Event], page: float | None) -> float | None:
    begun = {e.about: e.at for e in reversed(events)
             if e.kind == "starting" and e.about in SERVICE and page is not None and e.at <= page}  # fmt: skip
    done = [next((e.at for e in events if e.kind == "started" and e.about == name and e.at >= at), None) for name, at in begun.items()]
    ended = [at for at in done if at is not None]
    return max(ended) - min(begun.values()) if ended else None


def _between(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else end - begin


def explain(probe: Probe, victim: Node, *, elsewhere: bool = True) -> Terms:
    """What the time from the probe's first mark to the page is made of, by the journals of all nodes that answer.

    The probe keeps it, with token + consensus from the configuration map, for `draw.timeline`."""
    begin = probe.marks[0][0] if probe.marks else 0.0
    probe.victim = victim.name
    probe.events = events(victim.lab, probe.zero, begin)
    probe.terms = terms(probe.events, begin, page(probe, begin, victim.name, elsewhere=elsewhere), victim.name)
    probe.predicted = predicted(victim.lab)
    return probe.terms


def predicted(lab: Lab) -> tuple[float, float]:
    """(token, consensus) in s, as they are in force on the first node that tells (corosync.conf(5)). Raises StudentError."""
    for node in lab:
        with suppress(HalabError):
            token, consensus = corosync.timeouts(corosync.cmap(node))
            return token / 1000, consensus / 1000
    raise StudentError("a node where corosync runs", "none", "systemctl status corosync")
