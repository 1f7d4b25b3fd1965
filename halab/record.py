"""Keep a run's outputs in the notebooks: `python -m halab.record` after a `halab run` that passed.

What is committed is what a reader sees and what nbval compares: outputs, without times, machine names
or anything that papermill adds.
"""

from pathlib import Path

import nbformat

from halab import chain
from halab.errors import UsageError
from halab.report import Report

#: The kernel's own description; everything else in a notebook's metadata is an editor's.
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
#: What a cell's metadata may say: tags, what locks a cell in JupyterLab, an exercise's and nbgrader's own.
KEPT = ("tags", "deletable", "editable", "halab", "nbgrader")


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with its outputs and nothing of the run that made them."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.cells = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    count = 0
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({key: cell.metadata[key] for key in KEPT if cell.metadata.get(key) not in (None, [], {})})
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = count
    return notebook


def record(run: Path) -> list[str]:
    """Copy the outputs of a run's chapters into `notebooks/`; their names. Raises UsageError unless all passed."""
    report = Report.load(run / "report.json")
    if report.exit_code:
        raise UsageError("the run passed", str(report), "halab run")
    for chapter in report.chapters:
        executed = nbformat.read(run / f"{chapter.name}.ipynb", as_version=4)
        nbformat.write(clean(executed), chain.NOTEBOOKS / f"{chapter.name}.ipynb")
    return [chapter.name for chapter in report.chapters]


if __name__ == "__main__":
    print("recorded", ", ".join(record(chain.RUNS / "latest")))
