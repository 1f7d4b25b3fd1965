"""A client outside the cluster: asks the virtual IP for its page many times a second, and remembers.

One clock (monotonic seconds since the start). Each request is a connection of its own, as a new
visitor's would be.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from halab.wait import seconds

if TYPE_CHECKING:
    from halab.lab import Lab

PAGE = re.compile(r"pacemaker\d\d")


@dataclass(frozen=True)
class Sample:
    """One request: when it was sent and answered (s), and which node's page came back (None: no answer)."""

    sent: float
    done: float
    node: str | None


@dataclass(frozen=True)
class Outage:
    """A time without an answer: from the last good answer before (or the start) to the first good one after
    (or the last request), in s."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


class Probe:
    """Watches the virtual IP while the `with` block runs and `after` seconds more; `samples` afterwards."""

    def __init__(self, lab: Lab, *, every: float = 0.05, timeout: float = 0.5, after: float = 1.0) -> None:
        self.url = f"http://{lab.virtual_ip}/"
        self.every, self.timeout, self.after = every, timeout, after
        self.samples: list[Sample] = []
        self.marks: list[tuple[float, str]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __repr__(self) -> str:
        return f"<probe {self.url}: served by {' then '.join(self.servers) or 'nobody'}>"

    def __enter__(self) -> Probe:
        self._zero = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.wait(self.after)
        self._stop.set()
        self._thread.join(seconds(self.timeout + 5))

    def mark(self, text: str) -> None:
        """Note that something was done now."""
        self.marks.append((time.monotonic() - self._zero, text))

    @property
    def now(self) -> str | None:
        """The node whose page came last."""
        return self.samples[-1].node if self.samples else None

    @property
    def servers(self) -> list[str]:
        """The nodes that answered, in order, repeats folded."""
        found: list[str] = []
        for sample in self.samples:
            if sample.node and (not found or found[-1] != sample.node):
                found.append(sample.node)
        return found

    @property
    def outages(self) -> list[Outage]:
        """Every time without an answer; one that goes on at the end counts up to the last request."""
        found, last, failed = [], 0.0, False
        for sample in self.samples:
            if sample.node is None:
                failed = True
                continue
            if failed:
                found.append(Outage(last, sample.done))
            last, failed = sample.done, False
        if failed:
            found.append(Outage(last, self.samples[-1].done))
        return found

    @property
    def longest(self) -> float:
        """The longest outage in seconds; 0 when there was none."""
        return max((o.seconds for o in self.outages), default=0.0)

    def _work(self) -> None:
        while not self._stop.is_set():
            sent = time.monotonic()
            node = ask(self.url, self.timeout)
            done = time.monotonic()
            self.samples.append(Sample(sent - self._zero, done - self._zero, node))
            self._stop.wait(max(0.0, self.every - (done - sent)))


def ask(url: str, timeout: float = 0.5) -> str | None:
    """Which node's page is served at `url`: its name, or None when there is no good answer."""
    try:  # verify: without TLS there is nothing to verify, and loading certificates takes 30 ms a client
        with httpx.Client(timeout=seconds(timeout), trust_env=False, verify=False) as client:
            response = client.get(url)
    except httpx.HTTPError:
        return None
    found = PAGE.search(response.text) if response.status_code == 200 else None
    return found.group() if found else None


def listens(address: object, port: int, timeout: float = 0.5) -> bool:
    """Does that port take a connection within `timeout` seconds?"""
    try:
        with socket.create_connection((str(address), port), seconds(timeout)):
            return True
    except OSError:
        return False
