"""Running checks: which ones, what the report is about, and who is told when the checker itself breaks."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from halab import grading
from halab.errors import LabError, UsageError
from halab.grading import FellShort
from halab.lab import current
from halab.lock import held as held_by_anybody
from halab.lock import only_one
from halab.report import Check, Report
from halab.wait import eventually

Write = Callable[..., Path]


def verdicts(report: Report, chapter: str = "02-corosync") -> dict[str, Check]:
    return {c.id.removeprefix(f"{chapter}/"): c for c in report.chapter(chapter).checks}


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
            eventually(lambda: path.exists() and '"passed"' in path.read_text(), within=60, what="the first check has passed")
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


# -- held-back checks ---------------------------------------------------------------------------------

OURS = "def test_members(): pass\ndef test_quorum(): assert False, 'no quorum'\n"
THEIRS = '''
import pytest

@pytest.mark.check(points=3, needs=("members",))
def test_secret():
    """Nobody knows this one."""

@pytest.mark.check(points=2, needs=("quorum",))
def test_after_ours(): pass

@pytest.mark.check(points=1, needs=("secret",))
def test_after_theirs(): pass
'''


@pytest.fixture
def more(write: Write, tmp_path: Path) -> Path:
    """An instructor's folder, besides ours."""
    write(OURS)
    folder = tmp_path / "an instructor's"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", ["test_02_extra.py", "test_02_corosync.py"])
def test_held_back_checks_belong_to_the_chapter_of_their_number(more: Path, path: Path, name: str) -> None:
    (more / name).write_text(THEIRS)
    report = grading.run(["02-corosync"], path, more=more)
    assert [c.name for c in report.chapters] == ["02-corosync"]
    assert [(c.id, c.held_back, c.verdict, c.points) for c in report.chapters[0].checks] == [
        ("02-corosync/members", False, "passed", 1),
        ("02-corosync/quorum", False, "failed", 0),
        ("02-corosync/held-back/secret", True, "passed", 3),
        ("02-corosync/held-back/after_ours", True, "skipped", 0),
        ("02-corosync/held-back/after_theirs", True, "passed", 1),
    ]


def test_a_held_back_check_of_the_same_name_as_ours_is_another_one(more: Path, path: Path) -> None:
    (more / "test_02_corosync.py").write_text("def test_members(): assert False\ndef test_quorum(): pass\n")
    found = verdicts(grading.run(["02-corosync"], path, more=more))
    assert {n: c.verdict for n, c in found.items()} == {
        "members": "passed", "quorum": "failed", "held-back/members": "failed", "held-back/quorum": "passed",
    }  # fmt: skip


def test_held_back_checks_of_other_chapters_are_not_run(more: Path, path: Path) -> None:
    for name in ("test_02_extra.py", "test_03_extra.py", "helper.py"):
        (more / name).write_text("def test_extra(): pass\n")
    report = grading.run(["02-corosync"], path, more=more)
    assert list(verdicts(report)) == ["members", "quorum", "held-back/extra"]
    assert [c.name for c in report.chapters] == ["02-corosync"]


def test_held_back_checks_may_use_what_is_beside_ours(more: Path, path: Path, write: Write) -> None:
    write("NODES = 3\n", "shared")
    (more / "test_02_extra.py").write_text("from shared import NODES\ndef test_extra(): assert NODES == 3\n")
    assert verdicts(grading.run(["02-corosync"], path, more=more))["held-back/extra"].verdict == "passed"


RAISING = """
import sys
from halab.errors import HostDown

def test_defect(): raise KeyError("x")
def test_exit(): sys.exit(0)
def test_base(): raise BaseException("x")
def test_machine(): raise OSError(5, "x")
def test_lab(): raise HostDown("x")
"""


def test_held_back_checks_that_raise_are_errors_and_ours_are_as_without_them(more: Path, path: Path) -> None:
    alone = [(c.id, c.verdict, c.points, c.message) for c in grading.run(["02-corosync"], path).chapters[0].checks]
    (more / "test_02_extra.py").write_text(RAISING)
    checks = grading.run(["02-corosync"], path, more=more).chapters[0].checks
    assert [(c.id, c.verdict, c.points, c.message) for c in checks if not c.held_back] == alone
    assert [(c.verdict, c.points) for c in checks if c.held_back] == [("error", 0)] * 5


def test_a_held_back_module_that_is_no_python_is_the_checkers_failure_and_leaves_no_pass(more: Path, path: Path) -> None:
    (more / "test_02_extra.py").write_text("def test_extra(:\n")
    with pytest.raises(LabError, match="the checks run"):
        grading.run(["02-corosync"], path, more=more)
    assert {c.verdict for c in verdicts(Report.load(path)).values()} <= {"error"}


def test_a_score_without_the_held_back_checks_says_how_many_they_are(more: Path, path: Path, write: Write) -> None:
    write("", "test_05_apache")
    (write(OURS) / "held-back.toml").write_text("02-corosync = 2\n05-apache = 1\n")
    chapter = grading.run(["02-corosync"], path).chapter("02-corosync")
    assert (chapter.not_run, chapter.score) == (2, "1 of 2 points; 2 held-back checks were not run")
    (more / "test_02_extra.py").write_text("def test_one(): pass\n")
    chapter = grading.run(["02-corosync"], path, more=more).chapter("02-corosync")
    assert (chapter.not_run, chapter.score) == (1, "2 of 3 points; 1 held-back check was not run")
    (more / "test_02_extra.py").write_text("def test_one(): pass\ndef test_two(): pass\ndef test_three(): pass\n")
    chapter = grading.run(["02-corosync"], path, more=more).chapter("02-corosync")
    assert (chapter.not_run, chapter.score) == (0, "4 of 5 points")
    assert Report.load(path).chapter("02-corosync").not_run == 0
    assert grading.run(["02-corosync"], path).chapter("02-corosync").not_run == 2


