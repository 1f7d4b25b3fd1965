import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from halab.errors import DeadlinePassed, HostDown, LabError
from halab.host import INSIDE, Host
from halab.settings import Settings, load


def record(settings: Settings, pid: int, started: float) -> None:
    settings.folder.mkdir(parents=True, exist_ok=True)
    (settings.folder / "process.json").write_text(json.dumps({"pid": pid, "started": started}))


@pytest.fixture
def warden(settings: Settings) -> Iterator[SimpleNamespace]:
    """A socket in the lab host's place, which gives one prepared line and keeps the request."""
    settings.folder.mkdir(parents=True)
    said = SimpleNamespace(answer=b"", request={})
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(settings.socket))
        server.listen()

        def serve() -> None:
            link, _ = server.accept()
            with link:
                said.request = json.loads(link.makefile("rb").readline())
                link.sendall(said.answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield said


def answer(**fields: Any) -> bytes:
    return json.dumps({"status": 0, "stdout": "", "stderr": "", **fields}).encode() + b"\n"


def test_a_command_is_quoted_and_its_result_comes_back(warden: SimpleNamespace, settings: Settings) -> None:
    warden.answer = answer(status=3, stdout="out", stderr="err")
    result = Host(settings).run("cat %s", "a file", timeout=7, input=b"x")
    assert (result.status, result.stdout, result.stderr) == (3, "out", "err")
    assert warden.request == {"argv": ["sh", "-c", "cat 'a file'"], "timeout": 7, "input": "eA=="}


def test_a_command_of_the_lab_host_that_fails_is_never_the_students_fault(warden: SimpleNamespace, settings: Settings) -> None:
    warden.answer = answer(status=1, stderr="no bridge")
    with pytest.raises(LabError, match="no bridge"):
        Host(settings).check_output("ip link")


@pytest.mark.parametrize(("told", "error"), [("DeadlinePassed", DeadlinePassed), ("FileNotFoundError", LabError)])
def test_a_failure_in_the_lab_host_keeps_its_kind(warden: SimpleNamespace, settings: Settings, told: str, error: type[Exception]) -> None:
    warden.answer = json.dumps({"error": told, "message": "why"}).encode() + b"\n"
    with pytest.raises(error, match="why"):
        Host(settings).run("sleep 9", timeout=1)


def test_a_lab_host_that_closes_the_connection_is_no_answer(warden: SimpleNamespace, settings: Settings) -> None:
    with pytest.raises(HostDown, match="answers this user"):
        Host(settings).run("true")


def test_a_program_in_the_lab_host_has_the_connection_to_itself(warden: SimpleNamespace, settings: Settings) -> None:
    warden.answer = b"a line\n"
    with Host(settings).talk("lookout", "0.1") as link:
        assert link.makefile("r").readline() == "a line\n"
    assert warden.request == {"argv": ["lookout", "0.1"], "talk": True}


def test_nobody_talks_to_a_lab_host_that_is_down(settings: Settings) -> None:
    with pytest.raises(HostDown), Host(settings).talk("lookout"):
        raise AssertionError("talked")


def test_a_socket_that_is_not_there_is_a_lab_host_that_is_down(settings: Settings) -> None:
    with pytest.raises(HostDown, match=r"fix: halab up"):
        Host(settings).run("true")


def test_a_socket_that_nobody_serves_is_not_running(settings: Settings) -> None:
    settings.folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(settings.socket))
    assert not Host(settings).running
    assert repr(Host(settings)) == "<lab host halab: not running>"


def test_what_was_recorded_is_told(about: dict, settings: Settings) -> None:
    assert Host(settings).about == about


@pytest.mark.parametrize("text", [None, "", "{"])
def test_without_a_whole_record_there_is_no_lab_host(settings: Settings, text: str | None) -> None:
    settings.folder.mkdir(parents=True)
    if text is not None:
        (settings.folder / "host.json").write_text(text)
    with pytest.raises(HostDown):
        _ = Host(settings).about


def test_the_process_is_found_by_pid_and_start_time(settings: Settings) -> None:
    me = psutil.Process()
    record(settings, me.pid, me.create_time())
    assert Host(settings).process == me


def test_another_process_with_the_recorded_pid_is_not_taken_for_it(settings: Settings) -> None:
    me = psutil.Process()
    record(settings, me.pid, me.create_time() - 3600)
    assert Host(settings).process is None


def test_a_process_that_is_gone_or_was_never_recorded_is_none(settings: Settings) -> None:
    assert Host(settings).process is None
    record(settings, 2**22 + 1, 0)
    assert Host(settings).process is None


def test_without_a_lab_host_there_is_no_door(settings: Settings) -> None:
    with pytest.raises(HostDown, match=r"lab halab is running(?s:.*)halab up"):
        Host(settings).door("true")


@pytest.fixture
def door(about: dict, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line that would run `true` inside a lab host with settings from halab.toml."""
    Path("halab.toml").write_text("timeout_scale = 3.0\n")
    monkeypatch.setattr(Host, "process", property(lambda self: SimpleNamespace(children=lambda: [SimpleNamespace(pid=77)])))
    return Host(load()).door("true", "-x")


def test_the_door_enters_the_first_process_and_runs_the_command_last(door: list[str]) -> None:
    assert door[0] == "nsenter"
    assert "--target=77" in door
    assert door[-2:] == ["true", "-x"]


def test_the_door_tells_the_process_where_it_is_and_the_settings_of_halab_toml(door: list[str]) -> None:
    told = dict(word.split("=", 1) for word in door if word.startswith("HALAB_"))
    assert told[INSIDE] == told["HALAB_NAME"] == "halab"
    assert told["HALAB_STATE"] == os.environ["HALAB_STATE"]
    assert told["HALAB_TIMEOUT_SCALE"] == "3.0"


def test_the_door_keeps_the_working_directory(door: list[str]) -> None:
    assert door[door.index("-C") + 1] == os.getcwd()


def test_a_process_elsewhere_is_not_inside_whatever_its_environment_says(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INSIDE, "another")
    assert not Host(settings).inside


def test_two_commands_that_change_a_lab_go_one_after_the_other(settings: Settings) -> None:
    order: list[str] = []

    def second() -> None:
        with Host(settings).locked():
            order.append("second")

    thread = threading.Thread(target=second)
    with Host(settings).locked():
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_removing_a_lab_that_is_not_there_is_harmless(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "_no_cgroups", lambda self: True)
    Host(settings).remove()
    assert not settings.folder.exists()


def test_nodes_ask_the_server_outside_for_names_or_whom_this_machine_asks(about: dict, settings: Settings) -> None:
    assert (Host(settings).nameserver, Host(settings).survives) == (settings.outside_address, False)
    given = about["settings"] | {"engine": "vm", "host": "system"}
    for known, asked in (("10.0.0.53", "10.0.0.53"), (None, settings.outside_address)):
        (settings.folder / "host.json").write_text(json.dumps(about | {"settings": given, "nameserver": known}))
        assert Host(load(engine="vm", host="system")).nameserver == asked
        assert Host(settings).survives  # whatever the settings of who asks


def test_a_first_process_that_nobody_reaps_has_ended_too(settings: Settings) -> None:
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    record(settings, child, psutil.Process(child).create_time())
    host = Host(settings)
    assert host.process
    host.end()
    assert psutil.Process(child).status() == "zombie"
    os.waitpid(child, 0)


def test_what_root_makes_can_be_read_whatever_the_callers_umask_is(settings: Settings, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        host = Host(settings.model_copy(update={"state": tmp_path / "state"}))
        with host.locked():
            assert host.settings.state.stat().st_mode & 0o777 == 0o755
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
