"""Chapter 05: Apache where the address is, after the address, by the cluster alone."""

from xml.etree.ElementTree import Element

import pytest

from halab import pacemaker
from halab.expect import become, describe, holders, on_every_node, require
from halab.lab import Lab, Sight
from halab.node import Node
from halab.probe import ask


def _constraints(cib: Element, kind: str) -> list[dict[str, str]]:
    return [c for c in pacemaker.constraints(cib) if c["type"] == kind]


def _holder(lab: Lab) -> list[str]:
    return [name for name, sight in holders(lab).items() if sight is Sight.HELD]


@pytest.mark.check(points=2, hint="`crm configure primitive WebSite ocf:heartbeat:apache …`", read="ocf_heartbeat_apache(7)")
def test_resource(lab: Lab) -> None:
    """The cluster manages Apache and watches it"""

    def configured(node: Node) -> dict[str, object]:
        found = pacemaker.primitive(pacemaker.cib(node), "WebSite") or {}
        left_alone = "WebSite" in pacemaker.status(node).unmanaged
        return {"agent": found.get("agent"), "watched": bool(found.get("monitor")), "managed": not left_alone}

    want = {"agent": "ocf:heartbeat:apache", "watched": True, "managed": True}
    on_every_node(lab, configured, want, expected=describe(want), show="crm configure show WebSite; crm_mon -1")


@pytest.mark.check(points=2, hint="`systemctl disable --now apache2` on that node", read="a resource has one master")
def test_systemd_lets_go(lab: Lab) -> None:
    """systemd does not start Apache anywhere"""

    def lets_go(node: Node) -> bool:
        words = node.run("systemctl is-enabled apache2; systemctl is-active apache2").stdout.split()
        return len(words) == 2 and words[0] in ("disabled", "masked") and words[1] in ("inactive", "failed")

    on_every_node(lab, lets_go, True, expected="disabled (or masked) and not active in systemd", show="systemctl status apache2")


@pytest.mark.check(
    points=3, needs=("resource",), hint="colocation: WebSite with ClusterIP; and nobody else starts Apache", read="pacemaker colocation"
)
def test_runs_with_the_address(lab: Lab) -> None:
    """Apache runs on the node that holds the address, and nowhere else"""

    def runs(node: Node) -> bool:
        return node.run("pgrep -x apache2 >/dev/null").ok

    def view() -> dict[str, list[str]]:
        return {"apache on": [n for n, on in lab.each(runs).items() if on], "address on": _holder(lab)}

    become(view, lambda v: len(v["apache on"]) == 1 and v["apache on"] == v["address on"], within="resource",
           expected="Apache on one node, the holder of the address", show="pgrep -a apache2 and ip -4 addr, on every node")  # fmt: skip


@pytest.mark.check(points=2, needs=("runs_with_the_address",), hint="each node's own index.html", read="curl(1)")
def test_page(lab: Lab) -> None:
    """The page at the virtual IP comes from the holder, which names itself"""

    def view() -> tuple[str | None, list[str]]:
        return ask(f"http://{lab.virtual_ip}/", 2), _holder(lab)

    become(view, lambda v: [v[0]] == v[1], within="http", expected="the holder's page", show=f"curl http://{lab.virtual_ip}/")


@pytest.mark.check(points=1, hint="/var/www/html/index.html on each node", read="the handbook: each machine's site differs")
def test_pages_differ(lab: Lab) -> None:
    """Every node has a page of its own that names it"""
    on_every_node(lab, lambda node: node.run("grep -oE 'pacemaker[0-9]+' /var/www/html/index.html | sort -u").stdout.split() == [node.name],
                  True, expected="index.html names its node, and only that", show="cat /var/www/html/index.html")  # fmt: skip


@pytest.mark.check(
    points=2, needs=("resource",), hint="`crm configure colocation website-with-ip INFINITY: WebSite ClusterIP`", read="colocation"
)
def test_colocation(cib: Element) -> None:
    """Apache must be where the address is: by a colocation, not by luck or location"""
    found = _constraints(cib, "rsc_colocation")
    right = [c for c in found if c.get("rsc") == "WebSite" and c.get("with-rsc") == "ClusterIP" and c.get("score") == "INFINITY"]
    require(right or _grouped(cib), expected="WebSite with ClusterIP, INFINITY", seen=[_text(c) for c in found] or "no colocation",
            show="crm configure show type:colocation")  # fmt: skip


@pytest.mark.check(points=2, needs=("resource",), hint="`crm configure order apache-after-ip Mandatory: ClusterIP WebSite`", read="order")
def test_order(cib: Element) -> None:
    """The address comes first, then Apache"""
    found = _constraints(cib, "rsc_order")
    right = [c for c in found if c.get("first") == "ClusterIP" and c.get("then") == "WebSite" and _orders_starts(c)]
    require(right or _grouped(cib), expected="first ClusterIP, then WebSite, mandatory", seen=[_text(c) for c in found] or "no order",
            show="crm configure show type:order")  # fmt: skip


@pytest.mark.check(points=1, needs=("resource",), hint="`crm configure op_defaults timeout=240s`", read="Pacemaker Explained, operations")
def test_operation_defaults(lab: Lab) -> None:
    """Operations may take 240 seconds"""

    def timeout(node: Node) -> int:
        return pacemaker.milliseconds(pacemaker.nvpairs(pacemaker.cib(node), "op_defaults").get("timeout", "0"))

    on_every_node(
        lab, lambda node: timeout(node) >= 240_000, True, expected="op_defaults timeout of 240 s or more",
        show="crm configure show type:op_defaults",
    )  # fmt: skip


@pytest.mark.check(points=2, needs=("resource",), hint="`crm resource clear WebSite`", read="crm_resource(8), --clear")
def test_no_leftovers(cib: Element) -> None:
    """Nothing that `move` or `ban` wrote is left behind"""
    left = [c["id"] for c in _constraints(cib, "rsc_location") if c["id"].startswith("cli-")]
    require(not left, expected="no cli-prefer or cli-ban constraint", seen=left, show="crm configure show | grep cli-")


@pytest.mark.check(points=1, needs=("resource",), hint="delete what you tried, `crm resource cleanup`", read="crm_resource(8), --cleanup")
def test_tidy(lab: Lab) -> None:
    """Two resources, both running, and no failure recorded"""

    def view(node: Node) -> tuple[tuple[str, ...], tuple[str, ...]]:
        seen = pacemaker.status(node)
        return tuple(sorted(r for r, where in seen.resources.items() if where)), seen.failures

    on_every_node(lab, view, (("ClusterIP", "WebSite"), ()), within="resource", expected="ClusterIP and WebSite run, no failure",
                  show="crm_mon -1rf")  # fmt: skip


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
