"""What a node is: the seam between a lab and the machines under it.

An engine answers these questions and nothing else; everything common (define, start, stop, console)
is libvirt's and stands in `Hypervisor`. A new engine is one module with one class, named in `pick`.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple, Protocol

from halab.host import Host
from halab.hypervisor import Hypervisor
from halab.image import Image
from halab.settings import Identity


class Place(NamedTuple):
    """Where a node holds an address: the interface's name, the length of the network's prefix in bits, and whether
    the interface is switched on; `again`: where else it holds the same one."""

    interface: str
    prefix: int
    up: bool = True
    again: tuple["Place", ...] = ()

    def __str__(self) -> str:
        here = f"/{self.prefix} on {self.interface}" + ("" if self.up else ", which is down")
        return " and ".join([here, *map(str, self.again)])


def parse_addresses(text: str) -> dict[str, Place] | None:
    """The addresses in the output of `ip -j -4 addr` (ip-address(8)); None when it is no such output."""
    try:
        found: dict[str, Place] = {}
        for link in json.loads(text):
            for info in link.get("addr_info", []):
                here, before = Place(link["ifname"], info["prefixlen"], "UP" in link["flags"]), found.get(info["local"])
                found[info["local"]] = before._replace(again=(*before.again, here)) if before else here
        return found
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        return None


class Engine(Protocol):
    """One way to have machines."""

    name: str
    uri: str
    #: Does a node's console close when the node reboots?
    reboot_closes_console: bool

    def prepare(self, golden: Image, build: Callable[..., None]) -> dict[str, object]:
        """On the machine, as root, before a lab host starts: `build(image)` makes what is missing besides the golden
        image. What to record of it."""

    def domain_xml(self, node: Identity) -> str:
        """The libvirt domain of a node."""

    def make_disk(self, node: Identity, files: Mapping[str, tuple[str, int]]) -> None:
        """A fresh copy-on-write disk over the golden image, with these files in it (path -> text, mode)."""

    def remove_disk(self, node: Identity) -> None:
        """Forget what the node wrote; safe when there is none."""

    def disk(self, node: Identity) -> dict[str, str]:
        """Where the disk's parts are: for people and for tests."""

    @property
    def disks(self) -> PurePosixPath | None:
        """The folder with the disks of all nodes, where copying it is much quicker than replaying a chapter; None elsewhere."""

    def own_files(self, node: Identity) -> list[str]:
        """Paths of the files that are on the node's own disk, besides what it shares: those given to `make_disk`, and
        (lxc) what the node wrote since."""

    def screenshot(self, node: Identity) -> bytes | None:
        """What the node's screen shows now, as a PNG; None: it has none."""

    def start(self, node: Identity) -> None:
        """Power on, to the point where libvirt hears what becomes of the machine; one that runs is left alone."""

    def power_off(self, node: Identity) -> None:
        """Cut the power: nothing in the machine is told. One that is off is left alone."""

    def suspend(self, node: Identity) -> None:
        """Stop its clock: nothing in it runs, nothing is lost."""

    def resume(self, node: Identity) -> None:
        """Let it run on."""

    def state(self, node: Identity) -> str:
        """`running`, `paused`, `shut off` or `absent`."""

    def addresses(self, node: Identity) -> dict[str, Place] | None:
        """The IPv4 addresses that the node's kernel holds, seen from outside; None: cannot be known now."""

    def lookout(self, names: list[str], address: object, every: float) -> list[str]:
        """The program that tells as `halab.lookout` does, run as root in the lab host, who holds that address."""

    def runs(self, node: Identity, program: str) -> bool | None:
        """Does a process of that name run there, seen from outside? None: cannot be known (or not on this engine)."""


def pick(name: str, host: Host, hypervisor_for: type[Hypervisor] = Hypervisor) -> tuple[Engine, Hypervisor]:
    """The engine of that name and the libvirt connection it uses."""
    from halab.engine_lxc import Lxc
    from halab.engine_ssh import Machines
    from halab.engine_vm import Vm

    if name == Machines.name:
        machines = Machines(host)
        return machines, machines.hypervisor
    engines: dict[str, type[Lxc] | type[Vm]] = {"lxc": Lxc, "vm": Vm}
    engine = engines[name](host)
    hypervisor = hypervisor_for(engine.uri)
    engine.hypervisor = hypervisor
    return engine, hypervisor
