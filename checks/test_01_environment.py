"""Chapter 01: three machines on one bridge, with names, addresses and a way out."""

import re
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface

import pytest

from halab.errors import LabError
from halab.expect import become, on_every_node, require
from halab.lab import Lab
from halab.node import Node
from halab.probe import listens


@pytest.mark.check(
    points=1,
    hint="`ip link add` makes it, `ip link set … up` switches it on; an address too many: `ip addr del`, here on the host",
    more="`lab.network.create_bridge()` makes it as the chapter does",
    read="ip-link(8)",
)
def test_bridge(lab: Lab) -> None:
    """The bridge is up and has the host's address; the host has no other of this network"""
    s, faults = lab.settings, lab.network.faults([])
    require(not faults, expected=f"{s.bridge} is a bridge, and up", seen=faults, show=f"ip -d link show dev {s.bridge}")
    ours = [f"{address}{place}" for address, place in lab.network.addresses.items() if IPv4Address(address) in s.subnet]
    want = f"{s.host_address}/{s.subnet.prefixlen} on {s.bridge}"
    require(ours == [want], expected=f"the host has {want}, and no further address of this network", seen=ours, show="ip -4 addr")


@pytest.mark.check(
    points=1,
    hint="`node.define()`, then `node.start()`",
    more="`virsh start NAME` in `halab exec -- bash`, or `halab up`",
    read="virsh(1), define and start",
)
def test_running(lab: Lab) -> None:
    """Every node runs"""
    states = lab.each(lambda node: node.state)
    wrong = {name: state for name, state in states.items() if state != "running"}
    require(not wrong, expected="every node is running", seen=wrong, show="virsh list --all")


@pytest.mark.check(
    points=1,
    needs=("bridge", "running"),
    hint="a cable has the name of its node; `ip link` on the host shows where it ends",
    more="`ip link set NODE master $BRIDGE up` on the host, for each that is named above",
    read="bridge(8), ip-link(8)",
)
def test_plugged(lab: Lab) -> None:
    """Every node's cable ends in the bridge, and is up"""
    become(lambda: lab.network.faults(node.name for node in lab), lambda faults: not faults,
           expected=f"every node plugged into {lab.settings.bridge}",
           show="ovs-vsctl show" if lab.settings.bridge_type == "openvswitch" else "bridge link")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("running",),
    hint="the interface's file on that node, then a reboot",
    more="`ip link set eth0 up; ip addr flush dev eth0; ifdown eth0; ifup eth0` on its console (`halab console NODE`)",
    read="interfaces(5)",
)
def test_addresses(lab: Lab) -> None:
    """Every node holds its own address, and no other of this network but the virtual one"""
    prefix = lab.settings.subnet.prefixlen

    def held(node: Node) -> list[str]:
        seen = node.seen_addresses
        if seen is None:
            raise LabError(f"the addresses of {node.name} can be seen", "unknown", "halab status")
        ours = {a: place for a, place in seen.items() if IPv4Address(a) in lab.settings.subnet and a != str(lab.virtual_ip)}
        return sorted(f"{a}{place}" for a, place in ours.items())

    def wrong() -> dict[str, object]:
        return {node.name: seen for node in lab if (seen := held(node)) != [f"{node.address}/{prefix} on eth0"]}

    become(wrong, lambda found: not found, within="boot", show="ip -4 addr",
           expected=f"each node has its own address of the network with /{prefix} on eth0, and no further one")  # fmt: skip


@pytest.mark.check(
    points=1,
    partial=True,
    needs=("addresses",),
    hint="between expected and observed is the line to mend in /etc/network/interfaces; what `ip addr add` gave is gone after a reboot",
    more="`auto eth0` and `iface eth0 inet static` with `address` and `gateway` belong into /etc/network/interfaces",
    read="interfaces(5)",
)
def test_addresses_at_boot(lab: Lab) -> None:
    """Every node takes its address and gateway from its file at boot"""

    def at_boot(node: Node) -> str:
        said = dict(line.split(": ", 1) for line in node.run("ifquery eth0").stdout.splitlines() if ": " in line)
        by_itself = node.run("ifquery --list | grep -qx eth0").ok  # the interfaces marked auto
        text = f"{said.get('address', 'no address').partition('/')[0]}/{said.get('netmask', 'no netmask')}"
        with suppress(ValueError):  # what is no address is told as it is
            text = str(IPv4Interface(text))
        route = said.get("gateway") or re.findall(r"default via (\S+)", " ".join(said.values()))[:1]
        return f"{text} by way of {''.join(route) or 'nobody'}" + ("" if by_itself else ", but not by itself")

    prefix, gateway = lab.settings.subnet.prefixlen, lab.settings.host_address
    on_every_node(lab, lambda node: at_boot(node).replace(str(node.address), "ADDRESS"), f"ADDRESS/{prefix} by way of {gateway}",
                  expected=f"eth0 is brought up with the node's ADDRESS/{prefix} by way of {gateway}",
                  show="ifquery --list; ifquery eth0")  # fmt: skip


@pytest.mark.check(
    points=1,
    partial=True,
    needs=("addresses",),
    hint="/etc/hostname, then a reboot",
    more="`hostnamectl hostname NAME`, with the node's name",
    read="hostname(5)",
)
def test_hostnames(lab: Lab) -> None:
    """Every node is called by its name, now and after a reboot"""

    def named(node: Node) -> str:
        now, *at_boot = node.check_output("uname -n; cat /etc/hostname").split()
        return "" if [now, *at_boot] == [node.name] * 2 else f"{now}, and {' '.join(at_boot) or 'nothing'} in the file"

    on_every_node(lab, named, "", expected="uname -n and /etc/hostname are the node's name", show="uname -n; cat /etc/hostname")


