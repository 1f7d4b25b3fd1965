"""Chapter 07: mistakes with fencing. Each of its drills really powers a node off, when the cluster does."""

from collections.abc import Iterator
from contextlib import contextmanager

from halab import fence_device, fencing, stonith
from halab.fence_device import CONF, KEY, FenceDevice
from halab.lab import Lab
from halab.node import Node
from halab.wait import eventually
from tests.mutants import everywhere, holder, mutant, road
from tests.mutants.corosync import reloaded
from tests.mutants.pacemaker import configured

STAGE = "07"
#: What the drill is asked; all of it is skipped when what it needs is not there.
DRILL = "07/fences 07/fenced_first 07/never_two 07/minority_fences_nobody 07/returns"
AFTER_FENCES = "07/fenced_first 07/returns"
AFTER_MACHINE = f"07/status {DRILL}"
AFTER_KEY = f"07/own_machine 07/no_other_machine 07/no_other_caller 07/power_only {AFTER_MACHINE}"
AFTER_DEVICE = f"07/watched 07/own_machine 07/enabled 07/cold_start {AFTER_MACHINE}"
#: Two fence agents that say yes to everything (Fence Agent API): one does nothing, one does it later.
LIAR = """#!/bin/sh
test "$1" = -o || asked=$(cat)
case $1$asked in -o*|*action=metadata*) cat <<END
<resource-agent name="fence_liar" shortdesc="yes"><parameters/>
<actions><action name="off"/><action name="reboot"/><action name="status"/><action name="monitor"/><action name="metadata"/></actions>
</resource-agent>
END
esac
"""
HASTY = (
    LIAR
    + """node=$(echo "$asked" | sed -n 's/^nodename=//p')
case $asked in *action=off*|*action=reboot*)
    systemd-run -q --timer-property=AccuracySec=100ms --on-active=6 fence_xvm -o reboot -H $node
esac
exit 0
"""
)
DELETE = "cibadmin --delete-all --force --xpath \"//primitive[@id='Fencing']\""


def forgotten(lab: Lab, device: str) -> None:
    """No fencer has the device any more: one keeps what its executor started and never told it to stop (stonith_admin(8))."""
    everywhere(lab, "stonith_admin --deregister %s || true", device)


def bystander(lab: Lab) -> Node:
    """A node that holds nothing, and on which the device's monitor does not run."""
    busy = (holder(lab).name, lab.where(fencing.NAME))
    return next(node for node in reversed(lab.nodes) if node.name not in busy)


@contextmanager
def daemon_changed(lab: Lab, change: str) -> Iterator[None]:
    """The device's daemon runs with a configuration edited by sed(1); afterwards it is as `halab` starts it."""
    device = FenceDevice(lab)
    text = device.config
    with _config(lab, lab.host.check_output("sed -E %s", change, input=text.encode())):
        device.stop()
        device.start()
        yield
    device.stop()
    device.start()


@contextmanager
def _config(lab: Lab, text: str) -> Iterator[None]:
    """What FenceDevice writes as its configuration, for a while."""
    before = FenceDevice.config
    FenceDevice.config = text  # type: ignore[assignment]
    try:
        yield
    finally:
        FenceDevice.config = before  # type: ignore[method-assign]


@mutant("07/enabled", DRILL)
def fencing_off(lab: Lab) -> Iterator[None]:
    """A device is there, and the stopgap of chapter 03 as well."""
    with configured(lab, "crm_attribute --type crm_config --name stonith-enabled --update false"):
        yield


@mutant("07/cold_start")
def a_second_for_who_boots_late(lab: Lab) -> Iterator[None]:
    """Chapter 03's short first election was left in place: who boots a second later than the others is fenced."""
    with configured(lab, "crm configure property dc-deadtime=1s"):
        yield


@mutant("07/cold_start")
def startup_fencing_off(lab: Lab) -> Iterator[None]:
    """Nodes that nobody has seen since the start are taken for off, and not fenced."""
    with configured(lab, "crm configure property startup-fencing=false"):
        yield


