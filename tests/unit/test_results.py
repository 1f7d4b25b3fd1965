import json
from pathlib import Path

import pytest

from halab import drills, results
from halab.errors import UsageError
from halab.measure import Measurement, Terms


def one(fault: str = "power-cut", fencing: bool = False, gap: float = 5.0, **changed: object) -> Measurement:
    told: dict = {
        "fault": fault, "fencing": fencing, "gap": gap, "lost": 100, "wrong": 0, "double": 0.0, "doubled_to_the_end": False,
        "looks": 90, "pause": 0.1, "unknown": 0, "victim": "pacemaker01", "holders": ("pacemaker01", "pacemaker02"), "predicted": 3.6,
        "terms": Terms(1.6, 2.0, 1.0, 1.0 if fencing else None, 0.4),
    }  # fmt: skip
    return Measurement(**told | changed)


def test_the_90th_percentile_lies_between_the_last_two_of_ten() -> None:
    assert results.p90([float(k) for k in range(1, 11)]) == pytest.approx(9.1)
    assert results.p90([3.0]) == 3.0


def test_what_a_gap_has_beyond_its_terms() -> None:
    assert results.surplus(one(gap=5.0)) == pytest.approx(1.0)
    assert results.surplus(one(gap=6.0, fencing=True)) == pytest.approx(1.0)


def test_gaps_within_their_terms_are_as_they_must_be() -> None:
    assert results.broken([one(gap=5.9)] * 10) == []


def test_one_gap_of_ten_may_be_long_two_may_not() -> None:
    assert results.broken([one(gap=5.5)] * 9 + [one(gap=9.0)]) == []
    assert results.broken([one(gap=5.5)] * 8 + [one(gap=9.0)] * 2) == [
        "power-cut without fencing: the gap is 5.00 s longer than its terms (p90), more than 2 s"
    ]


def test_a_fault_that_corosync_need_not_notice_has_no_bound() -> None:
    assert results.broken([one("apache2-killed", gap=60.0, predicted=None)] * 10) == []


def test_two_holders_are_told_only_with_fencing_and_not_when_added_by_hand() -> None:
    assert results.broken([one(double=3.0)]) == []
    assert results.broken([one(fencing=True, double=0.1, holders=("a", "a and b", "b")), one(fencing=True)]) == [
        "power-cut with fencing: two holders in 1 of 2 drills"
    ]
    assert results.broken([one("address-added", fencing=True, double=5.0, predicted=None)]) == []


def test_the_table_has_a_row_for_each_fault_in_order() -> None:
    text = results.table([one(), one("move", predicted=None, gap=2.0), one(fencing=True, gap=6.0), one(gap=6.0, double=4.0)])
    rows = text.splitlines()
    assert len(rows) == 4
    assert rows[2].startswith("| the web server is moved away")
    assert rows[3] == "| the power fails | 3.6 s | 5.5 s (5.9) | 4.0 s, 1 of 2 | 100 | 6.0 s (6.0) | never | 100 |"


def test_what_a_gap_is_made_of_is_told_for_lost_nodes() -> None:
    rows = results.parts([one(), one(fencing=True, gap=6.0), one("move", predicted=None)]).splitlines()
    assert rows[2:] == [
        "| the power fails | off | 1.6 s | 2.0 s | 1.0 s |  | 0.4 s | +1.0 s |",
        "| the power fails | on | 1.6 s | 2.0 s | 1.0 s | 1.0 s | 0.4 s | +1.0 s |",
    ]


def test_what_lasts_until_it_is_repaired_has_no_length() -> None:
    assert "until repaired, 1 of 1" in results.table([one(double=9.0, doubled_to_the_end=True)])


def test_the_page_has_the_table_and_the_data_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- measured -->\nold\n<!-- /measured -->\nafter\n")
    for name, path in (("DATA", tmp_path / "d.json"), ("PAGE", tmp_path / "d.md"), ("README", readme)):
        monkeypatch.setattr(results, name, path)
    about = {"date": "2026-01-01", "engine": "lxc", "release": "trixie", "cores": 2, "versions": {"corosync": "3", "pacemaker": "3"}}
    results.write([one()], about)
    assert "engine lxc, trixie, corosync 3, pacemaker 3, on a machine of 2 cores: 1 drills" in (tmp_path / "d.md").read_text()
    assert results.load(tmp_path / "d.json") == [one()]
    assert results.table([one()]) in (tmp_path / "d.md").read_text()
    assert readme.read_text() == f"before\n<!-- measured -->\n{results.table([one()])}\n<!-- /measured -->\nafter\n"


# -- what is left to do -----------------------------------------------------------------------------------


def test_a_run_goes_on_where_it_was_ended() -> None:
    asked = [("move", False), ("power-cut", False)]
    assert drills.missing(asked, 2, []) == [*asked, *asked]
    assert drills.missing(asked, 2, [one("move"), one("move"), one("power-cut")]) == [("power-cut", False)]
    assert drills.missing(asked, 1, [one("move"), one("move", fencing=True), one("power-cut")]) == []


def test_shares_begin_without_fencing_and_lose_nothing() -> None:
    jobs = [("move", True), ("move", False), ("standby", False), ("standby", True), ("stopped", False)]
    dealt = drills.shares(jobs, 2)
    assert dealt == [[("standby", False), ("stopped", False), ("move", True)], [("move", False), ("standby", True)]]


def test_what_was_kept_is_read_from_every_lab(tmp_path: Path) -> None:
    for name in ("drills1", "drills2"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(one().json) + "\n")
    assert drills.kept(tmp_path) == [one(), one()]


@pytest.mark.parametrize("text", ["{", "{}", "[]", "1"])
def test_what_is_no_measurement_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "drills1.jsonl").write_text(text + "\n")
    with pytest.raises(UsageError):
        drills.kept(tmp_path)
