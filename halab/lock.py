"""A lock between processes: a file, held by everyone who inherited its descriptor (flock(2)).

A command that is killed while a process goes on for it still holds the lock, through that process.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from halab.errors import UsageError


def held(path: Path) -> bool:
    """Does anybody hold this lock now?"""
    if not path.exists():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def only_one(path: Path, what: str) -> Iterator[IO]:
    """One at a time in a lab, by the lock that is this file. Raises UsageError when another one goes on."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{what} has the lab for itself", "another one goes on", "wait for it, or `halab down`") from None
        yield file


@contextmanager
def lock(path: Path, waiting: Callable[[], None]) -> Iterator[IO]:
    """Hold the lock that is a file; it is removed at the end, and those who wait for it make a new one."""
    while True:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:
                try:
                    yield file
                finally:
                    path.unlink(missing_ok=True)
                return
