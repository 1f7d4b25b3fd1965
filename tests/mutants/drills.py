"""Chapter 06: a cluster that works, until something breaks. The checks break it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from halab import corosync, faults, pacemaker, totem, transition
from halab.lab import Lab
from halab.ledger import Ledger
from halab.node import Node
from tests.mutants import AFTER_WATCHED, AFTER_WELL, apache, holder, mutant, road, virtual_ip
from tests.mutants import pacemaker as third
from tests.mutants.pacemaker import configured

STAGE = "06"
EVERY_MINUTE = """sed -E '/WebSite-monitor/s/interval="5s"/interval="1min"/' | cibadmin --replace --scope resources --xml-pipe"""


def heir(lab: Lab) -> Node:
    """The node that would serve if the one that serves died."""
    node = lab.nodes[0]
    return lab.node(transition.simulate(node, pacemaker.cib(node), "--node-down", holder(lab).name).after({})["WebSite"] or "")


@contextmanager
def token(lab: Lab, milliseconds: int, coefficient: int | None = None) -> Iterator[None]:
    """That token on all nodes; afterwards the file is as before, and in force."""
    before = lab.nodes[0].get(totem.CONF).decode()
    if coefficient is not None:
        lab.each(lambda node: node.put(before.replace("totem {", f"totem {{\n  token_coefficient: {coefficient}"), totem.CONF))
    totem.set_token(lab, milliseconds)
    yield
    lab.each(lambda node: node.put(before, totem.CONF))
    totem.set_token(lab, int(corosync.parse_conf(before)["totem.token"]))


@mutant("06/token 06/power_cut")
def a_token_of_ten_seconds(lab: Lab) -> Iterator[None]:
    """The token was made ten seconds long, "to be safe": a dead node is noticed after 24."""
    with token(lab, 10_000):
        yield


@mutant("06/token 06/pause_forgiven")
def a_token_without_patience(lab: Lab) -> Iterator[None]:
    """The token was made 600 ms short, for a fast failover: who is silent for a second is dead."""
    with token(lab, 600, coefficient=0):
        yield


@mutant("06/watched", AFTER_WATCHED)
def apache_watched_every_minute(lab: Lab) -> Iterator[None]:
    """The handbook's monitor was put back: a dead Apache may go unnoticed for a minute."""
    with configured(lab, f"cibadmin --query --scope resources | {EVERY_MINUTE}"):
        yield


@mutant("06/watched", AFTER_WATCHED)
def a_look_of_four_minutes(lab: Lab) -> Iterator[None]:
    """Apache's monitor has the timeout of all operations again: one that hangs may go unnoticed for four minutes."""
    with configured(lab, "crm configure set WebSite.monitor.timeout 240s"):
        yield


@mutant("06/service_killed 06/threshold")
def failures_ignored(lab: Lab) -> Iterator[None]:
    """`on-fail=ignore` for Apache's monitor: the cluster sees that it is dead, and does nothing."""
    with configured(lab, "crm configure set WebSite.monitor.on-fail ignore"):
        yield


@mutant("06/threshold")
def no_threshold(lab: Lab) -> Iterator[None]:
    """The migration threshold is gone: what fails is restarted in place for ever."""
    with configured(lab, "crm_attribute --type rsc_defaults --name migration-threshold --delete"):
        yield


@mutant("06/threshold")
def a_threshold_of_one(lab: Lab) -> Iterator[None]:
    """A threshold of one: the first hiccup moves the service."""
    with configured(lab, "crm configure rsc_defaults migration-threshold=1"):
        yield


@mutant("06/threshold")
def failures_never_forgotten(lab: Lab) -> Iterator[None]:
    """There is no failure-timeout: two failures in a year move the service."""
    with configured(lab, "crm_attribute --type rsc_defaults --name failure-timeout --delete"):
        yield


@mutant("06/threshold")
def failures_forgotten_too_soon(lab: Lab) -> Iterator[None]:
    """A failure is forgotten after two minutes, and an operation may take four."""
    with configured(lab, "crm configure rsc_defaults failure-timeout=2min"):
        yield


@mutant("06/stays")
def a_favourite_that_outweighs_stickiness(lab: Lab) -> Iterator[None]:
    """The address prefers its node by more than it costs to move: it comes back with the node."""
    with configured(lab, f"crm configure location likes ClusterIP 500: {holder(lab).name}"):
        yield