@pytest.mark.parametrize("name", [None, "corosync.py", "test_corosync.py", "test_2_corosync.py", "02-corosync.py"])
def test_a_folder_without_checks_is_wrong_use(more: Path, path: Path, name: str | None) -> None:
    if name:
        (more / name).write_text("def test_it(): pass\n")
    with pytest.raises(UsageError, match=r"no test_NN_\*\.py in it"):
        grading.run(["02-corosync"], path, more=more)
    assert not path.exists()


def test_a_folder_may_have_a_space_in_its_name(write: Write, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("from shared import NODES\ndef test_it(): assert NODES == 3\n")
    write("NODES = 3\n", "shared")
    (tmp_path / "checks").rename(tmp_path / "the checks")
    monkeypatch.setattr(grading, "CHECKS", tmp_path / "the checks")
    assert grading.run(["02-corosync"], path).exit_code == 0


@pytest.mark.parametrize("text", ["02-corosync = ", "02-corosync = 'two'", "02-corosync = -1", "02-corosinc = 1"])
def test_a_wrong_number_of_held_back_checks_is_wrong_use(path: Path, write: Write, text: str) -> None:
    (write(OURS) / "held-back.toml").write_text(text)
    with pytest.raises(UsageError, match=r"02-corosin|held-back\.toml"):
        grading.run(["02-corosync"], path)


def test_two_held_back_checks_of_one_name_are_wrong_use(more: Path, path: Path, write: Write) -> None:
    write(OURS)
    for name in ("test_02_mine", "test_02_yours"):
        (more / f"{name}.py").write_text("def test_extra(): pass\n")
    with pytest.raises(UsageError, match="held-back/extra"):
        grading.run(["02-corosync"], path, more=more)


def test_python_and_pytest_of_the_caller_do_not_reach_the_checks(
    write: Write, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "evil.py").write_text("raise SystemExit(0)\n")
    for name in ("pytest", "json", "sitecustomize"):
        (tmp_path / "evil" / f"{name}.py").write_text("raise SystemExit(0)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "evil"))
    monkeypatch.setenv("PYTEST_PLUGINS", "evil")
    monkeypatch.chdir(tmp_path / "evil")
    write("def test_it(): pass\n")
    assert verdicts(grading.run(["02-corosync"], path))["it"].verdict == "passed"


NEEDY = """
import pytest
def test_one(): pass
@pytest.mark.check(needs=("one",))
def test_two(): pass
@pytest.mark.check(needs=("two",))
def test_three(): assert False
def test_four(): pass
"""


def test_only_some_checks_run_and_those_that_they_need(write: Write, path: Path) -> None:
    write(NEEDY)
    report = grading.run(["02-corosync"], path, only=["02-corosync/three"])
    assert {n: c.verdict for n, c in verdicts(report).items()} == {"one": "passed", "two": "passed", "three": "failed"}


def test_no_check_of_that_name_is_an_error_and_no_pass(write: Write, path: Path) -> None:
    write(NEEDY)
    with pytest.raises(LabError):
        grading.run(["02-corosync"], path, only=["02-corosync/five"])


BREAKS = """import pathlib, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    pathlib.Path({broken!r}).touch()
    time.sleep(60)
finally:
    time.sleep(0.5)
    pathlib.Path({broken!r}).unlink()
"""


def test_checks_that_take_too_long_are_given_time_to_heal_what_they_broke(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", BREAKS.format(broken=str(tmp_path / "broken"))]
    with pytest.raises(LabError, match="still running after 2 s"):
        grading._pytest(argv, 2, verbose=False)
    assert not (tmp_path / "broken").exists()


def test_checks_that_are_interrupted_are_given_time_to_heal_what_they_broke(tmp_path: Path) -> None:
    broken, me = tmp_path / "broken", os.getpid()

    def interrupt() -> None:
        eventually(broken.exists, within=20)
        os.kill(me, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        grading._pytest([sys.executable, "-c", BREAKS.format(broken=str(broken))], 60, verbose=True)
    thread.join()
    assert not broken.exists()


def test_checks_whose_grader_is_killed_heal_what_they_broke_and_hold_the_lock_until_then(tmp_path: Path) -> None:
    broken, lock = tmp_path / "broken", tmp_path / "lock"
    argv = [sys.executable, "-c", BREAKS.format(broken=str(broken))]
    if not (grader := os.fork()):
        with only_one(lock, "a drill") as held:
            grading._pytest(argv, 60, verbose=False, held=held)
        os._exit(0)
    eventually(broken.exists, within=20)
    os.kill(grader, signal.SIGKILL)
    os.waitpid(grader, 0)
    assert held_by_anybody(lock)
    eventually(lambda: not broken.exists(), within=20)
    eventually(lambda: not held_by_anybody(lock), within=20)


def test_two_that_break_the_cluster_do_not_meet(write: Write, path: Path, tmp_path: Path) -> None:
    write("def test_it(): pass\n", "test_06_drills")
    lab = current()
    lab.keys.folder.mkdir(parents=True, exist_ok=True)
    with only_one(lab.keys.folder / grading.BREAKER, "a drill"), pytest.raises(UsageError, match="another one goes on"):
        grading.run(["06-drills"], path)
    assert grading.run(["06-drills"], path).chapter("06-drills").exit_code == 0
