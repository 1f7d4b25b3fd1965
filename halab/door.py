"""Getting in: root by sudo, the lab host started, and the same command again inside it.

Outside the lab host a command only prepares; what it is about happens inside, as the lab's owner.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import IO, NoReturn

import psutil
from rich.console import Console as Screen

from halab import doctor as machine
from halab import host_system
from halab.admission import admit
from halab.engine import pick
from halab.errors import HostDown, MachineLacks, UsageError
from halab.host import Host, readable
from halab.host_start import start
from halab.image import Image
from halab.image_vm import MachineImage
from halab.lab import Lab, current
from halab.lock import only_one
from halab.settings import PREFIX, Settings, load

#: The exit code of what a person interrupted (bash(1), 128 + SIGINT).
INTERRUPTED = 130
screen = Screen(highlight=False, soft_wrap=True, emoji=False)  # ocf:heartbeat:apache is no heart


def interrupted(number: int, frame: object) -> NoReturn:
    """SIGTERM ends a command as Ctrl-C does, once: what it started is ended in order."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def listen() -> None:
    """Heed Ctrl-C and SIGTERM, whatever this process was started with."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, interrupted)


def as_root() -> None:
    """Go on as root: this same command again, through sudo. Raises MachineLacks without sudo."""
    if os.geteuid() == 0:
        return
    if not shutil.which("sudo"):
        raise MachineLacks("root or sudo", f"user {pwd.getpwuid(os.getuid()).pw_name}, no sudo", "run halab as root")
    kept = [f"{k}={v}" for k, v in os.environ.items() if k.startswith(PREFIX)]
    if subprocess.run(["sudo", "env", "true"], check=False).returncode:
        raise MachineLacks("sudo lets you become root", "it refused", "run halab as root, or as a user whom sudo allows")
    os.execvp("sudo", ["sudo", "env", *kept, sys.executable, "-m", "halab", *sys.argv[1:]])


def owner() -> pwd.struct_passwd:
    """Who asked: the user behind sudo, or root itself."""
    return pwd.getpwuid(int(os.environ.get("SUDO_UID", os.getuid())))


def go_in(host: Host, *argv: str) -> int:
    """Run `halab ARGV` inside the lab host, and give its exit code.

    A terminal's Ctrl-C reaches nsenter too, which would end before the command behind it: it is made to ignore that, and
    the command takes notice again by itself (`listen`)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with subprocess.Popen(host.door(sys.executable, "-m", "halab", *argv), pass_fds=host.lock) as door:
        asked = forward(door.pid)
        status = door.wait()
    if signal.SIGINT in asked:  # nsenter, told to ignore it, cannot end as a command that it killed did
        return INTERRUPTED
    if status < 0 or host.process is None:
        raise HostDown(f"lab {host.settings.name} stays up", "it was ended meanwhile", "halab up")
    return status


def forward(door: int) -> list[int]:
    """Pass an end that is asked of us on to the command behind the door; the signals that come, as they come.

    A terminal's Ctrl-C reaches both by itself; `kill` and CI's end of a job reach only this process."""

    came: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        came.append(number)
        if number == signal.SIGTERM or not sys.stdin.isatty():
            for inner in psutil.Process(door).children():
                inner.terminate()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    return came


def enter() -> Lab:
    """The lab, from inside its host: this process when it is inside, else this command again in there."""
    lab = current()
    if not lab.host.inside:
        as_root()
        os.execvp("nsenter", lab.host.door(sys.executable, "-m", "halab", *sys.argv[1:]))
    return lab


def go_in_again() -> int:
    """This command again inside the lab host, as `go_in` does it: one that is interrupted ends in order. Its exit code."""
    as_root()
    return go_in(current().host, *sys.argv[1:])


def go_in_fresh() -> int:
    """This command again inside a lab host that is started when it is not there; its exit code."""
    as_root()
    host = Host(load())
    with host.locked(waiting):
        start_host(host)
    return go_in(host, *sys.argv[1:])


@readable()
def start_host(host: Host, *, agreed: bool = False) -> None:
    """Image and lab host, made when they are not there; `agreed`: what is done to machines of an inventory. Needs root."""
    settings, facts = host.settings, dict[str, object]()
    golden = None if settings.machines else Image(settings)
    machine.require(settings)
    if host.process or host.survives:  # it keeps the image that it was started with
        same_settings(host, settings)
        if host.survives:
            host_system.admit_again(settings, port=not host.process)
    elif golden:
        machine.require_memory(settings)
        facts = host_system.admit(settings) if settings.host == "system" else {}
        build(golden)
        facts |= pick(settings.engine, host)[0].prepare(golden, build)
        machine.require_memory(settings)  # of what the accelerator takes, which is known now
        if "accel" in facts:
            screen.print(f"the machines' accelerator: {facts['accel']} ({facts['why']})", markup=False)
    else:
        facts = admit(settings, printer(), agreed=agreed)
    start(host, golden, owner(), facts)


def clear(host: Host) -> None:
    """Remove nodes and network where they are this machine's (`host = "system"`), with a first process to do it. Needs root."""
    lab = Lab(Settings(**host.about["settings"]))
    host_system.admit_again(lab.settings, port=False)
    start(lab.host, None, owner(), {})
    lab.down(printer())
    lab.host.end()
    with suppress(OSError):  # not ours alone
        host_system.RUN.rmdir()


def same_settings(host: Host, settings: Settings) -> None:
    recorded = host.about["settings"]
    for key, value in settings.model_dump(mode="json").items():
        was = recorded.get(key, Settings.model_fields[key].default)  # one that it did not know was not set
        if key != "timeout_scale" and was != value:
            started = f"it was started with {key}={was}"
            raise UsageError(f"lab {settings.name} runs with {key}={value}", started, "halab down, then halab up")


def build(image: Image | MachineImage, *, quiet: bool = False) -> None:
    """Build the image with a moving line for a person, plain lines for a log."""
    if image.built:
        return
    if quiet or not screen.is_terminal:
        screen.print(f"building {image} (about a minute)")
        image.build(lambda text: screen.print(f"  {text}", markup=False) if text.startswith(("I:", "E:")) else None)
        return
    with screen.status(f"building {image}") as status:
        image.build(lambda text: status.update(f"building {image}: {text[:90]}"))


def waiting() -> None:
    screen.print("another command changes this lab; waiting for it")


def printer() -> Callable[[str], None]:
    return lambda text: screen.print(text, markup=False)


def run_lock(lab: Lab) -> Path:
    return lab.keys.folder / "run.lock"


def only_run(lab: Lab) -> AbstractContextManager[IO]:
    """One run at a time in a lab. Raises UsageError when another one goes on."""
    return only_one(run_lock(lab), "a run")
