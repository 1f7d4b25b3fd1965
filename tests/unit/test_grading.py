"""The plugin, run as `halab check` runs it: pytest in a process of its own on a small folder of checks."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from halab import grading
from halab.errors import LabError
from halab.grading import FellShort
from halab.report import Check, Report

Write = Callable[..., Path]

FIVE = '''
import pytest
from halab.errors import CommandFailed, LabError, StudentError, Unreachable
from halab.expect import Mismatch

check = pytest.mark.check

@check(points=2)
def test_members():
    """All three are members.

    More words."""

@check(points=3, hint="start corosync", read="corosync.conf(5)")
def test_quorum():
    raise Mismatch("quorum on every node", "pacemaker03: no", "corosync-quorumtool -s")

@check(points=1, needs=("quorum",))
def test_resource():
    raise AssertionError("never runs")

@check(points=1, needs=("members",), level="warning")
def test_fencing():
    raise StudentError("fencing is on", "off")

@check(points=1)
def test_lab():
    raise Unreachable("pacemaker01 answers", "silence")

@check(points=1)
def test_bare():
    raise ZeroDivisionError("division by zero")

@check(points=1, needs=("fencing",))
def test_after_a_warning():
    pass

def test_unmarked():
    assert 1 + 1 == 3, "one and one"
'''


@pytest.fixture
def write(about: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module of checks in a folder that takes the place of `checks/`."""
    folder = tmp_path / "checks"
    folder.mkdir()
    monkeypatch.setattr(grading, "CHECKS", folder)
    monkeypatch.setenv("PYTHONPATH", str(Path(grading.__file__).parent.parent))

    def put(text: str, name: str = "test_02_corosync") -> Path:
        (folder / f"{name}.py").write_text(text)
        return folder

    return put


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "report.json"


def verdicts(report: Report, chapter: str = "02-corosync") -> dict[str, Check]:
    return {c.id.removeprefix(f"{chapter}/"): c for c in report.chapter(chapter).checks}


def only(write: Write, path: Path, body: str) -> Check:
    """The verdict of one check with this body."""
    write(f"import os, sys, pytest\nfrom halab.errors import *\n\ndef test_it():\n    {body}\n")
    (check,) = verdicts(grading.run(["02-corosync"], path)).values()
    return check


@pytest.fixture
def five(write: Write, path: Path) -> dict[str, Check]:
    write(FIVE)
    return verdicts(grading.run(["02-corosync"], path))


def test_every_check_gets_its_verdict(five: dict[str, Check]) -> None:
    assert {name: c.verdict for name, c in five.items()} == {
        "members": "passed", "quorum": "failed", "resource": "skipped", "fencing": "warning", "lab": "error", "bare": "error",
        "after_a_warning": "passed", "unmarked": "failed",
    }  # fmt: skip


def test_points_are_earned_by_what_passed_or_warns(five: dict[str, Check]) -> None:
    assert {n: (c.points, c.max_points) for n, c in five.items()} == {
        "members": (2, 2), "quorum": (0, 3), "resource": (0, 1), "fencing": (1, 1), "lab": (0, 1), "bare": (0, 1),
        "after_a_warning": (1, 1), "unmarked": (0, 1),
    }  # fmt: skip


def test_the_title_is_the_docstrings_first_line(five: dict[str, Check]) -> None:
    assert five["members"].title == "All three are members"
    assert five["unmarked"].title == "test_unmarked"


def test_a_failure_says_expected_observed_command_hint_and_where_to_read(five: dict[str, Check]) -> None:
    assert five["quorum"].message.splitlines() == [
        "expected: quorum on every node", "observed: pacemaker03: no", "shown by: corosync-quorumtool -s", "hint: start corosync",
        "read: corosync.conf(5)",
    ]  # fmt: skip


def test_a_skip_says_what_it_needs_and_how_that_ended(five: dict[str, Check]) -> None:
    assert five["resource"].message == "needs quorum, which is failed"


