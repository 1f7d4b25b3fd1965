"""Chapter 03: mistakes with pacemaker itself."""

from collections.abc import Iterator
from contextlib import contextmanager

from halab import pacemaker
from halab.lab import Lab
from halab.node import Node
from halab.wait import eventually
from tests.mutants import AFTER_APACHE, AFTER_FAILURES, AFTER_HOLDER, AFTER_IP, AFTER_ONLINE, AFTER_PACEMAKER, AFTER_WEB, mutant, spare


def settled(lab: Lab) -> None:
    """The cluster has done what follows from the last change."""
    eventually(lambda: pacemaker.idle(lab.nodes[0]), within="resource", what="the DC is idle")


@contextmanager
def configured(lab: Lab, *commands: str) -> Iterator[None]:
    """Change the configuration by commands on the first node; afterwards it is as before."""
    node = lab.nodes[0]
    before = node.check_output("cibadmin --query --scope configuration")
    for command in commands:
        node.check_output(command)
    settled(lab)
    yield
    node.check_output("cibadmin --replace --scope configuration --xml-pipe", input=before.encode())
    settled(lab)


@contextmanager
def lying(node: Node, tool: str, script: str) -> Iterator[None]:
    """Replace a tool of a node by one that edits what it prints with sed(1)."""
    path = node.check_output("command -v %s", tool).strip()
    node.check_output("mv %s %s.real", path, path)
    node.put(f"#!/bin/sh\n{path}.real \"$@\" | sed -e '{script}'\n", path, 0o755)
    yield
    node.check_output("mv %s.real %s", path, path)


@mutant(
    fails="03/service 04/resource 04/agreement 04/all_ready 04/no_failures 04/no_orphans 05/resource "
    "05/agreement 05/all_ready 05/no_failures 05/no_orphans",
    skips=f"{AFTER_PACEMAKER} {AFTER_IP} {AFTER_WEB}",
)
def pacemaker_stopped(lab: Lab) -> Iterator[None]:
    """pacemaker was stopped on a node; corosync goes on."""
    node = spare(lab)
    node.check_output("systemctl stop pacemaker")
    yield
    node.check_output("systemctl start pacemaker")


@mutant("03/online 04/all_ready 05/all_ready", f"{AFTER_ONLINE} {AFTER_FAILURES}")
def standby(lab: Lab) -> Iterator[None]:
    """A node was left in standby."""
    with configured(lab, f"crm node standby {spare(lab).name}"):
        yield


@mutant("03/unhindered 04/resource 05/resource", f"{AFTER_IP} {AFTER_WEB}")
def maintenance_mode(lab: Lab) -> Iterator[None]:
    """The cluster was left in maintenance mode: everything answers, nothing is watched."""
    with configured(lab, "crm configure property maintenance-mode=true"):
        yield


@mutant("03/dc")
def a_node_lies_about_the_dc(lab: Lab) -> Iterator[None]:
    """A node's crm_mon names another DC than all others."""
    with lying(spare(lab), "crm_mon", 's/<current_dc \\(.*\\)name="[^"]*"/<current_dc \\1name="nobody"/'):
        yield


@mutant("03/verified 04/recovers 05/colocation 05/order 05/recovers")
def fencing_on_without_a_device(lab: Lab) -> Iterator[None]:
    """stonith-enabled is true again, there is no device to fence with, and pacemaker would start nothing any more."""
    with configured(lab, "crm_attribute --type crm_config --name stonith-enabled --update true"):
        yield


@mutant("03/no_quorum_policy")
def quorum_ignored(lab: Lab) -> Iterator[None]:
    """no-quorum-policy=ignore, as many old guides advise."""
    with configured(lab, "crm configure property no-quorum-policy=ignore"):
        yield


@mutant("04/resource 05/resource", f"{AFTER_IP} {AFTER_WEB}")
def nothing_is_managed(lab: Lab) -> Iterator[None]:
    """is-managed=false as a default for all resources: pacemaker only watches."""
    with configured(lab, "crm configure rsc_defaults is-managed=false"):
        yield


@mutant(
    fails="03/unhindered 04/one_holder 05/runs_with_the_address 05/colocation 05/tidy",
    skips=f"{AFTER_HOLDER} {AFTER_APACHE}",
)
def everything_stopped(lab: Lab) -> Iterator[None]:
    """stop-all-resources was left on: whatever else is configured, nothing would run anywhere."""
    with configured(lab, "crm configure property stop-all-resources=true"):
        yield


@mutant("03/same_cib 04/agreement 05/agreement")
def two_configurations(lab: Lab) -> Iterator[None]:
    """A node shows another configuration than the others. (Pacemaker itself mends a copy that differs at once.)"""
    with lying(spare(lab), "cibadmin", 's/name="timeout" value="240s"/name="timeout" value="241s"/'):
        yield


@mutant("03/starts_at_boot")
def pacemaker_not_enabled(lab: Lab) -> Iterator[None]:
    """pacemaker runs, but does not start at boot on one node."""
    spare(lab).check_output("systemctl -q disable pacemaker")
    yield
    spare(lab).check_output("systemctl -q enable pacemaker")


@mutant("04/no_cores 05/no_cores")
def a_daemon_dumped_core(lab: Lab) -> Iterator[None]:
    """A daemon crashed and was started again; only its core tells."""
    node, core = spare(lab), "/var/lib/pacemaker/cores/core.4711"
    node.put("", core)
    yield
    node.check_output("rm %s", core)


@mutant("03/online", AFTER_ONLINE)
def a_ghost(lab: Lab) -> Iterator[None]:
    """A node that never was stands in the configuration: with fencing it would be fenced at every start."""
    with configured(lab, 'cibadmin --create --scope nodes --xml-text \'<node id="44" uname="pacemaker44"/>\''):
        yield
