"""The token as a knob on a running cluster: what it is set to, and what a pause of corosync costs with it.

corosync reads `token` again from its file when it is told to (corosync-cfgtool(8), -R), and computes from it
how long it waits for the token and for a consensus (corosync.conf(5)).
"""

import re
from dataclasses import dataclass

from halab import corosync, faults, until
from halab.errors import StudentError, UsageError
from halab.lab import Lab
from halab.node import Node
from halab.probe import Probe
from halab.wait import eventually

CONF = "/etc/corosync/corosync.conf"
TOKEN = re.compile(r"^(\s*token:\s*).*$", re.M)
COUNT = re.compile(r"runtime\.members\.(\d+)\.join_count")
#: A token that was seen so many ms ago goes round: it visits each member a few times a second.
RECENT = 500


def with_token(conf: str, token: int) -> str:
    """corosync.conf with `token: TOKEN`, in ms, in its section totem. Raises UsageError when it has no such section."""
    if TOKEN.search(conf):
        return TOKEN.sub(rf"\g<1>{token}", conf)
    changed, sections = re.subn(r"^(totem\s*\{)", rf"\1\n  token: {token}", conf, flags=re.M)
    if not sections:
        raise UsageError(f"{CONF} has a section totem", "none")
    return changed


def set_token(lab: Lab, token: int) -> tuple[int, int]:
    """Set the token on all nodes while they run; the (token, consensus) in ms that are in force then, on each of them."""
    lab.each(lambda node: node.put(with_token(node.get(CONF).decode(), token), CONF))
    lab.nodes[0].check_output("corosync-cfgtool -R")

    def in_force() -> set[tuple[int, int] | None]:
        maps = lab.each(corosync.cmap).values()
        return {corosync.timeouts(cmap) if cmap.get("totem.token") == str(token) else None for cmap in maps}

    what = f"token {token} is in force"
    (seen,) = eventually(in_force, lambda seen: len(seen) == 1 and None not in seen, within="membership", what=what, retry=(StudentError,))
    assert seen
    return seen


def joins(cmap: dict[str, str]) -> dict[int, int]:
    """node id -> how often this node saw it join (runtime.members.N.join_count): who was given up joins again."""
    found = ((COUNT.fullmatch(key), value) for key, value in cmap.items())
    return {int(m[1]): int(value) for m, value in found if m}


def since_token(node: Node) -> int:
    """How long ago the token came by here, in ms. Raises StudentError when corosync is down."""
    return int(corosync.cmap(node, "stats")["stats.srp.time_since_token_last_received"])


def forgiven(node: Node, seconds: float) -> bool:
    """Stop corosync on a node for so long (SIGSTOP, signal(7)). True: it went on as a member, as if nothing had been;
    False: the others had given it up, and it had to join again, by their count of joins."""
    witness = next(other for other in node.lab if other is not node)
    before = joins(corosync.cmap(witness))
    node.check_output("pid=$(pidof corosync) && kill -STOP $pid && sleep %s; kill -CONT $pid", seconds, timeout=seconds + 30)
    everybody = [one.number for one in node.lab]

    def together() -> bool:
        return corosync.joined(witness) == corosync.joined(node) == everybody and since_token(witness) < RECENT

    eventually(together, within="membership", what="all are members again", retry=(StudentError,))
    return joins(corosync.cmap(witness)) == before


@dataclass(frozen=True)
class Trade:
    """What a token costs and buys, measured once: `detection` is token + consensus in force, `gap` what a client lost
    at a power cut, `pause` how long corosync was stopped on a node, and whether that was forgiven; all in s."""

    token: float
    detection: float
    gap: float
    pause: float
    forgiven: bool

    def __str__(self) -> str:
        pause = f"a pause of half of that {'forgiven' if self.forgiven else 'not forgiven'}"
        return f"token {self.token:g} s: token + consensus {self.detection:.2f} s, {pause}, gap at a power cut {self.gap:.1f} s"


def trade(lab: Lab, token: int) -> Trade:
    """Set this token (ms), pause corosync for half of token + consensus on a node that serves nothing, then cut the
    power of the one that serves. The cluster is whole again afterwards; the token stays."""
    detection = sum(set_token(lab, token)) / 1000
    holder = lab.node(until.held(lab))
    spare = next(node for node in reversed(lab.nodes) if node is not holder)
    pardon = forgiven(spare, detection / 2)
    with Probe(lab) as probe:
        until.served(probe)
        with faults.power_cut(holder):
            until.served(probe, other_than=holder)
    until.all_ready(lab)
    until.idle(spare)
    return Trade(token / 1000, detection, probe.longest, detection / 2, pardon)
