"""Faults: each breaks one thing while its `with` block runs, and undoes it also when the block fails.

    with faults.power_cut(node):
        until.held(lab, other_than=node)

Leaving the block, a node is mended as a person would mend it: power, SSH, the cluster's daemons. That the
whole cluster is well again is what `heal(lab)` brings about, and verifies. Faults of the network act on the lab
host's side of the cables (`halab.network`), where a node can neither see nor undo them. Those of the network and
of the address are in `halab.faults_network`, of the disk in `halab.faults_disk`, and what an administrator does
in `halab.faults_admin`; this module has them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from halab.errors import LabError, UsageError
from halab.faults_admin import maintenance, moved, standby
from halab.faults_disk import apache_damaged, cib_damaged, conf_damaged, disk_full
from halab.faults_network import address_added, address_removed, cable_pulled, disturbed, partition
from halab.heal import heal
from halab.repair import DAEMONS, mended

if TYPE_CHECKING:
    from halab.node import Node

__all__ = [
    "address_added", "address_removed", "apache_damaged", "cable_pulled", "cib_damaged", "conf_damaged", "disk_full", "disturbed", "heal",
    "killed", "maintenance", "moved", "partition", "paused", "power_cut", "standby", "stopped",
]  # fmt: skip


@contextmanager
def power_cut(node: Node) -> Iterator[None]:
    """The power fails, and comes back at the end."""
    with mended(node):
        node.power_off()
        yield


@contextmanager
def paused(node: Node, daemon: str | None = None) -> Iterator[None]:
    """The whole node hangs (its clock is stopped), or one daemon by SIGSTOP, until SIGCONT (signal(7))."""
    pids = daemon and _pids(node, daemon)
    with mended(node):
        if pids:
            node.check_output(f"kill -STOP {pids}")
        else:
            node.suspend()
        yield


@contextmanager
def killed(node: Node, daemon: str) -> Iterator[None]:
    """A daemon is killed by SIGKILL, which nothing can catch: with no word to anybody."""
    pids = _pids(node, daemon)
    with mended(node):
        node.check_output(f"kill -KILL {pids}")
        yield


@contextmanager
def stopped(node: Node) -> Iterator[None]:
    """pacemaker and corosync are stopped in order, as for maintenance of the machine."""
    with mended(node):
        node.check_output("systemctl stop pacemaker corosync", timeout=120)
        yield


def _pids(node: Node, daemon: str) -> str:
    """The process numbers of a daemon on its node. Raises UsageError for a name that none has, LabError when it does not run."""
    if daemon not in (*DAEMONS, "apache2"):
        raise UsageError(f"{daemon} is a daemon of the cluster", fix="the daemons are " + ", ".join((*DAEMONS, "apache2")))
    found = node.run("pidof %s", daemon).stdout.split()
    if not found:
        raise LabError(f"{daemon} runs on {node.name}", "no such process", "halab status")
    return " ".join(found)
