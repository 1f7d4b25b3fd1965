"""What corosync and pacemaker say in a node's journal, as events on one clock.

The texts are those of the sources: corosync 3.1 (exec/totemsrp.c, exec/vsf_quorum.c), pacemaker 2.1 and 3.0
(daemons/controld, daemons/fenced, daemons/schedulerd); their authors' own test lab reads the same ones
(python/pacemaker/_cts/patterns.py). They may change with a release: what is not found is missing, never guessed.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halab.errors import HalabError, StudentError

if TYPE_CHECKING:
    from halab.lab import Lab
    from halab.node import Node

#: (kind, program, text); the groups say what it is about.
PATTERNS = tuple(
    (kind, program, re.compile(pattern))
    for kind, program, pattern in (
        ("token lost", "corosync", r"\[TOTEM \] A processor failed, forming new configuration"),
        ("membership", "corosync", r"\[TOTEM \] A new membership \(\S+\) was formed\. ?(Members.*)?"),
        ("quorum lost", "corosync", r"\[QUORUM\] This node is within the non-primary component"),
        ("transition", "pacemaker-schedulerd", r"Calculated transition (\d+)"),
        ("fencing", "pacemaker-controld", r"Requesting fencing \(\w+\) (?:targeting|of) node (\S+)"),
        ("fenced", "pacemaker-fenced", r"Operation '(?:reboot|off)' targeting (\S+) by \S+ for \S+: (?:OK|complete)"),
        ("starting", "pacemaker-controld", r"Requesting local execution of start operation for (\S+) on \S+"),
        ("started", "pacemaker-controld", r"Result of start operation for (\S+) on \S+: (?i:ok)"),
        ("stopped", "pacemaker-controld", r"Result of stop operation for (\S+) on \S+: (?i:ok)"),
        ("failed", "pacemaker-controld", r"Result of (?:start|stop) operation for (\S+) on \S+: (?i:(?!ok))"),
    )
)
PROGRAMS = tuple(sorted({program for _, program, _ in PATTERNS}))


@dataclass(frozen=True, order=True)
class Event:
    """When (s), which node told, what kind of event (the first column of `PATTERNS`), and what it is about."""

    at: float
    node: str
    kind: str
    about: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.about}".strip()


def parse_journal(text: str, node: str, offset: float = 0.0) -> list[Event]:
    """The events in `journalctl --output=json` (journalctl(1), systemd.journal-fields(7)), `offset` s taken off each time.

    The time is the sender's where the journal has it, else that of its arrival. Raises StudentError for another form."""
    found = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            stamp = entry.get("_SOURCE_REALTIME_TIMESTAMP") or entry["__REALTIME_TIMESTAMP"]
            at, program, message = int(stamp) / 1e6 - offset, entry.get("SYSLOG_IDENTIFIER"), entry.get("MESSAGE")
        except (json.JSONDecodeError, KeyError, ValueError, AttributeError):
            raise StudentError(f"the journal of {node} as JSON, a line an entry", line[:100]) from None
        if isinstance(message, str):  # one that is no text comes as a list of bytes
            found += [Event(at, node, kind, (m[1] or "") if m.groups() else "")
                      for kind, of, pattern in PATTERNS if of == program and (m := pattern.search(message))]  # fmt: skip
    return found


def ahead(node: Node) -> float:
    """How many seconds the node's clock (since 1970) is ahead of this process's monotonic one.

    Good to half the time that the question takes, some ms. Containers share the machine's clock, machines do not."""
    answers = []
    for _ in range(3):
        sent = time.monotonic()
        told = float(node.check_output("date +%s.%N", timeout=10))
        done = time.monotonic()
        answers.append((done - sent, told - (sent + done) / 2))
    return min(answers)[1]


def events(nodes: Iterable[Node] | Lab, zero: float, since: float = 0.0) -> list[Event]:
    """What the nodes' journals say from `since` on, sorted, in seconds after `zero` (a time.monotonic()).

    A node that does not answer tells nothing; one that was powered off may have lost its last words."""
    found: list[Event] = []
    for node in nodes:
        try:
            offset = ahead(node) + zero
            chosen = " ".join(f"--identifier={name}" for name in PROGRAMS)
            text = node.check_output(f"journalctl --output=json --quiet --no-pager {chosen} --since=@%s", round(offset + since, 3))
            found += [event for event in parse_journal(text, node.name, offset) if event.at >= since]
        except HalabError:
            continue
    return sorted(found)
