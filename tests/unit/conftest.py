"""Unit tests are pure: no root, no network, no lab, nothing of the caller's settings."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from halab import grading
from halab.settings import Settings, load

CAPTURED = Path(__file__).parent / "captured"
RELEASES = ("trixie", "bookworm")
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No HALAB_* of the caller, no halab.toml but the test's own, folders of labs and images below tmp_path."""
    for name in [n for n in os.environ if n.startswith("HALAB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HALAB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("HALAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        if self.family == socket.AF_UNIX:
            return connect(self, address)
        raise AssertionError(f"a unit test connects to {address}")

    connect = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(params=RELEASES)
def captured(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Reads a file of real output; the test runs once for each Debian release that it was captured on."""
    return lambda name: (CAPTURED / request.param / name).read_text()


@pytest.fixture
def settings() -> Settings:
    return load()


@pytest.fixture
def about(settings: Settings) -> dict:
    """What a lab host recorded about itself, in its place."""
    facts = {
        "settings": settings.model_dump(mode="json"), "image": "/nowhere", "image_digest": "0123456789ab", "uid": os.getuid(),
        "group": "nobody", "instance": "cafe0001", "versions": {"corosync": "3.1.9"}, "start": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    settings.folder.mkdir(parents=True)
    (settings.folder / "host.json").write_text(json.dumps(facts))
    return facts


@pytest.fixture
def write(about: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module of checks in a folder that takes the place of `checks/`."""
    folder = tmp_path / "checks"
    folder.mkdir()
    monkeypatch.setattr(grading, "CHECKS", folder)
    monkeypatch.setenv("PYTHONPATH", str(Path(grading.__file__).parent.parent))

    def put(text: str, name: str = "test_02_corosync") -> Path:
        (folder / f"{name}.py").write_text(text)
        return folder

    return put


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "report.json"
