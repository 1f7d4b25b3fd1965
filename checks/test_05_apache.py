"""Chapter 05: Apache where the address is, after the address, by the cluster alone."""

from concurrent.futures import ThreadPoolExecutor
from xml.etree.ElementTree import Element

import pytest

from halab import pacemaker, transition
from halab.expect import become, describe, holders, on_every_node, require
from halab.lab import Lab, Sight
from halab.node import Node
from halab.probe import ask
from invariants import (  # noqa: F401
    failure_of,
    recovers,
    test_agreement,
    test_all_ready,
    test_no_cores,
    test_no_failures,
    test_no_orphans,
    test_one_holder_each,
    test_runs_with_the_address,
)

#: The nodes of the address and of Apache; None: it does not run.
Where = tuple[str | None, str | None]
#: A second Apache on a node, in namespaces of its own: it meets nobody, and ends with the shell (unshare(1)).
TRY = """unshare --net --pid --fork --kill-child sh -c '
. /etc/apache2/envvars; ip link set lo up; folder=$(mktemp -d)
ip addr add $VIP/32 dev lo; ip addr add $GATEWAY/32 dev lo
export APACHE_PID_FILE=$folder/pid APACHE_RUN_DIR=$folder APACHE_LOCK_DIR=$folder
apache2 -k start && curl -s --max-time 5 --interface $GATEWAY -o /dev/null -w %{http_code} http://$VIP/; rm -r $folder'"""


def _holder(lab: Lab) -> list[str]:
    return [name for name, sight in holders(lab).items() if sight is Sight.HELD]


@pytest.mark.check(
    points=2,
    hint="compare agent, watched and managed with what is expected: which one differs?",
    more="`crm configure primitive WebSite ocf:heartbeat:apache params configfile=/etc/apache2/apache2.conf op monitor interval=1min`; "
    "`crm resource manage WebSite` if it is unmanaged",
    read="ocf_heartbeat_apache(7)",
)
def test_resource(lab: Lab) -> None:
    """The cluster manages Apache and watches it"""

    def configured(node: Node) -> dict[str, object]:
        found = pacemaker.primitive(pacemaker.cib(node), "WebSite") or {}
        left_alone = "WebSite" in pacemaker.status(node).unmanaged
        return {
            "agent": found.get("agent"),
            "watched": pacemaker.watched(found) or found.get("monitor") or "no monitor",
            "managed": not left_alone,
        }

    want = {"agent": "ocf:heartbeat:apache", "watched": True, "managed": True}
    on_every_node(lab, configured, want, expected=describe(want), show="crm configure show WebSite; crm_mon -1")


@pytest.mark.check(
    points=2,
    hint="systemd would start it at boot (enabled), or runs it now (active): it may do neither where the cluster does",
    more="`systemctl disable --now apache2` on that node; then `crm resource cleanup WebSite`",
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

    def other(node: Node) -> str:
        names = node.run("grep -oE 'pacemaker[0-9]+' /var/www/html/index.html | sort -u").stdout.split()
        return "" if names == [node.name] else f"it names {describe(names)}"

    on_every_node(lab, other, "", expected="index.html names its node, and only that", show="cat /var/www/html/index.html")  # fmt: skip


@pytest.mark.check(
    points=1,
    partial=True,
    hint="what one node needs to serve, every node needs: it may be the next holder",
    more="`apache2ctl -t` on that node names the file and the line; compare ports.conf, sites-enabled and the rights of index.html",
    read="httpd(8), unshare(1)",
)
def test_every_node_could_serve(lab: Lab) -> None:
    """Every node could serve: an Apache started there, in a network of its own, gives a visitor the page at the virtual IP"""
    s = lab.settings
    given = f"export VIP={s.virtual_ip} GATEWAY={s.host_address}; {TRY}"
    on_every_node(lab, lambda node: node.run(given).stdout.strip() or "no answer", "200", expected=f"status 200 at {s.virtual_ip}, port 80",
                  show="apache2ctl -t; apache2ctl -S; ls -l /var/www/html")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("all_ready", "no_failures", "resource"),
    hint="the order of the names matters, the score must be INFINITY, and no other colocation may contradict it",
    more="`crm configure colocation website-with-ip INFINITY: WebSite ClusterIP`, after `crm configure delete ID` of a wrong one",
    read="Pacemaker Explained, colocation",
)
def test_colocation(lab: Lab, cib: Element) -> None:
    """Apache must be where the address is, says pacemaker's own scheduler"""
    free, names = transition.unplaced(cib), [node.name for node in lab]
    now: dict[str, str | None] = {name: where[0] if where else None for name, where in pacemaker.status(lab.nodes[0]).resources.items()}

    def then(changed: Element) -> Where:
        """Where pacemaker would have the address and Apache."""
        after = transition.simulate(lab.nodes[0], changed).after(now)
        return after.get("ClusterIP"), after.get("WebSite")

    on = {name: transition.only_on(free, "ClusterIP", name) for name in names}
    what_if = {f"if ClusterIP may run on {name} only": on[name] for name in names} | {
        f"if ClusterIP may run on {names[0]} only, and WebSite on {names[1]} only": transition.only_on(on[names[0]], "WebSite", names[1]),
        "if ClusterIP is stopped": transition.stopped(free, "ClusterIP"),
        "if WebSite is stopped": transition.stopped(free, "WebSite"),
    }
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(then, what_if.values()))
    alone = answers[-1][0] or names[0]  # wherever it is, it must be somewhere
    wanted: list[Where] = [*((name, name) for name in names), (names[0], None), (None, None), (alone, None)]
    cases = {case: (seen, want) for case, seen, want in zip(what_if, answers, wanted, strict=True)}
    wrong = {case: _told(seen) for case, (seen, want) in cases.items() if seen != want}
    require(not wrong, expected="Apache wherever the address is and nowhere without it; the address needs no Apache", seen=wrong,
            show="crm configure show type:colocation")  # fmt: skip


