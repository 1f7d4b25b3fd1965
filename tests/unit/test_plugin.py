"""The plugin's verdicts, run as `halab check` runs it: pytest in a process of its own on a small folder of checks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from halab import grading
from halab.errors import LabError
from halab.report import Check, Report
from halab.settings import Settings

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
    assert five["resource"].message == "needs “test_quorum”, which failed"


def test_errors_say_whose_they_are(five: dict[str, Check]) -> None:
    assert five["lab"].message.startswith("the lab, not you: expected: pacemaker01 answers")
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


def test_a_fixture_that_breaks_is_an_error_before_the_check_and_changes_no_verdict_after_it(write: Write, path: Path) -> None:
    write(FIXTURES.format(error="RuntimeError('no lab')"))
    found = verdicts(grading.run(["02-corosync"], path))
    assert (found["setup"].verdict, found["teardown"].verdict) == ("error", "passed")


def test_what_a_check_needs_must_have_run_before(write: Write, path: Path) -> None:
    write("import pytest\n@pytest.mark.check(needs=('nothing',))\ndef test_it(): pass\n")
    (check,) = verdicts(grading.run(["02-corosync"], path)).values()
    assert (check.verdict, check.message) == ("skipped", "needs “nothing”, which was not run")


@pytest.mark.parametrize("end", ["os._exit(0)", "os._exit(1)", "pytest.exit('enough', returncode=0)"])
def test_a_checker_that_ends_early_with_good_manners_leaves_no_pass(write: Write, path: Path, end: str) -> None:
    write(f"import os, pytest\ndef test_one(): pass\ndef test_two(): {end}\ndef test_three(): pass\n")
    try:
        report = grading.run(["02-corosync"], path)
    except LabError:
        report = Report.load(path)
    assert {n: c.verdict for n, c in verdicts(report).items()} == {"one": "passed", "two": "error", "three": "error"}
    assert report.exit_code == 3


# -- hints and attempts -------------------------------------------------------------------------------

HINTS = """
import os, pytest
from halab.errors import LabError

check = pytest.mark.check

@check(hint="look at the log", more="restart it everywhere", read="corosync(8)")
def test_it(): assert os.environ["GOOD"] == "yes", "it is not so"

@check(level="warning", hint="look again", more="set it")
def test_warns(): assert os.environ["GOOD"] == "yes", "it is not so"

@check(needs=("it",), hint="not told", more="not told")
def test_skips(): pass

@check(hint="not told", more="not told")
def test_breaks(): raise LabError("the lab works")
"""


@pytest.fixture
def graded(write: Write, path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Check]]:
    """Grades HINTS once more; the lab has the folder of its owner's, where attempts are kept."""
    write(HINTS)
    (settings.folder / "keys").mkdir()

    def grade(good: str = "no") -> dict[str, Check]:
        monkeypatch.setenv("GOOD", good)
        return verdicts(grading.run(["02-corosync"], path))

    return grade


def test_a_first_failure_gives_the_hint_and_the_second_the_stronger_one_too(graded: Callable[..., dict[str, Check]]) -> None:
    first, second, third = graded(), graded(), graded()
    assert first["it"].message.splitlines()[-2:] == ["hint: look at the log", "read: corosync(8)"]
    assert second["it"].message.splitlines()[-3:] == ["hint: look at the log", "do: restart it everywhere", "read: corosync(8)"]
    assert "do: " not in first["it"].message + first["warns"].message
    assert third["it"].message == second["it"].message
    assert second["warns"].message.splitlines()[-2:] == ["hint: look again", "do: set it"]


def test_only_failures_bring_the_stronger_hint_nearer(graded: Callable[..., dict[str, Check]]) -> None:
    assert graded("yes")["it"].message == ""
    assert "do: " not in graded()["it"].message
    assert graded("yes")["it"].message == ""
    found = graded()["it"]
    assert "do: restart it everywhere" in found.message
    assert found.attempts == 4


def test_what_reached_no_verdict_about_the_student_is_no_attempt(graded: Callable[..., dict[str, Check]], settings: Settings) -> None:
    graded()
    found = graded()
    assert {name: (c.verdict, c.attempts) for name, c in found.items()} == {
        "it": ("failed", 2), "warns": ("warning", 2), "skips": ("skipped", 0), "breaks": ("error", 0),
    }  # fmt: skip
    assert "not told" not in found["skips"].message + found["breaks"].message
    assert json.loads((settings.folder / "keys" / "attempts.json").read_text()) == {
        "02-corosync/it": [2, 2], "02-corosync/warns": [2, 2],
    }  # fmt: skip


def test_a_fresh_lab_starts_over(graded: Callable[..., dict[str, Check]], settings: Settings, about: dict) -> None:
    graded(), graded()
    shutil.rmtree(settings.folder)  # as `halab down` does
    (settings.folder / "keys").mkdir(parents=True)
    (settings.folder / "host.json").write_text(json.dumps({**about, "instance": "cafe0002"}))
    found = graded()["it"]
    assert (found.attempts, "do: " in found.message) == (1, False)


@pytest.mark.parametrize("text", ["", "[]", '{"02-corosync/it": 1}', '{"02-corosync/it": [1, "x"]}'])
def test_attempts_that_cannot_be_read_start_over(graded: Callable[..., dict[str, Check]], settings: Settings, text: str) -> None:
    (settings.folder / "keys" / "attempts.json").write_text(text)
    assert [graded()["it"].attempts, graded()["it"].attempts] == [1, 2]


