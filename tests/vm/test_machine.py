"""One emulated machine, from nothing: what only a machine of its own has, and what the lab sees of it from outside."""

from functools import partial
from pathlib import Path

import pytest

from halab import accel
from halab.accel import SLOWNESS
from halab.engine import Place
from halab.fence_device import KINDS, STRANGER, FenceDevice
from halab.lab import Sight
from halab.settings import load
from halab.wait import eventually
from tests.live.livelab import Live, labs

#: Seconds after which a step of these tests counts as hanging, on the busiest machine.
PATIENCE = 3600


@pytest.fixture(scope="module")
def live():
    """A lab whose first machine runs; the second is never made."""
    with labs() as make, pytest.MonkeyPatch.context() as patch:
        scale = load().timeout_scale
        one = make(engine="vm", accel="tcg", nodes=2, timeout_scale=scale)
        assert (done := one.halab("up", "--empty", timeout=PATIENCE)).ok, done.stderr  # it may have to build the image
        patch.setenv("HALAB_TIMEOUT_SCALE", str(scale * SLOWNESS["tcg"]))  # `within` goes in by a door of its own
        one.within = partial(one.within, timeout=PATIENCE)
        one.within(lambda: made(one))
        yield one


def made(live: Live) -> None:
    lab, node = live.lab, live.lab.node(1)
    lab.network.up()
    node.make_disk(configured=True)
    node.define()
    node.start()
    node.wait_for_ssh()
    node.run("systemctl is-system-running --wait", timeout=PATIENCE)  # its watchdog comes after SSH,
    eventually(lambda: node.seen_addresses, within="daemon", what="the guest agent answers")  # and its agent with its device


def test_what_the_probe_boots_comes_to_its_end_where_it_can(live):
    kernel = Path(live.lab.host.about["machine_image"]) / "vmlinuz"
    assert accel.diagnose(*accel.boot(kernel, "tcg", "max", patience=accel.PATIENCE * SLOWNESS["tcg"])) == ""
    assert accel.diagnose(*accel.boot(kernel, "tcg", "max", patience=0.01)).endswith("not at its end after 0.05 s")


def test_kvm_is_tried_and_the_answer_is_told_with_the_reason(live, tmp_path):
    kernel = Path(live.lab.host.about["machine_image"]) / "vmlinuz"
    settings = live.settings.model_copy(update={"accel": "auto", "cache": tmp_path})
    answer = accel.choose(settings, kernel)
    assert answer == accel.remembered(settings, kernel)
    trouble = accel.trouble(kernel)
    assert (answer.accel, answer.why) == (("tcg", trouble) if trouble else ("kvm", accel.BOOTED))


def test_it_is_who_its_identity_disk_says(live):
    seen = live.within(lambda: live.lab.node(1).check_output("hostname; cat /etc/hostname; systemd-detect-virt --vm"))
    assert seen.split() == ["pacemaker01", "pacemaker01", "qemu"]


def test_the_addresses_are_seen_without_its_network(live):
    def cut() -> tuple:
        lab, node = live.lab, live.lab.node(1)
        lab.host.check_output("ip link set pacemaker01 down")
        try:
            return (
                node.seen_addresses[str(node.address)],
                lab.sight(node, node.address),
                lab.sight(node),
                node.runs("sshd"),
                node.runs("apache2"),
            )
        finally:
            lab.host.check_output("ip link set pacemaker01 up")

    assert live.within(cut) == (Place("eth0", 24), Sight.HELD, Sight.NOT_HELD, True, False)


def test_a_machine_that_is_paused_is_unknown_and_not_none(live):
    def paused() -> tuple:
        lab, node = live.lab, live.lab.node(1)
        node.suspend()
        try:
            return node.state, lab.sight(node, node.address)
        finally:
            node.resume()

    assert live.within(paused) == ("paused", Sight.UNKNOWN)


def test_a_machine_whose_agent_is_silent_is_unknown_and_not_none(live):
    def silent() -> tuple:
        lab, node = live.lab, live.lab.node(1)
        node.check_output("systemctl stop qemu-guest-agent")
        try:
            return lab.sight(node, node.address), lab.sight(node)
        finally:
            node.check_output("systemctl start qemu-guest-agent")
            eventually(lambda: node.seen_addresses, within="daemon", what="the guest agent answers")

    assert live.within(silent) == (Sight.UNKNOWN, Sight.UNKNOWN)


def test_it_has_a_screen_and_a_watchdog(live):
    png = live.within(lambda: live.lab.node(1).screenshot().data)
    assert png.startswith(b"\x89PNG")
    assert live.within(lambda: live.lab.node(1).run("test -c /dev/watchdog").ok)


def test_qemu_is_nobody_on_the_machine_and_its_screen_is_for_the_lab_host_alone(live):
    (qemu,) = [p for p in live.lab.host.process.children(recursive=True) if p.name().startswith("qemu-system")]
    assert (qemu.uids().real, qemu.gids().real) == (1_000_000, 1_000_000)
    screens = live.within(lambda: live.lab.host.check_output("ss -Hltn 'sport >= :5900 and sport < :6000'").splitlines())
    assert [line.split()[3] for line in screens] == ["127.0.0.1:5900"]


def test_the_fence_device_may_look_at_a_machine_and_run_nothing_in_it(live):
    def powers() -> tuple[bool, list[str]]:
        lab, device = live.lab, FenceDevice(live.lab)
        lab.hypervisor.define(device.stranger)
        try:
            device.start(b"secret")
            possible = lab.host.run("virsh " + KINDS["qemu"][2], lab.node(1).name).ok  # what the device is refused
            return possible, [what for what, yes in device.powers().items() if yes]
        finally:
            device.remove()
            lab.hypervisor.undefine(STRANGER)

    assert live.within(powers) == (True, ["look at a node"])


def test_a_reboot_comes_back_as_the_same_machine(live):
    def rebooted() -> list[str]:
        node = live.lab.node(1)
        before = node.check_output("echo kept > /root/kept; cat /proc/sys/kernel/random/boot_id")
        node.reboot()
        return [before, *node.check_output("cat /proc/sys/kernel/random/boot_id /root/kept /etc/hostname").split()]

    before, after, kept, name = live.within(rebooted)
    assert (before.strip() != after, kept, name) == (True, "kept", "pacemaker01")


def test_power_off_is_at_once_and_without_power_nothing_is_held(live):
    def off() -> tuple:
        node = live.lab.node(1)
        node.power_off()
        return node.state, node.seen_addresses, node.runs("sshd")

    assert live.within(off) == ("shut off", {}, False)
