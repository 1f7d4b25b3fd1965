"""Chapter 01: mistakes with the bridge, the names and the way out."""

from collections.abc import Iterator

from halab.lab import Lab, Sight
from halab.wait import eventually
from tests.mutants import (
    AFTER_ADDRESSES,
    AFTER_APACHE,
    AFTER_COROSYNC,
    AFTER_HOLDER,
    AFTER_IP,
    AFTER_PACEMAKER,
    AFTER_WEB,
    ASKING,
    mutant,
    spare,
)


@mutant("01/bridge", "01/plugged")
def wrong_prefix(lab: Lab) -> Iterator[None]:
    """The host's address on the bridge has the wrong prefix."""
    bridge, address = lab.settings.bridge, lab.settings.host_address
    swap = "ip addr add %s/%s dev %s && ip addr del %s/%s dev %s"
    lab.host.check_output(swap, address, 25, bridge, address, 24, bridge)
    yield
    lab.host.check_output(swap, address, 24, bridge, address, 25, bridge)


@mutant(
    fails="01/bridge 04/one_holder 05/runs_with_the_address",
    skips=f"01/plugged {ASKING} {AFTER_HOLDER} {AFTER_APACHE}",
)
def the_bridge_is_down(lab: Lab) -> Iterator[None]:
    """The bridge was switched off. Nobody hears anybody, and without quorum the address is given up."""
    lab.host.check_output("ip link set %s down", lab.settings.bridge)
    eventually(lambda: not any(node.runs("apache2") for node in lab), within="resource", what="Apache is stopped")
    eventually(lambda: Sight.HELD not in lab.holders().values(), within="resource", what="the address is given up")
    yield
    lab.host.check_output("ip link set %s up", lab.settings.bridge)


@mutant("01/plugged", ASKING)
def a_cable_pulled(lab: Lab) -> Iterator[None]:
    """The cable of a node that the cluster could spare was pulled from the bridge."""
    node = spare(lab)
    lab.host.check_output("ip link set %s nomaster", node.name)
    yield
    lab.network.plug(node.name)


@mutant(
    fails="01/running 02/service 03/service 04/resource 04/not_at_boot 04/agreement 04/all_ready 04/no_failures 04/no_orphans 04/no_cores "
    "05/resource 05/agreement 05/all_ready 05/no_failures 05/no_orphans 05/no_cores 05/systemd_lets_go 05/pages_differ "
    "05/every_node_could_serve",
    skips=f"01/plugged 01/addresses {AFTER_ADDRESSES} {AFTER_COROSYNC} {AFTER_PACEMAKER} {AFTER_IP} {AFTER_WEB}",
)
def a_node_is_off(lab: Lab) -> Iterator[None]:
    """A node that the cluster could spare was switched off and forgotten."""
    node = spare(lab)
    node.power_off()
    yield
    node.start()
    node.wait_for_ssh()


@mutant("01/addresses", AFTER_ADDRESSES)
def a_stray_address(lab: Lab) -> Iterator[None]:
    """An address from an earlier try is still there."""
    node, stray = spare(lab), lab.settings.subnet[77]
    node.check_output("ip addr add %s/24 dev eth0", stray)
    yield
    node.check_output("ip addr del %s/24 dev eth0", stray)


@mutant("01/addresses", ASKING)
def an_interface_down(lab: Lab) -> Iterator[None]:
    """Somebody tried a failover with `ip link set eth0 down` and forgot it: the node holds its address and hears nobody."""
    node = spare(lab)
    with node.console() as console:
        console.run("ip link set eth0 down")
    yield
    with node.console() as console:
        console.run("ip link set eth0 up; ip route replace default via %s" % lab.settings.host_address)


@mutant("01/addresses", AFTER_ADDRESSES)
def a_network_too_wide(lab: Lab) -> Iterator[None]:
    """A node's own address has the prefix of another network."""
    node, gateway = spare(lab), lab.settings.host_address
    swap = "ip addr add %s/%s dev eth0; ip addr del %s/%s dev eth0; ip route replace default via %s"
    node.check_output(swap, node.address, 16, node.address, 24, gateway)
    yield
    node.check_output(swap, node.address, 24, node.address, 16, gateway)


@mutant("01/addresses_at_boot")
def an_address_until_reboot(lab: Lab) -> Iterator[None]:
    """The interface was brought up by hand; its file does not say `auto`."""
    node, file = spare(lab), "/etc/network/interfaces"
    text = node.get(file)
    node.check_output("sed -i '/^auto eth0/d' %s", file)
    yield
    node.put(text, file)


@mutant("01/hostnames")
def a_name_until_reboot(lab: Lab) -> Iterator[None]:
    """A node has its name only until it is booted again."""
    node = spare(lab)
    node.put("debian\n", "/etc/hostname")
    yield
    node.put(f"{node.name}\n", "/etc/hostname")


@mutant("01/names", "01/each_reaches_each")
def a_typo_in_hosts(lab: Lab) -> Iterator[None]:
    """One node's /etc/hosts has another one's address wrong."""
    node, text = spare(lab), spare(lab).get("/etc/hosts").decode()
    node.put(text.replace(f"{lab.nodes[0].address} ", f"{lab.settings.subnet[99]} "), "/etc/hosts")
    yield
    node.put(text, "/etc/hosts")


