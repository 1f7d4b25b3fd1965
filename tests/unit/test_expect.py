from typing import Any

import pytest

from halab.errors import LabError, StudentError, Unreachable
from halab.expect import Mismatch, become, describe, holders, on_every_node, remain, require
from halab.lab import Lab, Sight
from halab.node import Node
from halab.settings import Settings


def test_a_finding_says_expected_observed_and_the_command() -> None:
    assert str(Mismatch("three", "two", "crm_mon -1")) == "expected: three\nobserved: two\nshown by: crm_mon -1"
    assert str(Mismatch("three", "two")) == "expected: three\nobserved: two"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"pacemaker01": [1, 2], "pacemaker02": []}, "pacemaker01: 1, 2; pacemaker02: none"),
        ({}, "nothing"),
        (None, "nothing"),
        (("a", "b"), "a, b"),
        (0, "0"),
        ("", ""),
    ],
)
def test_a_value_is_told_for_a_person(value: object, told: str) -> None:
    assert describe(value) == told


def test_a_value_that_holds_comes_back() -> None:
    assert become(lambda: 3, lambda v: v == 3, expected="three", show="x") == 3


def test_a_value_that_does_not_hold_in_time_is_the_students() -> None:
    with pytest.raises(Mismatch, match=r"expected: three(?s:.*)observed: 2(?s:.*)shown by: crm_mon"):
        become(lambda: 2, lambda v: v == 3, expected="three", show="crm_mon", within=0.5)


def test_a_node_that_does_not_answer_is_the_labs_and_not_the_students() -> None:
    def look() -> None:
        raise Unreachable("pacemaker01 answers")

    with pytest.raises(LabError, match="pacemaker01 answers"):
        become(look, bool, expected="three", show="x", within=5)


@pytest.fixture
def powered(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Node name -> power state; a node that is not named runs."""
    states: dict[str, str] = {}
    monkeypatch.setattr(Node, "state", property(lambda node: states.get(node.name, "running")))
    return states


def test_a_node_without_power_is_what_was_seen_and_is_not_asked(settings: Settings, powered: dict[str, str]) -> None:
    powered["pacemaker03"] = "shut off"

    def look(node: Any) -> str:
        assert node.number != 3
        return "good"

    with pytest.raises(Mismatch, match=r"pacemaker03: shut off \(asked: pacemaker03 is powered on\)"):
        on_every_node(Lab(settings), look, "good", expected="x", show="x", within="now")


@pytest.mark.usefixtures("powered")
def test_every_node_must_have_the_value_and_the_others_are_named(settings: Settings) -> None:
    def look(node: Any) -> list[int]:
        return [1, 2] if node.number == 2 else [1, 2, 3]

    lab = Lab(settings)
    with pytest.raises(Mismatch, match="observed: pacemaker02: 1, 2\n"):
        on_every_node(lab, look, [1, 2, 3], expected="three members", show="corosync-quorumtool -l", within="now")
    on_every_node(lab, lambda node: "same", "same", expected="x", show="x")  # raises nothing


def test_what_must_remain_may_not_fail_once() -> None:
    values = iter([1, 1, 0, 1])
    with pytest.raises(Mismatch, match="observed: 0"):
        remain(lambda: next(values), bool, expected="one", show="x", samples=4)


def test_a_requirement_that_does_not_hold_is_a_finding() -> None:
    require(True, expected="x", seen="y", show="z")
    with pytest.raises(Mismatch, match="observed: a: 1"):
        require(False, expected="x", seen={"a": 1}, show="z")


def test_an_address_that_cannot_be_seen_is_the_labs_error_and_never_none(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALAB_TIMEOUT_SCALE", "0.02")
    monkeypatch.setattr(Lab, "holders", lambda lab: {"pacemaker01": Sight.UNKNOWN, "pacemaker02": Sight.HELD})
    with pytest.raises(LabError, match="can be seen"):
        holders(Lab(settings))


@pytest.mark.usefixtures("powered")
@pytest.mark.parametrize("right", [0, 1, 2])
def test_the_share_of_a_finding_is_that_of_the_nodes_that_are_right(settings: Settings, right: int) -> None:
    with pytest.raises(Mismatch) as caught:
        on_every_node(Lab(settings), lambda node: node.number <= right, True, expected="x", show="x", within="now")
    assert caught.value.share == pytest.approx(right / 3)


def test_a_node_without_power_and_one_that_answers_with_an_error_have_no_share(settings: Settings, powered: dict[str, str]) -> None:
    powered["pacemaker03"] = "shut off"

    def look(node: Any) -> str:
        if node.number == 2:
            raise StudentError("corosync runs on pacemaker02")
        return "good"

    with pytest.raises(Mismatch) as caught:
        on_every_node(Lab(settings), look, "good", expected="x", show="x", within="now")
    assert caught.value.share == pytest.approx(1 / 3)


@pytest.mark.usefixtures("powered")
def test_the_share_is_that_of_the_look_that_the_finding_tells_and_nothing_is_asked_after_it(settings: Settings) -> None:
    asked: list[str] = []

    def look(node: Any) -> bool:
        if node.name in asked:
            raise Unreachable(f"{node.name} answers")
        asked.append(node.name)
        return node.number == 1

    with pytest.raises(Mismatch, match="observed: pacemaker02: no; pacemaker03: no") as caught:
        on_every_node(Lab(settings), look, True, expected="x", show="x", within="now")
    assert caught.value.share == pytest.approx(1 / 3)


def test_a_finding_about_anything_else_has_no_share() -> None:
    assert Mismatch("three", "two").share == 0


@pytest.mark.usefixtures("powered")
def test_what_every_node_says_is_told_once(settings: Settings) -> None:
    with pytest.raises(Mismatch, match="observed: every node: no cipher\\n"):
        on_every_node(Lab(settings), lambda node: "no cipher", "", expected="x", show="x", within="now")
    with pytest.raises(Mismatch, match="observed: pacemaker01: 1; pacemaker02: 2; pacemaker03: 3\\n"):
        on_every_node(Lab(settings), lambda node: node.number, 0, expected="x", show="x", within="now")


def test_a_truth_value_is_told_as_yes_or_no() -> None:
    assert describe({"managed": True, "watched": False, "votes": 1}) == "managed: yes; watched: no; votes: 1"
