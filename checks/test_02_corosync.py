"""Chapter 02: three members that agree on who is here and whether they may act."""

import re

import pytest

from halab import corosync
from halab.expect import become, describe, on_every_node, remain
from halab.lab import Lab
from halab.node import Node
from halab.wait import seconds

FILE, KEY = "/etc/corosync/corosync.conf", "/etc/corosync/authkey"


@pytest.mark.check(
    points=1,
    hint="`systemctl start corosync`; its log says why it does not start",
    more="`corosync -t` checks the file, `journalctl -u corosync -n 20` says why it ended",
    read="corosync(8)",
)
def test_service(lab: Lab) -> None:
    """corosync runs as a service on every node"""
    on_every_node(lab, lambda node: node.run("systemctl is-active corosync").stdout.strip(), "active", within="daemon",
                  expected="the service is active", show="systemctl is-active corosync")  # fmt: skip


@pytest.mark.check(
    points=3,
    needs=("service",),
    hint="compare corosync.conf and authkey on all nodes; the log names refused packets",
    more="copy both files from one node to all others and `systemctl restart corosync` on each",
    read="corosync-cmapctl(8)",
)
def test_members(lab: Lab) -> None:
    """Every node sees every node as a member, and goes on seeing it"""
    want = [node.number for node in lab]
    on_every_node(lab, corosync.joined, want, within="membership", expected=f"members {describe(want)}",
                  show="corosync-cmapctl runtime.members.")  # fmt: skip
    remain(lambda: lab.each(corosync.joined), lambda seen: all(ids == want for ids in seen.values()),
           expected=f"members {describe(want)}, steadily", show="corosync-cmapctl runtime.members.")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("members",),
    hint="quorum { provider: corosync_votequorum }",
    more="that section belongs into corosync.conf on every node; a new provider needs a restart of corosync everywhere",
    read="votequorum(5)",
)
def test_quorum(lab: Lab) -> None:
    """Every node has quorum"""
    on_every_node(lab, lambda node: corosync.quorate(node) or "no quorum", True, within="membership", expected="quorate",
                  show="corosync-quorumtool -s")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("quorum",),
    hint="neither `two_node` nor `expected_votes` belongs into a cluster of three or more",
    more="remove both and every `quorum_votes`, then `corosync-cfgtool -R`",
    read="votequorum(5)",
)
def test_majority(lab: Lab) -> None:
    """A majority is needed, not less: one vote a node, no special rule for two nodes"""
    n = len(lab.nodes)
    want = {"votes": [1] * n, "needed": n // 2 + 1, "special rules": []}
    on_every_node(lab, _voting, want, expected=describe(want), show="corosync-quorumtool -s; corosync-cmapctl | grep quorum")


#: Rules of votequorum(5) that let less than a majority act.
SPECIAL = ("two_node", "last_man_standing", "auto_tie_breaker", "allow_downscale")


def _voting(node: Node) -> dict[str, object]:
    cmap = corosync.cmap(node)
    nodes = sorted(key for key in cmap if re.fullmatch(r"nodelist\.node\.\d+\.nodeid", key))
    return {
        "votes": [int(cmap.get(key.replace(".nodeid", ".quorum_votes"), "1")) for key in nodes],
        "needed": corosync.needed(node),
        "special rules": [rule for rule in SPECIAL if cmap.get(f"quorum.{rule}", "0") != "0"]
        + [f"expected_votes: {votes}" for votes in [cmap.get("quorum.expected_votes", str(len(nodes)))] if votes != str(len(nodes))],
    }


@pytest.mark.check(
    points=2,
    needs=("members",),
    hint="crypto_cipher and crypto_hash in totem, the same authkey everywhere",
    more="`crypto_cipher: aes256` and `crypto_hash: sha256` in totem on every node, then `corosync-cfgtool -R`",
    read="corosync.conf(5)",
)
def test_encryption(lab: Lab) -> None:
    """What the members say to each other is encrypted"""

    on_every_node(
        lab, lambda node: corosync.encrypts(corosync.cmap(node)) or "none", True, expected="a cipher is set", show="corosync-cmapctl totem."
    )  # fmt: skip
    before = lab.each(corosync.encrypted)
    on_every_node(  # with a long token, little is sent
        lab, lambda node: corosync.encrypted(node) > before[node.name] or "none", True, within="resource",
        expected="encrypted packets are being sent", show="corosync-cmapctl -m stats stats.knet.handle.tx_crypt_packets",
    )  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("members",),
    hint="is every node's address in the nodelist right?",
    more="`corosync-cfgtool -s` names the link; compare its ringN_addr with `ip -4 addr` of that node",
    read="corosync-cfgtool(8)",
)
def test_links(lab: Lab) -> None:
    """Every node is connected to every node by its link"""

    def broken(node: Node) -> list[str]:
        links = corosync.links(corosync.cmap(node, "stats"))
        others = {other.number for other in lab if other is not node}
        missing = others - {number for number, _ in links}
        return [f"node {n}: no link" for n in missing] + [f"node {n} link {k}" for (n, k), up in links.items() if not up and n in others]

    on_every_node(lab, broken, [], within="membership", expected="no broken link", show="corosync-cfgtool -s")


