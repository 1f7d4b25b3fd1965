"""Engine vm: a node is a virtual machine of QEMU, with a kernel of its own, as in the handbook.

Its disk is a qcow2 overlay over the machine image; who it is comes on a second, tiny disk. QEMU runs as
user 1000000 on the machine, as root in a container does. What the machine's kernel holds is asked of
the QEMU guest agent, over a virtual serial line: that works without a network, and joins no two nodes.
"""

import io
import platform
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from halab import accel, agent, idmap
from halab.command import Result
from halab.engine import Place, parse_addresses
from halab.errors import LabError
from halab.host import Host
from halab.hypervisor import Hypervisor
from halab.image import Image
from halab.image_vm import MachineImage
from halab.settings import Identity
from halab.template import render
from halab.wait import seconds

#: The kernel's command line: the screen and the serial console both show what it says, and the last named is
#: /dev/console (the kernel's admin guide, "serial-console"). Its cures for leaks between users of one processor
#: protect nobody in a lab, and cost an emulated one much (admin guide, "mitigations").
CMDLINE = "root=/dev/vda rw console=tty0 console=ttyS0 net.ifnames=0 quiet mitigations=off"
#: On an emulated machine a program lies at the same addresses each time it is started (admin guide, "norandmaps"):
#: QEMU's translation of code (7.2) holds for one address, and what lies at random was translated anew for every process:
#: a command took 50 ms, and takes 15.
EMULATED = "norandmaps"
MACHINES = {"x86_64": "q35", "aarch64": "virt"}
#: Seconds in which a guest agent that lives answers.
PROMPT = 5
#: Seconds that a look at all machines waits for their agents; an answer that comes later belongs to no look.
LOOK = 1


class Vm:
    name = "vm"
    uri = "qemu:///system"
    reboot_closes_console = False
    hypervisor: Hypervisor

    def __init__(self, host: Host) -> None:
        self.host = host

    @property
    def user(self) -> list[int]:
        """Who QEMU runs as, user and group: nobody's number, or (`host = "system"`) whom this machine's libvirt has for it."""
        return self.host.about.get("qemu", [idmap.BASE, idmap.BASE])

    @property
    def disks(self) -> PurePosixPath:
        return PurePosixPath(self.host.folder / "nodes")

    def prepare(self, golden: Image, build: Callable[..., None]) -> dict[str, object]:
        image = MachineImage(golden)
        build(image)
        chosen = accel.choose(self.host.settings, image.folder / "vmlinuz")
        return {"machine_image": str(image.folder), "accel": chosen.accel, "why": chosen.why, "slowness": accel.SLOWNESS[chosen.accel]}

    def domain_xml(self, node: Identity) -> str:
        about, arch = self.host.about, platform.machine()
        cmdline = CMDLINE if about["accel"] == "kvm" else f"{CMDLINE} {EMULATED}"
        return render(
            "vm.xml.j2", node=node, settings=self.host.settings, accel=about["accel"], image=about["machine_image"], arch=arch,
            machine=MACHINES[arch], disk=self.disk(node), cmdline=cmdline, user=self.user, translated=accel.TRANSLATED,
        )  # fmt: skip

    def disk(self, node: Identity) -> dict[str, str]:
        base = self.disks / node.name
        image = self.host.about["machine_image"]
        return {"backing": f"{image}/disk.qcow2", "overlay": f"{base}/disk.qcow2", "identity": f"{base}/identity.tar"}

    def make_disk(self, node: Identity, files: Mapping[str, tuple[str, int]]) -> None:
        """`files` go into an archive that is the machine's second disk: it unpacks them at its first boot."""
        disk = self.disk(node)
        self.remove_disk(node)
        command = """set -e; mkdir -p %s; umask 077; cat > %s
            qemu-img create -q -f qcow2 -F qcow2 -b %s %s
            chown -R %s %s; chmod 711 %s"""
        folder, (uid, gid) = PurePosixPath(disk["overlay"]).parent, self.user
        args = folder, disk["identity"], disk["backing"], disk["overlay"], f"{uid}:{gid}", folder, folder
        result = self.host.run(command, *args, input=archive(files))
        if not result.ok:
            raise LabError(f"the disk of {node.name} is made", result.stderr.strip(), "halab doctor")

    def remove_disk(self, node: Identity) -> None:
        self.host.run("rm -rf %s", PurePosixPath(self.disk(node)["overlay"]).parent)

    def own_files(self, node: Identity) -> list[str]:
        """What the machine writes goes into the overlay, as blocks; the files here are those that it was given."""
        return [f"/{name}" for name in self.host.check_output("tar -tf %s", self.disk(node)["identity"]).splitlines()]

    def screenshot(self, node: Identity) -> bytes | None:
        import PIL.Image

        picture = io.BytesIO()
        with PIL.Image.open(io.BytesIO(self.hypervisor.screenshot(node.name))) as shown:  # QEMU's own form is PPM
            shown.save(picture, "PNG")
        return picture.getvalue()

    def start(self, node: Identity) -> None:
        self.hypervisor.start(node.name)

    def power_off(self, node: Identity) -> None:
        """QEMU's process ends at once, and with it the machine: nothing in it is told."""
        if self.state(node) in ("running", "paused"):
            self.hypervisor.destroy(node.name)

    def suspend(self, node: Identity) -> None:
        self.hypervisor.suspend(node.name)

    def resume(self, node: Identity) -> None:
        self.hypervisor.resume(node.name)

    def state(self, node: Identity) -> str:
        return self.hypervisor.state(node.name)

    def addresses(self, node: Identity) -> dict[str, Place] | None:
        return addresses(self.hypervisor, node.name)

    def lookout(self, names: list[str], address: object, every: float) -> list[str]:
        return [sys.executable, "-m", "halab.lookout_vm", str(every), str(seconds(LOOK)), str(address), *names]

    def runs(self, node: Identity, program: str) -> bool | None:
        if self.state(node) in ("shut off", "absent"):
            return False
        answer = _ask(self.hypervisor, node.name, "pgrep", "--exact", program)
        return {0: True, 1: False}.get(answer.status) if answer else None  # pgrep(1)


def addresses(hypervisor: Hypervisor, name: str) -> dict[str, Place] | None:
    """The IPv4 addresses that a machine's kernel holds, as its guest agent tells; None: not known.

    A paused machine still holds what it held; nobody can ask it what that is."""
    if hypervisor.state(name) in ("shut off", "absent"):  # no running kernel holds nothing
        return {}
    answer = _ask(hypervisor, name, "ip", "-j", "-4", "addr")
    return parse_addresses(answer.stdout) if answer and answer.ok else None


def _ask(hypervisor: Hypervisor, name: str, *argv: str) -> Result | None:
    domain = hypervisor.domain(name)
    return agent.run(domain, *argv, timeout=PROMPT) if domain else None


def archive(files: Mapping[str, tuple[str, int]]) -> bytes:
    """A tar archive (tar(5)) of files owned by root: path -> text, mode. Its length is a whole number of sectors."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, (text, mode) in files.items():
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size, member.mode, member.uname, member.gname = len(text.encode()), mode, "root", "root"
            tar.addfile(member, io.BytesIO(text.encode()))
    return data.getvalue()
