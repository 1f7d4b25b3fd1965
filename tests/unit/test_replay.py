"""The way to the start of a chapter: what is replayed, and what comes from kept disks."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from halab import chain, replay
from halab.errors import LabError
from halab.settings import Settings
from tests.unit.test_inventory import machine

NAMES = ["01-environment", "02-corosync", "03-pacemaker"]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`done` is what was done to it; `there`, `graded` and `ends` are what its parts answer."""
    lab: Any = SimpleNamespace(settings=Settings(state=tmp_path), keys=SimpleNamespace(folder=tmp_path), there=0, graded=0, ends=0)
    lab.done, lab.down = [], lambda: lab.done.append("down")
    lab.each = lambda do: lab.done.append("each")

    class FakeRun:
        def __init__(self, lab: Any, names: list[str], folder: Path) -> None:
            self.lab, self.names = lab, names

        def execute(self, line: Any) -> int:
            self.lab.done.append(f"run {' '.join(self.names)}")
            return self.lab.ends

    monkeypatch.setattr(chain, "chapters", lambda: NAMES)
    monkeypatch.setattr(chain, "Run", FakeRun)
    monkeypatch.setattr(replay.kept, "newest", lambda lab, before: lab.there)
    monkeypatch.setattr(replay.kept, "restore", lambda lab, done, line: lab.done.append(f"restore {done[-1].stem}"))
    monkeypatch.setattr(replay.grading, "run", lambda names, path: SimpleNamespace(exit_code=lab.graded))
    return lab


@pytest.mark.parametrize(
    ("chapter", "there", "done"),
    [
        ("01", 0, ["down"]),
        ("03", 0, ["down", "run 01-environment 02-corosync"]),
        ("03", 1, ["down", "restore 01-environment", "run 02-corosync"]),
        ("03", 2, ["down", "restore 02-corosync"]),
    ],
)
def test_what_is_not_kept_is_replayed(lab: Any, chapter: str, there: int, done: list[str]) -> None:
    lab.there = there
    replay.reset(lab, chapter, print)
    assert lab.done == done


def test_machines_of_an_inventory_lose_their_cluster_and_nobody_makes_them(lab: Any) -> None:
    lab.settings = Settings(engine="ssh", machines=(machine("192.168.100.21"), machine("192.168.100.22")))
    replay.reset(lab, "03", print)
    assert lab.done == ["each", "run 02-corosync"]


def test_kept_disks_are_graded(lab: Any) -> None:
    lab.there, lab.graded = 2, 1
    with pytest.raises(LabError, match="the end of 02-corosync"):
        replay.reset(lab, "03", print)


def test_a_replay_that_falls_short_is_the_labs_error(lab: Any) -> None:
    lab.ends = 1
    with pytest.raises(LabError, match="the start of 03"):
        replay.reset(lab, "03", print)


def test_a_new_start_is_a_first_try(lab: Any) -> None:
    (lab.keys.folder / "attempts.json").write_text("{}")
    replay.reset(lab, "01", print)
    assert not (lab.keys.folder / "attempts.json").exists()


@pytest.mark.parametrize(
    ("chapter", "there", "done"),
    [
        ("02", 0, ["down", "up"]),
        ("03", 0, ["down", "up", "run 02-corosync"]),
        ("03", 2, ["down", "restore 02-corosync"]),
    ],
)
def test_on_this_machines_own_network_up_stands_for_the_first_chapter(lab: Any, chapter: str, there: int, done: list[str]) -> None:
    lab.settings = lab.settings.model_copy(update={"host": "system", "engine": "vm"})
    lab.up, lab.there = (lambda line: lab.done.append("up")), there
    replay.reset(lab, chapter, print)
    assert lab.done == done