@mutant("07/device", AFTER_DEVICE)
def no_device(lab: Lab) -> Iterator[None]:
    """Fencing is on, and the device was deleted."""
    with configured(lab, DELETE):
        yield


@mutant("07/device", AFTER_DEVICE)
def a_device_that_was_stopped(lab: Lab) -> Iterator[None]:
    """The device was stopped for a try, and forgotten."""
    with configured(lab, "crm_resource --meta --resource Fencing --set-parameter target-role --parameter-value Stopped"):
        yield


@mutant("07/device", AFTER_DEVICE)
def a_map_that_ends_too_early(lab: Lab) -> Iterator[None]:
    """The host map has two of three nodes: the third one came later."""
    short = ";".join(f"{node.name}:{node.name}" for node in lab.nodes[:-1])
    with configured(lab, f"crm_resource --resource Fencing --set-parameter pcmk_host_map --parameter-value '{short}'"):
        yield


@mutant("07/own_machine", AFTER_MACHINE)
def a_map_with_two_machines_exchanged(lab: Lab) -> Iterator[None]:
    """The host map says pacemaker02's machine for pacemaker03: the sick one lives, the healthy one dies."""
    names = [node.name for node in lab]
    pairs = zip(names, [names[0], *reversed(names[1:])], strict=True)
    wrong = ";".join(f"{node}:{machine}" for node, machine in pairs)
    with configured(lab, f"crm_resource --resource Fencing --set-parameter pcmk_host_map --parameter-value '{wrong}'"):
        yield


@mutant("07/watched", DRILL)
def nobody_watches_the_device(lab: Lab) -> Iterator[None]:
    """The device has no monitor: that it broke is found out when it is needed."""
    blind = f"crm --force configure primitive Fencing stonith:fence_xvm params pcmk_host_map='{fencing.host_map(lab)}'"
    with configured(lab, DELETE, blind):
        yield


@mutant("07/status", DRILL)
def a_key_file_that_only_one_node_has(lab: Lab) -> Iterator[None]:
    """A second device has a key file of its own, and the file was copied to no other node."""
    node = lab.node(lab.where(fencing.NAME) or "")
    node.check_output("cp %s /etc/cluster/second.key", stonith.KEY)
    params = f"key_file=/etc/cluster/second.key pcmk_host_map='{fencing.host_map(lab)}'"
    second = f"crm --force configure primitive Second stonith:fence_xvm params {params} op monitor interval=60s"
    with configured(
        lab, f"{second} meta target-role=Stopped", f"crm configure location there Second inf: {node.name}", "crm resource start Second"
    ):
        yield
    node.check_output("rm /etc/cluster/second.key")


@mutant("07/status", DRILL)
def a_device_of_the_past(lab: Lab) -> Iterator[None]:
    """A device was deleted and cleaned up in one breath: one node's fencer never heard that it was stopped, and would still ask it."""
    node = bystander(lab)
    node.put(LIAR + "exit 0\n", "/usr/sbin/fence_liar", 0o755)
    names = ",".join(one.name for one in lab)
    node.check_output("stonith_admin --register Past --agent fence_liar --option pcmk_host_list=%s", names)
    yield
    forgotten(lab, "Past")
    node.check_output("rm /usr/sbin/fence_liar")


@mutant("07/agent", f"07/key 07/key_is_secret {AFTER_KEY}")
def an_agent_on_two_nodes(lab: Lab) -> Iterator[None]:
    """fence-virt is not installed on one node: it can't fence anybody."""
    node = bystander(lab)
    node.check_output("mv /usr/sbin/fence_xvm /root")
    yield
    node.check_output("mv /root/fence_xvm /usr/sbin")


@mutant("07/key", AFTER_KEY)
def an_old_key_on_a_node(lab: Lab) -> Iterator[None]:
    """The key was made anew, and one node has still the old one."""
    node = bystander(lab)
    key = node.get(stonith.KEY)
    node.put(bytes(reversed(key)), stonith.KEY, 0o600)
    yield
    node.put(key, stonith.KEY, 0o600)