@mutant("06/power_cut 06/survivor_serves 06/stays 06/threshold")
def it_may_run_nowhere_else(lab: Lab) -> Iterator[None]:
    """Bans of old experiments are left on all other nodes."""
    others = [node.name for node in lab if node.name != holder(lab).name]
    with configured(lab, *(f"crm_resource --ban --resource WebSite --node {name}" for name in others)):
        yield


@mutant("06/one_holder_throughout")
def a_script_that_helps(lab: Lab) -> Iterator[None]:
    """Somebody's own failover script on a node adds the address as soon as it does not answer."""
    node = next(node for node in lab if node.name not in (holder(lab).name, heir(lab).name))
    script = f"while ping -q -c 1 -W 1 {lab.virtual_ip} > /dev/null; do sleep 0.2; done; ip addr add {lab.virtual_ip}/32 dev lo"
    node.check_output("sysctl -q -w net.ipv4.conf.eth0.arp_ignore=1")  # it says so to nobody: the client stays with the cluster's
    node.check_output("systemd-run -q --unit=helpful sh -c %s", script)
    yield
    node.check_output("systemctl stop helpful 2> /dev/null; ip addr del %s/32 dev lo 2> /dev/null; true", lab.virtual_ip)
    node.check_output("sysctl -q -w net.ipv4.conf.eth0.arp_ignore=0")


@mutant("06/nothing_failed")
def apache_lost_on_the_next_node(lab: Lab) -> Iterator[None]:
    """Apache's configuration file is gone on the node that would serve next: the third one has to."""
    with faults.apache_damaged(heir(lab)):
        yield


@mutant("06/expected_gap")
def a_gap_of_a_minute_expected(lab: Lab) -> Iterator[None]:
    """The expected gap was a guess."""
    with _written(lab, '"said": [0-9.]+', '"said": 60'):
        yield


@mutant("", warns="06/predicted")
def a_drill_left_out(lab: Lab) -> Iterator[None]:
    """One drill of the chapter was skipped."""
    with _written(lab, '"fault": "partition 2:1"', '"fault": "something else"'):
        yield


@contextmanager
def _written(lab: Lab, pattern: str, text: str) -> Iterator[None]:
    path = Ledger(lab).path
    before = path.read_text()
    path.write_text(re.sub(pattern, text, before))
    yield
    path.write_text(before)


# -- what must always hold, and without which no fault is injected ----------------------------------------


@mutant("06/all_ready", AFTER_WELL)
def standby_before_the_drill(lab: Lab) -> Iterator[None]:
    """A node was left in standby: the next failure has one place less to go to."""
    yield from third.standby(lab)


@mutant("06/agreement", AFTER_WELL)
def two_configurations_before_the_drill(lab: Lab) -> Iterator[None]:
    """A node shows another configuration than the others."""
    yield from third.two_configurations(lab)


@mutant("06/no_cores")
def a_core_before_the_drill(lab: Lab) -> Iterator[None]:
    """A daemon crashed and was started again; only its core tells."""
    yield from third.a_daemon_dumped_core(lab)


@mutant("06/no_failures", AFTER_WELL)
def a_failure_before_the_drill(lab: Lab) -> Iterator[None]:
    """An operation failed, the cluster recovered, and nobody cleaned up: the next failure counts as the second."""
    yield from virtual_ip.a_failure_not_cleaned_up(lab)


@mutant("06/no_orphans", AFTER_WELL)
def an_orphan_before_the_drill(lab: Lab) -> Iterator[None]:
    """A resource was deleted while it ran, and orphans were told to stay."""
    yield from virtual_ip.an_orphan(lab)


@mutant("06/one_holder_each 06/runs_with_the_address", AFTER_WELL)
def a_split_brain_left_behind(lab: Lab) -> Iterator[None]:
    """The address is still on a second node, from the chapter's split brain."""
    yield from virtual_ip.a_second_holder(lab)


@mutant("06/runs_with_the_address", AFTER_WELL)
def a_second_apache_left_behind(lab: Lab) -> Iterator[None]:
    """Apache still runs on a second node, from the chapter's split brain."""
    yield from apache.apache_by_hand(lab)


@road
def values_of_its_own(lab: Lab) -> Iterator[None]:
    """Threshold and timeout on the resource itself, monitors of ten seconds, and another token within the bounds."""
    own = "crm_resource --resource WebSite --meta --set-parameter %s --parameter-value %s"
    drop = "crm_attribute --type rsc_defaults --name migration-threshold --delete"
    slower = "crm configure set WebSite.monitor.interval 10s"
    with configured(lab, drop, own % ("migration-threshold", "2"), own % ("failure-timeout", "PT30M"), slower), token(lab, 1000):
        yield
