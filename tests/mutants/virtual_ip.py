"""Chapter 04: mistakes with the address."""

from collections.abc import Iterator

from halab.lab import Lab
from tests.mutants import AFTER_ADDRESSES, AFTER_APACHE, AFTER_FAILURES, AFTER_HOLDER, AFTER_IP, holder, mutant, road, spare
from tests.mutants.pacemaker import configured, lying, settled

#: A monitor of that interval is told to do nothing about what it finds.
IGNORE = (
    """cibadmin --query --scope resources | sed 's/interval="%s"/& on-fail="ignore"/' | cibadmin --replace --scope resources --xml-pipe"""
)


@mutant("04/resource 05/order", AFTER_IP)
def nobody_watches_the_address(lab: Lab) -> Iterator[None]:
    """ClusterIP has no monitor operation: a lost address would go unnoticed."""
    with configured(lab, "cibadmin --delete --force --xpath \"//primitive[@id='ClusterIP']/operations\""):
        yield


@mutant("04/resource", AFTER_IP)
def watched_three_times_a_day(lab: Lab) -> Iterator[None]:
    """`interval=30000`, copied from the name of an operation, where it means milliseconds: here it means seconds."""
    interval = 'sed \'s/interval="30s"/interval="30000"/\' | cibadmin --replace --scope resources --xml-pipe'
    with configured(lab, f"cibadmin --query --scope resources | {interval}"):
        yield


@mutant(
    fails="01/addresses 04/resource 04/one_holder 05/runs_with_the_address",
    skips=f"{AFTER_ADDRESSES} {AFTER_IP} {AFTER_HOLDER} {AFTER_APACHE}",
)
def the_wrong_address(lab: Lab) -> Iterator[None]:
    """A typing mistake in the address."""
    change = f"crm_resource --resource ClusterIP --set-parameter ip --parameter-value {lab.settings.virtual_ip + 1}"
    with configured(lab, "crm --wait resource stop ClusterIP", change, "crm --wait resource start ClusterIP"):
        yield


@mutant("04/resource 05/colocation 05/order", AFTER_IP)
def unmanaged(lab: Lab) -> Iterator[None]:
    """ClusterIP was set unmanaged for a moment."""
    with configured(lab, "crm resource unmanage ClusterIP"):
        yield


@mutant(
    fails="04/one_holder 04/one_holder_each 05/runs_with_the_address 05/one_holder_each",
    skips=f"{AFTER_HOLDER} {AFTER_APACHE}",
)
def a_second_holder(lab: Lab) -> Iterator[None]:
    """The address was added by hand on a second node. The page answers, crm_mon shows one."""
    node = spare(lab)
    node.check_output("ip addr add %s/24 dev eth0", lab.virtual_ip)
    yield
    node.check_output("ip addr del %s/24 dev eth0", lab.virtual_ip)


@mutant(
    fails="04/one_holder 04/one_holder_each 05/runs_with_the_address 05/one_holder_each",
    skips=f"{AFTER_HOLDER} {AFTER_APACHE}",
)
def a_second_holder_who_hides_it(lab: Lab) -> Iterator[None]:
    """A second node holds the address, and its `ip` does not show it."""
    node = spare(lab)
    node.check_output("ip addr add %s/32 dev lo", lab.virtual_ip)
    with lying(node, "ip", f"/{lab.virtual_ip}/d"):
        yield
    node.check_output("ip addr del %s/32 dev lo", lab.virtual_ip)


@mutant("04/holder_is_the_clusters")
def a_node_lies_about_the_holder(lab: Lab) -> Iterator[None]:
    """A node's crm_mon says that it has the address itself."""
    node = spare(lab)
    with lying(node, "crm_mon", f'/<resource id="ClusterIP"/,/<\\/resource>/s/<node name="[^"]*"/<node name="{node.name}"/'):
        yield


@mutant("04/arp")
def a_stranger_answers(lab: Lab) -> Iterator[None]:
    """Another machine on the bridge has the same address."""
    mac, bridge = holder(lab).mac, lab.settings.bridge
    # The host itself goes on asking the right one: that the page answers must not depend on luck.
    lab.host.check_output("ip neigh replace %s lladdr %s dev %s nud permanent", lab.virtual_ip, mac, bridge)
    # A bridge has the lowest hardware address of its ports'. A lower one would change it, and with that the host forgets whom it knew.
    lab.host.check_output("ip netns add stranger")
    lab.host.check_output("ip link add stranger address fe:ff:ff:9b:d5:99 type veth peer name other netns stranger")
    lab.host.check_output("ip -n stranger link set other name eth0 address 52:54:00:9b:d5:99")
    lab.host.check_output("ip link set stranger master %s up && ip -n stranger addr add %s/24 dev eth0", bridge, lab.virtual_ip)
    lab.host.check_output("ip -n stranger link set eth0 up")
    yield
    lab.host.check_output("ip link del stranger; ip netns del stranger; ip neigh del %s dev %s || true", lab.virtual_ip, bridge)


