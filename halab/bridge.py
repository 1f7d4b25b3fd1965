"""The bridge under the nodes' network: the kernel's own, or Open vSwitch as in the handbook.

Both have the same name and the same addresses, a node's cable is a port of either, and both can be told to drop
what some nodes send to some others. The commands are those of bridge(8), nft(8), ovs-vsctl(8) and ovs-ofctl(8).
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from halab.host import Host

#: From these nodes to those, by their names; none means anybody, the lab host too.
Way = tuple[list[str], list[str]]
#: Seconds in which Open vSwitch's daemons answer, or do not run (ovs-vsctl(8), --timeout).
PROMPT = 5
#: A table of its own for the faults: to forget them all is to delete it.
FAULTS = "halab_faults"
FAULT_CHAINS = (
    f"table bridge {FAULTS} {{\n"
    + "".join(f"  chain {hook} {{ type filter hook {hook} priority 0; }}\n" for hook in ("forward", "input", "output"))
    + "}\n"
)
#: The same in Open vSwitch: the upper half of the flows' cookies. Each fault has a lower half and a priority of its own: a flow
#: with the match and the priority of another takes its place (ovs-ofctl(8), add-flow).
COOKIE, LOWER = 0x68616C61 << 32, 0xFFFFFFFF


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

    def dropping(self, *ways: Way) -> AbstractContextManager[None]:
        """Drop what goes these ways, while the block runs; also of a node that is started anew meanwhile."""

    def heal(self) -> None:
        """Drop nothing any more, whoever said so; safe when nothing is dropped."""


def _drops(froms: list[str], tos: list[str]) -> Iterator[str]:
    """The rules of nft for one way; what goes to anybody or comes from anybody also passes the lab host's own end."""
    match = " ".join(f"{key} {{ {', '.join(names)} }}" for key, names in (("iifname", froms), ("oifname", tos)) if names)
    for chain in ("forward", *["input"] * (not tos), *["output"] * (not froms)):
        yield f"add rule bridge {FAULTS} {chain} {match} drop"


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

    @contextmanager
    def dropping(self, *ways: Way) -> Iterator[None]:
        """Rules are removed by the handles that nft gave them."""
        self.host.check_output("nft -f -", input=FAULT_CHAINS.encode())
        rules = "\n".join(rule for way in ways for rule in _drops(*way))
        added = json.loads(self.host.check_output("nft --echo --json --handle %s", rules))["nftables"]  # all at once, or none
        try:
            yield
        finally:
            for rule in [one["add"]["rule"] for one in added]:
                self.host.run("nft delete rule bridge %s %s handle %s", FAULTS, rule["chain"], rule["handle"])  # gone after `heal`

    def heal(self) -> None:
        self.host.run("nft delete table bridge %s", FAULTS)


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

    @contextmanager
    def dropping(self, *ways: Way) -> Iterator[None]:
        """By the cards' addresses: a machine that starts anew has another port. A question to everybody (ARP) passes, its
        answer does not."""
        fault = secrets.randbelow(LOWER)
        about = f"cookie={COOKIE + fault:#x},priority={fault % 0xFFFF + 1}"
        flows = "\n".join(f"{about},{match},actions=drop" for way in ways for match in self._matches(*way))
        self.host.check_output(f"ovs-ofctl --timeout={PROMPT} --bundle add-flows %s -", self.name, input=flows.encode())
        try:
            yield
        finally:
            self._forget(f"{COOKIE + fault:#x}/-1")

    def heal(self) -> None:
        self._forget(f"{COOKIE:#x}/{LOWER << 32:#x}")

    def _matches(self, froms: list[str], tos: list[str]) -> Iterator[str]:
        """The flows' matches for one way (ovs-fields(7), Ethernet)."""
        card = {node.name: node.mac for node in self.host.settings.identities}
        sources, targets = [f"dl_src={card[name]}" for name in froms], [f"dl_dst={card[name]}" for name in tos]
        for source in sources or [""]:
            yield from (f"{source},{target}".strip(",") for target in targets or [""])

    def _forget(self, cookie: str) -> None:
        self.host.run(f"ovs-ofctl --timeout={PROMPT} del-flows %s cookie={cookie}", self.name)  # no such bridge: no flows

    def _do(self, command: str, *args: object) -> str:
        return self.host.check_output(f"ovs-vsctl --timeout={PROMPT} {command}", *args)


def bridge(host: Host) -> Bridge:
    return OpenVSwitch(host) if host.settings.bridge_type == "openvswitch" else LinuxBridge(host)
