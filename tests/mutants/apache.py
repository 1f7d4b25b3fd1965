"""Chapter 05: mistakes with Apache and its constraints."""

from collections.abc import Iterator

from halab.lab import Lab
from tests.mutants import AFTER_WEB, holder, mutant, spare
from tests.mutants.pacemaker import configured

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


@mutant("05/runs_with_the_address", "05/page")
def apache_by_hand(lab: Lab) -> Iterator[None]:
    """Somebody started Apache on a second node, without systemd (Debian's apache2ctl asks systemd)."""
    by_hand = ". /etc/apache2/envvars && mkdir -p $APACHE_RUN_DIR $APACHE_LOCK_DIR && apache2 -k %s"
    spare(lab).check_output(by_hand, "start")
    yield
    spare(lab).check_output(by_hand, "stop")


@mutant("05/page")
def it_answers_itself_only(lab: Lab) -> Iterator[None]:
    """Apache was told to serve its own machine only: the monitor is content, and nobody outside gets a page."""
    node, conf, again = holder(lab), "/etc/apache2/conf-enabled/closed.conf", "kill -USR1 $(pgrep -o -x apache2)"
    node.put('<Location "/">\n  Require local\n</Location>\n', conf)
    node.check_output(again)
    yield
    node.check_output("rm %s; " + again, conf)


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
