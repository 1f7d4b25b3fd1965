"""nbgrader's own tools on our files: a chapter released, handed in with one exercise blank, graded on a real lab."""

import csv
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from halab import exercise
from halab.command import Result
from tests.live.livelab import Live, labs

CHAPTER, STUDENT, BLANK = "01-environment", "alice", "hosts"


class Course:
    """A course made by `halab student --nbgrader`, and nbgrader in the lab host, where the chapter's kernel must be."""

    def __init__(self, live: Live, folder: Path) -> None:
        self.live, self.folder = live, folder
        assert (made := live.halab("student", "--nbgrader", str(folder))).ok, made.stderr

    def nbgrader(self, *argv: str) -> Result:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # it calls alembic by name
        words = shlex.join([sys.executable, "-m", "nbgrader", *argv])
        done = self.live.halab("exec", "--", "sh", "-c", f"cd {shlex.quote(str(self.folder))} && PATH={path} {words} 2>&1", timeout=400)
        assert done.ok, done.stdout
        return done

    def student_edition(self) -> Path:
        """What our students work in; it was not made by nbgrader."""
        folder = self.folder.parent / "workbook"
        assert (made := self.live.halab("student", str(folder))).ok, made.stderr
        return folder

    def notebook(self, step: str, *place: str) -> Path:
        return self.folder.joinpath(step, *place, CHAPTER, f"{CHAPTER}.ipynb")


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    with labs() as make:
        live = make()
        assert live.halab("up", "--empty").ok
        yield Course(live, tmp_path_factory.mktemp("course") / "ha")


def without_markers(source: str) -> str:
    """As a student would have typed it."""
    return "\n".join(line for line in source.splitlines() if line.strip() not in (exercise.BEGIN, exercise.END))


def test_a_hand_in_with_one_exercise_blank_gets_part_of_the_points(course: Course) -> None:
    course.nbgrader("generate_assignment", CHAPTER)
    solved = {c.id: without_markers(c.source) for c in nbformat.read(course.notebook("source"), as_version=4).cells}
    handed_in = nbformat.read(course.student_edition() / f"{CHAPTER}.ipynb", as_version=4)
    for cell in handed_in.cells:
        if cell.metadata.get("nbgrader", {}).get("solution") and cell.metadata.nbgrader.grade_id != BLANK:
            cell.source = solved[cell.id]
    target = course.notebook("submitted", STUDENT)
    target.parent.mkdir(parents=True)
    nbformat.write(handed_in, target)

    course.nbgrader("autograde", CHAPTER)
    course.nbgrader("export")
    with (course.folder / "grades.csv").open() as file:
        (row,) = [row for row in csv.DictReader(file) if row["student_id"] == STUDENT]
    most = nbformat.read(target, as_version=4).cells[-2].metadata.nbgrader.points
    assert float(row["max_score"]) == most
    # Names are right on all nodes but one, and what needs them was not checked.
    assert most / 2 < float(row["score"]) < most


def test_the_feedback_has_the_hint_that_the_student_needs(course: Course) -> None:
    course.nbgrader("generate_feedback", CHAPTER)
    (page,) = (course.folder / "feedback" / STUDENT / CHAPTER).glob("*.html")
    text = page.read_text()
    assert "/etc/hosts must be the same on all nodes" in text
    assert "BEGIN SOLUTION" not in text


def test_nbgrader_validates_the_complete_chapter(course: Course) -> None:
    done = course.nbgrader("validate", str(course.notebook("source")))
    assert "Success" in done.stdout
