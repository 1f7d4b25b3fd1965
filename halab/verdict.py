"""What a check's end means: a verdict, how much of its points is earned, and what is said about it.

An error's class tells whose it is (`halab.errors`); whatever is not the student's is never held against them.
"""

from pathlib import Path

import pytest

from halab.errors import HalabError, HostKeyRefused, StudentError, Unreachable
from halab.expect import describe
from halab.lab import Lab, current


class Overrun(BaseException):
    """A check took too long. No Exception, so that a check which survives every error does not survive this one."""


def of(item: pytest.Item, call: pytest.CallInfo) -> tuple[str, float, str]:
    """(verdict, share of the points that is earned, message)"""
    if call.excinfo is None:
        return "passed", 1, ""
    error = call.excinfo.value
    if isinstance(error, pytest.skip.Exception):
        return "skipped", 0, str(error.msg)
    if isinstance(error, (Unreachable, HostKeyRefused)) and (faults := _cut_off()):
        return "skipped", 0, f"needs the network of chapter 01: {describe(faults)}"
    if isinstance(error, (StudentError, pytest.fail.Exception)) or (isinstance(error, AssertionError) and _own(item, call)):
        return "failed", getattr(error, "share", 0), str(error)
    if isinstance(error, HalabError):
        return "error", 0, f"the lab, not you: {error}"
    if isinstance(error, Overrun):
        return "error", 0, f"the checker, not you: {error}"
    return "error", 0, f"the checker, not you: {type(error).__name__}: {error}"


def _cut_off() -> dict[str, str]:
    """What the student did to the bridge, the cables, addresses or a node's own interface or sshd, when a node can't be reached."""
    try:
        lab = current()
        running = [node for node in lab if node.state == "running"]
        places = {node.name: (node.seen_addresses or {}).get(str(node.address)) for node in running}
        own = {name: f"its address {place or 'is missing'}" for name, place in places.items() if not place or not place.up}
        deaf = {node.name: "sshd does not run" for node in running if lab.engine.runs(node.identity, "sshd") is False}
        return deaf | own | _taken(lab) | lab.network.faults(places)
    except HalabError:
        return {}


def _taken(lab: Lab) -> dict[str, str]:
    """The nodes whose address the host or another node holds as well: who asks for them may meet the wrong machine."""
    held = {"the host": lab.network.addresses} | {node.name: node.seen_addresses or {} for node in lab}
    return {
        node.name: f"its address {node.address} is on {name} too"
        for node in lab for name, addresses in held.items() if name != node.name and str(node.address) in addresses
    }  # fmt: skip


def _own(item: pytest.Item, call: pytest.CallInfo) -> bool:
    """Was the assertion made by the check itself, or a module beside it? A library's says nothing about the cluster."""
    return call.excinfo is not None and Path(call.excinfo.traceback[-1].path).parent in (item.path.parent, item.config.rootpath)


def advice(mark: dict, failures: int) -> list[str]:
    """The lines of help for a finding: one hint, from the second failure on a stronger one, and what to read."""
    lines = [f"hint: {mark['hint']}"] if mark.get("hint") else []
    lines += [f"do: {mark['more']}"] if mark.get("more") and failures > 1 else []
    lines += [f"read: {mark['read']}"] if mark.get("read") else []
    return [_spelt(line) for line in lines]


def _spelt(line: str) -> str:
    """The advice with the lab's values for $VIP and its like, which only the cells of a chapter know."""
    for name, value in current().settings.names.items():
        line = line.replace(f"${name}", str(value))
    return line
