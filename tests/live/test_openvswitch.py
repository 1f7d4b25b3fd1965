"""A lab on Open vSwitch: the same as on the kernel's bridge, with daemons of its own."""

import shutil
from pathlib import Path

import pytest

from halab.wait import eventually

pytestmark = pytest.mark.skipif(not shutil.which("ovs-vsctl"), reason="Open vSwitch is not installed")


@pytest.fixture(scope="module")
def live():
    """In the place of the module's lab: one whose bridge is Open vSwitch's, as the setting is spelled for short."""
    from tests.live.livelab import labs

    with labs() as make:
        yield make(bridge="openvswitch", nodes=2).up()


def test_the_nodes_are_ports_of_the_switch(live):
    listed = live.within(lambda: live.lab.host.check_output("ovs-vsctl list-ports ubuntu_br").split())
    assert sorted(listed) == [node.name for node in live.lab]
    assert live.within(lambda: live.lab.network.faults(listed)) == {}
    dumped = live.within(lambda: live.lab.host.check_output("virsh -c %s dumpxml pacemaker01", live.lab.engine.uri))
    assert "<virtualport type='openvswitch'>" in dumped


def test_the_machine_runs_no_switch_of_ours(live):
    assert not Path("/run/openvswitch/db.sock").exists()
    assert not list(Path("/var/lib/openvswitch").glob("conf.db"))


def test_the_checks_of_the_environment_pass_or_fail_as_on_any_bridge(live):
    assert live.halab("check", "01").status == 0
    live.within(lambda: live.lab.host.check_output("ovs-vsctl del-port ubuntu_br pacemaker02"))
    failed = live.halab("check", "01")
    assert failed.status == 1 and "not plugged into ubuntu_br" in failed.stdout
    assert live.halab("up").ok
    assert live.halab("check", "01").status == 0


def test_nodes_are_cut_apart_also_when_one_starts_anew_and_the_lab_host_is_not(live):
    lab = live.lab
    first, second = lab.nodes

    def reached() -> dict[str, bool]:
        """From the second one, which is asked over SSH from the lab host."""
        whom = {"the other": first.address, "the lab host": lab.settings.host_address}
        return {who: second.run("ping -q -c 1 -W 1 %s > /dev/null", address).ok for who, address in whom.items()}

    def cut() -> None:
        whole = {"the other": True, "the lab host": True}
        eventually(reached, whole.__eq__, within="fact")
        with lab.network.dropping(([first.name], [second.name]), ([second.name], [first.name])):
            eventually(reached, {**whole, "the other": False}.__eq__, within="fact")
            second.power_off()
            second.start()
            second.wait_for_ssh()
            assert not second.run("for k in 1 2 3; do ping -q -c 1 -W 1 %s && exit; done; exit 1", first.address).ok
            assert reached() == {**whole, "the other": False}
        eventually(reached, whole.__eq__, within="fact")

    live.within(cut)


def test_a_cable_that_leads_nowhere_does_not_lead_to_the_lab_host(live):
    lab = live.lab
    second = lab.nodes[1]

    def pulled() -> None:
        assert second.answers and lab.arp(second.address)
        with lab.network.dropping(([second.name], []), ([], [second.name])):
            eventually(lambda: not lab.arp(second.address), within="fact")
            second.close()
            assert not second.answers
        eventually(lambda: second.answers, within="fact")

    live.within(pulled)


def test_up_mends_a_switch_that_died(live):
    live.within(lambda: live.lab.host.check_output("kill -KILL $(cat /run/openvswitch/ovs-vswitchd.pid)"))
    live.within(lambda: eventually(lambda: not live.lab.host.run("ovs-appctl --timeout=1 version").ok, within=10))
    assert live.halab("up").ok
    assert live.answering() == [node.name for node in live.lab]
