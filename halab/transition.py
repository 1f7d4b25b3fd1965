"""What the cluster would do if …: pacemaker's own scheduler is asked, and nothing is done.

`crm_simulate` (crm_simulate(8)) computes the transition that would follow from a CIB, as the DC does, and
writes it as a graph: operations on nodes, and what each of them waits for. It is the one look at
constraints that does not care how they were written: as a colocation, a group or a resource set.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree

from halab.errors import LabError, StudentError

if TYPE_CHECKING:
    from halab.node import Node


class Operation(NamedTuple):
    """`start` or `stop` of a resource on a node."""

    resource: str
    task: str
    node: str

    def __str__(self) -> str:
        return f"{self.task} {self.resource} on {self.node}"


@dataclass(frozen=True)
class Transition:
    """Operations, and pairs of them of which the second waits for the first, at once or by others between."""

    operations: frozenset[Operation]
    waits: frozenset[tuple[Operation, Operation]]

    def __str__(self) -> str:
        return ", ".join(map(str, sorted(self.operations))) or "nothing"

    def in_order(self, *steps: tuple[str, str]) -> bool:
        """Is each of these (resource, task) done, and made to wait for the one before it?"""
        pairs = {((a.resource, a.task), (b.resource, b.task)) for a, b in self.waits}
        return all(pair in pairs for pair in pairwise(steps))

    def after(self, before: dict[str, str | None]) -> dict[str, str | None]:
        """Resource -> node (None: it does not run), when it was `before` and this has been done."""
        stopped = {op.resource: None for op in self.operations if op.task == "stop"}
        return before | stopped | {op.resource: op.node for op in self.operations if op.task == "start"}


def parse_graph(text: str) -> Transition:
    """From the graph that `crm_simulate --save-graph` writes. Raises StudentError when it is no such document."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise StudentError("a transition graph", str(error)) from None
    if root.tag != "transition_graph":
        raise StudentError("a transition graph", f"a document <{root.tag}>")
    synapses = [(s.findall("./action_set/*"), s.findall("./inputs/trigger/*")) for s in root.iterfind("synapse")]
    known = {a.get("id", ""): a for actions, _ in synapses for a in actions}
    waits = {(i.get("id", ""), a.get("id", "")) for actions, inputs in synapses for a in actions for i in inputs}
    of = {number: _operation(action) for number, action in known.items()}
    pairs = {(of[a], of[b]) for a, b in _closure(waits) if a in of and b in of}
    done = frozenset(op for op in of.values() if op and (op, op) not in pairs)  # what waits for itself is never done
    return Transition(done, frozenset((a, b) for a, b in pairs if a in done and b in done))


def _operation(action: ElementTree.Element) -> Operation | None:
    """Starts and stops of resources; the rest (monitors, cluster events, pseudo actions) only carries the order."""
    resource, task = action.find("primitive"), action.get("operation", "")
    if action.tag != "rsc_op" or resource is None or task not in ("start", "stop"):
        return None
    return Operation(resource.get("id", ""), task, action.get("on_node", ""))


