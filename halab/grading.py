"""Running checks: pytest in a process of its own, so what a notebook's kernel holds can't change a verdict.

`checks/` has a module a chapter. An instructor's folder (`halab check --checks DIR`) adds to them: its
modules are named the same way, and its checks count as held back. How many there are somewhere is said in
`checks/held-back.toml`, so that a score without them says so.
"""

import os
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import IO

import pytest

from halab.errors import LabError, StudentError, UsageError
from halab.lab import current
from halab.lock import only_one
from halab.report import Chapter, Report
from halab.wait import IMPATIENCE, seconds

CHECKS = Path(__file__).parent.parent / "checks"
#: Seconds that the checks of one chapter may take in all; that one which is asked to end may take to heal what it broke.
DEADLINE, HEALING = 600, 180
#: Chapters whose checks break the cluster, and heal it; the lock of who does so, in the lab's folder.
BREAKING, BREAKER = ("06", "07"), "drill.lock"


def chapters(folder: Path | None = None) -> list[str]:
    """Names of the chapters that have checks, in order: `01-environment`, …"""
    return [path.stem.removeprefix("test_").replace("_", "-") for path in sorted((folder or CHECKS).glob("test_*.py"))]


def run(names: list[str], path: Path, *, more: Path | None = None, only: Iterable[str] = (), verbose: bool = False) -> Report:
    """Run the checks of these chapters against the lab, those in the folder `more` too; the report is kept
    at `path` and returned. `only`: these checks, by their ids, and those that they need.

    Raises LabError when the checker itself broke before the end; verdicts reached stay in `path`."""
    folder = str(CHECKS)
    argv = [
        sys.executable, "-P", "-m", "pytest", "-c", os.devnull, "-q", "-p", "halab.plugin", "-p", "no:cacheprovider",
        "-p", "no:unraisableexception",  # at its end it collects garbage five times, for warnings that nobody reads
        "--import-mode=importlib", "-o", f"pythonpath={shlex.quote(folder)}", "--rootdir", folder, "--confcutdir", folder,
        "--halab-report", str(path), *(f"--halab-only={check}" for check in only), *_files(names, more),
    ]  # fmt: skip
    with only_one(current().keys.folder / BREAKER, "a drill") if set(BREAKING) & {name[:2] for name in names} else nullcontext() as held:
        status, said = _pytest(argv, seconds(DEADLINE * len(names)), verbose=verbose, held=held)
    if status == pytest.ExitCode.USAGE_ERROR:
        raise UsageError("every check has a name of its own, and pytest can collect it", said, "halab check --verbose")
    if status not in (0, 1):  # a signal's is negative
        raise LabError("the checks run", said, "halab check --verbose")
    return _count_held_back(Report.load(path), names, path)


def _pytest(argv: list[str], limit: float, *, verbose: bool, held: IO | None = None) -> tuple[int, str]:
    """Exit status, and the end of what it said. Raises LabError after `limit` seconds.

    A check that has broken something heals it before its process ends, also when that is asked to end: once, by us (its session
    is its own, so that a terminal's Ctrl-C is not a second one), and with time for it. When this process is killed, it is asked
    as well; until it has ended it holds the lock `held`."""
    output = None if verbose else subprocess.PIPE
    with subprocess.Popen(
        ["setpriv", "--pdeathsig", "INT", *argv], cwd=CHECKS, env=_environment(), stdout=output, stderr=output, text=True,
        errors="replace", start_new_session=True, pass_fds=[held.fileno()] if held else [],
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=limit)
        except BaseException as error:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=seconds(HEALING))
            if isinstance(error, subprocess.TimeoutExpired):
                raise LabError("the checks end", f"still running after {limit:g} s", "halab status") from None
            raise
        finally:
            process.kill()
    return process.returncode, ((out or "") + (err or ""))[-2000:]


def _environment() -> dict[str, str]:
    """Ours, without what a student's shell or kernel says to Python and pytest."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    return kept | {
        "HALAB_TIMEOUT_SCALE": str(seconds(IMPATIENCE)), "PYTHONPATH": str(Path(__file__).parent.parent),
        "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }  # fmt: skip


def _files(names: Iterable[str], more: Path | None) -> list[str]:
    """The modules of these chapters: ours, and those of the same number in `more`. Raises UsageError."""
    files = [CHECKS / f"test_{name.replace('-', '_')}.py" for name in names]
    if more:
        added = sorted(path.resolve() for name in names for path in more.glob(f"test_{name[:2]}_*.py"))
        if not any(more.glob("test_[0-9][0-9]_*.py")):
            raise UsageError(f"{more} has checks", "no test_NN_*.py in it", "name them as those in checks/")
        files += added
    return list(map(str, files))


def _count_held_back(report: Report, names: list[str], path: Path) -> Report:
    declared = _declared(CHECKS / "held-back.toml")
    for name in names:
        chapter = report.chapter(name)
        chapter.not_run = max(declared.get(name, 0) - sum(c.held_back for c in chapter.checks), 0)
    report.save(path)
    return report


def _declared(path: Path) -> dict[str, int]:
    """chapter -> how many of its checks are held back. Raises UsageError when the file says anything else."""
    try:
        found = tomllib.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise UsageError(f"{path} is TOML", str(error), "05-apache = 2") from None
    wrong = {name: number for name, number in found.items() if type(number) is not int or number < 0 or name not in chapters()}
    if wrong:
        raise UsageError(f"{path} gives numbers of checks by the names of chapters", wrong, "05-apache = 2")
    return found


class FellShort(StudentError):
    """A chapter's checks did not all pass; the table above says which."""


def check(chapter: str, only: str | None = None) -> None:
    """Run a chapter's checks and show the table; `only` those of this exercise, and what they need.

    Raises FellShort when not all passed, LabError when there is no verdict."""
    found = _shown(chapter, only)
    if found.exit_code:
        fix = f'once more; `halab.solution("{only}")` shows one way to do it' if only else "see the table above"
        raise FellShort(f"{only or chapter}: every check passes", f"{found.points:g} of {found.max_points:g} points", fix)


def points(chapter: str) -> float:
    """Run a chapter's checks, show the table and return the points: what nbgrader takes as a cell's score."""
    return _shown(chapter).points


def _shown(chapter: str, only: str | None = None) -> Chapter:
    """The verdicts of a chapter, or of one of its exercises, shown as a table. Raises LabError without a verdict.

    They go to the run's report when `halab run` started this kernel, else to `runs/checks/LAB`."""
    from IPython.display import display

    from halab import exercise

    if chapter not in chapters():
        raise UsageError(f"{chapter} is a chapter with checks", fix="the chapters are " + ", ".join(chapters()))
    asked = exercise.find(only) if only else None
    path = _own_report(f"{chapter}-{only}") if only else Path(os.environ.get("HALAB_REPORT") or _own_report(chapter))
    found = run([chapter], path, only=asked.checks if asked else ()).chapter(chapter)
    display(found)
    if found.exit_code == 3:
        raise LabError(f"the checks of {chapter} reach a verdict", "the lab failed, not you", "halab status")
    if asked:
        exercise.keep_attempt(asked.name, current().settings)
    return found


def _own_report(name: str) -> Path:
    folder = Path(__file__).parent.parent / "runs" / "checks" / current().settings.name
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.json"
