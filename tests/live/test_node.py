"""A node: commands, files, keys, the console, its power; as a notebook uses it."""

import time

import pytest

from halab.command import Result
from halab.errors import DeadlinePassed, HostKeyRefused, Unreachable
from halab.wait import eventually

pytestmark = pytest.mark.inside
EIGHT_MB = 8_000_000


def test_a_command_gives_its_exit_status_and_both_streams(live):
    result = live.lab.node(1).run("echo out; echo err >&2; exit 7")
    assert (result.status, result.stdout, result.stderr) == (7, "out\n", "err\n")


def test_arguments_arrive_as_they_are(live):
    strange = "a b'c\"$HOME;*\n%s"
    assert live.lab.node(1).check_output("printf %%s %s", strange) == strange


def test_the_status_of_a_killed_command_is_128_and_the_signal(live):
    assert live.lab.node(1).run("kill -9 $$").status == 137


def test_eight_megabytes_on_both_streams_arrive_whole(live):
    command = f"head -c {EIGHT_MB} /dev/zero | tr '\\0' o & head -c {EIGHT_MB} /dev/zero | tr '\\0' e >&2; wait"
    result = live.lab.node(1).run(command)
    assert (result.status, result.stdout, result.stderr) == (0, "o" * EIGHT_MB, "e" * EIGHT_MB)


def test_input_reaches_the_command_whole(live):
    data = bytes(range(256)) * 20_000
    assert live.lab.node(1).check_output("wc -c; ", input=data).strip() == str(len(data))


def test_a_command_that_trickles_output_ends_at_its_deadline_and_is_gone_on_the_node(live):
    node, begin = live.lab.node(1), time.monotonic()
    with pytest.raises(DeadlinePassed):
        node.run("while true; do echo trickle; sleep 0.1; done; : mark-trickle", timeout=2)
    assert time.monotonic() - begin < 4
    eventually(lambda: node.run("pgrep -f [m]ark-trickle").status == 1, within=2, what="the command is gone")


def test_a_command_that_ignores_the_polite_signal_ends_too(live):
    node, begin = live.lab.node(1), time.monotonic()
    with pytest.raises(DeadlinePassed):
        node.run("trap '' TERM; while true; do sleep 0.1; done; : mark-deaf", timeout=1)
    assert time.monotonic() - begin < 3
    eventually(lambda: node.run("pgrep -f [m]ark-deaf").status == 1, within=3, what="the command is gone")


def test_a_file_is_put_whole_with_its_mode_and_read_back(live):
    node, data = live.lab.node(1), bytes(range(256)) * 10_000
    node.put(data, "/root/file", 0o640)
    assert node.get("/root/file") == data
    assert node.check_output("stat -c '%a %U' /root/file; ls /root") == "640 root\nfile\n"
    node.put("replaced ✔", "/root/file")
    assert node.get("/root/file").decode() == "replaced ✔"
    assert node.check_output("stat -c %a /root/file; rm /root/file") == "644\n"


def test_reading_a_file_that_is_not_there_says_so(live):
    with pytest.raises(FileNotFoundError):
        live.lab.node(1).get("/root/no such file")


def test_root_of_a_node_is_nobody_on_the_machine(live):
    node = live.lab.node(1)
    before = node.check_output("cat /proc/sys/kernel/core_pattern")
    assert not node.run("mount -o remount,rw /proc/sys; echo '|/bin/sh' > /proc/sys/kernel/core_pattern").ok
    assert node.check_output("cat /proc/sys/kernel/core_pattern") == before


def test_a_node_that_is_off_is_unreachable_soon(live):
    node = live.lab.node(2)
    assert node.answers
    live.lab.hypervisor.destroy(node.name)  # as a fence agent does: this connection is not told
    begin = time.monotonic()
    try:
        with pytest.raises(Unreachable):
            node.run("true")
        assert time.monotonic() - begin < 12
        with pytest.raises(Unreachable, match="pacemaker02"):
            node.put("text", "/root/file")
    finally:
        node.start()
        node.wait_for_ssh()


def test_a_command_is_told_when_its_node_loses_power(live):
    node = live.lab.node(2)
    begin = time.monotonic()
    try:
        with pytest.raises(Unreachable):
            live.lab.host.run("(sleep 1; virsh destroy %s) >/dev/null 2>&1 &", node.name)
            node.run("sleep 50")
        assert time.monotonic() - begin < 20
    finally:
        node.start()
        node.wait_for_ssh()


