"""Facts about pacemaker on one node, from its XML interfaces: `crm_mon` and `cibadmin`.

Quorum and membership are views: ask every node. `crm_mon` says where the cluster believes a resource
runs; it is no evidence of where an address is (see `Lab.holders`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from halab.errors import StudentError

if TYPE_CHECKING:
    from halab.node import Node


@dataclass(frozen=True)
class Status:
    """What `crm_mon` says: dc (name or None), quorum, names of the nodes that are online, in standby, in
    maintenance; resource id -> nodes where it is active; ids of resources that the cluster does not
    manage (unmanaged, in maintenance or blocked) and of orphans, which the configuration does not know;
    one text for each failed operation in the history; ids of the resources that are fence devices; `known`: every
    node of the configuration, whether it is there or not; names of the nodes of which the cluster does not know what
    they still run (unclean)."""

    dc: str | None
    quorum: bool
    online: tuple[str, ...]
    standby: tuple[str, ...]
    maintenance: tuple[str, ...]
    resources: dict[str, tuple[str, ...]]
    unmanaged: tuple[str, ...]
    orphans: tuple[str, ...]
    failures: tuple[str, ...]
    devices: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    unclean: tuple[str, ...] = ()

    @property
    def ready(self) -> tuple[str, ...]:
        """Nodes that can run resources: online, neither in standby nor in maintenance."""
        return tuple(name for name in self.online if name not in self.standby + self.maintenance)


def parse_status(text: str) -> Status:
    """From `crm_mon --output-as=xml`. Raises StudentError when it is no such document or reports an error."""
    root = result(text)
    nodes = root.findall("./nodes/node")
    dc = root.find("./summary/current_dc")
    quorum = dc is not None and dc.get("with_quorum") == "true"
    return Status(
        dc=dc.get("name") if dc is not None else None,
        quorum=quorum,
        online=tuple(sorted(n.get("name", "") for n in nodes if n.get("online") == "true")),
        standby=tuple(sorted(n.get("name", "") for n in nodes if n.get("standby") == "true")),
        maintenance=tuple(sorted(n.get("name", "") for n in nodes if n.get("maintenance") == "true")),
        resources={
            r.get("id", ""): tuple(n.get("name", "") for n in r.findall("node")) if r.get("active") == "true" else ()
            for r in root.iterfind(".//resource")
        },
        unmanaged=tuple(sorted({r.get("id", "") for r in root.iterfind(".//resource") if _left_alone(r)})),
        orphans=tuple(sorted({r.get("id", "") for r in root.iterfind(".//resource") if r.get("orphaned") == "true"})),
        failures=tuple(f"{f.get('op_key')} on {f.get('node')}: {f.get('exitstatus')}" for f in root.findall("./failures/failure")),
        devices=tuple(sorted({r.get("id", "") for r in root.iterfind(".//resource") if r.get("resource_agent", "")[:8] == "stonith:"})),
        known=tuple(sorted(n.get("name", "") for n in nodes)),
        unclean=tuple(sorted(n.get("name", "") for n in nodes if n.get("unclean") == "true")),
    )


def _left_alone(resource: ElementTree.Element) -> bool:
    flags = (resource.get("managed") == "false", resource.get("maintenance") == "true", resource.get("blocked") == "true")
    return any(flags)


def status(node: Node) -> Status:
    """The cluster as this node sees it. Raises StudentError when pacemaker does not answer there."""
    result = node.run("crm_mon -1 --output-as=xml", timeout=20)
    try:
        return parse_status(result.stdout)
    except StudentError as error:
        seen = result.stderr.strip() or error.seen
        raise StudentError(f"pacemaker runs on {node.name}", seen, "systemctl status pacemaker") from None


def controller(node: Node, seen: Status | None = None) -> str:
    """The state of the DC's controller (crmadmin(8)), as this node sees it: S_IDLE, S_TRANSITION_ENGINE, …; "" without a DC.

    `seen`: the cluster as this node has just told it, which names the DC; it is asked again without it."""
    answer = node.run("crmadmin --output-as=xml --status %s", (seen or status(node)).dc or "", timeout=20).stdout
    found = result(answer).find("crmd")
    return found.get("state", "") if found is not None else ""


def idle(node: Node) -> bool:
    """Has the DC nothing left to do?"""
    return controller(node) == "S_IDLE"


def cib(node: Node) -> ElementTree.Element:
    """The cluster's configuration and state as XML (`cibadmin --query`, the `cib` element)."""
    result = node.run("cibadmin --query", timeout=20)
    try:
        return ElementTree.fromstring(result.stdout)
    except ElementTree.ParseError:
        raise StudentError(f"the CIB can be read on {node.name}", result.stderr.strip(), "systemctl status pacemaker") from None


