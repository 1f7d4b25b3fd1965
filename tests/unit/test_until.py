"""Waiting in the words of a chapter: for what, how long, and what is said when it does not come."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from halab import corosync, fencing, pacemaker, until
from halab.errors import DeadlinePassed, StudentError
from halab.lab import Lab, Sight
from halab.node import Node
from halab.settings import Settings
from halab.wait import WAITS


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WAITS:
        monkeypatch.setitem(WAITS, name, 0.6)


@pytest.fixture
def lab(settings: Settings) -> Lab:
    return Lab(settings)


def one_after_the_other(*values: object) -> Callable[..., object]:
    """A look that sees the first value, then the next; the last one stays. An exception is raised."""
    rest: Iterator[object] = iter(values)
    last = values[-1]

    def look(*_: object, **__: object) -> object:
        value = next(rest, last)
        if isinstance(value, Exception):
            raise value
        return value

    return look


def status(ready: tuple[str, ...] = (), dc: str | None = None, failures: tuple[str, ...] = ()) -> SimpleNamespace:
    return SimpleNamespace(ready=ready, dc=dc, failures=failures)


def test_members(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corosync, "joined", one_after_the_other([], [1], [1, 2]))
    assert until.members(lab[1], 2, 1) == [1, 2]


def test_members_that_do_not_come_are_named_with_those_that_are_there(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corosync, "joined", one_after_the_other([1, 2]))
    with pytest.raises(DeadlinePassed, match=r"(?s)pacemaker01 sees the members 1, 2, 3 .*seen: \[1, 2\]"):
        until.members(lab[1], 1, 2, 3)


def test_quorum_is_waited_for_until_the_votes_are_counted(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corosync, "quorate", one_after_the_other(None, False, True))
    assert until.quorate(lab[1]) is True


def test_quorum_that_does_not_come_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corosync, "quorate", one_after_the_other(False))
    with pytest.raises(DeadlinePassed, match="pacemaker01 sees quorum"):
        until.quorate(lab[1])


def test_reloaded_waits_for_a_consensus_that_fits(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corosync, "cmap", lambda node: {})
    monkeypatch.setattr(corosync, "timeouts", one_after_the_other((3650, 3600), StudentError("down"), (1650, 1980)))
    assert until.reloaded(lab[1]) == (1650, 1980)


def test_all_ready_waits_for_every_node_in_every_eye_and_a_dc(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(node.name for node in lab)
    seen = {"pacemaker01": status(names, "pacemaker02"), "pacemaker02": status(names, "pacemaker02"), "pacemaker03": status(names)}
    monkeypatch.setattr(pacemaker, "status", lambda node: seen[node.name])
    with pytest.raises(DeadlinePassed, match="all nodes are ready"):
        until.all_ready(lab)
    seen["pacemaker03"] = status(names, "pacemaker02")
    assert until.all_ready(lab) == seen


def test_idle(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacemaker, "idle", one_after_the_other(False, StudentError("no DC"), True))
    assert until.idle(lab[1])


def test_runs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lab, "where", one_after_the_other(None, "pacemaker03"))
    assert until.runs(lab, "WebSite") == "pacemaker03"


def test_held_by_another_node_than_the_one_that_died(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lab, "holder", one_after_the_other("pacemaker01", None, "pacemaker02"))
    assert until.held(lab, other_than=lab[1]) == "pacemaker02"


def test_held_by_nobody_is_not_held(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lab, "holder", one_after_the_other(None))
    with pytest.raises(DeadlinePassed, match=r"one node holds 192\.168\.100\.100, other than pacemaker01"):
        until.held(lab, other_than=lab[1])


@pytest.mark.parametrize(("wanted", "name"), [({}, "pacemaker01"), ({"by": 3}, "pacemaker03"), ({"other_than": 1}, "pacemaker02")])
def test_served(lab: Lab, wanted: dict[str, int], name: str) -> None:
    answers = iter([None, "pacemaker01", "pacemaker02", "pacemaker03"])

    class Stub:
        url = "http://192.168.100.100/"
        clock = 4.0

        def since(self, moment: float) -> str | None:
            assert moment == self.clock
            return next(answers)

    nodes: dict[str, Node] = {key: lab[number] for key, number in wanted.items()}
    assert until.served(Stub(), **nodes) == name


@pytest.mark.parametrize("times", [0, 2])
def test_failed(lab: Lab, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    monkeypatch.setattr(pacemaker, "status", one_after_the_other(status(failures=("a",)), status(failures=("a", "b")[:times])))
    assert until.failed(lab[1], times) == ("a", "b")[:times]


def test_silent_after_three_requests_without_a_page() -> None:
    probe = SimpleNamespace(samples=[SimpleNamespace(node=name) for name in ("pacemaker01", None, None, None)])
    until.silent(probe)
    probe.samples.append(SimpleNamespace(node="pacemaker02"))
    with pytest.raises(DeadlinePassed, match="no page any more"):
        until.silent(probe)


def test_twice_names_both_holders(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    once = {"pacemaker01": Sight.HELD, "pacemaker02": Sight.NOT_HELD}
    monkeypatch.setattr(lab, "holders", one_after_the_other(once, once | {"pacemaker02": Sight.HELD}))
    assert until.twice(lab) == ["pacemaker01", "pacemaker02"]


def test_fenced_waits_for_success(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def event(target: str, status: str) -> fencing.Event:
        return fencing.Event("reboot", target, "pacemaker01", "c", "pacemaker01", status, "2026-11-25 08:00:00Z")

    done = event("pacemaker02", "success")
    looks = (
        (event("pacemaker03", "success"),),
        (event("pacemaker02", "failed"),),
        StudentError("down"),
        (event("pacemaker02", "failed"), done),
    )
    monkeypatch.setattr(fencing, "history", one_after_the_other(*looks))
    assert until.fenced(lab[1], lab[2]) is done


def test_unclean(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = (SimpleNamespace(unclean=()), SimpleNamespace(unclean=("pacemaker02",)))
    monkeypatch.setattr(pacemaker, "status", one_after_the_other(*looks))
    assert until.unclean(lab[1], lab[2]) == ("pacemaker02",)
    with pytest.raises(DeadlinePassed, match="pacemaker03 is unclean"):
        until.unclean(lab[1], lab[3])
