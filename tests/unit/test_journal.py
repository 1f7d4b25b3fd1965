import json
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from halab import journal
from halab.errors import StudentError, Unreachable
from halab.journal import Event, parse_journal

Read = Callable[[str], str]


def entry(program: str, message: object, at: int = 5_000_000) -> str:
    return json.dumps({"SYSLOG_IDENTIFIER": program, "MESSAGE": message, "__REALTIME_TIMESTAMP": str(at)})


def test_a_survivor_tells_of_a_power_cut_in_order(captured: Read) -> None:
    found = parse_journal(captured("journal-power-cut.jsonl"), "pacemaker01")
    assert [str(event) for event in found] == [
        "token lost", "membership Members left: 2",
        "starting ClusterIP", "started ClusterIP", "starting WebSite", "started WebSite",
    ]  # fmt: skip
    assert found == sorted(found)
    token, consensus = found[0].at, found[1].at - found[0].at
    assert 1.9 < consensus < 2.2
    assert token > 1_700_000_000


def test_times_are_told_on_the_clock_asked_for(captured: Read) -> None:
    text = captured("journal-power-cut.jsonl")
    first = parse_journal(text, "a")[0].at
    assert parse_journal(text, "a", first)[0].at == 0


@pytest.mark.parametrize(
    ("program", "message", "event"),
    [
        ("corosync", "  [TOTEM ] A new membership (1.a) was formed. Members left: 3", "membership Members left: 3"),
        ("corosync", "  [TOTEM ] A new membership (1.a) was formed. Members", "membership Members"),
        ("corosync", "  [QUORUM] This node is within the non-primary component and will NOT provide any services.", "quorum lost"),
        ("pacemaker-schedulerd", " warning: Calculated transition 7 (with warnings), saving inputs in /x.bz2", "transition 7"),
        ("pacemaker-controld", " notice: Result of stop operation for WebSite on pacemaker01: ok", "stopped WebSite"),
        ("pacemaker-controld", " notice: Result of start operation for WebSite on pacemaker01: OK", "started WebSite"),
        ("pacemaker-controld", " error: Result of start operation for WebSite on pacemaker01: Error", "failed WebSite"),
    ],
)
def test_each_kind_of_event_is_known_by_its_text(program: str, message: str, event: str) -> None:
    assert [str(e) for e in parse_journal(entry(program, message), "n")] == [event]


def test_the_same_text_of_another_program_is_no_event() -> None:
    assert parse_journal(entry("logger", "[TOTEM ] A processor failed, forming new configuration"), "n") == []


def test_a_message_that_is_no_text_is_passed_over() -> None:
    assert parse_journal(entry("corosync", [1, 2, 3]), "n") == []


@pytest.mark.parametrize("text", ["-- No entries --", "{", "[1]", "{}", '{"__REALTIME_TIMESTAMP": "soon"}'])
def test_what_is_no_journal_in_json_is_an_error(text: str) -> None:
    with pytest.raises(StudentError):
        parse_journal(text, "n")


def test_the_clock_of_a_node_is_compared_by_the_quickest_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 2.0, 10.0, 10.2, 20.0, 21.0])
    monkeypatch.setattr(journal.time, "monotonic", lambda: next(times))
    answers = iter(["1000.0", "1110.1", "1500"])
    assert journal.ahead(SimpleNamespace(check_output=lambda *a, **k: next(answers))) == pytest.approx(1100.0)


def test_a_node_that_does_not_answer_tells_nothing(captured: Read) -> None:
    text = captured("journal-power-cut.jsonl")
    first = parse_journal(text, "a")[0].at

    def silent(*_: object, **__: object) -> str:
        raise Unreachable("b answers", "silence")

    def told(command: str, *_: object, **__: object) -> str:
        return str(first + journal.time.monotonic()) if command.startswith("date") else text

    nodes = [SimpleNamespace(name="a", check_output=told), SimpleNamespace(name="b", check_output=silent)]
    found = journal.events(nodes, 0.0, -1.0)
    assert {event.node for event in found} == {"a"}
    assert found[0].at == pytest.approx(0.0, abs=0.1)
    assert isinstance(found[0], Event)
