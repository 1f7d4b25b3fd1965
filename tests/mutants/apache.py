"""Chapter 05: mistakes with Apache and its constraints."""

from collections.abc import Iterator

from halab.lab import Lab
from tests.mutants import AFTER_APACHE, AFTER_WEB, everywhere, holder, mutant, road, spare
from tests.mutants.pacemaker import configured
from tests.mutants.virtual_ip import IGNORE

PAGE = "/var/www/html/index.html"


@mutant("05/resource", AFTER_WEB)
def nobody_watches_apache(lab: Lab) -> Iterator[None]:
    """WebSite has no monitor operation."""
    with configured(lab, "cibadmin --delete --force --xpath \"//primitive[@id='WebSite']/operations\""):
        yield


@mutant("05/systemd_lets_go")
def systemd_starts_it_too(lab: Lab) -> Iterator[None]:
    """Apache is still enabled in systemd on one node."""
    spare(lab).check_output("systemctl -q enable apache2")
    yield
    spare(lab).check_output("systemctl -q disable apache2")


@mutant("05/runs_with_the_address", AFTER_APACHE)
def apache_by_hand(lab: Lab) -> Iterator[None]:
    """Somebody started Apache on a second node, without systemd (Debian's apache2ctl asks systemd)."""
    by_hand = ". /etc/apache2/envvars && mkdir -p $APACHE_RUN_DIR $APACHE_LOCK_DIR && apache2 -k %s"
    spare(lab).check_output(by_hand, "start")
    yield
    spare(lab).check_output(by_hand, "stop")


@mutant("05/runs_with_the_address", AFTER_APACHE)
def another_name_for_apache(lab: Lab) -> Iterator[None]:
    """A second web server, which is not called apache2, serves the same page on another node."""
    node = spare(lab)
    by_hand = ". /etc/apache2/envvars && mkdir -p $APACHE_RUN_DIR $APACHE_LOCK_DIR && /root/httpd -k %s"
    node.check_output("cp /usr/sbin/apache2 /root/httpd; " + by_hand, "start")
    yield
    node.check_output(by_hand + "; rm /root/httpd", "stop")


@mutant("05/page 05/every_node_could_serve")
def it_answers_itself_only(lab: Lab) -> Iterator[None]:
    """Apache was told to serve its own machine only: the monitor is content, and nobody outside gets a page."""
    node, conf, again = holder(lab), "/etc/apache2/conf-enabled/closed.conf", "kill -USR1 $(pgrep -o -x apache2)"
    node.put('<Location "/">\n  Require local\n</Location>\n', conf)
    node.check_output(again)
    yield
    node.check_output("rm %s; " + again, conf)


@mutant("05/every_node_could_serve")
def a_broken_site_on_a_spare(lab: Lab) -> Iterator[None]:
    """A mistake in Apache's configuration on a node that does not serve now."""
    node, conf = spare(lab), "/etc/apache2/conf-enabled/broken.conf"
    node.put("Lisen 80\n", conf)
    yield
    node.check_output("rm %s", conf)


@mutant("05/every_node_could_serve")
def another_port_on_a_spare(lab: Lab) -> Iterator[None]:
    """A node that does not serve now would serve on another port."""
    node, file = spare(lab), "/etc/apache2/ports.conf"
    text = node.get(file)
    node.check_output("sed -i 's/^Listen 80$/Listen 8080/' %s", file)
    yield
    node.put(text, file)


@mutant("05/every_node_could_serve")
def a_page_that_only_root_can_read(lab: Lab) -> Iterator[None]:
    """A node's page was copied by a careful root: Apache may not read it."""
    node = spare(lab)
    node.check_output("chmod 600 %s", PAGE)
    yield
    node.check_output("chmod 644 %s", PAGE)


@mutant("05/pages_differ")
def the_same_page_everywhere(lab: Lab) -> Iterator[None]:
    """The page was copied from another node."""
    node, text = spare(lab), spare(lab).get(PAGE)
    node.put(lab.nodes[0].get(PAGE), PAGE)
    yield
    node.put(text, PAGE)


@mutant("05/colocation")
def together_by_luck(lab: Lab) -> Iterator[None]:
    """The colocation is gone; the two are still together because nothing moved them."""
    with configured(lab, "crm configure delete website-with-ip"):
        yield


@mutant("05/colocation 05/no_leftovers 04/no_leftovers")
def together_by_location(lab: Lab) -> Iterator[None]:
    """Two location constraints to one node instead of a colocation."""
    name = holder(lab).name
    commands = ("crm configure delete website-with-ip", f"crm configure location one ClusterIP inf: {name}")
    with configured(lab, *commands, f"crm configure location two WebSite inf: {name}"):
        yield


@mutant("05/colocation")
def the_wrong_way_round(lab: Lab) -> Iterator[None]:
    """The names are exchanged: the address depends on Apache."""
    with configured(lab, "crm configure delete website-with-ip", "crm configure colocation other-way inf: ClusterIP WebSite"):
        yield


