from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from halab import transition
from halab.command import Result
from halab.errors import LabError, StudentError
from halab.transition import Operation

Read = Callable[[str], str]
IN_TURN = ("WebSite", "stop"), ("ClusterIP", "stop"), ("ClusterIP", "start"), ("WebSite", "start")


def test_a_failed_address_is_recovered_and_apache_with_it_in_order(captured: Read) -> None:
    found = transition.parse_graph(captured("graph-failure.xml"))
    assert len(found.operations) == 4
    assert found.in_order(*IN_TURN)
    assert not found.in_order(*reversed(IN_TURN))


def test_an_order_is_seen_over_steps_between(captured: Read) -> None:
    found = transition.parse_graph(captured("graph-failure.xml"))
    assert found.in_order(("WebSite", "stop"), ("WebSite", "start"))
    assert found.in_order(("WebSite", "stop"), ("ClusterIP", "start"))


def test_what_is_not_done_is_in_no_order(captured: Read) -> None:
    assert not transition.parse_graph(captured("graph-alone.xml")).in_order(*IN_TURN)


def test_without_constraints_a_stopped_address_stops_nothing_else(captured: Read) -> None:
    found = transition.parse_graph(captured("graph-alone.xml"))
    (stop,) = found.operations
    before = {"ClusterIP": stop.node, "WebSite": stop.node}
    assert found.after(before) == {"ClusterIP": None, "WebSite": stop.node}
    assert str(found) == f"stop ClusterIP on {stop.node}"


def test_after_a_recovery_all_is_where_it_was(captured: Read) -> None:
    found = transition.parse_graph(captured("graph-failure.xml"))
    node = next(iter(found.operations)).node
    assert found.after({"ClusterIP": node, "WebSite": node}) == {"ClusterIP": node, "WebSite": node}


def test_a_cluster_at_rest_does_nothing(captured: Read) -> None:
    found = transition.parse_graph(captured("graph-nothing.xml"))
    assert (found.operations, found.waits, str(found)) == (frozenset(), frozenset(), "nothing")


def test_what_waits_for_itself_is_never_done() -> None:
    synapse = (
        "<synapse><action_set><rsc_op id='{0}' operation='start' on_node='n'><primitive id='r{0}'/></rsc_op></action_set>"
        "<inputs><trigger><rsc_op id='{1}'/></trigger></inputs></synapse>"
    )
    found = transition.parse_graph(
        f"<transition_graph>{synapse.format(1, 2)}{synapse.format(2, 1)}{synapse.format(3, 9)}</transition_graph>"
    )
    assert found.operations == {Operation("r3", "start", "n")}
    assert found.waits == set()


@pytest.mark.parametrize("text", ["", "<transition_graph>", "<cib/>", "crm_simulate: command not found"])
def test_what_is_no_graph_is_an_error(text: str) -> None:
    with pytest.raises(StudentError):
        transition.parse_graph(text)


class Scheduler:
    name = "pacemaker01"

    def __init__(self, status: int, stdout: str = "", stderr: str = "") -> None:
        self.status, self.stdout, self.stderr = status, stdout, stderr

    def run(self, command: str, *args: object, timeout: float, input: bytes) -> Result:
        self.command, self.input = command % args, input
        return Result("pacemaker01", "", self.status, self.stdout, self.stderr)


def test_the_scheduler_gets_the_cib_and_the_options() -> None:
    node = Scheduler(0, "<transition_graph/>")
    transition.simulate(node, ElementTree.fromstring("<cib/>"), "--node-down", "pacemaker02")
    assert node.input == b"<cib />"
    assert node.command.endswith("--node-down pacemaker02")


def test_a_cib_that_pacemaker_refuses_is_told() -> None:
    with pytest.raises(StudentError, match=r"can compute a transition(?s:.*)not valid"):
        transition.simulate(Scheduler(78, stderr="The configuration is not valid"), ElementTree.fromstring("<cib/>"))


@pytest.mark.parametrize("status", [126, 127, 137])
def test_a_scheduler_that_does_not_run_is_the_labs(status: int) -> None:
    with pytest.raises(LabError, match="crm_simulate runs"):
        transition.simulate(Scheduler(status), ElementTree.fromstring("<cib/>"))


