"""A lab's life: up and down, twice, at once, after accidents; each ends in the state asked for."""

import contextlib
import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from halab.engine_lxc import Lxc
from halab.errors import LabError
from halab.wait import eventually

ALL = ["pacemaker01", "pacemaker02", "pacemaker03"]


def test_up_again_keeps_what_runs(live):
    live.within(lambda: live.lab.node(1).check_output("touch /run/since-boot"))
    instance = live.lab.host.about["instance"]
    live.up()
    assert live.answering() == ALL
    live.within(lambda: live.lab.node(1).check_output("test -e /run/since-boot"))
    assert live.lab.host.about["instance"] == instance


def test_up_powers_on_resumes_and_makes_what_is_missing(live):
    def wreck():
        first, second, third = live.lab.nodes
        first.power_off()
        second.suspend()
        third.remove()
        third.make_disk(configured=True)  # a disk, and no domain
        live.lab.network.down()

    live.within(wreck)
    live.up()
    assert live.answering() == ALL


def test_two_ups_at_once_end_in_one_good_lab(new_lab):
    lab = new_lab(nodes=2)
    both = [lab.start("up"), lab.start("up")]
    assert [process.wait(120) for process in both] == [0, 0]
    assert lab.answering() == ALL[:2]


def test_nodes_taken_down_within_leave_a_lab_host_that_takes_new_ones(live):
    assert live.halab("exec", "--", "python3", "-c", "").ok
    assert live.within(lambda: live.lab.down() or live.lab.hypervisor.names()) == []
    assert live.within(lambda: live.lab.down() or live.lab.hypervisor.names()) == []
    live.up()
    assert live.answering() == ALL


def test_down_twice_and_down_of_nothing_are_good(new_lab):
    lab = new_lab()
    assert lab.halab("down").ok
    lab.up("--empty")
    assert lab.halab("down").ok and lab.halab("down").ok
    assert lab.halab("status").status == 3


def test_down_removes_a_lab_with_a_suspended_node(new_lab):
    lab = new_lab(nodes=2).up()
    lab.within(lambda: lab.lab.node(1).suspend())
    done = lab.halab("down")
    assert done.ok, done.stderr
    assert not lab.lab.settings.folder.exists()


@pytest.mark.parametrize("command", ["down", "up"])
def test_a_command_after_the_lab_host_was_killed_ends_as_asked(new_lab, command):
    lab = new_lab(nodes=2).up()
    holder = lab.lab.host.process
    everything = [*holder.children(recursive=True)]
    holder.send_signal(signal.SIGKILL)
    assert psutil.wait_procs(everything, timeout=15)[1] == []
    assert lab.halab("status").status == 3
    assert "halab up" in lab.halab("exec", "--", "true").stderr
    done = lab.halab(command)
    assert done.ok, done.stderr
    assert lab.lab.host.running == (command == "up")


@pytest.mark.parametrize(
    "moment",
    [
        "process.json",
        "nodes/pacemaker01",
        pytest.param("warden.sock", marks=pytest.mark.slow),
        pytest.param("keys/id_ed25519", marks=pytest.mark.slow),
        pytest.param("nodes/pacemaker01/upper/var", marks=pytest.mark.slow),
    ],
)
def test_up_works_after_an_up_that_was_killed(new_lab, moment):
    """Killed at the moment when that file appears in the lab's folder."""
    lab = new_lab(nodes=2)
    first = lab.start("up")
    eventually((lab.settings.folder / moment).exists, within=30, every=0.005)
    first.kill()
    lab.up()
    assert lab.answering() == ALL[:2]
    assert lab.halab("down").ok
    assert not lab.settings.folder.exists()


def test_down_ends_an_up_that_goes_on(new_lab):
    lab = new_lab()
    first = lab.start("up")
    eventually((lab.settings.folder / "nodes" / "pacemaker01").exists, within=30, every=0.005)
    done = lab.halab("down", timeout=30)
    assert done.ok, done.stderr
    assert first.wait(10) == 3
    assert "Traceback" not in first.stderr.read()
    assert not lab.settings.folder.exists()


