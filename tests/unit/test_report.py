import json
import os
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from halab.errors import LabError
from halab.report import VERDICTS, Chapter, Check, LabFacts, Report, json_schema, lab_facts, summary

SCHEMA_FILE = Path(__file__).parents[2] / "halab" / "report.schema.json"

VERSIONS = {"corosync": "3.1.9", "pacemaker": "3.0.0"}
LAB = LabFacts(name="ha", engine="lxc", release="trixie", image_digest="0123", instance="cafe", start="2026", versions=VERSIONS)


def verdict(name: str, points: float = 0, worth: float = 2, message: str = "") -> Check:
    return Check(id=f"c/{name}", title=f"title of {name}", verdict=name, points=points, max_points=worth, message=message)


def report(*checks: Check) -> Report:
    return Report(schema=1, lab=LAB, chapters=[Chapter(name="02-corosync", checks=list(checks))])


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["passed"], 0),
        (["passed", "warning"], 0),
        (["passed", "failed"], 1),
        (["passed", "skipped"], 1),
        (["failed", "error"], 3),
        (["passed", "error"], 3),
        ([], 3),
    ],
)
def test_exit_code_of_a_chapter_follows_its_worst_verdict(verdicts: list[str], code: int) -> None:
    assert Chapter(name="x", checks=[verdict(v) for v in verdicts]).exit_code == code


def test_exit_code_of_a_report_is_that_of_its_worst_chapter() -> None:
    both = report(verdict("passed"))
    both.chapters.append(Chapter(name="03", checks=[verdict("failed")]))
    assert both.exit_code == 1


def test_a_report_about_nothing_is_no_success() -> None:
    assert Report(schema=1, lab=LAB).exit_code == 3


def test_points_add_up() -> None:
    chapter = report(verdict("passed", 2), verdict("failed", 0), verdict("warning", 1.5, 1.5)).chapters[0]
    assert (chapter.points, chapter.max_points) == (3.5, 5.5)


def test_a_sixth_verdict_is_refused() -> None:
    with pytest.raises(ValidationError):
        verdict("perhaps")


def test_negative_points_are_refused() -> None:
    with pytest.raises(ValidationError):
        verdict("passed", -1)


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    saved = report(verdict("passed", 2), verdict("failed", message="expected: <b>\nobserved: none"))
    saved.save(path)
    assert Report.load(path) == saved


def test_the_file_has_the_schema_that_is_committed(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report(verdict("passed", 2), verdict("failed", message="m")).save(path)
    schema = json.loads(SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(path.read_text()), schema)


def test_the_committed_schema_is_that_of_the_report() -> None:
    assert SCHEMA_FILE.read_text() == json_schema()


@pytest.mark.parametrize("change", [{"schema": 2}, {"lab": {}}, {"chapters": [{"name": "x", "checks": [{"id": "y"}]}]}])
def test_what_is_no_report_does_not_have_the_schema(tmp_path: Path, change: dict) -> None:
    path = tmp_path / "report.json"
    report(verdict("passed", 2)).save(path)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(path.read_text()) | change, json.loads(SCHEMA_FILE.read_text()))


def test_a_public_score_says_how_many_held_back_checks_were_not_run() -> None:
    assert [Chapter(name="x", not_run=n).score for n in (0, 1, 3)] == [
        "0 of 0 points",
        "0 of 0 points; 1 held-back check was not run",
        "0 of 0 points; 3 held-back checks were not run",
    ]
    assert "3 held-back checks were not run" in Chapter(name="x", not_run=3)._repr_html_()


def test_saving_leaves_no_other_file_and_one_that_all_may_read(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report(verdict("passed")).save(path)
    report(verdict("failed")).save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_write_that_fails_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    report(verdict("passed")).save(path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("halab.report.Report.model_dump_json", full)
    with pytest.raises(OSError, match="No space"):
        report(verdict("failed")).save(path)
    assert Report.load(path).chapters[0].checks[0].verdict == "passed"
    assert os.listdir(tmp_path) == ["report.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2, "lab": {}, "chapters": []}', '{"lab": {}}', '{"schema": 1}'])
def test_what_is_no_report_of_this_schema_is_the_labs_failure(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(LabError, match="is a report"):
        Report.load(path)


def test_a_report_that_is_not_there_is_the_labs_failure(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"absent\.json is a report"):
        Report.load(tmp_path / "absent.json")


def test_asking_for_a_chapter_makes_it_once() -> None:
    empty = Report(schema=1, lab=LAB)
    assert empty.chapter("01") is empty.chapter("01")
    assert [c.name for c in empty.chapters] == ["01"]


def test_the_table_tells_the_message_of_what_did_not_pass_only() -> None:
    text = str(report(verdict("passed", 2, message="hidden"), verdict("failed", message="expected: a\nobserved: b")))
    assert "02-corosync: 2 of 4 points" in text
    assert "✘ title of failed" in text
    assert "      observed: b" in text
    assert "hidden" not in text


def test_every_verdict_has_a_line_and_a_row() -> None:
    chapter = report(*(verdict(v) for v in VERDICTS)).chapters[0]
    for name in VERDICTS:
        assert f"title of {name}" in str(chapter)
        assert f" {name}</td>" in chapter._repr_html_()


def test_the_html_table_shows_a_message_as_text_and_never_as_markup() -> None:
    html = report(verdict("failed", message="<script>alert(1)</script>")).chapters[0]._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script>" not in html


def test_the_summary_has_a_row_a_chapter() -> None:
    both = report(verdict("passed", 2))
    both.chapters += [Chapter(name="03", checks=[verdict("failed")]), Chapter(name="04")]
    assert summary(both.chapters) == [("02-corosync", "2/2", "passed"), ("03", "0/2", "falls short"), ("04", "0/0", "lab error")]


def test_the_labs_facts_come_from_what_its_host_recorded(about: dict) -> None:
    assert lab_facts(about).model_dump() == {
        "name": "halab", "engine": "lxc", "release": "trixie", "image_digest": "0123456789ab", "instance": "cafe0001",
        "start": "2026-01-01T00:00:00+00:00", "versions": {"corosync": "3.1.9"},
    }  # fmt: skip