@pytest.mark.check(
    points=2,
    partial=True,
    needs=("addresses",),
    hint="/etc/hosts must be the same on all nodes",
    more="`echo 'ADDRESS NAME' >> /etc/hosts` on that node, for each that is missing; localhost is 127.0.0.1",
    read="hosts(5), getent(1)",
)
def test_names(lab: Lab) -> None:
    """Every node finds every node's address by its name, without a name server"""
    want = {node.name: [str(node.address)] for node in lab} | {"localhost": ["127.0.0.1"]}
    ask = "for n in %s; do echo $n $(getent -s files ahostsv4 $n | cut -d ' ' -f 1 | sort -u); done" % " ".join(want)

    def found(node: Node) -> dict[str, list[str]]:
        return {name: addresses for name, *addresses in map(str.split, node.run(ask).stdout.splitlines())}

    on_every_node(lab, found, want, expected=f"the names of {len(lab.nodes)} nodes and localhost in /etc/hosts, each with its one address",
                  show="getent -s files ahostsv4 NAME")  # fmt: skip


@pytest.mark.check(
    points=2,
    needs=("names",),
    hint="are both plugged into the bridge?",
    more="ping by number first: `ip neigh` tells whether the other's card answers; `sysctl net.ipv4.icmp_echo_ignore_all` must be 0",
    read="ping(8)",
)
def test_each_reaches_each(lab: Lab) -> None:
    """Every node reaches every node by name"""
    names = [node.name for node in lab]

    def unreached(node) -> list[str]:
        script = "for n in %s; do ping -q -c 1 -W 2 $n >/dev/null 2>&1 || echo $n; done" % " ".join(names)
        return node.run(script, timeout=60).stdout.split()

    on_every_node(lab, unreached, [], expected="no name is out of reach", show="ping -c 1 NAME")


@pytest.mark.check(
    points=1,
    hint="sysctl -w net.ipv4.ip_forward=1",
    more="it is the host that forwards, not a node: `%%host`, or `halab exec -- bash`",
    read="ip-sysctl in the kernel's documentation",
)
def test_forwarding(lab: Lab) -> None:
    """The host forwards packets"""
    require(lab.network.forwarding, expected="net.ipv4.ip_forward is 1", seen="0", show="sysctl net.ipv4.ip_forward")


@pytest.mark.check(
    points=2,
    needs=("addresses", "forwarding"),
    hint="`ip route` on a node must name the host as gateway; what leaves the host by eth0 must be masqueraded: `nft list ruleset` there",
    more="`nft add rule ip halab postrouting oifname eth0 masquerade` on the host; `ip route` on the node must name the host as gateway",
    read="nft(8), NAT statements",
)
def test_way_out(lab: Lab) -> None:
    """Every node reaches the outside world, which sees only the host's address"""
    _outside_serves(lab, 80)
    url, want = f"http://{lab.settings.outside_address}/", f"hello {lab.settings.uplink_address}"
    on_every_node(lab, lambda node: node.run("curl -s --max-time 4 %s", url).stdout.strip() or "no answer", want,
                  expected=f"the server outside says {want!r}", show=f"curl {url}", within="http")  # fmt: skip


@pytest.mark.check(
    points=1,
    needs=("way_out",),
    hint="each `nameserver` line of /etc/resolv.conf must be that word and the address of the server outside, nothing else",
    more="`echo nameserver $OUTSIDE > /etc/resolv.conf` on that node",
    read="resolv.conf(5)",
)
def test_resolver(lab: Lab) -> None:
    """Every node resolves a name of the outside world, by its name server and at once"""
    want, ask = str(lab.settings.outside_address), "timeout 2 getent -s dns ahostsv4 www.example.org"
    _outside_serves(lab, 53)
    on_every_node(lab, lambda node: (node.run(ask).stdout.split() or ["nothing within 2 s"])[0], want,
                  expected=f"a name server says that www.example.org is {want}", show=ask)  # fmt: skip


@pytest.mark.check(
    points=1,
    needs=("addresses",),
    hint="is the lab's repository in /etc/apt/sources.list?",
    more="`deb [trusted=yes] http://GATEWAY/ ./` is the whole file, GATEWAY the host's address on the bridge",
    read="apt-get(8)",
)
def test_packages(lab: Lab) -> None:
    """apt-get update works on every node"""
    _serves("127.0.0.1", 80)  # the packages, by the one way that nobody can cut
    quickly = "-o Acquire::http::Timeout=5 -o Acquire::Retries=0"
    update = f"apt-get {quickly} -o APT::Update::Error-Mode=any update >/dev/null 2>&1 && apt-cache policy corosync | grep -q %s"
    on_every_node(
        lab, lambda node: node.run(update, lab.settings.host_address).ok or "it does not", True,
        expected="apt-get update reaches the lab's repository", show="apt-get update && apt-cache policy corosync",
    )  # fmt: skip


def _outside_serves(lab: Lab, port: int) -> None:
    """The server outside answers the host there. Whoever switched the host's way out off gets the finding."""
    if (uplink := lab.network.links.get("eth0")) and uplink.up:
        _serves(lab.settings.outside_address, port)


def _serves(address: object, port: int) -> None:
    """The lab's own server answers: else what a node does not get is no finding. Raises LabError."""
    if not listens(address, port):
        raise LabError(f"the lab's server at {address}, port {port}, answers", "it does not", "halab up")
