"""Chapter 04: one address, held by one node, by the cluster's will."""

import re
from xml.etree.ElementTree import Element

import pytest

from halab import pacemaker
from halab.expect import become, describe, holders, on_every_node, remain, require
from halab.lab import Lab, Sight
from halab.node import Node
from invariants import (  # noqa: F401
    recovers,
    test_agreement,
    test_all_ready,
    test_no_cores,
    test_no_failures,
    test_no_orphans,
    test_one_holder_each,
)


def _one(sights: dict[str, Sight]) -> bool:
    """One holder, and on every other node certainly none."""
    return sorted(sights.values()) == [Sight.HELD] + [Sight.NOT_HELD] * (len(sights) - 1)


@pytest.mark.check(
    points=2,
    hint="compare agent, ip, watched and managed with what is expected: which one differs?",
    more="`crm configure primitive ClusterIP ocf:heartbeat:IPaddr2 params ip=$VIP cidr_netmask=24 op monitor interval=30s`; "
    "`crm resource manage ClusterIP` if it is unmanaged",
    read="ocf_heartbeat_IPaddr2(7)",
)
def test_resource(lab: Lab) -> None:
    """The cluster manages the virtual IP with IPaddr2 and watches it"""

    def configured(node: Node) -> dict[str, object]:
        found = pacemaker.primitive(pacemaker.cib(node), "ClusterIP") or {}
        left_alone = "ClusterIP" in pacemaker.status(node).unmanaged
        return {
            "agent": found.get("agent"),
            "ip": found.get("ip"),
            "watched": pacemaker.watched(found) or found.get("monitor") or "no monitor",
            "managed": not left_alone,
        }

    want = {"agent": "ocf:heartbeat:IPaddr2", "ip": str(lab.virtual_ip), "watched": True, "managed": True}
    on_every_node(lab, configured, want, expected=describe(want), show="crm configure show ClusterIP; crm_mon -1")


@pytest.mark.check(
    points=3,
    hint="several: one was added by hand, `ip addr del` it there; none: `crm_mon -1rf` says why the cluster does not start it",
    more="`crm_mon -1` names the one that may have it; elsewhere `ip addr del` it, with the prefix and device of `ip -4 addr`",
    read="crm_mon is no evidence: look at the nodes",
)
def test_one_holder(lab: Lab) -> None:
    """Exactly one node holds the virtual IP, seen from outside, and it stays so"""
    become(lambda: holders(lab), _one, within="resource", expected=f"one node holds {lab.virtual_ip}",
           show=f"ip -4 addr | grep {lab.virtual_ip}, on every node")  # fmt: skip
    remain(lambda: holders(lab), _one, expected=f"one node holds {lab.virtual_ip}, steadily",
           show=f"ip -4 addr | grep {lab.virtual_ip}, on every node")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("resource", "one_holder"),
    hint="did you move it by hand?",
    more="`crm resource refresh ClusterIP` makes the cluster look again; a node whose crm_mon disagrees with its addresses lies",
    read="crm_mon(8)",
)
def test_holder_is_the_clusters(lab: Lab) -> None:
    """The node that holds it is the one where every node's pacemaker says it runs"""

    def disagreement() -> dict[str, object]:
        held = tuple(name for name, sight in holders(lab).items() if sight is Sight.HELD)
        said = lab.each(lambda node: pacemaker.status(node).resources.get("ClusterIP", ()))
        return {"held by": held, **{f"{name} says": where for name, where in said.items() if where != held}}

    become(disagreement, lambda found: len(found) == 1, within="resource", expected="every node names the holder",
           show="crm_mon -1 and ip -4 addr")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("one_holder",),
    hint="who else has this address on the bridge?",
    more="`arping -r -c 2 -i $BRIDGE $VIP` on the host prints the cards that answer; `ip neigh`, then find that card",
    read="arping(8)",
)
def test_arp(lab: Lab) -> None:
    """Exactly one machine on the bridge answers for the address: its holder"""

    def cards() -> dict[str, list[str]]:
        sights = holders(lab)
        return {"answering": sorted(lab.arp()), "the holder's": [node.mac for node in lab if sights[node.name] is Sight.HELD]}

    become(cards, lambda seen: len(seen["answering"]) == 1 and seen["answering"] == seen["the holder's"], within="resource",
           expected="one hardware address, the holder's", show=f"arping -I {lab.settings.bridge} {lab.virtual_ip}")  # fmt: skip