def _closure(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """What waits for what, over any number of steps."""
    while more := {(a, d) for a, b in pairs for c, d in pairs if b == c} - pairs:
        pairs = pairs | more
    return pairs


def simulate(node: Node, cib: ElementTree.Element, *options: str) -> Transition:
    """What would be done with this CIB, computed on that node. Raises StudentError when pacemaker refuses it."""
    command = "crm_simulate --run --xml-pipe --save-graph /dev/stdout --output-to /dev/null" + " %s" * len(options)
    result = node.run(command, *options, timeout=20, input=ElementTree.tostring(cib))
    if result.status > 125:  # not found, not executable, killed (sh(1)); its own refusals are below
        raise LabError(f"crm_simulate runs on {node.name}", result.stderr.strip()[-300:], "halab status")
    if not result.ok:
        raise StudentError("pacemaker can compute a transition", result.stderr.strip()[-300:], "crm_verify --live-check -V")
    return parse_graph(result.stdout)


# -- what was decided -----------------------------------------------------------------------------------

#: Where the scheduler keeps what it knew at each decision: CIBs, compressed (pacemaker-schedulerd(7)).
RECORDS = "/var/lib/pacemaker/pengine"


def recorded(dc: Node, count: int = 10) -> list[ElementTree.Element]:
    """The CIBs of that DC's last decisions, the newest first: what it knew, each time. Raises StudentError."""
    names = dc.check_output("ls -t %s/pe-*.bz2 | head -n %s", RECORDS, count).split()
    return [ElementTree.fromstring(dc.check_output("bzcat %s", name)) for name in names]


def decision(dc: Node, resource: str, task: str = "start") -> tuple[ElementTree.Element, Transition]:
    """The newest decision of that DC in which this was to be done with the resource: what it knew, and what follows
    from it. Raises StudentError when none of the last ones is such."""
    for cib in recorded(dc):
        done = simulate(dc, cib)
        if any((op.resource, op.task) == (resource, task) for op in done.operations):
            return cib, done
    raise StudentError(f"a recorded decision to {task} {resource}", f"none among the last ones on {dc.name}", f"ls -t {RECORDS}")


# -- a CIB that is a little different -----------------------------------------------------------------


def unplaced(cib: ElementTree.Element) -> ElementTree.Element:
    """The CIB without its location constraints: what is left says only what belongs together."""
    changed = copy.deepcopy(cib)
    for constraints in changed.iterfind("./configuration/constraints"):
        for location in constraints.findall("rsc_location"):
            constraints.remove(location)
    return changed


def only_on(cib: ElementTree.Element, resource: str, name: str) -> ElementTree.Element:
    """The CIB with that resource banned from every other node."""
    changed = copy.deepcopy(cib)
    constraints = changed.find("./configuration/constraints")
    assert constraints is not None  # every CIB has this section
    for other in changed.iterfind("./configuration/nodes/node"):
        if (uname := other.get("uname", "")) != name:
            ban = {"id": f"what-if-{resource}-{uname}", "rsc": resource, "node": uname, "score": "-INFINITY"}
            ElementTree.SubElement(constraints, "rsc_location", ban)
    return changed


def default(cib: ElementTree.Element, name: str, value: str) -> ElementTree.Element:
    """The CIB with that default of all resources (rsc_defaults), in a set that goes before all others."""
    changed = copy.deepcopy(cib)
    configuration = changed.find("./configuration")
    assert configuration is not None
    section = configuration.find("rsc_defaults")
    if section is None:
        section = ElementTree.SubElement(configuration, "rsc_defaults")
    meta = ElementTree.SubElement(section, "meta_attributes", {"id": f"what-if-{name}", "score": "INFINITY"})
    ElementTree.SubElement(meta, "nvpair", {"id": f"what-if-{name}-value", "name": name, "value": value})
    return changed


def liked(cib: ElementTree.Element, resource: str, name: str, score: int) -> ElementTree.Element:
    """The CIB with a favourite node for that resource."""
    changed = copy.deepcopy(cib)
    constraints = changed.find("./configuration/constraints")
    assert constraints is not None
    like = {"id": f"what-if-{resource}-likes", "rsc": resource, "node": name, "score": str(score)}
    ElementTree.SubElement(constraints, "rsc_location", like)
    return changed


def forgetful(cib: ElementTree.Element) -> ElementTree.Element:
    """The CIB without the last failures in its history. A clean-up leaves a successful probe there, whose digest an injected
    failure takes over: the scheduler then believes that the parameters changed since, and clears the fail count."""
    changed = copy.deepcopy(cib)
    for resource in changed.iterfind(".//lrm_resource"):
        for op in resource.findall("lrm_rsc_op"):
            if op.get("id", "").endswith("_last_failure_0"):
                resource.remove(op)
    return changed


def without_quorum(cib: ElementTree.Element) -> ElementTree.Element:
    """The CIB of a partition that has no quorum."""
    changed = copy.deepcopy(cib)
    changed.set("have-quorum", "0")
    return changed


def stopped(cib: ElementTree.Element, resource: str) -> ElementTree.Element:
    """The CIB with that resource told to stop. A set with a higher score goes first (Pacemaker Explained, rules)."""
    changed = copy.deepcopy(cib)
    for primitive in changed.iterfind(f".//primitive[@id='{resource}']"):
        meta = ElementTree.SubElement(primitive, "meta_attributes", {"id": f"what-if-{resource}", "score": "INFINITY"})
        ElementTree.SubElement(meta, "nvpair", {"id": f"what-if-{resource}-role", "name": "target-role", "value": "Stopped"})
    return changed
