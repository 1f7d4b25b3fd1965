"""Chapter 03: pacemaker on all nodes, one DC, a valid configuration."""

import pytest

from halab import pacemaker
from halab.errors import StudentError
from halab.expect import become, describe, on_every_node
from halab.lab import Lab
from halab.node import Node


def _dc(seen: pacemaker.Status | None) -> str:
    """The DC's name, when it has quorum; else what is missing."""
    if seen is None or seen.dc is None:
        return "no DC"
    return seen.dc if seen.quorum else f"{seen.dc}, without quorum"


def _status(node: Node) -> pacemaker.Status | None:
    try:
        return pacemaker.status(node)
    except StudentError:
        return None


@pytest.mark.check(
    points=1,
    hint="`systemctl start pacemaker`, after corosync",
    more="`journalctl -u pacemaker -n 30` on that node, where corosync must run first; if it stays `deactivating`, it waits: for a "
    "resource to stop (`crm_mon -1rf` on another node), or up to five minutes for nodes that were restarted at the same time",
    read="pacemakerd(8)",
)
def test_service(lab: Lab) -> None:
    """pacemaker runs as a service on every node"""
    on_every_node(lab, lambda node: node.run("systemctl is-active pacemaker").stdout.strip(), "active", within="daemon",
                  expected="the service is active", show="systemctl is-active pacemaker")  # fmt: skip


@pytest.mark.check(
    points=3,
    needs=("service",),
    hint="`crm_mon -1` says who is in standby, in maintenance or offline; after a start, give it dc-deadtime's time",
    more="`crm node online NAME`, `crm node ready NAME`; a node that corosync does not see can't be online: chapter 02",
    read="crm_mon(8)",
)
def test_online(lab: Lab) -> None:
    """Every node sees every node online and ready to run resources"""
    want = tuple(node.name for node in lab)

    def online(node: Node) -> tuple[str, ...]:
        seen = _status(node)
        return (*seen.ready, *(f"{name} (no member)" for name in seen.known if name not in want)) if seen else ()

    on_every_node(
        lab,
        online,
        want,
        within="election",
        expected=f"online, no standby, no maintenance: {', '.join(want)}",
        show="crm_mon -1",
    )


@pytest.mark.check(
    points=2,
    needs=("online",),
    hint="a first start waits dc-deadtime, then it elects: within seconds, two minutes at most",
    more="a `crm_mon` that disagrees with all others was tampered with, or its pacemaker hangs: `systemctl restart pacemaker` there",
    read="crmadmin(8)",
)
def test_dc(lab: Lab) -> None:
    """All nodes agree on one DC, and it has quorum"""
    names = {node.name for node in lab}

    def view() -> dict[str, str]:
        return {name: _dc(seen) for name, seen in lab.each(_status).items()}

    become(view, lambda seen: len(set(seen.values())) == 1 and set(seen.values()) <= names, within="election",
           expected="one DC, with quorum, in the eyes of every node", show="crm_mon -1 --output-as=xml")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("online",),
    hint="`crm_verify -L -V` names the error",
    more="fencing is on but there is no device: `crm configure property stonith-enabled=false`, until there is one",
    read="crm_verify(8)",
)
def test_verified(lab: Lab) -> None:
    """The configuration is valid"""
    on_every_node(lab, lambda node: f"exit status {node.run('crm_verify -L').status}", "exit status 0",
                  expected="crm_verify ends with 0", show="crm_verify -L -V")  # fmt: skip


@pytest.mark.check(
    points=1,
    needs=("online",),
    hint="`ignore` and `freeze` let a minority go on: two halves would both hold the address",
    more="`crm configure property no-quorum-policy=stop`",
    read="Pacemaker Explained, cluster options",
)
def test_no_quorum_policy(lab: Lab) -> None:
    """A partition without quorum stops its resources"""

    def policy(node: Node) -> str:
        return pacemaker.nvpairs(pacemaker.cib(node), "crm_config").get("no-quorum-policy", "stop")

    on_every_node(lab, lambda node: policy(node) in ("stop", "fence", "demote", "suicide") or policy(node), True,
                  expected="no-quorum-policy is not ignore or freeze", show="crm configure show")  # fmt: skip


#: Cluster options that make pacemaker leave resources alone, or stop them, with the value at which they do not
#: (Pacemaker Explained, cluster options).
UNHINDERED = {
    "maintenance-mode": "false", "stop-all-resources": "false", "symmetric-cluster": "true",
    "stop-orphan-resources": "true", "enable-startup-probes": "true",
}  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("online",),
    hint="an option that was set for a try and forgotten",
    more="`crm configure property NAME=` the value asked for",
    read="Pacemaker Explained, cluster options",
)
def test_unhindered(lab: Lab) -> None:
    """No option keeps the cluster from managing its resources"""

    def hindering(node: Node) -> dict[str, str]:
        given = pacemaker.nvpairs(pacemaker.cib(node), "crm_config")
        return {name: given[name] for name, free in UNHINDERED.items() if pacemaker.truth(given.get(name, free)) != pacemaker.truth(free)}

    on_every_node(lab, hindering, {}, expected=describe(UNHINDERED), show="crm configure show type:property")


@pytest.mark.check(
    points=2,
    needs=("online",),
    hint="`cibadmin --query | head -n 1` on each: the highest admin_epoch, epoch, num_updates wins when they meet, whatever its date",
    more="on the node that is to give way: `systemctl stop pacemaker && rm /var/lib/pacemaker/cib/cib*`, then start it again",
    read="cibadmin(8)",
)
def test_same_cib(lab: Lab) -> None:
    """Every node has the same configuration"""

    def different() -> dict[str, str]:
        sums = lab.each(pacemaker.digest)
        return {} if len(set(sums.values())) == 1 else sums

    become(different, lambda found: not found, within="membership", expected="one configuration on every node",
           show="cibadmin --query --scope configuration | sha256sum")  # fmt: skip


@pytest.mark.check(
    points=1,
    partial=True,
    needs=("service",),
    hint="`systemctl enable pacemaker`",
    more="run it on every node; `systemctl is-enabled pacemaker` must say enabled",
    read="systemctl(1)",
)
def test_starts_at_boot(lab: Lab) -> None:
    """pacemaker starts at boot on every node"""
    on_every_node(lab, lambda node: node.run("systemctl is-enabled pacemaker").stdout.strip(), "enabled",
                  expected="enabled", show="systemctl is-enabled pacemaker")  # fmt: skip
