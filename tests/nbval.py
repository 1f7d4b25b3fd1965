"""`make nbval`: run the chapters again, and compare what every cell prints with what is committed.

    python -m tests.nbval [NOTEBOOK…]

Runs in the lab host, on a lab with the settings that the outputs were recorded with; its name is free.
nbval compares the cells that carry its tag, which `halab.record` gives to every cell. What may differ is said
in `nbval.cfg`, rule by rule. Pictures alone are not compared (nbval's `skip_compare`): their bytes depend on
fonts and on the seconds that they show. Their sizes are, and the cells around them say the same in words.
"""

import os
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import nbval.kernel
import pytest
from jupyter_client.manager import KernelManager
from nbval.plugin import IPyNbCell

from halab import chain
from halab.errors import HalabError, HostDown, UsageError
from halab.lab import current
from halab.settings import Settings
from halab.wait import seconds

ROOT = Path(__file__).parents[1]
RULES = Path(__file__).with_suffix(".cfg")
#: Settings that change what the cells print.
RECORDED_WITH = ("engine", "release", "nodes", "subnet", "virtual_ip", "bridge", "outside", "memory", "token", "state")
#: A cell that fails can make all after it fail, each after its own deadline.
ENOUGH = 20


class Chapters:
    """A pytest plugin: kernels that listen on no port, as `halab.chain` starts them, and the lab's own name."""

    def __init__(self, lab_name: str, folder: str) -> None:
        self.lab_name = lab_name
        self.files = (f"{folder}/kernel-{k}.json" for k in count())
        nbval.kernel.KernelManager = self.kernel

    def kernel(self, **options: object) -> KernelManager:
        return KernelManager(transport="ipc", connection_file=next(self.files), **options)

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """As papermill does: what the cell tagged `parameters` says holds unless told otherwise."""
        if isinstance(item, IPyNbCell) and "parameters" in item.cell.metadata.get("tags", []):
            item.cell.source += f"\nlab_name = {self.lab_name!r}"


def settings() -> Settings:
    """Those of the lab around us. Raises HostDown; UsageError when it must print other things than what is committed."""
    lab, usual = current(), Settings.model_construct()
    if not lab.host.inside:
        raise HostDown("nbval runs inside the lab host", "on the machine", "make nbval")
    for name in RECORDED_WITH:
        if (seen := getattr(lab.settings, name)) != (wanted := getattr(usual, name)):
            raise UsageError(f"outputs are compared on a lab with {name}={wanted}", f"it has {name}={seen}", "make nbval without it")
    return lab.settings


def compare(notebooks: Sequence[str], lab_name: str) -> int:
    """pytest's exit code: 0 when every cell of these notebooks, in this order, prints what it printed."""
    options = ["--nbval-lax", "--nbval-current-env", f"--nbval-sanitize-with={RULES}"]
    options += [f"--nbval-cell-timeout={seconds(chain.CELL_DEADLINE)}", f"--maxfail={ENOUGH}", "--color=no", "-o", "verbosity_assertions=2"]
    options += ["-c", f"{ROOT}/pyproject.toml", "-p", "no:cacheprovider"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # nbval is imported here before pytest could rewrite it
    with TemporaryDirectory() as folder:
        os.environ["HALAB_REPORT"] = f"{folder}/report.json"
        return pytest.main([*options, *notebooks], plugins=[Chapters(lab_name, folder)])


def main(*notebooks: str) -> int:
    """`compare` these notebooks, or all chapters, on the lab around us. Raises HostDown, UsageError."""
    chapters = [str(chain.NOTEBOOKS / f"{chapter}.ipynb") for chapter in chain.chapters()]
    return compare(notebooks or chapters, settings().name)


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except HalabError as error:
        print(f"nbval: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