@pytest.mark.check(
    points=1,
    needs=("one_holder",),
    hint="`cidr_netmask` is the network's, `nic` is best left out; a second one was added by hand: `ip addr del` it",
    more="`crm resource stop ClusterIP`, `crm resource param ClusterIP set cidr_netmask 24`, then start it",
    read="ocf_heartbeat_IPaddr2(7)",
)
def test_well_placed(lab: Lab) -> None:
    """The holder has it on eth0, with the network's prefix or as a single host"""

    def place() -> str:
        held = [name for name, sight in holders(lab).items() if sight is Sight.HELD]
        seen = lab.node(held[0]).seen_addresses or {} if held else {}
        return str(seen.get(str(lab.virtual_ip), "nowhere"))

    prefix = lab.settings.subnet.prefixlen
    become(place, lambda seen: seen in (f"/{prefix} on eth0", "/32 on eth0"), within="resource",
           expected=f"{lab.virtual_ip}/{prefix} on eth0", show=f"ip -4 addr | grep {lab.virtual_ip}")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("resource",),
    hint="a default for all resources, among the rsc_defaults; a stickiness of the resource's own goes before it",
    more="`crm configure rsc_defaults resource-stickiness=100`; `crm resource meta ClusterIP delete resource-stickiness`",
    read="Pacemaker Explained, meta-attributes",
)
def test_stickiness(lab: Lab) -> None:
    """A resource prefers to stay where it is"""

    def sticky(node: Node) -> bool | str:
        cib = pacemaker.cib(node)
        value = pacemaker.meta(cib, "ClusterIP").get("resource-stickiness", "not set").lstrip("+")
        tied = [c.get("score", "") for c in pacemaker.constraints(cib) if c.get("id") in pacemaker.ties(cib, "ClusterIP")]
        wish = max((int(score) for score in tied if score.isdigit()), default=0)
        return value == "INFINITY" or (value.isdigit() and int(value) > wish) or (f"{value}, with a wish of {wish}" if wish else value)

    on_every_node(lab, sticky, True, expected="resource-stickiness above 0, and above what a location constraint wishes",
                  show="crm configure show type:rsc_defaults; crm configure show type:location")  # fmt: skip


@pytest.mark.check(
    points=1,
    hint="the address belongs to the cluster: nothing else may add it, not at boot either",
    more="remove it from /etc/network/interfaces and /etc/network/interfaces.d on that node; `ifquery --list` names what comes up there",
    read="interfaces(5), ifquery(8)",
)
def test_not_at_boot(lab: Lab) -> None:
    """No node would take the virtual IP by itself at boot"""
    look = "for i in $(ifquery --list; ifquery --list --allow=hotplug); do ifquery $i; done"

    def brings(node: Node) -> list[str]:
        return [line for line in node.run(look).stdout.splitlines() if str(lab.virtual_ip) in re.split("[ /]", line)]

    on_every_node(lab, brings, [], expected=f"no interface brings {lab.virtual_ip} up", show=look)


@pytest.mark.check(
    points=1,
    needs=("resource", "one_holder"),
    hint="its monitor says what a failure leads to: `on-fail` is best left out",
    more="`crm configure edit ClusterIP`, and remove `on-fail`",
    read="Pacemaker Explained, operations",
)
def test_recovers(lab: Lab, cib: Element) -> None:
    """When the address is lost, the cluster takes it again, says pacemaker's own scheduler"""
    recovers(lab, cib, "ClusterIP")


@pytest.mark.check(
    points=1,
    needs=("resource",),
    hint="`crm configure delete ID` takes back what you wrote, `crm resource clear ClusterIP` what `move` did",
    more="the ID is the name that is observed: `crm configure delete likes` for one that is called likes",
    read="crm_resource(8), --clear",
)
def test_no_leftovers(cib: Element) -> None:
    """No constraint ties the address to a node"""
    left = pacemaker.ties(cib, "ClusterIP")
    require(not left, expected="no location constraint on ClusterIP", seen=left, show="crm configure show type:location")