@mutant("01/names", "01/each_reaches_each")
def a_line_missing_in_hosts(lab: Lab) -> Iterator[None]:
    """One node's /etc/hosts does not name another node at all."""
    node, text = spare(lab), spare(lab).get("/etc/hosts").decode()
    node.check_output("sed -i '/%s/d' /etc/hosts" % lab.nodes[1].name)
    yield
    node.put(text, "/etc/hosts")


@mutant("01/addresses_at_boot")
def no_such_address(lab: Lab) -> Iterator[None]:
    """A typing mistake in the interface's file, which will be noticed at the next boot."""
    node, file = spare(lab), "/etc/network/interfaces"
    text = node.get(file)
    prefix = str(lab.settings.host_address).rpartition(".")[0]
    node.check_output(f"sed -i -E 's/^( *address).*/\\1 {prefix}.300/' %s", file)
    yield
    node.put(text, file)


@mutant("01/each_reaches_each")
def no_ping(lab: Lab) -> Iterator[None]:
    """A node was told not to answer pings."""
    node = spare(lab)
    node.check_output("sysctl -q -w net.ipv4.icmp_echo_ignore_all=1")
    yield
    node.check_output("sysctl -q -w net.ipv4.icmp_echo_ignore_all=0")


@mutant("01/forwarding", "01/way_out 01/resolver")
def no_forwarding(lab: Lab) -> Iterator[None]:
    """Forwarding was never switched on again."""
    lab.network.set_forwarding(False)
    yield
    lab.network.set_forwarding(True)


@mutant("01/way_out", "01/resolver")
def no_translation(lab: Lab) -> Iterator[None]:
    """The masquerade rule is gone."""
    lab.network.set_masquerading(False)
    yield
    lab.network.set_masquerading(True)


@mutant("01/way_out", "01/resolver")
def no_gateway(lab: Lab) -> Iterator[None]:
    """A node has lost its default route."""
    node = spare(lab)
    node.check_output("ip route del default")
    yield
    node.check_output("ip route add default via %s", lab.settings.host_address)


@mutant("01/resolver")
def wrong_name_server(lab: Lab) -> Iterator[None]:
    """A node asks a name server that does not exist."""
    node, text = spare(lab), spare(lab).get("/etc/resolv.conf")
    node.put(f"nameserver {lab.settings.host_address}\n", "/etc/resolv.conf")
    yield
    node.put(text, "/etc/resolv.conf")


@mutant("01/packages")
def no_repository(lab: Lab) -> Iterator[None]:
    """A node's sources.list is empty: apt-get update succeeds and finds nothing."""
    node, text = spare(lab), spare(lab).get("/etc/apt/sources.list")
    node.put("", "/etc/apt/sources.list")
    yield
    node.put(text, "/etc/apt/sources.list")


@mutant("01/bridge 04/one_holder_each 05/one_holder_each 05/page", "01/plugged")
def the_address_on_the_host(lab: Lab) -> Iterator[None]:
    """`%%host` instead of `%%node`: the virtual IP was added to the bridge, and the host answers itself."""
    address, bridge = f"{lab.virtual_ip}/24", lab.settings.bridge
    lab.host.check_output("ip addr add %s dev %s", address, bridge)
    yield
    lab.host.check_output("ip addr del %s dev %s", address, bridge)


@mutant("01/names", "01/each_reaches_each")
def hosts_overwritten(lab: Lab) -> Iterator[None]:
    """One node's /etc/hosts was written with `>` instead of `>>`: localhost is gone."""
    node, text = spare(lab), spare(lab).get("/etc/hosts")
    node.check_output("sed -i /localhost/d /etc/hosts")
    yield
    node.put(text, "/etc/hosts")


@mutant("01/resolver")
def a_name_in_hosts(lab: Lab) -> Iterator[None]:
    """The name that the check asks for stands in /etc/hosts, and no name server does anywhere."""
    node = spare(lab)
    hosts, servers = node.get("/etc/hosts"), node.get("/etc/resolv.conf")
    node.check_output("echo %s www.example.org >> /etc/hosts; : > /etc/resolv.conf", lab.settings.outside_address)
    yield
    node.put(hosts, "/etc/hosts")
    node.put(servers, "/etc/resolv.conf")


@mutant("01/resolver")
def a_silent_name_server(lab: Lab) -> Iterator[None]:
    """A name server that does not exist stands above the right one: every answer comes seconds late."""
    node, text = spare(lab), spare(lab).get("/etc/resolv.conf")
    node.put(f"nameserver {lab.settings.subnet[77]}\n".encode() + text, "/etc/resolv.conf")
    yield
    node.put(text, "/etc/resolv.conf")


@mutant("", skips=ASKING)
def ssh_switched_off(lab: Lab) -> Iterator[None]:
    """sshd was stopped on a node: nobody can look into it, and that is no fault of the lab's."""
    node = spare(lab)
    with node.console() as console:
        console.run("systemctl stop ssh")
    node.close()
    yield
    with node.console() as console:
        console.run("systemctl start ssh")
    node.wait_for_ssh()
