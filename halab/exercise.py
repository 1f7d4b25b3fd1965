"""The exercises: cells of the chapters that a student writes, the checks that hold each, and one way to do it.

The chapters in `notebooks/` are complete. An exercise is a code cell there whose solution stands between
nbgrader's markers, and whose metadata says what it is:

    "halab": {"exercise": "hosts", "checks": ["01-environment/names"], "after": "01-44"}

`checks` hold it. They run after the cell `after` (the exercise's own when none is named), where they can
first pass. `halab.student` makes the student's edition of it.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbformat

from halab.errors import UsageError
from halab.settings import Settings

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


@dataclass(frozen=True)
class Exercise:
    """`cell` and `after` are ids of cells; `checks` ids of checks, all of its own chapter; `text` the complete cell."""

    name: str
    chapter: str
    cell: str
    after: str
    checks: tuple[str, ...]
    text: str

    @property
    def solution(self) -> str:
        """The complete cell, as somebody would type it."""
        return "\n".join(line for line in self.text.splitlines() if line.strip() not in (BEGIN, END))


def of(notebook: nbformat.NotebookNode, chapter: str) -> list[Exercise]:
    """The exercises of a chapter's notebook, in order."""
    found = []
    for cell in notebook.cells:
        about = cell.metadata.get("halab", {})
        if "exercise" in about:
            after = about.get("after", cell.id)
            found.append(Exercise(about["exercise"], chapter, cell.id, after, tuple(about["checks"]), cell.source))
    return found


@cache
def known() -> dict[str, Exercise]:
    """name -> exercise, of all chapters."""
    paths = sorted(NOTEBOOKS.glob("[0-9][0-9]-*.ipynb"))
    return {e.name: e for path in paths for e in of(nbformat.read(path, as_version=4), path.stem)}


def find(name: str) -> Exercise:
    """Raises UsageError."""
    if name not in known():
        raise UsageError(f"{name} is an exercise", fix="the exercises are " + ", ".join(known()))
    return known()[name]


def tried(name: str, settings: Settings) -> bool:
    """Was this exercise checked in the lab that runs? An attempt counts, whether it was right or not."""
    return _mark(name, settings).exists()


def keep_attempt(name: str, settings: Settings) -> None:
    """In the one folder of the lab that is its owner's, beside the checks' attempts; it goes when the lab goes."""
    mark = _mark(name, settings)
    if mark.parent.parent.exists():
        mark.parent.mkdir(exist_ok=True)
        mark.touch()


def _mark(name: str, settings: Settings) -> Path:
    return settings.folder / "keys" / "tried" / name
