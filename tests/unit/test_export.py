import csv
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

from halab import export
from halab.report import Chapter, Check, LabFacts, Report

SCHEMA_FILE = Path(export.__file__).parent / "report.schema.json"
VERSIONS = {"corosync": "3.1.9", "pacemaker": "3.0.0"}
LAB = LabFacts(name="ha", engine="lxc", release="trixie", image_digest="0123", instance="cafe", start="2026", versions=VERSIONS)
#: What a title or a message may hold.
AWKWARD = ['say "no"', "one, two; three", "<b>&amp;</b> ]]>", "two\nlines", "=1+1", "äöü ✔ 日本", " spaces ", "it's"]


def check(name: str, verdict: str = "passed", points: float = 0, worth: float = 2, **more: Any) -> Check:
    facts = {"title": f"title of {name}", **more}
    return Check(id=f"02-corosync/{name}", verdict=verdict, points=points, max_points=worth, **facts)


@pytest.fixture
def report() -> Report:
    """Each verdict once, and a second chapter that has a held-back check."""
    members = check("members", points=2, attempts=3, seconds=1.25)
    quorum = check("quorum", "failed", 0.67, message="expected: quorum\nobserved: none\nhint: start corosync", attempts=2, seconds=0.5)
    skipped = check("resource", "skipped", message="needs “Every node has quorum”, which failed")
    broken = check("lab", "error", message="the lab, not you: pacemaker01 answers")
    warning = check("fencing", "warning", 1, 1, message="fencing is off", attempts=1)
    secret = Check(id="03-pacemaker/held-back/dc", title="A DC", verdict="passed", points=1, max_points=1, seconds=2, held_back=True)
    first = Chapter(name="02-corosync", checks=[members, quorum, skipped, broken, warning], not_run=1)
    return Report(schema=1, lab=LAB, chapters=[first, Chapter(name="03-pacemaker", checks=[secret])])


def only(c: Check) -> Report:
    return Report(schema=1, lab=LAB, chapters=[Chapter(name="02-corosync", checks=[c])])


# -- CSV ----------------------------------------------------------------------------------------------


def rows(report: Report) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(export.as_csv(report), newline=""), strict=True))


def test_csv_has_a_line_a_check_in_order(report: Report) -> None:
    assert [(r["chapter"], r["check"], r["verdict"]) for r in rows(report)] == [
        ("02-corosync", "02-corosync/members", "passed"),
        ("02-corosync", "02-corosync/quorum", "failed"),
        ("02-corosync", "02-corosync/resource", "skipped"),
        ("02-corosync", "02-corosync/lab", "error"),
        ("02-corosync", "02-corosync/fencing", "warning"),
        ("03-pacemaker", "03-pacemaker/held-back/dc", "passed"),
    ]


def test_csv_tells_points_attempts_seconds_and_whether_it_was_held_back(report: Report) -> None:
    columns = ("title", "points", "max_points", "attempts", "seconds", "held_back")
    found = [tuple(r[c] for c in columns) for r in rows(report)]
    assert found[0] == ("title of members", "2.0", "2.0", "3", "1.25", "False")
    assert found[1] == ("title of quorum", "0.67", "2.0", "2", "0.5", "False")
    assert found[-1] == ("A DC", "1.0", "1.0", "0", "2.0", "True")


def test_csv_has_the_labs_facts_and_versions_in_each_line(report: Report) -> None:
    facts = {"lab_name": "ha", "lab_engine": "lxc", "lab_release": "trixie", "lab_image_digest": "0123", "lab_instance": "cafe",
             "lab_start": "2026", "versions": "corosync=3.1.9 pacemaker=3.0.0"}  # fmt: skip
    assert [{k: r[k] for k in facts} for r in rows(report)] == [facts] * 6


@pytest.mark.parametrize("text", AWKWARD)
def test_csv_keeps_any_title(text: str) -> None:
    (row,) = rows(only(check("x", title=text)))
    assert row["title"] == text
    assert row["versions"] == "corosync=3.1.9 pacemaker=3.0.0"


def test_csv_of_a_report_about_nothing_is_its_head() -> None:
    text = export.as_csv(Report(schema=1, lab=LAB))
    assert text.count("\n") == 1
    assert text.startswith("chapter,check,title,verdict,points,max_points,attempts,seconds,held_back,lab_name,")


# -- JUnit --------------------------------------------------------------------------------------------


def junit(report: Report) -> ElementTree.Element:
    return ElementTree.fromstring(export.as_junit(report))


def properties(element: ElementTree.Element) -> dict[str, str]:
    return {p.get("name", ""): p.get("value", "") for p in element.iterfind("./properties/property")}


