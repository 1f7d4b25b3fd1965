"""Editions of the chapters: the student's, without solutions, and a course for nbgrader, with them.

Both come from the complete chapters. After each exercise stands a locked cell that runs just its checks;
the last cell runs them all and returns the points as a number, which nbgrader takes as partial credit.
The stub that stands for a solution fails clearly in a Python cell and in a shell cell alike.
"""

import re
from copy import deepcopy
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell

from halab.errors import UsageError
from halab.exercise import NOTEBOOKS, of
from halab.settings import Settings

#: Python: "name 'your_answer_is_missing' is not defined". A shell: "your_answer_is_missing: command not found".
STUB = "# YOUR ANSWER HERE, in place of the next line\nyour_answer_is_missing"
SOLUTION = re.compile(r"(?ms)^([ \t]*)### BEGIN SOLUTION\n.*?^[ \t]*### END SOLUTION$")
#: nbgrader's configuration of a course: the same stub, and time for a cell that waits for a cluster.
CONFIG = f"""c = get_config()
c.CourseDirectory.course_id = "halab"
c.ClearSolutions.code_stub = {{"python": {STUB!r}}}
c.Execute.timeout = 600
"""
README = """# Your workbook

Begin with [01-environment](01-environment.ipynb), and go on in order.

- Run a chapter's cells from the top. Where a cell says `your_answer_is_missing`, the task stands above it: put your answer in
  place of those two lines and run it.
- A locked cell, right after an exercise or further down, checks it. What is red says what was expected, what was seen, and gives a hint; on
  the second try, a stronger one.
- After a try, `halab.solution("NAME")` in a new cell shows one way to do it.
- When nothing helps: `halab reset NN-chapter` in a terminal brings the lab to the start of that chapter, with all before it done.
- Where a cell asks you to predict, write your guess before you run what follows. Being wrong teaches most.

The words of this trade are in the [glossary](glossary.md), the way through the chapters on the [map](map.md).
"""


def write_student(folder: Path, settings: Settings) -> list[Path]:
    """The student's edition: what it wrote. Raises UsageError when there is something in `folder` already."""
    _empty(folder)
    notebooks = {f"{name}.ipynb": cleared(notebook) for name, notebook in _class_edition(settings).items()}
    pages = {path.name: path.read_text() for path in NOTEBOOKS.glob("*.md")}
    return _write(folder, {**notebooks, **pages, "README.md": README})


def write_course(folder: Path, settings: Settings) -> list[Path]:
    """A course for nbgrader, an assignment a chapter. Raises UsageError when there is something in `folder` already."""
    _empty(folder)
    notebooks = {f"source/{name}/{name}.ipynb": notebook for name, notebook in _class_edition(settings).items()}
    return _write(folder, {**notebooks, "nbgrader_config.py": CONFIG})


def _class_edition(settings: Settings) -> dict[str, nbformat.NotebookNode]:
    paths = sorted(NOTEBOOKS.glob("[0-9][0-9]-*.ipynb"))
    return {path.stem: edition(nbformat.read(path, as_version=4), path.stem, settings) for path in paths}


def edition(notebook: nbformat.NotebookNode, chapter: str, settings: Settings) -> nbformat.NotebookNode:
    """A complete chapter for a class: without outputs, for the lab of these settings, with a cell to check each exercise."""
    made = blank(notebook, settings)
    checks: dict[str, list[nbformat.NotebookNode]] = {}
    for exercise in of(made, chapter):
        checks.setdefault(exercise.after, []).append(_check_cell(chapter, exercise.name))
    made.cells = [new for cell in made.cells for new in (cell, *checks.get(cell.id, ()))]
    last = [cell for cell in made.cells if cell.cell_type == "code"][-1]
    last.source = last.source.replace("halab.check(", "halab.points(")
    return made


def blank(notebook: nbformat.NotebookNode, settings: Settings) -> nbformat.NotebookNode:
    """A chapter as somebody begins it: nothing executed, its parameters those of this lab."""
    made = deepcopy(notebook)
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = f'lab_name = "{settings.name}"\nengine = "{settings.engine}"\nnodes = {settings.nodes}'
    return made


def exercises(notebook: nbformat.NotebookNode, chapter: str, settings: Settings) -> nbformat.NotebookNode:
    """A chapter of the student's edition: its exercises to do, and after each a cell that checks it."""
    return cleared(edition(notebook, chapter, settings))


def cleared(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without solutions, as nbgrader's ClearSolutions with our stub would leave it; locked cells cannot be changed by accident."""
    made = deepcopy(notebook)
    for cell in made.cells:
        cell.source = SOLUTION.sub(_stub, cell.source)
        if cell.metadata.get("nbgrader", {}).get("locked"):
            cell.metadata.update(deletable=False, editable=False)
    return made


def _stub(found: re.Match[str]) -> str:
    return "\n".join(found[1] + line for line in STUB.splitlines())


def _check_cell(chapter: str, name: str) -> nbformat.NotebookNode:
    mine = {"schema_version": 3, "grade": False, "solution": False, "locked": True, "task": False, "grade_id": f"check-{name}"}
    return new_code_cell(f'halab.check("{chapter}", only="{name}")', id=f"check-{name}", metadata={"nbgrader": mine})


def _empty(folder: Path) -> None:
    if folder.is_file() or (folder.exists() and any(folder.iterdir())):
        raise UsageError(
            f"{folder} is a new or an empty folder", "there is something in it", "another DIR: what you wrote is not overwritten"
        )


def _write(folder: Path, files: dict[str, nbformat.NotebookNode | str]) -> list[Path]:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else nbformat.writes(content) + "\n")
    return [folder / name for name in files]
