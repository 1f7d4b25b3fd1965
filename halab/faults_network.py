"""Faults of the network and of the address, as `halab.faults` has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Literal

from halab import pacemaker
from halab.errors import MachineLacks, UsageError
from halab.faults_admin import ask
from halab.lab import Lab, Sight
from halab.repair import mended, remove_address

if TYPE_CHECKING:
    from halab.node import Node


@contextmanager
def partition(lab: Lab, nodes: Iterable[Node], ways: Literal["both", "in", "out"] = "both") -> Iterator[None]:
    """These nodes and the others are cut off from one another; both sides still reach the lab host.

    `ways`: `both`; `in`: these hear nothing of the others; `out`: nobody hears these. Packets are dropped and
    never refused: a refusal is an answer, and a dead network gives none."""
    cut = list(nodes)
    inside = [node.name for node in cut]
    outside = [node.name for node in lab if node.name not in inside]
    if not inside or not outside:
        raise UsageError("nodes on both sides of a partition", f"{', '.join(inside) or 'none'} against {', '.join(outside) or 'none'}")
    directions = [(inside, outside)] * (ways in ("both", "out")) + [(outside, inside)] * (ways in ("both", "in"))
    if not directions:
        raise UsageError("ways is both, in or out", ways)
    with ExitStack() as after:
        for node in cut:
            after.enter_context(mended(node))
        after.enter_context(lab.network.dropping(*directions))
        yield


@contextmanager
def cable_pulled(node: Node) -> Iterator[None]:
    """The node's cable is out: its interface has no carrier, and nobody is reached, the lab host neither.

    A node that is fenced meanwhile comes back with a cable that has a carrier and leads nowhere."""
    network = node.lab.network
    with mended(node), network.dropping(([node.name], []), ([], [node.name])):
        network.switch(node.name, on=False)
        yield


@contextmanager
def disturbed(node: Node, *, loss: float = 0, delay: float = 0) -> Iterator[None]:
    """What the node hears loses `loss` percent of its packets and comes `delay` ms late (tc-netem(8)).

    Where the machine's kernel has no netem and the node has a kernel of its own, it is what the node says. Raises
    MachineLacks where neither can."""
    with mended(node), ExitStack() as undo:
        try:
            undo.enter_context(node.lab.network.disturbed(node.name, loss, delay))
        except MachineLacks as lacks:
            own = node.run("modprobe -q sch_netem; tc qdisc add dev eth0 root netem loss %s%% delay %sms", loss, delay)
            if not own.ok:
                raise MachineLacks(lacks.expected, lacks.seen, "modprobe sch_netem, or nodes with a kernel of their own") from None
            undo.callback(node.run, "tc qdisc del dev eth0 root netem")
        yield


@contextmanager
def address_removed(node: Node) -> Iterator[None]:
    """The virtual IP is deleted on its holder by hand; the cluster finds out at its next monitor, or when the block ends.

    A cluster that has found out is left to end its work: a refresh between a stop and a start would make it forget where
    the resource was, and stickiness counts only where it knows that a resource runs (Pacemaker Explained, "Resource Meta-Attributes")."""
    if str(node.lab.virtual_ip) not in (node.seen_addresses or {}):
        raise UsageError(f"{node.name} holds {node.lab.virtual_ip}", "it does not", "lab.holder() names the holder")
    try:
        with mended(node):
            remove_address(node)
            yield
    finally:
        if set(node.lab.holders().values()) == {Sight.NOT_HELD} and pacemaker.idle(node):
            ask(node.lab, "crm_resource --refresh --resource ClusterIP")


@contextmanager
def address_added(node: Node) -> Iterator[None]:
    """The virtual IP is added by hand to a node that does not hold it."""
    address = node.lab.virtual_ip
    if str(address) in (node.seen_addresses or {}):
        raise UsageError(f"{node.name} does not hold {address}", "it does", "another node")
    try:
        with mended(node):
            node.check_output("ip addr add %s dev eth0", f"{address}/{node.lab.settings.subnet.prefixlen}")
            yield
    finally:
        if node.lab.where("ClusterIP") != node.name:
            remove_address(node)
