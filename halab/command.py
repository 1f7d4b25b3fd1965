"""A command and its result: how arguments are quoted, what comes back, running one on this machine."""

import os
import shlex
import signal
import subprocess
from dataclasses import dataclass

from halab.errors import CommandFailed, DeadlinePassed, HalabError


@dataclass(frozen=True)
class Result:
    """What a command did: where it ran, its exit status (0 to 255) and both streams as text."""

    where: str
    command: str
    status: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.status == 0

    def check(self, error: type[HalabError] = CommandFailed) -> str:
        """stdout; raises `error` when the exit status is not 0."""
        if self.ok:
            return self.stdout
        said = (self.stderr.strip() or self.stdout.strip())[-2000:]
        raise error(f"{self.where}: `{self.command}` succeeds", f"exit status {self.status}: {said}")

    def __repr__(self) -> str:
        return f"<{self.where}$ {self.command} -> {self.status}>"


def quote(command: str, *args: object) -> str:
    """`command` with each %s replaced by an argument, quoted for the shell.

    >>> quote("cat %s", "a file")
    "cat 'a file'"
    """
    return command % tuple(shlex.quote(str(a)) for a in args) if args else command


def run_here(*argv: str, timeout: float, input: bytes | None = None, where: str = "machine") -> Result:
    """Run a program on this machine. Raises DeadlinePassed after `timeout` seconds (the program and
    its process group are ended), FileNotFoundError when there is no such program."""
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(input, timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise DeadlinePassed(f"{where}: `{shlex.join(argv)}` within {timeout:g} s", "still running") from None
    text = (out.decode(errors="replace"), err.decode(errors="replace"))
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return Result(where, shlex.join(argv), status, *text)
