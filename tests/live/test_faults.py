"""Each fault on a real cluster does what it says, seen from outside where that is possible, and is undone when
the block it is for fails. One lab for all; every test ends with a healthy cluster, verified, and the next begins with it."""

import time
from collections.abc import Callable, Iterator

import pytest

from halab import corosync, drill, faults, pacemaker, until
from halab.errors import LabError, MachineLacks, UsageError
from halab.heal import heal, wrong
from halab.lab import Lab, Sight
from halab.node import Node
from halab.probe import Probe, listens
from halab.wait import eventually
from tests.live.livelab import Live, labs


class Boom(Exception):
    """What a cell raises."""


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    """A lab on which the chapters up to Apache ran."""
    with labs() as make:
        one = make()
        assert (done := one.halab("run", "--to", "05", timeout=600)).ok, done.stdout
        yield one


@pytest.fixture(autouse=True)
def healthy(live: Live) -> Iterator[None]:
    yield
    live.within(lambda: heal(live.lab), timeout=200)


def victim(lab: Lab) -> Node:
    return lab.node(lab.holder())


def reaches(node: Node, other: Node) -> bool:
    return node.run("ping -c 1 -W 1 %s", other.address).ok


def pids(node: Node, daemon: str) -> str:
    return node.run("pidof %s", daemon).stdout


def state(node: Node, daemon: str) -> str:
    """The state of a daemon's process, `T` when it is stopped (proc(5))."""
    return node.run("ps -o state= -p $(pidof -s %s)", daemon).stdout.strip()


# -- what each does, and that it is undone ----------------------------------------------------------------


def _paused(lab: Lab, node: Node) -> None:
    assert (node.state, lab.sight(node)) == ("paused", Sight.HELD)


def _daemon_paused(lab: Lab, node: Node) -> None:
    assert state(node, "corosync") == "T"


def _cut(lab: Lab, node: Node) -> None:
    assert (node.state, lab.sight(node)) == ("shut off", Sight.NOT_HELD)


def _parted(lab: Lab, node: Node) -> None:
    others = [other for other in lab if other is not node]
    assert not any(reaches(node, other) or reaches(other, node) for other in others)
    assert reaches(*others) and all(one.answers for one in lab)


def _unplugged(lab: Lab, node: Node) -> None:
    assert lab.network.faults([node.name]) == {node.name: "switched off"}
    assert lab.sight(node) is Sight.HELD
    assert not listens(node.address, 22)


def _bare(lab: Lab, node: Node) -> None:
    assert lab.sight(node) is Sight.NOT_HELD


def _full(lab: Lab, node: Node) -> None:
    write = "file=$(mktemp -p %s) && echo more > $file; code=$?; rm -f $file; exit $code"
    assert "No space left" in node.run(write, "/var/lib/pacemaker/cib").stderr
    assert node.run(write, "/root").ok


def _conf(lab: Lab, node: Node) -> None:
    assert node.run("corosync -t").status == 8


def _apache(lab: Lab, node: Node) -> None:
    assert not node.run("apache2ctl configtest").ok


def _cib(lab: Lab, node: Node) -> None:
    assert not node.run("python3 -c 'import xml.etree.ElementTree as E; E.parse(\"/var/lib/pacemaker/cib/cib.xml\")'").ok


def _stopped(lab: Lab, node: Node) -> None:
    assert (pids(node, "corosync"), pids(node, "pacemakerd"), lab.sight(node)) == ("", "", Sight.NOT_HELD)


def _standby(lab: Lab, node: Node) -> None:
    assert pacemaker.status(node).standby == (node.name,)


def _maintained(lab: Lab, node: Node) -> None:
    assert pacemaker.status(node).unmanaged == ("ClusterIP", "WebSite")


def _moved(lab: Lab, node: Node) -> None:
    assert [c["node"] for c in pacemaker.constraints(pacemaker.cib(node)) if c["id"].startswith("cli-ban")] == [node.name]


CASES: dict[str, tuple[Callable, Callable[[Lab, Node], None]]] = {
    "power_cut": (faults.power_cut, _cut),
    "paused": (faults.paused, _paused),
    "a daemon paused": (lambda node: faults.paused(node, "corosync"), _daemon_paused),
    "partition": (lambda node: faults.partition(node.lab, [node]), _parted),
    "cable_pulled": (faults.cable_pulled, _unplugged),
    "address_removed": (faults.address_removed, _bare),
    "disk_full": (faults.disk_full, _full),
    "conf_damaged": (faults.conf_damaged, _conf),
    "apache_damaged": (faults.apache_damaged, _apache),
    "cib_damaged": (faults.cib_damaged, _cib),
    "stopped": (faults.stopped, _stopped),
    "standby": (faults.standby, _standby),
    "maintenance": (lambda node: faults.maintenance(node.lab), _maintained),
    "a node in maintenance": (faults.maintenance, _maintained),
    "moved": (faults.moved, _moved),
}


@pytest.mark.inside
@pytest.mark.parametrize("name", CASES)
def test_a_fault_does_what_it_says_and_is_undone_when_its_block_fails(live: Live, name: str) -> None:
    make, seen = CASES[name]
    node = victim(live.lab)

    def does() -> bool:
        try:
            seen(live.lab, node)
        except AssertionError:
            return False
        return True

    with pytest.raises(Boom), make(node):
        eventually(does, within="fact", what=f"{name} does what it says")
        raise Boom
    eventually(lambda: not does(), within="resource", what=f"{name} is undone")


