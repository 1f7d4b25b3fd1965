"""Back to a healthy cluster, whatever happened to it: undo, mend each node as a person would, verify.

Verified is what can be seen from outside, and what every node itself says; a cluster that is not well after
it was mended is an error of the lab, with what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from halab import corosync, pacemaker
from halab.errors import DeadlinePassed, HalabError, LabError, StudentError
from halab.lab import Sight
from halab.probe import ask
from halab.wait import eventually

if TYPE_CHECKING:
    from halab.lab import Lab
    from halab.node import Node

#: The cluster's daemons by the names of their programs (pacemakerd(8), Pacemaker Administration, daemons).
PACEMAKER = ("pacemakerd", *(f"pacemaker-{part}" for part in ("based", "fenced", "execd", "attrd", "schedulerd", "controld")))
DAEMONS = ("corosync", *PACEMAKER)
#: Where a full disk is put over what the node writes (`halab.faults.disk_full`), and the name of its mount.
WRITTEN, FULL = ("/var/lib/pacemaker", "/var/lib/corosync", "/var/log"), "halab-full"
#: What a damaged corosync.conf was before (`halab.faults.conf_damaged`).
CONF = "/etc/corosync/corosync.conf"
BEFORE = f"{CONF}.before"
#: corosync's and pacemaker's cores (pacemakerd and corosync change into these folders).
CORES = "/var/lib/pacemaker/cores /var/lib/corosync"


def heal(lab: Lab) -> None:
    """Bring the cluster back: every fault undone, all nodes members and ready, nothing left over, one holder, its page.

    Raises LabError with what is still wrong after the cluster's daemons were restarted where they were not well."""
    lab.network.heal(node.name for node in lab)
    lab.each(wake)
    lab.each(unspoil)
    lab.each(mend)
    tidy(lab)
    try:
        _verify(lab, 60)
    except LabError:
        lab.each(lambda node: restart(node) if _not_well(node) else None)
        _verify(lab, "election")


def _verify(lab: Lab, within: str | float) -> None:
    def look() -> list[str]:
        if left := list(wrong(lab)):
            with suppress(HalabError):
                tidy(lab)
        return left

    try:
        eventually(look, lambda left: not left, within=within, every=0.5, what="the cluster is healthy again", retry=(HalabError,))
    except DeadlinePassed as passed:
        seen = "; ".join(passed.seen) if isinstance(passed.seen, list) else passed.seen
        raise LabError("the cluster is healthy again", seen, "halab reset 06, or halab down and halab run") from None


# -- one node ---------------------------------------------------------------------------------------------


def wake(node: Node) -> None:
    """Power, clock and cable as they should be, until it answers SSH."""
    if node.state == "paused":
        node.resume()
    node.start()
    eventually(lambda: _plugged(node), within="daemon", what=f"the cable of {node.name} is plugged in")
    node.wait_for_ssh()


def _plugged(node: Node) -> bool:
    with suppress(LabError):  # a node that is started just now has no cable yet
        node.lab.network.plug(node.name)
        return True
    return False


def unspoil(node: Node) -> None:
    """Let stopped daemons go on, and take away what faults left on the node's disk; safe when there is nothing."""
    names = " ".join(DAEMONS)
    node.run(f'pids=$(pidof {names}); test -z "$pids" || kill -CONT $pids')
    node.check_output(
        "for dir in %s %s %s; do while findmnt -n -o SOURCE $dir | grep -qx %s; do umount -l $dir; done; done", *WRITTEN, FULL
    )
    node.check_output("if test -e %s; then mv %s %s; fi", BEFORE, BEFORE, CONF)


def mend(node: Node) -> None:
    """Restart the cluster's daemons where they don't run or don't answer; one that is well is left alone."""
    try:
        eventually(lambda: "failed" in (text := _not_well(node)) or not text, within=10, every=0.5)
    except DeadlinePassed:
        restart(node)
    else:
        if _not_well(node):
            restart(node)


def _not_well(node: Node) -> str:
    """What is wrong with the cluster's daemons on a node; empty when nothing is."""
    units = node.run("systemctl is-active corosync pacemaker").stdout.split()
    if units != ["active", "active"]:
        return f"corosync is {units[0]}, pacemaker is {units[1]}"
    missing = [name for name in DAEMONS if not node.run("pidof -s %s", name).ok]
    if missing:
        return f"without {', '.join(missing)}"
    try:
        return "" if pacemaker.status(node).dc else "no DC"
    except StudentError as error:
        return str(error.seen)


