"""Fence devices as the CIB has them, and what their agents answer: pacemaker calls them STONITH resources.

How a node's name becomes what the agent is asked for is told in pacemaker-fenced(7): `pcmk_host_map`, `pcmk_host_argument`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from halab import pacemaker
from halab.errors import StudentError

if TYPE_CHECKING:
    from halab.node import Node

KEY = "/etc/cluster/fence_xvm.key"
#: What an agent's exit says when it is asked for the status (Fence Agent API).
POWER = {0: "on", 2: "off"}


@dataclass(frozen=True)
class Device:
    """A STONITH resource: its id, its agent's name, its parameters, and whether a recurring monitor watches it."""

    name: str
    agent: str
    params: dict[str, str]
    watched: bool

    def port(self, node: str) -> str:
        """What the agent is told for that node: the parameter itself where it is given, else by pcmk_host_map, else its name."""
        pairs = re.split(r"[;\s]+", self.params.get("pcmk_host_map", ""))
        mapped = dict(pair.split(":", 1) for pair in pairs if ":" in pair).get(node, node)
        return self.params.get(self.argument, mapped)

    @property
    def argument(self) -> str:
        """The agent's parameter that names what to switch; `none`: it has none."""
        return self.params.get("pcmk_host_argument", "port")

    def request(self, action: str, node: str) -> str:
        """What the fencer writes to the agent's stdin, a `name=value` a line; its own parameters stay with it."""
        given = [f"{name}={value}" for name, value in self.params.items() if not name.startswith("pcmk_") and name != self.argument]
        named = [] if self.argument == "none" else [f"{self.argument}={self.port(node)}"]
        return "\n".join([f"action={action}", *given, *named, ""])


def devices(cib: ElementTree.Element) -> dict[str, Device]:
    """id -> device."""
    found = {}
    for element in cib.iterfind("./configuration/resources//primitive[@class='stonith']"):
        name = element.get("id", "")
        about = pacemaker.primitive(cib, name) or {}
        params = {key: value for key, value in about.items() if key not in ("agent", "monitor")}
        found[name] = Device(name, about.get("agent", "").rpartition(":")[2], params, pacemaker.milliseconds(about.get("monitor", "")) > 0)
    return found


def key_file(cib: ElementTree.Element) -> str:
    """Where the first fence_xvm device looks for its key, by its parameter or by default (fence_xvm(8))."""
    ours = [device for device in devices(cib).values() if device.agent == "fence_xvm"]
    return ours[0].params.get("key_file", KEY) if ours else KEY


def parse_items(text: str) -> tuple[str, ...]:
    """The names in a list of stonith_admin (`--list`, `--list-installed`), as XML, sorted. Raises StudentError."""
    return tuple(sorted(item.text or "" for item in pacemaker.result(text).iterfind("./list/item")))


def able(node: Node, target: str) -> tuple[str, ...]:
    """The devices that this node's fencer would use for the target. Raises StudentError when it does not answer."""
    return _items(node, "--list", target)


def agents(node: Node) -> tuple[str, ...]:
    """The fence agents that are installed on the node."""
    return _items(node, "--list-installed")


def _items(node: Node, *words: str) -> tuple[str, ...]:
    result = node.run("stonith_admin --output-as=xml" + " %s" * len(words), *words, timeout=30)
    try:
        return parse_items(result.stdout)
    except StudentError as error:
        seen = result.stderr.strip() or error.seen
        raise StudentError(f"the fencer answers on {node.name}", seen, "systemctl status pacemaker") from None


def power(node: Node, device: Device, target: str) -> str:
    """What the device's agent, asked on this node, says of the target: `on`, `off`, or what it said instead."""
    result = node.run("/usr/sbin/%s" % device.agent, input=device.request("status", target).encode(), timeout=40)
    said = (result.stdout + result.stderr).strip().splitlines()
    return POWER.get(result.status, f"exit status {result.status}" + (f" ({said[-1]})" if said else ""))
