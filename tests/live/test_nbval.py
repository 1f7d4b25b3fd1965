"""What the chapters print is what is committed, and an output that is not is found. The tests share one lab."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest

from halab import chain
from halab.command import Result
from tests.live.livelab import Live, labs

CHECKED = re.compile(r"^FAILED .*::Cell (\d+)", re.M)


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    """A lab of another name than the notebooks have as their default, without nodes."""
    with labs() as make:
        yield make().up("--empty")


def compared(live: Live, *notebooks: Path) -> Result:
    return live.halab("exec", "--", sys.executable, "-m", "tests.nbval", *map(str, notebooks), timeout=1800)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


#: The chapters in the pieces after which something else is done on the lab.
PIECES = {"06": chain.pick(None, "06"), "07": chain.pick("07", "07")}


@pytest.mark.parametrize("last", PIECES)
def test_every_chapter_prints_what_is_committed_and_the_checks_of_drills_notice_what_is_broken(live: Live, last: str) -> None:
    """After 06 and after 07 one mutant, another one each day: the checks of these inject faults, and take a minute each time."""
    notebooks = [chain.NOTEBOOKS / f"{name}.ipynb" for name in PIECES[last]]
    done = compared(live, *notebooks)
    assert done.ok, done.stdout + done.stderr
    assert f" {sum(len(code_cells(path)) for path in notebooks)} passed" in done.stdout
    done = live.halab("exec", "--", sys.executable, "-m", "tests.mutants", "--stage", last, "--some", "1", timeout=900)
    assert done.ok, done.stdout + done.stderr


def test_a_wrong_output_fails_and_names_its_cell(live: Live, tmp_path: Path) -> None:
    """A chapter whose committed outputs were falsified: an address, a verdict, one that is missing, one too many."""
    notebook = nbformat.read(chain.NOTEBOOKS / "01-environment.ipynb", as_version=4)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    falsified = {
        "address": falsify(code, "hello 203.0.113.1", "hello 203.0.113.2"),
        "verdict": falsify(code, "✔ passed", "✘ failed"),
        "missing": next(k for k, c in enumerate(code) if c.outputs),
        "too many": next(k for k, c in enumerate(code) if not c.outputs and c.source.startswith("%%host")),
    }
    code[falsified["missing"]].outputs = []
    code[falsified["too many"]].outputs = [nbformat.v4.new_output("stream", text="something\n")]
    nbformat.write(notebook, copy := tmp_path / "01-environment.ipynb")
    done = compared(live, copy)
    assert done.status == 1, done.stdout + done.stderr
    assert sorted(map(int, CHECKED.findall(done.stdout))) == sorted(falsified.values())
    assert "hello 203.0.113.2" in done.stdout


def falsify(code: list[nbformat.NotebookNode], true: str, false: str) -> int:
    """Replace a text in the outputs of the first cell that printed it; the cell's number."""
    for number, cell in enumerate(code):
        if true in str(cell.outputs):
            text = json.dumps(cell.outputs, ensure_ascii=False)
            cell.outputs = nbformat.from_dict(json.loads(text.replace(true, false, 1)))
            return number
    raise AssertionError(f"no cell printed {true}")


def test_a_lab_that_must_print_other_things_is_refused(new_lab: Callable[..., Live]) -> None:
    done = compared(new_lab(timeout_scale=3).up("--empty"))
    assert done.status == 2
    assert "token=1000" in done.stderr
