"""Chapter 02: mistakes in corosync.conf, which corosync mostly accepts."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from halab import corosync, totem
from halab.errors import StudentError
from halab.lab import Lab
from halab.node import Node
from halab.wait import eventually, stays
from tests.mutants import (
    AFTER_APACHE,
    AFTER_COROSYNC,
    AFTER_FAILURES,
    AFTER_HOLDER,
    AFTER_IP,
    AFTER_MEMBERS,
    AFTER_ONLINE,
    AFTER_PACEMAKER,
    AFTER_WEB,
    everywhere,
    mutant,
    road,
    spare,
)

FILE, KEY = "/etc/corosync/corosync.conf", "/etc/corosync/authkey"


@contextmanager
def reloaded(lab: Lab, script: str) -> Iterator[None]:
    """Edit the file on every node with sed(1) and reload it; afterwards the old one again."""
    everywhere(lab, f"cp {FILE} /root/before.conf; sed -i -e %s {FILE}; corosync -t", script)
    lab.nodes[0].check_output("corosync-cfgtool -R")
    yield
    everywhere(lab, f"cp /root/before.conf {FILE}")
    lab.nodes[0].check_output("corosync-cfgtool -R")
    everybody = [node.number for node in lab]

    def whole(node: Node) -> bool:
        links = corosync.links(corosync.cmap(node, "stats"))
        up = all(connected for (other, _), connected in links.items() if other in everybody and other != node.number)
        return up and corosync.joined(node) == everybody and totem.since_token(node) < totem.RECENT

    # A token lost under the old timeout is missed after that time, and a link lost with the old pings is found again by two of
    # them: the first look after a reload may come before either.
    stands = partial(stays, lambda: all(lab.each(whole).values()), samples=5, every=0.5)
    eventually(stands, within=180, what="the ring goes round again, by all links", retry=(StudentError,))


@mutant(
    fails="02/service 03/service 04/resource 04/agreement 04/all_ready 04/no_failures 04/no_orphans "
    "05/resource 05/agreement 05/all_ready 05/no_failures 05/no_orphans",
    skips=f"{AFTER_COROSYNC} {AFTER_PACEMAKER} {AFTER_IP} {AFTER_WEB}",
)
def corosync_stopped(lab: Lab) -> Iterator[None]:
    """corosync was stopped on a node (and pacemaker with it)."""
    node = spare(lab)
    node.check_output("systemctl stop corosync")
    yield
    node.check_output("systemctl start corosync pacemaker")


@mutant(
    fails="02/members 02/key 03/online 04/agreement 04/all_ready 04/holder_is_the_clusters 05/agreement 05/all_ready 05/tidy",
    skips=f"{AFTER_MEMBERS} 02/key_in_force {AFTER_ONLINE} {AFTER_FAILURES}",
)
def another_key(lab: Lab) -> Iterator[None]:
    """A node made a key of its own instead of taking the others'."""
    node = spare(lab)
    node.check_output("cp -p /etc/corosync/authkey /root/authkey; corosync-keygen > /dev/null; systemctl restart corosync pacemaker")
    eventually(lambda: corosync.joined(node) == [node.number], within="membership", what="a membership of one")
    yield
    node.check_output("cp -p /root/authkey /etc/corosync/authkey; systemctl restart corosync pacemaker")


@mutant(
    fails="02/quorum 03/dc 04/one_holder 05/runs_with_the_address 05/colocation 05/tidy",
    skips=f"02/majority {AFTER_HOLDER} {AFTER_APACHE}",
)
def too_many_votes_expected(lab: Lab) -> Iterator[None]:
    """Someone told the cluster to expect seven votes: three are no majority, and everything stops."""
    with reloaded(lab, "s/^quorum {/&\\n  expected_votes: 7/"):
        eventually(lambda: not any(s == "held" for s in lab.holders().values()), within="resource", what="the address is given up")
        yield