@mutant("04/stickiness")
def no_stickiness(lab: Lab) -> Iterator[None]:
    """The stickiness was reset to nothing."""
    with configured(lab, "crm configure rsc_defaults resource-stickiness=0"):
        yield


@mutant("04/stickiness 04/no_leftovers")
def stickiness_below_a_wish(lab: Lab) -> Iterator[None]:
    """The stickiness is 10, and the location constraint of the experiment says 50."""
    favourite = f"crm configure location likes ClusterIP 50: {holder(lab).name}"
    with configured(lab, "crm configure rsc_defaults resource-stickiness=10", favourite):
        yield


@mutant("04/stickiness")
def stickiness_of_its_own(lab: Lab) -> Iterator[None]:
    """The default is right, but ClusterIP has a value of its own."""
    with configured(lab, "crm_resource --resource ClusterIP --meta --set-parameter resource-stickiness --parameter-value 0"):
        yield


@mutant("04/no_leftovers")
def a_favourite_left_behind(lab: Lab) -> Iterator[None]:
    """The location constraint of the experiment was not deleted."""
    with configured(lab, f"crm configure location likes ClusterIP 50: {holder(lab).name}"):
        yield


@mutant("04/no_leftovers 05/no_leftovers")
def tied_by_a_pattern(lab: Lab) -> Iterator[None]:
    """A location constraint names no resource, and means all of them."""
    tie = f"<rsc_location id='tied' rsc-pattern='.*' node='{holder(lab).name}' score='50'/>"
    with configured(lab, f'cibadmin --create --scope constraints --xml-text "{tie}"'):
        yield


@mutant("04/well_placed")
def an_address_too_wide(lab: Lab) -> Iterator[None]:
    """`nic=eth0 cidr_netmask=16`: the holder believes that far more machines are its neighbours."""
    change = "crm_resource --resource ClusterIP --set-parameter %s --parameter-value %s"
    changes = change % ("cidr_netmask", 16), change % ("nic", "eth0")
    with configured(lab, "crm --wait resource stop ClusterIP", *changes, "crm --wait resource start ClusterIP"):
        yield
        lab.nodes[0].check_output("crm --wait resource stop ClusterIP")  # an address whose mask changes is not found again


@road
def stickiness_without_end(lab: Lab) -> Iterator[None]:
    """The stickiness is +INFINITY, and the monitor's interval is written as ISO 8601 writes it."""
    interval = 'sed \'s/interval="30s"/interval="PT30S"/\' | cibadmin --replace --scope resources --xml-pipe'
    with configured(lab, "crm configure rsc_defaults resource-stickiness=+INFINITY", f"cibadmin --query --scope resources | {interval}"):
        yield


@mutant("04/no_failures 05/no_failures", AFTER_FAILURES)
def a_failure_not_cleaned_up(lab: Lab) -> Iterator[None]:
    """An operation failed, the cluster recovered, and nobody looked."""
    lab.nodes[0].check_output("crm_resource --fail --resource ClusterIP --node %s", holder(lab).name)
    settled(lab)
    yield
    lab.nodes[0].check_output("crm_resource --cleanup")
    settled(lab)


@mutant("03/unhindered 04/no_orphans 05/no_orphans 05/tidy")
def an_orphan(lab: Lab) -> Iterator[None]:
    """A resource was deleted while it ran, and orphans were told to stay."""
    add = "crm configure primitive Try ocf:pacemaker:Dummy op monitor interval=30s"
    with configured(lab, "crm_attribute --type crm_config --name stop-orphan-resources --update false", add):
        lab.nodes[0].check_output("cibadmin --delete --force --xpath \"//primitive[@id='Try']\"")
        settled(lab)
        yield
    settled(lab)
    lab.nodes[0].check_output("crm_resource --cleanup")
    settled(lab)


@mutant("04/not_at_boot")
def the_address_at_boot(lab: Lab) -> Iterator[None]:
    """The virtual IP was "made permanent" in a node's file: after its next boot two nodes hold it."""
    node, file = spare(lab), "/etc/network/interfaces"
    text = node.get(file)
    node.put(text + f"auto eth0:0\niface eth0:0 inet static\n  address {lab.virtual_ip}/24\n".encode(), file)
    yield
    node.put(text, file)


@mutant("04/well_placed")
def the_holder_has_it_twice(lab: Lab) -> Iterator[None]:
    """Added by hand where the cluster added it as well, with another prefix: the agent will remove only its own."""
    node = holder(lab)
    node.check_output("ip addr add %s/32 dev eth0", lab.virtual_ip)
    yield
    node.check_output("ip addr del %s/32 dev eth0", lab.virtual_ip)


@mutant("04/recovers 05/order")
def a_lost_address_is_ignored(lab: Lab) -> Iterator[None]:
    """ClusterIP's monitor says `on-fail=ignore`: the cluster sees that the address is gone, and does nothing."""
    with configured(lab, IGNORE % "30s"):
        yield