@pytest.fixture
def cib(captured: Read) -> ElementTree.Element:
    return ElementTree.fromstring(captured("cib.xml"))


def locations(cib: ElementTree.Element) -> list[tuple[str | None, str | None]]:
    return [(c.get("rsc"), c.get("node")) for c in cib.iterfind(".//rsc_location")]


def test_a_cib_without_locations_has_its_other_constraints_and_the_first_is_as_it_was(cib: ElementTree.Element) -> None:
    before = ElementTree.tostring(cib)
    changed = transition.unplaced(cib)
    assert locations(cib) and not locations(changed)
    assert changed.find(".//rsc_colocation") is not None
    assert ElementTree.tostring(cib) == before


def test_only_on_bans_from_all_other_nodes(cib: ElementTree.Element) -> None:
    changed = transition.only_on(transition.unplaced(cib), "ClusterIP", "pacemaker02")
    assert locations(changed) == [("ClusterIP", "pacemaker01"), ("ClusterIP", "pacemaker03")]


def test_stopped_is_a_set_that_goes_before_the_resources_own(cib: ElementTree.Element) -> None:
    changed = transition.stopped(cib, "WebSite")
    (added,) = changed.findall(".//meta_attributes[@score='INFINITY']/nvpair")
    assert (added.get("name"), added.get("value")) == ("target-role", "Stopped")


def test_a_default_goes_before_all_others(cib: ElementTree.Element) -> None:
    changed = transition.default(cib, "resource-stickiness", "0")
    (added,) = changed.findall("./configuration/rsc_defaults/meta_attributes[@score='INFINITY']/nvpair")
    assert (added.get("name"), added.get("value")) == ("resource-stickiness", "0")
    assert transition.default(ElementTree.fromstring("<cib><configuration/></cib>"), "a", "1").find(".//rsc_defaults") is not None


def test_a_favourite_is_added(cib: ElementTree.Element) -> None:
    changed = transition.liked(transition.unplaced(cib), "ClusterIP", "pacemaker02", 50)
    assert locations(changed) == [("ClusterIP", "pacemaker02")]


def test_a_partition_without_quorum(cib: ElementTree.Element) -> None:
    assert (cib.get("have-quorum"), transition.without_quorum(cib).get("have-quorum")) == ("1", "0")


def test_a_clean_up_leaves_no_last_failure_in_a_forgetful_cib() -> None:
    history = "".join(f"<lrm_rsc_op id='WebSite_{name}'/>" for name in ("last_0", "last_failure_0", "monitor_5000"))
    cib = ElementTree.fromstring(f"<cib><status><lrm_resource id='WebSite'>{history}</lrm_resource></status></cib>")
    kept = [op.get("id") for op in transition.forgetful(cib).iter("lrm_rsc_op")]
    assert kept == ["WebSite_last_0", "WebSite_monitor_5000"]
    assert len(list(cib.iter("lrm_rsc_op"))) == 3


class Records:
    """A DC with two recorded decisions, the newest first."""

    name = "pacemaker01"

    def check_output(self, command: str, *args: object) -> str:
        return "/pe-input-2.bz2\n/pe-input-1.bz2\n" if command.startswith("ls") else f"<cib name='{args[0]}'/>"


@pytest.mark.parametrize(("task", "name"), [("start", "/pe-input-2.bz2"), ("stop", "/pe-input-1.bz2")])
def test_the_newest_decision_in_which_it_was_done(task: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = {"/pe-input-2.bz2": "start", "/pe-input-1.bz2": "stop"}

    def simulate(node: Records, cib: ElementTree.Element) -> transition.Transition:
        operation = Operation("WebSite", done[cib.get("name", "")], "pacemaker02")
        return transition.Transition(frozenset({operation}), frozenset())

    monkeypatch.setattr(transition, "simulate", simulate)
    cib, decided = transition.decision(Records(), "WebSite", task)
    assert cib.get("name") == name
    assert str(decided) == f"{task} WebSite on pacemaker02"


def test_a_decision_that_was_not_recorded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = transition.Transition(frozenset(), frozenset())
    monkeypatch.setattr(transition, "simulate", lambda node, cib: nothing)
    with pytest.raises(StudentError, match="a recorded decision to start WebSite"):
        transition.decision(Records(), "WebSite")
