import io
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from halab import agent, engine_vm
from halab.accel import TRANSLATED
from halab.command import Result
from halab.engine import Place
from halab.engine_vm import Vm, archive
from halab.errors import LabError
from halab.settings import Settings, load

IP = '[{"ifname":"eth0","flags":["UP"],"addr_info":[{"local":"192.168.100.10","prefixlen":24}]}]'


class FakeHost:
    """Records what is run as root; answers with one result."""

    def __init__(self, settings: Settings, accel: str = "tcg", status: int = 0, stderr: str = "") -> None:
        self.settings, self.folder = settings, settings.folder
        self.about: dict[str, Any] = {"accel": accel, "machine_image": "/cache/trixie-vm-1"}
        self.result = Result("host", "", status, "", stderr)
        self.commands: list[str] = []
        self.inputs: list[bytes | None] = []

    def run(self, command: str, *args: object, input: bytes | None = None) -> Result:
        self.commands.append(command % args)
        self.inputs.append(input)
        return self.result


def vm(host: Any, state: str = "running") -> Vm:
    made = Vm(host)
    made.hypervisor = SimpleNamespace(state=lambda name: state, domain=lambda name: None if state == "absent" else object())  # type: ignore[assignment]
    return made


def domain(accel: str, **given: object) -> ElementTree.Element:
    settings = load(engine="vm", **given)
    return ElementTree.fromstring(vm(FakeHost(settings, accel)).domain_xml(settings.identities[0]))


def attributes(root: ElementTree.Element, path: str) -> dict[str, str]:
    found = root.find(path)
    assert found is not None, path
    return found.attrib


@pytest.mark.parametrize(("accel", "kind", "cpu"), [("tcg", "qemu", "maximum"), ("kvm", "kvm", "host-passthrough")])
def test_the_domain_is_of_the_accelerator_that_works(accel: str, kind: str, cpu: str) -> None:
    root = domain(accel)
    assert (root.get("type"), attributes(root, "cpu")["mode"]) == (kind, cpu)
    assert root.findtext("features/tcg/tb-cache") == (str(TRANSLATED) if accel == "tcg" else None)
    assert ("norandmaps" in (root.findtext("os/cmdline") or "").split()) == (accel == "tcg")


def test_the_domain_keeps_what_the_handbooks_taught() -> None:
    root = domain("tcg", memory=768, vcpus=2)
    assert root.findtext("name") == "pacemaker01"
    assert (root.findtext("memory"), root.findtext("vcpu")) == ("768", "2")
    assert attributes(root, "devices/interface/mac") == {"address": "52:54:00:9b:d5:11"}
    assert attributes(root, "devices/interface/source") == {"bridge": "ubuntu_br"}
    assert attributes(root, "clock") == {"offset": "utc"}
    assert (root.findtext("on_poweroff"), root.findtext("on_reboot")) == ("destroy", "restart")
    assert [root.find(f"devices/{device}") is not None for device in ("serial", "console", "memballoon")] == [True] * 3


def test_what_changed_since_the_handbook() -> None:
    root = domain("tcg")
    assert attributes(root, "os/type")["machine"] == "q35"
    assert attributes(root, "devices/video/model") == {"type": "virtio"}
    assert attributes(root, "devices/watchdog") == {"model": "i6300esb", "action": "reset"}
    assert root.findtext("os/kernel") == "/cache/trixie-vm-1/vmlinuz"


def test_nobody_outside_of_the_lab_host_can_open_the_screen() -> None:
    assert [graphics.get("listen") for graphics in domain("tcg").iter("graphics")] == ["127.0.0.1"]


def test_on_this_machines_own_libvirtd_qemu_is_its_user_and_the_screen_is_libvirts_to_open() -> None:
    """And the image's disk stays root's: libvirt gives no file away (its domain format, "Security label")."""
    settings = load(engine="vm", host="system")
    host = FakeHost(settings)
    host.about["qemu"] = [64055, 109]
    root = ElementTree.fromstring(vm(host).domain_xml(settings.identities[0]))
    label = root.find("seclabel")
    assert label is not None and (label.get("relabel"), label.findtext("label")) == ("no", "+64055:+109")
    assert attributes(root, "devices/graphics/listen") == {"type": "socket"}
    vm(host).make_disk(settings.identities[0], {})
    assert any("chown -R 64055:109" in command for command in host.commands)
    assert domain("kvm").find("seclabel") is None


def test_the_disk_is_an_overlay_whose_formats_are_given_and_the_identity_cannot_be_written() -> None:
    disks = {attributes(disk, "target")["dev"]: disk for disk in domain("tcg").iterfind("devices/disk")}
    assert attributes(disks["vda"], "driver")["type"] == attributes(disks["vda"], "backingStore/format")["type"] == "qcow2"
    assert attributes(disks["vda"], "backingStore/source") == {"file": "/cache/trixie-vm-1/disk.qcow2"}
    assert disks["vdb"].find("readonly") is not None and disks["vdb"].findtext("serial") == "identity"


def test_the_overlay_is_made_over_the_image_with_its_format_named(settings: Settings) -> None:
    host = FakeHost(settings)
    vm(host).make_disk(settings.identities[0], {"/etc/hostname": ("pacemaker01\n", 0o644)})
    assert "-F qcow2 -b /cache/trixie-vm-1/disk.qcow2" in host.commands[-1]
    assert host.inputs[-1] == archive({"/etc/hostname": ("pacemaker01\n", 0o644)})


