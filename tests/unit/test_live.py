"""The live picture: what is not known is told as unknown, whatever else is known."""

import threading
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from halab import live
from halab.lab import Lab, Sight
from halab.live import OLD, Look, picture
from halab.pacemaker import Status
from halab.settings import Settings

NAMES = ("pacemaker01", "pacemaker02", "pacemaker03")
VIEW = Status("pacemaker02", True, NAMES, (), (), {"ClusterIP": ("pacemaker02",)}, (), (), ())
GOOD = Look("running", Sight.NOT_HELD, (1, 2, 3), True, VIEW, at=0.0)
NOW = 1.0


@pytest.fixture
def lab(settings: Settings) -> Lab:
    return Lab(settings)


def seen(lab: Lab, now: float = NOW, **changed: Look) -> dict:
    looks = {name: GOOD for name in NAMES} | {"pacemaker02": replace(GOOD, sight=Sight.HELD)}
    return picture(lab, looks | changed, now)


def states(shown: dict) -> list[str]:
    return [node["state"] for node in shown["nodes"]]


def test_a_good_cluster(lab: Lab) -> None:
    shown = seen(lab)
    assert (shown["dc"], shown["quorum"], shown["holders"], shown["blind"]) == ("pacemaker02", True, ["pacemaker02"], [])
    assert states(shown) == ["online"] * 3
    assert [node["resources"] for node in shown["nodes"]] == [[], ["ClusterIP"], []]
    assert [node["dc"] for node in shown["nodes"]] == [False, True, False]


@pytest.mark.parametrize(
    ("look", "state"),
    [
        (Look(), "unknown"),
        (Look("absent", Sight.NOT_HELD), "not made"),
        (Look("shut off", Sight.NOT_HELD), "off"),
        (Look("paused"), "paused"),
        (Look("running"), "no answer"),
        (Look("running", members=()), "no cluster"),
        (Look("running", members=(1, 2, 3), quorate=True), "corosync only"),
        (replace(GOOD, view=replace(VIEW, online=NAMES[:2])), "online"),  # what it thinks of itself; the quorate view counts
        (replace(GOOD, view=None), "corosync only"),
    ],
)
def test_one_word_for_a_node(lab: Lab, look: Look, state: str) -> None:
    assert states(seen(lab, pacemaker03=replace(look, at=0.0)))[2] == state


@pytest.mark.parametrize(("field", "state"), [("standby", "standby"), ("maintenance", "maintenance")])
def test_a_node_that_runs_no_resources_is_told_apart(lab: Lab, field: str, state: str) -> None:
    looks = {name: replace(GOOD, view=replace(VIEW, **{field: ("pacemaker01",)})) for name in NAMES}
    assert states(seen(lab, **looks)) == [state, "online", "online"]


def test_the_view_with_quorum_speaks_for_the_cluster(lab: Lab) -> None:
    alone = replace(GOOD, view=replace(VIEW, dc="pacemaker01", quorum=False, online=("pacemaker01",)), quorate=False)
    shown = seen(lab, pacemaker01=alone)
    assert (shown["speaker"], shown["dc"], shown["quorum"]) == ("pacemaker02", "pacemaker02", True)


def test_an_old_look_is_no_news(lab: Lab) -> None:
    shown = seen(lab, now=OLD + 1)
    assert states(shown) == ["unknown"] * 3
    assert (shown["quorum"], shown["dc"], shown["holders"], shown["blind"]) == (None, None, [], list(NAMES))
    assert [node["silent"] for node in shown["nodes"]] == [OLD + 1] * 3


def test_nothing_seen_yet_is_unknown_and_not_none(lab: Lab) -> None:
    shown = picture(lab, {name: Look(at=float("-inf")) for name in NAMES}, NOW)
    assert (shown["quorum"], shown["blind"]) == (None, list(NAMES))
    assert {node["sight"] for node in shown["nodes"]} == {Sight.UNKNOWN}
    assert {node["silent"] for node in shown["nodes"]} == {None}


def test_two_holders_are_both_told(lab: Lab) -> None:
    assert seen(lab, pacemaker03=replace(GOOD, sight=Sight.HELD))["holders"] == ["pacemaker02", "pacemaker03"]


def test_a_node_that_hangs_holds_up_no_other(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    freed = threading.Event()

    def slow(node: object) -> Look:
        if node is lab.node("pacemaker01"):
            freed.wait(30)
        return Look("shut off", Sight.NOT_HELD)

    monkeypatch.setattr(live, "look", slow)
    monkeypatch.setattr(live, "PATIENCE", 0.2)
    watch = live.Watch(lab)
    assert states(watch.now()) == ["unknown", "off", "off"]
    freed.set()
    monkeypatch.setattr(live, "PATIENCE", 30)
    assert states(watch.now()) == ["off", "off", "off"]


@pytest.fixture
def page(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A client of the picture's server."""
    monkeypatch.setattr(live, "look", lambda node: Look("shut off", Sight.NOT_HELD))
    path = str(tmp_path / "s")
    with live.Server(path, live.Handler) as server:
        server.watch = live.Watch(lab)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://live") as client:
            yield client
        server.shutdown()
        thread.join()


def test_the_picture_is_json(page: httpx.Client) -> None:
    assert states(page.get("/now").json()) == ["off"] * 3


def test_the_page_draws_in_our_colours(page: httpx.Client) -> None:
    answer = page.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert live.palette.GOOD in answer.text


def test_an_address_that_nobody_serves_is_told_in_words(page: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise httpx.ConnectError("[Errno 113] No route <to> host")

    monkeypatch.setattr(live.httpx.Client, "get", refused)
    kind, body = live.served(Lab(Settings()), "/")
    assert "No route &lt;to&gt; host" in body.decode() and "192.168.100.100" in body.decode() and kind.startswith("text/html")