def restart(node: Node) -> None:
    """End what is left of the cluster on this node, with its resources, and start it again.

    pacemakerd waits for the others before it ends (TimeoutStopSec=30min), and without them for ever: it is killed.
    All that it started is in its cgroup and goes with it; the address does not, and is removed."""
    node.run("systemctl stop --no-block pacemaker; systemctl kill --kill-whom=all --signal=KILL pacemaker corosync")
    node.check_output("systemctl stop pacemaker corosync; systemctl reset-failed pacemaker corosync 2>/dev/null; rm -rf /dev/shm/qb-*")
    remove_address(node)
    node.check_output("systemctl start corosync && systemctl start pacemaker", timeout=90)


def remove_address(node: Node) -> None:
    """Take the virtual IP off a node, wherever it is there; safe when it is not."""
    address = str(node.lab.virtual_ip)
    if place := (node.seen_addresses or {}).get(address):
        node.check_output("ip addr del %s dev %s", f"{address}/{place.prefix}", place.interface)


# -- the cluster ------------------------------------------------------------------------------------------


def speaker(lab: Lab) -> Node:
    """A node of the partition that has quorum, to type a command on. Raises StudentError when there is none."""
    for node in lab:
        with suppress(HalabError):
            if node.state == "running" and pacemaker.status(node).quorum:
                return node
    raise StudentError("a node that sees quorum", "none", "corosync-quorumtool -s, on every node")


def tidy(lab: Lab) -> None:
    """Undo standby, maintenance and moves, clean up failures, and take the address off where the cluster has not put it."""
    try:
        node = eventually(lambda: speaker(lab), within="election", retry=(StudentError,))
    except DeadlinePassed:
        return
    seen = pacemaker.status(node)
    for name in seen.standby:
        node.run("crm_standby --node %s --delete", name)
    for name in seen.maintenance:
        node.run("crm_attribute --node %s --name maintenance --delete", name)
    cib = pacemaker.cib(node)
    if "maintenance-mode" in pacemaker.nvpairs(cib, "crm_config"):
        node.check_output("crm_attribute --type crm_config --name maintenance-mode --delete")
    for constraint in pacemaker.constraints(cib):
        if constraint.get("id", "").startswith("cli-"):
            node.check_output("crm_resource --clear --resource %s", constraint["rsc"])
    if seen.failures:
        node.run("crm_resource --cleanup")
    elif ask(f"http://{lab.virtual_ip}/") is None and pacemaker.idle(node):
        node.run("crm_resource --refresh")  # what ended unnoticed is looked for now, not at its next monitor
    for other in lab:
        at = seen.resources.get("ClusterIP", ())
        if at and other.name not in at and lab.sight(other) is Sight.HELD and pacemaker.idle(node):
            remove_address(other)


def wrong(lab: Lab) -> Iterator[str]:
    """What is not as in a healthy cluster, one text each; what could not be asked is told too."""
    yield from (f"{name}: {what}" for name, what in lab.network.faults(node.name for node in lab).items())
    for name, text in lab.each(lambda node: _wrong(node)).items():
        if text:
            yield f"{name}: {text}"
    sights = lab.holders()
    if sorted(sights.values()).count(Sight.HELD) != 1 or Sight.UNKNOWN in sights.values():
        yield f"{lab.virtual_ip} is " + ", ".join(f"{sight} by {name}" for name, sight in sights.items())
    if (page := ask(f"http://{lab.virtual_ip}/")) is None or page != lab.holder():
        yield f"the page is served by {page or 'nobody'}"


def _wrong(node: Node) -> str:
    names = tuple(other.name for other in node.lab)
    if node.state != "running":
        return node.state
    if (seen := corosync.joined(node)) != [other.number for other in node.lab]:
        return f"sees members {seen}"
    if text := _not_well(node):
        return text
    status = pacemaker.status(node)
    if status.ready != names:
        return f"sees ready {', '.join(status.ready) or 'nobody'}"
    if not pacemaker.idle(node):
        return "the DC is busy"
    left = [*status.failures, *status.orphans, *status.unmanaged]
    left += node.run(f"find {CORES} -name 'core*' -type f 2>/dev/null").stdout.split()
    return ", ".join(left)
