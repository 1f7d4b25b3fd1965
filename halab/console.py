"""A node's console: what a person does with `virsh console`, before there is a network.

A login and a shell on the domain's pty, driven by pexpect. Slower than SSH and one at a time; it works
when nothing else does.
"""

import re
import secrets
import time

import pexpect

from halab.command import Result, quote
from halab.errors import DeadlinePassed, Unreachable
from halab.image import CONSOLE_PASSWORD
from halab.wait import eventually, seconds


class Console:
    """A root shell on a node's console; a context manager. Raises Unreachable when nobody answers."""

    def __init__(self, uri: str, name: str) -> None:
        self.uri, self.name = uri, name
        self._pty: pexpect.spawn | None = None

    def __enter__(self) -> "Console":
        argv = ["-c", self.uri, "console", self.name]
        self._pty = pexpect.spawn("virsh", argv, timeout=seconds("boot"), encoding="utf-8", codec_errors="replace", echo=False)
        self._pty.delayafterclose = 0.02  # not pexpect's 0.1 s; virsh ends with its terminal
        try:
            self._login()
        except (pexpect.TIMEOUT, pexpect.EOF):
            seen = (self._pty.before or "").strip()[-400:]
            self.__exit__()
            raise Unreachable(f"{self.name} answers on its console", seen or "silence", "halab status") from None
        return self

    def __exit__(self, *_: object) -> None:
        if pty := self._pty:
            self._pty = None
            try:
                pty.close(force=True)
            except pexpect.ExceptionPexpect:  # killed, and on a busy machine gone later than pexpect waits for
                eventually(lambda: not pty.isalive(), within="fact", what="virsh ends")

    def run(self, command: str, *args: object, timeout: float = 30) -> Result:
        """Type a command, wait for its end. stdout and stderr arrive as one stream, as on a screen."""
        assert self._pty, "use `with node.console() as console:`"
        line, mark, timeout = quote(command, *args), secrets.token_hex(4), seconds(timeout)
        # The mark is typed in two halves, so that its echo is not taken for the answer.
        self._pty.sendline(f"printf '%s%s\\n' {mark[:4]} {mark[4:]}; {{ {line}\n}}; printf '%s%s=%s\\n' {mark[:4]} {mark[4:]} $?")
        try:
            self._pty.expect(f"{mark}\r?\n", timeout=timeout)
            self._pty.expect(f"{mark}=([0-9]+)\r?\n", timeout=timeout)
        except KeyboardInterrupt:  # what was typed would hold the console for whoever comes next
            self._pty.sendintr()
            raise
        except pexpect.TIMEOUT:
            self._pty.sendintr()
            raise DeadlinePassed(f"{self.name} console: `{line}` within {timeout:g} s", "still running") from None
        except pexpect.EOF:
            raise Unreachable(f"{self.name} stays on its console", "the console closed", "halab status") from None
        text = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", self._pty.before or "").replace("\r", "")
        assert isinstance(self._pty.match, re.Match)
        return Result(f"{self.name} console", line, int(self._pty.match[1]), text, "")

    def leave(self, command: str, *, closes: bool = True) -> None:
        """Type a command that ends this shell, as `systemctl reboot` does, and read until the console closes, or
        else until it asks for a login again.

        Somebody must read: a machine that shuts down waits for its console to take what it says."""
        assert self._pty, "use `with node.console() as console:`"
        self._pty.sendline(command)
        try:
            self._pty.expect(pexpect.EOF if closes else "login: ", timeout=seconds("boot"))
        except pexpect.TIMEOUT:
            raise DeadlinePassed(f"{self.name}: `{command}` ends the console", "it stays open", "halab status") from None

    def check_output(self, command: str, *args: object, timeout: float = 30) -> str:
        return self.run(command, *args, timeout=timeout).check()

    def _login(self) -> None:
        pty = self._pty
        assert pty
        pty.expect("Connected to domain")
        silence, deadline = 0, time.monotonic() + seconds("boot")
        while True:
            if time.monotonic() > deadline:
                raise pexpect.TIMEOUT("no prompt")
            pty.sendline("")
            found = pty.expect([r"login: ", r"[Pp]assword: ", r"[#] $", pexpect.TIMEOUT], timeout=1)
            if found == 0:
                pty.sendline("root")
                pty.expect(r"[Pp]assword: ")
                pty.sendline(CONSOLE_PASSWORD)
                pty.expect(r"[#] $")
            if found in (0, 2):
                break
            silence = silence + 1 if found == 3 else 0
            if silence == 3:  # somebody left something running there. (Earlier, virsh may still take Ctrl-C for its own.)
                pty.sendintr()
                silence = 0
        pty.delaybeforesend = None  # pexpect waits 50 ms before it types, for programs that are about to switch echo off
        # no line editing: a tab in a here-document is a tab
        pty.sendline("exec env TERM=dumb LC_ALL=C.UTF-8 bash --norc --noprofile --noediting")
        pty.sendline("stty -echo cols 200; PS1='# '; PS2=''; printf 're%s\\n' ady")
        pty.expect("ready\r?\n")