def test_the_first_command_after_a_power_cycle_works(live):
    node = live.lab.node(2)
    assert node.answers
    live.lab.hypervisor.destroy(node.name)
    node.start()
    other = live.lab.__class__(live.lab.settings).node(2)  # waits with a connection of its own
    other.wait_for_ssh()
    assert node.check_output("hostname") == "pacemaker02\n"


def test_a_frozen_node_keeps_nobody_beyond_the_deadline(live):
    node = live.lab.node(2)
    assert node.answers
    node.suspend()
    begin = time.monotonic()
    try:
        assert node.state == "paused"
        with pytest.raises((Unreachable, DeadlinePassed)):
            node.run("true", timeout=3)
        assert time.monotonic() - begin < 10
    finally:
        node.resume()
    eventually(lambda: node.answers, within="daemon", what="the node answers again")


def test_a_wrong_host_key_is_refused(live):
    node = live.lab.node(3)
    old = node.get("/etc/ssh/ssh_host_ed25519_key")
    new = "rm /etc/ssh/ssh_host_ed25519_key*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key"
    node.check_output(f"{new}; systemctl restart ssh")
    try:
        stranger = live.lab.__class__(live.lab.settings).node(3)
        with pytest.raises(HostKeyRefused) as refused:
            stranger.run("true")
        assert refused.value.exit_code == 3 and "pacemaker03" in str(refused.value) and refused.value.fix
        with pytest.raises(HostKeyRefused):
            stranger.answers  # noqa: B018
    finally:
        node.put(old, "/etc/ssh/ssh_host_ed25519_key", 0o600)
        node.check_output("rm -f /etc/ssh/ssh_host_ed25519_key.pub; systemctl restart ssh")


def test_a_reboot_from_within_comes_back_and_the_console_too(live):
    node = live.lab.node(1)
    node.check_output("touch /root/kept /run/lost")
    node.run("systemctl reboot")
    eventually(lambda: node.run("test -e /run/lost").status == 1, within="boot", what="the node is back", retry=(Unreachable,))
    assert node.run("test -e /root/kept").ok
    with node.console() as console:
        assert console.check_output("hostname") == "pacemaker01\n"


def test_a_disk_made_anew_under_a_running_node_is_the_one_it_runs_on(live):
    node = live.lab.node(3)
    node.check_output("touch /root/old")
    node.make_disk(configured=True)
    node.define()
    node.start()
    node.wait_for_ssh()
    assert not node.run("test -e /root/old").ok
    node.check_output("touch /root/new")
    assert "/root/new" in node.own_files


def test_the_console_works_without_a_network_and_gives_output_and_status(live):
    node = live.lab.node(3)
    node.remove()
    try:
        node.make_disk(configured=False)
        node.define()
        node.start()
        with node.console() as console:
            assert "192.168" not in console.check_output("ip -4 addr show dev eth0")
            result = console.run("echo %s; false", "it's")
            assert (result.status, result.stdout) == (1, "it's\n")
            assert console.run("seq 3000").stdout.split() == [str(n) for n in range(1, 3001)]
            with pytest.raises(DeadlinePassed):
                console.run("sleep 30", timeout=1)
            assert console.check_output("echo still") == "still\n"
        assert not node.answers
    finally:
        node.remove()
        live.lab.up()


def test_the_console_of_a_node_that_is_off_says_so(live):
    node = live.lab.node(2)
    node.power_off()
    try:
        with pytest.raises(Unreachable, match="pacemaker02"), node.console():
            pass
    finally:
        node.start()
        node.wait_for_ssh()


def test_a_silent_console_is_given_up(live, monkeypatch):
    node = live.lab.node(2)
    monkeypatch.setenv("HALAB_TIMEOUT_SCALE", "0.1")
    node.suspend()
    begin = time.monotonic()
    try:
        with pytest.raises(Unreachable, match="pacemaker02"), node.console():
            pass
        assert time.monotonic() - begin < 20
    finally:
        node.resume()


def test_many_commands_at_once_share_one_connection(live):
    results: dict[str, Result] = live.lab.each(lambda node: node.run("seq 1000 | md5sum"))
    assert len({r.stdout for r in results.values()}) == 1


def test_no_two_nodes_share_a_tree_of_services(live):
    """libvirt makes no group in systemd's v1 hierarchy; a shared one let a node prune another's services."""
    look = "cat /proc/%s/cgroup"
    groups = [live.lab.host.check_output(look, live.lab.hypervisor.pid(node.name)) for node in live.lab]
    mine = [{line.split(":", 2)[2] for line in text.splitlines() if "name=systemd" in line or line.startswith("0::/m")} for text in groups]
    assert all(mine)
    assert not set.intersection(*mine)
