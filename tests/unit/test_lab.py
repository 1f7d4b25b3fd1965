import json
from types import SimpleNamespace
from typing import Any

import pytest

from halab import pacemaker
from halab.command import Result, quote
from halab.errors import LabError, Unreachable, UsageError
from halab.host import Host
from halab.lab import Lab, Sight
from halab.node import Node
from halab.settings import Settings


@pytest.fixture
def lab(settings: Settings) -> Lab:
    return Lab(settings)


def test_reprs_have_no_times_and_no_ids(lab: Lab) -> None:
    assert repr(lab) == "<lab halab: 3 nodes, engine lxc, trixie>"
    assert repr(lab[1]) == "<node pacemaker01 192.168.100.10>"


def test_a_node_is_found_by_number_and_by_name(lab: Lab) -> None:
    assert lab.node(2) is lab["pacemaker02"] is lab.nodes[1]


@pytest.mark.parametrize("which", [0, 4, "pacemaker04", "PACEMAKER01"])
def test_an_unknown_node_is_refused_with_the_ones_that_there_are(lab: Lab, which: int | str) -> None:
    with pytest.raises(UsageError, match="pacemaker01, pacemaker02, pacemaker03"):
        lab.node(which)


def test_each_gives_every_nodes_result_in_order(lab: Lab) -> None:
    assert list(lab.each(lambda node: node.number * 2).items()) == [("pacemaker01", 2), ("pacemaker02", 4), ("pacemaker03", 6)]


def test_each_raises_only_after_all_have_ended(lab: Lab) -> None:
    ended: list[str] = []

    def work(node: Node) -> None:
        if node.number == 1:
            raise Unreachable("pacemaker01 answers")
        ended.append(node.name)

    with pytest.raises(Unreachable):
        lab.each(work)
    assert sorted(ended) == ["pacemaker02", "pacemaker03"]


def see(monkeypatch: pytest.MonkeyPatch, answers: dict[int, Any]) -> None:
    def seen(node: Node) -> set[str] | None:
        found = answers[node.number]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(Node, "seen_addresses", property(seen))


def test_holders_are_held_not_held_or_unknown_and_unknown_is_not_none(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch, {1: {"192.168.100.10", "192.168.100.100"}, 2: {"192.168.100.11"}, 3: None})
    assert lab.holders() == {"pacemaker01": Sight.HELD, "pacemaker02": Sight.NOT_HELD, "pacemaker03": Sight.UNKNOWN}


def test_two_holders_are_both_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch, {1: {"192.168.100.100"}, 2: {"192.168.100.100"}, 3: set()})
    assert [n for n, sight in lab.holders().items() if sight is Sight.HELD] == ["pacemaker01", "pacemaker02"]


def test_a_node_that_can_not_be_looked_at_is_unknown(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch, {1: LabError("libvirtd answers"), 2: set(), 3: set()})
    assert lab.holders()["pacemaker01"] is Sight.UNKNOWN


def test_an_address_is_compared_whole(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch, {k: {"192.168.100.10"} for k in (1, 2, 3)})
    assert set(lab.holders("192.168.100.1").values()) == {Sight.NOT_HELD}


def watched(monkeypatch: pytest.MonkeyPatch, outside: bool | None, inside: int) -> None:
    monkeypatch.setattr(Lab, "engine", SimpleNamespace(runs=lambda node, program: outside))
    monkeypatch.setattr(Node, "run", lambda *_, **__: Result("pacemaker01", "", inside, "", ""))