@pytest.mark.inside
@pytest.mark.parametrize("daemon", ["pacemaker-controld", "pacemaker-execd", "apache2"])
def test_a_killed_daemon_is_gone_and_another_one_comes(live: Live, daemon: str) -> None:
    node = victim(live.lab)
    before = pids(node, daemon)
    with faults.killed(node, daemon):
        assert pids(node, daemon) != before
    heal(live.lab)
    assert set(pids(victim(live.lab), daemon).split()) - set(before.split())


@pytest.mark.inside
def test_killed_corosync_ends_with_two_holders_and_healed_with_one(live: Live) -> None:
    """With fencing off, as it is in this lab."""
    lab, node = live.lab, victim(live.lab)
    with Probe(lab, holders=True) as probe:
        with pytest.raises(Boom), faults.killed(node, "corosync"):
            eventually(lambda: probe.doubles, within="failover")
            raise Boom
        heal(lab)
    assert node.name in probe.doubles[0].nodes
    assert list(lab.holders().values()).count(Sight.HELD) == 1


@pytest.mark.inside
def test_a_lost_address_that_the_cluster_has_noticed_is_left_to_it(live: Live) -> None:
    """It comes back where it was, and what failed is still told: nothing made the cluster forget."""
    lab, node = live.lab, live.lab.nodes[2]
    with faults.standby(lab.nodes[0]), faults.standby(lab.nodes[1]):
        until.held(lab, by=node)
        until.runs(lab, "WebSite")
    heal(lab)
    with faults.address_removed(node):
        failed = until.failed(node, 1)
    assert until.held(lab) == node.name
    assert until.failed(node, 1) == failed


@pytest.mark.inside
def test_a_duplicate_is_added_and_taken_away_again(live: Live) -> None:
    node = next(other for other in live.lab if other.name != live.lab.holder())
    with pytest.raises(Boom), faults.address_added(node):
        assert list(live.lab.holders().values()).count(Sight.HELD) == 2
        raise Boom
    assert live.lab.sight(node) is Sight.NOT_HELD


@pytest.mark.inside
@pytest.mark.parametrize(("ways", "hears", "is_heard"), [("in", False, True), ("out", True, False)])
def test_a_partition_may_have_one_way(live: Live, ways: str, hears: bool, is_heard: bool) -> None:
    node, other = live.lab.nodes[0], live.lab.nodes[1]
    count = "cat /sys/class/net/eth0/statistics/rx_packets"
    with faults.partition(live.lab, [node], ways):
        for sender, receiver, passes in ((other, node, hears), (node, other, is_heard)):
            sender.run("ip neigh replace %s lladdr %s dev eth0", receiver.address, receiver.mac)
            before = int(receiver.check_output(count))
            sender.run("ping -c 300 -i 0.002 -W 1 -q %s", receiver.address)
            assert (int(receiver.check_output(count)) - before > 300) is passes
            sender.run("ip neigh del %s dev eth0", receiver.address)


@pytest.mark.inside
def test_packets_are_disturbed_where_the_kernel_can_and_refused_where_not(live: Live) -> None:
    node = live.lab.nodes[0]
    if not live.lab.host.run("tc qdisc add dev %s root netem delay 1ms && tc qdisc del dev %s root", node.name, node.name).ok:
        with pytest.raises(MachineLacks, match="netem"), faults.disturbed(node, loss=5, delay=100):
            raise Boom
        return
    with pytest.raises(Boom), faults.disturbed(node, delay=100):
        begun = time.monotonic()
        assert listens(node.address, 22, timeout=1) and time.monotonic() - begun > 0.1
        raise Boom
    assert "netem" not in live.lab.host.check_output("tc qdisc show dev %s", node.name)


@pytest.mark.inside
def test_what_cannot_be_broken_is_said(live: Live) -> None:
    lab, node = live.lab, live.lab.nodes[0]
    free = next(other for other in lab if other.name != lab.holder())
    for wrong_use in (
        faults.killed(node, "heartbeat"), faults.partition(lab, []), faults.partition(lab, lab.nodes), faults.partition(lab, [node], "up"),
        faults.address_removed(free), faults.address_added(victim(lab)),
    ):  # fmt: skip
        with pytest.raises(UsageError), wrong_use:
            raise Boom
    node.check_output("systemctl stop apache2")
    with pytest.raises(LabError), faults.killed(free, "apache2"):
        raise Boom


# -- heal, and a drill ------------------------------------------------------------------------------------


@pytest.mark.inside
def test_heal_mends_what_nobody_undoes(live: Live) -> None:
    lab = live.lab
    first, second, third = lab.nodes
    first.check_output("crm_standby --node %s --update on", first.name)
    lab.network.dropping(([second.name], [])).__enter__()
    third.power_off()
    heal(lab)
    assert list(wrong(lab)) == []
    assert [corosync.joined(node) for node in lab] == [[1, 2, 3]] * 3


@pytest.mark.inside
def test_what_is_wrong_is_told(live: Live) -> None:
    node = live.lab.nodes[2]
    node.put("", "/var/lib/pacemaker/cores/core.1")
    try:
        assert list(wrong(live.lab)) == [f"{node.name}: /var/lib/pacemaker/cores/core.1"]
    finally:
        node.check_output("rm /var/lib/pacemaker/cores/core.1")


@pytest.mark.inside
def test_a_drill_explains_the_gap(live: Live) -> None:
    done = drill.run(live.lab, "power-cut").measurement
    terms = done.terms
    assert done.double == 0 and done.lost > 0
    assert terms.detection and terms.consensus and terms.decision and terms.recovery and terms.fencing is None
    assert abs(terms.detection + terms.consensus + terms.decision + terms.recovery - done.gap) < 0.5
    assert done.predicted and terms.detection + terms.consensus < done.predicted + 1
    assert done.victim not in done.holders[-1:]
