import csv
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn
from xml.etree import ElementTree

import click
import pytest
from click.testing import CliRunner, Result

from halab import chain, cli, course, door, grading
from halab.errors import HalabError, LabError, MachineLacks, StudentError, UsageError
from halab.host import Host
from halab.lab import Lab
from halab.lock import only_one
from halab.report import Report
from halab.settings import Settings

STABLE = {"doctor", "image", "up", "status", "ssh", "console", "down", "exec", "run", "check", "drill", "reset", "student"}
COMMANDS = sorted(cli.main.commands)


def halab(*argv: str) -> Result:
    return CliRunner().invoke(cli.main, argv)


def started(*argv: str) -> subprocess.CompletedProcess[str]:
    """The command as a person starts it: in a process of its own."""
    env = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parent.parent)}
    return subprocess.run([sys.executable, "-m", "halab", *argv], env=env, capture_output=True, text=True, timeout=60, check=False)


def ends(seen: list[list[str]]) -> Callable[[str, Sequence[str]], NoReturn]:
    """In execvp's place: records what would be executed, and ends."""

    def execvp(program: str, argv: Sequence[str]) -> NoReturn:
        assert program == argv[0]
        seen.append(list(argv))
        sys.exit(0)

    return execvp


@pytest.fixture(autouse=True)
def stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that would become another program, or another user, fails instead."""

    def refuse(*argv: object) -> None:
        raise AssertionError(f"execvp {argv}")

    monkeypatch.setattr(os, "execvp", refuse)


# -- help ---------------------------------------------------------------------------------------------


def test_the_commands_that_people_rely_on_are_there() -> None:
    assert set(COMMANDS) >= STABLE


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    found = halab(command, "--help")
    assert found.exit_code == 0
    assert f"halab {command}" in " ".join(found.output.split("Example", 1)[1].split())


def test_halab_itself_has_help_with_an_example() -> None:
    assert "Example" in halab("--help").output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command: str) -> None:
    options = [p for p in cli.main.commands[command].params if isinstance(p, click.Option)]
    assert [p.name for p in options if not p.help] == []


# -- exit codes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [["upp"], ["up", "--nodes"], ["ssh"], ["exec"], ["doctor", "x"]])
def test_wrong_use_exits_2_and_says_so(argv: list[str]) -> None:
    found = halab(*argv)
    assert found.exit_code == 2
    assert "Error:" in found.output


@pytest.mark.parametrize(("name", "value"), [("HALAB_NODES", "200"), ("HALAB_ENGINE", "docker"), ("HALAB_COLOUR", "red")])
@pytest.mark.parametrize("command", ["doctor", "up", "status", "run", "down", "check"])
def test_wrong_settings_exit_2_before_anything_is_done(monkeypatch: pytest.MonkeyPatch, command: str, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(door, "start", lambda *_: pytest.fail("started"))
    monkeypatch.setattr(Host, "remove", lambda *_: pytest.fail("removed"))
    assert halab(command).exit_code == 2


def test_wrong_settings_in_a_process_of_its_own_give_a_message_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALAB_NODES", "1")
    done = started("doctor")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "halab: expected: the settings are valid", "  seen: nodes: Input should be greater than or equal to 2 (given: 1)",
        "  fix: see `halab doctor --settings`",
    ]  # fmt: skip


@pytest.fixture
def chapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three chapters with a notebook and checks each."""
    for name in ("01-environment", "02-corosync", "03-pacemaker"):
        (tmp_path / f"{name}.ipynb").write_text("{}")
        (tmp_path / f"test_{name.replace('-', '_')}.py").write_text("")
    monkeypatch.setattr(chain, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(grading, "CHECKS", tmp_path)


@pytest.mark.usefixtures("chapters")
@pytest.mark.parametrize(
    "argv",
    [["check", "09-nothing"], ["reset", "9"], ["run", "--from", "corosync"], ["run", "--to", "8"], ["run", "--from", "3", "--to", "1"]],
)
def test_an_unknown_chapter_exits_2(argv: list[str]) -> None:
    found = halab(*argv)
    assert found.exit_code == 2
    assert "chapter" in found.output


@pytest.mark.usefixtures("chapters")
def test_an_unknown_chapter_is_told_with_the_ones_that_there_are() -> None:
    assert "01-environment, 02-corosync, 03-pacemaker" in halab("check", "09-nothing").output


@pytest.mark.parametrize(
    ("error", "code"), [(StudentError("x"), 1), (UsageError("x"), 2), (LabError("x"), 3), (MachineLacks("x"), 3), (HalabError("x"), 3)]
)
def test_every_error_of_ours_is_one_message_and_its_code(monkeypatch: pytest.MonkeyPatch, error: HalabError, code: int) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "load", fail)
    found = halab("doctor")
    assert (found.exit_code, found.output) == (code, "halab: x\n")