def _told(where: Where) -> str:
    return ", ".join(f"{name} on {node or 'no node'}" for name, node in zip(("ClusterIP", "WebSite"), where, strict=True))


@pytest.mark.check(
    points=2,
    needs=("all_ready", "no_failures", "resource", "runs_with_the_address"),
    hint="the address goes first, and the kind is Mandatory: what does `crm configure show type:order` say?",
    more="`crm configure order apache-after-ip Mandatory: ClusterIP WebSite`, after `crm configure delete ID` of a wrong one",
    read="Pacemaker Explained, ordering",
)
def test_order(lab: Lab, cib: Element) -> None:
    """When the address fails, Apache stops before it and starts after it"""
    failure = failure_of(cib, "ClusterIP", _holder(lab)[0])
    seen = transition.simulate(lab.nodes[0], cib, "--op-inject", failure)
    steps = ("WebSite", "stop"), ("ClusterIP", "stop"), ("ClusterIP", "start"), ("WebSite", "start")
    require(seen.in_order(*steps), expected="each waits for the one before: " + ", ".join(f"{task} {name}" for name, task in steps),
            seen=str(seen) + ("" if len(seen.operations) < len(steps) else ", in another order"),
            show=f"crm configure show type:order; crm_simulate --live-check --run --op-inject {failure}")  # fmt: skip


@pytest.mark.check(
    points=1,
    needs=("resource", "runs_with_the_address"),
    hint="its monitor says what a failure leads to: `on-fail` is best left out",
    more="`crm configure edit WebSite`, and remove `on-fail`",
    read="Pacemaker Explained, operations",
)
def test_recovers(lab: Lab, cib: Element) -> None:
    """When Apache fails, the cluster starts it again, says pacemaker's own scheduler"""
    recovers(lab, cib, "WebSite")


@pytest.mark.check(
    points=1,
    needs=("resource",),
    hint="the default of all operations is meant, not one operation's; a number without a unit means seconds",
    more="`crm configure show type:op_defaults`; `crm configure op_defaults timeout=240s`",
    read="Pacemaker Explained, operations",
)
def test_operation_defaults(lab: Lab) -> None:
    """Operations may take 240 seconds, and not for ever, unless one says otherwise"""

    def timeout(node: Node) -> bool | str:
        given = pacemaker.nvpairs(pacemaker.cib(node), "op_defaults").get("timeout", "no timeout")
        return 240_000 <= pacemaker.milliseconds(given) <= 3_600_000 or given

    on_every_node(
        lab, timeout, True, expected="op_defaults timeout of 240 s or more, one hour at most",
        show="crm configure show type:op_defaults",
    )  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("resource",),
    hint="`move` and `ban` leave a constraint behind, the one that is named; it is no failure, so a cleanup does not take it away",
    more="`crm resource clear WebSite`; `crm configure delete ID` for a constraint that is still there",
    read="crm_resource(8), --clear",
)
def test_no_leftovers(cib: Element) -> None:
    """No constraint ties Apache to a node, such as `move` and `ban` leave behind"""
    by_hand = [c["id"] for c in pacemaker.constraints(cib) if c["id"].startswith("cli-")]
    left = sorted({*pacemaker.ties(cib, "WebSite"), *by_hand})
    require(not left, expected="no location constraint on WebSite, no cli-prefer or cli-ban", seen=left,
            show="crm configure show type:location")  # fmt: skip


@pytest.mark.check(
    points=1,
    needs=("resource",),
    hint="one that does not run failed, or was stopped: `crm_mon -1rf` (not installed: is there a file as its configfile says?); "
    "another name than these two is what you tried",
    more="`crm resource cleanup`, `crm resource start NAME`; what you tried: `crm resource stop NAME`, `crm configure delete NAME`",
    read="crm_resource(8), --cleanup",
)
def test_tidy(lab: Lab) -> None:
    """The cluster has these two resources, both running, and no other but fence devices"""

    def view(node: Node) -> dict[str, str]:
        seen = pacemaker.status(node)
        failed = "".join(f" ({failure})" for failure in seen.failures if "_start_" in failure)
        ours = {name: where for name, where in seen.resources.items() if name not in seen.devices}
        return {name: "runs" if where else f"does not run{failed}" for name, where in ours.items()}

    on_every_node(lab, view, {"ClusterIP": "runs", "WebSite": "runs"}, within="resource", expected="ClusterIP and WebSite, running",
                  show="crm_mon -1r")  # fmt: skip
