import socket
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from halab import probe
from halab.lab import Lab
from halab.probe import Outage, Probe, Sample
from halab.settings import Settings


def watched(settings: Settings, *answers: tuple[float, str | None]) -> Probe:
    """A probe with one sample an answer: (when it ended, the node or None)."""
    found = Probe(Lab(settings))
    found.samples = [Sample(done - 0.01, done, node) for done, node in answers]
    return found


def test_without_a_failed_request_there_is_no_outage(settings: Settings) -> None:
    seen = watched(settings, (1, "a"), (2, "a"), (3, "b"))
    assert (seen.outages, seen.longest) == ([], 0)


def test_an_outage_lasts_from_the_last_good_answer_to_the_next_one(settings: Settings) -> None:
    seen = watched(settings, (1, "a"), (2, None), (3, None), (4.5, "b"), (5, "b"))
    assert seen.outages == [Outage(1, 4.5)]
    assert seen.longest == 3.5


def test_each_outage_is_told_and_the_longest_counts(settings: Settings) -> None:
    seen = watched(settings, (1, "a"), (2, None), (3, "a"), (4, "a"), (5, None), (9, "b"))
    assert seen.outages == [Outage(1, 3), Outage(4, 9)]
    assert seen.longest == 5


def test_an_outage_that_goes_on_counts_up_to_the_last_request(settings: Settings) -> None:
    assert watched(settings, (1, "a"), (2, None), (6, None)).outages == [Outage(1, 6)]


def test_with_no_answer_at_all_the_outage_is_the_whole_time(settings: Settings) -> None:
    assert watched(settings, (1, None), (2, None)).outages == [Outage(0, 2)]


def test_an_outage_ends_with_the_first_answer_whichever_request_it_is_to(settings: Settings) -> None:
    """A busy node answers the request of 8.0 after the one of 8.2; between them, one is lost."""
    seen = watched(settings, (1, "a"), (2, None))
    seen.samples += [Sample(8.0, 8.5, "b"), Sample(8.1, 8.6, None), Sample(8.2, 8.3, "b"), Sample(9, 9.1, "b")]
    assert seen.outages == [Outage(1, 8.3)]


def test_a_probe_that_asked_nothing_saw_nothing(settings: Settings) -> None:
    seen = watched(settings)
    assert (seen.outages, seen.servers, seen.now, seen.longest) == ([], [], None, 0)


def test_servers_are_told_in_order_with_repeats_folded(settings: Settings) -> None:
    seen = watched(settings, (1, "a"), (2, "a"), (3, None), (4, "b"), (5, "a"))
    assert seen.servers == ["a", "b", "a"]
    assert repr(seen) == "<probe http://192.168.100.100/: served by a then b then a>"


def test_now_is_the_last_answer_and_none_when_it_failed(settings: Settings) -> None:
    assert watched(settings, (1, "a"), (2, "b")).now == "b"
    assert watched(settings, (1, "a"), (2, None)).now is None


def test_an_answer_from_before_does_not_count_when_its_page_is_asked_for_since(settings: Settings) -> None:
    seen = watched(settings, (1, "a"), (2, "b"))
    assert (seen.since(0), seen.since(1.5), seen.since(2)) == ("b", "b", None)
    assert watched(settings, (1, "a"), (2, None)).since(0) is None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A web server on this machine's loopback; `status` and `page` are what it answers."""
    monkeypatch.undo()  # loopback is no network
    answer = SimpleNamespace(status=200, page="<h1>This is pacemaker02</h1>", url="")

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answer.status)
            self.end_headers()
            self.wfile.write(answer.page.encode())

        def log_message(self, *_: Any) -> None:
            """Silent."""

    with HTTPServer(("127.0.0.1", 0), Page) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        answer.url = f"http://127.0.0.1:{web.server_port}/"
        answer.shutdown = web.shutdown
        answer.stop = web.server_close
        yield answer
        web.shutdown()


def test_ask_gives_the_node_that_the_page_names(server: SimpleNamespace) -> None:
    assert probe.ask(server.url) == "pacemaker02"


@pytest.mark.parametrize(("status", "page"), [(503, "pacemaker02"), (200, "It works!"), (404, "")])
def test_a_page_of_another_kind_is_no_answer(server: SimpleNamespace, status: int, page: str) -> None:
    server.status, server.page = status, page
    assert probe.ask(server.url) is None


def test_a_closed_port_is_no_answer(server: SimpleNamespace) -> None:
    server.shutdown()
    server.stop()
    assert probe.ask(server.url) is None


def test_a_probe_samples_while_its_block_runs(server: SimpleNamespace, settings: Settings) -> None:
    seen = Probe(Lab(settings), every=0.001)
    seen.url = server.url
    with seen:
        seen.mark("began")
        while len(seen.samples) < 3:
            threading.Event().wait(0.01)
    assert seen.servers == ["pacemaker02"]
    assert [text for _, text in seen.marks] == ["began"]
    assert all(s.sent <= s.done for s in seen.samples)


@pytest.mark.parametrize(
    ("error", "seen"), [(None, True), (ConnectionRefusedError(), False), (TimeoutError(), False), (OSError(113, "No route to host"), False)]
)
def test_a_port_that_takes_a_connection_listens(monkeypatch: pytest.MonkeyPatch, error: OSError | None, seen: bool) -> None:
    asked: list[Any] = []

    def connect(address: tuple[str, int], timeout: float) -> nullcontext[None]:
        asked.append(address)
        if error:
            raise error
        return nullcontext()

    monkeypatch.setattr(socket, "create_connection", connect)
    assert probe.listens(Settings().host_address, 80) is seen
    assert asked == [("192.168.100.1", 80)]