def cases(report: Report) -> dict[str, ElementTree.Element]:
    return {properties(case)["id"]: case for case in junit(report).iter("testcase")}


def test_junit_has_a_suite_a_chapter_and_its_counts_agree_with_its_cases(report: Report) -> None:
    suites = junit(report).findall("testsuite")
    assert [s.get("name") for s in suites] == ["02-corosync", "03-pacemaker"]
    assert [[s.get(k) for k in ("tests", "failures", "errors", "skipped")] for s in suites] == [["5", "1", "1", "1"], ["1", "0", "0", "0"]]
    for suite in suites:
        for count, element in (("tests", "testcase"), ("failures", "testcase/failure"), ("errors", "testcase/error")):
            assert suite.get(count) == str(len(suite.findall(element)))
    assert [s.get("time") for s in suites] == ["1.750", "2.000"]


def test_junit_gives_each_verdict_its_element_and_a_warning_none(report: Report) -> None:
    found = {name: [e.tag for e in case if e.tag != "properties"] for name, case in cases(report).items()}
    assert found == {
        "02-corosync/members": [], "02-corosync/quorum": ["failure"], "02-corosync/resource": ["skipped"], "02-corosync/lab": ["error"],
        "02-corosync/fencing": [], "03-pacemaker/held-back/dc": [],
    }  # fmt: skip


def test_junit_tells_the_first_line_as_the_message_and_all_lines_as_text(report: Report) -> None:
    failure = cases(report)["02-corosync/quorum"].find("failure")
    assert failure is not None
    assert failure.get("message") == "expected: quorum"
    assert failure.text == "expected: quorum\nobserved: none\nhint: start corosync"


def test_junit_names_a_failure_that_says_nothing_by_its_verdict() -> None:
    failure = cases(only(check("x", "failed")))["02-corosync/x"].find("failure")
    assert failure is not None
    assert failure.get("message") == "failed"


def test_junit_tells_id_points_and_attempts_of_a_case(report: Report) -> None:
    case = cases(report)["02-corosync/quorum"]
    assert properties(case) == {"id": "02-corosync/quorum", "points": "0.67", "max_points": "2", "attempts": "2"}
    assert (case.get("classname"), case.get("name"), case.get("time")) == ("02-corosync", "title of quorum", "0.500")


def test_junit_tells_in_each_suite_which_lab_it_is_about_and_what_was_not_run(report: Report) -> None:
    first, second = map(properties, junit(report).findall("testsuite"))
    about = {"name": "ha", "engine": "lxc", "release": "trixie", "image_digest": "0123", "instance": "cafe", "start": "2026", **VERSIONS}
    assert first == {**about, "not_run": "1"}
    assert second == {**about, "not_run": "0"}


@pytest.mark.parametrize("text", AWKWARD)
def test_junit_keeps_any_title_and_message(text: str) -> None:
    case = cases(only(check("x", "failed", title=text, message=text)))["02-corosync/x"]
    failure = case.find("failure")
    assert failure is not None
    assert (case.get("name"), failure.get("message"), failure.text) == (text, text.splitlines()[0], text)


@pytest.mark.parametrize("code", [*range(9), 11, 12, 27, 31, 0xFFFE, 0xD800])
def test_junit_is_xml_whatever_a_command_said(code: int) -> None:
    found = cases(only(check("x", "failed", message=f"{chr(code)}[31mred\nend")))["02-corosync/x"].findtext("failure")
    assert found == "\ufffd[31mred\nend"


def test_junit_of_a_report_about_nothing_has_no_suite() -> None:
    assert list(junit(Report(schema=1, lab=LAB))) == []


# -- JSON ---------------------------------------------------------------------------------------------


def test_json_has_the_schema_that_is_committed_and_is_the_report(report: Report) -> None:
    text = export.as_json(report)
    jsonschema.validate(json.loads(text), json.loads(SCHEMA_FILE.read_text()))
    assert Report.model_validate_json(text) == report


# -- a gradebook --------------------------------------------------------------------------------------


