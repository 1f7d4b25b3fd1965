"""The machine image: the golden root file system on a disk that a virtual machine boots from.

Derived from the golden image by adding what only a machine with a kernel of its own needs, and kept
beside it under a digest of both. No loop device and no mount: mmdebstrap adds the packages to a copy,
`mkfs.ext4 -d` writes the file system (mke2fs(8)), qemu-img turns it into qcow2. The kernel and its
initramfs lie beside the disk, for direct kernel boot.
"""

import hashlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from halab.errors import ImageError
from halab.image import POLICY, Image, run_mmdebstrap
from halab.lock import lock

#: udev names the disks and starts the getty of the serial console; the guest agent answers over a
#: virtual serial line, and not over the network. The cloud kernel has netem and the watchdog's driver.
ADDED = "linux-image-cloud-{arch},initramfs-tools,zstd,udev,kmod,qemu-guest-agent"
#: What mmdebstrap takes from this machine or leaves empty: the golden image's own are put back.
KEPT = ("etc/apt/sources.list", "etc/hostname", "etc/hosts", "etc/machine-id")
#: Size of the disk, as the machine sees it.
SIZE = "4G"
VERSION = 1

#: The initramfs finds a virtio disk and a network card, and nothing else: a small one is quick to unpack
#: where every instruction is emulated (initramfs.conf(5)), and nobody has to wait for the card later.
INITRAMFS = "MODULES=list\nCOMPRESS=zstd\n"
MODULES = "virtio_blk\nvirtio_net\nvirtio_pci\next4\n"
#: A machine's files come on a disk of their own, a tar archive without a file system, named by its
#: serial number. The initramfs unpacks it before the machine's init starts, and leaves a mark when all of
#: it is on the disk: a machine with the mark keeps what became of its files, one that lost its power
#: before gets them again (a file that was only just written may come back empty: ext4(5), delalloc).
IDENTITY = """\
#!/bin/sh
test "$1" != prereqs && test ! -e "$rootmnt/etc/.identity" || exit 0
chroot "$rootmnt" sh -c 'tar --extract --file=- --directory=/ && sync && touch /etc/.identity' < /dev/disk/by-id/virtio-identity
"""
#: What udev would load for a processor and a board of which a node has no use.
BLACKLIST = "".join(f"blacklist {module}\n" for module in ("kvm_amd", "kvm_intel", "powernow_k8", "pcspkr", "psmouse", "ahci"))
#: What systemd would do at a first boot, or mount for nobody, takes half a minute where it is emulated.
CUSTOMIZE = """\
set -e
systemctl unmask systemd-modules-load.service
systemctl mask dev-hugepages.mount sys-fs-fuse-connections.mount sys-kernel-config.mount run-lock.mount \\
ifupdown-pre.service systemd-pstore.service systemd-random-seed.service systemd-journal-flush.service 2>/dev/null
rm -rf /var/log/apt /var/log/*.log /var/lib/apt/lists/*
touch /etc/.updated /var/.updated
"""
#: systemd gives a device or a service 90 s to appear. On a busy machine that is not enough for an emulated
#: one: its serial console was left without a login (systemd-system.conf(5)).
PATIENCE = "[Manager]\nDefaultDeviceTimeoutSec=15min\nDefaultTimeoutStartSec=15min\n"
#: Written into the tree before the packages come: path -> text.
FILES = {
    "etc/initramfs-tools/conf.d/halab": INITRAMFS,
    "etc/initramfs-tools/scripts/local-bottom/identity": IDENTITY,
    "usr/share/initramfs-tools/modules.d/halab": MODULES,
    "etc/modprobe.d/halab.conf": BLACKLIST,
    "etc/systemd/system.conf.d/patience.conf": PATIENCE,
}


