"""Fencing on a real lab of two nodes: on and off, what the key and the daemon may not do, a device out of reach, a duel."""

from collections.abc import Iterator

import pytest

from halab import corosync, faults, fencing, pacemaker, pair, stonith, until
from halab.fence_device import STRANGER, USER, FenceDevice
from halab.lab import Lab
from halab.wait import eventually, stays
from tests.live.livelab import Live, labs

pytestmark = pytest.mark.inside


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    """Two nodes at the end of chapter 03, as a pair (two_node), with fencing."""
    with labs() as make:
        two = make(nodes=2)
        assert (done := two.halab("run", "--to", "03", timeout=300)).ok, done.stderr

        def fenced() -> None:
            for node in pair.part(two.lab):
                node.check_output("systemctl start corosync")
            until.members(two.lab.nodes[0], 1, 2)
            two.lab.each(lambda node: node.check_output("systemctl start pacemaker"))
            until.all_ready(two.lab)
            fencing.enable(two.lab)

        two.within(fenced, timeout=200)
        yield two


def domain(lab: Lab) -> dict[str, int | None]:
    """Which run of its machine each node is."""
    return {node.name: lab.hypervisor.pid(node.name) for node in lab}


def again(lab: Lab) -> None:
    """Both nodes are there, ready, and nothing is to do."""
    for node in lab:
        node.close()
        node.wait_for_ssh()
        until.process(node, "pacemakerd")
    until.all_ready(lab)
    until.idle(lab.nodes[0])


def test_enabled_and_disabled_as_often_as_one_likes(live):
    lab = live.lab
    for _ in range(2):
        fencing.disable(lab)
        assert not fencing.enabled(pacemaker.cib(lab.nodes[0]))
        assert not FenceDevice(lab).running and not pacemaker.status(lab.nodes[0]).devices
    for _ in range(2):
        fencing.enable(lab)
        assert fencing.enabled(pacemaker.cib(lab.nodes[0]))
        assert FenceDevice(lab).running and pacemaker.status(lab.nodes[0]).devices == (fencing.NAME,)
    device = stonith.devices(pacemaker.cib(lab.nodes[0]))[fencing.NAME]
    assert {stonith.power(node, device, other.name) for node in lab for other in lab} == {"on"}
    assert all(node.run("crm_verify --live-check").ok for node in lab)


def test_the_daemon_is_nobody_and_its_files_are_its_own(live):
    seen = live.lab.host.check_output(
        "ps -o uid=,gid= -C fence_virtd; grep -h '^Cap[EPB]\\|NoNewPrivs' /proc/$(pgrep -x fence_virtd)/status"
    )
    user, *lines = seen.splitlines()
    assert user.split() == [str(USER)] * 2
    assert {line.split()[1] for line in lines} == {"0000000000000000", "1"}
    files = live.lab.host.check_output("stat -c '%u %a %F' /run/halab/fence/fence_virt.conf /run/halab/fence/fence_xvm.key")
    assert files.splitlines() == [f"{USER} 600 regular file"] * 2


def test_what_the_daemons_user_may_ask_of_libvirt(live):
    lab, device = live.lab, FenceDevice(live.lab)
    lab.hypervisor.define(device.stranger)
    lab.hypervisor.start(STRANGER)  # what is refused below is possible
    lab.hypervisor.destroy(STRANGER)
    may = device.powers()
    lab.hypervisor.destroy(STRANGER)
    lab.hypervisor.undefine(STRANGER)
    assert [what for what, yes in may.items() if yes] == ["look at a node"]
    direct = lab.host.run(f"setpriv --reuid={USER} --regid={USER} --clear-groups virsh --connect {lab.engine.uri} list")
    assert not direct.ok and "Permission denied" in direct.stderr


@pytest.mark.parametrize("action", ["status", "off", "on", "reboot"])
@pytest.mark.parametrize("machine", [STRANGER, "00000000-0000-4000-8000-000000000007", "nobody"])
def test_a_machine_that_is_no_node_is_refused(live, action, machine):
    lab, node = live.lab, live.lab.nodes[0]
    lab.hypervisor.define(FenceDevice(lab).stranger)
    try:
        assert eventually(lambda: node.run("fence_xvm -o list -t 3").stdout.split()[::3], within=10) == [n.name for n in lab]
        refused = node.run("fence_xvm -o %s -H %s -t 5", action, machine)
        assert refused.status == 3 and "Permission denied" in refused.stdout + refused.stderr
        assert lab.hypervisor.state(STRANGER) == "shut off"
    finally:
        lab.hypervisor.undefine(STRANGER)


def test_another_key_is_not_answered(live):
    node, before = live.lab.nodes[0], domain(live.lab)
    node.check_output("head -c 4096 /dev/urandom > /tmp/other.key")
    for action in ("list", "monitor", "status", "off"):
        assert node.run("fence_xvm -o %s -H %s -k /tmp/other.key -t 2", action, live.lab.nodes[1].name).status == 1
    assert domain(live.lab) == before


def test_a_device_out_of_reach_and_back(live):
    lab, (one, two) = live.lab, live.lab.nodes
    before, since = domain(lab), fencing.clock(one)
    with FenceDevice(lab).unreachable():
        two.check_output("pkill -KILL -x corosync")
        until.unclean(one, two)
        assert stays(lambda: domain(lab), before.__eq__, samples=6, every=0.5) == before
        assert not [e for e in fencing.history(one, since) if e.status == "success"]
    assert until.fenced(one, two, since).origin == one.name
    assert domain(lab)[one.name] == before[one.name] and domain(lab)[two.name] != before[two.name]
    again(lab)


def test_a_node_that_is_fenced_is_not_asked_to_end(live):
    """libvirt asks a container's processes first; where the power is cut, none hears of it."""
    lab, (one, two) = live.lab, live.lab.nodes
    run, told = domain(lab)[two.name], "/var/tmp/told"
    two.check_output(f"rm -f {told}; systemd-run --quiet --unit=witness sh -c 'trap \"date >{told}\" TERM; while :; do sleep 0.1; done'")
    eventually(lambda: two.run("systemctl is-active witness").ok, within="daemon", what="a witness runs")

    one.check_output("stonith_admin --reboot %s", two.name)
    again(lab)
    assert domain(lab)[two.name] != run and not two.run(f"test -e {told}").ok


def test_one_of_two_wins_the_duel_and_the_other_waits_for_it(live):
    lab, (one, two) = live.lab, live.lab.nodes
    one.check_output("crm resource param Fencing set pcmk_delay_base %s", f"{one.name}:5s")
    until.idle(one)
    before, since = domain(lab), fencing.clock(one)
    with faults.partition(lab, [two]):
        until.fenced(one, two, since)
        two.close()
        two.wait_for_ssh()
        until.process(two, "corosync")
        assert eventually(lambda: corosync.joined(two), within="daemon", retry=(Exception,)) == [2]
        assert corosync.quorate(one) and not corosync.quorate(two)
    again(lab)
    assert corosync.quorate(two) and domain(lab)[one.name] == before[one.name]


def test_a_node_that_starts_alone_has_no_quorum(live):
    lab, (one, two) = live.lab, live.lab.nodes
    lab.each(lambda node: node.check_output("systemctl stop pacemaker corosync"))
    one.check_output("systemctl start corosync")
    assert not stays(lambda: corosync.quorate(one), lambda yes: not yes)
    two.check_output("systemctl start corosync")
    until.members(one, 1, 2)
    assert until.quorate(one)
    pair.join(lab)
