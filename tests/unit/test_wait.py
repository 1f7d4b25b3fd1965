import os
import time

import pytest

from halab.errors import DeadlinePassed
from halab.wait import WAITS, eventually, seconds, stays, unhurried


def test_a_named_wait_is_multiplied_by_the_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALAB_TIMEOUT_SCALE", "2.5")
    assert seconds("boot") == WAITS["boot"] * 2.5
    assert seconds(4) == 10


def test_an_unknown_wait_is_an_error() -> None:
    with pytest.raises(KeyError):
        seconds("a while")


def test_eventually_gives_the_first_value_that_holds() -> None:
    values = iter([0, 1, 2, 3])
    assert eventually(lambda: next(values), lambda v: v >= 2, within=5, every=0.001) == 2


def test_eventually_looks_once_even_with_no_time_at_all() -> None:
    assert eventually(lambda: "here", within="now") == "here"


def test_eventually_ends_at_its_deadline_and_carries_the_last_value() -> None:
    start = time.monotonic()
    with pytest.raises(DeadlinePassed, match=r"the moon within 0\.05 s") as caught:
        eventually(lambda: [], within=0.05, every=0.01, what="the moon")
    assert caught.value.seen == []
    assert time.monotonic() - start < 2


def test_eventually_passes_an_exception_on_unless_told_to_retry() -> None:
    def broken() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        eventually(broken, within=1)


def test_eventually_counts_a_named_exception_as_not_yet() -> None:
    times = iter(range(2))

    def look() -> str:
        if next(times) == 0:
            raise ConnectionError("early")
        return "late"

    assert eventually(look, within=5, every=0.001, retry=(OSError,)) == "late"


def test_eventually_carries_the_last_exception() -> None:
    def look() -> None:
        raise ConnectionError("refused")

    with pytest.raises(DeadlinePassed) as caught:
        eventually(look, within=0, retry=(OSError,))
    assert str(caught.value.seen) == "refused"


class Clock:
    """A clock that goes on when somebody works or rests."""

    def __init__(self) -> None:
        self.now, self.rests = 0.0, list[float]()

    def monotonic(self) -> float:
        return self.now

    def wait(self, length: float) -> None:
        self.rests.append(round(length, 6))
        self.now += length


@pytest.mark.parametrize(("took", "scale", "rest"), [(0.01, "1", 0.1), (0.2, "1", 0.2), (9, "1", 0.3), (1.2, "5", 1.2), (9, "5", 1.5)])
def test_a_node_is_let_alone_for_as_long_as_a_look_took(monkeypatch: pytest.MonkeyPatch, took: float, scale: str, rest: float) -> None:
    clock = Clock()
    monkeypatch.setattr("halab.wait.time", clock)
    monkeypatch.setattr("halab.wait.Event", lambda: clock)
    monkeypatch.setenv("HALAB_TIMEOUT_SCALE", scale)
    looks = iter([False, False, True])

    def look() -> bool:
        clock.now += took
        return next(looks)

    assert eventually(look, within=30)
    assert clock.rests == [rest, rest]


def test_a_rest_ends_at_the_deadline_with_a_last_look(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("halab.wait.time", clock)
    monkeypatch.setattr("halab.wait.Event", lambda: clock)
    seen: list[float] = []

    def look() -> None:
        seen.append(clock.now)
        clock.now += 0.25

    with pytest.raises(DeadlinePassed):
        eventually(look, within=0.9)
    assert seen == [0.0, 0.5, 0.9]


def test_stays_looks_as_often_as_asked_while_the_state_holds() -> None:
    seen: list[int] = []

    def look() -> int:
        seen.append(1)
        return len(seen)

    assert stays(look, samples=4, every=0.001) == 4
    assert len(seen) == 4


def test_stays_gives_the_first_value_that_does_not_hold() -> None:
    values = iter([1, 1, 0, 1])
    assert stays(lambda: next(values), samples=4, every=0.001) == 0
    assert list(values) == [1]


def test_stays_with_no_samples_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        stays(lambda: True, samples=0)


@pytest.mark.parametrize(("given", "within"), [("0.4", "1.0"), ("0.8", "2.0")])
def test_unhurried_waits_are_whole_again_and_short_afterwards(monkeypatch: pytest.MonkeyPatch, given: str, within: str) -> None:
    monkeypatch.setenv("HALAB_TIMEOUT_SCALE", given)
    with unhurried():
        assert os.environ["HALAB_TIMEOUT_SCALE"] == within
    assert os.environ["HALAB_TIMEOUT_SCALE"] == given
