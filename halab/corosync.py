"""Facts about corosync on one node: a command and a pure parser each.

`corosync-cmapctl` prints `key (type) = value`, the one stable interface that corosync has
(corosync-cmapctl(8)); of its other tools, which print for people, only the exit status and one number are used.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from halab.errors import StudentError

if TYPE_CHECKING:
    from halab.node import Node

LINE = re.compile(r"^(\S+) \((\w+)\) = (.*)$")


def parse_cmap(text: str) -> dict[str, str]:
    """key -> value, as text. Lines of any other form (binary values have none) are left out."""
    return {m[1]: m[3] for line in text.splitlines() if (m := LINE.match(line))}


def cmap(node: Node, map_name: str = "icmap") -> dict[str, str]:
    """The node's configuration map, or its statistics with `stats`. Raises StudentError when corosync is down."""
    result = node.run("corosync-cmapctl -m %s", map_name, timeout=10)
    if not result.ok:
        raise StudentError(f"corosync runs on {node.name}", result.stderr.strip()[-200:], "systemctl status corosync")
    return parse_cmap(result.stdout)


def members(cmap: dict[str, str]) -> dict[int, str]:
    """node id -> `joined` or `left`, as this node sees the membership (runtime.members.N.status)."""
    found = {}
    for key, value in cmap.items():
        if m := re.fullmatch(r"runtime\.members\.(\d+)\.status", key):
            found[int(m[1])] = value
    return found


def joined(node: Node) -> list[int]:
    """The ids of the members that this node sees joined, sorted; empty when corosync does not run."""
    try:
        return sorted(k for k, status in members(cmap(node)).items() if status == "joined")
    except StudentError:
        return []


def quorate(node: Node) -> bool | None:
    """Does this node's partition have quorum? None: corosync or its quorum service does not answer.

    By the exit status of `corosync-quorumtool -s`: 0 quorate, 2 not, 1 error."""
    return {0: True, 2: False}.get(node.run("corosync-quorumtool -s", timeout=10).status)


def needed(node: Node) -> int | None:
    """How many votes make a quorum here, as votequorum computed it; None when it does not answer.

    No map has this number; `corosync-quorumtool -s` prints it as `Quorum: N`."""
    found = re.search(r"^Quorum:\s+(\d+)", node.run("corosync-quorumtool -s", timeout=10).stdout, re.M)
    return int(found[1]) if found else None


def encrypts(cmap: dict[str, str]) -> bool:
    """Is a cipher in force? `secauth: on` means aes256 unless `crypto_cipher` says otherwise (corosync.conf(5))."""
    secauth = cmap.get("totem.secauth", "off") == "on"
    cipher = cmap.get("totem.crypto_cipher", "aes256" if secauth else "none")
    return cmap.get("totem.transport", "knet") == "knet" and cipher != "none"


def links(stats: dict[str, str]) -> dict[tuple[int, int], bool]:
    """(node id, link) -> connected, from the statistics map (stats.knet.nodeN.linkM.connected)."""
    found = {}
    for key, value in stats.items():
        if m := re.fullmatch(r"stats\.knet\.node(\d+)\.link(\d+)\.connected", key):
            found[int(m[1]), int(m[2])] = value == "1"
    return found


def timeouts(cmap: dict[str, str]) -> tuple[int, int]:
    """(token, consensus) in ms as they are in effect: token grows with the nodes (corosync.conf(5))."""
    return int(cmap["runtime.config.totem.token"]), int(cmap["runtime.config.totem.consensus"])


def ipv4_node_id(address: object) -> int:
    """The node id that corosync 2 derived from an address with `clear_node_high_bit: yes`."""
    number = 0
    for part in str(address).split("."):
        number = number << 8 | int(part)
    return number & 0x7FFFFFFF
