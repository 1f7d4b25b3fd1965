"""The fence device's configuration, and how it is started: with no privilege, and a handle to end it by."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from halab.command import Result, quote
from halab.fence_device import CONF, KEY, OTHER, SOCKET, STRANGER, USER, FenceDevice
from halab.settings import Settings


class FakeHost:
    """Records commands and inputs; answers each with success, but `fence_virtd.pid` only once it was started."""

    def __init__(self) -> None:
        self.folder = Path("/lab")
        self.commands: list[str] = []
        self.files: dict[str, bytes] = {}

    def run(self, command: str, *args: object, input: bytes | None = None, **_: Any) -> Result:
        line = quote(command, *args)
        self.commands.append(line)
        if input is not None:
            self.files[line.split("cat > ")[1].split(";")[0].split(" ")[0]] = input
        started = any("setsid" in c for c in self.commands)
        alive = not line.startswith("read pid") or (started and not any("kill -KILL" in c for c in self.commands))
        return Result("host", line, 0 if alive else 1, "UNCONN" if line.startswith("ss ") else "", "")

    def check_output(self, command: str, *args: object, **more: Any) -> str:
        return self.run(command, *args, **more).stdout


@pytest.fixture
def device() -> FenceDevice:
    lab = SimpleNamespace(host=FakeHost(), settings=Settings(name="mine", nodes=2), engine=SimpleNamespace(uri="qemu:///system"))
    return FenceDevice(lab)


def test_the_configuration_names_this_labs_nodes_and_their_machines(device: FenceDevice) -> None:
    text = device.config
    for node in device.lab.settings.identities:
        assert f'ip = "{node.address}";' in text
        assert f'uuid = "{node.name}";' in text and f'uuid = "{node.uuid}";' in text
    assert text.count("ip = ") == 2 and text.count("uuid = ") == 4
    assert f'uri = "qemu+unix:///system?socket={SOCKET}";' in text
    assert f'interface = "{device.lab.settings.bridge}";' in text and f'key_file = "{KEY}";' in text
    assert text.count("{") == text.count("}")


def test_started_as_nobody_with_the_key_and_a_handle(device: FenceDevice) -> None:
    device.start(b"secret")
    host: Any = device.host
    assert host.files == {KEY: b"secret", CONF: device.config.encode()}
    (daemon,) = [c for c in host.commands if "/usr/sbin/fence_virtd" in c]
    assert f"--reuid={USER} --regid={USER} --clear-groups --no-new-privs --bounding-set=-all" in daemon
    assert "stat) > /run/halab/fence/fence_virtd.pid" in daemon
    assert 0 < USER < 1_000_000  # below the nodes' own ids


def test_ended_by_the_handle(device: FenceDevice) -> None:
    device.start(b"secret")
    device.stop()
    host: Any = device.host
    assert any(c.startswith("read pid ticks < /run/halab/fence/fence_virtd.pid") and c.endswith("kill -KILL $pid") for c in host.commands)
    assert not device.running
    assert repr(device) == "<fence device fence_virtd: not running>"


@pytest.mark.parametrize(
    ("uri", "kind", "way_in"),
    [
        ("lxc:///system", "lxc", "lxc-enter-namespace --noseclabel pacemaker01"),
        ("qemu:///system", "qemu", "qemu-agent-command pacemaker01"),
    ],
)
def test_the_stranger_and_the_way_into_a_node_are_those_of_the_labs_libvirt(device: FenceDevice, uri: str, kind: str, way_in: str) -> None:
    device.lab.engine.uri = uri
    device.lab.nodes = (SimpleNamespace(name="pacemaker01"),)  # type: ignore[assignment]
    assert device.stranger.startswith(f"<domain type='{kind}'><name>{STRANGER}</name>")
    device.start(b"secret")
    device.powers()
    host: Any = device.host
    assert sum(way_in in command for command in host.commands) == 1
    assert host.files[OTHER] == device.stranger.encode()
