"""What this machine has and lacks for a lab, one finding a line."""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import psutil

from halab import accel, cgroups
from halab.errors import MachineLacks
from halab.host import Host
from halab.image import Image
from halab.image_vm import MachineImage
from halab.settings import Settings

#: program -> Debian package that has it.
PROGRAMS = {
    "mmdebstrap": "mmdebstrap", "libvirtd": "libvirt-daemon", "virtlogd": "libvirt-daemon", "virsh": "libvirt-clients",
    "ip": "iproute2", "nft": "nftables", "arping": "arping", "dnsmasq": "dnsmasq-base", "fence_virtd": "fence-virtd",
    "unshare": "util-linux", "nsenter": "util-linux", "setpriv": "util-linux", "ssh": "openssh-client", "sysctl": "procps",
    "mount": "mount",
}  # fmt: skip
#: The same for what engine vm needs besides, and libvirt's driver for each engine.
QEMU = {f"qemu-system-{platform.machine()}": "qemu-system-x86", "qemu-img": "qemu-utils", "mkfs.ext4": "e2fsprogs"}
DRIVERS = {"ssh": "", "lxc": "lxc", "vm": "qemu"}
#: Of these, what a lab of machines that are there already needs.
TALK = ("ip", "arping", "unshare", "nsenter", "setpriv", "ssh", "mount")
OVS = {"ovs-vsctl": "openvswitch-switch", "ovs-vswitchd": "openvswitch-switch", "ovsdb-server": "openvswitch-common"}
UPLINK = {"slirp4netns": "slirp4netns"}
#: What QEMU itself takes for each machine besides the machine's memory and the code that it translates, MiB: devices, screen.
OVERHEAD = 128
#: MiB free for the image and the nodes' writes; MiB of memory for three nodes and the notebooks.
DISK, MEMORY = 2048, 2048


@dataclass(frozen=True)
class Finding:
    what: str
    ok: bool
    seen: str
    fix: str = ""

    def json(self) -> dict:
        return asdict(self)


def examine(settings: Settings) -> list[Finding]:
    """Everything, in the order in which a lab would need it."""
    memory = [] if Host(settings).process else [*_memory(settings), *_spare(settings)]  # a lab that is up has its own
    return [*_privilege(), *_programs(settings), *_kernel(settings), *memory, *_room(settings), *_image(settings)]


def require(settings: Settings) -> None:
    """Raises MachineLacks for the first thing that a lab can't do without."""
    _demand(_privilege(), _programs(settings), _kernel(settings))


def require_memory(settings: Settings) -> None:
    """Raises MachineLacks where the machines would not find room. Of a lab that is not up: one that is has its memory."""
    _demand(_memory(settings))


def _demand(*findings: Iterator[Finding]) -> None:
    for finding in chain(*findings):
        if not finding.ok:
            raise MachineLacks(f"this machine has {finding.what}", finding.seen, finding.fix)


def _privilege() -> Iterator[Finding]:
    how = "root" if os.geteuid() == 0 else "sudo" if shutil.which("sudo") else ""
    yield Finding("root or sudo", bool(how), how or "neither", "run halab as root, or install sudo")


def _programs(settings: Settings) -> Iterator[Finding]:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    setup = "make setup" if settings.engine == "lxc" else f"HALAB_ENGINE={settings.engine} make setup"
    wanted = PROGRAMS if not settings.machines else {name: PROGRAMS[name] for name in TALK}
    wanted = wanted | (QEMU if settings.engine == "vm" else {}) | (OVS if settings.bridge_type == "openvswitch" else {})
    for program, package in (wanted | (UPLINK if settings.uplink else {})).items():
        found = shutil.which(program, path=path)
        yield Finding(program, bool(found), found or "not found", f"{setup} (or: apt-get install {package})")
    if not (name := DRIVERS[settings.engine]):
        return
    driver = next(Path("/usr/lib").glob(f"*/libvirt/connection-driver/libvirt_driver_{name}.so"), None)
    fix = f"{setup} (or: apt-get install libvirt-daemon-driver-{name})"
    yield Finding(f"libvirt's {name} driver", bool(driver), str(driver or "not found"), fix)


