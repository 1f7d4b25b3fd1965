"""Who held the virtual IP, look after look, seen from outside the nodes: also of one that hangs or whose cable is out."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from halab.errors import LabError
from halab.lab import Sight
from halab.wait import seconds

if TYPE_CHECKING:
    from halab.lab import Lab

SIGHTS = {True: Sight.HELD, False: Sight.NOT_HELD, None: Sight.UNKNOWN}


@dataclass(frozen=True)
class Look:
    """One look at all nodes: when (s), and node name -> Sight."""

    at: float
    seen: dict[str, Sight]

    @property
    def holders(self) -> tuple[str, ...]:
        return tuple(sorted(name for name, sight in self.seen.items() if sight is Sight.HELD))

    @property
    def unknown(self) -> tuple[str, ...]:
        return tuple(sorted(name for name, sight in self.seen.items() if sight is Sight.UNKNOWN))


@dataclass(frozen=True)
class Double:
    """A time in which the address was on several nodes: from the first look that saw them to the first that did not
    (or the last look), in s; who held it."""

    start: float
    end: float
    nodes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        return self.end - self.start


def parse_look(line: str, zero: float) -> Look:
    """From a line of `halab.lookout`, on the clock that begins at `zero`. Raises ValueError when it is no such line."""
    try:
        told = json.loads(line)
        return Look(told["at"] - zero, {name: SIGHTS[sight] for name, sight in told["seen"].items()})
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"a look at the nodes, not {line[:80]!r}") from None


def doubles(looks: Iterable[Look]) -> list[Double]:
    """Every time in which two or more nodes held the address."""
    found: list[Double] = []
    looks = list(looks)
    for look, after in pairwise([*looks, *looks[-1:]]):
        if len(look.holders) < 2:
            continue
        if found and found[-1].end == look.at:
            start, nodes = found[-1].start, set(found.pop().nodes)
            found.append(Double(start, after.at, tuple(sorted(nodes | set(look.holders)))))
        else:
            found.append(Double(look.at, after.at, look.holders))
    return found


def pause(looks: Iterable[Look]) -> float:
    """The longest time between two looks, in s: what is shorter than that can go unseen. 0 with less than two."""
    return max((b.at - a.at for a, b in pairwise(looks)), default=0.0)


class Sightings:
    """Looks every `every` seconds while the `with` block runs; `looks` on the clock that begins at `zero`."""

    def __init__(self, lab: Lab, *, every: float = 0.1) -> None:
        self.lab, self.every = lab, every
        self.looks: list[Look] = []
        self._stack = ExitStack()

    def __repr__(self) -> str:
        return f"<sightings of {self.lab.virtual_ip}: held by {' then '.join(self.holders) or 'nobody'}>"

    def start(self, zero: float | None = None) -> Sightings:
        """Begin; returns after the first look. Raises HostDown, and LabError when there is none."""
        self._zero = time.monotonic() if zero is None else zero
        names = [node.name for node in self.lab]
        self._link = self._stack.enter_context(self.lab.host.talk(*self.lab.engine.lookout(names, self.lab.virtual_ip, self.every)))
        self._first = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        if not self._first.wait(seconds("fact")):
            self.stop()
        return self

    def stop(self) -> None:
        """End. Raises LabError when the lookout had ended before: a time that nobody looked at proves nothing."""
        with self._stack:
            looked = self._thread.is_alive() and self._first.is_set()
            self._link.shutdown(socket.SHUT_WR)  # its stdin ends
            self._thread.join(seconds("fact"))
        if not looked:
            raise LabError("the lookout looks to the end", f"it ended after {len(self.looks)} looks", "halab status; host.log of the lab")

    @property
    def holders(self) -> list[str]:
        """Who held it, in order, repeats folded; several at once as `a and b`."""
        found: list[str] = []
        for look in self.looks:
            text = " and ".join(look.holders)
            if text and (not found or found[-1] != text):
                found.append(text)
        return found

    def _read(self) -> None:
        with self._link.makefile("r") as lines:
            for line in lines:
                self.looks.append(parse_look(line, self._zero))
                self._first.set()