def test_without_the_owners_folder_nothing_is_kept_and_each_attempt_is_the_first(write: Write, path: Path, settings: Settings) -> None:
    write("def test_it(): assert False\n")
    attempts = [verdicts(grading.run(["02-corosync"], path))["it"].attempts for _ in range(2)]
    assert attempts == [1, 1]
    assert not (settings.folder / "keys").exists()


# -- a share of the points ----------------------------------------------------------------------------

SHARES = """
import pytest
from halab.expect import Mismatch

def short(share):
    found = Mismatch("all", "some")
    found.share = share
    raise found

@pytest.mark.check(points=3, partial=True)
def test_two_thirds(): short(2 / 3)

@pytest.mark.check(points=2, partial=True)
def test_a_third(): short(1 / 3)

@pytest.mark.check(points=2, partial=True)
def test_none(): short(0)

@pytest.mark.check(points=2, partial=True)
def test_bare(): assert False

@pytest.mark.check(points=3)
def test_whole_or_nothing(): short(2 / 3)

@pytest.mark.check(points=3, partial=True)
def test_all(): pass

@pytest.mark.check(points=3, partial=True)
def test_broken(): raise ZeroDivisionError
"""


def test_a_share_of_the_points_is_earned_where_the_check_says_so_and_it_failed_all_the_same(write: Write, path: Path) -> None:
    write(SHARES)
    report = grading.run(["02-corosync"], path)
    assert {n: (c.verdict, c.points, c.max_points) for n, c in verdicts(report).items()} == {
        "two_thirds": ("failed", 2, 3), "a_third": ("failed", 0.67, 2), "none": ("failed", 0, 2), "bare": ("failed", 0, 2),
        "whole_or_nothing": ("failed", 0, 3), "all": ("passed", 3, 3), "broken": ("error", 0, 3),
    }  # fmt: skip


# -- time and noise -----------------------------------------------------------------------------------


@pytest.mark.parametrize("forever", ["[None for _ in iter(int, 1)]", "threading.Event().wait()", "subprocess.run(['sleep', '30'])"])
def test_a_check_that_never_returns_is_an_error_and_those_after_it_get_their_verdict(write: Write, path: Path, forever: str) -> None:
    text = f"""
import subprocess, threading
from halab import plugin

plugin.LIMIT = 1.0

def test_before(): pass
def test_forever(): {forever}
def test_after(): pass
def test_fails(): assert False
"""
    write(text)
    found = verdicts(grading.run(["02-corosync"], path))
    assert [c.verdict for c in found.values()] == ["passed", "error", "passed", "failed"]
    assert found["forever"].message.splitlines()[0] == "the checker, not you: this check ends within 0.4 s; it was still running"
    assert found["forever"].seconds >= 0.4


@pytest.mark.parametrize("kind", ["Exception", "BaseException"])
def test_a_check_that_swallows_the_alarm_does_not_pass(write: Write, path: Path, kind: str) -> None:
    write(f"""
import threading
from halab import plugin

plugin.LIMIT = 0.75

def test_it():
    try: threading.Event().wait()
    except {kind}: pass
""")
    (check,) = verdicts(grading.run(["02-corosync"], path)).values()
    assert check.verdict == "error"


def test_an_assertion_inside_a_library_is_the_checkers_and_not_the_students(write: Write, path: Path) -> None:
    write("import unittest\ndef test_it(): unittest.TestCase().assertEqual(1, 2)\ndef test_ours(): assert 1 == 2\n")
    found = verdicts(grading.run(["02-corosync"], path))
    assert (found["it"].verdict, found["ours"].verdict) == ("error", "failed")


def test_the_limit_of_a_check_is_scaled_like_every_wait(write: Write, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALAB_TIMEOUT_SCALE", "0.5")
    write("import threading\nfrom halab import plugin\nplugin.LIMIT = 1.5\ndef test_it(): threading.Event().wait()\n")
    assert "ends within 0.3 s" in verdicts(grading.run(["02-corosync"], path))["it"].message


def test_seconds_are_those_that_the_check_took(write: Write, path: Path) -> None:
    write("import time\ndef test_short(): pass\ndef test_long(): time.sleep(0.3)\n")
    found = verdicts(grading.run(["02-corosync"], path))
    assert found["short"].seconds < 0.3 <= found["long"].seconds


def test_a_clock_that_is_set_back_changes_nothing(write: Write, path: Path) -> None:
    found = only(write, path, "import time; time.time = lambda: 0.0")
    assert (found.verdict, found.seconds >= 0) == ("passed", True)


NOISE = """
import atexit, logging, os, sys, warnings
import pytest

atexit.register(os.write, 2, b"\\xff at the end\\n")

def noise():
    print("FAILED test_quiet - 0 passed", file=sys.stderr)
    print("x" * 200_000)
    os.write(1, b"\\xff\\xfe\\0 no text\\n")
    os.write(2, b"\\x1b[31mred\\n")
    logging.getLogger().error("an error")
    warnings.warn("a warning")

def test_passes(): noise()
def test_fails():
    noise()
    assert False, "it is not so"
def test_quiet(): pass
"""


@pytest.mark.parametrize("verbose", [False, True])
def test_noise_changes_nothing(write: Write, path: Path, verbose: bool) -> None:
    write(NOISE)
    report = grading.run(["02-corosync"], path, verbose=verbose)
    assert {n: c.verdict for n, c in verdicts(report).items()} == {"passes": "passed", "fails": "failed", "quiet": "passed"}
    assert verdicts(report)["fails"].message.startswith("it is not so")
    assert report.exit_code == 1