def digest(node: Node) -> str:
    """A short digest of the configuration as this node has it. Raises StudentError when it cannot be read."""
    result = node.run("set -o pipefail; cibadmin --query --scope configuration | sha256sum", timeout=20)
    if not result.ok:
        raise StudentError(f"the CIB can be read on {node.name}", result.stderr.strip(), "systemctl status pacemaker")
    return result.stdout[:12]


def nvpairs(cib: ElementTree.Element, section: str) -> dict[str, str]:
    """name -> value of the nvpairs below `configuration/SECTION` (crm_config, rsc_defaults, op_defaults)."""
    return {p.get("name", ""): p.get("value", "") for p in cib.iterfind(f"./configuration/{section}//nvpair")}


def primitive(cib: ElementTree.Element, name: str) -> dict[str, str] | None:
    """agent (`class:provider:type`), its parameters, and `monitor` (the interval); None: no such resource."""
    for r in cib.iterfind(".//primitive"):
        if r.get("id") == name:
            parts = _parts(cib, r)
            agent = ":".join(filter(None, (parts[0].get("class"), parts[0].get("provider"), parts[0].get("type"))))
            params = {p.get("name", ""): p.get("value", "") for part in parts for p in part.iterfind("./instance_attributes/nvpair")}
            monitors = [op.get("interval", "") for op in _monitors(parts)]
            return {"agent": agent, **params, "monitor": monitors[0] if monitors else ""}
    return None


def _parts(cib: ElementTree.Element, primitive: ElementTree.Element) -> list[ElementTree.Element]:
    """Its template, and the primitive: what it says itself goes before its template."""
    return [*(t for t in cib.iterfind(".//template") if t.get("id") == primitive.get("template")), primitive]


def _monitors(parts: list[ElementTree.Element]) -> list[ElementTree.Element]:
    return [op for part in reversed(parts) for op in part.iterfind("./operations/op") if _watches(op)]


def patience(cib: ElementTree.Element, name: str) -> str:
    """How long the monitor of a resource waits for an answer: by its own timeout, else by that of all operations."""
    ours = [op for r in cib.iterfind(".//primitive") if r.get("id") == name for op in _monitors(_parts(cib, r))]
    return (ours[0].get("timeout") if ours else None) or default_timeout(cib)


def default_timeout(cib: ElementTree.Element) -> str:
    """The timeout of operations that have none of their own; 20 s when nobody says so (Pacemaker Explained, operations)."""
    return nvpairs(cib, "op_defaults").get("timeout", "20s")


def longest_timeout(cib: ElementTree.Element) -> int:
    """The longest that any operation of any resource may take, in ms."""
    given = [op.get("timeout", "") for op in cib.iterfind("./configuration/resources//op")]
    return max(milliseconds(text) for text in [*given, default_timeout(cib)])


def _watches(op: ElementTree.Element) -> bool:
    return op.get("name") == "monitor" and truth(op.get("enabled", "true")) and milliseconds(op.get("interval", "0")) > 0


def watched(primitive: dict[str, str]) -> bool:
    """Does the cluster look after it at least every five minutes? (An interval of 30000 is more than eight hours.)"""
    return 0 < milliseconds(primitive.get("monitor", "")) <= 300_000