def test_errors_say_whose_they_are(five: dict[str, Check]) -> None:
    assert five["lab"].message.startswith("the lab, not you: pacemaker01 answers")
    assert five["bare"].message == "the checker, not you: ZeroDivisionError: division by zero"


def test_no_message_has_a_traceback(five: dict[str, Check]) -> None:
    assert [n for n, c in five.items() if "Traceback" in c.message or ".py" in c.message] == []


@pytest.mark.parametrize("body", ["sys.exit(0)", "raise KeyError('x')", "raise BaseException('x')", "1 / 0"])
def test_nothing_that_is_raised_is_a_pass(write: Write, path: Path, body: str) -> None:
    assert only(write, path, body).verdict == "error"


@pytest.mark.parametrize("error", ["HostKeyRefused", "DeadlinePassed", "HostDown", "MachineLacks", "UsageError"])
def test_the_labs_errors_are_errors_and_never_failures(write: Write, path: Path, error: str) -> None:
    assert only(write, path, f"raise {error}('x')").verdict == "error"


@pytest.mark.parametrize("error", ["StudentError", "CommandFailed", "AssertionError"])
def test_the_students_errors_are_failures(write: Write, path: Path, error: str) -> None:
    assert only(write, path, f"raise {error}('x')").verdict == "failed"


def test_a_check_that_skips_itself_is_skipped(write: Write, path: Path) -> None:
    assert only(write, path, "pytest.skip('not on lxc')").message == "not on lxc"


FIXTURES = """
import pytest

@pytest.fixture
def broken():
    raise {error}

@pytest.fixture
def untidy():
    yield
    raise RuntimeError("on the way out")

def test_setup(broken): pass
def test_teardown(untidy): pass
"""


def test_a_fixture_that_breaks_is_an_error_before_and_after_the_check(write: Write, path: Path) -> None:
    write(FIXTURES.format(error="RuntimeError('no lab')"))
    found = verdicts(grading.run(["02-corosync"], path))
    assert (found["setup"].verdict, found["teardown"].verdict) == ("error", "error")
    assert "on the way out" in found["teardown"].message


def test_what_a_check_needs_must_have_run_before(write: Write, path: Path) -> None:
    write("import pytest\n@pytest.mark.check(needs=('nothing',))\ndef test_it(): pass\n")
    (check,) = verdicts(grading.run(["02-corosync"], path)).values()
    assert (check.verdict, check.message) == ("skipped", "needs nothing, which is not run")


def test_the_report_is_about_the_lab_that_runs(write: Write, path: Path, about: dict) -> None:
    write("def test_it(): pass\n")
    assert grading.run(["02-corosync"], path).lab.instance == about["instance"]


def test_a_second_chapter_is_added_to_the_report(write: Write, path: Path) -> None:
    write("def test_it(): pass\n")
    write("def test_it(): assert False\n", "test_03_pacemaker")
    grading.run(["02-corosync"], path)
    report = grading.run(["03-pacemaker"], path)
    assert [(c.name, c.exit_code) for c in report.chapters] == [("02-corosync", 0), ("03-pacemaker", 1)]


def test_grading_again_replaces_the_chapters_verdicts(write: Write, path: Path) -> None:
    write("def test_old(): pass\ndef test_it(): assert False\n")
    grading.run(["02-corosync"], path)
    write("def test_it(): pass\n")
    report = grading.run(["02-corosync"], path)
    assert {n: c.verdict for n, c in verdicts(report).items()} == {"it": "passed"}


def test_verdicts_about_another_instance_of_the_lab_are_dropped(write: Write, path: Path, about: dict) -> None:
    write("def test_it(): pass\n")
    write("def test_it(): pass\n", "test_03_pacemaker")
    grading.run(["02-corosync"], path)
    host = Path(os.environ["HALAB_STATE"]) / "halab" / "host.json"
    host.write_text(json.dumps({**about, "instance": "cafe0002"}))
    report = grading.run(["03-pacemaker"], path)
    assert [c.name for c in report.chapters] == ["03-pacemaker"]