def test_labs_of_the_same_addresses_live_side_by_side(new_lab):
    one, other = new_lab(nodes=2).up(), new_lab(nodes=2).up()
    one.within(lambda: one.lab.node(1).suspend())
    assert one.answering() == ["pacemaker02"]
    assert other.answering() == ["pacemaker01", "pacemaker02"]
    names = {lab.name: lab.within(lambda lab=lab: lab.lab.host.about["instance"]) for lab in (one, other)}
    assert len(set(names.values())) == 2
    assert one.halab("down").ok
    assert other.answering() == ["pacemaker01", "pacemaker02"]


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [2, 5])
def test_a_lab_of_another_size(new_lab, nodes):
    lab = new_lab(nodes=nodes).up()
    assert len(lab.answering()) == nodes
    each = lab.within(lambda: lab.lab.each(lambda n: n.check_output("hostname; getent hosts %s", lab.lab.nodes[-1].name)))
    assert [text.split()[0] for text in each.values()] == [n.name for n in lab.lab]
    assert {text.split()[1] for text in each.values()} == {str(lab.lab.nodes[-1].address)}


def test_a_running_lab_is_not_changed_under_its_user(live):
    done = live.halab("up", HALAB_NODES="4")
    assert done.status == 2 and "nodes=4" in done.stderr and "halab down" in done.stderr
    assert live.answering() == ALL


def test_nodes_survive_libvirtd_and_up_mends_it(live):
    live.within(lambda: live.lab.node(1).check_output("touch /run/since-boot"))
    live.lab.host.check_output("kill -9 $(cat /run/libvirtd.pid)")
    eventually(lambda: not live.lab.host.run("virsh version").ok, within=10, what="libvirtd is gone")
    status = live.halab("status")
    assert status.status == 3 and "libvirtd" in status.stderr and "halab up" in status.stderr
    with pytest.raises(LabError, match="libvirtd"):
        live.within(lambda: live.lab.node(1).state)
    live.within(lambda: live.lab.node(1).check_output("test -e /run/since-boot"))  # SSH needs no libvirtd
    live.up()
    assert live.halab("status").ok
    live.within(lambda: live.lab.node(1).check_output("test -e /run/since-boot"))
    live.within(lambda: live.lab.node(2).power_off())
    live.up()
    assert live.answering() == ALL


def test_a_node_that_never_answers_is_named_in_time(live):
    def mute():
        node = live.lab.node(2)
        node.remove()
        node.make_disk(configured=True)
        units = Path(node.disk["upper"]) / "etc" / "systemd" / "system"
        live.lab.host.check_output("mkdir -p %s; ln -s /dev/null %s/ssh.service", units, units)
        node.define()

    live.within(mute)
    try:
        done = live.halab("up", HALAB_TIMEOUT_SCALE="0.1", timeout=30)
        assert done.status == 3 and "pacemaker02 answers SSH" in done.stderr and "within 6 s" in done.stderr
        assert live.answering() == ["pacemaker01", "pacemaker03"]
    finally:
        live.within(lambda: live.lab.node(2).remove())
        live.up()


def test_an_image_deleted_under_a_lab_is_told_and_down_still_works(new_lab, image, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    shutil.copytree(image.folder, cache / image.folder.name, symlinks=True, copy_function=os.link)
    lab = new_lab(nodes=2, cache=cache).up()
    shutil.rmtree(cache / image.folder.name)
    for command in (["up"], ["reset", "01"]):
        done = lab.halab(*command)
        assert done.status == 3 and str(cache) in done.stderr and "halab down" in done.stderr
    assert lab.halab("down").ok
    assert not lab.settings.folder.exists()


def test_a_disk_without_room_is_told_before_anything_starts(small_disk, new_lab):
    lab = new_lab(nodes=2, state=small_disk("1m"))
    done = lab.halab("up")
    assert done.status == 3 and "left on that disk" in done.stderr and "HALAB_STATE" in done.stderr
    assert list(lab.settings.state.iterdir()) == []


def test_a_disk_that_fills_while_nodes_start_is_told(small_disk, new_lab):
    state = small_disk("70m")
    lab = new_lab(nodes=2, state=state).up("--empty")
    with contextlib.suppress(OSError):
        (state / "other").write_bytes(bytes(shutil.disk_usage(state).total))
    with pytest.raises(LabError) as told:
        lab.within(lambda: lab.lab.up())
    assert "No space left" in str(told.value)
    assert "left on that disk" in lab.halab("up").stderr
    assert lab.halab("down").ok


def test_the_engine_lxc_alone_says_unknown_of_what_it_cannot_see(live):
    engine = Lxc(live.lab.host)
    engine.hypervisor = type("Nobody", (), {"pid": lambda self, name: 1 << 22})()
    assert engine.addresses(live.lab.nodes[0].identity) is None