@mutant(
    fails="02/quorum 03/service 04/resource 04/agreement 04/all_ready 04/no_failures 04/no_orphans 04/one_holder "
    "05/resource 05/agreement 05/all_ready 05/no_failures 05/no_orphans 05/runs_with_the_address",
    skips=f"02/majority {AFTER_PACEMAKER} {AFTER_IP} {AFTER_HOLDER} {AFTER_WEB} {AFTER_APACHE}",
)
def no_quorum_provider(lab: Lab) -> Iterator[None]:
    """The provider was forgotten: members, but no quorum, and a pacemaker that nobody can start."""
    everywhere(lab, "systemctl stop pacemaker")
    everywhere(lab, f"cp {FILE} /root/before.conf; sed -i -e /provider:/d {FILE}; systemctl restart corosync")
    eventually(
        lambda: lab.each(corosync.joined), lambda seen: all(len(ids) == len(lab.nodes) for ids in seen.values()), within="membership"
    )
    yield
    everywhere(lab, f"cp /root/before.conf {FILE}; systemctl restart corosync; systemctl start pacemaker")


@mutant("02/majority")
def too_few_votes_expected(lab: Lab) -> Iterator[None]:
    """`expected_votes: 1` was left from the days of the first node."""
    with reloaded(lab, "s/^quorum {/&\\n  expected_votes: 1/"):
        yield


@mutant("02/majority")
def two_node(lab: Lab) -> Iterator[None]:
    """`two_node: 1` was copied from an example for clusters of two."""
    with reloaded(lab, "s/^quorum {/quorum {\\n  two_node: 1/"):
        yield


@mutant("02/majority")
def a_node_with_two_votes(lab: Lab) -> Iterator[None]:
    """One node counts twice."""
    with reloaded(lab, "0,/nodeid: 1/s//nodeid: 1\\n    quorum_votes: 2/"):
        yield


@mutant("02/encryption")
def no_cipher(lab: Lab) -> Iterator[None]:
    """Encryption is off, as it was in the handbook."""
    with reloaded(lab, "s/crypto_cipher: .*/crypto_cipher: none/; s/crypto_hash: .*/crypto_hash: none/"):
        yield


@mutant("02/links")
def a_second_link_to_nowhere(lab: Lab) -> Iterator[None]:
    """A second link was configured on a network that does not exist."""
    lab.each(lambda node: node.check_output("ip addr add 10.99.0.%s/32 dev lo", node.number))
    with reloaded(lab, r"s/^\( *\)nodeid: \([0-9]*\)/&\n\1ring1_addr: 10.99.0.\2/"):
        yield
    lab.each(lambda node: node.check_output("ip addr del 10.99.0.%s/32 dev lo", node.number))


@mutant("02/consensus")
def consensus_too_short(lab: Lab) -> Iterator[None]:
    """consensus was set by hand, below 1.2 times the token in force."""
    with reloaded(lab, f"s/^totem {{/&\\n  consensus: {round(lab.settings.token * 1.7)}/"):
        yield


@mutant("02/same_configuration")
def one_file_edited(lab: Lab) -> Iterator[None]:
    """One node's file was edited and not copied to the others."""
    node, text = spare(lab), spare(lab).get(FILE)
    node.put(text + b"# to do: try a longer token\n", FILE)
    yield
    node.put(text, FILE)


@mutant("02/consensus")
def a_token_in_the_wrong_unit(lab: Lab) -> Iterator[None]:
    """A token that was meant to be shorter is 35 s long: so late is a dead node missed."""
    with reloaded(lab, f"s/token: .*/token: {35 * lab.settings.token}/"):
        yield


@mutant("02/known_options")
def a_section_of_old_days(lab: Lab) -> Iterator[None]:
    """`service { ver: 1 }` started pacemaker in corosync 1; today it does nothing at all."""
    with reloaded(lab, "$a service {\\n  name: pacemaker\\n  ver: 1\\n}"):
        yield
    everywhere(lab, "corosync-cmapctl -d service.name; corosync-cmapctl -d service.ver; true")


@mutant("02/in_force")
def edited_and_not_reloaded(lab: Lab) -> Iterator[None]:
    """All files say another token, and nobody told corosync."""
    everywhere(lab, f"cp {FILE} /root/before.conf; sed -i 's/token: .*/token: 7000/' {FILE}")
    yield
    everywhere(lab, f"cp /root/before.conf {FILE}")


