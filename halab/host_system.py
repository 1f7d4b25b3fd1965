"""This machine as the lab host (`host = "system"`): its own libvirtd and its own network, as in the handbook.

What is there already is told before anything is made, and never changed; `halab down` takes away what the lab made.
"""

import json
import pwd
from ipaddress import IPv4Address
from pathlib import Path

from halab.bridge import FAULTS
from halab.command import run_here
from halab.daemons import DRIVERS
from halab.engine import parse_addresses
from halab.errors import LabError, MachineLacks, UsageError
from halab.hypervisor import Hypervisor
from halab.network import TABLE, parse_links
from halab.settings import Settings

#: Who runs QEMU.
QEMU = "libvirt-qemu"
#: Where the lab's first process has a folder of its own mounted, that only it and its children see.
RUN = Path("/run/halab")
#: Who answers names, for a machine whose own resolver is one that only it can ask (systemd-resolved(8)).
RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def admit(settings: Settings) -> dict[str, object]:
    """What the lab host records of this machine: who runs QEMU, and whom the nodes ask for names.

    Raises MachineLacks without its libvirtd; UsageError when something is in the lab's way, or forwarding is off: that is this
    machine's owner's to decide, and is never changed."""
    if there := _machines(settings):
        raise UsageError(
            f"this machine's libvirt has no {', '.join(there)} yet", "it has", "another name for it there, or HALAB_HOST=private"
        )
    if settings.bridge_type == "openvswitch" and not (switch := run_here("ovs-vsctl", "--timeout=5", "show", timeout=10)).ok:
        raise MachineLacks("this machine's Open vSwitch answers", switch.stderr.strip(), "systemctl start openvswitch-switch")
    _network_is_new(settings)
    _port_is_free(settings)
    if FORWARDING.read_text().strip() != "1":
        raise UsageError("this machine forwards packets", "net.ipv4.ip_forward is 0", "sysctl -w net.ipv4.ip_forward=1, if it may")
    return {"qemu": _qemu(), "nameserver": nameserver([path.read_text() for path in RESOLVERS if path.exists()])}


def admit_again(settings: Settings, *, port: bool) -> None:
    """The same of a machine that has the lab, and maybe nothing of ours that runs: what has a node's name must be that node,
    and `port` 80 still free. Raises MachineLacks, UsageError."""
    uuids = {node.name: node.uuid for node in settings.identities}
    if others := [name for name, uuid in _machines(settings).items() if uuid != uuids[name]]:
        raise UsageError(f"{', '.join(others)} is a node of the lab", "it is another machine", "virsh domrename, then the same again")
    if port:
        _port_is_free(settings)


def _qemu() -> list[int]:
    """User and group that libvirt has for QEMU, as Debian's libvirt-daemon-system makes them."""
    try:
        user = pwd.getpwnam(QEMU)
    except KeyError:
        raise MachineLacks(f"this machine has the user {QEMU}", "no such user", "apt-get install libvirt-daemon-system") from None
    return [user.pw_uid, user.pw_gid]


def nameserver(files: list[str]) -> str | None:
    """The first name server in files like resolv.conf(5) that another machine could ask too; None: there is none."""
    words = (line.split() for text in files for line in text.splitlines())
    asked = (word[1] for word in words if word[:1] == ["nameserver"] and len(word) == 2)
    return next((address for address in asked if "." in address and not address.startswith("127.")), None)


def _machines(settings: Settings) -> dict[str, str]:
    """Name -> UUID of the machines of this machine's libvirt that have a node's name."""
    _, uri = DRIVERS[settings.engine]
    try:
        found = Hypervisor(uri).uuids()
    except LabError as error:
        raise MachineLacks(f"this machine's libvirtd answers at {uri}", error.seen, "systemctl start libvirtd") from None
    return {node.name: found[node.name] for node in settings.identities if node.name in found}


def _network_is_new(settings: Settings) -> None:
    links = parse_links(run_here("ip", "-j", "-d", "link", timeout=10).check(LabError))
    if there := {settings.bridge, *(node.name for node in settings.identities)} & links.keys():
        raise UsageError("this machine has no interface of that name yet", ", ".join(sorted(there)), "HALAB_BRIDGE=another halab up")
    held = parse_addresses(run_here("ip", "-j", "-4", "addr", timeout=10).check(LabError)) or {}
    used = [address for address in held if IPv4Address(address) in settings.subnet]
    for which in ("root", "match"):  # within the network, and around it (ip-route(8))
        routes = json.loads(
            run_here("ip", "-j", "-4", "route", "show", "table", "all", which, str(settings.subnet), timeout=10).stdout or "[]"
        )
        used += [f"a route to {route['dst']}" for route in routes if route["dst"] != "default"]
    if used:
        fix = "HALAB_SUBNET=10.7.7.0/24 HALAB_VIRTUAL_IP=10.7.7.100 halab up"
        raise UsageError(f"the network {settings.subnet} is free", f"this machine has {used[0]}", fix)
    for family, table in (("ip", TABLE), ("bridge", FAULTS)):
        if run_here("nft", "list", "table", family, table, timeout=10).ok:
            raise UsageError(
                f"nft has no table {family} {table} yet", "it has", f"nft delete table {family} {table}, if it is of a lab that is gone"
            )


def _port_is_free(settings: Settings) -> None:
    """The packages are served on the bridge; who listens on every address has that one too."""
    for line in run_here("ss", "-Hltn", "sport = :80", timeout=10).check(LabError).splitlines():
        address = line.split()[3].rpartition(":")[0]
        if address in ("*", "0.0.0.0", "[::]", str(settings.host_address)):
            raise UsageError(f"port 80 of {settings.host_address} is free", f"something listens at {address}:80", "ss -ltnp 'sport = :80'")
