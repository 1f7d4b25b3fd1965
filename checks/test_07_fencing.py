"""Chapter 07: who does not answer is powered off, for certain, before anything of it runs elsewhere."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

import pytest

from halab import corosync, fence_drill, fencing, pacemaker, stonith
from halab.expect import become, describe, on_every_node, require
from halab.fence_device import STRANGER, FenceDevice
from halab.fence_drill import Drill
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

#: Asks for a node's status with a key that nobody else has.
OTHER_KEY = "key=$(mktemp); head -c 4096 /dev/urandom > $key; fence_xvm -o status -H %s -k $key -t 3; code=$?; rm $key; exit $code"
#: The same with the right key, from another machine on the bridge: a card and an address of its own, in a network of its own
#: (ip-netns(8)), which must be there before the card: the node itself must not get the address.
NO_NODE = """ip netns del stranger 2> /dev/null; ip netns add stranger
ip link add stranger link eth0 netns stranger type macvlan mode bridge &&
nsenter --net=/run/netns/stranger sh -c 'ip addr add %s dev stranger; ip link set lo up; ip link set stranger up
ping -q -c 1 -W 2 %s > /dev/null && fence_xvm -o status -H %s -k %s -t 5'
code=$?; ip netns del stranger; exit $code"""
#: The drill is done to a cluster that is well, and has what it needs for it.
WELL = (
    "agreement", "all_ready", "no_cores", "no_failures", "no_orphans", "one_holder_each", "runs_with_the_address",
    "enabled", "status", "watched",
)  # fmt: skip
#: dc-deadtime by default (Pacemaker Explained, cluster options; under `startup-fencing`: "acts as a grace period").
GRACE = "20s"
#: What became of a request, by fence_xvm's exit status; 1: nobody answered it.
ANSWERS = {0: "answered", 3: "refused"}


@pytest.fixture(scope="module")
def drill(lab: Lab) -> Drill:
    """The holder of the address hung and was cut off from the others, once for all checks that ask what happened then."""
    with unhurried():
        return fence_drill.drill(lab)


# -- the device ---------------------------------------------------------------------------------------


@pytest.mark.check(
    points=1,
    partial=True,
    hint="`apt-get install fence-virt` on every node: the next one to fence may be any of them",
    more="`stonith_admin --list-installed` on that node must name fence_xvm",
    read="fence_xvm(8)",
)
def test_agent(lab: Lab) -> None:
    """The fence agent is installed on every node"""
    on_every_node(lab, lambda node: "fence_xvm" in stonith.agents(node) or "not installed", True,
                  expected="fence_xvm among the installed agents", show="stonith_admin --list-installed")  # fmt: skip


@pytest.mark.check(
    points=2,
    partial=True,
    needs=("agent",),
    hint="one key: on every node in /etc/cluster/fence_xvm.key, and with the device",
    more="`sha256sum /etc/cluster/fence_xvm.key` on all nodes, then `FenceDevice(lab).start(key)` with that same key",
    read="fence_xvm(8), fence_virt.conf(5)",
)
def test_key(lab: Lab) -> None:
    """The device answers every node, and shows it all nodes and nothing else"""
    want = sorted(node.name for node in lab)

    def listed(node: Node) -> list[str]:
        result = node.run("fence_xvm -o list -t 5 -k %s", stonith.key_file(pacemaker.cib(node)), timeout=20)
        if not result.ok:
            return (result.stdout + result.stderr).strip().splitlines()[:1] or [f"exit status {result.status}"]
        return sorted(line.split()[0] for line in result.stdout.splitlines() if line.strip())

    # fence_xvm gives up after 5 s, as when the monitor asks at that moment: the wait must have room for another look.
    on_every_node(lab, listed, want, within="daemon", expected=f"the machines {', '.join(want)}", show="fence_xvm -o list")


@pytest.mark.check(
    points=1,
    partial=True,
    needs=("agent",),
    hint="who has this file can switch off every node: root only",
    more="`chmod 600` and `chown root` it on that node",
    read="fence_virt.conf(5)",
)
def test_key_is_secret(lab: Lab) -> None:
    """Only root can read the key on the nodes"""

    def mode(node: Node) -> str:
        return node.run("stat -c '%%a %%U' %s", stonith.key_file(pacemaker.cib(node))).stdout.strip() or "no such file"

    on_every_node(lab, lambda node: mode(node) in ("400 root", "600 root") or mode(node), True, expected="mode 600, owner root",
                  show="ls -l /etc/cluster/fence_xvm.key")  # fmt: skip


@pytest.mark.check(
    points=3,
    hint="`crm configure primitive Fencing stonith:fence_xvm params pcmk_host_map=… op monitor interval=60s`",
    more="`stonith_admin --list NAME` must name a device for every node; one that was stopped does not count: `crm resource start Fencing`",
    read="pacemaker-fenced(7), pcmk_host_map",
)
def test_device(lab: Lab) -> None:
    """Every node knows a device that can fence each other node"""

    def without(node: Node) -> list[str]:
        return [other.name for other in lab if other.name != node.name and not stonith.able(node, other.name)]

    on_every_node(lab, without, [], expected="a device for each other node; without one: none", show="stonith_admin --list NAME")


@pytest.mark.check(
    points=1,
    needs=("device",),
    hint="`op monitor interval=60s`: a device that broke months ago is found out when it is needed",
    more="`crm configure edit Fencing`, and add the operation",
    read="Pacemaker Explained, fencing",
)
def test_watched(cib: Element) -> None:
    """Every device is watched"""
    unwatched = [name for name, device in stonith.devices(cib).items() if not device.watched]
    require(not unwatched, expected="a recurring monitor for every device", seen=unwatched, show="crm configure show type:primitive")


@pytest.mark.check(
    points=2,
    needs=("device", "key"),
    hint="pcmk_host_map says `NODE:MACHINE;NODE:MACHINE`: compare with `fence_xvm -o list`",
    more="`crm resource param Fencing set pcmk_host_map …`; a map that is wrong powers off a healthy node, and calls the sick one dead",
    read="pacemaker-fenced(7), pcmk_host_map",
)
def test_own_machine(lab: Lab, cib: Element) -> None:
    """What a device switches off for a node is that node's own machine"""
    known = stonith.devices(cib)

    def ports(node: Node) -> dict[str, str]:
        """What each device that some node would use against this one is told to switch."""
        able = {name for asker in lab for name in stonith.able(asker, node.name)}
        return {f"{name}, for {node.name}": known[name].port(node.name) for name in sorted(able & set(known))}

    wrong = {what: port for n in lab for what, port in ports(n).items() if port not in (n.name, n.identity.uuid)}
    require(
        not wrong, expected="each node's own machine, by its name or UUID", seen=wrong, show="crm configure show Fencing; fence_xvm -o list"
    )


