"""The chain on a real lab: the handbook's five chapters to their graded end, and what the grade says when the cluster is broken.

Drills and fencing, which take minutes, are run and graded in test_nbval.

The tests share one lab and run in this order; each leaves the cluster as it found it.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pexpect
import pytest

from halab import chain
from halab.command import Result
from halab.wait import eventually
from tests.live.livelab import Live, finish, labs

CHAPTERS = chain.pick(None, "05")


def newest(live: Live) -> Path:
    """The folder of this lab's last run: other labs may run beside it, and `runs/latest` is anybody's."""
    ours = [p for p in chain.RUNS.glob("2*/report.json") if json.loads(p.read_text())["lab"]["name"] == live.name]
    return max(ours, default=chain.RUNS / "none" / "report.json").parent


@pytest.fixture(scope="module")
def ran() -> Iterator[tuple[Live, Result, Path]]:
    """A lab on which the whole chain ran, what the command said, and the run's folder."""
    with labs() as make:
        live = make()
        result = live.halab("run", "--to", CHAPTERS[-1], timeout=900)
        yield live, result, newest(live)


@pytest.fixture
def live(ran: tuple[Live, Result, Path]) -> Live:
    assert ran[1].ok, ran[1].stdout
    return ran[0]


def verdicts(live: Live, tmp_path: Path, *chapters: str) -> tuple[int, dict[str, str]]:
    """Exit code and id -> verdict of `halab check`."""
    path = tmp_path / "report.json"
    done = live.halab("check", *chapters, "--json", str(path), timeout=400)
    report = json.loads(path.read_text())
    return done.status, {check["id"]: check["verdict"] for chapter in report["chapters"] for check in chapter["checks"]}


def test_every_chapter_passes(ran: tuple[Live, Result, Path]) -> None:
    _, result, folder = ran
    assert result.ok, result.stdout + result.stderr
    report = json.loads((folder / "report.json").read_text())
    assert [chapter["name"] for chapter in report["chapters"]] == CHAPTERS
    assert {c["verdict"] for chapter in report["chapters"] for c in chapter["checks"]} == {"passed"}
    assert all(chapter["points"] == chapter["max_points"] > 0 for chapter in report["chapters"])


def test_broken_in_other_ways_every_day_the_checks_notice_exactly_that(live: Live) -> None:
    """A part of `make mutants`, another one each day."""
    done = live.halab("exec", "--", sys.executable, "-m", "tests.mutants", "--stage", "05", "--some", "8", timeout=900)
    assert done.ok, done.stdout + done.stderr


def test_left_blank_another_exercise_every_day_its_checks_notice(new_lab: Callable[..., Live]) -> None:
    """A part of `make exercises`, another one each day."""
    live = new_lab()
    assert live.halab("up", "--empty").ok
    done = live.halab("exec", "--", sys.executable, "-m", "tests.exercises", "--some", "1", "--to", "05", timeout=900)
    assert done.ok, done.stdout + done.stderr


def test_the_report_says_which_lab_it_is_about(ran: tuple[Live, Result, Path]) -> None:
    live, _, folder = ran
    about = json.loads((folder / "report.json").read_text())["lab"]
    assert about["name"] == live.name
    assert about["instance"] == live.lab.host.about["instance"]


def test_executed_notebooks_have_their_own_names_and_no_error(ran: tuple[Live, Result, Path]) -> None:
    folder = ran[2]
    assert sorted(p.stem for p in folder.glob("*.ipynb")) == CHAPTERS
    for name in CHAPTERS:
        cells = nbformat.read(folder / f"{name}.ipynb", as_version=4).cells
        assert not [o for c in cells for o in c.get("outputs", []) if o.output_type == "error"]


def test_a_second_holder_of_the_address_turns_the_right_checks_red(live: Live, tmp_path: Path) -> None:
    holders = live.within(lambda: live.lab.holders())
    other = next(name for name, sight in holders.items() if sight == "not held")
    address = f"{live.settings.virtual_ip}/24"
    assert live.halab("ssh", other, "ip", "addr", "add", address, "dev", "eth0").ok
    code, found = verdicts(live, tmp_path, "04")
    assert live.halab("ssh", other, "ip", "addr", "del", address, "dev", "eth0").ok
    assert code == 1
    assert found["04-virtual-ip/one_holder"] == "failed"
    assert found["04-virtual-ip/holder_is_the_clusters"] == "skipped"
    assert {found[f"04-virtual-ip/{name}"] for name in ("resource", "stickiness", "no_leftovers")} == {"passed"}
    assert verdicts(live, tmp_path, "04")[0] == 0


def test_an_ssh_that_hangs_is_an_error_and_no_verdict_on_the_student(live: Live, tmp_path: Path) -> None:
    def hang() -> None:
        with live.lab.node(3).console() as console:
            console.check_output("pkill -STOP -x sshd")

    def heal() -> None:
        with live.lab.node(3).console() as console:
            console.check_output("pkill -CONT -x sshd")

    live.within(hang)
    try:
        code, found = verdicts(live, tmp_path, "03")
    finally:
        live.within(heal)
    assert code == 3
    assert found["03-pacemaker/service"] == "error"
    assert "failed" not in found.values()
    assert "passed" not in found.values()
    assert verdicts(live, tmp_path, "03")[0] == 0