@pytest.mark.check(
    points=2,
    needs=("members",),
    hint="leave `consensus` out, give `token` in milliseconds, then `corosync-cfgtool -R`",
    more="corosync takes 1.2 times the token by itself; `corosync-cmapctl runtime.config.totem.` shows what is in force",
    read="corosync.conf(5), consensus",
)
def test_consensus(lab: Lab) -> None:
    """The token lasts 0.3 to 30 s, before and after what the nodes add, consensus at least 1.2 times as long, everywhere"""
    longest = 30_000 * max(seconds(1), 1)  # a slow lab may need patience, and says so by its scale

    def short(node: Node) -> str:
        cmap = corosync.cmap(node)
        token, consensus = corosync.timeouts(cmap)
        given = int(cmap.get("totem.token", token))
        fine = consensus * 10 >= token * 12 and given >= 300 and token <= longest
        return "" if fine else f"token {given} ms, in force {token} ms, consensus {consensus} ms"

    on_every_node(lab, short, "", expected=f"token of 300 ms or more, in force {longest:g} ms or less, consensus at least 1.2 times that",
                  show="corosync-cmapctl totem.token; corosync-cmapctl runtime.config.totem.")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("members",),
    hint="compare `name`, `nodeid` and `ring0_addr` of each node in the nodelist",
    more="node k has nodeid k, the name and the address that chapter 01 gave it; pacemaker takes its names from here",
    read="corosync.conf(5), nodelist",
)
def test_identities(lab: Lab) -> None:
    """Every member's id, name and address belong to the same machine"""
    want = {node.number: (node.name, str(node.address)) for node in lab}
    on_every_node(lab, lambda node: corosync.identities(corosync.cmap(node)), want, expected=describe(want),
                  show="corosync-cmapctl nodelist.node.; corosync-cmapctl runtime.members.")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("service",),
    hint="corosync stores an option that it does not know, and says nothing: look for a typing mistake",
    more="remove that line on every node, then `corosync-cfgtool -R`; a whole section that is unknown is forgotten only by a restart",
    read="corosync.conf(5)",
)
def test_known_options(lab: Lab) -> None:
    """corosync knows every option and every section that it was given"""

    def unknown(node: Node) -> list[str]:
        sections = corosync.unknown_sections(node.run("cat %s", FILE).stdout)
        return corosync.unknown_options(corosync.cmap(node)) + [f"section {name}" for name in sections]

    on_every_node(lab, unknown, [], expected="no unknown option, no unknown section", show=f"corosync-cmapctl; cat {FILE}")


@pytest.mark.check(
    points=1,
    needs=("service",),
    hint="copy the file from one node to the others",
    more="`corosync-cfgtool -R` reads it again on all nodes, but copies nothing",
    read="corosync.conf(5)",
)
def test_same_configuration(lab: Lab) -> None:
    """Every node has the same configuration on disk"""
    _same_file(lab, FILE)


