"""A node is mended as a person would do it: power, cable, SSH, what was spoilt on its disk, the cluster's daemons."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from halab import pacemaker
from halab.errors import DeadlinePassed, HalabError, LabError, StudentError, Unreachable
from halab.wait import eventually, stays

if TYPE_CHECKING:
    from halab.node import Node

#: The cluster's daemons by the names of their programs (pacemakerd(8), Pacemaker Administration, daemons).
PACEMAKER = ("pacemakerd", *(f"pacemaker-{part}" for part in ("based", "fenced", "execd", "attrd", "schedulerd", "controld")))
DAEMONS = ("corosync", *PACEMAKER)
#: Where a full disk is put over what the node writes (`halab.faults.disk_full`), and the name of its mount.
WRITTEN, FULL = ("/var/lib/pacemaker", "/var/lib/corosync", "/var/log"), "halab-full"
#: What `halab.faults_disk` damages; beside it, what it was before.
CONF, APACHE = "/etc/corosync/corosync.conf", "/etc/apache2/apache2.conf"
BEFORE = ".before"
CIB = "/var/lib/pacemaker/cib/cib.xml"
#: corosync's and pacemaker's cores (pacemakerd and corosync change into these folders): a daemon may end in one when
#: another was killed under it.
CORES = "/var/lib/pacemaker/cores /var/lib/corosync"


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
    node.run("tc qdisc del dev eth0 root netem")
    node.run(f"find {CORES} -name 'core*' -type f -delete")
    node.check_output("for file in %s %s; do if test -e $file%s; then mv $file%s $file; fi; done", CONF, APACHE, BEFORE, BEFORE)


def mend(node: Node) -> None:
    """Restart the cluster's daemons where they don't run or don't answer; one that is well is left alone.

    One that boots is given the time to start them itself, and one whose daemons run the time to find a DC."""
    with suppress(DeadlinePassed):
        eventually(lambda: not _boots(node), within=30, every=0.3)
    with suppress(DeadlinePassed):
        eventually(lambda: not (text := not_well(node)) or _stays_down(text), within=10, every=0.5)
    if not_well(node):
        restart(node)


def revive(node: Node) -> None:
    """Restart the cluster's daemons where they have ended and nothing starts them: pacemakerd stays down when it learns that
    its node was fenced (exit status 100)."""
    if node.state == "running" and not _boots(node) and _stays_down(not_well(node)):
        restart(node)


def _boots(node: Node) -> bool:
    return node.run("systemctl is-system-running").stdout.strip() in ("initializing", "starting")  # systemctl(1)


def _stays_down(text: str) -> bool:
    return text.startswith("corosync is") and "activating" not in text


def not_well(node: Node) -> str:
    """What is wrong with the cluster's daemons on a node; empty when nothing is."""
    try:
        asked(node)
    except StudentError as error:
        return str(error.seen)
    return ""


def asked(node: Node) -> pacemaker.Status:
    """The cluster as a node tells it whose daemons all run. Raises StudentError with what is wrong with them."""
    wanted, look = f"the cluster's daemons run on {node.name}, with a DC", "systemctl status corosync pacemaker"
    if text := without(node):
        raise StudentError(wanted, text, look)
    status = pacemaker.status(node)
    if not status.dc:
        raise StudentError(wanted, "no DC", look)
    return status


def without(node: Node) -> str:
    """Which of the cluster's daemons a node lacks; empty when all run."""
    look = f"systemctl is-active corosync pacemaker; for name in {' '.join(DAEMONS)}; do pidof -s $name > /dev/null && echo $name; done"
    units, there = (seen := node.run(look).stdout.split())[:2], seen[2:]  # a look that fails has seen none
    if units != ["active", "active"]:
        return "corosync is {}, pacemaker is {}".format(*units) if len(units) == 2 else "systemd does not answer"
    missing = [name for name in DAEMONS if name not in there]
    return f"without {', '.join(missing)}" if missing else ""


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


@contextmanager
def mended(node: Node) -> Iterator[None]:
    """Whatever the block does: afterwards the node is awake, and what the cluster needs runs there."""
    try:
        yield
    finally:
        nurse(node)


def nurse(node: Node) -> None:
    """Wake, unspoil and mend a node; begun anew when it is fenced meanwhile. Raises DeadlinePassed."""

    def work() -> bool:
        wake(node)
        unspoil(node)
        mend(node)
        return True

    eventually(work, within="election", every=1, retry=(Unreachable, DeadlinePassed, StudentError), what=f"{node.name} is mended")


# -- the CIB on its disk ----------------------------------------------------------------------------------


def unwritten(node: Node) -> str:
    """What is wrong with the CIB on the node's disk; empty when it is the one in force. Raises StudentError.

    pacemaker-based reads the file before it replaces it; one that somebody else changed it leaves alone, and never
    writes again before it is restarted (lib/cib/cib_file.c). Nothing but a line in its log tells."""
    live = pacemaker.cib(node)
    try:
        kept = ElementTree.fromstring(node.get(CIB))
    except (ElementTree.ParseError, FileNotFoundError):
        return "the CIB on its disk is damaged"
    same = all(kept.get(key) == live.get(key) for key in ("admin_epoch", "epoch"))
    return "" if same else "the CIB on its disk is an old one"


def rewrite(node: Node) -> None:
    """Let a node fetch its CIB from the others: pacemaker is stopped, the file removed. For one node at a time."""
    node.check_output("systemctl stop pacemaker && rm -f %s %s && systemctl start pacemaker", CIB, f"{CIB}.sig", timeout=120)
    eventually(lambda: not unwritten(node), within="election", every=0.5, retry=(StudentError,),
               what=f"{node.name} has the CIB on its disk")  # fmt: skip


def write_again(node: Node) -> None:
    """Let a node that has stopped writing its CIB begin again; one that is about to write it is left alone."""
    with suppress(HalabError):  # without a cluster there: who verifies, tells
        if unwritten(node) and stays(lambda: unwritten(node), samples=4):
            rewrite(node)
