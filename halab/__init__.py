"""halab: a real three-node Linux HA cluster for notebooks, and the checks that grade it.

Three nouns carry the package: `Lab` (the topology and what runs it), `Node` (one machine) and
`Report` (verdicts of checks). A notebook begins with

    %load_ext halab
    lab = halab.begin("02-corosync")
"""

from halab.errors import StudentError, UsageError
from halab.expect import become as eventually
from halab.lab import Lab, Sight
from halab.lab import current as lab
from halab.node import Node
from halab.predict import Prediction as predict
from halab.report import Report
from halab.stage import begin, reset

__all__ = [
    "Lab", "Node", "Report", "Sight", "StudentError", "begin", "check", "eventually", "lab", "points", "predict", "reset", "solution",
]  # fmt: skip
__version__ = "0.1.0"


def check(chapter: str, only: str | None = None) -> None:
    """Run the checks of a chapter, or only those of one exercise, and show the table of verdicts (`halab.grading.check`)."""
    from halab import grading

    grading.check(chapter, only)


def points(chapter: str) -> float:
    """Run the checks of a chapter, show the table and return the points (`halab.grading.points`)."""
    from halab import grading

    return grading.points(chapter)


def solution(name: str) -> None:
    """Show one way to do an exercise, once it was checked in this lab. Raises UsageError before that."""
    from halab import exercise

    asked, settings = exercise.find(name), lab().settings
    if not exercise.tried(name, settings):
        raise UsageError(
            f"{name} is tried before its solution is shown", "it was not checked yet", f'halab.check("{asked.chapter}", only="{name}")'
        )
    print(asked.solution)


def load_ipython_extension(shell) -> None:
    """Called by `%load_ext halab`: the cell magics %%host, %%node, %%nodes and %%console, and a line under long cells."""
    from halab import magics, patience

    magics.register(shell)
    patience.watch(shell)