@mutant("07/key_is_secret")
def a_key_that_all_users_can_read(lab: Lab) -> Iterator[None]:
    """The key was copied with mode 644: any user of that node can power off all others."""
    node = bystander(lab)
    node.check_output("chmod 644 %s", stonith.KEY)
    yield
    node.check_output("chmod 600 %s", stonith.KEY)


@mutant("07/no_other_machine 07/no_other_caller")
def a_device_without_groups(lab: Lab) -> Iterator[None]:
    """fence_virt.conf has no groups: whoever has the key may fence every machine of the host."""
    with daemon_changed(lab, "/^groups/,$ d"):
        yield


@mutant("07/no_other_machine")
def a_group_with_another_machine(lab: Lab) -> Iterator[None]:
    """A machine that is no node got into the nodes' group."""
    with daemon_changed(lab, 's/^( *)name = .*/&\\n\\1uuid = "stranger";/'):
        yield


@mutant("07/no_other_caller")
def a_group_with_another_caller(lab: Lab) -> Iterator[None]:
    """The group lets a machine ask that is no node."""
    with daemon_changed(lab, f's/^( *)name = .*/&\\n\\1ip = "{lab.settings.subnet[-2]}";/'):
        yield


@mutant("07/power_only")
def a_daemon_that_is_root(lab: Lab) -> Iterator[None]:
    """fence_virtd was started by root's hand, straight at libvirt."""
    device = FenceDevice(lab)
    device.stop()
    lab.host.check_output("sed -i 's#^.*uri = .*#uri = \"%s\";#' %s && chown 0:0 %s %s" % (lab.engine.uri, CONF, CONF, KEY))
    device._spawn("fence_virtd", "/usr/sbin/fence_virtd", "-F", "-f", CONF, "-p", "/dev/null")
    eventually(device._listens, within="daemon")
    yield
    device.stop()
    lab.host.check_output("chown %s:%s %s" % (fence_device.USER, fence_device.USER, KEY))
    device.start()


@mutant("07/fences 07/never_two", AFTER_FENCES)
def an_agent_that_lies(lab: Lab) -> Iterator[None]:
    """The device is one that says yes and does nothing; the history is content."""
    lab.each(lambda node: node.put(LIAR + "exit 0\n", "/usr/sbin/fence_liar", 0o755))
    names = ",".join(node.name for node in lab)
    liar = f"crm --force configure primitive Liar stonith:fence_liar params pcmk_host_list={names} op monitor interval=60s"
    with configured(lab, DELETE, liar):
        yield
    forgotten(lab, "Liar")
    everywhere(lab, "rm /usr/sbin/fence_liar")


@mutant("07/fenced_first 07/never_two")
def an_agent_that_does_not_wait(lab: Lab) -> Iterator[None]:
    """The agent says yes as soon as it has asked, and the machine goes off some seconds later."""
    lab.each(lambda node: node.put(HASTY, "/usr/sbin/fence_hasty", 0o755))
    names = ",".join(node.name for node in lab)
    hasty = f"crm --force configure primitive Hasty stonith:fence_hasty params pcmk_host_list={names} op monitor interval=60s"
    with configured(lab, DELETE, hasty):
        yield
    forgotten(lab, "Hasty")
    everywhere(lab, "rm /usr/sbin/fence_hasty")


@mutant("07/fences 07/minority_fences_nobody", AFTER_FENCES)
def a_minority_that_shoots(lab: Lab) -> Iterator[None]:
    """no-quorum-policy=ignore, and the holder has a head start: cut off and alone, it fences the majority."""
    late = f"crm_resource --resource Fencing --set-parameter pcmk_delay_base --parameter-value '{holder(lab).name}:55s'"
    with configured(lab, "crm configure property no-quorum-policy=ignore", late):
        yield


