"""`make exercises`: every exercise left blank, and every chapter with all its solutions. Runs in the lab host.

    python -m tests.exercises [NAME…] [--some N [--to CHAPTER]]

First the chapters in the edition for a class, complete: no cell may raise, so each exercise's checks pass where
the student meets them. Then, for each exercise, the lab goes back to the start of its chapter and the chapter
runs with that one cell blank; what comes after it may raise, as it may for a student. None of the checks that it
names may pass. Then the student's next try: the cell is filled in and runs again, with those up to its checks, and
once more, as somebody does who got a value wrong; its checks pass. Names or a number leave the first part to the
test of the chain. Ends with 1 when an exercise is not as it should be.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from datetime import date
from pathlib import Path
from unittest.mock import patch

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from rich.console import Console

from halab import chain, exercise, grading, replay, student
from halab.exercise import Exercise
from halab.lab import Lab, current
from halab.wait import seconds

#: What is blank stays blank: waiting half as long as a grader is enough.
HASTE = 0.5
screen = Console(highlight=False, soft_wrap=True, emoji=False)


def edition(lab: Lab, chapter: str) -> nbformat.NotebookNode:
    """The complete chapter for this lab, with a cell that checks each exercise."""
    return student.edition(nbformat.read(chain.NOTEBOOKS / f"{chapter}.ipynb", as_version=4), chapter, lab.settings)


def execute(notebook: nbformat.NotebookNode, kernel: AsyncKernelManager) -> list[str]:
    """Run all cells, those after an error too; what they raised, as `cell: error`."""
    client = NotebookClient(notebook, km=kernel, timeout=int(seconds(chain.CELL_DEADLINE)), interrupt_on_timeout=True, allow_errors=True)
    client.execute()
    errors = [(cell.id, o) for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type == "error"]
    return [f"{cell}: {error.ename}: {error.evalue}" for cell, error in errors]


def blank(lab: Lab, one: Exercise) -> nbformat.NotebookNode:
    """Its chapter with that cell blank, up to the cell after which its checks run."""
    notebook = edition(lab, one.chapter)
    empty = {cell.id: cell.source for cell in student.cleared(notebook).cells}
    for cell in notebook.cells:
        if cell.id == one.cell:
            cell.source = empty[one.cell]
    last = [cell.id for cell in notebook.cells].index(one.after)
    notebook.cells = [cell for cell in notebook.cells[: last + 1] if not cell.id.startswith("check-")]
    return notebook


def verdicts(one: Exercise) -> dict[str, str]:
    """What the exercise's checks say now, by their ids."""
    scale = float(os.environ.get("HALAB_TIMEOUT_SCALE", "1")) * HASTE
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, HALAB_TIMEOUT_SCALE=str(scale)):
        report = grading.run([one.chapter], Path(folder) / "report.json", only=one.checks)
    return {check.id: check.verdict for check in report.chapter(one.chapter).checks}


def filled_in(lab: Lab, one: Exercise) -> nbformat.NotebookNode:
    """The complete cell and those after it, up to the one after which its checks run; the cell twice."""
    notebook = edition(lab, one.chapter)
    ids = [cell.id for cell in notebook.cells]
    cells = notebook.cells[ids.index(one.cell) : ids.index(one.after) + 1]
    notebook.cells = [deepcopy(cells[0]), *(cell for cell in cells if not cell.id.startswith("check-"))]
    notebook.cells[0].id += "-first"
    return notebook


def tried(lab: Lab, one: Exercise, line: Callable[[str], None]) -> list[str]:
    """What is wrong with this exercise; nothing when its checks notice that it is blank, and pass once it is filled in."""
    replay.reset(lab, one.chapter, line)
    with ExitStack() as kernels:
        kernel = chain._kernel(kernels)
        raised, seen = execute(blank(lab, one), kernel), verdicts(one)
        again, then = execute(filled_in(lab, one), kernel), verdicts(one)
    found = [f"nothing raised where {one.cell} is blank"] if not any(text.startswith(f"{one.cell}:") for text in raised) else []
    found += [f"{check} is {seen[check]} though the exercise is blank" for check in one.checks if seen[check] not in ("failed", "skipped")]
    found += [] if "failed" in seen.values() else [f"no check failed: {seen}"]
    return found + [f"{check} is {then[check]} at the second try: {again}" for check in one.checks if then[check] != "passed"]


def rotating(count: int, last: str | None) -> list[str]:
    """`count` exercises of the chapters up to `last`, others every day."""
    chapters, start = chain.pick(None, last), date.today().toordinal() * count
    names = [name for name, one in exercise.known().items() if one.chapter in chapters]
    return [names[(start + k) % len(names)] for k in range(count)]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", choices=[[], *exercise.known()])
    parser.add_argument("--some", type=int)
    parser.add_argument("--to", help="with --some: the last chapter that they are taken from")
    asked = parser.parse_args()
    names = asked.names or (rotating(asked.some, asked.to) if asked.some else list(exercise.known()))
    lab, wrong = current(), 0

    def tell(what: str, found: list[str]) -> None:
        nonlocal wrong
        wrong += bool(found)
        screen.print(f"{'WRONG' if found else 'ok   '} {what}", markup=False)
        for line in found:
            screen.print(f"      {line}", markup=False)

    if len(names) == len(exercise.known()):
        for chapter in chain.chapters():
            with ExitStack() as kernels:
                tell(f"{chapter}, complete", execute(edition(lab, chapter), chain._kernel(kernels)))
    for name in names:
        one = exercise.find(name)
        tell(f"{one.chapter}, {name} left blank, then filled in", tried(lab, one, lambda text: None))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
