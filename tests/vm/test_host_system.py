"""`host = "system"`: machines of a machine's own libvirtd, on its own network.

That machine is the host of another lab here, which has a libvirtd, a virtual machine of somebody's, and no node.
"""

import json
from collections.abc import Iterator

import psutil
import pytest

from halab.report import Report
from halab.wait import eventually
from tests.live.livelab import REPOSITORY, Live, labs
from tests.live.test_journey import newest

#: Seconds after which a step of these tests counts as hanging, on the busiest machine.
PATIENCE = 3600
Facts = tuple[list[str], set[str], str, str]
SOMEBODYS = """<domain type='qemu'><name>somebodys</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64'>hvm</type></os></domain>"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Live]:
    with labs() as make:
        one = make(engine="vm", accel="tcg")
        assert (done := one.halab("up", "--empty", timeout=PATIENCE)).ok, done.stderr
        one.lab.host.check_output("virsh define /dev/stdin", input=SOMEBODYS.encode())
        one.lab.host.check_output("sysctl -q -w net.ipv4.ip_forward=1")
        eventually(lambda: one.lab.host.run("ss -Hltn 'sport = :80'").stdout, within="daemon", what="its packages are served")
        yield one


@pytest.fixture(scope="module")
def live(machine: Live) -> Iterator[Live]:
    given = {"HALAB_NAME": f"{machine.name}-in", "HALAB_HOST": "system", "HALAB_ENGINE": "vm", "HALAB_ACCEL": "tcg"}
    one = Live(given, through=(*machine.lab.host.door(), *there(given)))
    try:
        yield one
    finally:
        one.close()


def there(given: dict[str, str]) -> tuple[str, ...]:
    """As who comes there with these settings, and none of the other lab's."""
    others = ("--unset=HALAB_INSIDE", "--unset=HALAB_TIMEOUT_SCALE")
    return ("env", *others, "-C", str(REPOSITORY), *(f"{key}={value}" for key, value in given.items()))


def facts(machine: Live) -> Facts:
    """What is there of the lab's: libvirt's machines, interfaces, forwarding, tables of rules."""
    ask = machine.lab.host.check_output
    links = {link["ifname"] for link in json.loads(ask("ip -j link"))}
    return sorted(ask("virsh list --all --name").split()), links, ask("sysctl -n net.ipv4.ip_forward").strip(), ask("nft list tables")


def test_what_is_in_the_way_is_told_and_nothing_is_made(machine: Live, live: Live) -> None:
    before = facts(machine)
    refused = live.halab("up", timeout=PATIENCE)
    assert refused.status == 2 and "port 80 of 192.168.100.1 is free" in refused.stderr
    assert facts(machine) == before and not live.settings.folder.exists()
    children = machine.lab.host.process.children(recursive=True)
    (packages,) = [process for process in children if "halab.packages" in process.cmdline()]
    packages.kill()
    psutil.wait_procs([packages], PATIENCE)


@pytest.fixture(scope="module")
def before(machine: Live, live: Live) -> Facts:
    """What was there before the nodes."""
    return facts(machine)


def test_the_nodes_are_machines_of_its_libvirtd(machine: Live, live: Live, before: Facts) -> None:
    assert (done := live.halab("up", timeout=PATIENCE)).ok, done.stderr
    names, links, _, tables = facts(machine)
    assert (
        names == ["pacemaker01", "pacemaker02", "pacemaker03", "somebodys"] and {"ubuntu_br", "pacemaker01"} <= links and "halab" in tables
    )
    assert (done := live.halab("ssh", "pacemaker02", "apt-get update && getent hosts pacemaker01", timeout=PATIENCE)).ok, done

    machine.lab.host.check_output("kill -KILL %s", json.loads((live.settings.folder / "process.json").read_text())["pid"])
    assert facts(machine)[0] == names  # they are the machine's
    assert (done := live.halab("up", timeout=PATIENCE)).ok, done.stderr
    seen = json.loads(live.halab("status", "--json", timeout=PATIENCE).stdout)
    assert [(node["state"], node["ssh"]) for node in seen["nodes"]] == [("running", True)] * 3


def test_the_chapters_for_it_pass_at_full_points(live: Live) -> None:
    done = live.halab("run", timeout=PATIENCE)
    assert done.ok, done.stdout + done.stderr
    report = Report.load(newest(live) / "report.json")
    assert [(c.name[:2], c.points == c.max_points > 0) for c in report.chapters] == [(name, True) for name in ("02", "03", "04", "05")]


def test_down_leaves_nothing_of_them(machine: Live, live: Live, before: Facts) -> None:
    elsewhere = Live({"HALAB_NAME": live.name}, through=(*machine.lab.host.door(), *there({"HALAB_NAME": live.name})))
    refused = elsewhere.halab("up", timeout=PATIENCE)  # in a shell that knows nothing of it
    assert refused.status == 2 and "started with" in refused.stderr
    assert (done := elsewhere.halab("down", timeout=PATIENCE)).ok, done.stderr
    assert facts(machine) == before and not live.settings.folder.exists()
