"""What is kept of an executed notebook."""

import nbformat
from nbformat.v4 import new_code_cell, new_notebook, new_output

from halab.record import clean


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
    assert dict(notebook.cells[0].metadata) == {"tags": ["a"]}


def test_what_an_exercise_and_a_locked_cell_say_of_themselves_stays() -> None:
    notebook = executed()
    about = {"nbgrader": {"grade_id": "a"}, "halab": {"exercise": "a"}, "deletable": False, "editable": False}
    notebook.cells[1].metadata.update(about)
    assert dict(clean(notebook).cells[0].metadata) == {"tags": ["a"], **about}