@pytest.mark.check(
    points=2,
    needs=("service",),
    hint="a file that was edited does nothing until corosync reads it",
    more="`corosync -t` checks the file; then `corosync-cfgtool -R`, or a restart on every node for what a reload does not change",
    read="corosync.conf(5), corosync-cfgtool(8)",
)
def test_in_force(lab: Lab) -> None:
    """What the file says is what runs, on every node"""

    def otherwise(node: Node) -> object:
        tested = node.run("corosync -t")
        if not tested.ok:
            told = [re.sub(r"^.*\] +", "", line) for line in tested.stderr.splitlines() if "error" in line]  # without its time
            return told[0] if told else "corosync -t refuses it"
        return corosync.not_in_force(corosync.parse_conf(node.check_output("cat %s", FILE)), corosync.cmap(node))

    on_every_node(lab, otherwise, {}, expected="every option of the file is in force", show="corosync -t; corosync-cmapctl")


@pytest.mark.check(
    points=2,
    needs=("service",),
    hint="`corosync-keygen` on one node; the others get a copy of its file",
    more="copy authkey from one node to the others, `chmod 400` and `chown root` it, and restart corosync where it had another",
    read="corosync-keygen(8)",
)
def test_key(lab: Lab) -> None:
    """Every node has the same key on disk, and only root can read it"""

    def mode(node: Node) -> str:
        return node.run("stat -c '%%a %%U' %s", KEY).stdout.strip() or "no such file"

    on_every_node(lab, lambda node: mode(node) in ("400 root", "600 root") or mode(node), True,
                  expected="mode 400, owner root", show=f"ls -l {KEY}")  # fmt: skip
    _same_file(lab, KEY)


@pytest.mark.check(
    points=0,
    needs=("key",),
    level="warning",
    hint="corosync reads its key when it starts, and when it is told to reload",
    more="if the key is new: `corosync-cfgtool -R` on one node, once all have it; if it is the old one again, all is well",
    read="corosync.conf(5), keyfile; corosync-cfgtool(8), -R",
)
def test_key_in_force(lab: Lab) -> None:
    """No key was written after corosync last read it"""
    # Which key is in force no map tells; when it was read, the service and its journal do.
    started = "systemctl show --timestamp=unix -P ExecMainStartTimestamp corosync | tr -d @"
    look = f"stat -c %Y {KEY}; {started}; journalctl -u corosync -o short-unix -g 'Config reload requested'"

    def unread(node: Node) -> str:
        times = [line.partition(".")[0] for line in node.run(look).stdout.splitlines() if line[:1].isdigit()]
        return "newer" if len(times) > 1 and int(times[0]) > max(map(int, times[1:])) else "older"

    on_every_node(lab, unread, "older", expected="the key on disk is older than corosync's last start or reload",
                  show=f"stat -c %y {KEY}; systemctl status corosync")  # fmt: skip


def _same_file(lab: Lab, path: str) -> None:
    def different() -> dict[str, str]:
        sums = lab.each(lambda node: node.run("sha256sum %s", path).stdout[:12] or "cannot be read")
        return {} if len(set(sums.values())) == 1 and "cannot be read" not in sums.values() else sums

    become(different, lambda found: not found, expected="one digest on every node", show=f"sha256sum {path}")


@pytest.mark.check(
    points=1,
    partial=True,
    needs=("service",),
    hint="`systemctl enable corosync`",
    more="run it on every node; `systemctl is-enabled corosync` must say enabled, or that of a service that requires it",
    read="systemctl(1), systemd.unit(5)",
)
def test_starts_at_boot(lab: Lab) -> None:
    """corosync starts at boot on every node, by itself or because pacemaker requires it"""
    show = "systemctl list-dependencies --reverse --plain --all corosync.service"

    def brought(node: Node) -> str:
        target, *bring = node.run(f"systemctl get-default; {show}").stdout.split()
        return "started" if target in bring else "nothing brings corosync"

    on_every_node(lab, brought, "started", expected="a boot's target among those that bring corosync.service",
                  show=f"systemctl get-default; {show}")  # fmt: skip