def _kernel(settings: Settings) -> Iterator[Finding]:
    layout = "v2" if cgroups.pure_v2() else "v1" if cgroups.hierarchies() else "none"
    yield Finding("cgroups", layout != "none", layout, "mount the cgroup file systems")
    if settings.engine == "lxc":
        yield from _containers()
    if settings.engine == "vm":
        tun = Path("/dev/net/tun")
        yield Finding(str(tun), tun.exists(), "there" if tun.exists() else "not there", "modprobe tun")


def _containers() -> Iterator[Finding]:
    limit = Path("/proc/sys/user/max_user_namespaces")
    allowed = limit.exists() and int(limit.read_text()) > 0
    yield Finding("user namespaces", allowed, "allowed" if allowed else "not allowed", "sysctl -w user.max_user_namespaces=10000")
    overlay = "overlay" in Path("/proc/filesystems").read_text() or _module("overlay")
    yield Finding("the overlay file system", overlay, "yes" if overlay else "not in this kernel", "a kernel with CONFIG_OVERLAY_FS")
    major, minor = map(int, os.uname().release.split(".")[:2])
    new = (major, minor) >= (5, 19)
    yield Finding("a kernel with idmapped mounts on overlay's lower layer (5.19)", new, os.uname().release, "a newer kernel")


def _memory(settings: Settings) -> Iterator[Finding]:
    """What virtual machines need of the memory that is free."""
    if settings.engine != "vm":
        return
    each = settings.memory + OVERHEAD + (accel.TRANSLATED if _emulated(settings) else 0)
    need, free = settings.nodes * each, psutil.virtual_memory().available >> 20
    fix = "fewer nodes, a smaller HALAB_MEMORY, or engine = lxc"
    yield Finding(f"{need} MiB of memory for {settings.nodes} machines", free >= need, f"{free} MiB", fix)


def _emulated(settings: Settings) -> bool:
    """Must machines be emulated? As long as KVM was not tried: where there is none. `halab up` asks again when it was."""
    if settings.accel != "auto":
        return settings.accel == "tcg"
    image = Image(settings)
    known = accel.remembered(settings, MachineImage(image).folder / "vmlinuz") if image.built else None
    return known.accel == "tcg" if known else not accel.KVM.exists()


def _module(name: str) -> bool:
    return next(Path("/lib/modules", os.uname().release).glob(f"**/{name}.ko*"), None) is not None


def _room(settings: Settings) -> Iterator[Finding]:
    if settings.machines:
        return
    for folder in (settings.cache, settings.state):
        there = next(p for p in (folder, *folder.parents) if p.exists())
        free = shutil.disk_usage(there).free >> 20
        setting = "cache" if folder == settings.cache else "state"
        yield Finding(f"{DISK} MiB free for {folder}", free >= DISK, f"{free} MiB", f"free some disk, or set {setting}")


def _spare(settings: Settings) -> Iterator[Finding]:
    if settings.machines:
        return
    memory = psutil.virtual_memory().available >> 20
    yield Finding(f"{MEMORY} MiB of memory", memory >= MEMORY, f"{memory} MiB", "close other programs")


def _image(settings: Settings) -> Iterator[Finding]:
    if settings.machines:
        return
    image = Image(settings)
    yield Finding("the golden image", image.built, str(image), "halab image")
    if settings.engine == "vm" and image.built:
        machine = MachineImage(image)
        yield Finding("the golden image on a disk", machine.built, str(machine), "halab image")
        yield _accelerator(settings, machine)


def _accelerator(settings: Settings, image: MachineImage) -> Finding:
    """Shown, not probed: `halab up` does that, as root."""
    found = accel.remembered(settings, image.folder / "vmlinuz")
    works = settings.accel != "kvm" or found is None or found.accel == "kvm"
    again = f"; {accel.AGAIN}" if found and found.accel == "tcg" else ""
    seen = f"{found or 'not probed yet: `halab up` does it'}{again}{', set to tcg' if settings.accel == 'tcg' else ''}"
    return Finding("an accelerator for machines", works, seen, "set accel = auto, and machines are emulated")
