"""The executed notebook is kept while it is made, and at its end, but not twice a cell."""

from datetime import timedelta

import nbformat
import pytest
from nbformat import v4
from papermill.iorw import write_ipynb

from halab import executed
from halab.executed import Keeper


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """(a record of three cells, the numbers of completed cells in each writing)"""
    path, written = tmp_path / "x.ipynb", []

    def write(nb, to):
        write_ipynb(nb, to)
        written.append(sum(c.metadata.papermill.status == "completed" for c in nbformat.read(to, 4).cells))

    monkeypatch.setattr("papermill.engines.write_ipynb", write)
    nb = v4.new_notebook(cells=[v4.new_code_cell(f"{k}") for k in range(3)])
    nb.metadata.papermill = {}
    for cell in nb.cells:
        cell.metadata.papermill = {}
    return Keeper(nb, str(path), progress_bar=False), written


def run(keeper, per_cell):
    """Every cell once, with a clock on which each takes `per_cell` seconds."""
    now = [keeper.now()]
    keeper.now = lambda: now[0]
    keeper.notebook_start()
    for index, cell in enumerate(keeper.nb.cells):
        keeper.cell_start(cell, index)
        now[0] += timedelta(seconds=per_cell)
        keeper.cell_complete(cell)
    keeper.notebook_complete()


def test_quick_cells_are_written_once_at_the_end(kept):
    keeper, written = kept
    run(keeper, 0.1)
    assert written == [3]


def test_slow_cells_are_written_as_they_end(kept):
    keeper, written = kept
    run(keeper, 1.5)
    assert written == [1, 2, 3, 3]


def test_what_comes_next_is_made_ready_once_before_the_middle_cell(kept):
    keeper, _ = kept
    statuses = []
    keeper.halfway = lambda: statuses.append([cell.metadata.papermill.status for cell in keeper.nb.cells])
    run(keeper, 0.1)
    assert statuses == [["completed", "pending", "pending"]]


def test_papermill_knows_the_way():
    from papermill.engines import papermill_engines

    assert papermill_engines.get_engine(executed.NAME) is executed.Engine
