import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from halab import cgroups, engine
from halab.command import Result, quote
from halab.engine import Place, parse_addresses
from halab.engine_lxc import Lxc
from halab.errors import LabError
from halab.host import Host
from halab.settings import Settings


class FakeHost:
    """Records what is run as root; answers with one result."""

    def __init__(self, settings: Settings, status: int = 0, stdout: str = "", stderr: str = "") -> None:
        self.settings, self.folder = settings, settings.folder
        self.result = Result("host", "", status, stdout, stderr)
        self.commands: list[str] = []
        self.inputs: list[str] = []

    def run(self, command: str, *args: object, timeout: float = 60, input: bytes | None = None) -> Result:
        self.commands.append(command)
        self.inputs.append((input or b"").decode())
        return self.result

    def check_output(self, command: str, *args: object) -> str:
        return self.run(command, *args).check()


def lxc(host: Any, pid: int | None = 42) -> Lxc:
    made = Lxc(host)
    made.hypervisor = SimpleNamespace(pid=lambda name: pid)  # type: ignore[assignment]
    return made


def test_addresses_of_a_node_without_the_virtual_ip(captured: Callable[[str], str]) -> None:
    found = parse_addresses(captured("addr.json"))
    assert found is not None
    assert "127.0.0.1" in found
    assert "192.168.100.100" not in found


def test_addresses_of_the_holder_have_the_virtual_ip_besides_its_own(captured: Callable[[str], str]) -> None:
    assert parse_addresses(captured("addr-holder.json")) == {
        "127.0.0.1": Place("lo", 8), "192.168.100.10": Place("eth0", 24), "192.168.100.100": Place("eth0", 32),
    }  # fmt: skip


def test_an_interface_that_is_switched_off_holds_its_address_and_says_so(captured: Callable[[str], str]) -> None:
    found = parse_addresses(captured("addr.json").replace('"UP","LOWER_UP"', '"NO-CARRIER"')) or {}
    assert str(found["192.168.100.12"]) == "/24 on eth0, which is down"


def test_an_address_that_stands_twice_on_one_node_is_told_twice() -> None:
    text = '[{"ifname": "eth0", "flags": ["UP"], "addr_info": [%s, %s]}]'
    found = parse_addresses(text % ('{"local": "10.0.0.1", "prefixlen": 32}', '{"local": "10.0.0.1", "prefixlen": 24}')) or {}
    assert str(found["10.0.0.1"]) == "/32 on eth0 and /24 on eth0"


def test_a_link_without_addresses_holds_none() -> None:
    assert parse_addresses('[{"ifname": "eth0"}, {}]') == {}


@pytest.mark.parametrize("text", ["", "nsenter: cannot open /proc/7/ns/net", "[{", '{"a": 1}', '[{"addr_info": [{}]}]', "[1]", "3"])
def test_what_is_no_output_of_ip_is_unknown_and_not_none(text: str) -> None:
    assert parse_addresses(text) is None


def test_a_node_without_power_holds_nothing(settings: Settings) -> None:
    assert lxc(FakeHost(settings), pid=None).addresses(settings.identities[0]) == {}


def test_a_node_that_cannot_be_looked_into_is_unknown(settings: Settings) -> None:
    assert lxc(FakeHost(settings, status=1, stdout="[]")).addresses(settings.identities[0]) is None


@pytest.mark.parametrize(("status", "seen"), [(0, True), (1, False), (2, None), (127, None)])
def test_a_process_runs_or_not_or_cannot_be_known(settings: Settings, status: int, seen: bool | None) -> None:
    assert lxc(FakeHost(settings, status=status)).runs(settings.identities[0], "apache2") is seen


def test_nothing_runs_on_a_node_without_power(settings: Settings) -> None:
    assert lxc(FakeHost(settings), pid=None).runs(settings.identities[0], "apache2") is False


V1, V2 = "4:memory:/machine/lxc-7-a.libvirt-lxc\n0::/\n", "0::/machine/lxc-7-a.libvirt-lxc/init.scope\n"


@pytest.fixture
def frozen(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A v2 tree with the group of the node; returns its switch."""
    group = tmp_path / "machine" / "lxc-7-a.libvirt-lxc"
    group.mkdir(parents=True)
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(cgroups, "pure_v2", lambda: True)
    (group / "cgroup.freeze").write_text("0\n")
    return group / "cgroup.freeze"


class ShellHost(FakeHost):
    """Runs what it is told here, but for the question about the group."""

    def run(self, command: str, *args: object, **_: Any) -> Result:
        if "/proc/" in command:
            return Result("host", command, 0, V2, "")
        done = subprocess.run(["sh", "-c", quote(command, *args)], capture_output=True, text=True, check=False)
        return Result("host", command, done.returncode, done.stdout, done.stderr)


def test_on_v2_a_node_is_suspended_by_its_own_groups_switch(settings: Settings, frozen: Path) -> None:
    made, node = lxc(ShellHost(settings)), settings.identities[0]
    made.hypervisor.state = lambda name: "running"  # type: ignore[method-assign]
    states = [made.state(node)]
    for act in (made.suspend, made.resume):
        act(node)
        states.append(made.state(node))
    assert states == ["running", "paused", "running"]
    assert frozen.read_text() == "0\n"


def test_a_node_without_a_group_of_its_own_freezes_nobody_else(settings: Settings, frozen: Path) -> None:
    with pytest.raises(LabError, match="has a group of its own"):
        lxc(FakeHost(settings, stdout=V1)).suspend(settings.identities[0])


def test_a_disk_gets_its_files_with_content_and_mode_quoted(settings: Settings, tmp_path: Path) -> None:
    host = FakeHost(settings)
    lxc(host).make_disk(settings.identities[0], {"/etc/a'b": ("it's $HOME `reboot`\n", 0o600)})
    script = host.inputs[-1]
    written = script[: script.index("chown")].replace("set -e", f"set -e; upper={tmp_path}; work={tmp_path}; root={tmp_path}")
    subprocess.run(["sh", "-c", written.split("\n", 1)[1]], check=True)
    assert (tmp_path / "etc" / "a'b").read_text() == "it's $HOME `reboot`\n"
    assert (tmp_path / "etc" / "a'b").stat().st_mode & 0o777 == 0o600
    assert script.index("chown -R 1000000:1000000") < script.index("mount -t overlay")


def test_a_disk_that_cannot_be_made_is_the_labs_failure(settings: Settings) -> None:
    host = FakeHost(settings, status=32, stderr="mount: No space left on device\n")
    with pytest.raises(LabError, match="No space left on device"):
        lxc(host).make_disk(settings.identities[0], {})


def test_each_node_has_a_disk_of_its_own_over_one_lower_layer(settings: Settings) -> None:
    disks = [lxc(FakeHost(settings)).disk(i) for i in settings.identities]
    assert len({d["lower"] for d in disks}) == 1
    assert all(len({d[part] for d in disks}) == 3 for part in ("upper", "work", "root"))


def test_the_engine_and_its_hypervisor_belong_together(settings: Settings) -> None:
    made, hypervisor = engine.pick("lxc", Host(settings))
    assert (made.name, hypervisor.uri) == ("lxc", "lxc:///system")


def test_the_lookout_is_a_program_that_needs_nothing_of_ours(settings: Settings) -> None:
    argv = lxc(FakeHost(settings)).lookout(["pacemaker01"], settings.virtual_ip, 0.1)
    assert argv[1] == "-I" and argv[2].endswith("lookout.py")
    assert argv[3:] == ["0.1", "192.168.100.100", "pacemaker01"]
