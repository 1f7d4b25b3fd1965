"""The report for other programs: JSON, JUnit XML, CSV, and the points of an nbgrader gradebook.

Every form says what it is about: versions, engine, image, the lab's instance and its start; and of each
check how long it took and how often it was tried.
"""

import csv
import io
import re
from typing import Any
from xml.etree import ElementTree

from halab.report import Check, Report

COLUMNS = ("chapter", "check", "title", "verdict", "points", "max_points", "attempts", "seconds", "held_back")
LAB = ("name", "engine", "release", "image_digest", "instance", "start")
#: Verdict -> JUnit's element for it; a warning passes.
ELEMENTS = {"failed": "failure", "error": "error", "skipped": "skipped"}
#: What XML 1.0 has no way to write, such as a terminal's escapes in what a command said.
UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_json(report: Report) -> str:
    return report.model_dump_json(by_alias=True, indent=1)


def as_csv(report: Report) -> str:
    """A line a check (RFC 4180), with the lab's facts in each; versions as `name=version` words."""
    lab = report.lab
    facts = [getattr(lab, name) for name in LAB] + [" ".join(f"{k}={v}" for k, v in lab.versions.items())]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*COLUMNS, *(f"lab_{name}" for name in LAB), "versions"])
    for chapter in report.chapters:
        for c in chapter.checks:
            values = (chapter.name, c.id, c.title, c.verdict, c.points, c.max_points, c.attempts, c.seconds, c.held_back)
            writer.writerow([*values, *facts])
    return text.getvalue()


def as_junit(report: Report) -> str:
    """A test suite a chapter, a test case a check (the JUnit format as Jenkins and GitLab read it)."""
    root = ElementTree.Element("testsuites", name="halab")
    for chapter in report.chapters:
        verdicts = [c.verdict for c in chapter.checks]
        suite = ElementTree.SubElement(
            root, "testsuite", name=chapter.name, tests=str(len(verdicts)), failures=str(verdicts.count("failed")),
            errors=str(verdicts.count("error")), skipped=str(verdicts.count("skipped")),
            timestamp=report.lab.start, time=f"{sum(c.seconds for c in chapter.checks):.3f}",
        )  # fmt: skip
        facts = {name: getattr(report.lab, name) for name in LAB} | report.lab.versions | {"not_run": str(chapter.not_run)}
        _properties(suite, facts)
        for c in chapter.checks:
            _case(suite, chapter.name, c)
    ElementTree.indent(root)
    return UNWRITABLE.sub("\ufffd", ElementTree.tostring(root, encoding="unicode", xml_declaration=True)) + "\n"


def _case(suite: ElementTree.Element, chapter: str, c: Check) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=chapter, name=c.title, time=f"{c.seconds:.3f}")
    _properties(case, {"id": c.id, "points": f"{c.points:g}", "max_points": f"{c.max_points:g}", "attempts": str(c.attempts)})
    if c.verdict in ELEMENTS:
        first = c.message.splitlines()[0] if c.message else c.verdict
        ElementTree.SubElement(case, ELEMENTS[c.verdict], message=first).text = c.message


def _properties(parent: ElementTree.Element, facts: dict[str, str]) -> None:
    properties = ElementTree.SubElement(parent, "properties")
    for name, value in facts.items():
        ElementTree.SubElement(properties, "property", name=name, value=value)


def into_gradebook(report: Report, gradebook: Any, student: str) -> None:
    """Enter the points into an nbgrader gradebook (`nbgrader.api.Gradebook`): an assignment a chapter, a
    manually graded cell a check. The points come from this report and from nowhere in the student's
    notebook: a kernel that nbgrader runs trusts what the student wrote."""
    gradebook.update_or_create_student(student)
    for chapter in report.chapters:
        gradebook.update_or_create_assignment(chapter.name)
        gradebook.update_or_create_notebook(chapter.name, chapter.name)
        for c in chapter.checks:
            gradebook.update_or_create_grade_cell(c.id, chapter.name, chapter.name, max_score=c.max_points, cell_type="code")
        gradebook.update_or_create_submission(chapter.name, student)
        _grade_new_cells(gradebook, chapter.name, student)
        for c in chapter.checks:
            grade = gradebook.find_grade(c.id, chapter.name, chapter.name, student)
            grade.manual_score, grade.needs_manual_grade = c.points, False
        gradebook.db.commit()


def _grade_new_cells(gradebook: Any, name: str, student: str) -> None:
    """nbgrader gives a submission the cells of its day; those that came later, as held-back checks do, are added."""
    notebook = gradebook.find_submission_notebook(name, name, student)
    graded = {grade.cell.name for grade in notebook.grades}
    for cell in gradebook.find_notebook(name, name).grade_cells:
        if cell.name not in graded:
            from nbgrader.api import Grade

            gradebook.db.add(Grade(cell=cell, notebook=notebook))
