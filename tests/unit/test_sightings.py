import pytest

from halab.lab import Sight
from halab.sightings import Double, Look, doubles, parse_look

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
