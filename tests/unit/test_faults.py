"""Wrong use of faults, and what they tell the lab host; what they do to a cluster is in tests/live/test_faults.py."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from halab import drill, faults
from halab.command import Result, quote
from halab.errors import LabError, MachineLacks, UsageError
from halab.lab import Lab
from halab.network import Network
from halab.node import Node
from halab.settings import Settings


class Host:
    """Records what is run as root; rules get the handles 1, 2, …"""

    def __init__(self, settings: Settings, stderr: str = "") -> None:
        self.settings, self.stderr = settings, stderr
        self.commands: list[str] = []

    def run(self, command: str, *args: object, input: bytes | None = None) -> Result:
        self.commands.append(quote(command, *args))
        return Result("host", command, 1 if self.stderr else 0, "", self.stderr)

    def check_output(self, command: str, *args: object, input: bytes | None = None) -> str:
        self.run(command, *args)
        rules = str(args[0]).splitlines() if "--echo" in command else []
        return json.dumps({"nftables": [{"add": {"rule": {"chain": r.split()[4], "handle": k}}} for k, r in enumerate(rules, 1)]})


@pytest.fixture
def lab(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Lab:
    made = Lab(settings)
    monkeypatch.setattr("halab.faults_network.mended", no_mending)
    monkeypatch.setattr("halab.faults.mended", no_mending)
    return made


@contextmanager
def no_mending(node: Node) -> Iterator[None]:
    yield


def test_packets_are_dropped_both_ways_and_the_rules_go_by_their_handles(lab: Lab) -> None:
    host = Host(lab.settings)
    lab.network = Network(host)
    with pytest.raises(KeyboardInterrupt), faults.partition(lab, [lab.nodes[0]]):
        assert host.commands[1].endswith(
            "'add rule bridge halab_faults forward iifname { pacemaker01 } oifname { pacemaker02, pacemaker03 } drop\n"
            "add rule bridge halab_faults forward iifname { pacemaker02, pacemaker03 } oifname { pacemaker01 } drop'"
        )
        raise KeyboardInterrupt
    assert host.commands[2:] == [f"nft delete rule bridge halab_faults forward handle {k}" for k in (1, 2)]


@pytest.mark.parametrize(("ways", "origin"), [("in", "iifname { pacemaker02, pacemaker03 }"), ("out", "iifname { pacemaker01 }")])
def test_a_partition_of_one_way_has_one_rule(lab: Lab, ways: Any, origin: str) -> None:
    host = Host(lab.settings)
    lab.network = Network(host)
    with faults.partition(lab, [lab.nodes[0]], ways):
        assert origin in host.commands[1] and host.commands[1].count("add rule") == 1


def test_a_pulled_cable_leads_nowhere_not_even_to_the_lab_host(lab: Lab) -> None:
    host = Host(lab.settings)
    lab.network = Network(host)
    with faults.cable_pulled(lab.nodes[1]):
        rules = host.commands[1]
    assert [rules.count(f"halab_faults {chain} ") for chain in ("forward", "input", "output")] == [2, 1, 1]
    assert "ip link set pacemaker02 down" in host.commands


def test_a_kernel_without_netem_is_said(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.network = Network(Host(lab.settings, "Error: Specified qdisc kind is unknown."))
    monkeypatch.setattr(Node, "run", lambda *a: Result("", "", 2, "", "Error: Specified qdisc kind is unknown."))
    with pytest.raises(MachineLacks, match="netem"), faults.disturbed(lab.nodes[0], loss=5, delay=100):
        raise AssertionError("disturbed")


def test_a_node_with_a_kernel_of_its_own_is_disturbed_there(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.network = Network(Host(lab.settings, "Error: Specified qdisc kind is unknown."))
    commands: list[str] = []

    def run(node: Node, command: str, *args: object) -> Result:
        commands.append(quote(command, *args))
        return Result(node.name, command, 0, "", "")

    monkeypatch.setattr(Node, "run", run)
    with pytest.raises(KeyboardInterrupt), faults.disturbed(lab.nodes[0], loss=5, delay=100):
        raise KeyboardInterrupt
    assert [command.split(" dev ")[0].split("tc ")[1] for command in commands] == ["qdisc add", "qdisc del"]
    assert "loss 5% delay 100ms" in commands[0]


def test_another_complaint_of_tc_is_told_as_it_is(lab: Lab) -> None:
    lab.network = Network(Host(lab.settings, "Error: Exclusivity flag on, cannot modify."))
    with pytest.raises(LabError, match="Exclusivity"), faults.disturbed(lab.nodes[0], delay=100):
        raise AssertionError("disturbed")


@pytest.mark.parametrize("inside", [[], [0, 1, 2]])
def test_a_partition_has_nodes_on_both_sides(lab: Lab, inside: list[int]) -> None:
    with pytest.raises(UsageError, match="both sides"), faults.partition(lab, [lab.nodes[k] for k in inside]):
        raise AssertionError("parted")


def test_a_partition_has_one_of_three_ways(lab: Lab) -> None:
    with pytest.raises(UsageError, match="both, in or out"), faults.partition(lab, [lab.nodes[0]], "up"):
        raise AssertionError("parted")


class Answering:
    """A node on which pidof(8) finds these processes; records what succeeds."""

    name = "pacemaker01"

    def __init__(self, pids: str) -> None:
        self.pids, self.commands = pids, list[str]()

    def run(self, command: str, *args: object) -> Result:
        return Result(self.name, command, 0, self.pids, "")

    def check_output(self, command: str) -> None:
        self.commands.append(command)


def test_a_daemon_that_does_not_exist_is_wrong_use(lab: Lab) -> None:
    with pytest.raises(UsageError, match="heartbeat"), faults.killed(Answering("1"), "heartbeat"):
        raise AssertionError("killed")


def test_a_daemon_that_does_not_run_cannot_be_killed(lab: Lab) -> None:
    with pytest.raises(LabError, match="corosync runs"), faults.killed(Answering(""), "corosync"):
        raise AssertionError("killed")


def test_every_process_of_a_daemon_is_killed(lab: Lab) -> None:
    node = Answering("12 34")
    with faults.killed(node, "apache2"):
        assert node.commands == ["kill -KILL 12 34"]


# -- drills -----------------------------------------------------------------------------------------------


def test_a_drill_that_does_not_exist_is_wrong_use(lab: Lab) -> None:
    with pytest.raises(UsageError, match="flood is a fault"):
        drill.run(lab, "flood")


def test_every_drill_says_in_a_few_words_what_breaks() -> None:
    assert all(0 < len(fault.about) < 60 for fault in drill.FAULTS.values())
    assert {name for name, fault in drill.FAULTS.items() if fault.loss} == {
        "power-cut", "paused", "corosync-killed", "corosync-paused", "partition", "partition-in", "partition-out", "cable-pulled",
    }  # fmt: skip
