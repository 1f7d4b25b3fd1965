"""The picture of a drill says what the probe saw; how it looks is for a person to judge."""

import pytest
from matplotlib.figure import Figure

from halab import draw, timeline
from halab.journal import Event
from halab.lab import Lab, Sight
from halab.measure import Terms
from halab.probe import Probe, Sample
from halab.settings import Settings
from halab.sightings import Look

A, B = "pacemaker01", "pacemaker02"
HELD, NOT, UNKNOWN = Sight.HELD, Sight.NOT_HELD, Sight.UNKNOWN
LOOKS = [Look(0, {A: HELD, B: NOT}), Look(1, {A: HELD, B: NOT}), Look(2, {A: HELD, B: HELD}), Look(3, {A: UNKNOWN, B: HELD})]


@pytest.fixture
def probe(settings: Settings) -> Probe:
    seen = Probe(Lab(settings), holders=True)
    assert seen.sightings
    seen.sightings.looks = LOOKS
    seen.samples = [Sample(0.1, 0.2, A), Sample(1.1, 1.2, None), Sample(2.1, 2.2, B)]
    seen.marks = [(0.5, "power cut")]
    return seen


def words(figure: Figure) -> set[str]:
    axes = figure.axes[0]
    return {t.get_text().strip() for t in (*axes.texts, *axes.get_yticklabels())}


def test_a_node_holds_the_address_for_stretches_of_time() -> None:
    assert list(timeline._stretches(LOOKS, A)) == [(0, 2, HELD, False), (2, 3, HELD, True), (3, 3, UNKNOWN, False)]
    assert list(timeline._stretches(LOOKS, B)) == [(0, 2, NOT, False), (2, 3, HELD, True), (3, 3, HELD, False)]
    assert list(timeline._stretches([], A)) == []


def test_the_picture_names_nodes_marks_gap_and_double(probe: Probe) -> None:
    figure = draw.timeline(probe)
    assert {A, B, "power cut"} <= words(figure)
    assert "no page for 2.0 s" in figure.axes[0].get_xlabel()
    assert "two holders for 1.0 s" in figure.axes[0].get_xlabel()


def test_an_explained_one_has_terms_predictions_and_what_the_survivors_told(probe: Probe) -> None:
    probe.terms, probe.predicted, probe.victim = Terms(1.0, 0.8, None, None, 0.4), (1.0, 0.8), A
    probe.events = [Event(0.6, A, "transition"), Event(1.5, B, "token lost"), Event(2.3, B, "membership", "Members left: 1")]
    found = words(draw.timeline(probe))
    assert {"measured", "predicted", "detection\n1.0", "token\n1.0", "token lost", "new membership"} <= found
    assert "transition" not in found


def test_a_probe_that_saw_nothing_can_be_drawn(settings: Settings) -> None:
    assert isinstance(draw.timeline(Probe(Lab(settings), holders=True)), Figure)


def test_a_probe_that_only_asked_for_pages_is_drawn_as_before(settings: Settings) -> None:
    seen = Probe(Lab(settings))
    seen.samples = [Sample(0.1, 0.2, A), Sample(1.1, 1.2, None), Sample(2.1, 2.2, B)]
    assert "red: no answer" in draw.timeline(seen).axes[0].get_xlabel()
