"""The bridge under the nodes' network: the kernel's own, or Open vSwitch as in the handbook.

Both have the same name and the same addresses, and a node's cable is a port of either. The commands are
those of bridge(8) and ovs-vsctl(8).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from halab.host import Host

#: Seconds in which Open vSwitch's daemons answer, or do not run (ovs-vsctl(8), --timeout).
PROMPT = 5


@dataclass(frozen=True)
class Link:
    """An interface of the lab host: its kind (`bridge`, `veth`, … or empty), the bridge it is plugged into
    (or empty), and whether it is switched on."""

    kind: str
    master: str
    up: bool


class Bridge(Protocol):
    name: str

    def create(self) -> None:
        """Make it, without an address; safe when it is there."""

    def remove(self) -> None:
        """Safe when there is none."""

    def plug(self, cable: str) -> None:
        """Put the lab host's end of a node's cable into it, and switch that on."""

    def is_one(self, links: Mapping[str, Link]) -> bool:
        """Is there a bridge of that name and type, among the lab host's interfaces?"""

    def ports(self, links: Mapping[str, Link]) -> set[str]:
        """Names of the interfaces that are plugged into it."""


class LinuxBridge:
    def __init__(self, host: Host) -> None:
        self.host, self.name = host, host.settings.bridge

    def create(self) -> None:
        self.host.check_output("ip link show %s >/dev/null 2>&1 || ip link add %s type bridge", self.name, self.name)

    def remove(self) -> None:
        self.host.run("ip link del %s", self.name)

    def plug(self, cable: str) -> None:
        self.host.check_output("ip link set %s master %s up", cable, self.name)

    def is_one(self, links: Mapping[str, Link]) -> bool:
        return self.name in links and links[self.name].kind == "bridge"

    def ports(self, links: Mapping[str, Link]) -> set[str]:
        return {name for name, link in links.items() if link.master == self.name}


class OpenVSwitch:
    """Its daemons run in the lab host (`halab.warden`). Where the kernel has no datapath for it, they pass the
    packets on themselves (ovs-vswitchd.conf.db(5), "datapath_type")."""

    def __init__(self, host: Host) -> None:
        self.host, self.name = host, host.settings.bridge

    def create(self) -> None:
        self._do("--may-exist add-br %s -- set bridge %s datapath_type=%s", self.name, self.name, self.host.settings.datapath)

    def remove(self) -> None:
        self.host.run(f"ovs-vsctl --timeout={PROMPT} --if-exists del-br %s", self.name)

    def plug(self, cable: str) -> None:
        self._do("--may-exist add-port %s %s", self.name, cable)
        self.host.check_output("ip link set %s up", cable)

    def is_one(self, links: Mapping[str, Link]) -> bool:
        return self.host.run(f"ovs-vsctl --timeout={PROMPT} br-exists %s", self.name).ok

    def ports(self, links: Mapping[str, Link]) -> set[str]:
        return set(self._do("list-ports %s", self.name).split()) if self.is_one(links) else set()

    def _do(self, command: str, *args: object) -> str:
        return self.host.check_output(f"ovs-vsctl --timeout={PROMPT} {command}", *args)


def bridge(host: Host) -> Bridge:
    return OpenVSwitch(host) if host.settings.bridge_type == "openvswitch" else LinuxBridge(host)