def test_what_runs_is_seen_from_outside_whatever_the_node_says(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    watched(monkeypatch, True, 1)
    assert lab[1].runs("apache2") is True


def test_what_runs_is_asked_where_it_cannot_be_seen(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    watched(monkeypatch, None, 1)
    assert lab[1].runs("apache2") is False


def test_a_question_that_fails_is_not_no(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    watched(monkeypatch, None, 127)
    with pytest.raises(LabError):
        lab[1].runs("apache2")


@pytest.mark.parametrize(("state", "put_back"), [("REACHABLE", True), ("PERMANENT", False)])
def test_who_answers_arp_is_told_by_hardware_address(state: str, put_back: bool, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whom the client outside knew, it goes on with: to ask changes nothing."""
    entry = {"dst": "192.168.100.100", "lladdr": "52:54:00:00:00:02", "state": [state]}
    said = {"ip": json.dumps([entry]), "arping": "52:54:00:9B:D5:11\n"}
    lines = []

    def run(host: Host, line: str, *args: object) -> Result:
        lines.append(quote(line, *args))
        return Result("host", line, 0, said[line.split()[0]], "")

    monkeypatch.setattr(Host, "run", run)
    assert lab.arp() == {"52:54:00:9b:d5:11"}
    bridge, address = lab.settings.bridge, lab.virtual_ip
    assert lines[0] == f"ip -json neigh show to {address} dev {bridge}"
    assert lines[1].endswith(f"-i {bridge} {address}")
    assert lines[2:] == [f"ip neigh replace {address} lladdr 52:54:00:00:00:02 dev {bridge} nud stale"] * put_back


def test_a_node_that_is_asked_for_its_files_gets_them_by_path(lab: Lab) -> None:
    assert set(lab[1].identity_files) == {"/etc/hostname", "/etc/hosts", "/etc/network/interfaces", "/etc/resolv.conf"}


def test_a_disk_always_has_the_keys_and_the_identity_only_when_asked(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, tuple[str, int]]] = []
    lab.keys.folder.mkdir(parents=True)
    monkeypatch.setattr(Node, "disk", {})
    engine = SimpleNamespace(make_disk=lambda node, files: made.append(files), state=lambda node: "absent")
    monkeypatch.setattr(lab, "_engine", (engine, None), raising=False)
    lab[1].make_disk()
    lab[1].make_disk(configured=True)
    keys = {"/etc/ssh/ssh_host_ed25519_key", "/root/.ssh/authorized_keys"}
    assert set(made[0]) == keys
    assert set(made[1]) == keys | set(lab[1].identity_files)
    assert all(made[1][path][1] == 0o600 for path in keys)


@pytest.mark.parametrize(("state", "done"), [("running", ["off", "disk"]), ("paused", ["off", "disk"]), ("shut off", ["disk"])])
def test_no_disk_is_pulled_out_under_a_machine_that_runs(lab: Lab, monkeypatch: pytest.MonkeyPatch, state: str, done: list[str]) -> None:
    seen: list[str] = []
    lab.keys.folder.mkdir(parents=True)
    engine = SimpleNamespace(
        make_disk=lambda node, files: seen.append("disk"), state=lambda node: state, power_off=lambda node: seen.append("off")
    )
    monkeypatch.setattr(lab, "_engine", (engine, None), raising=False)
    lab[1].make_disk()
    assert seen == done


VIP = {"192.168.100.100"}


@pytest.mark.parametrize(
    ("answers", "holder"),
    [
        ({1: set(), 2: VIP, 3: set()}, "pacemaker02"),
        ({1: set(), 2: set(), 3: set()}, None),
        ({1: VIP, 2: VIP, 3: set()}, None),
        ({1: VIP, 2: None, 3: set()}, None),
    ],
)
def test_the_holder_is_the_one_node_that_certainly_holds_the_address(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, answers: dict, holder: str | None
) -> None:
    see(monkeypatch, answers)
    assert lab.holder() == holder


@pytest.mark.parametrize(
    ("resources", "place"),
    [({"WebSite": ("pacemaker03",)}, "pacemaker03"), ({"WebSite": ()}, None), ({"WebSite": ("a", "b")}, None), ({}, None)],
)
def test_where_a_resource_runs_is_asked_on_the_first_node_that_runs(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, resources: dict, place: str | None
) -> None:
    asked = []

    def status(node: Node) -> SimpleNamespace:
        asked.append(node.name)
        return SimpleNamespace(resources=resources)

    monkeypatch.setattr(Node, "state", property(lambda node: "shut off" if node.number == 1 else "running"))
    monkeypatch.setattr(pacemaker, "status", status)
    assert lab.where("WebSite") == place
    assert asked == ["pacemaker02"]
