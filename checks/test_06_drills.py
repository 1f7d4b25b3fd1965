"""Chapter 06: what the cluster does when something breaks, by breaking it."""

from xml.etree.ElementTree import Element

import injected
import pytest
from injected import Injected

from halab import corosync, ledger, pacemaker, totem, transition, until
from halab.expect import describe, on_every_node, require
from halab.lab import Lab
from halab.node import Node
from halab.wait import unhurried
from invariants import (  # noqa: F401
    test_agreement,
    test_all_ready,
    test_no_cores,
    test_no_failures,
    test_no_orphans,
    test_one_holder_each,
    test_runs_with_the_address,
)

#: A drill begins on a cluster that is well.
WELL = ("agreement", "all_ready", "no_failures", "no_orphans", "one_holder_each", "runs_with_the_address")
#: Seconds that the chapter publishes: for what is neither token, consensus nor start; no gap at a power cut is longer;
#: a pause of corosync that must be forgiven; token + consensus between these two; a monitor at least that often, with an answer
#: in that time; how long at most a failure is remembered.
SLACK, CEILING, PAUSE, SHORTEST, LONGEST, INTERVAL, ANSWER, DAY = 3.0, 9.0, 1.5, 3.0, 6.0, 10.0, 60.0, 86400.0
#: What the chapter breaks, by the names in its ledger.
DRILLS = ("move", "standby", "service killed", "address removed", "power cut", "corosync killed", "corosync paused", "partition 2:1",
          "quorum lost", "double failure", "killed again")  # fmt: skip


def _slow(lab: Lab) -> float:
    """By how much what is published is longer on a machine that is declared slow."""
    return max(lab.settings.timeout_scale, 1.0)


def _bound(lab: Lab, cut: Injected) -> float:
    """The ceiling is for a machine of ordinary speed: on one that is declared slow the starts alone may take as long."""
    follows = cut.detection + cut.start + SLACK * _slow(lab)
    return min(follows, CEILING) if _slow(lab) == 1 else follows


@pytest.fixture(scope="module")
def cuts(lab: Lab) -> list[Injected]:
    """One power cut, and a second one where the gap was too long: the machine may have been busy for a moment."""
    first = injected.power_cut(lab)
    return [first] if first.gap <= _bound(lab, first) else [first, injected.power_cut(lab)]


@pytest.fixture(scope="module")
def killed(lab: Lab) -> Injected:
    return injected.apache_killed(lab)


@pytest.mark.check(
    points=1,
    hint="`crm configure set WebSite.monitor.interval 5s`, and the same with `timeout`",
    more="both for ClusterIP too; `crm configure show WebSite ClusterIP` shows one monitor each",
    read="Pacemaker Explained, resource operations",
)
def test_watched(lab: Lab) -> None:
    """The cluster looks at both resources every ten seconds or more often, and does not wait long for an answer"""

    def seldom(node: Node) -> dict[str, str]:
        cib = pacemaker.cib(node)
        looks = {name: _look(cib, name) for name in ("ClusterIP", "WebSite")}
        return {name: text for name, text in looks.items() if text}

    on_every_node(lab, seldom, {}, expected=f"a monitor every {INTERVAL:g} s, or more often, with a timeout of {ANSWER:g} s at most",
                  show="crm configure show WebSite ClusterIP")  # fmt: skip


def _look(cib: Element, name: str) -> str:
    """What is wrong with the monitor of a resource; empty when nothing is."""
    interval, timeout = (pacemaker.primitive(cib, name) or {}).get("monitor", ""), pacemaker.patience(cib, name)
    if not 0 < pacemaker.milliseconds(interval) <= INTERVAL * 1000:
        return f"every {interval}" if interval else "no monitor"
    return "" if 0 < pacemaker.milliseconds(timeout) <= ANSWER * 1000 else f"timeout {timeout}"


