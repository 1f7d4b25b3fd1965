"""halab: a real three-node Linux HA cluster for notebooks, and the checks that grade it.

Three nouns carry the package: `Lab` (the topology and what runs it), `Node` (one machine) and
`Report` (verdicts of checks). A notebook begins with

    %load_ext halab
    lab = halab.begin("02-corosync")
"""

from halab.errors import StudentError
from halab.expect import become as eventually
from halab.lab import Lab, Sight
from halab.lab import current as lab
from halab.node import Node
from halab.report import Report
from halab.stage import begin, reset

__all__ = ["Lab", "Node", "Report", "Sight", "StudentError", "begin", "check", "eventually", "lab", "reset"]
__version__ = "0.1.0"


def check(chapter: str) -> None:
    """Run the checks of a chapter and show the table of verdicts (`halab.grading.check`)."""
    from halab import grading

    grading.check(chapter)


def load_ipython_extension(shell) -> None:
    """Called by `%load_ext halab`: the cell magics %%host, %%node, %%nodes and %%console, and a line under long cells."""
    from halab import magics, patience

    magics.register(shell)
    patience.watch(shell)