@mutant("07/returns")
def no_delay_at_boot(lab: Lab) -> Iterator[None]:
    """Corosync starts as soon as the machine does: the node is back before anybody missed it."""
    everywhere(lab, "systemctl -q disable %s", fencing.DELAY_UNIT)
    yield
    everywhere(lab, "systemctl -q enable %s", fencing.DELAY_UNIT)


@mutant("07/returns")
def pacemaker_that_stays_down(lab: Lab) -> Iterator[None]:
    """pacemaker is not enabled: who was fenced stays away until somebody comes."""
    everywhere(lab, "systemctl -q disable pacemaker")
    yield
    everywhere(lab, "systemctl -q enable pacemaker")


@mutant(
    fails="07/agreement 07/all_ready 07/no_failures 07/no_orphans 07/key 07/key_is_secret 07/device",
    skips=f"07/watched 07/enabled 07/cold_start {AFTER_KEY}",
)
def pacemaker_stopped_on_a_fenced_node(lab: Lab) -> Iterator[None]:
    """pacemaker was stopped, in order, on a node: nobody fences that."""
    node = bystander(lab)
    node.check_output("systemctl stop pacemaker")
    yield
    node.check_output("systemctl start pacemaker")


@mutant("07/one_holder_each 07/runs_with_the_address", DRILL)
def an_address_by_hand_with_fencing(lab: Lab) -> Iterator[None]:
    """A second node was given the address by hand: no fencing helps against that."""
    node, place = bystander(lab), f"{lab.virtual_ip}/{lab.settings.subnet.prefixlen}"
    node.check_output("ip addr add %s dev eth0", place)
    yield
    node.check_output("ip addr del %s dev eth0", place)


@mutant("07/no_cores", DRILL)
def a_core_with_fencing(lab: Lab) -> Iterator[None]:
    """A daemon crashed and was started again; only its core tells."""
    node, core = bystander(lab), "/var/lib/pacemaker/cores/core.4711"
    node.put("", core)
    yield
    node.check_output("rm %s", core)


@road
def a_device_for_each_node(lab: Lab) -> Iterator[None]:
    """One device a node, each kept away from its own node, with the machine as the agent's parameter."""
    commands = [DELETE]
    for node in lab:
        one = f"Fence-{node.name}"
        params = f"port={node.name} pcmk_host_list={node.name}"
        commands += [f"crm --force configure primitive {one} stonith:fence_xvm params {params} op monitor interval=60s"]
        commands += [f"crm configure location {one}-elsewhere {one} -inf: {node.name}"]
    with configured(lab, *commands):
        yield


@road
def a_first_start_that_waits_for_all(lab: Lab) -> Iterator[None]:
    """corosync gives no quorum before all nodes were there: then the first election may be short."""
    with reloaded(lab, "s/provider:.*/&\\n  wait_for_all: 1/"), configured(lab, "crm configure property dc-deadtime=1s"):
        yield


@road
def a_delay_by_a_drop_in(lab: Lab) -> Iterator[None]:
    """Corosync's own unit waits, by a drop-in."""
    seconds = lab.nodes[0].check_output("grep -o '[0-9]*$' %s", fencing.DELAY_FILE).split()[0]
    folder = "/etc/systemd/system/corosync.service.d"
    everywhere(lab, "mkdir -p %s && printf '[Service]\\nExecStartPre=/bin/sleep %%s\\n' %s > %s/delay.conf", folder, seconds, folder)
    everywhere(lab, "systemctl -q disable %s; systemctl daemon-reload", fencing.DELAY_UNIT)
    yield
    everywhere(lab, "rm -r %s; systemctl -q enable %s; systemctl daemon-reload", folder, fencing.DELAY_UNIT)


@road
def nodes_by_a_list(lab: Lab) -> Iterator[None]:
    """The nodes by pcmk_host_list: where the machines have the nodes' names, no map is needed."""
    names = ",".join(node.name for node in lab)
    with configured(
        lab, "crm_resource --resource Fencing --delete-parameter pcmk_host_map",
        f"crm_resource --resource Fencing --set-parameter pcmk_host_list --parameter-value '{names}'",
    ):  # fmt: skip
        yield
