from collections.abc import Callable
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from halab import pacemaker
from halab.command import Result
from halab.errors import StudentError

Read = Callable[[str], str]
ALL = ("pacemaker01", "pacemaker02", "pacemaker03")


class Answers:
    name = "pacemaker01"

    def __init__(self, stdout: str, stderr: str = "", status: int = 0) -> None:
        self.result = Result(self.name, "", status, stdout, stderr)

    def run(self, command: str, *args: object, timeout: float) -> Result:
        return self.result


def test_a_healthy_cluster_has_a_dc_quorum_and_all_online(captured: Read) -> None:
    found = pacemaker.parse_status(captured("crm_mon.xml"))
    assert (found.dc, found.quorum, found.online, found.standby, found.failures) == ("pacemaker01", True, ALL, (), ())


def test_resources_are_told_with_where_they_run(captured: Read) -> None:
    found = pacemaker.parse_status(captured("crm_mon.xml"))
    assert found.resources == {"ClusterIP": ("pacemaker01",), "WebSite": ("pacemaker01",)}


def test_a_resource_that_is_not_active_runs_nowhere_even_where_a_node_is_told(captured: Read) -> None:
    found = pacemaker.parse_status(captured("crm_mon.xml").replace('active="true"', 'active="false"'))
    assert found.resources == {"ClusterIP": (), "WebSite": ()}


def test_before_the_first_election_there_is_no_dc_and_nobody_online(captured: Read) -> None:
    found = pacemaker.parse_status(captured("crm_mon-no-dc.xml"))
    assert (found.dc, found.quorum, found.online, found.resources) == (None, False, (), {})


def test_a_failed_start_is_told_with_its_node_and_its_resource_runs_nowhere(captured: Read) -> None:
    found = pacemaker.parse_status(captured("crm_mon-failure.xml"))
    assert len(found.failures) == 1
    assert found.failures[0].startswith("Broken_start_0 on pacemaker0")
    assert found.failures[0].lower().endswith(": not configured")
    assert found.resources["Broken"] == ()


def test_a_node_in_standby_is_online_too(captured: Read) -> None:
    found = pacemaker.parse_status(captured("crm_mon-failure.xml"))
    assert found.standby == ("pacemaker03",)
    assert found.online == ALL


def test_without_quorum_the_rest_is_offline_and_nothing_runs(captured: Read) -> None:
    found = pacemaker.parse_status(captured("crm_mon-no-quorum.xml"))
    assert (found.quorum, found.online) == (False, ("pacemaker01",))
    assert set(found.resources.values()) == {()}


def test_pacemakers_own_error_is_an_error(captured: Read) -> None:
    with pytest.raises(StudentError, match="Not connected"):
        pacemaker.parse_status(captured("crm_mon-down.xml"))


@pytest.mark.parametrize("text", ["", "crm_mon: Connection to cluster failed", "<pacemaker-result>", "<crm_mon version='2'/>"])
def test_what_is_no_answer_of_crm_mon_is_an_error(text: str) -> None:
    with pytest.raises(StudentError, match="XML answer"):
        pacemaker.parse_status(text)


def test_status_of_a_node_without_pacemaker_names_node_and_reason(captured: Read) -> None:
    with pytest.raises(StudentError, match=r"pacemaker runs on pacemaker01(?s:.*)Not connected(?s:.*)systemctl status pacemaker"):
        pacemaker.status(Answers(captured("crm_mon-down.xml"), status=102))


def test_status_of_a_node_that_has_no_crm_mon_tells_its_stderr() -> None:
    with pytest.raises(StudentError, match="command not found"):
        pacemaker.status(Answers("", "bash: crm_mon: command not found", 127))


@pytest.fixture
def cib(captured: Read) -> ElementTree.Element:
    return pacemaker.cib(Answers(captured("cib.xml")))


def test_the_cib_that_is_no_xml_is_an_error() -> None:
    with pytest.raises(StudentError, match="Could not connect to the CIB"):
        pacemaker.cib(Answers("", "Could not connect to the CIB: Transport endpoint is not connected", 102))


