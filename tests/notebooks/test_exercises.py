"""The exercises of the chapters, and the editions that are made of them."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import nbformat
import pytest

from halab import exercise, grading, student
from halab.errors import UsageError
from halab.settings import Settings
from tests import listing

NOTEBOOKS = sorted(exercise.NOTEBOOKS.glob("*.ipynb"))
EXERCISES = [e for path in NOTEBOOKS for e in exercise.of(nbformat.read(path, as_version=4), path.stem)]
SETTINGS = Settings(name="mine", nodes=4)


def cells(path: Path) -> list[nbformat.NotebookNode]:
    return nbformat.read(path, as_version=4).cells


@pytest.fixture(params=NOTEBOOKS, ids=lambda p: p.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(params=EXERCISES, ids=lambda e: e.name)
def one(request: pytest.FixtureRequest) -> exercise.Exercise:
    return request.param


@pytest.fixture(scope="module")
def edition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The student's edition, as written."""
    folder = tmp_path_factory.mktemp("edition") / "new"
    student.write_student(folder, SETTINGS)
    return folder


def test_each_chapter_has_three_to_six_exercises() -> None:
    assert {name: 3 <= count <= 6 for name, count in Counter(e.chapter for e in EXERCISES).items()} == dict.fromkeys(
        grading.chapters(), True
    )


def test_names_are_unique_over_all_chapters() -> None:
    assert len({e.name for e in EXERCISES}) == len(EXERCISES)


def test_its_checks_are_checks_of_its_chapter(one: exercise.Exercise) -> None:
    assert {check.split("/")[0] for check in one.checks} == {one.chapter}
    assert set(one.checks) <= set(listing.ids())


def test_each_of_its_checks_has_a_hint(one: exercise.Exercise) -> None:
    text = "".join(path.read_text() for path in grading.CHECKS.glob("*.py"))
    for check in one.checks:
        before = text.split(f"def test_{check.split('/')[1]}(")[0]
        assert "hint=" in before[before.rindex("@pytest.mark.check") :], check


def test_its_task_stands_right_above_it(one: exercise.Exercise) -> None:
    all_cells = cells(exercise.NOTEBOOKS / f"{one.chapter}.ipynb")
    above = all_cells[[c.id for c in all_cells].index(one.cell) - 1]
    assert f"**Exercise: {one.name}.**" in above.source


def test_its_checks_run_no_earlier_than_itself(one: exercise.Exercise) -> None:
    ids = [c.id for c in cells(exercise.NOTEBOOKS / f"{one.chapter}.ipynb")]
    assert ids.index(one.after) >= ids.index(one.cell)


def test_each_solution_is_between_markers_in_a_cell_that_nbgrader_knows(path: Path) -> None:
    for cell in cells(path):
        about, mine = cell.metadata.get("halab", {}), cell.metadata.get("nbgrader", {})
        solved = exercise.BEGIN in cell.source
        assert solved == bool(mine.get("solution")) == ("exercise" in about or "prediction" in about), cell.id
        assert cell.source.count(exercise.BEGIN) == cell.source.count(exercise.END) == solved, cell.id


def test_each_prediction_is_compared_later(path: Path) -> None:
    sources = [c.source for c in cells(path) if c.cell_type == "code"]
    predicted = [k for k, source in enumerate(sources) if "halab.predict(" in source]
    compared = [k for k, source in enumerate(sources) if "guess.against(" in source]
    assert predicted, "a chapter asks for a prediction"
    assert len(predicted) == len(compared)
    assert sorted([*predicted, *compared])[::2] == predicted, "each is compared before the next one is asked"


def test_grade_ids_are_unique_in_a_chapter(path: Path) -> None:
    ids = [c.metadata.nbgrader.grade_id for c in cells(path) if "nbgrader" in c.metadata]
    assert len(set(ids)) == len(ids)


def test_the_last_cell_is_worth_what_the_checks_give(path: Path) -> None:
    last = [c for c in cells(path) if c.cell_type == "code"][-1]
    told = re.search(r"(\d+) of (\d+) points", last.outputs[0].data["text/plain"])
    assert told
    assert last.metadata.nbgrader.points == int(told[2]) == int(told[1])


# -- the student's edition -------------------------------------------------------------------------------


def test_the_edition_holds_no_solution_and_no_output(edition: Path) -> None:
    text = "".join(path.read_text() for path in edition.glob("*.ipynb"))
    assert "SOLUTION" not in text
    for path in edition.glob("*.ipynb"):
        assert not [c.id for c in cells(path) if c.get("outputs") or c.get("execution_count")]