def test_a_disk_that_cannot_be_made_is_the_labs_fault(settings: Settings) -> None:
    with pytest.raises(LabError, match="pacemaker01"):
        vm(FakeHost(settings, status=1, stderr="No space left")).make_disk(settings.identities[0], {})


def test_each_node_has_a_disk_of_its_own_over_one_image(settings: Settings) -> None:
    disks = [vm(FakeHost(settings)).disk(identity) for identity in settings.identities]
    assert len({disk["backing"] for disk in disks}) == 1
    assert len({Path(disk["overlay"]).parent for disk in disks}) == len(disks)


def test_the_archive_holds_the_files_with_their_modes_for_root_and_fills_sectors() -> None:
    data = archive({"/root/.ssh/key": ("é\n", 0o600), "/etc/hostname": ("a\n", 0o644)})
    assert len(data) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [(m.name, m.mode, m.uid, m.size) for m in tar] == [("root/.ssh/key", 0o600, 0, 3), ("etc/hostname", 0o644, 0, 2)]


# -- seen from outside --------------------------------------------------------------------------------


def answer(monkeypatch: pytest.MonkeyPatch, result: Result | None) -> None:
    monkeypatch.setattr(engine_vm.agent, "run", lambda *args, **kwargs: result)


def said(status: int, stdout: str = "") -> Result:
    return Result("pacemaker01 agent", "", status, stdout, "")


def test_the_addresses_are_those_that_the_agent_tells(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, said(0, IP))
    assert vm(FakeHost(settings)).addresses(settings.identities[0]) == {"192.168.100.10": Place("eth0", 24)}


@pytest.mark.parametrize("result", [None, said(1, "[]"), said(0, "no json")])
@pytest.mark.parametrize("state", ["running", "paused"])
def test_a_machine_that_does_not_tell_is_unknown_and_holds_not_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, state: str, result: Result | None
) -> None:
    answer(monkeypatch, result)
    assert vm(FakeHost(settings), state).addresses(settings.identities[0]) is None


@pytest.mark.parametrize("state", ["shut off", "absent"])
def test_a_machine_without_power_holds_nothing_and_runs_nothing(settings: Settings, state: str) -> None:
    made = vm(FakeHost(settings), state)
    assert made.addresses(settings.identities[0]) == {}
    assert made.runs(settings.identities[0], "apache2") is False


@pytest.mark.parametrize(("result", "seen"), [(said(0), True), (said(1), False), (said(2), None), (None, None)])
def test_a_process_runs_or_not_or_cannot_be_known(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, result: Result | None, seen: bool | None
) -> None:
    answer(monkeypatch, result)
    assert vm(FakeHost(settings)).runs(settings.identities[0], "apache2") is seen


# -- the agent's protocol -----------------------------------------------------------------------------

#: The last answer to guest-exec-status, in the form of qemu-ga 10.0 (Debian 13).
ENDED = json.loads('{"exitcode":0,"out-data":"bG8gIFVOS05PV04K","exited":true}')


def test_what_a_program_said_is_read_from_the_agents_answer() -> None:
    assert agent.parse("pacemaker01", ("ip", "-br", "link"), ENDED) == Result("pacemaker01 agent", "ip -br link", 0, "lo  UNKNOWN\n", "")


def test_a_program_that_a_signal_ended_is_unknown() -> None:
    assert agent.parse("pacemaker01", ("sh",), {"exited": True, "signal": 9}) is None


class Domain:
    """Answers each command with the next text; an error where it is none."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)

    def name(self) -> str:
        return "pacemaker01"


def conversation(monkeypatch: pytest.MonkeyPatch, *texts: str) -> Result | None:
    domain = Domain(*texts)
    monkeypatch.setattr(agent.libvirt_qemu, "qemuAgentCommand", lambda domain, command, timeout, flags: domain.texts.pop(0))
    return agent.run(domain, "pgrep", "apache2", timeout=1)


def test_a_program_is_started_and_asked_after_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    found = conversation(monkeypatch, '{"return":{"pid":7}}', '{"return":{"exited":false}}', json.dumps({"return": ENDED}))
    assert found and found.ok


@pytest.mark.parametrize("texts", [("",), ("{",), ('{"return":{}}',), ('{"return":{"pid":7}}', '{"return":{}}'), ("[]",)])
def test_what_is_no_answer_is_unknown(monkeypatch: pytest.MonkeyPatch, texts: tuple[str, ...]) -> None:
    assert conversation(monkeypatch, *texts) is None


def test_an_agent_that_does_not_answer_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*args: object) -> str:
        raise agent.libvirt.libvirtError("Guest agent is not responding")

    monkeypatch.setattr(agent.libvirt_qemu, "qemuAgentCommand", silent)
    assert agent.run(Domain(), "true", timeout=1) is None


@pytest.mark.parametrize(("scale", "patience"), [("1", "1.0"), ("5", "5.0")])
def test_a_look_waits_longer_for_agents_that_are_slow(monkeypatch: pytest.MonkeyPatch, scale: str, patience: str) -> None:
    monkeypatch.setenv("HALAB_TIMEOUT_SCALE", scale)
    argv = vm(FakeHost(load(engine="vm"))).lookout(["pacemaker01"], "192.168.100.100", 0.1)
    assert argv[2:] == ["halab.lookout_vm", "0.1", patience, "192.168.100.100", "pacemaker01"]