@pytest.mark.check(
    points=2,
    needs=(*WELL, "watched"),
    hint="what should happen on a failure is `on-fail` of the monitor, and whether it may: is the resource managed?",
    more="take `on-fail` out of `op monitor` of WebSite, or say `on-fail=restart`; then kill Apache yourself and watch `crm_mon`",
    read="Pacemaker Explained, resource operations",
)
def test_service_killed(lab: Lab, cib: Element, killed: Injected) -> None:
    """Apache is killed, and the page is back within the monitor's interval, its start and three seconds"""
    interval = pacemaker.milliseconds((pacemaker.primitive(cib, "WebSite") or {}).get("monitor", "")) / 1000
    bound = interval + killed.start + SLACK * _slow(lab)
    require(killed.gap <= bound, expected=f"a page again within {interval:g} s (monitor) + the start + {SLACK * _slow(lab):g} s",
            seen=_gap(lab, killed.gap), show="kill -KILL $(pidof apache2); crm_mon -1rf")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=(*WELL, "watched"),
    hint="`crm configure rsc_defaults migration-threshold=2 failure-timeout=10min`",
    more="a value of the resource's own goes before the default: `crm resource meta WebSite show migration-threshold`",
    read="Pacemaker Explained, meta-attributes",
)
def test_threshold(lab: Lab, cib: Element) -> None:
    """At the first failure Apache is restarted in place, at the second it leaves the node, says pacemaker's scheduler"""
    home, history = until.held(lab), transition.forgetful(cib)
    key = f"WebSite_monitor_{pacemaker.milliseconds((pacemaker.primitive(cib, 'WebSite') or {})['monitor'])}@{home}=7"

    def after(failures: int) -> str:
        done = transition.simulate(lab.nodes[0], history, *["--op-inject", key] * failures)
        if not done.operations:
            return "left as it is"
        where = done.after({"WebSite": home})["WebSite"]
        return "restarted in place" if where == home else "moved to another node" if where else "stopped"

    seen = {"after one failure": after(1), "after two": after(2)}
    want = {"after one failure": "restarted in place", "after two": "moved to another node"}
    require(seen == want, expected=describe(want), seen=seen, show=f"crm_simulate --live-check --simulate --op-inject {key}")
    forgotten = pacemaker.milliseconds(pacemaker.meta(cib, "WebSite").get("failure-timeout", "")) / 1000
    longest = pacemaker.longest_timeout(cib) / 1000
    seen_timeout = f"{forgotten:g} s" if forgotten else "none"
    require(longest < forgotten <= DAY, seen=seen_timeout,
            expected=f"a failure-timeout above {longest:g} s, which an operation may take, and of a day at most",
            show="crm configure show type:rsc_defaults type:op_defaults")  # fmt: skip


@pytest.mark.check(
    points=1,
    hint="`totem.set_token(lab, …)`; token and consensus in force are in `corosync-cmapctl | grep runtime.config.totem`",
    more="for three nodes token + consensus is 2.2 times (token + 650 ms): `token: 1000` gives 3.63 s",
    read="corosync.conf(5), token and token_coefficient",
)
def test_token(lab: Lab) -> None:
    """Token and consensus leave room for a pause, and cost no more than they must"""
    low, high = SHORTEST * _slow(lab), LONGEST * _slow(lab)

    def sum_of(node: Node) -> str:
        total = sum(corosync.timeouts(corosync.cmap(node))) / 1000
        return "" if low <= total <= high else f"{total:.2f} s"

    on_every_node(lab, sum_of, "", expected=f"token + consensus in force between {low:g} and {high:g} s",
                  show="corosync-cmapctl | grep runtime.config.totem")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=WELL,
    hint="the curve: half of token + consensus is forgiven",
    more="a longer token; `corosync-cfgtool -R` makes it be in force on all nodes",
    read="corosync.conf(5), token and consensus",
)
def test_pause_forgiven(lab: Lab) -> None:
    """Corosync stands still for a second and a half on a node, and no member is given up"""
    spare = next(node for node in reversed(lab.nodes) if node.name != until.held(lab))
    with unhurried():
        kept = totem.forgiven(spare, PAUSE * _slow(lab))
        until.all_ready(lab)
        until.idle(lab.nodes[0])
    require(kept, expected=f"a member that is silent for {PAUSE * _slow(lab):g} s stays a member", seen="it was given up, and joined again",
            show="grep 'Members left' /var/log/corosync/corosync.log")  # fmt: skip


