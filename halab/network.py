"""The nodes' network on the lab host: the bridge, forwarding, and the address translation.

The commands are the source's, in today's words: `ip` for ifconfig and ovs-vsctl, `nft` for iptables.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from halab.bridge import Link, Way, bridge
from halab.engine import Place, parse_addresses
from halab.errors import LabError, MachineLacks
from halab.host import Host

TABLE = "halab"
RULES = """
table ip %s {
  chain postrouting {
    type nat hook postrouting priority srcnat
    %s masquerade
  }
}
"""


def parse_links(text: str) -> dict[str, Link]:
    """Name -> Link, from the output of `ip -j -d link` (ip-link(8)). Raises ValueError when it is no such output."""
    return {
        link["ifname"]: Link(link.get("linkinfo", {}).get("info_kind", ""), link.get("master", ""), "UP" in link["flags"])
        for link in json.loads(text)
    }


class Network:
    def __init__(self, host: Host) -> None:
        self.host, self.settings, self.bridge = host, host.settings, bridge(host)

    def __repr__(self) -> str:
        return f"<network {self.settings.bridge} {self.settings.subnet}>"

    @property
    def interface(self) -> str:
        """The lab host's, towards the nodes."""
        return self.settings.bridge

    def create_bridge(self) -> None:
        """Make the bridge with the host's address, and set it up; safe when it is there."""
        s = self.settings
        self.bridge.create()
        address = f"{s.host_address}/{s.subnet.prefixlen}"
        self.host.check_output("ip addr replace %s dev %s; ip link set %s up", address, s.bridge, s.bridge)

    def plug(self, node: str) -> None:
        """Put the cable of a running node into the bridge: a bridge that was made anew has none."""
        self.bridge.plug(node)

    def remove_bridge(self) -> None:
        self.bridge.remove()

    @property
    def addresses(self) -> dict[str, Place]:
        """The lab host's own IPv4 addresses."""
        return parse_addresses(self.host.check_output("ip -j -4 addr")) or {}

    @property
    def links(self) -> dict[str, Link]:
        return parse_links(self.host.check_output("ip -j -d link"))

    @property
    def ports(self) -> set[str]:
        """Names of what is plugged into the bridge."""
        return self.bridge.ports(self.links)

    def faults(self, nodes: Iterable[str]) -> dict[str, str]:
        """What keeps these nodes from the bridge: interface -> what is wrong with it; nothing when all are plugged in."""
        links, bridge = self.links, self.settings.bridge
        ports = self.bridge.ports(links)
        found = {name: f"not plugged into {bridge}" for name in nodes if name in links and name not in ports}
        found |= {name: "switched off" for name in (bridge, *nodes) if name in links and not links[name].up}
        found |= {name: "no such interface" for name in (bridge, *nodes) if name not in links}
        return found if self.bridge.is_one(links) else found | {bridge: "not a bridge"}

    @property
    def forwarding(self) -> bool:
        """Does the lab host's kernel pass packets on between its interfaces (net.ipv4.ip_forward)?"""
        return self.host.check_output("sysctl -n net.ipv4.ip_forward").strip() == "1"

    def set_forwarding(self, on: bool) -> None:
        self.host.check_output("sysctl -q -w net.ipv4.ip_forward=%s", int(on))

    def set_masquerading(self, on: bool) -> None:
        """Translate the nodes' addresses to the host's own on the way out (nft(8), NAT statements)."""
        rules = f"table ip {TABLE} {{}}\ndelete table ip {TABLE}\n"
        if on:
            s = self.settings
            leaves = 'oifname "eth0"' if s.host == "private" else f'ip saddr {s.subnet} oifname != "{s.bridge}"'
            rules += RULES % (TABLE, leaves)
        self.host.check_output("nft -f -", input=rules.encode())

    # -- faults (halab.faults) --------------------------------------------------------------------------

    def switch(self, node: str, *, on: bool) -> None:
        """Switch the host's end of a node's cable on or off: off, the node's own interface loses its carrier."""
        self.host.check_output("ip link set %s %s", node, "up" if on else "down")

    def dropping(self, *ways: Way) -> AbstractContextManager[None]:
        """Drop what goes these ways on the bridge, while the block runs."""
        return self.bridge.dropping(*ways)

    @contextmanager
    def disturbed(self, node: str, loss: float, delay: float) -> Iterator[None]:
        """Loss (percent) and delay (ms) on the way to a node. Raises MachineLacks without netem in the kernel."""
        result = self.host.run("tc qdisc add dev %s root netem loss %s%% delay %sms", node, loss, delay)
        if "qdisc kind is unknown" in result.stderr:
            raise MachineLacks("a kernel with netem", result.stderr.strip(), "modprobe sch_netem")
        result.check(LabError)
        try:
            yield
        finally:
            self.host.run("tc qdisc del dev %s root netem", node)

    def heal(self, nodes: Iterable[str]) -> None:
        """Undo every fault of the network; safe when there is none. Cables are plugged in with `plug`."""
        self.bridge.heal()
        for node in nodes:
            self.host.run("tc qdisc del dev %s root netem", node)

    def up(self) -> None:
        """The state at the end of chapter 01: bridge, forwarding and translation."""
        self.create_bridge()
        if self.settings.host == "private":  # this machine's own is its owner's to decide (halab.host_system)
            self.set_forwarding(True)
        self.set_masquerading(True)
        self.heal(node.name for node in self.settings.identities)  # what a fault left whose process was killed

    def down(self) -> None:
        self.heal(())  # the nodes' cables are gone with them
        self.set_masquerading(False)
        if self.settings.host == "private":
            self.set_forwarding(False)
        self.remove_bridge()
