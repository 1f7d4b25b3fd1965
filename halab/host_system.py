"""This machine as the lab host (`host = "system"`): its own libvirtd and its own network, as in the handbook.

What is there already is told before anything is made, and never changed; `halab down` takes away what the lab made.
"""

import json
from ipaddress import IPv4Address
from pathlib import Path

from halab.command import run_here
from halab.daemons import DRIVERS
from halab.engine import parse_addresses
from halab.errors import LabError, MachineLacks, UsageError
from halab.hypervisor import Hypervisor
from halab.network import parse_links
from halab.settings import Settings

#: Who answers names, for a machine whose own resolver is one that only it can ask (systemd-resolved(8)).
RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def admit(settings: Settings) -> dict[str, object]:
    """What the lab host records of this machine: how `halab down` leaves it, and whom the nodes ask for names.

    Raises MachineLacks without its libvirtd; UsageError when something is in the lab's way."""
    _nodes_are_new(settings)
    _network_is_new(settings)
    _port_is_free(settings)
    return {"forwarding": FORWARDING.read_text().strip() == "1", "nameserver": nameserver([p.read_text() for p in RESOLVERS if p.exists()])}


def nameserver(files: list[str]) -> str | None:
    """The first name server in files like resolv.conf(5) that another machine could ask too; None: there is none."""
    words = (line.split() for text in files for line in text.splitlines())
    asked = (word[1] for word in words if word[:1] == ["nameserver"] and len(word) == 2)
    return next((address for address in asked if "." in address and not address.startswith("127.")), None)


def _nodes_are_new(settings: Settings) -> None:
    _, uri = DRIVERS[settings.engine]
    try:
        there = {node.name for node in settings.identities} & set(Hypervisor(uri).names())
    except LabError as error:
        raise MachineLacks(f"this machine's libvirtd answers at {uri}", error.seen, "systemctl start libvirtd") from None
    if there:
        names = ", ".join(sorted(there))
        raise UsageError(f"this machine's libvirt has no machine called {names} yet", "it has", "virsh undefine, or host = private")


def _network_is_new(settings: Settings) -> None:
    links = parse_links(run_here("ip", "-j", "-d", "link", timeout=10).check(LabError))
    if there := {settings.bridge, *(node.name for node in settings.identities)} & links.keys():
        raise UsageError("this machine has no interface of that name yet", ", ".join(sorted(there)), "HALAB_BRIDGE=another halab up")
    held = parse_addresses(run_here("ip", "-j", "-4", "addr", timeout=10).check(LabError)) or {}
    used = [address for address in held if IPv4Address(address) in settings.subnet]
    routes = json.loads(run_here("ip", "-j", "route", "show", "root", str(settings.subnet), timeout=10).stdout or "[]")
    if used := used + [route["dst"] for route in routes]:
        fix = "HALAB_SUBNET=10.7.7.0/24 HALAB_VIRTUAL_IP=10.7.7.100 halab up"
        raise UsageError(f"the network {settings.subnet} is free", f"this machine has {used[0]}", fix)


def _port_is_free(settings: Settings) -> None:
    """The packages are served on the bridge; who listens on every address has that one too."""
    for line in run_here("ss", "-Hltn", "sport = :80", timeout=10).check(LabError).splitlines():
        address = line.split()[3].rpartition(":")[0]
        if address in ("*", "0.0.0.0", "[::]", str(settings.host_address)):
            raise UsageError(f"port 80 of {settings.host_address} is free", f"something listens at {address}:80", "ss -ltnp 'sport = :80'")
