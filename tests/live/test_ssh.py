"""Engine ssh, on three nodes of another lab: for whoever is on their network, these are machines that exist already."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from halab.keys import Keys, public
from halab.report import Report
from tests.live.livelab import Live
from tests.live.test_journey import newest

POWER = Path(__file__).with_name("power.py")
#: A user who becomes root by sudo without a password, as a cloud's images have one. The package comes on stdin.
ADMIN = """set -e; cat > /tmp/sudo.deb; dpkg --install /tmp/sudo.deb
    useradd --create-home --shell /bin/bash admin; echo 'admin ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/admin
    cp -r /root/.ssh ~admin/; chown -R admin: ~admin/.ssh"""
Machines = list[dict[str, str]]


@pytest.fixture
def machines(live: Live) -> Machines:
    """The inventory, as it stands in halab.toml."""
    keys = Keys(live.settings.folder / "keys")
    return [
        {
            "address": str(node.address), "key": str(keys.user), "host_key": public(keys.host(node)).strip(),
            "power": f"{sys.executable} {POWER} {live.name} {node.name}",
        }
        for node in live.settings.identities
    ]  # fmt: skip


@pytest.fixture(scope="module")
def sudo(live: Live, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Debian's package of that name: no chapter needs it, and no lab's mirror has it."""
    tree = tmp_path_factory.mktemp("sudo") / "tree"
    mirror = [live.settings.mirror] if live.settings.mirror else []  # mmdebstrap(1) knows the default one
    unpack = ["mmdebstrap", "--mode=root", "--quiet", "--variant=extract", "--include=sudo", "--skip=essential/unlink,cleanup/apt"]
    subprocess.run([*unpack, live.settings.release, str(tree), *mirror], check=True)
    (package,) = (tree / "var/cache/apt/archives").glob("sudo_*.deb")
    return package.read_bytes()


@pytest.fixture
def inner(live: Live, machines: Machines) -> Iterator[Live]:
    """A lab of these machines, given from their network; no command was given yet."""
    host = live.lab.host.process
    assert host
    through = ("nsenter", f"--net=/proc/{host.children()[0].pid}/ns/net")
    lab = Live({"HALAB_NAME": f"{live.name}-i", "HALAB_ENGINE": "ssh", "HALAB_MACHINES": json.dumps(machines)}, through=through)
    yield lab
    assert lab.halab("down").ok


def refused(lab: Live, status: int, *words: str, **env: str) -> None:
    done = lab.halab("up", "--yes", **env)
    assert done.status == status and all(word in done.stderr for word in words), done.stderr


def test_nothing_is_done_to_machines_before_somebody_agrees(inner: Live, live: Live) -> None:
    for command in ("up", "run"):
        done = inner.halab(command)
        assert done.status == 2 and "--yes" in done.stderr and "pacemaker03 (192.168.100.12)" in done.stderr, done.stderr
    assert not any(live.within(lambda: live.lab.each(lambda node: node.run("test -e /etc/corosync").ok)).values())


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda m: m[1].update(address="192.168.100.77"), 3, ("pacemaker02 answers SSH", "halab status")),
        (lambda m: m[1].update(address=m[0]["address"]), 2, ("192.168.100.10 is there twice",)),
        (lambda m: m[2].update(host_key=m[0]["host_key"]), 3, ("pacemaker03 shows its own host key", "`host_key` of the machine")),
        (lambda m: m[0].update(key="/etc/passwd"), 2, ("/etc/passwd is a private key",)),
        (lambda m: m[0].update(key="/nowhere/id"), 2, ("/nowhere/id is a private key", "No such file", "`key` of the machine")),
        (lambda m: m[0].update(key="id_ed25519"), 2, ("absolute path",)),
        (lambda m: m[0].update(user="nobody"), 3, ("pacemaker01 lets nobody in", "Authentication", "`user` and `key` of the machine")),
        (lambda m: m.reverse(), 2, ("called pacemaker01", "hostnamectl")),
        (lambda m: m[0].update(colour="red"), 2, ("colour",)),
    ],
)
def test_a_machine_that_cannot_take_its_place_is_refused_by_name(
    inner: Live, machines: Machines, change: Callable[[Machines], None], status: int, words: tuple[str, ...]
) -> None:
    change(machines)
    refused(inner, status, *words, HALAB_MACHINES=json.dumps(machines))


def test_another_distribution_is_refused(inner: Live, live: Live) -> None:
    refused(inner, 2, "runs Debian 12", "debian 13", HALAB_RELEASE="bookworm")
    node = live.lab.node("pacemaker02")
    live.within(lambda: node.check_output("cp /etc/os-release /etc/os-release.before"))
    try:
        for change in ("s/trixie/plucky/", "s/^ID=debian/ID=raspbian/"):
            live.within(lambda change=change: node.check_output("sed %s /etc/os-release.before > /etc/os-release", change))
            refused(inner, 3, "pacemaker02 (192.168.100.11) runs Debian 13 or 12")
    finally:
        live.within(lambda: node.check_output("cp /etc/os-release.before /etc/os-release"))


def test_the_chapters_that_stand_on_machines_alone_pass_at_full_points(inner: Live, live: Live, machines: Machines, sudo: bytes) -> None:
    # An ordinary machine starts services as it installs them.
    live.within(lambda: live.lab.each(lambda node: node.check_output("rm -f /usr/sbin/policy-rc.d")))
    machines[1]["user"] = "admin"
    live.within(lambda: live.lab.node("pacemaker02").check_output(ADMIN, input=sudo))
    inner.env["HALAB_MACHINES"] = json.dumps(machines)
    assert (done := inner.halab("up", "--yes")).ok, done.stderr
    done = inner.halab("run", timeout=400)
    assert done.ok, done.stdout + done.stderr
    assert "left out" in done.stdout and "01-environment, 06-drills, 07-fencing" in done.stdout
    report = Report.load(newest(inner) / "report.json")
    assert [(c.name[:2], c.points == c.max_points > 0) for c in report.chapters] == [(name, True) for name in ("02", "03", "04", "05")]
    assert report.lab.engine == "ssh"
    for command in (("drill", "power-cut"), ("console", "pacemaker01")):  # a hypervisor's
        done = inner.halab(*command)
        assert done.status == 2 and "machines of an inventory" in done.stderr, done.stderr
    assert inner.halab("down").ok
    assert sorted(live.answering()) == [node.name for node in live.settings.identities]  # the machines stay as they are


def test_without_a_fence_agent_a_power_cut_is_a_restart_at_once_and_says_so(
    inner: Live, machines: Machines, capfd: pytest.CaptureFixture[str]
) -> None:
    for machine in machines:
        del machine["power"]
    inner.env["HALAB_MACHINES"] = json.dumps(machines)
    assert inner.halab("up", "--yes").ok
    node = inner.lab.node("pacemaker02")

    def cut() -> tuple[str, str]:
        born = "cut -d ' ' -f 22 /proc/1/stat"  # when process 1 began (proc(5))
        before = node.check_output(born)
        node.power_off()
        node.start()
        node.wait_for_ssh()
        return before, node.check_output(born)

    before, after = inner.within(cut)
    assert before != after
    assert "no fence agent" in capfd.readouterr().out
