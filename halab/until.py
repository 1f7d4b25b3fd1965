"""Waiting in the words of a chapter: `until.members(node, 1, 2)`, `until.held(lab, other_than=home)`.

Each returns what it waited for, or raises DeadlinePassed with what was seen last. A daemon that does not
answer yet counts as "not yet".
"""

from collections.abc import Callable
from typing import TypeVar

from halab import corosync, fencing, pacemaker
from halab.errors import DeadlinePassed, StudentError
from halab.lab import Lab, Sight
from halab.node import Node
from halab.probe import Probe
from halab.wait import eventually

T = TypeVar("T")
RETRY = (StudentError,)


def members(node: Node, *ids: int) -> list[int]:
    """This node sees exactly the members of these ids."""
    what = f"{node.name} sees the members {', '.join(map(str, ids))}"
    return eventually(lambda: corosync.joined(node), lambda seen: seen == sorted(ids), within="membership", what=what)


def quorate(node: Node) -> bool | None:
    """This node's partition has quorum: a membership is told a moment before its votes are counted."""
    return eventually(lambda: corosync.quorate(node), within="membership", what=f"{node.name} sees quorum")


def reloaded(node: Node) -> tuple[int, int]:
    """A consensus longer than the token is in force: (token, consensus) in ms."""
    what = "consensus is longer than the token"
    return eventually(lambda: corosync.timeouts(corosync.cmap(node)), lambda t: t[1] > t[0], within="membership", what=what, retry=RETRY)


def all_ready(lab: Lab) -> dict[str, pacemaker.Status]:
    """Every node sees all nodes online, neither in standby nor in maintenance, and a DC: name -> what it sees."""
    names = tuple(node.name for node in lab)
    return eventually(lambda: lab.each(pacemaker.status), lambda seen: all(s.ready == names and s.dc for s in seen.values()),
                      within="election", what="all nodes are ready", retry=RETRY)  # fmt: skip


def idle(node: Node) -> bool:
    """The DC has nothing left to do, as this node sees it."""
    return eventually(lambda: pacemaker.idle(node), within="resource", what="the DC is idle", retry=RETRY)


def runs(lab: Lab, resource: str) -> str:
    """The resource runs on one node: its name. A DeadlinePassed tells what failed."""
    try:
        return _found(lambda: lab.where(resource), lambda name: name is not None, "resource", f"{resource} runs on one node")
    except DeadlinePassed as passed:
        failed = [failure for status in lab.each(pacemaker.status).values() for failure in status.failures if resource in failure]
        raise DeadlinePassed(passed.expected, "; ".join(sorted(set(failed))) or "nowhere, and no failure", "crm_mon -1rf") from None


def gone(node: Node, *names: str) -> list[str]:
    """None of these resources is configured or runs any more, as this node sees it: those that are left."""
    what = f"{', '.join(names)} gone"
    return eventually(lambda: list(pacemaker.status(node).resources), lambda left: not {*names} & {*left}, within="resource", what=what,
                      retry=RETRY)  # fmt: skip


def held(lab: Lab, *, by: Node | None = None, other_than: Node | None = None) -> str:
    """One node holds the virtual IP, seen from outside: its name."""
    return _found(lab.holder, _wanted(by, other_than), "failover", f"one node holds {lab.virtual_ip}{_words(by, other_than)}")


def served(probe: Probe, *, by: Node | None = None, other_than: Node | None = None) -> str:
    """The client outside gets a page that it asks for from now on: the name of the node that it comes from."""
    begun = probe.clock
    return _found(lambda: probe.since(begun), _wanted(by, other_than), "failover", f"a page at {probe.url}{_words(by, other_than)}")


def silent(probe: Probe) -> None:
    """The client outside gets no page any more: three times in a row."""
    eventually(lambda: [s.node for s in probe.samples[-3:]], lambda last: last == [None] * 3, within="failover", what="no page any more")


def twice(lab: Lab) -> list[str]:
    """Two nodes hold the virtual IP, seen from outside: their names."""

    def held() -> list[str]:
        return [name for name, sight in lab.holders().items() if sight is Sight.HELD]

    return eventually(held, lambda names: len(names) == 2, within="failover", what=f"two nodes hold {lab.virtual_ip}")


def failed(node: Node, times: int) -> tuple[str, ...]:
    """So many failed operations are recorded: what they were. With 0: none is left."""
    what = f"{times} failed operations are recorded"
    return eventually(lambda: pacemaker.status(node).failures, lambda f: len(f) == times, within="resource", what=what, retry=RETRY)


def fenced(node: Node, target: Node, since: float = 0) -> fencing.Event:
    """The history on this node tells that the target was fenced, since then (s, `fencing.clock`): by which event."""

    def done() -> list[fencing.Event]:
        return [e for e in fencing.history(node, since) if e.target == target.name and e.status == "success"]

    return eventually(done, within="failover", what=f"{target.name} is fenced", retry=RETRY)[0]


def unclean(node: Node, target: Node) -> tuple[str, ...]:
    """This node's cluster does not know what the target still runs, and would fence it: the names of all such nodes."""
    what = f"{target.name} is unclean"
    return eventually(lambda: pacemaker.status(node).unclean, lambda seen: target.name in seen, within="failover", what=what, retry=RETRY)


def process(node: Node, program: str) -> bool:
    """A process of that name runs on the node, seen from outside."""
    return eventually(
        lambda: node.lab.engine.runs(node.identity, program) is True, within="boot", every=0.02, what=f"{program} runs on {node.name}"
    )


def _found(look: Callable[[], str | None], wanted: Callable[[str | None], bool], within: str, what: str) -> str:
    name = eventually(look, wanted, within=within, what=what, retry=RETRY)
    assert name
    return name


def _wanted(by: Node | None, other_than: Node | None) -> Callable[[str | None], bool]:
    """Is this name one of a node, that node's, and not that other's?"""
    return lambda name: name is not None and name == (by.name if by else name) and name != (other_than.name if other_than else None)


def _words(by: Node | None, other_than: Node | None) -> str:
    return f", {by.name}" if by else f", other than {other_than.name}" if other_than else ""
