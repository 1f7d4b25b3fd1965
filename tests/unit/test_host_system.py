"""This machine as the lab host: what is in the way is told. `links.json` is captured from a real lab host."""

from collections.abc import Callable

import pytest

from halab import chain, host_system
from halab.command import Result
from halab.errors import HalabError, LabError, MachineLacks, UsageError
from halab.settings import Settings

NOTHING = '[{"ifname":"lo","flags":["UP"],"addr_info":[{"local":"127.0.0.1","prefixlen":8}]}]'
HERE = '[{"ifname":"eth1","flags":["UP"],"addr_info":[{"local":"192.168.100.7","prefixlen":24}]}]'
ROUTE = '[{"dst":"192.168.100.0/25","gateway":"10.0.0.1","dev":"eth0"}]'


@pytest.fixture
def system() -> Settings:
    return Settings(engine="vm", host="system")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What this machine says from now on."""

    def says(names: tuple[str, ...] | None = (), link: str = "[]", addr: str = NOTHING, route: str = "[]", listens: str = "") -> None:
        class Libvirt:
            def __init__(self, uri: str) -> None:
                assert uri == "qemu:///system"

            def names(self) -> tuple[str, ...]:
                if names is None:
                    raise LabError("libvirtd answers", "no such socket", "halab up")
                return names

        said = {"link": link, "addr": addr, "route": route, "ss": listens}

        def run_here(*argv: str, timeout: float) -> Result:
            return Result("here", " ".join(argv), 0, next(text for word, text in said.items() if word in argv), "")

        monkeypatch.setattr(host_system, "Hypervisor", Libvirt)
        monkeypatch.setattr(host_system, "run_here", run_here)

    return says


def test_a_machine_where_nothing_is_in_the_way_is_let_in(system: Settings, machine: Callable[..., None]) -> None:
    machine(names=("web", "pacemaker04"), listens="LISTEN 0 5 127.0.0.1:80 0.0.0.0:*\n")
    assert isinstance(host_system.admit(system)["forwarding"], bool)


@pytest.mark.parametrize(
    ("said", "kind", "says"),
    [
        ({"names": None}, MachineLacks, "no such socket(?s:.*)systemctl start libvirtd"),
        ({"names": ("pacemaker02", "web")}, UsageError, "no machine called pacemaker02"),
        ({"addr": HERE}, UsageError, "has 192.168.100.7(?s:.*)HALAB_SUBNET"),
        ({"route": ROUTE}, UsageError, "has 192.168.100.0/25"),
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
    assert chain.possible(names, system) == names[1:]
    with pytest.raises(UsageError, match="host = system"):
        chain.possible(names[:1], system)


@pytest.mark.parametrize("given", [{"engine": "lxc"}, {"engine": "vm", "uplink": True}])
def test_what_does_not_go_with_it_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match='host = "system"'):
        Settings(host="system", **given)  # type: ignore[arg-type]
