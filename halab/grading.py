"""The pytest plugin that turns checks into verdicts, and the function that runs it.

A check is a test in `checks/test_NN_chapter.py`. Its first docstring line is its title; one marker
carries the rest:

    @pytest.mark.check(points=2, needs=("members",), hint="…", read="corosync.conf(5)", level="warning")

Verdicts: passed; failed (the student's cluster: StudentError or an assertion); skipped (a check that it
needs did not pass); error (the lab, or a defect of the check: anything else); warning (a finding of a
check with level="warning"). An exception is never a pass.

pytest runs in a process of its own, so what a notebook's kernel holds can't change a verdict.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest

from halab import pacemaker
from halab.command import Result
from halab.errors import HalabError, LabError, StudentError
from halab.expect import become
from halab.host import Host
from halab.lab import Lab, current
from halab.report import Check, Report, lab_facts
from halab.wait import seconds

CHECKS = Path(__file__).parent.parent / "checks"
#: Seconds that the checks of one chapter may take in all.
DEADLINE = 600


# -- running checks -----------------------------------------------------------------------------------


def chapters() -> list[str]:
    """Names of the chapters that have checks, in order: `01-environment`, …"""
    return [path.stem.removeprefix("test_").replace("_", "-") for path in sorted(CHECKS.glob("test_*.py"))]


def run(names: list[str], path: Path, *, verbose: bool = False) -> Report:
    """Run the checks of these chapters against the lab; the report is kept at `path` and returned.

    Raises LabError when the checker itself broke before the end; verdicts reached stay in `path`."""
    files = [str(CHECKS / f"test_{name.replace('-', '_')}.py") for name in names]
    argv = [sys.executable, "-m", "pytest", "-p", "halab.grading", "-p", "no:cacheprovider", "--rootdir", str(CHECKS),
            "--confcutdir", str(CHECKS), "-q", "--halab-report", str(path), *files]  # fmt: skip
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    env.pop("PYTEST_ADDOPTS", None)
    limit = seconds(DEADLINE * len(names))
    try:
        done = subprocess.run(argv, env=env, capture_output=not verbose, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        raise LabError("the checks end", f"still running after {limit:g} s", "halab status") from None
    if done.returncode not in (0, 1):  # a signal's is negative
        raise LabError("the checks run", ((done.stdout or "") + (done.stderr or ""))[-2000:], "halab check --verbose")
    return Report.load(path)


class FellShort(StudentError):
    """A chapter's checks did not all pass; the table above says which."""


def check(chapter: str) -> None:
    """A chapter's last cell: run its checks and show the table.

    The verdicts go to the run's report when `halab run` started this kernel, else to `runs/checks`."""
    path = Path(os.environ.get("HALAB_REPORT") or _own_report(chapter))
    found = run([chapter], path).chapter(chapter)
    from IPython.display import display

    display(found)
    if found.exit_code == 3:
        raise LabError(f"the checks of {chapter} reach a verdict", "the lab failed, not you", "halab status")
    if found.exit_code:
        raise FellShort(f"{chapter}: every check passes", f"{found.points:g} of {found.max_points:g} points", "see the table above")


def _own_report(chapter: str) -> Path:
    folder = Path(__file__).parent.parent / "runs" / "checks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{chapter}.json"


# -- the plugin ---------------------------------------------------------------------------------------

_verdicts: dict[str, str] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--halab-report", type=Path, help="where to keep the JSON report")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "check(points, needs, hint, read, level): what a check is worth and says")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Until a check has its verdict it counts as not reached: an old verdict is no evidence, and a
    checker that ends early, however politely, leaves no pass behind."""
    _verdicts.clear()
    if session.config.getoption("--halab-report"):
        _forget({_chapter(item) for item in session.items}, session.config.getoption("--halab-report"))
        for item in session.items:
            _keep(item, "error", "the checker, not you: it ended before this check")


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab this process is in. Its connections are shared by all checks."""
    lab = current()
    yield lab
    lab.close()


@pytest.fixture
def cib(lab: Lab) -> Element:
    """The CIB as the first node has it; that all nodes have the same is a check of its own."""
    return become(lambda: pacemaker.cib(lab.nodes[0]), lambda cib: True, expected="the CIB can be read", show="cibadmin --query")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for needed in _mark(item).get("needs", ()):
        verdict = _verdicts.get(f"{_chapter(item)}/{needed}", "not run")
        if verdict not in ("passed", "warning"):
            pytest.skip(f"needs {needed}, which is {verdict}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    yield
    if call.when != "call" and call.excinfo is None:
        return
    verdict, message = _verdict(call, _mark(item))
    _verdicts[_id(item)] = verdict
    _keep(item, verdict, message)


def _verdict(call: pytest.CallInfo, mark: dict) -> tuple[str, str]:
    if call.excinfo is None:
        return "passed", ""
    error = call.excinfo.value
    if isinstance(error, pytest.skip.Exception):
        return "skipped", str(error.msg)
    if isinstance(error, (StudentError, AssertionError, pytest.fail.Exception)):
        advice = [f"hint: {mark['hint']}"] if mark.get("hint") else []
        advice += [f"read: {mark['read']}"] if mark.get("read") else []
        verdict = "warning" if mark.get("level") == "warning" else "failed"
        return verdict, "\n".join([str(error), *advice])
    if isinstance(error, HalabError):
        return "error", f"the lab, not you: {error}"
    return "error", f"the checker, not you: {type(error).__name__}: {error}"


def _forget(chapters: set[str], path: Path) -> None:
    if path.exists():
        report = Report.load(path)
        report.chapters = [c for c in report.chapters if c.name not in chapters]
        report.save(path)


def _keep(item: pytest.Item, verdict: str, message: str) -> None:
    path = item.config.getoption("--halab-report")
    if path is None:
        return
    about = lab_facts(Host(current().settings).about)
    report = Report.load(path) if path.exists() else Report(schema=1, lab=about)
    if report.lab != about:  # verdicts about another instance of the lab are no evidence about this one
        report = Report(schema=1, lab=about)
    mark = _mark(item)
    worth = mark.get("points", 1)
    earned = worth if verdict in ("passed", "warning") else 0
    new = Check(id=_id(item), title=_title(item), verdict=verdict, points=earned, max_points=worth, message=message)
    chapter = report.chapter(_chapter(item))
    ids = [c.id for c in chapter.checks]
    if new.id in ids:
        chapter.checks[ids.index(new.id)] = new
    else:
        chapter.checks.append(new)
    report.save(path)


def _mark(item: pytest.Item) -> dict:
    mark = item.get_closest_marker("check")
    return dict(mark.kwargs) if mark else {}


def _chapter(item: pytest.Item) -> str:
    return item.path.stem.removeprefix("test_").replace("_", "-")


def _id(item: pytest.Item) -> str:
    return f"{_chapter(item)}/{item.name.removeprefix('test_')}"


def _title(item: pytest.Item) -> str:
    doc = (item.function.__doc__ if isinstance(item, pytest.Function) else None) or item.name
    return doc.strip().splitlines()[0].rstrip(".")


__all__ = ["FellShort", "Result", "chapters", "check", "run"]