@mutant("02/in_force")
def a_brace_too_few(lab: Lab) -> Iterator[None]:
    """The same file everywhere, and no corosync would start with it again."""
    everywhere(lab, f"cp {FILE} /root/before.conf; sed -i '$d' {FILE}")
    yield
    everywhere(lab, f"cp /root/before.conf {FILE}")


@mutant("02/in_force 02/key", "02/key_in_force")
def no_key_on_disk(lab: Lab) -> Iterator[None]:
    """The key was removed everywhere: corosync runs, and would not start again."""
    everywhere(lab, f"mv {KEY} /root/authkey")
    yield
    everywhere(lab, f"mv /root/authkey {KEY}")


@mutant("02/key", "02/key_in_force")
def a_key_for_everybody(lab: Lab) -> Iterator[None]:
    """Every user of a node can read its key."""
    spare(lab).check_output("chmod 644 %s", KEY)
    yield
    spare(lab).check_output("chmod 400 %s", KEY)


@mutant("02/known_options")
def a_typo_that_is_ignored(lab: Lab) -> Iterator[None]:
    """`tokn: 5000`: corosync stores it, says nothing, and goes on with the old token."""
    with reloaded(lab, "s/^totem {/&\\n  tokn: 5000/"):
        yield
    everywhere(lab, "corosync-cmapctl -d totem.tokn || true")  # a reload does not forget it


@mutant("02/identities")
def names_exchanged(lab: Lab) -> Iterator[None]:
    """Two nodes have each other's name in the node list."""
    first, second = lab.nodes[1].name, lab.nodes[2].name
    with reloaded(lab, f"s/name: {first}/name: X/; s/name: {second}/name: {first}/; s/name: X/name: {second}/"):
        yield


@mutant("02/starts_at_boot 03/starts_at_boot")
def nothing_enabled(lab: Lab) -> Iterator[None]:
    """The cluster runs, and does not start at boot on one node."""
    spare(lab).check_output("systemctl -q disable corosync pacemaker")
    yield
    spare(lab).check_output("systemctl -q enable corosync pacemaker")


@road
def pacemaker_brings_corosync(lab: Lab) -> Iterator[None]:
    """corosync is not enabled; pacemaker is, and requires it."""
    spare(lab).check_output("systemctl -q disable corosync")
    yield
    spare(lab).check_output("systemctl -q enable corosync")


@mutant("02/in_force")
def the_file_forgot_the_provider(lab: Lab) -> Iterator[None]:
    """The file was written anew without `provider`, and nobody restarted: after the next boot nothing has quorum."""
    everywhere(lab, f"cp {FILE} /root/before.conf; sed -i /provider:/d {FILE}")
    yield
    everywhere(lab, f"cp /root/before.conf {FILE}")


@mutant("02/in_force")
def the_file_forgot_the_cipher(lab: Lab) -> Iterator[None]:
    """The file was written anew without encryption, and nobody restarted: the first node that boots will be alone."""
    everywhere(lab, f"cp {FILE} /root/before.conf; sed -i /crypto_/d {FILE}")
    yield
    everywhere(lab, f"cp /root/before.conf {FILE}")


@mutant("", warns="02/key_in_force")
def a_new_key_that_nobody_read(lab: Lab) -> Iterator[None]:
    """A new key was made and copied to all, and corosync goes on with the old one: the first that restarts will be alone."""
    everywhere(lab, f"cp -p {KEY} /root/authkey")
    lab.nodes[0].check_output("corosync-keygen > /dev/null")
    new = lab.nodes[0].get(KEY)
    for node in lab.nodes[1:]:
        node.put(new, KEY, 0o400)
    yield
    everywhere(lab, f"cp -p /root/authkey {KEY}")


@mutant("02/consensus")
def a_hasty_token(lab: Lab) -> Iterator[None]:
    """A token of 250 ms, to be quick: a third node adds 650 ms, and it looks harmless."""
    with reloaded(lab, "s/token: .*/token: 250/"):
        yield