def test_an_interrupt_exits_130_and_tells_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "load", interrupt)
    found = halab("doctor")
    assert found.exit_code == 130
    assert "halab status" in found.output


# -- without a lab ------------------------------------------------------------------------------------


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.mark.usefixtures("root")
def test_status_without_a_lab_says_so_and_exits_3() -> None:
    found = halab("status")
    assert (found.exit_code, found.output) == (3, "lab halab (lxc, trixie): not running\n")


@pytest.mark.usefixtures("root")
def test_status_for_a_program_is_json() -> None:
    found = halab("status", "--json")
    assert found.exit_code == 3
    assert json.loads(found.output) == {
        "name": "halab", "engine": "lxc", "release": "trixie", "running": False, "instance": None, "start": None,
        "image_digest": None, "nodes": [], "run": False,
    }  # fmt: skip


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("argv", [["ssh", "pacemaker01"], ["console", "pacemaker01"], ["exec", "true"]])
def test_what_needs_a_lab_exits_3_and_tells_how_to_start_one(argv: list[str]) -> None:
    found = halab(*argv)
    assert found.exit_code == 3
    assert "fix: halab up" in found.output


@pytest.mark.usefixtures("root")
def test_down_without_a_lab_is_good_and_twice_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "_no_cgroups", lambda self: True)
    assert [halab("down").exit_code, halab("down").exit_code] == [0, 0]


@pytest.mark.usefixtures("root")
def test_machines_of_this_machines_own_libvirtd_are_told_of_when_our_process_is_gone(about: dict, settings: Settings) -> None:
    about["settings"] |= {"host": "system", "engine": "vm"}
    (settings.folder / "host.json").write_text(json.dumps(about))
    found = halab("status")
    assert (found.exit_code, "half there" in found.output) == (3, True)


def test_not_root_and_no_sudo_exits_3_and_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(door.shutil, "which", lambda name: None)
    found = halab("up")
    assert found.exit_code == 3
    assert "root or sudo" in found.output


def test_not_root_goes_on_through_sudo_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(door.shutil, "which", lambda name: "/usr/bin/sudo")
    monkeypatch.setattr(door.subprocess, "run", lambda argv, check: subprocess.CompletedProcess(argv, 0))
    monkeypatch.setattr(os, "execvp", ends(seen))
    monkeypatch.setattr(sys, "argv", ["halab", "up", "--empty"])
    monkeypatch.setenv("HALAB_NODES", "4")
    halab("up", "--empty")
    argv = seen[0]
    assert argv[:2] == ["sudo", "env"]
    assert "HALAB_NODES=4" in argv
    assert argv[-5:] == [sys.executable, "-m", "halab", "up", "--empty"]


# -- what is passed on --------------------------------------------------------------------------------


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, about: dict) -> list[list[str]]:
    """This process counts as inside the lab host; what would be executed is recorded."""
    seen: list[list[str]] = []
    keys = Path(os.environ["HALAB_STATE"]) / "halab" / "keys"
    keys.mkdir()
    monkeypatch.setattr(Host, "inside", property(lambda self: True))
    monkeypatch.setattr(os, "execvp", ends(seen))
    return seen


def test_options_of_a_nodes_command_are_the_commands_own(inside: list[list[str]]) -> None:
    halab("ssh", "pacemaker01", "crm_mon", "-1", "--help", "--verbose")
    assert inside[0][-5:] == ["root@192.168.100.10", "crm_mon", "-1", "--help", "--verbose"]


def test_without_a_fault_a_drill_lists_them_all() -> None:
    from halab.drill import FAULTS

    found = halab("drill")
    assert found.exit_code == 0
    assert [line.split()[0] for line in found.output.splitlines()] == list(FAULTS)


def test_a_fault_that_does_not_exist_needs_no_lab_to_be_refused() -> None:
    assert halab("drill", "flood").exit_code == UsageError.exit_code


