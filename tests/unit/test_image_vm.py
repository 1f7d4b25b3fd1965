import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from halab import image_vm
from halab.errors import ImageError
from halab.image import POLICY, Image
from halab.image_vm import FILES, IDENTITY, MachineImage
from halab.settings import Settings

Fake = Callable[..., None]


@pytest.fixture
def machine(settings: Settings) -> MachineImage:
    """Over a golden image that looks whole."""
    golden = Image(settings)
    for path in (*image_vm.KEPT, "sbin/init", "usr/sbin/policy-rc.d", "dev/null"):
        (golden.rootfs / path).parent.mkdir(parents=True, exist_ok=True)
        (golden.rootfs / path).write_text(f"golden {path}\n")
    (golden.folder / "image.json").write_text(json.dumps({"packages": {"corosync": "3.1.9-2"}}))
    return MachineImage(golden)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Puts shell scripts in the place of programs."""

    def put(**scripts: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name, script in scripts.items():
            program = folder / name.replace("_", ".", 1).replace("qemu.", "qemu-")
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return put


#: A kernel where apt would put it; what mmdebstrap copies from the machine; disks that are empty files.
GOOD = {
    "mmdebstrap": 'for tree; do case "$tree" in */tree) break;; esac; done; mkdir -p "$tree/boot"; : > "$tree/etc/resolv.conf"\n'
    'echo changed > "$tree/etc/hostname"; : > "$tree/boot/vmlinuz-6.12"; : > "$tree/boot/initrd.img-6.12"',
    "mkfs_ext4": 'while [ "$1" != -d ]; do shift; done; cp "$2/etc/hostname" "$2/usr/sbin/policy-rc.d" "$SEEN"; ls "$2/etc" > "$SEEN/etc"',
    "qemu_img": 'for disk; do :; done; : > "$disk"',
}


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the fake mkfs leaves what it was given."""
    folder = tmp_path / "seen"
    folder.mkdir()
    monkeypatch.setenv("SEEN", str(folder))
    return folder


def test_it_is_kept_under_a_digest_of_the_golden_images_contents(machine: MachineImage) -> None:
    before = machine.digest
    (machine.golden.folder / "image.json").write_text(json.dumps({"packages": {"corosync": "3.1.10-1"}}))
    assert MachineImage(machine.golden).digest != before
    assert machine.folder.name == f"trixie-vm-{before}"


def test_another_recipe_is_another_image(machine: MachineImage, monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine.digest
    monkeypatch.setattr(image_vm, "FILES", {**FILES, "etc/motd": "hello"})
    assert MachineImage(machine.golden).digest != before


def test_a_built_image_has_disk_kernel_and_initramfs_for_everybody_to_read(machine: MachineImage, fake: Fake, seen: Path) -> None:
    fake(**GOOD)
    machine.build()
    assert machine.built
    assert sorted(path.name for path in machine.folder.iterdir()) == ["disk.qcow2", "image.json", "initrd.img", "vmlinuz"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in machine.folder.iterdir()} == {0o644}
    assert machine.about == {"release": "trixie", "digest": machine.digest, "kernel": "6.12", "seconds": 0}


def test_what_is_the_golden_images_own_is_put_back(machine: MachineImage, fake: Fake, seen: Path) -> None:
    fake(**GOOD)
    machine.build()
    assert (seen / "hostname").read_text() == "golden etc/hostname\n"
    assert (seen / "policy-rc.d").read_text() == POLICY
    assert "resolv.conf" not in (seen / "etc").read_text().split()


def test_the_golden_image_stays_as_it_is(machine: MachineImage, fake: Fake, seen: Path) -> None:
    fake(**GOOD)
    machine.build()
    assert (machine.golden.rootfs / "etc/hostname").read_text() == "golden etc/hostname\n"
    assert not (machine.golden.rootfs / "boot").exists()


@pytest.mark.parametrize("broken", GOOD)
def test_a_build_that_fails_says_who_failed_and_leaves_nothing(machine: MachineImage, fake: Fake, seen: Path, broken: str) -> None:
    fake(**GOOD | {broken: "echo 'E: No space left on device' >&2; exit 1"})
    with pytest.raises(ImageError, match="No space left"):
        machine.build()
    assert not machine.built
    assert {path.name for path in machine.golden.settings.cache.iterdir()} == {machine.golden.folder.name}


def test_without_the_golden_image_it_is_not_there(machine: MachineImage, fake: Fake, seen: Path) -> None:
    fake(**GOOD)
    machine.build()
    (machine.golden.folder / "image.json").unlink()
    assert not machine.built


@pytest.mark.parametrize("marked", [True, False])
def test_a_machine_takes_its_identity_until_it_has_all_of_it(tmp_path: Path, marked: bool) -> None:
    """The script of the initramfs, with what it would start shown in place of started."""
    (tmp_path / "etc/ssh").mkdir(parents=True)
    (tmp_path / "etc/ssh/ssh_host_ed25519_key").touch()  # as a power cut leaves it that came too early
    if marked:
        (tmp_path / "etc/.identity").touch()
    script = IDENTITY.replace("chroot ", "echo chroot ").replace("/dev/disk/by-id/virtio-identity", "/dev/null")
    told = subprocess.run(["sh", "-c", script, "identity", ""], env={"rootmnt": str(tmp_path)}, capture_output=True, text=True, check=True)
    does = "tar --extract --file=- --directory=/ && sync && touch /etc/.identity"
    assert told.stdout == ("" if marked else f"chroot {tmp_path} sh -c {does}\n")


def test_asked_for_its_prerequisites_the_script_names_none() -> None:
    told = subprocess.run(["sh", "-c", IDENTITY, "identity", "prereqs"], env={"rootmnt": "/nowhere"}, capture_output=True, check=True)
    assert told.stdout == b""