def test_properties_and_defaults_are_read_by_section(cib: ElementTree.Element) -> None:
    assert pacemaker.nvpairs(cib, "crm_config")["stonith-enabled"] == "false"
    assert pacemaker.nvpairs(cib, "rsc_defaults") == {"resource-stickiness": "100"}
    assert pacemaker.nvpairs(cib, "op_defaults") == {"timeout": "240s"}


def test_a_section_that_is_not_there_is_empty(cib: ElementTree.Element) -> None:
    assert pacemaker.nvpairs(cib, "tags") == {}


def test_a_primitive_is_its_agent_parameters_and_monitor(cib: ElementTree.Element) -> None:
    assert pacemaker.primitive(cib, "ClusterIP") == {
        "agent": "ocf:heartbeat:IPaddr2", "ip": "192.168.100.100", "cidr_netmask": "32", "monitor": "10s",
    }  # fmt: skip


def test_a_primitive_without_monitor_has_an_empty_one() -> None:
    bare = ElementTree.fromstring("<cib><primitive id='fence' class='stonith' type='fence_xvm'/></cib>")
    assert pacemaker.primitive(bare, "fence") == {"agent": "stonith:fence_xvm", "monitor": ""}


def test_a_primitive_that_is_not_there_is_none(cib: ElementTree.Element) -> None:
    assert pacemaker.primitive(cib, "clusterip") is None


def test_constraints_are_told_with_type_and_attributes(cib: ElementTree.Element) -> None:
    found = {c["id"]: c for c in pacemaker.constraints(cib)}
    assert set(found) == {"website-with-ip", "apache-after-ip", "cli-prefer-ClusterIP"}
    assert found["website-with-ip"] == {
        "type": "rsc_colocation", "id": "website-with-ip", "score": "INFINITY", "rsc": "WebSite", "with-rsc": "ClusterIP",
    }  # fmt: skip
    assert (found["apache-after-ip"]["type"], found["apache-after-ip"]["kind"]) == ("rsc_order", "Mandatory")
    assert found["cli-prefer-ClusterIP"]["node"] == "pacemaker02"


def test_a_time_of_the_cib_is_read_in_any_unit() -> None:
    assert [pacemaker.milliseconds(text) for text in ("240s", "4min", "240", "240000ms", "nothing", "")] == [240_000] * 4 + [0, 0]


def test_a_monitor_that_is_switched_off_does_not_count() -> None:
    operations = '<operations><op name="monitor" interval="30s" enabled="{}"/></operations>'
    for enabled, seen in (("true", "30s"), ("false", "")):
        cib = ElementTree.fromstring(f'<cib><primitive id="x" class="ocf" type="t">{operations.format(enabled)}</primitive></cib>')
        assert (pacemaker.primitive(cib, "x") or {})["monitor"] == seen


def test_a_monitor_waits_as_long_as_it_says_itself_else_as_all_operations_do() -> None:
    own, other = '<op name="monitor" interval="5s" timeout="20s"/>', '<op name="start" interval="0" timeout="5min"/>'
    defaults = '<op_defaults><meta_attributes><nvpair name="timeout" value="240s"/></meta_attributes></op_defaults>'
    text = "<cib><configuration>{}<resources><primitive id='x'><operations>{}</operations></primitive></resources></configuration></cib>"
    seen = {}
    for given, operations in ((defaults, own), (defaults, own[:-16] + "/>"), ("", own[:-16] + "/>"), ("", own + other)):
        cib = ElementTree.fromstring(text.format(given, operations))
        seen[given, operations] = (pacemaker.patience(cib, "x"), pacemaker.longest_timeout(cib))
    assert list(seen.values()) == [("20s", 240_000), ("240s", 240_000), ("20s", 20_000), ("20s", 300_000)]


def test_a_resource_in_maintenance_is_unmanaged_and_a_standby_node_is_not_ready() -> None:
    nodes = '<nodes><node name="a" online="true"/><node name="b" online="true" standby="true"/></nodes>'
    resources = '<resources><resource id="x" active="true" managed="false"/><resource id="y" active="true" managed="true"/></resources>'
    seen = pacemaker.parse_status(f"<pacemaker-result>{nodes}{resources}<status code='0'/></pacemaker-result>")
    assert (seen.ready, seen.unmanaged) == (("a",), ("x",))