@pytest.mark.check(
    points=2,
    partial=True,
    needs=("own_machine",),
    hint="the agent must reach the device from every node, with the parameters of the resource",
    more="`fence_xvm -o status -H NAME` on that node, with its key_file: does it say ON? What only the fencer still has: "
    "`stonith_admin --deregister DEVICE` there",
    read="fence_xvm(8)",
)
def test_status(lab: Lab) -> None:
    """From every node, the devices tell that every other node has power"""

    def told(node: Node, device: stonith.Device | None, other: str) -> str:
        return stonith.power(node, device, other) if device else "a device that is not configured would be asked"

    def wrong(node: Node) -> dict[str, str]:
        known = stonith.devices(pacemaker.cib(node))
        others = [other.name for other in lab if other.name != node.name]
        asked = [(name, other) for other in others for name in stonith.able(node, other)]
        return {f"{name} for {other}": said for name, other in asked if (said := told(node, known.get(name), other)) != "on"}

    on_every_node(lab, wrong, {}, within="daemon", expected="on, for each other node", show="fence_xvm -o status -H NAME")


@pytest.mark.check(
    points=2,
    needs=("device",),
    hint="`crm configure property stonith-enabled=true`",
    more="chapter 03 switched it off; now there is a device",
    read="Pacemaker Explained, cluster options",
)
def test_enabled(lab: Lab) -> None:
    """Fencing is on"""
    on_every_node(lab, lambda node: fencing.enabled(pacemaker.cib(node)) or "false", True, expected="stonith-enabled is true",
                  show="crm configure show type:property")  # fmt: skip