@mutant("05/colocation")
def both_ways_round(lab: Lab) -> Iterator[None]:
    """A second try was added to the first: each of the two depends on the other."""
    with configured(lab, "crm configure colocation other-way inf: ClusterIP WebSite"):
        yield


@mutant("05/colocation")
def a_wish_to_be_together(lab: Lab) -> Iterator[None]:
    """The colocation has a score that other wishes can outweigh."""
    with configured(lab, "crm configure delete website-with-ip", "crm configure colocation website-with-ip 1000: WebSite ClusterIP"):
        yield


@road
def a_group(lab: Lab) -> Iterator[None]:
    """A group instead of the two constraints."""
    commands = ("crm configure delete website-with-ip", "crm configure delete apache-after-ip")
    with configured(lab, *commands, "crm configure group Web ClusterIP WebSite"):
        yield


@road
def sets_of_resources(lab: Lab) -> Iterator[None]:
    """The same two constraints, as sets of resources."""
    one = "<resource_set id='%s-%s'><resource_ref id='%s'/></resource_set>"
    colocation = f"<rsc_colocation id='together' score='INFINITY'>{one % ('c', 1, 'WebSite')}{one % ('c', 2, 'ClusterIP')}</rsc_colocation>"
    order = f"<rsc_order id='in-turn' kind='Mandatory'>{one % ('o', 1, 'ClusterIP')}{one % ('o', 2, 'WebSite')}</rsc_order>"
    create = 'cibadmin --create --scope constraints --xml-text "%s"'
    commands = ("crm configure delete website-with-ip", "crm configure delete apache-after-ip", create % colocation, create % order)
    with configured(lab, *commands):
        yield


@mutant("04/recovers 05/colocation 05/order 05/recovers")
def an_order_in_a_circle(lab: Lab) -> Iterator[None]:
    """A second try was added to the first: each of the two waits for the other, so the address stops with Apache."""
    with configured(lab, "crm configure order web-first Mandatory: WebSite ClusterIP"):
        yield


@mutant("05/order")
def an_order_for_starts_only(lab: Lab) -> Iterator[None]:
    """`symmetrical=false`: Apache may lose its address while it serves."""
    order = "crm configure order apache-after-ip Mandatory: ClusterIP WebSite symmetrical=false"
    with configured(lab, "crm configure delete apache-after-ip", order):
        yield


@mutant("05/order")
def no_order(lab: Lab) -> Iterator[None]:
    """The order is gone."""
    with configured(lab, "crm configure delete apache-after-ip"):
        yield


@mutant("05/order")
def an_order_that_may_be_ignored(lab: Lab) -> Iterator[None]:
    """The order is only a wish."""
    with configured(lab, "crm configure delete apache-after-ip", "crm configure order apache-after-ip Optional: ClusterIP WebSite"):
        yield


@mutant("05/operation_defaults")
def short_operations(lab: Lab) -> Iterator[None]:
    """Operations have twenty seconds."""
    with configured(lab, "crm configure op_defaults timeout=20s"):
        yield


@mutant("05/operation_defaults")
def operations_without_end(lab: Lab) -> Iterator[None]:
    """240000 were milliseconds in somebody's mind: an operation that hangs is missed after three days."""
    with configured(lab, "crm configure op_defaults timeout=240000"):
        yield


@mutant("05/no_leftovers")
def banned_and_forgotten(lab: Lab) -> Iterator[None]:
    """A ban of an earlier try is still there."""
    with configured(lab, f"crm_resource --ban --resource WebSite --node {spare(lab).name}"):
        yield


@mutant("05/tidy")
def a_third_resource(lab: Lab) -> Iterator[None]:
    """A resource of an earlier try still runs."""
    with configured(lab, "crm configure primitive Try ocf:pacemaker:Dummy"):
        yield


@mutant("05/recovers")
def a_dead_apache_is_ignored(lab: Lab) -> Iterator[None]:
    """WebSite's monitor says `on-fail=ignore`: a dead Apache stays dead."""
    with configured(lab, IGNORE % "1min"):
        yield


@mutant("05/every_node_could_serve")
def a_spare_that_serves_itself(lab: Lab) -> Iterator[None]:
    """A spare's Apache listens on 127.0.0.1 only: after the next failover nobody outside gets a page."""
    spare(lab).check_output("sed -i 's/^Listen 80$/Listen 127.0.0.1:80/' /etc/apache2/ports.conf")
    yield
    spare(lab).check_output("sed -i 's/^Listen 127.0.0.1:80$/Listen 80/' /etc/apache2/ports.conf")


@road
def apache_on_the_address(lab: Lab) -> Iterator[None]:
    """Apache listens on the virtual IP only, and its status is asked there."""
    everywhere(lab, "sed -i 's/^Listen 80$/Listen %s:80/' /etc/apache2/ports.conf" % lab.virtual_ip)
    status = f"crm_resource --resource WebSite --set-parameter statusurl --parameter-value http://{lab.virtual_ip}/server-status"
    with configured(lab, status):  # another parameter is another start
        yield
        everywhere(lab, "sed -i 's/^Listen .*:80$/Listen 80/' /etc/apache2/ports.conf")