class Gradebook:
    """Stands in for nbgrader's: records the calls in order, and, as that one does, gives a submission the
    cells that there are when it is made."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.cells: dict[str, dict[str, SimpleNamespace]] = {}
        self.grades: dict[tuple[str, str], list[SimpleNamespace]] = {}
        self.db = SimpleNamespace(commit=lambda: self.calls.append(("commit",)), add=self.add)

    def add(self, grade: SimpleNamespace) -> None:
        grade.notebook.grades.append(grade)

    def update_or_create_student(self, student_id: str) -> None:
        self.calls.append(("student", student_id))

    def update_or_create_assignment(self, name: str) -> None:
        self.calls.append(("assignment", name))

    def update_or_create_notebook(self, name: str, assignment: str) -> None:
        self.calls.append(("notebook", name, assignment))

    def update_or_create_grade_cell(self, name: str, notebook: str, assignment: str, **facts: object) -> None:
        self.calls.append(("cell", name, notebook, assignment, facts))
        self.cells.setdefault(assignment, {})[name] = SimpleNamespace(name=name, **facts)

    def update_or_create_submission(self, assignment: str, student: str) -> None:
        self.calls.append(("submission", assignment, student))
        new = [SimpleNamespace(cell=cell, manual_score=None, needs_manual_grade=True) for cell in self.cells[assignment].values()]
        self.grades.setdefault((assignment, student), new)

    def find_submission_notebook(self, notebook: str, assignment: str, student: str) -> SimpleNamespace:
        return SimpleNamespace(grades=self.grades[assignment, student])

    def find_notebook(self, name: str, assignment: str) -> SimpleNamespace:
        return SimpleNamespace(grade_cells=list(self.cells[assignment].values()))

    def find_grade(self, grade_cell: str, notebook: str, assignment: str, student: str) -> SimpleNamespace:
        (grade,) = [g for g in self.grades[assignment, student] if g.cell.name == grade_cell]
        return grade

    def scores(self, student: str) -> dict[str, tuple[float | None, bool]]:
        found = [g for (_, who), grades in self.grades.items() if who == student for g in grades]
        return {g.cell.name: (g.manual_score, g.needs_manual_grade) for g in found}


def test_a_gradebook_gets_an_assignment_a_chapter_and_a_cell_a_check_before_the_submission(report: Report) -> None:
    """The names and the order of the arguments are those of nbgrader.api.Gradebook (nbgrader 0.9)."""
    gradebook = Gradebook()
    export.into_gradebook(report, gradebook, "ann")
    cell = ("02-corosync", "02-corosync")
    assert gradebook.calls == [
        ("student", "ann"),
        ("assignment", "02-corosync"),
        ("notebook", "02-corosync", "02-corosync"),
        ("cell", "02-corosync/members", *cell, {"max_score": 2, "cell_type": "code"}),
        ("cell", "02-corosync/quorum", *cell, {"max_score": 2, "cell_type": "code"}),
        ("cell", "02-corosync/resource", *cell, {"max_score": 2, "cell_type": "code"}),
        ("cell", "02-corosync/lab", *cell, {"max_score": 2, "cell_type": "code"}),
        ("cell", "02-corosync/fencing", *cell, {"max_score": 1, "cell_type": "code"}),
        ("submission", "02-corosync", "ann"),
        ("commit",),
        ("assignment", "03-pacemaker"),
        ("notebook", "03-pacemaker", "03-pacemaker"),
        ("cell", "03-pacemaker/held-back/dc", "03-pacemaker", "03-pacemaker", {"max_score": 1, "cell_type": "code"}),
        ("submission", "03-pacemaker", "ann"),
        ("commit",),
    ]


def test_a_gradebooks_points_are_the_reports_and_wait_for_nobody(report: Report) -> None:
    gradebook = Gradebook()
    export.into_gradebook(report, gradebook, "ann")
    assert gradebook.scores("ann") == {
        "02-corosync/members": (2, False), "02-corosync/quorum": (0.67, False), "02-corosync/resource": (0, False),
        "02-corosync/lab": (0, False), "02-corosync/fencing": (1, False), "03-pacemaker/held-back/dc": (1, False),
    }  # fmt: skip


def test_points_that_are_entered_again_replace_the_old_ones_of_that_student(report: Report) -> None:
    gradebook = Gradebook()
    for student in ("ann", "bob"):
        export.into_gradebook(report, gradebook, student)
    report.chapters[0].checks[1].points = 2
    export.into_gradebook(report, gradebook, "ann")
    assert [gradebook.scores(student)["02-corosync/quorum"] for student in ("ann", "bob")] == [(2, False), (0.67, False)]


def test_a_held_back_check_that_is_run_later_is_added_to_the_submission(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """`nbgrader.api.Grade` is made for a cell that came after the submission; the stand-in is a plain object."""
    monkeypatch.setitem(sys.modules, "nbgrader", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "nbgrader.api", SimpleNamespace(Grade=SimpleNamespace))
    gradebook = Gradebook()
    export.into_gradebook(report, gradebook, "ann")
    report.chapters[0].checks.append(check("held-back/secret", points=1, held_back=True))
    export.into_gradebook(report, gradebook, "ann")
    export.into_gradebook(report, gradebook, "ann")
    scores = gradebook.scores("ann")
    assert (len(scores), scores["02-corosync/held-back/secret"], scores["02-corosync/members"]) == (7, (1, False), (2, False))
