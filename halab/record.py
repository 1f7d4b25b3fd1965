"""Keep a run's outputs in the notebooks: `make record`, or `python -m halab.record` after a `halab run` that passed.

What is committed is what a reader sees and what nbval compares: outputs, without times, machine names
or anything that papermill adds.
"""

from pathlib import Path

import nbformat
from nbval.plugin import coalesce_streams

from halab import chain
from halab.errors import UsageError
from halab.report import Report
from halab.settings import Settings

#: The kernel's own description; everything else in a notebook's metadata is an editor's.
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
#: By this tag nbval knows what to compare: every cell, also one that prints nothing.
COMPARED = "nbval-check-output"
#: What belongs to a cell itself: its tags, and what protects a graded one.
KEPT = ("tags", "deletable", "editable", "halab", "nbgrader")


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with its outputs and nothing of the run that made them."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.cells = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    count = 0
    for cell in notebook.cells:
        kept = {key: value for key, value in cell.metadata.items() if key in KEPT and value not in ([], {})}
        if cell.cell_type == "code":
            kept["tags"] = list(dict.fromkeys([*kept.get("tags", []), COMPARED]))
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = coalesce_streams(cell.outputs)  # how often the kernel sent what it had is no output
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = count
    return notebook


def record(run: Path) -> list[str]:
    """Copy the outputs of a run's chapters into `notebooks/`; their names.

    Raises UsageError unless all passed, on a lab of the name, engine and release that a reader has by default."""
    report, usual = Report.load(run / "report.json"), Settings.model_construct()
    if report.exit_code:
        raise UsageError("the run passed", str(report), "halab run")
    for name in ("name", "engine", "release"):
        if (seen := getattr(report.lab, name)) != getattr(usual, name):
            raise UsageError(f"the run was on a lab with {name}={getattr(usual, name)}", f"{name}={seen}", "make record without it")
    for chapter in report.chapters:
        executed = nbformat.read(run / f"{chapter.name}.ipynb", as_version=4)
        nbformat.write(clean(executed), chain.NOTEBOOKS / f"{chapter.name}.ipynb")
    return [chapter.name for chapter in report.chapters]


if __name__ == "__main__":
    print("recorded", ", ".join(record(chain.RUNS / "latest")))
