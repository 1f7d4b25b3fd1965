"""Faults: each breaks one thing while its `with` block runs, and undoes it also when the block fails.

    with faults.power_cut(node):
        until.held(lab, other_than=node)

Leaving the block, a node is mended as a person would mend it: power, SSH, the cluster's daemons. That the
whole cluster is well again is what `heal(lab)` brings about, and verifies. Faults of the network act on the lab
host's side of the cables (`halab.network`), where a node can neither see nor undo them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from halab.errors import HalabError, LabError, UsageError
from halab.heal import BEFORE, CONF, DAEMONS, FULL, WRITTEN, heal, mend, remove_address, speaker, unspoil, wake
from halab.lab import Lab
from halab.wait import eventually

if TYPE_CHECKING:
    from halab.node import Node

__all__ = [
    "address_added", "address_removed", "apache_damaged", "cable_pulled", "cib_damaged", "conf_damaged", "disk_full", "disturbed", "heal",
    "killed", "maintenance", "moved", "partition", "paused", "power_cut", "standby", "stopped",
]  # fmt: skip

CIB = "/var/lib/pacemaker/cib/cib.xml"


# -- a node, a daemon -------------------------------------------------------------------------------------


@contextmanager
def power_cut(node: Node) -> Iterator[None]:
    """The power fails, and comes back at the end."""
    node.power_off()
    with _then(node):
        yield


@contextmanager
def paused(node: Node, daemon: str | None = None) -> Iterator[None]:
    """The whole node hangs (its clock is stopped), or one daemon by SIGSTOP, until SIGCONT (signal(7))."""
    if daemon is None:
        node.suspend()
    else:
        node.check_output("kill -STOP %s" % _pids(node, daemon))
    with _then(node):
        yield


@contextmanager
def killed(node: Node, daemon: str) -> Iterator[None]:
    """A daemon is killed by SIGKILL, which nothing can catch: with no word to anybody."""
    node.check_output("kill -KILL %s" % _pids(node, daemon))
    with _then(node):
        yield


@contextmanager
def stopped(node: Node) -> Iterator[None]:
    """pacemaker and corosync are stopped in order, as for maintenance of the machine."""
    node.check_output("systemctl stop pacemaker corosync", timeout=120)
    with _then(node):
        yield


def _pids(node: Node, daemon: str) -> str:
    """The process numbers of a daemon on its node. Raises UsageError for a name that none has, LabError when it does not run."""
    if daemon not in (*DAEMONS, "apache2"):
        raise UsageError(f"{daemon} is a daemon of the cluster", fix="the daemons are " + ", ".join((*DAEMONS, "apache2")))
    found = node.run("pidof %s", daemon).stdout.split()
    if not found:
        raise LabError(f"{daemon} runs on {node.name}", "no such process", "halab status")
    return " ".join(found)


@contextmanager
def _then(node: Node) -> Iterator[None]:
    """Whatever the block does: afterwards the node is awake, and what the cluster needs runs there."""
    try:
        yield
    finally:
        wake(node)
        unspoil(node)
        mend(node)


# -- the network ------------------------------------------------------------------------------------------


@contextmanager
def partition(lab: Lab, nodes: Iterable[Node], ways: Literal["both", "in", "out"] = "both") -> Iterator[None]:
    """These nodes and the others are cut off from one another; both sides still reach the lab host.

    `ways`: `both`; `in`: these hear nothing of the others; `out`: nobody hears these. Packets are dropped and
    never refused: a refusal is an answer, and a dead network gives none."""
    inside = [node.name for node in nodes]
    outside = [node.name for node in lab if node.name not in inside]
    if not inside or not outside:
        raise UsageError("nodes on both sides of a partition", f"{', '.join(inside) or 'none'} against {', '.join(outside) or 'none'}")
    directions = [(inside, outside)] * (ways in ("both", "out")) + [(outside, inside)] * (ways in ("both", "in"))
    if not directions:
        raise UsageError("ways is both, in or out", ways)
    with lab.network.dropping(*directions):
        yield


@contextmanager
def cable_pulled(node: Node) -> Iterator[None]:
    """The node's cable is out: its interface has no carrier, and nobody is reached, the lab host neither.

    A node that is fenced meanwhile comes back with a cable that has a carrier and leads nowhere."""
    network = node.lab.network
    with _then(node), network.dropping(([node.name], []), ([], [node.name])):
        network.switch(node.name, on=False)
        yield


@contextmanager
def disturbed(node: Node, *, loss: float = 0, delay: float = 0) -> Iterator[None]:
    """What the node hears loses `loss` percent of its packets and comes `delay` ms late (tc-netem(8)).

    Raises MachineLacks where the machine's kernel has no netem."""
    with _then(node), node.lab.network.disturbed(node.name, loss, delay):
        yield