def inside_of(folder: Path) -> SimpleNamespace:
    """A lab as a command sees it that is inside already, with its files in this folder."""
    return SimpleNamespace(host=SimpleNamespace(inside=True), keys=SimpleNamespace(folder=folder), close=lambda: None)


@pytest.mark.parametrize(("on", "code"), [(True, 0), (False, UsageError.exit_code)])
def test_fencing_is_demanded_before_anything_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on: bool, code: int,
) -> None:  # fmt: skip
    from halab import drill

    done: list[str] = []
    measured = SimpleNamespace(measurement=SimpleNamespace(json={"gap": 1.5}), text="the page was gone for 1.5 s")
    monkeypatch.setattr(course, "current", lambda: inside_of(tmp_path))
    monkeypatch.setattr(drill, "fenced", lambda lab: on)

    def run(lab: object, name: str) -> SimpleNamespace:
        done.append(name)
        return measured

    monkeypatch.setattr(drill, "run", run)
    found = halab("drill", "power-cut", "--fencing")
    assert (found.exit_code, done) == (code, ["power-cut"] * on)
    if on:
        assert "gone for 1.5 s" in found.output
        assert json.loads(halab("drill", "power-cut", "--json").output) == {"gap": 1.5}
        with only_one(tmp_path / grading.BREAKER, "a drill"):
            assert halab("drill", "power-cut").exit_code == UsageError.exit_code
        assert done == ["power-cut"] * 2


@pytest.mark.parametrize("argv", [["ls", "-h", "--json"], ["--", "ls", "-h", "--json"]])
def test_options_of_an_executed_program_are_its_own(inside: list[list[str]], argv: list[str]) -> None:
    halab("exec", *argv)
    assert inside == [["ls", "-h", "--json"]]


def test_ssh_accepts_only_the_known_host_key_and_the_labs_own_key(inside: list[list[str]]) -> None:
    halab("ssh", "pacemaker02")
    assert {"-oStrictHostKeyChecking=yes", "-oIdentitiesOnly=yes"} < set(inside[0])
    assert any(o.startswith("-oUserKnownHostsFile=") and o.endswith("/halab/keys/known_hosts") for o in inside[0])


@pytest.mark.usefixtures("inside")
def test_an_unknown_node_exits_2_and_the_nodes_are_told() -> None:
    found = halab("ssh", "pacemaker09")
    assert found.exit_code == 2
    assert "pacemaker01, pacemaker02, pacemaker03" in found.output


@pytest.mark.usefixtures("inside")
def test_a_program_that_can_not_be_run_exits_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(cli, "enter", lambda: SimpleNamespace())
    found = halab("exec", "no-such-program")
    assert found.exit_code == 2
    assert "no-such-program can be run" in found.output


def test_a_second_run_in_the_same_lab_is_refused(tmp_path: Path) -> None:
    lab: Any = SimpleNamespace(keys=SimpleNamespace(folder=tmp_path))
    with door.only_run(lab), pytest.raises(UsageError, match="another one goes on"), door.only_run(lab):
        pass
    with door.only_run(lab):
        pass


def test_settings_that_differ_from_those_of_a_running_lab_are_refused(about: dict) -> None:
    from halab.settings import load

    with pytest.raises(UsageError, match=r"nodes=5(?s:.*)nodes=3(?s:.*)halab down"):
        door.same_settings(Host(load()), load(nodes=5))


def test_another_timeout_scale_is_no_other_lab(about: dict) -> None:
    from halab.settings import load

    door.same_settings(Host(load()), load(timeout_scale=3))  # raises nothing
    with pytest.raises(UsageError):
        door.same_settings(Host(load()), load(timeout_scale=3, memory=2048))


def test_a_setting_that_the_record_does_not_know_had_its_default(about: dict, settings: Settings) -> None:
    del about["settings"]["host"]
    (settings.folder / "host.json").write_text(json.dumps(about))
    door.same_settings(Host(settings), settings)  # raises nothing
    with pytest.raises(UsageError, match="host=private"):
        door.same_settings(Host(settings), settings.model_copy(update={"host": "system"}))


# -- check --------------------------------------------------------------------------------------------

CHECKS = """
def test_members():
    "All are members, <b>each</b>"

def test_quorum():
    assert False, "no quorum, anywhere"
"""