@pytest.mark.check(
    points=3,
    needs=WELL,
    hint="most of a gap is token + consensus; a page that never comes from elsewhere was forbidden to",
    more="`crm_simulate --live-check --simulate --node-down NODE` says what would be started where; `crm configure show type:location`",
    read="corosync.conf(5), token and consensus",
)
def test_power_cut(lab: Lab, cuts: list[Injected]) -> None:
    """The power of the serving node fails, and the page is back in time"""
    best, slow = min(cuts, key=lambda cut: cut.gap - _bound(lab, cut)), _slow(lab)
    ceiling = f", {CEILING:g} s at most" if slow == 1 else ""
    require(best.gap <= _bound(lab, best),
            expected=f"a page from another node within token + consensus + the starts + {SLACK * slow:g} s{ceiling}",
            seen=f"{_gap(lab, best.gap)}; token + consensus are {best.detection:.1f} s", show="halab drill power-cut")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=WELL,
    hint="a node without power holds nothing: somebody else added the address",
    more="`ip -4 addr` on all nodes while it happens; what gives the address besides the cluster?",
    read="RFC 5227",
)
def test_one_holder_throughout(cuts: list[Injected]) -> None:
    """From the power cut until the node is back, the address is never on two nodes, seen from outside"""
    doubled = sorted({name for cut in cuts for double in cut.doubles for name in double.nodes})
    require(not doubled, expected="one holder at most, at any time", seen=f"held at one time by {' and '.join(doubled)}",
            show="halab drill power-cut")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=WELL,
    hint="who answers in whose place? `curl http://$VIP/` again and again while you cut the power",
    more="each node's index.html names its node; chapter 05's checks look at all of them",
    read="chapter 05",
)
def test_survivor_serves(cuts: list[Injected]) -> None:
    """The page comes from the node that died, then from one survivor, and from nobody else"""
    wrong = [cut.servers for cut in cuts if len(set(cut.servers)) != 2 or cut.servers[0] != cut.victim]
    require(not wrong, expected="the victim's page, then a survivor's", seen=", then ".join(wrong[0]) if wrong else "",
            show="halab drill power-cut")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=WELL,
    hint="a preference for a node, or no stickiness: `crm configure show type:location type:rsc_defaults`",
    more="delete the location constraint; `crm configure rsc_defaults resource-stickiness=100`",
    read="Pacemaker Explained, meta-attributes",
)
def test_stays(cuts: list[Injected]) -> None:
    """The node is back, and the service stays where it went"""
    wandered = {"it went back, a second outage" if cut.home else "it runs nowhere" for cut in cuts if cut.home in (cut.victim, "")}
    require(not wandered, expected="the address where it went, when the node is back", seen=sorted(wandered),
            show="halab drill power-cut; crm configure show type:location")  # fmt: skip


@pytest.mark.check(
    points=1,
    needs=WELL,
    hint="a power cut is no failure of a resource: what failed besides?",
    more="`crm_mon -1rf` after a power cut of your own names the operation; `halab drill power-cut` cuts and heals",
    read="crm_mon(8)",
)
def test_nothing_failed(cuts: list[Injected]) -> None:
    """No operation fails while the service moves, and while the node comes back"""
    failures = sorted({failure for cut in cuts for failure in cut.failures})
    require(not failures, expected="no failed operation", seen=failures, show="crm_mon -1rf")


@pytest.mark.check(
    points=1,
    hint="`(token + consensus) / 1000 + 4`, in seconds, as they are in force; then the power cut's cell again",
    more='predict `seconds=expected` and run the cell with `ledger.note("power cut", …)`',
    read="the chapter, Break it: the power fails",
)
def test_expected_gap(lab: Lab) -> None:
    """The gap that you expected at the power cut follows from token and consensus (what you wrote down)"""
    rows = [row for row in ledger.kept(lab.settings) if row.fault == "power cut"]
    require(rows, expected="a power cut in your ledger", seen="none in this lab", show="ledger, in the chapter")
    said, detection = rows[0].said or 0.0, rows[0].detection
    require(detection < said <= detection + 5 * _slow(lab), expected="a bound above token + consensus, by 5 s at most",
            seen=f"{said:g} s, with token + consensus {detection:g} s", show="ledger, in the chapter")  # fmt: skip


@pytest.mark.check(
    points=1,
    level="warning",
    hint="each drill of the chapter asks first: predict, then inject",
    more="run the cells of the drills that are named above",
    read="the chapter, Your ledger",
)
def test_predicted(lab: Lab) -> None:
    """Every drill of the chapter was predicted and measured in this lab (what you wrote down; it costs nothing)"""
    done = {row.fault for row in ledger.kept(lab.settings)}
    missing = [name for name in DRILLS if name not in done]
    require(
        not missing, expected=f"{len(DRILLS)} drills in your ledger", seen=f"not yet: {', '.join(missing)}", show="ledger, in the chapter"
    )


def _gap(lab: Lab, seconds: float) -> str:
    return "no page in time" if seconds > (injected.PATIENCE - 5) * _slow(lab) else f"no page for {seconds:.1f} s"
