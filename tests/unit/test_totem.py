"""The token as a knob: what is written, what is waited for, and when a pause counts as forgiven."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from halab import corosync, totem
from halab.errors import UsageError
from halab.lab import Lab
from halab.settings import Settings
from halab.totem import Trade

Read = Callable[[str], str]


def test_only_the_token_changes_in_the_file(captured: Read) -> None:
    before = captured("corosync.conf")
    after = totem.with_token(before, 2500)
    assert corosync.parse_conf(after) == corosync.parse_conf(before) | {"totem.token": "2500"}


def test_a_file_without_a_token_gets_one() -> None:
    assert corosync.parse_conf(totem.with_token("totem {\n  version: 2\n}\n", 700)) == {"totem.version": "2", "totem.token": "700"}


def test_options_that_begin_like_the_token_are_left_alone() -> None:
    conf = "totem {\n  token_coefficient: 0\n  token: 1000\n  token_retransmits_before_loss_const: 10\n}\n"
    assert totem.with_token(conf, 3000) == conf.replace("token: 1000", "token: 3000")


def test_a_file_without_totem_is_an_error() -> None:
    with pytest.raises(UsageError, match="a section totem"):
        totem.with_token("quorum {\n}\n", 1000)


def test_who_joined_how_often(captured: Read) -> None:
    assert sorted(totem.joins(corosync.parse_cmap(captured("cmap.txt")))) == [1, 2, 3]
    assert totem.joins({"runtime.members.2.join_count": "7", "runtime.members.2.status": "joined"}) == {2: 7}


class Nodes:
    """Takes the place of corosync on all nodes: files by node, what is in force, and what was run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lab: Lab, joins: list[int]) -> None:
        self.files = {node.name: b"totem {\n  token: 1000\n}\n" for node in lab}
        self.token, self.joins = "1000", iter(joins)
        self.commands: list[str] = []
        for node in lab:
            monkeypatch.setattr(node, "get", lambda path, name=node.name: self.files[name])
            monkeypatch.setattr(node, "put", lambda text, path, name=node.name: self.files.update({name: text.encode()}))
            monkeypatch.setattr(node, "check_output", self.run)
        monkeypatch.setattr(corosync, "joined", lambda node: [1, 2, 3])
        monkeypatch.setattr(corosync, "cmap", self.cmap)
        monkeypatch.setattr(totem, "since_token", lambda node: 100)

    def run(self, command: str, *args: object, **_: object) -> str:
        self.commands.append(command)
        self.token = corosync.parse_conf(next(iter(self.files.values())).decode())["totem.token"]
        return ""

    def cmap(self, node: object) -> dict[str, str]:
        token = int(self.token) + 650
        found = {"totem.token": self.token, "runtime.config.totem.token": str(token), "runtime.config.totem.consensus": str(token * 6 // 5)}
        return found | {"runtime.members.3.join_count": str(next(self.joins, 1))}


def test_the_token_is_written_everywhere_and_reloaded_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(settings)
    nodes = Nodes(monkeypatch, lab, [])
    assert totem.set_token(lab, 2000) == (2650, 3180)
    assert set(nodes.files.values()) == {b"totem {\n  token: 2000\n}\n"}
    assert nodes.commands == ["corosync-cfgtool -R"]


@pytest.mark.parametrize(("joins", "forgiven"), [([1, 1], True), ([1, 2], False)])
def test_a_pause_is_forgiven_when_nobody_had_to_join_again(
    joins: list[int], forgiven: bool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(settings)
    nodes = Nodes(monkeypatch, lab, joins)
    assert totem.forgiven(lab.nodes[2], 1.5) is forgiven
    assert "kill -STOP" in nodes.commands[0]
    assert "kill -CONT" in nodes.commands[0]


def test_a_trade_tells_its_measured_seconds_with_one_decimal() -> None:
    told = str(Trade(token=1, detection=3.63, gap=5.512, pause=1.815, forgiven=True))
    assert told == "token 1 s: token + consensus 3.63 s, a pause of half of that forgiven, gap at a power cut 5.5 s"
    assert "not forgiven" in str(Trade(1, 3.63, 5.5, 1.8, False))


def test_since_token_is_in_the_statistics(captured: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    stats = corosync.parse_cmap(captured("cmap-stats.txt"))
    monkeypatch.setattr(corosync, "cmap", lambda node, name: stats if name == "stats" else {})
    assert totem.since_token(SimpleNamespace(name="pacemaker01")) >= 0