@pytest.mark.check(
    points=1,
    needs=("device",),
    hint="chapter 03's second for the first election is with fencing also the grace of a node that boots later than the others",
    more="`crm configure property dc-deadtime=20s`; `startup-fencing` must be true, or not there",
    read="Pacemaker Explained, cluster options",
)
def test_cold_start(lab: Lab) -> None:
    """When all nodes start, each has time to come before it is fenced, and who does not come is fenced"""

    def hasty(node: Node) -> dict[str, str]:
        given = pacemaker.nvpairs(pacemaker.cib(node), "crm_config")
        grace, unseen = given.get("dc-deadtime", GRACE), given.get("startup-fencing", "true")
        waits = corosync.cmap(node).get("quorum.wait_for_all") == "1"  # no quorum, and so no fencing, before all were there
        wrong = {} if waits or pacemaker.milliseconds(grace) >= pacemaker.milliseconds(GRACE) else {"dc-deadtime": grace}
        return wrong if pacemaker.truth(unseen) else {**wrong, "startup-fencing": unseen}

    on_every_node(lab, hasty, {}, expected=f"dc-deadtime of {GRACE} or more (or wait_for_all), startup-fencing not switched off",
                  show="crm configure show type:property")  # fmt: skip


# -- what the key is good for -------------------------------------------------------------------------


@pytest.fixture
def stranger(lab: Lab) -> Iterator[str]:
    """The name of a machine of this lab's libvirt that is no node."""
    lab.hypervisor.define(FenceDevice(lab).stranger)
    yield STRANGER
    lab.hypervisor.destroy(STRANGER)
    lab.hypervisor.undefine(STRANGER)


@pytest.mark.check(
    points=2,
    needs=("key",),
    hint="`groups` in the device's fence_virt.conf names the machines that its callers may fence; without it they may fence any",
    more="`FenceDevice(lab).config` is the right one; `FenceDevice(lab).stop()`, then `.start(key)` writes it again",
    read="fence_virt.conf(5), GROUPS",
)
def test_no_other_machine(lab: Lab, stranger: str) -> None:
    """A machine that is no node can be neither seen nor switched by a node"""
    node, key = lab.nodes[0], stonith.key_file(pacemaker.cib(lab.nodes[0]))

    def allowed() -> list[str]:
        codes = {
            what: node.run("fence_xvm -o %s -H %s -k %s -t 3", what, stranger, key).status for what in ("status", "off", "on", "reboot")
        }
        done = [what for what, code in codes.items() if code in (0, 2)]  # done, or for status: off (fence_xvm(8))
        return done + ["list"] * (stranger in node.run("fence_xvm -o list -k %s -t 3", key).stdout)

    own = "fence_xvm -o status -H %s -k %s -t 5"  # two that ask at one time are in each other's way
    become(lambda: node.run(own, node.name, key).ok or "refused", lambda seen: seen is True, within="daemon",
           expected=f"{node.name} may ask for its own status", show=f"fence_xvm -o status -H {node.name}")  # fmt: skip
    seen = allowed()
    state = lab.hypervisor.state(stranger)
    require(not seen and state == "shut off", expected="each refused: status, off, on, reboot, list",
            seen=f"allowed: {describe(seen)}; the machine is {state}", show="fence_xvm -o off -H NAME")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("key",),
    hint="the device must ask for the key: `key_file`, and neither `auth` nor `hash` none, in fence_virt.conf",
    more="`groups` must name the nodes' addresses as `ip`; `FenceDevice(lab).start(key)` writes all of it again",
    read="fence_virt.conf(5), GROUPS",
)
def test_no_other_caller(lab: Lab) -> None:
    """A node with a wrong key is refused, and so is a machine with the right key that is no node"""
    node, key = lab.nodes[-1], stonith.key_file(pacemaker.cib(lab.nodes[-1]))
    address = f"{lab.settings.subnet[-2]}/{lab.settings.subnet.prefixlen}"

    def asked() -> dict[str, str]:
        codes = {
            "a node with the key": node.run("fence_xvm -o status -H %s -k %s -t 5", node.name, key).status,
            "a node with another key": node.run(OTHER_KEY, node.name).status,
            "no node, with the key": node.run(NO_NODE, address, lab.settings.host_address, node.name, key).status,
        }
        return {who: ANSWERS.get(code, "no answer") for who, code in codes.items()}

    want = {"a node with the key": "answered", "a node with another key": "no answer", "no node, with the key": "refused"}
    become(asked, lambda seen: seen == want, within="daemon", expected=describe(want), show="fence_xvm -o status -H NAME -k KEY")


