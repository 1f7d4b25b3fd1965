"""The pytest plugin that turns checks into verdicts.

A check is a test in `checks/test_NN_chapter.py`. Its first docstring line is its title; one marker
carries the rest:

    @pytest.mark.check(points=2, needs=("members",), hint="…", more="…", read="corosync.conf(5)")

`hint` is given when it fails, `more` besides it when it has failed before. `partial=True`: of what is
asked on every node, the share that is right earns its share of the points. `level="warning"`: a finding
costs nothing.

Verdicts: passed; failed (the student's cluster: StudentError or an assertion); skipped (a check that it
needs did not pass); error (the lab, or a defect of the check: anything else); warning. An exception is
never a pass, and a check that never returns is an error.
"""

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest

from halab import attempts, grading, pacemaker, verdict
from halab.expect import become
from halab.host import Host
from halab.lab import Lab, current
from halab.report import Check, Report, lab_facts
from halab.wait import seconds

#: Seconds that one check may take: more than any named wait, twice.
LIMIT = 200
_verdicts: dict[str, str] = {}
#: How a check that is needed ended, for whom does not know the words.
ENDED = {"failed": "failed", "skipped": "was skipped", "error": "ended in an error", "not run": "was not run"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--halab-report", type=Path, help="where to keep the JSON report")
    parser.addoption("--halab-only", action="append", default=[], help="run this check, by its id, and what it needs; may be repeated")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "check(points, needs, hint, more, read, partial, level): what a check is worth and says")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--halab-only` these checks and, step by step, all that they need."""
    wanted = set(config.getoption("--halab-only"))
    if not wanted:
        return
    needs = {_id(item): {f"{_chapter(item)}/{name}" for name in _mark(item).get("needs", ())} for item in items}
    while more := set().union(*(needs.get(check, set()) for check in wanted)) - wanted:
        wanted |= more
    items[:] = [item for item in items if _id(item) in wanted]


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Until a check has its verdict it counts as not reached: an old verdict is no evidence, and a
    checker that ends early, however politely, leaves no pass behind."""
    _verdicts.clear()
    if twice := sorted(name for name, count in Counter(map(_id, session.items)).items() if count > 1):
        raise pytest.UsageError(f"two checks have one name: {', '.join(twice)}")
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
    titles = {_id(other): _title(other) for other in item.session.items} if _mark(item).get("needs") else {}
    for needed in _mark(item).get("needs", ()):
        ours, theirs = (f"{_chapter(item)}/{place}{needed}" for place in ("", "held-back/"))
        verdict = _verdicts.get(ours) or _verdicts.get(theirs, "not run")
        if verdict not in ("passed", "warning"):
            title = titles.get(ours) or titles.get(theirs, needed)
            pytest.skip(f"needs “{title}”, which {ENDED[verdict]}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """End a check that never returns; one that swallowed the alarm and returned is late all the same."""
    overrun = verdict.Overrun(f"this check ends within {seconds(LIMIT):g} s; it was still running")
    rung = []

    def late(number: int, frame: object) -> None:
        rung.append(number)
        raise overrun

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds(LIMIT), 1)
    outcome = yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    if rung:
        outcome.force_exception(overrun)  # type: ignore[attr-defined]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    yield
    if call.when == "teardown" or (call.when == "setup" and call.excinfo is None):
        return  # what happens after a verdict does not change it
    word, share, message = verdict.of(item, call)
    if word == "failed" and _mark(item).get("level") == "warning":
        word = "warning"
    _verdicts[_id(item)] = word
    tries, failures = attempts.count(_id(item), word)
    advice = verdict.advice(_mark(item), failures) if word in ("failed", "warning") else []
    _keep(item, word, "\n".join([message, *advice]), share=share, tries=tries, took=call.duration)


def _forget(chapters: set[str], path: Path) -> None:
    if path.exists():
        report = Report.load(path)
        report.chapters = [c for c in report.chapters if c.name not in chapters]
        report.save(path)


def _keep(item: pytest.Item, verdict: str, message: str, *, share: float = 0, tries: int = 0, took: float = 0) -> None:
    path = item.config.getoption("--halab-report")
    if path is None:
        return
    about = lab_facts(Host(current().settings).about)
    report = Report.load(path) if path.exists() else Report(schema=1, lab=about)
    if report.lab != about:  # verdicts about another instance of the lab are no evidence about this one
        report = Report(schema=1, lab=about)
    mark = _mark(item)
    worth = mark.get("points", 1)
    earned = worth if verdict in ("passed", "warning") else round(worth * share, 2) if mark.get("partial") else 0
    new = Check(id=_id(item), title=_title(item), verdict=verdict, points=earned, max_points=worth, message=message,
                seconds=round(took, 3), attempts=tries, held_back=_held_back(item))  # fmt: skip
    checks = report.chapter(_chapter(item)).checks
    ids = [c.id for c in checks]
    if new.id in ids:
        checks[ids.index(new.id)] = new
    else:
        checks.append(new)
    report.save(path)


def _mark(item: pytest.Item) -> dict:
    mark = item.get_closest_marker("check")
    return dict(mark.kwargs) if mark else {}


def _held_back(item: pytest.Item) -> bool:
    return item.path.parent != item.config.rootpath


def _chapter(item: pytest.Item) -> str:
    """The chapter of that number; a module of an instructor's may have another name."""
    stem = item.path.stem.removeprefix("test_").replace("_", "-")
    return next((name for name in grading.chapters(item.config.rootpath) if name[:2] == stem[:2]), stem)


def _id(item: pytest.Item) -> str:
    place = f"{_chapter(item)}/held-back" if _held_back(item) else _chapter(item)
    return f"{place}/{item.name.removeprefix('test_')}"


def _title(item: pytest.Item) -> str:
    doc = (item.function.__doc__ if isinstance(item, pytest.Function) else None) or item.name
    return doc.strip().splitlines()[0].rstrip(".")