@pytest.fixture
def checked(about: dict, chapters: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lab that is entered, with two checks in chapter 02; the folder for what is written."""
    (tmp_path / "test_02_corosync.py").write_text(CHECKS)
    monkeypatch.setenv("PYTHONPATH", str(Path(cli.__file__).parent.parent))
    monkeypatch.setattr(course, "current", lambda: inside_of(tmp_path))
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def unchecked(checked: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, where no check may run."""
    monkeypatch.setattr(course, "current", lambda: pytest.fail("looked for the lab"))
    monkeypatch.setattr(grading, "run", lambda *_, **__: pytest.fail("ran checks"))
    return checked


def test_check_writes_the_report_in_each_form_that_is_asked_for(checked: Path) -> None:
    found = halab("check", "2", "--junit", f"{checked}/r.xml", "--csv", f"{checked}/r.csv", "--json", f"{checked}/r.json")
    assert found.exit_code == 1
    assert "02-corosync: 1 of 2 points" in found.output
    assert sorted(os.listdir(checked)) == ["r.csv", "r.json", "r.xml"]
    report = Report.load(checked / "r.json")
    assert [(c.id, c.verdict) for c in report.chapters[0].checks] == [("02-corosync/members", "passed"), ("02-corosync/quorum", "failed")]
    with (checked / "r.csv").open(newline="") as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == ["passed", "failed"]
    assert [case.get("name") for case in ElementTree.parse(checked / "r.xml").iter("testcase")] == [
        "All are members, <b>each</b>", "test_quorum",
    ]  # fmt: skip


def test_check_writes_nothing_that_is_not_asked_for(checked: Path) -> None:
    assert halab("check", "02-corosync").exit_code == 1
    assert os.listdir(checked) == []


def test_check_writes_beside_where_it_was_called(checked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checked)
    halab("check", "2", "--csv", "r.csv")
    assert os.listdir(checked) == ["r.csv"]


def test_check_runs_an_instructors_folder_too(checked: Path) -> None:
    (checked / "test_02_extra.py").write_text("def test_secret(): pass\n")
    found = halab("check", "2", "--checks", str(checked), "--json", f"{checked}/r.json")
    assert found.exit_code == 1
    assert "02-corosync: 2 of 3 points" in found.output
    assert [c.held_back for c in Report.load(checked / "r.json").chapters[0].checks] == [False, False, True]


def test_one_file_for_two_forms_exits_2_before_anything_is_checked(unchecked: Path) -> None:
    found = halab("check", "2", "--csv", f"{unchecked}/r", "--json", f"{unchecked}/r")
    assert (found.exit_code, os.listdir(unchecked)) == (2, [])


@pytest.mark.parametrize("option", ["--junit", "--csv", "--json"])
@pytest.mark.parametrize("folder", ["absent", "a-file"])
def test_what_can_not_be_written_exits_2_before_anything_is_checked(unchecked: Path, option: str, folder: str) -> None:
    (unchecked / "a-file").write_text("")
    found = halab("check", "2", option, str(unchecked / folder / "r"))
    assert found.exit_code == 2
    assert "the report can be written" in found.output


@pytest.mark.parametrize("option", ["--junit", "--csv", "--json"])
def test_a_folder_that_is_not_yours_to_write_to_exits_2(unchecked: Path, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (unchecked, os.W_OK))  # to root all are
    found = halab("check", "2", option, str(unchecked / "r"))
    assert found.exit_code == 2
    assert f"{unchecked} is no folder that you can write to" in found.output


@pytest.mark.parametrize("option", ["--junit", "--csv", "--json"])
def test_a_folder_is_no_file_to_write(unchecked: Path, option: str) -> None:
    assert halab("check", "2", option, str(unchecked)).exit_code == 2


@pytest.mark.parametrize("name", ["absent", "a-file"])
def test_checks_that_are_in_no_folder_exit_2(unchecked: Path, name: str) -> None:
    (unchecked / "a-file").write_text("")
    found = halab("check", "2", "--checks", str(unchecked / name))
    assert found.exit_code == 2
    assert "--checks" in found.output


def test_a_folder_without_checks_exits_2(checked: Path) -> None:
    found = halab("check", "2", "--checks", str(checked), "--json", f"{checked}/r.json")
    assert found.exit_code == 2
    assert "test_NN_*.py" in found.output
    assert os.listdir(checked) == []


# -- doctor -------------------------------------------------------------------------------------------


def test_doctor_for_a_program_is_json_with_a_fix_for_what_is_missing() -> None:
    findings = json.loads(halab("doctor", "--json").output)
    assert {"root or sudo", "libvirtd", "user namespaces", "cgroups"} <= {f["what"] for f in findings}
    assert [f["what"] for f in findings if not f["ok"] and not f["fix"]] == []


def test_doctor_lists_every_setting_with_its_meaning() -> None:
    from halab.settings import Settings

    text = halab("doctor", "--settings").output
    assert [n for n in Settings.model_fields if f"HALAB_{n.upper()}" not in text] == []


def test_the_owner_is_the_user_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", str(pwd.getpwnam("nobody").pw_uid))
    assert door.owner().pw_name == "nobody"
    monkeypatch.delenv("SUDO_UID")
    assert door.owner().pw_uid == os.getuid()


def test_a_lab_object_touches_nothing(settings: Any) -> None:
    Lab(settings)
    assert not settings.state.exists()


# -- student ------------------------------------------------------------------------------------------


def test_student_writes_the_edition_and_says_where_to_begin(tmp_path: Path) -> None:
    done = halab("student", str(tmp_path / "new"))
    assert (done.exit_code, "begin with README.md" in done.output) == (0, True)
    assert sorted(path.stem for path in (tmp_path / "new").glob("*.ipynb")) == chain.chapters()


def test_student_writes_a_course_for_nbgrader(tmp_path: Path) -> None:
    assert halab("student", "--nbgrader", str(tmp_path / "new")).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["nbgrader_config.py", "source"]


@pytest.mark.parametrize("option", [[], ["--nbgrader"]])
def test_student_overwrites_nothing(tmp_path: Path, option: list[str]) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    done = halab("student", *option, str(tmp_path))
    assert (done.exit_code, [path.name for path in tmp_path.iterdir()]) == (2, ["mine.txt"])


def test_doctor_refuses_more_machines_than_memory_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from halab import doctor
    from halab.settings import load

    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: SimpleNamespace(available=3000 << 20))
    (finding,) = [f for f in doctor.examine(load(engine="vm", memory=1024)) if "for 3 machines" in f.what]
    assert (finding.ok, finding.seen) == (False, "3000 MiB")
    assert "HALAB_MEMORY" in finding.fix
    assert all(f.ok for f in doctor.examine(load(engine="vm", memory=512, accel="kvm")) if "for 3 machines" in f.what)


