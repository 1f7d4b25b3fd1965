import re
from pathlib import Path

import pytest

from halab import settings as module
from halab.bridge import Link, LinuxBridge, OpenVSwitch, Way, bridge
from halab.command import Result
from halab.errors import LabError
from halab.host import Host
from halab.settings import load


class FakeHost:
    """Records what is run as root; answers with one result."""

    def __init__(self, status: int = 0, stdout: str = "", stderr: str = "") -> None:
        self.settings = load(bridge="openvswitch")
        self.result = Result("host", "", status, stdout, stderr)
        self.commands: list[str] = []
        self.said = ""

    def run(self, command: str, *args: object, input: bytes = b"") -> Result:
        self.commands.append(command % args)
        self.said += f"{input.decode()}\n"
        return self.result

    def check_output(self, command: str, *args: object, input: bytes = b"") -> str:
        return self.run(command, *args, input=input).check(LabError)


@pytest.mark.parametrize(
    ("given", "kind"), [({}, LinuxBridge), ({"bridge": "openvswitch"}, OpenVSwitch), ({"bridge_type": "openvswitch"}, OpenVSwitch)]
)
def test_the_bridge_is_the_one_that_is_set_under_the_handbooks_name(given: dict, kind: type) -> None:
    made = bridge(Host(load(**given)))
    assert isinstance(made, kind)
    assert made.name == "ubuntu_br"


def test_the_datapath_is_the_kernels_where_it_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OVS_MODULE", tmp_path)
    assert load().datapath == "system"
    monkeypatch.setattr(module, "OVS_MODULE", tmp_path / "none")
    assert load().datapath == "netdev"


def test_open_vswitch_is_asked_with_a_deadline_and_safe_to_ask_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "OVS_MODULE", tmp_path / "none")
    host = FakeHost()
    switch = OpenVSwitch(host)
    switch.create()
    switch.plug("pacemaker01")
    switch.remove()
    assert host.commands == [
        "ovs-vsctl --timeout=5 --may-exist add-br ubuntu_br -- set bridge ubuntu_br datapath_type=netdev",
        "ovs-vsctl --timeout=5 --may-exist add-port ubuntu_br pacemaker01",
        "ip link set pacemaker01 up",
        "ovs-vsctl --timeout=5 --if-exists del-br ubuntu_br",
    ]


def test_its_ports_are_those_that_it_lists() -> None:
    assert OpenVSwitch(FakeHost(stdout="pacemaker01\npacemaker02\n")).ports({}) == {"pacemaker01", "pacemaker02"}


def test_without_such_a_bridge_there_are_no_ports() -> None:
    switch = OpenVSwitch(FakeHost(status=2))
    assert (switch.is_one({"ubuntu_br": Link("bridge", "", True)}), switch.ports({})) == (False, set())


FLOW = re.compile(r"cookie=(0x68616c61[0-9a-f]{8}),priority=([0-9]+),(.+),actions=drop")
FIRST, SECOND, THIRD = (f"52:54:00:9b:d5:{last}" for last in (11, 12, 13))


@pytest.mark.parametrize(
    ("way", "matches"),
    [
        ((["pacemaker01"], ["pacemaker02", "pacemaker03"]), [f"dl_src={FIRST},dl_dst={SECOND}", f"dl_src={FIRST},dl_dst={THIRD}"]),
        ((["pacemaker02"], []), [f"dl_src={SECOND}"]),
        (([], ["pacemaker02"]), [f"dl_dst={SECOND}"]),
    ],
)
def test_open_vswitch_drops_by_the_cards_of_the_nodes(way: Way, matches: list[str]) -> None:
    host = FakeHost()
    with OpenVSwitch(host).dropping(way):
        flows = [FLOW.fullmatch(line) for line in host.said.split()]
        assert host.commands == ["ovs-ofctl --timeout=5 --bundle add-flows ubuntu_br -"]  # all at once, or none
    assert [flow and flow[3] for flow in flows] == matches
    ((cookie, priority),) = {(flow[1], int(flow[2])) for flow in flows if flow}
    assert 0 < priority < 2**16
    assert host.commands[1:] == [f"ovs-ofctl --timeout=5 del-flows ubuntu_br cookie={cookie}/-1"]


def test_each_fault_of_open_vswitch_has_flows_of_its_own_and_heal_ends_all() -> None:
    host = FakeHost()
    switch, way = OpenVSwitch(host), (["pacemaker01"], ["pacemaker02"])
    with switch.dropping(way), switch.dropping(way):
        outer, inner = (FLOW.fullmatch(line) for line in host.said.split())
    assert outer and inner and outer[1] != inner[1]
    switch.heal()
    assert host.commands[-1] == "ovs-ofctl --timeout=5 del-flows ubuntu_br cookie=0x68616c6100000000/0xffffffff00000000"


def test_daemons_that_do_not_run_are_the_labs_fault() -> None:
    said = "ovs-vsctl: unix:/run/openvswitch/db.sock: database connection failed (No such file or directory)"
    with pytest.raises(LabError, match="database connection failed"):
        OpenVSwitch(FakeHost(status=1, stderr=said)).create()


def test_a_bridge_of_the_kernels_is_known_by_its_kind_and_its_ports_by_their_master() -> None:
    links = {"ubuntu_br": Link("bridge", "", True), "pacemaker01": Link("veth", "ubuntu_br", True), "eth0": Link("veth", "", True)}
    made = LinuxBridge(FakeHost())
    assert made.is_one(links) and made.ports(links) == {"pacemaker01"}
    assert not made.is_one({"ubuntu_br": Link("dummy", "", True)})