@dataclass(frozen=True)
class MachineImage:
    """The disk, kernel and initramfs made from a golden image that is built."""

    golden: Image

    def __repr__(self) -> str:
        return f"<machine image {self.golden.settings.release} {self.digest}: {'built' if self.built else 'not built'}>"

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the recipe and of the golden image's contents."""
        recipe = json.dumps([VERSION, self.golden.contents, ADDED, FILES, CUSTOMIZE, SIZE])
        return hashlib.sha256(recipe.encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        return self.golden.settings.cache / f"{self.golden.settings.release}-vm-{self.digest}"

    @property
    def built(self) -> bool:
        """True only for a whole image: the folder is renamed into place as the last step."""
        return self.golden.built and all((self.folder / name).is_file() for name in ("disk.qcow2", "vmlinuz", "initrd.img", "image.json"))

    @property
    def about(self) -> dict:
        """release, digest, kernel (its version), seconds (that the build took)."""
        return json.loads((self.folder / "image.json").read_text())

    def build(self, line: Callable[[str], None] = lambda text: None) -> None:
        """Build it unless it is there. Needs root and the golden image. Raises ImageError."""
        if self.built:
            return
        cache = self.golden.settings.cache
        try:
            with lock(cache / ".lock", lambda: line("I: another build goes on; waiting for it")) as held:
                if not self.built:  # by the one that we waited for
                    for left in cache.glob(".building-*"):  # whoever holds the lock is the only one who builds
                        shutil.rmtree(left, ignore_errors=True)
                    with tempfile.TemporaryDirectory(prefix=".building-", dir=cache) as folder:
                        self._build(Path(folder), held.fileno(), line)
        except OSError as error:
            raise ImageError("the machine image is written", error, "free some disk, then `halab image`") from None

    def _build(self, work: Path, held: int, line: Callable[[str], None]) -> None:
        start = time.monotonic()
        work.chmod(0o755)
        tree = work / "tree"
        line("I: copying the golden image")
        self._copy(tree)
        script = work / "customize"
        script.write_text(CUSTOMIZE)
        settings = self.golden.settings
        run_mmdebstrap(
            "--variant=custom", "--skip=check/empty", f"--include={ADDED.format(arch=_architecture())}",
            "--customize-hook=copy-in %s /tmp" % script, '--customize-hook=chroot "$1" sh /tmp/customize',
            settings.release, str(tree), *([settings.mirror] if settings.mirror else []), held=held, line=line,
        )  # fmt: skip
        self._restore(tree)
        line("I: writing the disk")
        kernel = self._write(work, tree)
        about = {"release": settings.release, "digest": self.digest, "kernel": kernel, "seconds": round(time.monotonic() - start)}
        (work / "made" / "image.json").write_text(json.dumps(about))
        for path in (work / "made").iterdir():  # the machines run as a user of their own
            path.chmod(0o644)
        shutil.rmtree(self.folder, ignore_errors=True)
        (work / "made").rename(self.folder)
        line("I: the machine image is whole")

    def _copy(self, tree: Path) -> None:
        """The golden root, but what mmdebstrap would stumble over: devices, and apt's view of a lab that is not there."""
        tree.mkdir()
        _run(f"tar -C {self.golden.rootfs} --exclude='./dev/*' --exclude=./etc/apt/sources.list -cf - . | tar -C {tree} -xpf -")
        for path, text in FILES.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
            (tree / path).chmod(0o755 if text.startswith("#!") else 0o644)

    def _restore(self, tree: Path) -> None:
        for path in KEPT:
            shutil.copy2(self.golden.rootfs / path, tree / path)
        for path in ("etc/resolv.conf", "tmp/customize"):
            (tree / path).unlink(missing_ok=True)
        policy = tree / "usr/sbin/policy-rc.d"
        policy.write_text(POLICY)
        policy.chmod(0o755)

    def _write(self, work: Path, tree: Path) -> str:
        """Disk, kernel and initramfs in `work/made`; the kernel's version."""
        kernel = next((tree / "boot").glob("vmlinuz-*")).name.removeprefix("vmlinuz-")
        made = work / "made"
        made.mkdir(mode=0o755)
        shutil.move(tree / "boot" / f"vmlinuz-{kernel}", made / "vmlinuz")
        shutil.move(tree / "boot" / f"initrd.img-{kernel}", made / "initrd.img")
        raw = work / "raw"
        _run(f"truncate -s {SIZE} {raw}")
        _run(f"mkfs.ext4 -q -F -L root -m 0 -E lazy_itable_init=0,lazy_journal_init=0 -d {tree} {raw}")
        _run(f"qemu-img convert -O qcow2 {raw} {made}/disk.qcow2")
        return kernel


def _architecture() -> str:
    return subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()


def _run(command: str) -> None:
    done = subprocess.run(["sh", "-c", command], check=False, capture_output=True, text=True)
    if done.returncode:
        program, said = command.split()[0], done.stderr.strip()[-400:]
        raise ImageError(f"`{program}` builds the machine image", said, "free some disk, then `halab image`")
