"""The lab host: private namespaces with their own libvirtd, where the nodes live and the notebooks run.

Its life is apart from that of the nodes: `up` on the machine starts it, chapter 01 makes the nodes in
it, `down` on the machine ends it. When its first process dies, everything in it dies with it.
"""

import base64
import json
import os
import pwd
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from halab import cgroups
from halab.command import Result, quote
from halab.errors import DeadlinePassed, HostDown, LabError
from halab.lock import lock
from halab.settings import PREFIX, Settings
from halab.wait import eventually, seconds

INSIDE = "HALAB_INSIDE"
#: Everything of a lab host is in namespaces of its own but the user's files.
NAMESPACES = ("--net", "--mount", "--uts", "--ipc", "--pid", "--cgroup")


@contextmanager
def readable() -> Iterator[None]:
    """What root makes in here, the lab's owner and the nodes' users can read, whatever umask(2) the caller's shell has."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


class Host:
    """The lab host of one lab, seen from anywhere: outside (as root) or inside (as the lab's owner)."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.folder
        #: The lock's descriptor while this process holds it: a command that goes on for it holds it too.
        self.lock: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"<lab host {self.settings.name}: {'running' if self.running else 'not running'}>"

    # -- what it is ---------------------------------------------------------------------------------

    @property
    def about(self) -> dict:
        """What `start` recorded: settings, image, owner, instance, start time. Raises HostDown."""
        try:
            return json.loads((self.folder / "host.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            raise HostDown(f"lab {self.settings.name} is running", "no lab host", "halab up") from None

    @property
    def inside(self) -> bool:
        """True when this process runs in this lab host."""
        if os.environ.get(INSIDE) != self.settings.name:
            return False
        return Path("/run/halab/lab").exists() or bool(self.about["settings"].get("machines"))  # theirs has the machine's own /run

    @property
    def process(self) -> psutil.Process | None:
        """The process that holds the namespaces, by pid and start time as recorded; None when it is gone."""
        try:
            recorded = json.loads((self.folder / "process.json").read_text())
            process = psutil.Process(recorded["pid"])
        except (OSError, json.JSONDecodeError, psutil.NoSuchProcess):
            return None
        alive = abs(process.create_time() - recorded["started"]) < 1 and process.status() != "zombie"
        return process if alive else None

    @property
    def survives(self) -> bool:
        """Was it started on this machine itself (`host = "system"`)? Nodes and network are there then when no process of ours is."""
        try:
            return self.about.get("settings", {}).get("host") == "system"
        except HostDown:
            return False

    @property
    def nameserver(self) -> object:
        """Whom the nodes ask for names: the server outside, or this machine's own."""
        private = self.settings.host == "private"
        return self.settings.outside_address if private else self.about["nameserver"] or self.settings.outside_address

    @property
    def running(self) -> bool:
        return self.answers if self.inside else self.process is not None and self.answers

    # -- commands as root in it ---------------------------------------------------------------------

    def run(self, command: str, *args: object, timeout: float = 60, input: bytes | None = None) -> Result:
        """Run a shell command as root in the lab host; `%s` are replaced by quoted arguments.

        Never raises for an exit status. Raises HostDown, DeadlinePassed (after `timeout` seconds, times
        HALAB_TIMEOUT_SCALE).
        """
        line, timeout = quote(command, *args), seconds(timeout)
        request = {"argv": ["sh", "-c", line], "timeout": timeout}
        if input is not None:
            request["input"] = base64.b64encode(input).decode()
        answer = self._ask(request, timeout + 5)
        if "error" in answer:
            error = DeadlinePassed if answer["error"] == "DeadlinePassed" else LabError
            raise error(f"lab host: `{line}` within {timeout:g} s", answer["message"])
        return Result("host", line, answer["status"], answer["stdout"], answer["stderr"])

    def check_output(self, command: str, *args: object, timeout: float = 60, input: bytes | None = None) -> str:
        """Like `run`, but gives stdout and raises LabError when the exit status is not 0."""
        return self.run(command, *args, timeout=timeout, input=input).check(LabError)

    @contextmanager
    def talk(self, *argv: str) -> Iterator[socket.socket]:
        """Start a program as root in the lab host; the socket is its stdin and stdout. It ends itself when its
        stdin does, so also when this process dies. Raises HostDown."""
        with socket.socket(socket.AF_UNIX) as link:
            try:
                link.connect(str(self.settings.socket))
                link.sendall(json.dumps({"argv": argv, "talk": True}).encode() + b"\n")
            except OSError as error:
                raise HostDown("the lab host answers", error, "halab up") from None
            yield link

    def _ask(self, request: dict, timeout: float) -> dict:
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(timeout)
                link.connect(str(self.settings.socket))
                link.sendall(json.dumps(request).encode() + b"\n")
                line = link.makefile("rb").readline()
        except OSError as error:
            raise HostDown("the lab host answers", error, "halab up") from None
        if not line:
            raise HostDown("the lab host answers this user", "it closed the connection", "halab status")
        return json.loads(line)

    @property
    def answers(self) -> bool:
        """Does its server answer who asks now?"""
        try:
            return self.run("true", timeout=5).ok
        except LabError:
            return False

    # -- its life -----------------------------------------------------------------------------------

    @contextmanager
    def locked(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """One command at a time changes a lab; a second one calls `waiting` and waits for the first."""
        with readable():
            self.settings.state.mkdir(parents=True, exist_ok=True)
        path = self.settings.state / f".{self.settings.name}.lock"
        with lock(path, waiting) as file:
            self.lock = (file.fileno(),)
            try:
                yield
            finally:
                self.lock = ()

    def end(self) -> None:
        """Kill the lab host, and with it everything in it. Needs root; safe when there is none."""
        if process := self.process:
            with suppress(psutil.NoSuchProcess):
                process.kill()
            # A zombie has ended too: where process 1 does not reap (in a container), it stays one.
            eventually(lambda: self.process is None, within=15, every=0.02, what=f"the first process of lab {self.settings.name} has ended")

    def remove(self) -> None:
        """End the lab host, and remove what it kept. Needs root; safe when there is none."""
        self.end()
        eventually(self._no_cgroups, within=15, what=f"the cgroup folders of lab {self.settings.name} removed")
        shutil.rmtree(self.folder, ignore_errors=True)

    def door(self, *argv: str) -> list[str]:
        """The command line that runs `argv` inside the lab host as the lab's owner. Needs root."""
        try:
            first = self.process.children()[0].pid  # type: ignore[union-attr]
        except (AttributeError, IndexError, psutil.NoSuchProcess):
            raise HostDown(f"lab {self.settings.name} is running", "no lab host", "halab up") from None
        about = self.about
        owner = pwd.getpwuid(about["uid"])
        env = {INSIDE: self.settings.name, "HOME": owner.pw_dir, "USER": owner.pw_name, "LOGNAME": owner.pw_name}
        # What halab.toml said where the command was given; in there the working directory is another.
        given = self.settings.slowed(about.get("slowness", 1))
        env |= {f"{PREFIX}{k.upper()}": str(getattr(given, k)) for k in ("name", "state", "timeout_scale")}
        env |= {f"{PREFIX}ENGINE": "vm", f"{PREFIX}HOST": "system"} if self.survives else {}
        # Whoever ends nsenter means what runs behind it: without this, it would go on in the lab host.
        user = ["setpriv", "--pdeathsig", "TERM"]
        user += [] if about["uid"] == 0 else [f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--init-groups"]
        return [
            *("nsenter", f"--target={first}", *NAMESPACES, "--"),
            *user,
            # An inventory counts with the network that halab.toml names beside it, and is recorded in there.
            *(
                "env",
                "-C",
                os.getcwd(),
                *(f"--unset={PREFIX}{key}" for key in ("ENGINE", "HOST", "MACHINES")),
                *(f"{k}={v}" for k, v in env.items()),
            ),
            *argv,
        ]

    def _no_cgroups(self) -> bool:
        try:
            cgroups.remove(self.settings.name)
        except OSError:
            return False  # the kernel is still ending the last processes
        return True
