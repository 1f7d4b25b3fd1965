"""The accelerator: does KVM really boot a guest on this machine?

`/dev/kvm` proves nothing: in a virtual machine its calls may answer, and guests hang or QEMU gives up.
So the lab's own kernel is booted for a moment, without a disk: it comes to the end of its start and
panics because it finds no root. The answer is remembered, for this machine, kernel and QEMU; who demands KVM
(`accel = kvm`) where it was seen to fail has it probed again.
"""

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from halab.errors import MachineLacks
from halab.settings import Settings
from halab.wait import seconds

KVM = Path("/dev/kvm")
#: What a kernel without a root file system says last (the kernel's init/do_mounts.c).
MARK = "Unable to mount root fs"
#: Seconds that the kernel has for it; with KVM it takes about one.
PATIENCE = 10
#: By how much an emulated machine is slower than the deadlines of `halab.wait` expect.
SLOWNESS = {"kvm": 1.0, "tcg": 5.0}
#: MiB for the translated code of an emulated machine. Where it is full, QEMU throws all of it away and translates anew: one boot
#: fills 117 of it, and with 128 a node of a cluster began anew every 18 s (`info jit` of QEMU's monitor).
TRANSLATED = 512
BOOTED = "the lab's kernel booted with it"
#: For a machine that was only too busy when it was asked.
AGAIN = "`HALAB_ACCEL=kvm halab up` tries KVM again"


@dataclass(frozen=True)
class Answer:
    """`kvm` or `tcg`, and why."""

    accel: str
    why: str

    def __str__(self) -> str:
        return f"{self.accel} ({self.why})"


def choose(settings: Settings, kernel: Path) -> Answer:
    """The accelerator to use, probed when it was not yet. Raises MachineLacks when KVM is asked for and does not work."""
    if settings.accel == "tcg":
        return Answer("tcg", "as set")
    known = remembered(settings, kernel)
    if known is None or (settings.accel == "kvm" and known.accel != "kvm"):
        why = trouble(kernel)
        known = Answer("tcg", why) if why else Answer("kvm", BOOTED)
        _file(settings).write_text(json.dumps({"machine": _machine(kernel), **asdict(known)}))
    if settings.accel == "kvm" and known.accel != "kvm":
        raise MachineLacks("KVM boots a guest on this machine", known.why, "set accel = auto, and machines are emulated")
    return known


def remembered(settings: Settings, kernel: Path) -> Answer | None:
    """The answer of an earlier probe, while machine, kernels and QEMU are the same; None: not probed yet."""
    try:
        found = json.loads(_file(settings).read_text())
        return Answer(found["accel"], found["why"]) if found["machine"] == _machine(kernel) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def trouble(kernel: Path, device: Path = KVM) -> str:
    """Why KVM does not boot this kernel here; empty when it does."""
    try:
        os.close(os.open(device, os.O_RDWR))
    except OSError as error:
        return f"{device}: {error.strerror}"
    try:
        return diagnose(*boot(kernel, "kvm", "host"))
    except OSError as error:
        return f"QEMU: {error.strerror}"


def boot(kernel: Path, accel: str, cpu: str, patience: float = PATIENCE) -> tuple[str, str, str]:
    """Boot a kernel for a moment: what its console said, what QEMU said, and how it ended. Raises OSError without QEMU."""
    argv = [f"qemu-system-{platform.machine()}", "-accel", accel, "-machine", "q35", "-cpu", cpu, "-m", "256", "-nodefaults", "-display",
            "none", "-serial", "stdio", "-no-reboot", "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"]  # fmt: skip
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds(patience), check=False)
        out, err, end = done.stdout, done.stderr, f"QEMU ended with status {done.returncode}"
    except subprocess.TimeoutExpired as passed:
        out, err, end = passed.stdout or b"", passed.stderr or b"", f"the guest was not at its end after {seconds(patience):g} s"
    return out.decode(errors="replace"), err.decode(errors="replace"), end


def diagnose(console: str, said: str, end: str) -> str:
    """Why the guest did not come to its end, from its console, from what QEMU said and how it ended; empty: it did."""
    if MARK in console:
        return ""
    first = next((line.strip() for line in said.splitlines() if line.strip()), "the guest's kernel said nothing" if not console else "")
    return "; ".join(filter(None, (f"{KVM} is there", first, end)))


def _file(settings: Settings) -> Path:
    return settings.cache / "accelerator.json"


def _machine(kernel: Path) -> list[str]:
    """What an answer is true for."""
    try:
        about = os.stat(KVM)
        device = f"{about.st_uid}:{about.st_gid}:{about.st_mode:o}"
    except OSError:
        device = "none"
    qemu = subprocess.run([f"qemu-system-{platform.machine()}", "--version"], check=False, capture_output=True, text=True).stdout
    return [platform.node(), platform.release(), device, qemu.partition("\n")[0], str(kernel)]