def truth(text: str) -> bool:
    """A truth value of the CIB: true, yes, on, y and 1 are true in any case (Pacemaker Explained, "Boolean")."""
    return text.lower() in ("true", "yes", "on", "y", "1")


def meta(cib: ElementTree.Element, name: str) -> dict[str, str]:
    """The meta attributes in force for a resource: its own, else those of the group or clone it is in, else the defaults."""
    found = nvpairs(cib, "rsc_defaults")
    for element in holding(cib, name):
        found |= {p.get("name", ""): p.get("value", "") for p in element.iterfind("./meta_attributes/nvpair")}
    return found


def holding(cib: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """The elements of a resource: the groups and clones that it is in, from the outermost, and itself."""
    every = cib.iterfind("./configuration/resources//*[@id]")
    return [e for e in every if e.get("id") == name or e.find(f".//primitive[@id='{name}']") is not None]


def ties(cib: ElementTree.Element, name: str) -> list[str]:
    """Ids of the location constraints that concern a resource: by its name, by that of a group or clone that
    it is in, by a pattern, or in a set of resources (Pacemaker Explained, location constraints)."""
    names = {e.get("id", "") for e in holding(cib, name)} | {name}

    def concerned(location: ElementTree.Element) -> bool:
        pattern = location.get("rsc-pattern", "").removeprefix("!")
        inverted = location.get("rsc-pattern", "").startswith("!")
        matched = bool(pattern) and any(bool(re.search(pattern, n)) != inverted for n in names)
        listed = {r.get("id", "") for r in location.iterfind("./resource_set/resource_ref")} | {location.get("rsc", "")}
        return matched or bool(names & listed)

    return [c.get("id", "") for c in cib.iterfind("./configuration/constraints/rsc_location") if concerned(c)]


def forget(node: Node, *names: str) -> None:
    """Take resources, with every constraint about them, or a set of defaults out of the configuration, where they are there."""
    for name in names:
        about = " or ".join(f"@{attribute}='{name}'" for attribute in ("id", "rsc", "with-rsc", "first", "then"))
        for xpath in (f"//constraints/*[{about}]", f"//resources/*[@id='{name}']", f"//rsc_defaults/*[@id='{name}']"):
            node.run("cibadmin --delete-all --force --xpath %s", xpath, timeout=20)


#: Units of a time in the CIB, in ms (Pacemaker Explained, "Duration"); without a unit: seconds.
UNITS = {"": 1000, "s": 1000, "sec": 1000, "ms": 1, "msec": 1, "us": 0.001, "usec": 0.001,
         "m": 60_000, "min": 60_000, "h": 3_600_000, "hr": 3_600_000}  # fmt: skip
#: The same in the form of ISO 8601, as far as a cluster has use for it: PT4M, P1DT12H.
ISO = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")


def milliseconds(text: str) -> int:
    """A time of the CIB in ms (`240s`, `4min`, `240`, `PT4M`); 0 for what is no such time."""
    if iso := ISO.fullmatch(text.strip()):
        days, hours, minutes, seconds = (int(part or 0) for part in iso.groups())
        return (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000
    found = re.fullmatch(r"(\d+)\s*([a-z]*)", text.strip().lower())
    return int(int(found[1]) * UNITS.get(found[2], 0)) if found else 0


def constraints(cib: ElementTree.Element) -> list[dict[str, str]]:
    """Each constraint as its attributes, and `type`: rsc_location, rsc_colocation, rsc_order, …"""
    return [{"type": c.tag, **c.attrib} for c in cib.iterfind("./configuration/constraints/*")]


def result(text: str) -> ElementTree.Element:
    """The document that pacemaker's tools print. Raises StudentError when it is none, or reports an error."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise StudentError("an XML answer of pacemaker", str(error)) from None
    if root.tag != "pacemaker-result":
        raise StudentError("an XML answer of pacemaker", f"a document <{root.tag}>")
    code = root.find("status")
    if code is not None and code.get("code") != "0":
        raise StudentError("pacemaker answers", code.get("message", ""))
    return root
