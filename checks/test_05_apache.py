"""Chapter 05: Apache where the address is, after the address, by the cluster alone."""

from xml.etree.ElementTree import Element

import pytest

from halab import pacemaker
from halab.expect import become, describe, holders, on_every_node, require
from halab.lab import Lab, Sight
from halab.node import Node
from halab.probe import ask
from invariants import test_agreement, test_no_cores, test_no_failures, test_no_orphans, test_one_holder_each  # noqa: F401


def _constraints(cib: Element, kind: str) -> list[dict[str, str]]:
    return [c for c in pacemaker.constraints(cib) if c["type"] == kind]


def _holder(lab: Lab) -> list[str]:
    return [name for name, sight in holders(lab).items() if sight is Sight.HELD]


@pytest.mark.check(
    points=2,
    hint="`crm configure primitive WebSite ocf:heartbeat:apache …`",
    more="params configfile=/etc/apache2/apache2.conf, op monitor interval=1min; `crm resource manage WebSite` if it is unmanaged",
    read="ocf_heartbeat_apache(7)",
)
def test_resource(lab: Lab) -> None:
    """The cluster manages Apache and watches it"""

    def configured(node: Node) -> dict[str, object]:
        found = pacemaker.primitive(pacemaker.cib(node), "WebSite") or {}
        left_alone = "WebSite" in pacemaker.status(node).unmanaged
        return {"agent": found.get("agent"), "watched": bool(found.get("monitor")), "managed": not left_alone}

    want = {"agent": "ocf:heartbeat:apache", "watched": True, "managed": True}
    on_every_node(lab, configured, want, expected=describe(want), show="crm configure show WebSite; crm_mon -1")


@pytest.mark.check(
    points=2,
    hint="`systemctl disable --now apache2` on that node",
    more="what systemd started must end before the cluster may start it: `systemctl stop apache2`, then `crm resource cleanup WebSite`",
    read="a resource has one master",
)
def test_systemd_lets_go(lab: Lab) -> None:
    """systemd does not start Apache anywhere"""

    def hold(node: Node) -> str:
        """What systemd still has to do with it; nothing when it lets go."""
        said = node.run("systemctl is-enabled apache2; systemctl is-active apache2").stdout.split()
        free = len(said) == 2 and said[0] in ("disabled", "masked") and said[1] in ("inactive", "failed")
        return "" if free else " and ".join(said) or "no such service"

    on_every_node(lab, hold, "", expected="disabled (or masked) and not active in systemd", show="systemctl status apache2")


@pytest.mark.check(
    points=3,
    needs=("resource",),
    hint="colocation: WebSite with ClusterIP; and nobody else starts Apache",
    more="where it should not run, `pkill -x apache2` (and `systemctl disable apache2`), then `crm resource cleanup WebSite`",
    read="Pacemaker Explained, colocation",
)
def test_runs_with_the_address(lab: Lab) -> None:
    """Apache runs on the node that holds the address, and nowhere else"""

    def runs(node: Node) -> bool:
        return node.run("pgrep -x apache2 >/dev/null").ok

    def view() -> dict[str, list[str]]:
        return {"apache on": [n for n, on in lab.each(runs).items() if on], "address on": _holder(lab)}

    become(view, lambda v: len(v["apache on"]) == 1 and v["apache on"] == v["address on"], within="resource",
           expected="Apache on one node, the holder of the address", show="pgrep -a apache2 and ip -4 addr, on every node")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("runs_with_the_address",),
    hint="each node's own index.html",
    more="`curl http://127.0.0.1/` on the holder first: when only that works, look at Listen in /etc/apache2/ports.conf",
    read="curl(1)",
)
def test_page(lab: Lab) -> None:
    """The page at the virtual IP comes from the holder, which names itself"""

    def view() -> dict[str, object]:
        return {"the page names": ask(f"http://{lab.virtual_ip}/", 2), "the address is on": _holder(lab)}

    become(
        view,
        lambda v: [v["the page names"]] == v["the address is on"],
        within="http",
        expected="the holder's page",
        show=f"curl http://{lab.virtual_ip}/",
    )


