"""The lab: the topology as data, and what runs it.

`Lab(settings)` touches nothing. `up` and `down` concern the nodes and their network; the lab host has
a life of its own (`halab.host`).
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Address
from typing import TypeVar

from halab import arp, pacemaker
from halab.engine import Engine, pick
from halab.engine_ssh import Wire
from halab.errors import HalabError, HostDown, UsageError
from halab.host import Host
from halab.hypervisor import Hypervisor
from halab.keys import Keys
from halab.network import Network
from halab.node import Node
from halab.settings import Settings, load

T = TypeVar("T")


class Sight(StrEnum):
    """What an observer saw of an address on a node. Unknown is never counted as none."""

    HELD = "held"
    NOT_HELD = "not held"
    UNKNOWN = "unknown"


class Lab:
    """N nodes on one bridge."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.host = Host(settings)
        self.nodes = tuple(Node(self, identity) for identity in settings.identities)
        self.network: Network = Wire(self.host) if settings.machines else Network(self.host)  # type: ignore[assignment]

    def __repr__(self) -> str:
        s = self.settings
        return f"<lab {s.name}: {s.nodes} nodes, engine {s.engine}, {s.release}>"

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __getitem__(self, which: int | str) -> Node:
        return self.node(which)

    @cached_property
    def _engine(self) -> tuple[Engine, Hypervisor]:
        return pick(self.settings.engine, self.host)

    @property
    def engine(self) -> Engine:
        return self._engine[0]

    @property
    def hypervisor(self) -> Hypervisor:
        return self._engine[1]

    @cached_property
    def keys(self) -> Keys:
        return Keys(self.settings.folder / "keys")

    @property
    def virtual_ip(self) -> IPv4Address:
        return self.settings.virtual_ip

    def node(self, which: int | str) -> Node:
        """The node of that number (from 1) or name. Raises UsageError."""
        for node in self.nodes:
            if which in (node.number, node.name):
                return node
        raise UsageError(f"{which} is a node of this lab", fix="the nodes are " + ", ".join(n.name for n in self.nodes))

    def each(self, do: Callable[[Node], T], nodes: tuple[Node, ...] | None = None) -> dict[str, T]:
        """`do(node)` on all nodes at once; name -> result. Raises the first error, after all have ended."""
        nodes = self.nodes if nodes is None else nodes
        with ThreadPoolExecutor(max(len(nodes), 1)) as pool:
            futures = {node.name: pool.submit(do, node) for node in nodes}
        return {name: future.result() for name, future in futures.items()}

    # -- life ---------------------------------------------------------------------------------------

    def up(self, line: Callable[[str], None] = lambda text: None) -> None:
        """Network and nodes with their identity, to the point where all answer SSH (the end of chapter 01).

        What is there already is kept: a defined node has a whole disk and is only started."""
        if not self.settings.machines:
            line("network")
            self.network.up()
            self.keys.user  # noqa: B018  (made here once, before the threads)
        self.keys.known_hosts(self.settings.identities)
        self.each(lambda node: self._up(node, line))

    def _up(self, node: Node, line: Callable[[str], None]) -> None:
        if not self.settings.machines:
            self._make(node)
        node.start()
        self.network.plug(node.name)
        node.wait_for_ssh()
        line(f"{node.name} answers")

    def _make(self, node: Node) -> None:
        if node.state == "absent":
            node.make_disk(configured=True)
            node.define()
        elif node.state == "paused":
            node.resume()

    def down(self, line: Callable[[str], None] = lambda text: None) -> None:
        """Remove the nodes, their disks and their network; the lab host stays. Safe when there is nothing. Raises UsageError
        with machines of an inventory, which stay as they are."""
        if self.settings.machines:
            raise UsageError("nodes that the lab has made, and may remove", "machines of an inventory", "begin with chapter 02")
        theirs = self.settings.host == "system"  # there are others' machines too
        for name in () if theirs else self.hypervisor.names():  # also nodes of a half-finished or larger lab
            if name not in {node.name for node in self.nodes}:
                self.hypervisor.destroy(name)
                self.hypervisor.undefine(name)

        def remove(node: Node) -> None:
            node.remove()
            line(f"{node.name} removed")

        self.each(remove)
        self.network.down()

    def close(self) -> None:
        """Close every connection."""
        self.each(lambda node: node.close())

    # -- looking from outside -----------------------------------------------------------------------

    def holders(self, address: object = None) -> dict[str, Sight]:
        """Who holds an address (the virtual IP by default): node name -> Sight, seen from outside the nodes."""
        return self.each(lambda node: self.sight(node, address))

    def sight(self, node: Node, address: object = None) -> Sight:
        """Does a node hold an address (the virtual IP by default), seen from outside?"""
        try:
            seen = node.seen_addresses
        except HalabError:
            seen = None
        if seen is None:
            return Sight.UNKNOWN
        return Sight.HELD if str(address or self.virtual_ip) in seen else Sight.NOT_HELD

    def holder(self) -> str | None:
        """The name of the one node that holds the virtual IP, seen from outside; None while none or several hold it,
        or a node cannot be seen into."""
        sights = self.holders()
        held = [name for name, sight in sights.items() if sight is Sight.HELD]
        return held[0] if len(held) == 1 and Sight.UNKNOWN not in sights.values() else None

    def where(self, resource: str) -> str | None:
        """The name of the one node where pacemaker says that a resource runs; None while it is none or several.

        It is asked on the first node that runs. Raises StudentError when pacemaker does not answer there."""
        for node in self.nodes:
            if node.state == "running":
                places = pacemaker.status(node).resources.get(resource, ())
                return places[0] if len(places) == 1 else None
        return None

    def arp(self, address: object = None) -> set[str]:
        """The hardware addresses that answer for an address on the bridge (arping(8)); empty: nobody."""
        address, interface = address or self.virtual_ip, self.network.interface
        if self.settings.machines:  # this machine's own network, and not ours to change
            return arp.cards(self.host.run, interface, address)
        entry = json.loads(self.host.run("ip -json neigh show to %s dev %s", address, interface).stdout or "[]")
        try:
            return arp.cards(self.host.run, interface, address)
        finally:  # of two that answer, the client outside goes on with whom it knew; a permanent entry no answer changes
            for known in (one["lladdr"] for one in entry if "lladdr" in one and "PERMANENT" not in one["state"]):
                self.host.run("ip neigh replace %s lladdr %s dev %s nud stale", address, known, interface)

    def status(self) -> dict:
        """What is true now, for a person and for a program."""
        running = self.host.running
        about = self.host.about if running else {}
        nodes = [
            {"name": n.name, "address": str(n.address), "state": n.state, "ssh": n.state == "running" and n.answers}
            for n in self.nodes
        ] if running else []  # fmt: skip
        keys = ("instance", "start", "image_digest")
        return {
            "name": self.settings.name, "engine": self.settings.engine, "release": self.settings.release,
            "running": running, **{k: about.get(k) for k in keys}, "nodes": nodes,
        }  # fmt: skip


def current(name: str | None = None, *, engine: str | None = None, nodes: int | None = None) -> Lab:
    """The lab that this process is in, with the settings it was started with; outside, the configured one.

    What is given must agree with it. Raises UsageError, HostDown.
    """
    settings = load()
    host = Host(settings)
    if host.inside:
        settings = Settings(**host.about["settings"])
    elif name is not None:
        raise HostDown("this notebook runs inside the lab host", "an ordinary kernel", "make lab, or halab exec -- PROGRAM")
    for key, wanted in {"name": name, "engine": engine, "nodes": nodes}.items():
        if wanted is not None and wanted != getattr(settings, key):
            fix = f"say so where the notebook sets its parameters, or halab down and HALAB_{key.upper()}={wanted} halab up"
            raise UsageError(f"the lab has {key}={wanted}", f"it has {key}={getattr(settings, key)}", fix)
    return Lab(settings)
