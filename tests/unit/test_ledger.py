"""What was predicted and measured, kept with the lab."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from halab import corosync, ledger
from halab.errors import StudentError
from halab.lab import Lab
from halab.ledger import Ledger, Row
from halab.predict import Prediction
from halab.settings import Settings

PROBE = SimpleNamespace(longest=5.512, double_seconds=0.0)


@pytest.fixture
def lab(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Lab:
    (settings.folder / "keys").mkdir(parents=True)
    monkeypatch.setattr(corosync, "cmap", lambda node: {})
    monkeypatch.setattr(corosync, "timeouts", lambda cmap: (1650, 1980))
    return Lab(settings)


def test_a_row_is_kept_with_what_was_in_force(lab: Lab) -> None:
    row = Ledger(lab).note("power cut", Prediction(seconds=6.63, stays=True), PROBE)
    assert row == Row("power cut", 6.63, 5.512, 0.0, 3.63)
    assert Ledger(Lab(lab.settings)).rows == [row] == ledger.kept(lab.settings)


def test_a_fault_that_is_tried_again_keeps_its_place(lab: Lab) -> None:
    book = Ledger(lab)
    for fault, seconds in (("move", 8), ("standby", 8), ("move", 3)):
        book.note(fault, Prediction(seconds=seconds), PROBE)
    assert [(row.fault, row.said) for row in book.rows] == [("move", 3.0), ("standby", 8.0)]


@pytest.mark.parametrize(("said", "right"), [(6.0, True), (5.0, False), (None, None)])
def test_a_bound_is_kept_or_not(said: float | None, right: bool | None) -> None:
    assert Row("move", said, 5.512, 0.0, 3.63).right is right


def test_without_a_predicted_time_there_is_no_bound(lab: Lab) -> None:
    assert Ledger(lab).note("quorum lost", Prediction(page=False), PROBE).said is None


def test_told_with_one_decimal_and_a_mark(lab: Lab) -> None:
    book = Ledger(lab)
    assert repr(book) == "nothing was measured yet"
    book.note("move", Prediction(seconds=8), PROBE)
    assert repr(book) == "✔ move: predicted within 8 s, the gap was 5.5 s, two holders for 0.0 s"
    assert "<td>≤ 8 s ✔</td><td>5.5 s</td>" in book._repr_html_()


@pytest.mark.parametrize("text", ["", "[{]", '[{"fault": "move"}]', '{"a": 1}', "[1]"])
def test_a_file_that_was_cut_short_holds_nothing(lab: Lab, text: str) -> None:
    Path(Ledger(lab).path).write_text(text)
    assert Ledger(lab).rows == []


def test_no_corosync_anywhere_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(node: object) -> dict[str, str]:
        raise StudentError("corosync runs", "it does not")

    monkeypatch.setattr(corosync, "cmap", down)
    with pytest.raises(StudentError, match="corosync runs on a node"):
        Ledger(lab).note("move", Prediction(seconds=8), PROBE)