def test_what_the_student_writes_is_nowhere_else_before_it(one: exercise.Exercise, edition: Path) -> None:
    """A solution does not stand above its exercise, where it would give it away."""
    solved = one.text.split(exercise.BEGIN)[1].split(exercise.END)[0].strip()
    all_cells = cells(edition / f"{one.chapter}.ipynb")
    above = "\n".join(c.source for c in all_cells[: [c.id for c in all_cells].index(one.cell) + 1])
    assert solved not in above


def test_a_blank_cell_keeps_its_first_line_and_says_what_is_missing(one: exercise.Exercise, edition: Path) -> None:
    (blank,) = [c for c in cells(edition / f"{one.chapter}.ipynb") if c.id == one.cell]
    assert "your_answer_is_missing" in blank.source
    assert blank.source.startswith("%%") == one.text.startswith("%%")


def test_a_locked_cell_checks_each_exercise(one: exercise.Exercise, edition: Path) -> None:
    all_cells = {c.id: c for c in cells(edition / f"{one.chapter}.ipynb")}
    check = all_cells[f"check-{one.name}"]
    assert check.source == f'halab.check("{one.chapter}", only="{one.name}")'
    assert (check.metadata.deletable, check.metadata.editable, check.metadata.nbgrader.locked) == (False, False, True)


def test_the_last_cell_gives_points_as_a_number(path: Path, edition: Path) -> None:
    last = [c for c in cells(edition / path.name) if c.cell_type == "code"][-1]
    assert last.source == f'halab.points("{path.stem}")'
    assert (last.metadata.deletable, last.metadata.editable) == (False, False)


def test_the_edition_is_for_the_lab_that_is_configured(path: Path, edition: Path) -> None:
    (parameters,) = [c for c in cells(edition / path.name) if "parameters" in c.metadata.get("tags", [])]
    assert parameters.source == 'lab_name = "mine"\nengine = "lxc"\nnodes = 4'


def test_everything_that_the_edition_links_to_is_there(edition: Path) -> None:
    text = "\n".join(path.read_text() for path in edition.iterdir())
    assert not [name for name in re.findall(r"\]\(([\w-]+\.(?:ipynb|md))\)", text) if not (edition / name).exists()]


def test_what_a_student_wrote_is_not_overwritten(edition: Path) -> None:
    with pytest.raises(UsageError, match="new or an empty folder"):
        student.write_student(edition, SETTINGS)


def test_the_stub_fails_clearly_in_python_and_in_a_shell() -> None:
    for argv in ([sys.executable, "-c"], ["bash", "-c"]):
        done = subprocess.run([*argv, student.STUB], capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "your_answer_is_missing" in done.stderr


# -- nbgrader's own tools, as far as they need no lab ----------------------------------------------------


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("course") / "new"
    student.write_course(folder, SETTINGS)
    return folder


def test_nbgrader_releases_what_we_give_to_students(path: Path, course: Path, edition: Path) -> None:
    """`generate_assignment` accepts the metadata, and its release has the sources of our own edition."""
    argv = [sys.executable, "-m", "nbgrader", "generate_assignment", path.stem]
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # it calls alembic by name
    done = subprocess.run(argv, cwd=course, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    released = cells(course / "release" / path.stem / path.name)
    assert [c.source for c in released] == [c.source for c in cells(edition / path.name)]
    locked = {c.id for c in released if c.metadata.get("editable") is False}
    assert locked == {c.id for c in cells(edition / path.name) if c.metadata.get("editable") is False}
    assert json.dumps(released).count("checksum")


# -- the pages beside the chapters -----------------------------------------------------------------------


def test_the_map_names_each_chapter_and_each_exercise() -> None:
    text = (exercise.NOTEBOOKS / "map.md").read_text()
    rows = {path.stem: row for path in NOTEBOOKS for row in text.splitlines() if f"({path.name})" in row}
    assert sorted(rows) == [path.stem for path in NOTEBOOKS]
    assert {e.name: e.name in re.split(r"[,|] ?| (?=\|)", rows[e.chapter]) for e in EXERCISES} == dict.fromkeys(
        (e.name for e in EXERCISES), True
    )


def test_the_glossary_has_every_word_of_the_vocabularies() -> None:
    """Those in italics in the cells that begin with Vocabulary."""
    glossary = (exercise.NOTEBOOKS / "glossary.md").read_text().lower()
    cells_ = [c.source for path in NOTEBOOKS for c in cells(path) if c.source.startswith("**Vocabulary.**")]
    words = {word.lower() for source in cells_ for word in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", source)}
    assert len(words) > 20
    assert not [word for word in words if word not in glossary]


def test_the_glossary_is_sorted_and_each_word_has_its_source() -> None:
    rows = [[part.strip() for part in row.split("|")[1:-1]] for row in (exercise.NOTEBOOKS / "glossary.md").read_text().splitlines()[7:]]
    words = [row[0].lower() for row in rows]
    assert words == sorted(words)
    assert all(row[3] for row in rows)
