"""Fencing: a node that no longer answers is powered off before anything of its runs elsewhere.

The agent is fence_xvm of Debian's fence-virt; the device is `halab.fence_device`. `enable` goes the whole way of
chapter 07. What happened is asked of pacemaker's fencer, node by node (stonith_admin(8), `--history`).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from halab import corosync, pacemaker, stonith
from halab.errors import StudentError
from halab.fence_device import FenceDevice
from halab.wait import eventually

if TYPE_CHECKING:
    from halab.lab import Lab
    from halab.node import Node

#: The resource.
NAME = "Fencing"
#: Bytes of a key (fence_xvm(8): at most 4096).
KEY_BYTES = 4096
#: A unit that holds corosync back at boot, and only then: nothing else starts it (systemd.unit(5), Before=).
DELAY_UNIT, DELAY_FILE = "corosync-delay", "/etc/systemd/system/corosync-delay.service"
DELAY = """[Unit]
Description=Wait until the others have noticed that this node was away
Before=corosync.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sleep {seconds}

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Event:
    """One entry of the history: the action (`reboot`, `off`, `on`), its target, the node that asked for it (origin) and
    the program that did (client, with its process id), the node that carried it out (delegate), and `success`, `failed`
    or `pending`; when it ended, as pacemaker says it (empty while it has not)."""

    action: str
    target: str
    origin: str
    client: str
    delegate: str
    status: str
    completed: str = ""

    @property
    def at(self) -> float:
        """When it ended, in s since 1970; infinite while it has not."""
        text = self.completed.replace(" +", "+").replace(" -", "-")  # pacemaker 2.1 puts a space before the zone
        return datetime.fromisoformat(text).timestamp() if text else float("inf")

    def __str__(self) -> str:
        return f"{self.action} of {self.target}, asked for by {self.origin or 'nobody'}, done by {self.delegate or 'nobody'}: {self.status}"


def parse_history(text: str) -> tuple[Event, ...]:
    """The events, newest first, of `stonith_admin --history --output-as=xml`. Raises StudentError when it is no such document."""
    root = pacemaker.result(text)
    return tuple(
        Event(*(e.get(key, "") for key in ("action", "target", "origin", "client", "delegate", "status", "completed")))
        for e in root.iterfind("./list/fence_event")
    )


def clock(node: Node) -> float:
    """What time it is on the node, in s since 1970."""
    return float(node.check_output("date +%s.%N"))


def history(node: Node, since: float = 0) -> tuple[Event, ...]:
    """What the cluster's fencers remember, newest first: what ended since then (s, see `clock`) or has not ended.

    A fencer that starts anew asks the others. Raises StudentError.

    Without `--verbose` stonith_admin 3.0 prints one event, and not the newest."""
    result = node.run("stonith_admin --history '*' --verbose --output-as=xml", timeout=20)
    try:
        return tuple(event for event in parse_history(result.stdout) if event.at >= since)
    except StudentError as error:
        seen = result.stderr.strip() or error.seen
        raise StudentError(f"the fencer answers on {node.name}", seen, "systemctl status pacemaker") from None


def enabled(cib: ElementTree.Element) -> bool:
    """Is stonith-enabled true, as it is by default (Pacemaker Explained, cluster options)?"""
    return pacemaker.truth(pacemaker.nvpairs(cib, "crm_config").get("stonith-enabled", "true"))


def delay(token: int, consensus: int) -> int:
    """Seconds that a node waits at boot before it starts corosync: longer than the others need to miss it (ms each)."""
    return (token + consensus) // 1000 + 2


# -- the whole way, and back ------------------------------------------------------------------------------


def enable(lab: Lab) -> None:
    """Fence every node for real, as chapter 07 does. Safe to repeat. Raises LabError when a node's status cannot be had."""
    first, key = lab.nodes[0], secrets.token_bytes(KEY_BYTES)
    seconds = delay(*corosync.timeouts(corosync.cmap(first)))
    lab.each(lambda node: _prepare(node, key, seconds))
    FenceDevice(lab).start(key)
    if pacemaker.primitive(pacemaker.cib(first), NAME) is None:
        first.check_output("crm configure primitive %s stonith:fence_xvm params key_file=%s pcmk_host_map=%s op monitor interval=60s",
                           NAME, stonith.KEY, host_map(lab))  # fmt: skip
    first.check_output("crm_resource --cleanup --resource %s", NAME)
    first.check_output("crm_attribute --type crm_config --name stonith-enabled --update true")
    eventually(lambda: lab.where(NAME), within="resource", what=f"{NAME} runs", retry=(StudentError,))
    eventually(lambda: lab.each(lambda node: unknown(lab, node)), lambda seen: not any(seen.values()), within="fact",
               what="every node gets every node's power status from the device")  # fmt: skip


def disable(lab: Lab) -> None:
    """Back to the stopgap of chapter 03: stonith-enabled=false, no device, no topology. Safe to repeat."""
    first = lab.nodes[0]
    first.check_output("crm_attribute --type crm_config --name stonith-enabled --update false")
    first.run("cibadmin --delete-all --force --xpath //fencing-topology", timeout=20)
    pacemaker.forget(first, *stonith.devices(pacemaker.cib(first)))
    eventually(lambda: not pacemaker.status(first).devices, within="resource", what="every device is gone", retry=(StudentError,))
    lab.each(_forget)
    FenceDevice(lab).remove()


def host_map(lab: Lab) -> str:
    """Node to domain, for pcmk_host_map: libvirt knows each node under its own name."""
    return ";".join(f"{node.name}:{node.name}" for node in lab)


def unknown(lab: Lab, node: Node) -> list[str]:
    """The nodes of whose power the device says nothing to this node (fence_xvm(8): status ends with 0 on, 2 off)."""
    return [other.name for other in lab if node.run("fence_xvm -o status -H %s -t 3", other.name, timeout=20).status not in (0, 2)]


def _prepare(node: Node, key: bytes, seconds: int) -> None:
    node.check_output("test -x /usr/sbin/fence_xvm || { apt-get -qq update && apt-get -qq install fence-virt; }")
    node.check_output("mkdir -p /etc/cluster")
    node.put(key, stonith.KEY, 0o600)
    node.put(DELAY.format(seconds=seconds), DELAY_FILE)
    node.check_output("systemctl daemon-reload && systemctl -q enable %s", DELAY_UNIT)


def _forget(node: Node) -> None:
    node.check_output("systemctl -q disable %s 2>/dev/null; rm -f %s %s; systemctl daemon-reload", DELAY_UNIT, DELAY_FILE, stonith.KEY)
