"""A lab under test: the commands of halab on it from the machine, and a way in."""

import ctypes
import json
import os
import pickle
import select
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest

from halab.command import Result
from halab.host import INSIDE
from halab.lab import Lab
from halab.settings import PREFIX, Settings

REPOSITORY = Path(__file__).parents[2]
NUMBER = count(1)


@dataclass
class Live:
    """A lab under test: its settings, the commands of halab on it, and a way in."""

    env: dict[str, str]
    folder: Path = REPOSITORY
    #: What stands before `halab`: a command that gives it another place.
    through: tuple[str, ...] = ()
    started: list[subprocess.Popen] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.env["HALAB_NAME"]

    @cached_property
    def settings(self) -> Settings:
        given = {key.removeprefix(PREFIX).lower(): value for key, value in self.env.items() if key.startswith(PREFIX)}
        return Settings(**{key: json.loads(value) if value.startswith("[") else value for key, value in given.items()})

    @cached_property
    def lab(self) -> Lab:
        return Lab(self.settings)

    def start(self, *argv: str, **env: str) -> subprocess.Popen:
        """`halab ARGV`, begun."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        process = subprocess.Popen(
            [*self.through, sys.executable, "-m", "halab", *argv], cwd=self.folder, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean | {"PYTHONPATH": str(REPOSITORY)} | self.env | env,
        )  # fmt: skip
        self.started.append(process)
        return process

    def halab(self, *argv: str, timeout: float = 120, **env: str) -> Result:
        """`halab ARGV`, done; a traceback is always a failure."""
        return finish(self.start(*argv, **env), timeout)

    def up(self, *argv: str) -> "Live":
        assert (done := self.halab("up", *argv)).ok, done.stderr
        return self

    def within(self, work: Callable[[], Any], timeout: float = 120) -> Any:
        """`work()` in a process inside the lab host: its value, or the exception that it raised."""
        return _within(self.lab, work, timeout)

    def answering(self) -> list[str]:
        """The nodes that answer SSH now."""
        return self.within(lambda: [name for name, yes in self.lab.each(lambda n: n.answers).items() if yes])

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate()
        if self.settings.folder.exists():
            done = self.halab("down")
            assert done.ok, done.stderr


def finish(process: subprocess.Popen, timeout: float = 120) -> Result:
    """The result of a command that was begun."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert "Traceback" not in err, err
    return Result("machine", str(process.args), process.returncode, out, err)


def _within(lab: Lab, work: Callable[[], Any], timeout: float) -> Any:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            _enter(lab)
            if grandchild := os.fork():  # a pid namespace is for children only
                os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) & 0xFF)
            os.setsid()
            answer = _attempt(work)
        except BaseException as error:
            answer = (False, AssertionError(f"cannot enter: {error!r}"))
        os.write(writer, pickle.dumps(answer))
        os._exit(0)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as pipe:
            assert select.select([pipe], [], [], timeout)[0], f"still running after {timeout} s"
            good, value = pickle.load(pipe)
    finally:
        for process in [*psutil.Process(child).children(recursive=True), psutil.Process(child)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        os.waitpid(child, 0)
    if good:
        return value
    raise value


def _attempt(work: Callable[[], Any]) -> tuple[bool, Any]:
    try:
        answer = (True, work())
    except pytest.skip.Exception:
        raise
    except BaseException as error:
        error.add_note(traceback.format_exc())
        answer = (False, error)
    try:
        pickle.loads(pickle.dumps(answer))
    except Exception:
        return (False, AssertionError(str(answer[1])))
    return answer


def _enter(lab: Lab) -> None:
    setns = ctypes.CDLL(None, use_errno=True).setns
    holder = lab.host.process
    assert holder
    first = holder.children()[0].pid
    spaces = [os.open(f"/proc/{first}/ns/{name}", os.O_RDONLY) for name in ("net", "ipc", "uts", "cgroup", "pid", "mnt")]
    for space in spaces:
        if setns(space, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.environ[INSIDE] = lab.settings.name


@contextmanager
def labs() -> Iterator[Callable[..., Live]]:
    made: list[Live] = []

    def make(**settings: object) -> Live:
        env = {f"HALAB_{key.upper()}": str(value) for key, value in settings.items()}
        made.append(Live({"HALAB_NAME": f"live-{os.getpid()}-{next(NUMBER)}", **env}))
        return made[-1]

    try:
        yield make
    finally:
        problems = [problem for one in reversed(made) if (problem := _closed(one))]
    assert not problems, "\n".join(problems)


def _closed(one: Live) -> str:
    try:
        one.close()
    except Exception as error:
        return f"{one.name}: {error}"
    return ""
