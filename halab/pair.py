"""A cluster of two: the lab's first two nodes for a while by themselves, with votequorum's rule for two.

`part` ends the cluster and leaves two nodes configured and not started; `join` brings the cluster of all back, as it was.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from halab import until
from halab.errors import UsageError

if TYPE_CHECKING:
    from halab.lab import Lab
    from halab.node import Node

CONF = "/etc/corosync/corosync.conf"
#: A node of the list, with its id.
NODE = re.compile(r"^[ \t]*node\s*\{[^}]*?nodeid:\s*(\d+)[^}]*\}\n", re.M)


def two_node(conf: str) -> str:
    """A corosync.conf with nodes 1 and 2 only, and two_node (votequorum(5)). Raises UsageError for one that says so already."""
    if re.search(r"^\s*two_node:", conf, re.M):
        raise UsageError("a corosync.conf of more than two nodes", "two_node is there", "halab.pair.join(lab)")
    smaller = NODE.sub(lambda node: node[0] if int(node[1]) < 3 else "", conf)
    return re.sub(r"^([ \t]*)(provider:\s*corosync_votequorum)", r"\1\2\n\1two_node: 1", smaller, flags=re.M)


def part(lab: Lab) -> tuple[Node, Node]:
    """Stop the cluster on all nodes, and configure the first two as a pair; nothing runs. Raises UsageError."""
    one, two, *_ = lab.nodes
    conf = two_node(one.check_output("cat %s", CONF))
    _stop(lab)
    for node in (one, two):
        node.check_output("cp -p %s %s.all", CONF, CONF)
        node.put(conf, CONF)
    return one, two


def join(lab: Lab) -> None:
    """Back to the cluster of all nodes, until all of them are ready."""
    _stop(lab)
    for node in lab.nodes[:2]:
        node.check_output("mv %s.all %s", CONF, CONF)
    lab.each(lambda node: node.check_output("systemctl start corosync"))
    for node in lab:  # a DC that has not seen a node would fence it (startup-fencing)
        until.members(node, *(other.number for other in lab))
    lab.each(lambda node: node.check_output("systemctl start pacemaker"))
    until.all_ready(lab)


def _stop(lab: Lab) -> None:
    lab.each(lambda node: node.check_output("systemctl stop pacemaker corosync", timeout=120))