def test_checks_during_an_election_wait_for_its_end(live: Live, tmp_path: Path) -> None:
    # Not `restart`: a DC that is still ending asks who is back already for probes, and may wait 300 s for an answer (pacemaker 3.0.0).
    for verb in ("stop", "start"):
        live.within(lambda: live.lab.each(lambda node: node.check_output(f"systemctl {verb} pacemaker")))  # noqa: B023
    code, found = verdicts(live, tmp_path, "03", "05")
    assert code == 0, {name: verdict for name, verdict in found.items() if verdict != "passed"}


def test_a_daemon_of_the_lab_that_is_gone_is_an_error_and_no_verdict_on_the_student(live: Live, tmp_path: Path) -> None:
    assert live.lab.host.run("kill -KILL $(pgrep -x libvirtd)").ok
    code, found = verdicts(live, tmp_path, "01")
    assert live.halab("up").ok
    assert code == 3
    assert found["01-environment/running"] == "error"
    assert "failed" not in found.values()
    assert verdicts(live, tmp_path, "01")[0] == 0


def test_a_server_of_the_lab_that_is_gone_is_an_error_too_and_up_starts_it_again(live: Live, tmp_path: Path) -> None:
    for server, check in {"halab[.]outside": "way_out", "halab[.]packages": "packages"}.items():
        assert live.lab.host.run(f"kill -KILL $(pgrep -f {server})").ok
        eventually(lambda: not live.lab.host.run(f"pgrep -f {server}").ok, within=10, what="it is gone")  # noqa: B023
        code, found = verdicts(live, tmp_path, "01")
        assert code == 3
        assert found[f"01-environment/{check}"] == "error"
        assert "failed" not in found.values(), found
        assert live.halab("up").ok
    assert verdicts(live, tmp_path, "01")[0] == 0


def test_a_run_killed_in_the_middle_of_a_chapter_leaves_a_lab_that_can_be_used_again(live: Live, tmp_path: Path) -> None:
    before = newest(live)
    run = live.start("run", "--from", "01", "--to", "02")
    eventually(lambda: newest(live) != before and (newest(live) / "02-corosync.ipynb").exists(), within=120, what="chapter 02 runs")
    run.send_signal(signal.SIGKILL)
    finish(run)
    seen = json.loads(live.halab("status", "--json").stdout)
    assert seen["running"]
    assert [node["state"] for node in seen["nodes"]] == ["running"] * 3
    assert live.halab("down").ok
    assert live.halab("up").ok
    assert live.answering() == ["pacemaker01", "pacemaker02", "pacemaker03"]


def test_a_run_that_is_asked_to_end_ends_inside_too(live: Live) -> None:
    before = newest(live)
    run = live.start("run", "--to", "01")
    eventually(lambda: newest(live) != before and (newest(live) / "01-environment.ipynb").exists(), within=60, what="chapter 01 runs")
    run.send_signal(signal.SIGTERM)
    done = finish(run)
    assert done.status == 130
    assert "halab status" in done.stderr
    assert not json.loads(live.halab("status", "--json").stdout)["run"]
    assert live.halab("down").ok
    assert live.halab("up").ok


def test_the_chain_stops_at_the_first_chapter_that_falls_short(live: Live) -> None:
    done = live.halab("run", "--from", "03", "--to", "05", timeout=300)  # without corosync, on a fresh lab
    assert done.status == 1, done.stdout + done.stderr
    assert sorted(p.stem for p in newest(live).glob("*.ipynb")) == ["03-pacemaker"]


def test_reset_brings_the_lab_to_the_start_of_a_chapter(live: Live, tmp_path: Path) -> None:
    assert live.halab("reset", "03-pacemaker", timeout=300).ok
    assert verdicts(live, tmp_path, "02")[0] == 0
    code, found = verdicts(live, tmp_path, "03")
    assert code == 1
    assert found["03-pacemaker/service"] == "failed"
    assert found["03-pacemaker/online"] == "skipped"


@pytest.mark.slow
def test_twice_from_nothing_the_verdicts_are_the_same(new_lab: Callable[..., Live]) -> None:
    seen = []
    for _ in range(2):
        live = new_lab()
        assert live.halab("run", timeout=1800).ok
        report = json.loads((newest(live) / "report.json").read_text())
        seen.append([(c["id"], c["verdict"], c["points"]) for chapter in report["chapters"] for c in chapter["checks"]])
        live.close()
    assert seen[0] == seen[1]


def test_ctrl_c_at_a_terminal_ends_a_run_inside_and_says_so(new_lab: Callable[..., Live]) -> None:
    live = new_lab()
    terminal = pexpect.spawn(sys.executable, ["-m", "halab", "run", "--to", "01"], cwd=str(live.folder), env=os.environ | live.env,
                             timeout=120, encoding="utf-8", codec_errors="replace")  # fmt: skip
    terminal.expect("01-environment …")
    terminal.sendintr()
    terminal.expect("halab: interrupted")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130, terminal.before
    assert not json.loads(live.halab("status", "--json").stdout)["run"]
