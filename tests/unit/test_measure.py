import pytest

from halab import measure
from halab.errors import StudentError
from halab.journal import Event
from halab.lab import Lab
from halab.measure import Measurement, Terms
from halab.probe import Outage, Probe, Sample
from halab.settings import Settings

VICTIM, A, B = "pacemaker01", "pacemaker02", "pacemaker03"
#: A power cut at 1: token lost, new membership, start, page.
DEATH = [
    Event(2.6, B, "token lost"), Event(2.7, A, "token lost"), Event(4.6, A, "membership", "Members left: 1"),
    Event(5.6, B, "transition", "12"), Event(5.7, A, "starting", "ClusterIP"), Event(5.8, A, "started", "ClusterIP"),
    Event(5.9, A, "starting", "WebSite"), Event(6.3, A, "started", "WebSite"),
]  # fmt: skip


def test_the_terms_of_a_lost_node_add_up_to_the_time_to_the_page() -> None:
    found = measure.terms(DEATH, 1.0, 6.2, VICTIM)
    assert found == Terms(pytest.approx(1.6), pytest.approx(2.0), pytest.approx(1.0), None, pytest.approx(0.6), pytest.approx(0.6))
    assert list(found.parts) == ["detection", "consensus", "decision", "recovery"]
    assert sum(found.parts.values()) == pytest.approx(6.2 - 1.0)


def test_what_the_lost_node_itself_tells_counts_for_nothing() -> None:
    own = [Event(1.5, VICTIM, "token lost"), Event(1.6, VICTIM, "membership", "Members left: 2 3")]
    assert measure.terms([*own, *DEATH], 1.0, 6.2, VICTIM) == measure.terms(DEATH, 1.0, 6.2, VICTIM)


def test_fencing_is_a_term_of_its_own() -> None:
    found = measure.terms([*DEATH, Event(5.8, A, "fenced", VICTIM)], 1.0, 6.2, VICTIM)
    assert found == Terms(*map(pytest.approx, (1.6, 2.0, 1.0, 0.2, 0.4, 0.6)))


def test_the_fencing_of_another_node_is_not_this_ones() -> None:
    assert measure.terms([*DEATH, Event(5.8, A, "fenced", B)], 1.0, 6.2, VICTIM).fencing is None


def test_what_happened_before_the_fault_does_not_count() -> None:
    assert measure.terms([Event(0.5, A, "token lost"), *DEATH], 1.0, 6.2, VICTIM).detection == pytest.approx(1.6)


def test_without_a_lost_token_pacemaker_noticed() -> None:
    events = [Event(1.2, A, "transition", "3"), Event(2.0, VICTIM, "stopped", "WebSite"), Event(2.5, A, "starting", "WebSite"),
              Event(2.9, A, "started", "WebSite")]  # fmt: skip
    assert measure.terms(events, 1.0, 3.0, VICTIM) == Terms(pytest.approx(0.2), recovery=pytest.approx(1.8), start=pytest.approx(0.4))


def test_other_resources_than_those_of_the_page_are_no_part_of_its_start() -> None:
    fencing = [Event(4.7, A, "starting", "Fencing"), Event(8.0, A, "started", "Fencing")]
    assert measure.terms([*DEATH, *fencing], 1.0, 6.2, VICTIM).start == pytest.approx(0.6)


@pytest.mark.parametrize("page", [None, 1.1])
def test_without_events_before_the_page_nothing_is_said(page: float | None) -> None:
    assert measure.terms([Event(2.0, A, "transition", "3")], 1.0, page, VICTIM) == Terms()


def test_a_page_that_never_came_leaves_the_recovery_open() -> None:
    found = measure.terms(DEATH, 1.0, None, VICTIM)
    assert found == Terms(pytest.approx(1.6), pytest.approx(2.0), pytest.approx(1.0))


def test_the_gap_is_the_longest_outage_of_the_fault() -> None:
    outages = [Outage(0, 0.5), Outage(1, 4), Outage(5, 6), Outage(9, 20)]
    assert measure.gap(outages, 1, 8) == 3
    assert measure.gap(outages, 0.4, 0.8) == 0.5
    assert measure.gap([], 0, 9) == 0


def watched(settings: Settings, *answers: tuple[float, str | None]) -> Probe:
    found = Probe(Lab(settings))
    found.samples = [Sample(at, at + 0.01, node) for at, node in answers]
    return found


def test_the_page_of_another_node_or_the_end_of_the_outage(settings: Settings) -> None:
    seen = watched(settings, (0, VICTIM), (1, None), (2, VICTIM), (3, A))
    assert measure.page(seen, 0.5, VICTIM, elsewhere=True) == 3.01
    assert measure.page(seen, 0.5, VICTIM, elsewhere=False) == 2.01
    assert measure.page(watched(settings, (0, VICTIM)), 0.5, VICTIM, elsewhere=True) is None
    assert measure.page(watched(settings, (0, VICTIM)), 0.5, VICTIM, elsewhere=False) is None


def measurement(**changed: object) -> Measurement:
    told = {
        "fault": "power-cut", "fencing": False, "gap": 5.0, "lost": 100, "wrong": 0, "double": 0.0, "doubled_to_the_end": False,
        "looks": 90, "pause": 0.1, "unknown": 0, "victim": VICTIM, "holders": [VICTIM, A], "predicted": 3.63,
        "terms": {"detection": 1.6, "consensus": 2.0, "decision": 1.0, "fencing": None, "recovery": 0.4, "start": 0.4},
    }  # fmt: skip
    return Measurement.load(told | changed)


def test_a_measurement_is_read_as_it_was_written() -> None:
    one = measurement()
    assert Measurement.load(one.json) == one


def test_another_object_is_no_measurement() -> None:
    with pytest.raises(TypeError):
        Measurement.load({"fault": "power-cut"})
    with pytest.raises(TypeError):
        Measurement.load(measurement().json | {"more": 1})


def test_without_a_node_that_tells_nothing_is_predicted(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(node: object) -> dict[str, str]:
        raise StudentError("corosync runs", "")

    monkeypatch.setattr(measure.corosync, "cmap", silent)
    with pytest.raises(StudentError):
        measure.predicted(Lab(settings))
    monkeypatch.setattr(
        measure.corosync, "cmap", lambda node: {"runtime.config.totem.token": "1650", "runtime.config.totem.consensus": "1980"}
    )
    assert measure.predicted(Lab(settings)) == (1.65, 1.98)