def test_a_lab_that_is_up_has_its_memory_already(monkeypatch: pytest.MonkeyPatch) -> None:
    from halab import doctor, door
    from halab.settings import load

    settings = load(engine="vm")
    started: list[str] = []
    monkeypatch.setattr(doctor, "require", lambda settings: None)
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
    monkeypatch.setattr(door, "same_settings", lambda *_: None)
    monkeypatch.setattr(door, "start", lambda host, *_: started.append(host.settings.name))
    with pytest.raises(MachineLacks, match="of memory for 3 machines"):
        door.start_host(Host(settings))
    monkeypatch.setattr(Host, "process", SimpleNamespace())
    door.start_host(Host(settings))
    assert started == [settings.name]
    assert not [f for f in doctor.examine(settings) if "of memory" in f.what]


@pytest.mark.parametrize(
    ("known", "device", "translated"), [("kvm", True, False), ("tcg", True, True), (None, True, False), (None, False, True)]
)
def test_doctor_counts_the_translated_code_where_kvm_is_not_there_or_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, known: str | None, device: bool, translated: bool
) -> None:
    from halab import accel, doctor
    from halab.settings import load

    monkeypatch.setattr(accel, "KVM", tmp_path if device else tmp_path / "none")
    monkeypatch.setattr(doctor.Image, "built", True)
    monkeypatch.setattr(doctor, "MachineImage", lambda image: SimpleNamespace(folder=Path("/cache"), built=False))
    monkeypatch.setattr(accel, "remembered", lambda *_: known and accel.Answer(known, "seen"))
    (told,) = [f.what for f in doctor.examine(load(engine="vm", memory=1024)) if "for 3 machines" in f.what]
    assert told == f"{3 * (1024 + doctor.OVERHEAD + translated * accel.TRANSLATED)} MiB of memory for 3 machines"


def test_doctor_names_what_the_lab_needs_and_no_more() -> None:
    from halab import doctor
    from halab.settings import load

    for given, program in (({"engine": "vm"}, "qemu-img"), ({"bridge": "openvswitch"}, "ovs-vsctl"), ({"uplink": True}, "slirp4netns")):
        assert program in {f.what for f in doctor.examine(load(**given))}
        assert program not in {f.what for f in doctor.examine(load())}