def test_checks_of_a_lab_that_is_not_there_are_the_labs_failure(write: Write, path: Path) -> None:
    (Path(os.environ["HALAB_STATE"]) / "halab" / "host.json").unlink()
    write("def test_it(): pass\n")
    with pytest.raises(LabError):
        grading.run(["02-corosync"], path)
    assert not path.exists()


def test_a_module_that_is_no_python_is_the_checkers_failure(write: Write, path: Path) -> None:
    write("def test_it(:\n")
    with pytest.raises(LabError, match="the checks run"):
        grading.run(["02-corosync"], path)


@pytest.mark.parametrize("end", ["os._exit(0)", "os._exit(1)", "pytest.exit('enough', returncode=0)"])
def test_a_checker_that_ends_early_with_good_manners_leaves_no_pass(write: Write, path: Path, end: str) -> None:
    write(f"import os, pytest\ndef test_one(): pass\ndef test_two(): {end}\ndef test_three(): pass\n")
    try:
        report = grading.run(["02-corosync"], path)
    except LabError:
        report = Report.load(path)
    assert {n: c.verdict for n, c in verdicts(report).items()} == {"one": "passed", "two": "error", "three": "error"}
    assert report.exit_code == 3


def test_a_checker_that_is_killed_raises_and_keeps_the_verdicts_it_reached(write: Write, path: Path) -> None:
    write("import os\ndef test_one(): pass\ndef test_two(): os.kill(os.getpid(), 9)\n")
    with pytest.raises(LabError, match="the checks run"):
        grading.run(["02-corosync"], path)
    assert {n: c.verdict for n, c in verdicts(Report.load(path)).items()} == {"one": "passed", "two": "error"}


def test_each_verdict_is_on_disk_before_the_next_check_begins(write: Write, path: Path) -> None:
    folder = write("import time\ndef test_one(): pass\ndef test_two(): time.sleep(60)\n")
    argv = [sys.executable, "-m", "pytest", "-p", "halab.plugin", "-p", "no:cacheprovider", "-q", "--rootdir", str(folder),
            "--halab-report", str(path), str(folder / "test_02_corosync.py")]  # fmt: skip
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, start_new_session=True) as checker:
        try:
            for _ in range(300):
                if path.exists() and '"passed"' in path.read_text():
                    break
                time.sleep(0.05)
            assert checker.poll() is None
        finally:
            os.killpg(checker.pid, signal.SIGKILL)
    assert {n: c.verdict for n, c in verdicts(Report.load(path)).items()} == {"one": "passed", "two": "error"}


def test_options_of_the_callers_pytest_do_not_reach_the_checks(write: Write, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--collect-only")
    write("def test_it(): pass\n")
    assert grading.run(["02-corosync"], path).exit_code == 0


def test_chapters_are_named_by_their_files_in_order(write: Write) -> None:
    for name in ("test_03_pacemaker", "test_01_environment"):
        write("", name)
    assert grading.chapters() == ["01-environment", "03-pacemaker"]


def test_a_chapters_last_cell_shows_the_table_when_all_passed(
    write: Write, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HALAB_REPORT", str(path))
    write("def test_it():\n    'Corosync runs.'\n")
    grading.check("02-corosync")
    assert re.search(r"✔ Corosync runs +passed +1/1", capsys.readouterr().out)


@pytest.mark.parametrize(("raised", "error"), [("AssertionError()", FellShort), ("OSError()", LabError)])
def test_a_chapters_last_cell_raises_for_the_one_who_failed(
    write: Write, path: Path, monkeypatch: pytest.MonkeyPatch, raised: str, error: type[Exception]
) -> None:
    monkeypatch.setenv("HALAB_REPORT", str(path))
    write(f"def test_it(): raise {raised}\n")
    with pytest.raises(error):
        grading.check("02-corosync")