def test_fence_devices_are_told_apart_and_an_unclean_node_is_named() -> None:
    nodes = '<nodes><node name="a" online="true" unclean="false"/><node name="b" online="false" unclean="true"/></nodes>'
    resources = "".join(f'<resource id="{name}" resource_agent="{agent}" active="true"/>' for name, agent in AGENTS.items())
    seen = pacemaker.parse_status(f"<pacemaker-result>{nodes}<resources>{resources}</resources><status code='0'/></pacemaker-result>")
    assert (seen.devices, seen.unclean) == (("Fencing",), ("b",))
    assert set(seen.resources) == set(AGENTS)


AGENTS = {"ClusterIP": "ocf:heartbeat:IPaddr2", "Fencing": "stonith:fence_xvm"}


def test_a_resources_own_stickiness_goes_before_the_default() -> None:
    default = '<rsc_defaults><meta_attributes><nvpair name="resource-stickiness" value="100"/></meta_attributes></rsc_defaults>'
    own = '<primitive id="x"><meta_attributes><nvpair name="resource-stickiness" value="0"/></meta_attributes></primitive>'
    cib = ElementTree.fromstring(f'<cib><configuration><resources>{own}<primitive id="y"/></resources>{default}</configuration></cib>')
    assert [pacemaker.meta(cib, name)["resource-stickiness"] for name in ("x", "y")] == ["0", "100"]


def test_a_healthy_cluster_has_no_orphans(captured: Read) -> None:
    assert pacemaker.parse_status(captured("crm_mon.xml")).orphans == ()


def test_resources_that_the_configuration_does_not_know_are_orphans_each_once(captured: Read) -> None:
    text = captured("crm_mon.xml")
    assert pacemaker.parse_status(text.replace('orphaned="false"', 'orphaned="true"')).orphans == ("ClusterIP", "WebSite")
    assert pacemaker.parse_status(text.replace('orphaned="false"', 'orphaned="true"', 1)).orphans == ("ClusterIP",)
    twice = text.replace('id="WebSite" resource_agent', 'id="ClusterIP" resource_agent').replace('orphaned="false"', 'orphaned="true"')
    assert pacemaker.parse_status(twice).orphans == ("ClusterIP",)


def test_the_digest_is_short_and_that_of_the_answer() -> None:
    digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    assert pacemaker.digest(Answers(f"{digest}  -\n")) == "9f86d081884c"


def test_a_configuration_that_cannot_be_read_has_no_digest_and_node_and_reason_are_told() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  -\n"
    with pytest.raises(StudentError, match=r"can be read on pacemaker01(?s:.*)Could not connect(?s:.*)systemctl status pacemaker"):
        pacemaker.digest(Answers(empty, "Could not connect to the CIB: Transport endpoint is not connected\n", 102))


class Controller:
    """A node that answers `crm_mon` and `crmadmin`; `asked` is whom `crmadmin` was asked about."""

    name = "pacemaker02"

    def __init__(self, status: str, answer: str) -> None:
        self.status, self.answer = status, answer
        self.asked: list[object] = []

    def run(self, command: str, *args: object, timeout: float) -> Result:
        self.asked += args
        return Result(self.name, command, 0, self.answer if command.startswith("crmadmin") else self.status, "")


def controller(state: str, code: int = 0) -> str:
    crmd = f'<crmd node_name="pacemaker01" state="{state}" result="ok"/>'
    return f'<pacemaker-result request="crmadmin">{crmd}<status code="{code}" message="Disconnected"/></pacemaker-result>'


def test_the_cluster_is_idle_when_the_dcs_controller_is_and_only_then(captured: Read) -> None:
    states = ("S_IDLE", "S_TRANSITION_ENGINE", "S_POLICY_ENGINE", "S_INTEGRATION", "S_NOT_DC", "", "s_idle")
    nodes = [Controller(captured("crm_mon.xml"), controller(state)) for state in states]
    assert [pacemaker.idle(node) for node in nodes] == [True, False, False, False, False, False, False]
    assert [node.asked for node in nodes] == [["pacemaker01"]] * len(states)


