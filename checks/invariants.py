"""What must hold from chapter 04 on, whatever the chapter is about: its module imports these checks.

A service that answers proves little: a second holder of an address, a forgotten orphan, two opinions
about the cluster's configuration and a daemon that crashed and came back are all invisible to a browser.
"""

from ipaddress import IPv4Address
from xml.etree.ElementTree import Element

import pytest

from halab import corosync, pacemaker, transition
from halab.expect import attempt, become, holders, on_every_node, require
from halab.lab import Lab, Sight
from halab.node import Node
from halab.probe import listens
from halab.wait import eventually

#: Where the cluster's daemons leave their cores (pacemakerd and corosync change into these folders), and
#: where systemd-coredump(8) would.
CORES = "/var/lib/pacemaker/cores /var/lib/corosync /var/lib/systemd/coredump"


def failure_of(cib: Element, resource: str, node: str) -> str:
    """What tells crm_simulate(8) (`--op-inject`) that this resource was found not running there (7, OCF_NOT_RUNNING)."""
    every, show = (pacemaker.primitive(cib, resource) or {}).get("monitor", ""), f"crm configure show {resource}"
    require(every, expected=f"{resource} is watched: else nobody learns that it failed", seen="no monitor", show=show)
    return f"{resource}_monitor_{pacemaker.milliseconds(every)}@{node}=7"


def recovers(lab: Lab, cib: Element, resource: str) -> None:
    """A resource that fails where the address is held is started again, there or elsewhere."""
    held = [name for name, sight in holders(lab).items() if sight is Sight.HELD]
    failure = failure_of(cib, resource, held[0])
    seen = transition.simulate(lab.nodes[0], cib, "--op-inject", failure)
    again = any((op.resource, op.task) == (resource, "start") for op in seen.operations)
    require(again, expected=f"{resource} is started again when it fails", seen=seen,
            show=f"crm configure show {resource}; crm_simulate --live-check --run --op-inject {failure}")  # fmt: skip


@pytest.mark.check(
    points=2,
    hint="compare `ip -4 addr` on all nodes",
    more="`ip addr del ADDRESS dev DEVICE` on the node where it does not belong",
    read="RFC 5227: two machines with one address break both",
)
def test_one_holder_each(lab: Lab) -> None:
    """No address of the lab is held twice, seen from outside"""

    def twice() -> dict[str, list[str]]:
        seen = eventually(lambda: {**lab.each(lambda node: node.seen_addresses)}, lambda held: None not in held.values(),
                          within="fact", what="every node's addresses can be seen")  # fmt: skip
        every = {a for held in seen.values() for a in held or () if IPv4Address(a) in lab.settings.subnet}
        seen["the host"] = lab.network.addresses
        holders = {a: [name for name, held in seen.items() if a in (held or ())] for a in sorted(every)}
        return {address: names for address, names in holders.items() if len(names) > 1}

    become(twice, lambda found: not found, within="resource", expected="each address on one node", show="ip -4 addr, on every node")


@pytest.mark.check(
    points=3,
    hint="where `crm_mon -1` says that WebSite runs and the address is elsewhere, a colocation is missing",
    more="an Apache that `crm_mon` knows nothing of was started by somebody else: `systemctl disable --now apache2`, `pkill -x apache2`",
    read="Pacemaker Explained, colocation",
)
def test_runs_with_the_address(lab: Lab) -> None:
    """Apache runs where the address is held and nowhere else, seen from outside"""

    def view() -> dict[str, list[str]]:
        held = [name for name, sight in holders(lab).items() if sight is Sight.HELD]
        runs = [name for name, on in lab.each(lambda node: node.runs("apache2")).items() if on]
        answers = [name for name, on in lab.each(lambda node: listens(node.address, 80)).items() if on and name not in held]
        return {"Apache on": runs, "the address on": held, "others that answer HTTP": answers}

    def right(seen: dict[str, list[str]]) -> bool:
        return len(seen["Apache on"]) == 1 and seen["Apache on"] == seen["the address on"] and not seen["others that answer HTTP"]

    become(view, right, within="resource", expected="Apache on one node, the holder of the address, and HTTP nowhere else",
           show="pgrep -a apache2; ip -4 addr; ss -tln, on every node")  # fmt: skip


@pytest.mark.check(
    points=2,
    hint="`corosync-quorumtool -s` and `crm_mon -1` on each node: who disagrees?",
    more="`systemctl restart corosync pacemaker` on the node that disagrees; then compare its corosync.conf with the others'",
    read="Pacemaker Explained, the CIB",
)
def test_agreement(lab: Lab) -> None:
    """All nodes agree on members, quorum and the configuration"""

    def view(node: Node) -> str:
        members, quorum = " ".join(map(str, corosync.joined(node))) or "none", "quorum" if corosync.quorate(node) else "no quorum"
        return f"members {members}, {quorum}, configuration {pacemaker.digest(node)}"

    def views() -> dict[str, object]:
        return lab.each(lambda node: attempt(node, view))

    become(
        views, lambda seen: len(set(seen.values())) == 1, within="membership",
        expected="the same members, quorum and configuration on every node",
        show="corosync-quorumtool -s; cibadmin --query --scope configuration | sha256sum",
    )  # fmt: skip


@pytest.mark.check(
    points=1,
    hint="`crm_mon -1` names who is in standby, in maintenance or offline",
    more="`crm node online NAME`, `crm node ready NAME`; a node that is offline: chapters 02 and 03",
    read="crm_mon(8)",
)
def test_all_ready(lab: Lab) -> None:
    """Every node can run resources: none was left in standby, in maintenance or offline"""
    want = tuple(node.name for node in lab)
    on_every_node(lab, lambda node: pacemaker.status(node).ready, want, within="membership",
                  expected=f"ready: {', '.join(want)}", show="crm_mon -1")  # fmt: skip


@pytest.mark.check(
    points=1,
    hint="`crm_mon -1rf` shows what failed",
    more="mend the cause first, then `crm resource cleanup`",
    read="crm_resource(8), --cleanup",
)
def test_no_failures(lab: Lab) -> None:
    """No failed operation is recorded"""
    on_every_node(lab, lambda node: pacemaker.status(node).failures, (), expected="no failure", show="crm_mon -1rf")


@pytest.mark.check(
    points=1,
    hint="a resource that was deleted while it ran",
    more="`crm resource cleanup NAME`, with stop-orphan-resources back at true",
    read="Pacemaker Explained, orphaned resources",
)
def test_no_orphans(lab: Lab) -> None:
    """Nothing runs that the configuration does not know"""
    on_every_node(lab, lambda node: pacemaker.status(node).orphans, (), expected="no orphaned resource", show="crm_mon -1rf")


@pytest.mark.check(
    points=1,
    hint="a daemon of the cluster crashed and was started again: the log says when",
    more="`ls -l` what was found; keep it for the bug report, then remove it",
    read="core(5)",
)
def test_no_cores(lab: Lab) -> None:
    """No daemon of the cluster left a core file"""
    look = f"find {CORES} -type f -name 'core*' 2>/dev/null"
    # The folder is there wherever pacemaker is: finding nothing elsewhere would prove nothing.
    there = "test -d /var/lib/pacemaker/cores && { %s || true; }" % look
    on_every_node(lab, lambda node: node.check_output(there).split(), [], within="now", expected="no core file", show=look)
