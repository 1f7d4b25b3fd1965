"""A client outside the cluster: asks the virtual IP for its page many times a second, and remembers.

One clock (monotonic seconds since the start). Each request is a connection of its own, as a new
visitor's would be, and none waits for another: an outage is seen as fine as a good time.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, insort
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from halab.client import ask, fetch, listens
from halab.errors import LabError, UsageError
from halab.lab import Sight
from halab.sightings import Double, Look, Sightings, doubles
from halab.wait import seconds

__all__ = ["Outage", "Probe", "Sample", "ask", "listens"]

if TYPE_CHECKING:
    from halab.journal import Event
    from halab.lab import Lab
    from halab.measure import Terms


@dataclass(frozen=True)
class Sample:
    """One request: when it was sent and answered (s), which node's page came back (None: no good answer), and
    whether what came back was something else than a page of a node."""

    sent: float
    done: float
    node: str | None
    wrong: bool = False


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
    """Watches the virtual IP while the `with` block runs and `after` seconds more; `samples` afterwards.

    With `holders=True` it also looks from outside who holds the address, ten times a second, on the same clock."""

    def __init__(self, lab: Lab, *, every: float = 0.05, timeout: float = 0.5, after: float = 0.5, holders: bool = False) -> None:
        self.url = f"http://{lab.virtual_ip}/"
        self.every, self.timeout, self.after = every, timeout, after
        self.samples: list[Sample] = []
        self.marks: list[tuple[float, str]] = []
        #: What the nodes' journals say about the time, once `halab.measure.explain` has read them.
        self.events: list[Event] = []
        self.victim = ""
        self.terms: Terms | None = None
        self.predicted: tuple[float, ...] = ()
        self.sightings = Sightings(lab) if holders else None
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __repr__(self) -> str:
        return f"<probe {self.url}: served by {' then '.join(self.servers) or 'nobody'}>"

    def __enter__(self) -> Probe:
        self.zero = time.monotonic()
        if self.sightings:
            self.sightings.start(self.zero)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.wait(self.after)
        self._stop.set()
        self._thread.join(seconds(self.timeout + 5))
        if self.sightings:
            with suppress(LabError) if kind else nullcontext():  # what went wrong first is told
                self.sightings.stop()

    def mark(self, text: str) -> float:
        """Note that something was done now: when (s)."""
        self.marks.append((self.clock, text))
        return self.marks[-1][0]

    @property
    def clock(self) -> float:
        """The time now (s)."""
        return time.monotonic() - self.zero

    def since(self, moment: float) -> str | None:
        """The node whose page came last, by the latest request that was sent after this moment (s) and has ended.

        A request that gets no answer takes long to end: soon after a fault, the latest one is still of the time before."""
        return next((sample.node for sample in reversed(self.samples) if sample.sent > moment), None)

    @property
    def now(self) -> str | None:
        """The node whose page came last, by the latest request that has ended."""
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
        """Every time without an answer in which a request was sent in vain; one that goes on at the end counts up to the last request.

        Answers count in the order in which they came: of two requests, the later one may be answered first."""
        vain = [sample.sent for sample in self.samples if sample.node is None]
        answered = sorted(sample.done for sample in self.samples if sample.node)
        times = [0.0, *answered, max((sample.done for sample in self.samples), default=0.0)]
        return [Outage(last, next_) for last, next_ in pairwise(times) if bisect_left(vain, last) < bisect_left(vain, next_)]

    @property
    def longest(self) -> float:
        """The longest outage in seconds; 0 when there was none."""
        return max((o.seconds for o in self.outages), default=0.0)

    @property
    def lost(self) -> int:
        """How many requests got no good answer."""
        return sum(sample.node is None for sample in self.samples)

    @property
    def wrong(self) -> list[Sample]:
        """Requests that were answered, but not with the page of a node."""
        return [sample for sample in self.samples if sample.wrong]

    @property
    def holders(self) -> dict[float, dict[str, Sight]]:
        """When (s) -> node name -> Sight. Raises UsageError without `holders=True`, as all below."""
        return {look.at: look.seen for look in self.looks}

    @property
    def doubles(self) -> list[Double]:
        """Every time in which two or more nodes held the address; a node that cannot be seen does not count."""
        return doubles(self.looks)

    @property
    def double_seconds(self) -> float:
        return sum(double.seconds for double in self.doubles)

    @property
    def blind(self) -> dict[str, int]:
        """In how many looks a node could not be seen: name -> number, without those that always could."""
        return dict(Counter(name for look in self.looks for name in look.unknown))

    @property
    def looks(self) -> list[Look]:
        """Every look at all nodes, in order."""
        if self.sightings is None:
            raise UsageError("the probe looks who holds the address", "it only asked for pages", "Probe(lab, holders=True)")
        return self.sightings.looks

    def _work(self) -> None:
        at_once = int(seconds(self.timeout) / self.every) + 1  # while nobody answers, so many wait for their end
        with ThreadPoolExecutor(at_once) as pool:
            while not self._stop.is_set():
                begun = time.monotonic()
                pool.submit(self._ask)
                self._stop.wait(max(0.0, self.every - (time.monotonic() - begun)))

    def _ask(self) -> None:
        sent = time.monotonic()
        node, answered = fetch(self.url, self.timeout)
        sample = Sample(sent - self.zero, self.clock, node, answered and node is None)
        with self._lock:
            insort(self.samples, sample, key=lambda one: one.sent)
