"""Engine lxc: a node is a container with its own systemd, kernel shared with the machine.

Its disk is an overlay mount: the golden image below, read-only and shared by all nodes; an empty folder
above, where all writes go. Root in the node is user 1000000 on the machine (see `halab.idmap`).
"""

import os
import platform
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

import libvirt
import libvirt_lxc

from halab import cgroups, idmap, lookout
from halab.engine import Place, parse_addresses
from halab.errors import DeadlinePassed, LabError
from halab.host import Host
from halab.hypervisor import Hypervisor
from halab.image import Image
from halab.settings import Identity
from halab.template import render
from halab.wait import eventually

#: Ends a file's text in the script that writes it.
END = "--- end of the file ---"


class Lxc:
    name = "lxc"
    uri = "lxc:///system"
    reboot_closes_console = True
    disks = None
    hypervisor: Hypervisor

    def __init__(self, host: Host) -> None:
        self.host = host

    def prepare(self, golden: Image, build: Callable[..., None]) -> dict[str, object]:
        return {}

    def domain_xml(self, node: Identity) -> str:
        return render(
            "lxc.xml.j2", node=node, settings=self.host.settings, root=self.disk(node)["root"], arch=platform.machine(),
            idmap_base=idmap.BASE, idmap_count=idmap.COUNT,
        )  # fmt: skip

    def disk(self, node: Identity) -> dict[str, str]:
        base = self.host.folder / "nodes" / node.name
        lower = self.host.folder / "lower"
        return {"lower": str(lower), "upper": f"{base}/upper", "work": f"{base}/work", "root": f"{base}/root"}

    def make_disk(self, node: Identity, files: Mapping[str, tuple[str, int]]) -> None:
        disk = self.disk(node)
        self.remove_disk(node)
        owner = f"{idmap.BASE}:{idmap.BASE}"
        lines = ["set -e", 'mkdir -p "$upper" "$work" "$root"']
        for path, (text, mode) in files.items():
            target = f'"$upper"{shlex.quote(path)}'
            lines += [f"mkdir -p $(dirname {target})", f"cat > {target} <<'{END}'\n{text.rstrip()}\n{END}", f"chmod {mode:o} {target}"]
        lines += [f'chown -R {owner} $(dirname "$upper")']
        lines += ['mount -t overlay overlay -o "lowerdir=$lower,upperdir=$upper,workdir=$work" "$root"']
        variables = "; ".join(f"{key}={shlex.quote(value)}" for key, value in disk.items())
        result = self.host.run("sh -s", input=f"{variables}\n{chr(10).join(lines)}\n".encode())
        if not result.ok:
            raise LabError(f"the disk of {node.name} is made", result.stderr.strip(), "halab doctor")

    def remove_disk(self, node: Identity) -> None:
        disk = self.disk(node)
        self.host.run("umount -l %s 2>/dev/null; rm -rf %s", disk["root"], str(PurePosixPath(disk["root"]).parent))

    def own_files(self, node: Identity) -> list[str]:
        return sorted(self.host.check_output("cd %s && find . -type f -printf '/%%P\n'", self.disk(node)["upper"]).splitlines())

    def screenshot(self, node: Identity) -> bytes | None:
        return None

    def start(self, node: Identity) -> None:
        """Start it again when libvirtd lost the container's monitor (seen about once in twenty starts of
        libvirt 9.0: its first message, which takes 7 ms at most on a quiet machine, can come before libvirtd
        listens). libvirtd would never learn that such a container rebooted or ended. What runs of it is killed
        first: libvirt's destroy alone asks politely for 1.8 s."""
        for _ in range(3):
            self.hypervisor.start(node.name)
            try:
                eventually(lambda: self._monitored(node), within=0.5, every=0.02, what=f"libvirtd hears {node.name}")
                return
            except DeadlinePassed:
                self.host.run(f"kill -KILL {self._first(node) or ''} %s", self.hypervisor.pid(node.name))
                self.hypervisor.destroy(node.name)
        raise LabError(f"libvirtd hears {node.name}", "three starts without its first message", "halab down; halab up")

    def power_off(self, node: Identity) -> None:
        """libvirt's destroy alone is no power cut: it sends SIGTERM to every process of a container and
        SIGKILL only 1.6 s later, time enough for pacemaker to ask the cluster for its own shutdown. The
        death of the container's first process ends all others at once (pid_namespaces(7)); destroy is
        for one that can't die, such as a suspended one."""
        if (first := self._first(node)) is None:
            return
        self.host.run(f"kill -KILL {first}")
        try:
            eventually(lambda: self.hypervisor.pid(node.name) is None, within=5, every=0.05)
        except DeadlinePassed:
            self.hypervisor.destroy(node.name)

    def suspend(self, node: Identity) -> None:
        self._freeze(node, 1) if cgroups.pure_v2() else self.hypervisor.suspend(node.name)

    def resume(self, node: Identity) -> None:
        self._freeze(node, 0) if cgroups.pure_v2() else self.hypervisor.resume(node.name)

    def state(self, node: Identity) -> str:
        state = self.hypervisor.state(node.name)
        if state == "running" and cgroups.pure_v2():
            frozen = self.host.run("cat %s/cgroup.freeze", self._group(node)).stdout.strip() == "1"
            return "paused" if frozen else state
        return state

    def _freeze(self, node: Identity, on: int) -> None:
        """libvirt's lxc driver knows the freezer of v1 only; that of v2 is one file (cgroups(7))."""
        self.host.check_output("echo %s > %s/cgroup.freeze", on, self._group(node))

    def _group(self, node: Identity) -> str:
        """The container's own v2 group, as the lab host has it mounted."""
        found = re.search(r"^0::(.*?\.libvirt-lxc)", self.host.run("cat /proc/%s/cgroup", self.hypervisor.pid(node.name)).stdout, re.M)
        if not found:
            raise LabError(f"{node.name} has a group of its own", "none named .libvirt-lxc", "halab status")
        return f"{cgroups.ROOT}{found[1]}"

    def _monitored(self, node: Identity) -> bool:
        """libvirtd knows the container's first process only from the monitor's first message."""
        domain = self.hypervisor.domain(node.name)
        try:
            for descriptor in libvirt_lxc.lxcOpenNamespace(domain, 0):
                os.close(descriptor)
            return True
        except libvirt.libvirtError:
            return False

    def addresses(self, node: Identity) -> dict[str, Place] | None:
        if (first := self._first(node)) is None:  # no running kernel holds nothing
            return {}
        result = self.host.run(f"nsenter -t {first} -n ip -j -4 addr", timeout=5)
        return parse_addresses(result.stdout) if result.ok else None

    def lookout(self, names: list[str], address: object, every: float) -> list[str]:
        return [sys.executable, "-I", lookout.__file__, str(every), str(address), *names]

    def runs(self, node: Identity, program: str) -> bool | None:
        if (first := self._first(node)) is None:
            return False
        found = self.host.run(f"pgrep --ns {first} --nslist pid --exact %s", program, timeout=5)
        return {0: True, 1: False}.get(found.status)  # pgrep(1)

    def _first(self, node: Identity) -> str | None:
        """How the shell of the lab host finds the container's first process, the one child of libvirt's controller."""
        controller = self.hypervisor.pid(node.name)
        return f"$(cat /proc/{controller}/task/{controller}/children)" if controller else None
