import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from halab.errors import LabError
from halab.lab import Sight
from halab.sightings import Double, Look, Sightings, doubles, parse_look, pause
from halab.wait import eventually

A, B = "pacemaker01", "pacemaker02"


def look(at: float, a: bool | None, b: bool | None) -> Look:
    words = {True: Sight.HELD, False: Sight.NOT_HELD, None: Sight.UNKNOWN}
    return Look(at, {A: words[a], B: words[b]})


def test_a_line_is_a_look_on_the_clock_of_the_probe() -> None:
    line = '{"at": 107.5, "seen": {"pacemaker01": true, "pacemaker02": null}}'
    assert parse_look(line, 100) == look(7.5, True, None)
    assert (parse_look(line, 100).holders, parse_look(line, 100).unknown) == ((A,), (B,))


@pytest.mark.parametrize("line", ["", "Traceback", "[]", '{"at": 1}', '{"at": 1, "seen": {"a": "yes"}}', '{"at": null, "seen": {}}'])
def test_another_line_is_an_error(line: str) -> None:
    with pytest.raises(ValueError):
        parse_look(line, 0)


def test_one_holder_after_another_is_no_double() -> None:
    assert doubles([look(0, True, False), look(1, False, False), look(2, False, True)]) == []


def test_a_double_lasts_to_the_first_look_without_it() -> None:
    seen = [look(0, True, False), look(1, True, True), look(2, True, True), look(3, False, True)]
    assert doubles(seen) == [Double(1, 3, (A, B))]


def test_two_doubles_are_two() -> None:
    seen = [look(0, True, True), look(1, True, False), look(2, True, True), look(3, True, False)]
    assert doubles(seen) == [Double(0, 1, (A, B)), Double(2, 3, (A, B))]


def test_a_double_in_the_last_look_is_told_though_it_has_no_length_yet() -> None:
    assert doubles([look(0, True, False), look(1, True, True)]) == [Double(1, 1, (A, B))]


def test_a_node_that_cannot_be_seen_is_not_counted_as_a_holder() -> None:
    assert doubles([look(0, True, None), look(1, True, None)]) == []


def test_without_looks_there_is_no_double() -> None:
    assert doubles([]) == []


def test_what_is_shorter_than_the_longest_pause_can_go_unseen() -> None:
    assert pause([look(0, True, False), look(0.1, True, False), look(1.1, True, False)]) == 1.0
    assert pause([look(0, True, False)]) == 0


class Host:
    """A lookout that tells these lines, and ends when its stdin does, or at once."""

    def __init__(self, lines: list[str], *, stays: bool) -> None:
        self.lines, self.stays = lines, stays

    @contextmanager
    def talk(self, *argv: str) -> Iterator[socket.socket]:
        ours, its = socket.socketpair()

        def work() -> None:
            with its:
                its.sendall("".join(line + "\n" for line in self.lines).encode())
                if self.stays:
                    its.recv(1)

        threading.Thread(target=work, daemon=True).start()
        with ours:
            yield ours


LINES = ['{"at": 1, "seen": {"pacemaker01": true, "pacemaker02": false}}', '{"at": 2, "seen": {"pacemaker01": true, "pacemaker02": true}}']


class Lab(SimpleNamespace):
    def __iter__(self) -> Iterator[SimpleNamespace]:
        return iter([SimpleNamespace(name=A), SimpleNamespace(name=B)])


def lab(lines: list[str], *, stays: bool) -> Lab:
    return Lab(host=Host(lines, stays=stays), engine=SimpleNamespace(lookout=lambda *a: ["lookout"]), virtual_ip="192.168.100.100")


def test_looks_are_kept_until_the_end() -> None:
    seen = Sightings(lab(LINES, stays=True)).start(0.0)
    eventually(lambda: len(seen.looks) == 2, within=5)
    seen.stop()
    assert seen.looks == [look(1, True, False), look(2, True, True)]
    assert seen.holders == [A, f"{A} and {B}"]


@pytest.mark.parametrize("lines", [LINES, [], ["Traceback (most recent call last):"]])
def test_a_lookout_that_ends_before_is_an_error_and_never_a_good_time(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALAB_TIMEOUT_SCALE", "0.1")
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    with pytest.raises(LabError, match="lookout"):
        seen = Sightings(lab(lines, stays=False)).start(0.0)
        seen._thread.join(5)
        seen.stop()
