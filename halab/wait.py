"""Waiting: one helper with a deadline, one that demands that a state holds, one table of named waits.

A cluster is eventually consistent: a single look proves nothing in either direction. Everything that
waits in this project goes through `eventually` or `stays`, on the monotonic clock.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import TypeVar

from halab.errors import DeadlinePassed, HalabError
from halab.settings import load

T = TypeVar("T")
SCALE = "HALAB_TIMEOUT_SCALE"

#: Seconds a state may take to appear, by name; multiplied by HALAB_TIMEOUT_SCALE.
#: membership and failover follow corosync.conf(5): token + consensus after a loss, with room for
#: a loaded machine; election follows pacemaker's dc-deadtime (20 s by default).
WAITS = {
    "now": 0.0,
    "fact": 10.0,  # what holds already, on a daemon that may just be busy or starting
    "daemon": 15.0,
    "boot": 60.0,
    "membership": 40.0,
    "election": 90.0,
    "resource": 60.0,
    "failover": 90.0,
    "http": 20.0,
}

#: A look is work for the node that is asked, and takes it from what is waited for: the node is let alone for as long as the look
#: took, up to these seconds (times HALAB_TIMEOUT_SCALE), because one that does not answer has no work with it.
REST = 0.3

#: How much of a named wait a check waits: it looks at what stands already, and whoever left something out waits for the answer.
IMPATIENCE = 0.4


def seconds(within: str | float) -> float:
    """The length of a wait in seconds: a name from `WAITS` or a number, times HALAB_TIMEOUT_SCALE."""
    return (WAITS[within] if isinstance(within, str) else within) * load().timeout_scale


def eventually(
    look: Callable[[], T],
    until: Callable[[T], object] = bool,
    *,
    within: str | float,
    every: float = 0.1,
    what: str = "the state asked for",
    retry: tuple[type[Exception], ...] = (),
) -> T:
    """Look until `until(value)` is true and return that value.

    `look` is called at least once, and again `every` seconds after it ended, or later when it takes long (`REST`);
    exceptions named in `retry` count as "not yet".
    Raises DeadlinePassed with the last value (or exception) seen.
    """
    limit = seconds(within)
    deadline = time.monotonic() + limit
    while True:
        last: object
        begun = time.monotonic()
        try:
            value = look()
            if until(value):
                return value
            last = value
        except retry as error:
            last = error
        now = time.monotonic()
        if now + every > deadline:
            raise DeadlinePassed(f"{what} within {limit:g} s", last.in_short if isinstance(last, HalabError) else last)
        Event().wait(max(every, min(now - begun, seconds(REST), deadline - now)))


def stays(look: Callable[[], T], holds: Callable[[T], object] = bool, *, samples: int = 3, every: float = 0.3) -> T:
    """Look `samples` times, `every` seconds apart; return the first value for which `holds` is false,
    else the last one. The caller compares it, so that the message can name the value."""
    for left in range(samples - 1, -1, -1):
        value = look()
        if not holds(value) or not left:
            return value
        Event().wait(every)
    raise ValueError("samples must be at least 1")


@contextmanager
def unhurried() -> Iterator[None]:
    """Within a check that injects a fault: waits of their full length. What was broken takes the time that it takes."""
    before = os.environ.get(SCALE)
    os.environ[SCALE] = str(seconds(1) / IMPATIENCE)
    try:
        yield
    finally:
        os.environ.pop(SCALE)
        os.environ |= {SCALE: before} if before is not None else {}
