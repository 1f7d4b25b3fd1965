"""Back to a healthy cluster, whatever happened to it: undo, mend each node as a person would, verify.

Verified is what can be seen from outside, and what every node itself says; a cluster that is not well after
it was mended is an error of the lab, with what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from halab import corosync, pacemaker
from halab.errors import DeadlinePassed, HalabError, LabError, StudentError, the_labs
from halab.lab import Sight
from halab.probe import ask
from halab.repair import CORES, asked, not_well, nurse, remove_address, restart, revive, unwritten, write_again
from halab.wait import eventually, seconds, stays

if TYPE_CHECKING:
    from halab.lab import Lab
    from halab.node import Node


@the_labs()
def heal(lab: Lab, *, bans: bool = True) -> None:
    """Bring the cluster back: every fault undone, all nodes members and ready, nothing left over, one holder, its page.

    `bans`: constraints that `move` and `ban` left are cleared too; a check leaves them, they are the student's.

    Raises LabError with what is still wrong after the cluster's daemons were restarted where they were not well, or on all
    nodes when each of them was: a DC that stays busy for minutes has nobody else to blame."""
    lab.network.heal(node.name for node in lab)
    lab.each(nurse)
    for node in lab:  # one at a time: the others keep what it lost
        write_again(node)
    with suppress(HalabError):  # what it could not do is told below
        tidy(lab, bans=bans)
    try:
        _verify(lab, 60, bans=bans)
    except LabError:
        lab.each(restart, tuple(node for node in lab if not_well(node)) or lab.nodes)
        _verify(lab, "election", bans=bans)


def _verify(lab: Lab, within: str | float, *, bans: bool) -> None:
    def look() -> list[str]:
        # Two looks: a clean-up's probes begin a moment after it, and what is lost meanwhile is started anywhere.
        if left := stays(lambda: list(wrong(lab)), lambda left: not left, samples=2, every=seconds(0.5)):
            with suppress(HalabError):
                lab.each(revive)
                tidy(lab, bans=bans)
        return left

    try:
        eventually(
            look,
            lambda left: not left,
            within=within,
            every=seconds(0.5),  # looking is work for the nodes too, more of it the slower they are
            what="the cluster is healthy again",
            retry=(HalabError,),
        )
    except DeadlinePassed as passed:
        seen = "; ".join(passed.seen) if isinstance(passed.seen, list) else passed.seen
        raise LabError("the cluster is healthy again", seen, "halab reset 06, or halab down and halab run") from None


# -- the cluster ------------------------------------------------------------------------------------------


def speaker(lab: Lab) -> Node:
    """A node of the partition that has quorum, to type a command on. Raises StudentError when there is none."""
    for node in lab:
        with suppress(HalabError):
            if node.state == "running" and pacemaker.status(node).quorum:
                return node
    raise StudentError("a node that sees quorum", "none", "corosync-quorumtool -s, on every node")


def tidy(lab: Lab, *, bans: bool = True) -> None:
    """Undo standby, maintenance and moves (`bans`), clean up failures, and take the address off where the cluster has not put it."""
    try:
        node = eventually(lambda: speaker(lab), within="election", retry=(StudentError,))
    except DeadlinePassed:
        return
    seen = pacemaker.status(node)
    for name in seen.standby:
        node.run("crm_standby --node %s --delete", name)
    for name in seen.maintenance:
        node.run("crm_attribute --node %s --name maintenance --delete", name)
    cib = pacemaker.cib(node)
    if "maintenance-mode" in pacemaker.nvpairs(cib, "crm_config"):
        node.check_output("crm_attribute --type crm_config --name maintenance-mode --delete")
    for constraint in pacemaker.constraints(cib):
        if bans and constraint.get("id", "").startswith("cli-"):
            node.check_output("crm_resource --clear --resource %s", constraint["rsc"])
    unnoticed = not seen.failures and ask(f"http://{lab.virtual_ip}/") is None
    if (seen.failures or unnoticed) and _settled(node):
        # What ended unnoticed is looked for now, not at its next monitor.
        node.run("crm_resource --refresh" if unnoticed else "crm_resource --cleanup")
    for other in lab:
        at = seen.resources.get("ClusterIP", ())
        if at and other.name not in at and lab.sight(other) is Sight.HELD and pacemaker.idle(node):
            remove_address(other)


def _settled(node: Node) -> bool:
    """Is the DC idle and stays so? A clean-up makes it probe everything, a moment later: another one would begin that anew."""
    return stays(lambda: pacemaker.idle(node), samples=2, every=seconds(1))


def wrong(lab: Lab) -> Iterator[str]:
    """What is not as in a healthy cluster, one text each; what could not be asked is told too."""
    yield from (f"{name}: {what}" for name, what in lab.network.faults(node.name for node in lab).items())
    for name, text in lab.each(lambda node: _wrong(node)).items():
        if text:
            yield f"{name}: {text}"
    sights = lab.holders()
    if sorted(sights.values()).count(Sight.HELD) != 1 or Sight.UNKNOWN in sights.values():
        yield f"{lab.virtual_ip} is " + ", ".join(f"{sight} by {name}" for name, sight in sights.items())
    if (page := ask(f"http://{lab.virtual_ip}/")) is None or page != lab.holder():
        yield f"the page is served by {page or 'nobody'}"


def _wrong(node: Node) -> str:
    names = tuple(other.name for other in node.lab)
    if node.state != "running":
        return node.state
    if (seen := corosync.joined(node)) != [other.number for other in node.lab]:
        return f"sees members {seen}"
    try:
        status = asked(node)
    except StudentError as error:
        return str(error.seen)
    if status.ready != names:
        return f"sees ready {', '.join(status.ready) or 'nobody'}"
    if (state := pacemaker.controller(node, status)) != "S_IDLE":
        return f"the DC is busy: {state}"
    if text := unwritten(node):
        return text
    left = [*status.failures, *status.orphans, *status.unmanaged]
    left += node.run(f"find {CORES} -name 'core*' -type f 2>/dev/null").stdout.split()
    return ", ".join(left)