def test_an_answer_without_a_controller_is_not_idle(captured: Read) -> None:
    assert pacemaker.idle(Controller(captured("crm_mon.xml"), '<pacemaker-result><status code="0"/></pacemaker-result>')) is False


@pytest.mark.parametrize("answer", ["", "Status of crmd@pacemaker01: S_IDLE (ok)", controller("S_IDLE", 107)])
def test_a_controller_that_does_not_answer_is_an_error_and_never_idle(captured: Read, answer: str) -> None:
    with pytest.raises(StudentError):
        pacemaker.idle(Controller(captured("crm_mon.xml"), answer))


def test_without_pacemaker_nothing_is_idle(captured: Read) -> None:
    with pytest.raises(StudentError, match="pacemaker runs on pacemaker02"):
        pacemaker.idle(Controller(captured("crm_mon-down.xml"), controller("S_IDLE")))


def test_a_time_may_be_written_as_iso_8601_writes_it() -> None:
    assert [pacemaker.milliseconds(text) for text in ("PT4M", "PT240S", "P1DT1H", "30S", "PT", "P")] == [
        240_000, 240_000, 90_000_000, 30_000, 0, 0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "truth"), [("true", True), ("Yes", True), ("1", True), ("on", True), ("no", False), ("0", False), ("", False)]
)
def test_a_truth_value_has_many_forms(text: str, truth: bool) -> None:
    assert pacemaker.truth(text) is truth


META = '<meta_attributes><nvpair name="%s" value="%s"/></meta_attributes>'
GROUPED = (
    "<cib><configuration><resources>"
    f'<group id="Web">{META % ("resource-stickiness", 7)}<primitive id="ClusterIP"/>'
    f'<primitive id="WebSite">{META % ("is-managed", "no")}</primitive></group><primitive id="Other"/>'
    "</resources><constraints>%s</constraints></configuration></cib>"
)


def test_a_resource_has_the_meta_attributes_of_its_group_and_its_own() -> None:
    cib = ElementTree.fromstring(GROUPED % "")
    assert pacemaker.meta(cib, "WebSite") == {"resource-stickiness": "7", "is-managed": "no"}
    assert pacemaker.meta(cib, "Other") == {}


@pytest.mark.parametrize(
    ("location", "tied"),
    [
        ('rsc="ClusterIP"', True), ('rsc="Web"', True), ('rsc="Other"', False), ('rsc-pattern="^Cluster"', True), ('rsc-pattern="."', True),
        ('rsc-pattern="^O"', False), ('rsc-pattern="!^O"', True),
    ],
)  # fmt: skip
def test_a_location_ties_a_resource_by_name_group_or_pattern(location: str, tied: bool) -> None:
    cib = ElementTree.fromstring(GROUPED % f'<rsc_location id="x" {location} node="pacemaker01" score="5"/>')
    assert pacemaker.ties(cib, "ClusterIP") == (["x"] if tied else [])


def test_a_location_ties_the_resources_of_its_set() -> None:
    sets = '<rsc_location id="x" node="n" score="5"><resource_set id="s"><resource_ref id="WebSite"/></resource_set></rsc_location>'
    cib = ElementTree.fromstring(GROUPED % sets)
    assert (pacemaker.ties(cib, "WebSite"), pacemaker.ties(cib, "ClusterIP")) == (["x"], [])


def test_what_is_forgotten_takes_its_constraints_along_and_they_go_first() -> None:
    asked: list[object] = []
    node = SimpleNamespace(run=lambda command, *args, **_: asked.extend(args))
    pacemaker.forget(node, "WebSite")
    constraints, resource, defaults = asked
    assert constraints == "//constraints/*[@id='WebSite' or @rsc='WebSite' or @with-rsc='WebSite' or @first='WebSite' or @then='WebSite']"
    assert (resource, defaults) == ("//resources/*[@id='WebSite']", "//rsc_defaults/*[@id='WebSite']")
