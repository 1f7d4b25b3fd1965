"""This machine as the lab host: what is in the way is told. `links.json` is captured from a real lab host."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from halab import chain, host_system
from halab.command import Result
from halab.errors import HalabError, LabError, MachineLacks, UsageError
from halab.settings import Settings

NOTHING = '[{"ifname":"lo","flags":["UP"],"addr_info":[{"local":"127.0.0.1","prefixlen":8}]}]'
HERE = '[{"ifname":"eth1","flags":["UP"],"addr_info":[{"local":"192.168.100.7","prefixlen":24}]}]'
NONE: Mapping[str, str] = MappingProxyType({})
DEFAULT = '[{"dst":"default","gateway":"10.0.0.1","dev":"eth0"}]'
AROUND = '[{"dst":"default","dev":"eth0"},{"dst":"192.168.0.0/16","dev":"wg0","table":"51820"}]'
ROUTE = '[{"dst":"192.168.100.0/25","gateway":"10.0.0.1","dev":"eth0"}]'


@pytest.fixture
def system() -> Settings:
    return Settings(engine="vm", host="system")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What this machine says from now on."""

    def says(
        uuids: Mapping[str, str] | Exception = NONE, link: str = "[]", addr: str = NOTHING, root: str = "[]", match: str = DEFAULT,
        listens: str = "", table: str = "", forward: str = "1", switch: int = 0,
    ) -> None:  # fmt: skip
        class Libvirt:
            def __init__(self, uri: str) -> None:
                assert uri == "qemu:///system"

            def uuids(self) -> Mapping[str, str]:
                if isinstance(uuids, Exception):
                    raise uuids
                return uuids

        said = {"link": link, "addr": addr, "root": root, "match": match, "ss": listens, "nft": "", "ovs-vsctl": ""}

        def run_here(*argv: str, timeout: float) -> Result:
            status = {"nft": int(table not in argv), "ovs-vsctl": switch}.get(argv[0], 0)
            why = "db.sock: database connection failed" if status else ""
            return Result("here", " ".join(argv), status, next(text for word, text in said.items() if word in argv), why)

        (tmp_path / "ip_forward").write_text(forward)
        monkeypatch.setattr(host_system, "FORWARDING", tmp_path / "ip_forward")
        monkeypatch.setattr(host_system, "QEMU", "root")
        monkeypatch.setattr(host_system, "Hypervisor", Libvirt)
        monkeypatch.setattr(host_system, "run_here", run_here)

    return says


def test_a_machine_where_nothing_is_in_the_way_is_let_in(system: Settings, machine: Callable[..., None]) -> None:
    machine(uuids={"web": "1", "pacemaker04": "2"}, listens="LISTEN 0 5 127.0.0.1:80 0.0.0.0:*\n")
    assert host_system.admit(system)["qemu"] == [0, 0]


def test_without_libvirts_user_for_qemu_it_is_refused(
    system: Settings, machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine()
    monkeypatch.setattr(host_system, "QEMU", "nobody-of-that-name")
    with pytest.raises(MachineLacks, match="libvirt-daemon-system"):
        host_system.admit(system)


def test_a_machine_that_has_the_lab_must_have_its_nodes_and_none_of_that_name(system: Settings, machine: Callable[..., None]) -> None:
    busy = "LISTEN 0 5 0.0.0.0:80 0.0.0.0:*\n"
    machine(uuids={"web": "1", "pacemaker01": system.identities[0].uuid}, listens=busy)
    host_system.admit_again(system, port=False)
    with pytest.raises(UsageError, match="port 80"):
        host_system.admit_again(system, port=True)
    machine(uuids={"pacemaker01": "of the owner's"})
    with pytest.raises(UsageError, match=r"pacemaker01 is a node(?s:.*)another machine"):
        host_system.admit_again(system, port=False)


@pytest.mark.parametrize(
    ("said", "kind", "says"),
    [
        ({"uuids": LabError("libvirtd answers", "no such socket")}, MachineLacks, "no such socket(?s:.*)systemctl start libvirtd"),
        ({"uuids": {"pacemaker02": "1", "web": "2"}}, UsageError, "has no pacemaker02 yet"),
        ({"forward": "0"}, UsageError, "ip_forward is 0"),
        ({"table": "halab"}, UsageError, "no table ip halab"),
        ({"table": "halab_faults"}, UsageError, "no table bridge halab_faults"),
        ({"addr": HERE}, UsageError, "has 192.168.100.7(?s:.*)HALAB_SUBNET"),
        ({"root": ROUTE}, UsageError, "a route to 192.168.100.0/25"),
        ({"match": AROUND}, UsageError, "a route to 192.168.0.0/16"),
        ({"listens": "LISTEN 0 5 0.0.0.0:80 0.0.0.0:*\n"}, UsageError, "listens at 0.0.0.0:80"),
        ({"listens": "LISTEN 0 5 *:80 *:*\n"}, UsageError, "listens at"),
    ],
)
def test_what_is_in_the_way_is_told(
    system: Settings, machine: Callable[..., None], said: dict[str, object], kind: type[HalabError], says: str
) -> None:
    machine(**said)
    with pytest.raises(kind, match=says):
        host_system.admit(system)


def test_a_switch_that_does_not_run_is_told_before_anything_is_made(machine: Callable[..., None]) -> None:
    with_switch = Settings(engine="vm", host="system", bridge_type="openvswitch")
    machine()
    host_system.admit(with_switch)
    machine(switch=1)
    with pytest.raises(MachineLacks, match=r"database connection failed(?s:.*)systemctl start openvswitch-switch"):
        host_system.admit(with_switch)


def test_a_bridge_of_that_name_is_somebody_elses(system: Settings, machine: Callable[..., None], captured: Callable[[str], str]) -> None:
    machine(link=captured("links.json"))
    with pytest.raises(UsageError, match=f"{system.bridge}(?s:.*)HALAB_BRIDGE"):
        host_system.admit(system)


@pytest.mark.parametrize(
    ("files", "asked"),
    [
        (["search lan\nnameserver 10.0.0.53\nnameserver 10.0.0.54\n"], "10.0.0.53"),
        (["nameserver 127.0.0.53\n", "nameserver 10.0.0.53\n"], "10.0.0.53"),
        (["nameserver ::1\n# nameserver 10.0.0.53\n"], None),
        (["nameserver\n"], None),
        ([], None),
    ],
)
def test_the_nodes_ask_whom_another_machine_can_ask(files: list[str], asked: str | None) -> None:
    assert host_system.nameserver(files) == asked


def test_chapter_01_is_left_out_for_it_switches_the_network_off(system: Settings) -> None:
    names = chain.chapters()
    assert chain.possible(names, system) == names[1:5]
    with pytest.raises(UsageError, match="host = system"):
        chain.possible(names[:1], system)


@pytest.mark.parametrize("given", [{"engine": "lxc"}, {"engine": "vm", "uplink": True}])
def test_what_does_not_go_with_it_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match='host = "system"'):
        Settings(host="system", **given)
