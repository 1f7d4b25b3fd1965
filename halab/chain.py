"""The chain: the chapters in order by papermill, each to its graded end.

Runs inside the lab host. A run's folder is `runs/START/`, with the executed notebooks under their own
names and `report.json`; `runs/latest` points to the newest. What a chapter left behind, the next one
asks the lab for: the lab is the truth.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import papermill
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.utils import run_sync
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from halab import errors, executed, kept
from halab.errors import LabError, StudentError, UsageError
from halab.lab import Lab
from halab.report import Chapter, Report, lab_facts
from halab.settings import Settings
from halab.wait import seconds

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
RUNS = Path(__file__).parent.parent / "runs"
#: Chapters that do with machines which exist already, or with this machine's own network: 01 makes them, and switches forwarding and
#: rules off to show what they are for; 06 and 07 break and fence nodes by the hypervisor, and drop packets on the bridge.
ANYWHERE = ("02", "03", "04", "05")
#: Seconds that one cell may take.
CELL_DEADLINE = 300


def chapters() -> list[str]:
    """Names of the chapters, in order: `01-environment`, …"""
    return [path.stem for path in sorted(NOTEBOOKS.glob("[0-9][0-9]-*.ipynb"))]


def until(name: str) -> list[Path]:
    """The notebooks of the chapters up to this one."""
    return [NOTEBOOKS / f"{each}.ipynb" for each in chapters() if each <= name]


def pick(first: str | None, last: str | None) -> list[str]:
    """The chapters from `first` to `last`, each a name or its number. Raises UsageError."""
    names = chapters()

    def index(which: str | None, default: int) -> int:
        if which is None:
            return default
        found = [i for i, name in enumerate(names) if which == name or name.split("-")[0] == which.zfill(2)]
        if not found:
            raise UsageError(f"{which} is a chapter", fix="the chapters are " + ", ".join(names))
        return found[0]

    chosen = names[index(first, 0) : index(last, len(names) - 1) + 1]
    if not chosen:
        raise UsageError("--from names a chapter before --to", f"{first} to {last}")
    return chosen


def possible(names: list[str], settings: Settings) -> list[str]:
    """Those of these chapters that this lab can do. Raises UsageError when there is none."""
    private = not settings.machines and settings.host == "private"
    if not (left := [name for name in names if private or name[:2] in ANYWHERE]):
        seen = "machines of an inventory" if settings.machines else "this machine's (host = system)"
        raise UsageError(f"{', '.join(names)}: a hypervisor and a network of the lab's own", seen, "halab run --from 02 --to 05")
    return left


def enough(names: list[str], nodes: int) -> None:
    """From chapter 04 on a node dies, and what is left must be a majority. Raises UsageError below 3 nodes."""
    dying = [name for name in names if int(name.split("-")[0]) >= 4]
    if dying and nodes < 3:
        raise UsageError(f"{dying[0]} has three nodes or more", f"{nodes} nodes", "halab down; HALAB_NODES=3 halab run, or --to 03")


class Run:
    """One run of the chain: a folder, and a report that grows."""

    def __init__(self, lab: Lab, names: list[str], *, folder: Path | None = None) -> None:
        self.lab, self.names = lab, names
        self.folder = folder or _new_folder()
        self.path = self.folder / "report.json"

    @property
    def report(self) -> Report:
        """Verdicts so far; with none yet, an empty report about this lab."""
        if self.path.exists():
            return Report.load(self.path)
        return Report(schema=1, lab=lab_facts(self.lab.host.about))

    def execute(self, line: Callable[[str], None]) -> int:
        """Run the chapters; stop at the first that falls short. Returns the exit code of the design.

        Each chapter has a kernel of its own; the next one's starts when half of this chapter is done: by then nothing is
        installed any more, and most of the time is waiting for the cluster."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._point_latest()
        self.report.save(self.path)
        os.environ["HALAB_REPORT"] = str(self.path)
        with ExitStack() as stack:
            ends = [stack.enter_context(ExitStack()) for _ in self.names]
            kernel = cache(lambda number: _kernel(ends[number]) if number < len(ends) else None)
            for number, name in enumerate(self.names):
                line(f"{name} …")
                code = self._chapter(name, kernel(number), halfway=partial(kernel, number + 1))
                line(f"{name}: {self._verdict(name, code)}")
                if code:
                    return code
                kept.keep(self.lab, until(name), line)
                ends[number].close()
        return 0

    def _chapter(self, name: str, kernel: AsyncKernelManager | None, halfway: Callable[[], object]) -> int:
        target = self.folder / f"{name}.ipynb"
        s = self.lab.settings
        try:
            papermill.execute_notebook(
                _plain(NOTEBOOKS / f"{name}.ipynb"), _plain(target), km=kernel, kernel_name="python3", engine_name=executed.NAME,
                progress_bar=False, log_output=False, execution_timeout=int(seconds(CELL_DEADLINE)), interrupt_on_timeout=True,
                halfway=halfway,
                parameters={"lab_name": s.name, "engine": s.engine, "nodes": s.nodes},
            )  # fmt: skip
        except PapermillExecutionError as error:
            return self._ended_early(name, error.ename, f"cell {error.exec_count}: {error.ename}: {error.evalue}")
        except (DeadKernelError, CellTimeoutError, RuntimeError) as error:
            return self._ended_early(name, "LabError", f"{type(error).__name__}: {str(error).splitlines()[0]}")
        checked = self.report.chapter(name)
        if not checked.checks:
            return self._ended_early(name, "StudentError", "the chapter ended without being graded")
        return checked.exit_code

    def _ended_early(self, name: str, kind: str, message: str) -> int:
        """Say in the run's folder why a chapter stopped; whose fault it is follows from the error's class.

        An error that is not one of ours came from what the cell says, and is the student's; but a cell is interrupted when it
        takes longer than it may (`CELL_DEADLINE`), and libvirt is the lab's."""
        (self.folder / f"{name}.error").write_text(message + "\n")
        kind = "LabError" if kind in ("KeyboardInterrupt", "libvirtError") else kind
        code = getattr(getattr(errors, kind, StudentError), "exit_code", StudentError.exit_code)
        graded = self.report.chapter(name)
        return max(code, graded.exit_code) if graded.checks else code

    def _verdict(self, name: str, code: int) -> str:
        chapter: Chapter = self.report.chapter(name)
        word = {0: "passed", 1: "falls short", 2: "wrong use", 3: "the lab failed"}[code]
        error = self.folder / f"{name}.error"
        why = f" ({error.read_text().splitlines()[0]})" if error.exists() else ""
        return f"{word}, {chapter.points:g} of {chapter.max_points:g} points{why}"

    def _point_latest(self) -> None:
        link = RUNS / "latest"
        if self.folder.parent == RUNS:
            link.unlink(missing_ok=True)
            link.symlink_to(self.folder.name)


def _new_folder() -> Path:
    """`runs/START`, made now; `runs/START.2` when another lab's run began in the same second. Raises LabError."""
    start = datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
    for name in (start, *(f"{start}.{k}" for k in range(2, 20))):
        with suppress(FileExistsError):
            (RUNS / name).mkdir(parents=True)
            return RUNS / name
    raise LabError("a run has a folder of its own", f"{RUNS / start} and eighteen more are taken", "halab run again")


def _kernel(kernels: ExitStack) -> AsyncKernelManager:
    """A kernel of this project, not of the user's home, that listens on no port; it ends with `kernels`."""
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    sockets = kernels.enter_context(TemporaryDirectory())
    # nbclient awaits its answers; without a file named here, the sockets' names are relative to two working directories.
    kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", connection_file=f"{sockets}/kernel.json")
    run_sync(kernel.start_kernel)(cwd=str(NOTEBOOKS), extra_arguments=["--IPKernelApp.exec_lines=import halab.draw"])
    kernels.callback(run_sync(kernel.shutdown_kernel), now=True)
    return kernel


def _plain(path: Path) -> str:
    """papermill formats braces in a path."""
    return str(path).replace("{", "{{").replace("}", "}}")
