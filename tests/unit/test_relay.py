import socket
from types import SimpleNamespace
from typing import Any

import pytest

from halab import relay
from halab.errors import UsageError


def test_a_port_that_is_taken_is_refused_when_it_was_asked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match="another --port"):
        relay._listen(taken.getsockname()[1])


def test_without_a_wish_any_free_port_of_this_machine_alone_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(relay, "PORT", taken.getsockname()[1])
        with relay._listen(None) as free:
            host, port = free.getsockname()
            assert host == "127.0.0.1" and port not in (0, relay.PORT)


def test_what_became_root_by_sudo_is_ended_by_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise PermissionError

    ran: list[list[str]] = []
    server: Any = SimpleNamespace(pid=4711, terminate=refused)
    monkeypatch.setattr(relay.subprocess, "run", lambda argv, **_: ran.append(argv))
    relay._end(server)
    assert ran == [["sudo", "--non-interactive", "kill", "-TERM", "4711"]]