@pytest.mark.check(
    points=1,
    partial=True,
    hint="/var/www/html/index.html on each node",
    more="it says `My Test Site - ` and the node's name, as `uname -n` prints it on that node",
    read="the handbook: each machine's site differs",
)
def test_pages_differ(lab: Lab) -> None:
    """Every node has a page of its own that names it"""
    on_every_node(lab, lambda node: node.run("grep -oE 'pacemaker[0-9]+' /var/www/html/index.html | sort -u").stdout.split() == [node.name],
                  True, expected="index.html names its node, and only that", show="cat /var/www/html/index.html")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("resource",),
    hint="`crm configure colocation website-with-ip INFINITY: WebSite ClusterIP`",
    more="the order of the names matters, and the score must be INFINITY; delete a wrong one first: `crm configure delete ID`",
    read="Pacemaker Explained, colocation",
)
def test_colocation(cib: Element) -> None:
    """Apache must be where the address is: by a colocation, not by luck or location"""
    found = _constraints(cib, "rsc_colocation")
    right = [c for c in found if c.get("rsc") == "WebSite" and c.get("with-rsc") == "ClusterIP" and c.get("score") == "INFINITY"]
    require(right or _grouped(cib), expected="WebSite with ClusterIP, INFINITY", seen=[_text(c) for c in found] or "no colocation",
            show="crm configure show type:colocation")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("resource",),
    hint="`crm configure order apache-after-ip Mandatory: ClusterIP WebSite`",
    more="`crm configure show type:order`; delete the wrong one, then give it again with `Mandatory:`",
    read="Pacemaker Explained, ordering",
)
def test_order(cib: Element) -> None:
    """The address comes first, then Apache"""
    found = _constraints(cib, "rsc_order")
    right = [c for c in found if c.get("first") == "ClusterIP" and c.get("then") == "WebSite" and _orders_starts(c)]
    require(right or _grouped(cib), expected="first ClusterIP, then WebSite, mandatory", seen=[_text(c) for c in found] or "no order",
            show="crm configure show type:order")  # fmt: skip


@pytest.mark.check(
    points=1,
    needs=("resource",),
    hint="`crm configure op_defaults timeout=240s`",
    more="the default is meant, not one operation's timeout: `crm configure show type:op_defaults`",
    read="Pacemaker Explained, operations",
)
def test_operation_defaults(lab: Lab) -> None:
    """Operations may take 240 seconds"""

    def timeout(node: Node) -> int:
        return pacemaker.milliseconds(pacemaker.nvpairs(pacemaker.cib(node), "op_defaults").get("timeout", "0"))

    on_every_node(
        lab, lambda node: timeout(node) >= 240_000, True, expected="op_defaults timeout of 240 s or more",
        show="crm configure show type:op_defaults",
    )  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("resource",),
    hint="`crm resource clear WebSite`",
    more="`crm configure delete ID` for each constraint that is named above",
    read="crm_resource(8), --clear",
)
def test_no_leftovers(cib: Element) -> None:
    """No constraint ties Apache to a node, such as `move` and `ban` leave behind"""
    left = [c["id"] for c in _constraints(cib, "rsc_location") if c.get("rsc") == "WebSite" or c["id"].startswith("cli-")]
    require(not left, expected="no location constraint on WebSite, no cli-prefer or cli-ban", seen=left,
            show="crm configure show type:location")  # fmt: skip


@pytest.mark.check(
    points=1,
    needs=("resource",),
    hint="delete what you tried, `crm resource cleanup`",
    more="`crm resource stop NAME`, `crm configure delete NAME` for every resource but ClusterIP and WebSite",
    read="crm_resource(8), --cleanup",
)
def test_tidy(lab: Lab) -> None:
    """The cluster has these two resources, both running, and no other"""

    def view(node: Node) -> dict[str, str]:
        return {name: "runs" if where else "does not run" for name, where in pacemaker.status(node).resources.items()}

    on_every_node(lab, view, {"ClusterIP": "runs", "WebSite": "runs"}, within="resource", expected="ClusterIP and WebSite, running",
                  show="crm_mon -1r")  # fmt: skip


def _orders_starts(c: dict[str, str]) -> bool:
    """Does this order make starts wait, and stops in reverse, without exception? (Pacemaker Explained, rsc_order)"""
    mandatory = c["score"] == "INFINITY" if "score" in c else c.get("kind", "Mandatory") == "Mandatory"
    first = c.get("first-action", "start")
    return mandatory and first == "start" == c.get("then-action", first) and c.get("symmetrical", "true") == "true"


def _grouped(cib: Element) -> bool:
    """A group is a colocation and an order in one word."""
    groups = cib.iterfind(".//group")
    return any([p.get("id") for p in g.iterfind("primitive")] == ["ClusterIP", "WebSite"] for g in groups)


def _text(constraint: dict[str, str]) -> str:
    return " ".join(f"{k}={v}" for k, v in constraint.items() if k not in ("type", "id"))
