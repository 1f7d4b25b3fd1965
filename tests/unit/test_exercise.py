"""Exercises: found in a chapter's notebook, and their solutions, shown to those who tried."""

import json
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import halab
from halab import exercise, grading
from halab.errors import UsageError
from halab.grading import FellShort
from halab.settings import Settings

SOLVED = "%%node pacemaker01\n### BEGIN SOLUTION\necho right\n### END SOLUTION\necho shown"


@pytest.fixture
def chapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[nbformat.NotebookNode]:
    """A chapter with one exercise takes the place of ours."""
    about = {"exercise": "echo", "checks": ["02-corosync/it"], "after": "look"}
    cells = [new_markdown_cell("Say it."), new_code_cell(SOLVED, id="say", metadata={"halab": about}), new_code_cell("1", id="look")]
    notebook = new_notebook(cells=cells)
    nbformat.write(notebook, tmp_path / "02-corosync.ipynb")
    monkeypatch.setattr(exercise, "NOTEBOOKS", tmp_path)
    exercise.known.cache_clear()
    yield notebook
    exercise.known.cache_clear()


def test_an_exercise_says_its_checks_and_where_they_first_can_pass(chapter: nbformat.NotebookNode) -> None:
    (one,) = exercise.of(chapter, "02-corosync")
    assert (one.name, one.cell, one.after, one.checks) == ("echo", "say", "look", ("02-corosync/it",))


def test_its_checks_run_after_its_own_cell_when_none_is_named(chapter: nbformat.NotebookNode) -> None:
    del chapter.cells[1].metadata["halab"]["after"]
    assert exercise.of(chapter, "02-corosync")[0].after == "say"


def test_a_solution_is_the_whole_cell_without_the_markers(chapter: nbformat.NotebookNode) -> None:
    assert exercise.find("echo").solution == "%%node pacemaker01\necho right\necho shown"


def test_an_exercise_that_is_none_is_refused_with_the_names(chapter: nbformat.NotebookNode) -> None:
    with pytest.raises(UsageError, match="the exercises are echo"):
        exercise.find("ehco")


@pytest.fixture
def keys(about: dict, settings: Settings) -> Path:
    """The folder of the lab that its owner may write to."""
    folder = settings.folder / "keys"
    folder.mkdir()
    return folder


def test_a_solution_is_shown_after_a_try_and_not_before(
    chapter: nbformat.NotebookNode, keys: Path, write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("def test_it(): assert False, 'wrong'\n")
    with pytest.raises(UsageError, match="tried before its solution is shown"):
        halab.solution("echo")
    with pytest.raises(FellShort, match=r"halab\.solution"):
        halab.check("02-corosync", only="echo")
    capsys.readouterr()
    halab.solution("echo")
    assert "echo right" in capsys.readouterr().out


def test_a_check_that_the_lab_failed_is_no_try(chapter: nbformat.NotebookNode, keys: Path, write) -> None:
    write("def test_it(): raise OSError()\n")
    with pytest.raises(halab.errors.LabError):
        halab.check("02-corosync", only="echo")
    with pytest.raises(UsageError):
        halab.solution("echo")


def test_only_the_exercises_checks_run_and_the_chapters_report_stays(
    chapter: nbformat.NotebookNode, keys: Path, write, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HALAB_REPORT", str(path))
    write("def test_it(): pass\ndef test_other(): assert False\n")
    halab.check("02-corosync", only="echo")
    assert "1 of 1 points" in capsys.readouterr().out
    assert not path.exists()


def test_points_are_a_number_also_when_a_check_fails(write, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALAB_REPORT", str(path))
    write("def test_it(): pass\ndef test_other(): assert False\n")
    assert grading.points("02-corosync") == 1
    assert len(json.loads(path.read_text())["chapters"]) == 1