@pytest.mark.check(
    points=1,
    needs=("key",),
    hint="who takes orders from the network should be able to do as little as possible",
    more="`FenceDevice(lab).stop()`, then `.start(key)`: a daemon that was started by hand is none of ours",
    read="halab.gate; setpriv(1)",
)
def test_power_only(lab: Lab, stranger: str) -> None:
    """The device's daemon is no root, and libvirt lets it look, power off and power on, nothing else"""
    may = ("look at a node", "start another machine", "define a machine", "run a shell in a node")
    want = {"it is root": False, **dict.fromkeys(may, False), "look at a node": True}
    seen = FenceDevice(lab).powers()
    require(seen == want, expected=describe(want), seen=seen, show="ps -o user,args -C fence_virtd; virsh -c URI …, as that user")


# -- a live drill -------------------------------------------------------------------------------------


@pytest.mark.check(
    points=3,
    needs=WELL,
    hint="`stonith_admin --history '*' --verbose`, and `virsh list` before and after: did the machine really go off?",
    more="a history without a restart: the agent says yes and does nothing; `crm configure show type:primitive` names it",
    read="Pacemaker Explained, fencing",
)
def test_fences(drill: Drill) -> None:
    """The holder hung and was cut off: the history says that it was fenced, and its machine did restart"""
    said = [e for e in drill.events if e.target == drill.victim and e.status == "success"]
    seen = {"in the history": bool(said), "seen from outside": drill.victim in drill.restarted}
    require(all(seen.values()), expected=f"{drill.victim} fenced, in the history and seen from outside", seen=seen,
            show="stonith_admin --history '*' --verbose; virsh list --all")  # fmt: skip


@pytest.mark.check(
    points=3,
    needs=("fences",),
    hint="what starts the address elsewhere before the node is off? `crm configure show type:property`",
    more="`on-fail` and `requires` change what waits for fencing; their defaults are right",
    read="Pacemaker Explained, requires",
)
def test_fenced_first(drill: Drill) -> None:
    """Its machine was off before another node held the address"""
    off, on = drill.restarted[drill.victim], drill.moved
    seen = "never held elsewhere" if on is None else "held elsewhere while it still ran" if on < off else ""
    require(not seen, expected="off first, then held elsewhere", seen=seen, show="stonith_admin --history '*' --verbose; crm_mon -1")


@pytest.mark.check(
    points=3,
    needs=WELL,
    hint="two holders while the history is content: an agent that lies",
    more="`crm configure show type:primitive` names the agents of the devices",
    read="Pacemaker Explained, fencing",
)
def test_never_two(drill: Drill) -> None:
    """At no moment of it did two nodes hold the address"""
    seen = sorted({name for double in drill.doubles for name in double.nodes})
    require(
        not drill.doubles,
        expected="one holder, or none, in every look",
        seen=f"held at once by {describe(seen)}",
        show="ip -4 addr, on every node",
    )


@pytest.mark.check(
    points=2,
    needs=WELL,
    hint="without quorum a node outside the own partition is not fenced, unless `no-quorum-policy` says otherwise",
    more="`crm configure property no-quorum-policy=stop`; a second node that restarted was fenced by the one that was cut off",
    read="Pacemaker Explained, no-quorum-policy",
)
def test_minority_fences_nobody(drill: Drill) -> None:
    """The side without quorum fenced nobody"""
    seen = sorted({*drill.restarted, *(e.target for e in drill.events)} - {drill.victim})
    by = sorted({e.origin for e in drill.events if e.origin == drill.victim})
    require(not seen and not by, expected=f"only {drill.victim} fenced, and not by itself",
            seen=f"fenced as well: {describe(seen)}; asked for by the side without quorum: {describe(by)}",
            show="stonith_admin --history '*' --verbose")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("fences",),
    hint="corosync must not start at boot before the others have missed the node: token and consensus, and some more",
    more="a unit with `Before=corosync.service` that sleeps, enabled on every node; corosync and pacemaker enabled too",
    read="systemd.unit(5); sbd(8), SBD_DELAY_START",
)
def test_returns(lab: Lab, drill: Drill) -> None:
    """The fenced node came back by itself, and not before the others had time to miss it"""
    token, consensus = corosync.timeouts(corosync.cmap(lab.nodes[0]))
    wait = (token + consensus) / 1000
    early = drill.late is not None and drill.late <= wait
    seen = drill.missing or (
        "corosync ran sooner after the machine did" if early else "corosync did not run again" if drill.late is None else ""
    )
    require(not seen, expected=f"all nodes ready again, corosync on {drill.victim} no sooner than token and consensus after its start",
            seen=seen, show="systemctl is-enabled corosync pacemaker corosync-delay")  # fmt: skip
