"""What is kept of an executed notebook."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from halab import chain
from halab.errors import UsageError
from halab.record import clean, record
from halab.report import Chapter, Check, LabFacts, Report


def executed() -> nbformat.NotebookNode:
    output = new_output("execute_result", data={"text/plain": "1"}, execution_count=7)
    injected = new_code_cell("nodes = 3", metadata={"tags": ["injected-parameters"]}, execution_count=1)
    kept = new_code_cell("1", metadata={"tags": ["a"], "papermill": {"duration": 1.5}}, execution_count=7, outputs=[output])
    return new_notebook(cells=[injected, kept], metadata={"papermill": {"start_time": "2026-01-01T00:00:00"}})


def test_outputs_stay() -> None:
    assert clean(executed()).cells[0].outputs[0].data == {"text/plain": "1"}


def test_injected_parameters_go() -> None:
    assert [c.source for c in clean(executed()).cells] == ["1"]


def test_counts_begin_at_one() -> None:
    (cell,) = clean(executed()).cells
    assert (cell.execution_count, cell.outputs[0].execution_count) == (1, 1)


def test_nothing_of_the_run_stays() -> None:
    notebook = clean(executed())
    assert "papermill" not in notebook.metadata
    assert dict(notebook.cells[0].metadata) == {"tags": ["a", "nbval-check-output"]}


def test_what_the_kernel_sent_in_pieces_is_one_output() -> None:
    """Its flushes come when they come: another run would send other pieces."""
    notebook = executed()
    notebook.cells[1].outputs = [new_output("stream", name="stdout", text=text) for text in ("Web", "Site\n")]
    assert [output.text for output in clean(notebook).cells[0].outputs] == ["WebSite\n"]


def a_run(folder: Path, verdict: str = "passed", name: str = "halab") -> Path:
    """A run's folder with one chapter."""
    lab = LabFacts(name=name, engine="lxc", release="trixie", image_digest="d", instance="i", start="s", versions={})
    checks = [Check(id="01-a/b", title="b", verdict=verdict)]
    Report(schema=1, lab=lab, chapters=[Chapter(name="01-a", checks=checks)]).save(folder / "report.json")
    nbformat.write(executed(), folder / "01-a.ipynb")
    return folder


def test_the_chapters_of_a_run_that_passed_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "NOTEBOOKS", kept := tmp_path / "notebooks")
    kept.mkdir()
    assert record(a_run(tmp_path)) == ["01-a"]
    assert [c.source for c in nbformat.read(kept / "01-a.ipynb", as_version=4).cells] == ["1"]


@pytest.mark.parametrize(("run", "why"), [({"verdict": "failed"}, "the run passed"), ({"name": "mine"}, "name=mine")])
def test_a_run_that_no_reader_would_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: dict, why: str) -> None:
    monkeypatch.setattr(chain, "NOTEBOOKS", tmp_path / "notebooks")
    with pytest.raises(UsageError, match=why):
        record(a_run(tmp_path, **run))
    assert not (tmp_path / "notebooks").exists()


def test_what_an_exercise_and_a_locked_cell_say_of_themselves_stays() -> None:
    notebook = executed()
    about = {"nbgrader": {"grade_id": "a"}, "halab": {"exercise": "a"}, "deletable": False, "editable": False}
    notebook.cells[1].metadata.update(about)
    assert dict(clean(notebook).cells[0].metadata) == {"tags": ["a", "nbval-check-output"], **about}