# -- the address ------------------------------------------------------------------------------------------


@contextmanager
def address_removed(node: Node) -> Iterator[None]:
    """The virtual IP is deleted on its holder by hand; the cluster finds out at its next monitor."""
    if str(node.lab.virtual_ip) not in (node.seen_addresses or {}):
        raise UsageError(f"{node.name} holds {node.lab.virtual_ip}", "it does not", "lab.holder() names the holder")
    remove_address(node)
    with _then(node):
        yield


@contextmanager
def address_added(node: Node) -> Iterator[None]:
    """The virtual IP is added by hand to a node that does not hold it."""
    address = node.lab.virtual_ip
    if str(address) in (node.seen_addresses or {}):
        raise UsageError(f"{node.name} does not hold {address}", "it does", "another node")
    node.check_output("ip addr add %s dev eth0", f"{address}/{node.lab.settings.subnet.prefixlen}")
    try:
        with _then(node):
            yield
    finally:
        if node.lab.where("ClusterIP") != node.name:
            remove_address(node)


# -- the disk ---------------------------------------------------------------------------------------------


@contextmanager
def disk_full(node: Node) -> Iterator[None]:
    """Nothing can be written any more where corosync, pacemaker and the logs write.

    Small full file systems with the same content are mounted there: the node's own disk is the machine's."""
    for folder in WRITTEN:
        node.check_output(
            "set -e; dir=%s; size=$(du -sk $dir | cut -f1); tmp=$(mktemp -d); mount -t tmpfs -o size=$((size + 512))k %s $tmp; "
            "cp -a $dir/. $tmp; mount --move $tmp $dir; rmdir $tmp; dd if=/dev/zero of=$dir/full bs=4k status=none || true",
            folder, FULL,
        )  # fmt: skip
    with _then(node):
        yield


@contextmanager
def conf_damaged(node: Node) -> Iterator[None]:
    """corosync.conf is cut off in its middle. Nobody notices before corosync reads it again."""
    node.check_output("cp -p %s %s && truncate -s $(($(stat -c %%s %s) / 2)) %s", CONF, BEFORE, CONF, CONF)
    with _then(node):
        yield


@contextmanager
def apache_damaged(node: Node) -> Iterator[None]:
    """Apache's configuration file is gone. Nobody notices before Apache starts there."""
    file = "/etc/apache2/apache2.conf"
    node.check_output("mv %s %s", file, f"{file}.before")
    try:
        yield
    finally:
        wake(node)
        node.check_output("mv %s %s", f"{file}.before", file)


@contextmanager
def cib_damaged(node: Node) -> Iterator[None]:
    """The CIB on this node's disk is cut off in its middle. Nobody notices before pacemaker reads or writes it again."""
    node.check_output("truncate -s $(($(stat -c %%s %s) / 2)) %s", CIB, CIB)
    with _then(node):
        yield


# -- what an administrator does ---------------------------------------------------------------------------


@contextmanager
def standby(node: Node) -> Iterator[None]:
    """The node stays a member and runs no resources."""
    node.check_output("crm_standby --node %s --update on", node.name)
    with _then(node):
        try:
            yield
        finally:
            _ask(node.lab, "crm_standby --node %s --delete", node.name)


@contextmanager
def maintenance(what: Lab | Node) -> Iterator[None]:
    """The cluster (or one node) is left alone: resources go on, and nothing is watched or started."""
    lab = what if isinstance(what, Lab) else what.lab
    place = "--type crm_config --name maintenance-mode" if isinstance(what, Lab) else f"--node {what.name} --name maintenance"
    _ask(lab, f"crm_attribute {place} --update true")
    try:
        yield
    finally:
        _ask(lab, f"crm_attribute {place} --delete")


@contextmanager
def moved(node: Node, resource: str = "WebSite") -> Iterator[None]:
    """The resource is moved away from this node; afterwards it may run there again, and stays where it is."""
    _ask(node.lab, "crm_resource --ban --resource %s --node %s", resource, node.name)
    try:
        yield
    finally:
        _ask(node.lab, "crm_resource --clear --resource %s", resource)


def _ask(lab: Lab, command: str, *args: object) -> None:
    """Type a command on a node that sees quorum."""
    node = eventually(lambda: speaker(lab), within="election", retry=(HalabError,))
    node.check_output(command, *args)
