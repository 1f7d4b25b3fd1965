"""Kept disks, on a lab whose host is this machine and whose nodes only say what was asked of them."""

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from halab import kept
from halab.command import quote, run_here
from halab.errors import DeadlinePassed

CHAPTERS = ("01-environment", "02-corosync", "03-pacemaker")


class FakeNode:
    """Writes what is asked of it into the lab's diary."""

    def __init__(self, name: str, diary: list[str]) -> None:
        self.name, self.diary = name, diary

    def __getattr__(self, verb: str) -> Callable[..., None]:
        return lambda *args: self.diary.append(" ".join([verb, self.name, *map(str, args[:1])]))


class FakeLab:
    """Nodes whose disks are files of this machine."""

    def __init__(self, folder: Path, disks: PurePosixPath | None) -> None:
        self.diary = list[str]()
        self.nodes = [FakeNode(name, self.diary) for name in ("one", "two")]
        self.engine = SimpleNamespace(disks=disks)
        self.host: Any = SimpleNamespace(folder=folder, run=self.run, check_output=lambda *a, **k: self.run(*a, **k).check())

    def run(self, command: str, *args: object, timeout: float = 60) -> Any:
        self.diary.append(command.split()[0])
        return run_here("sh", "-c", quote(command, *args), timeout=timeout)

    def each(self, do: Callable[[FakeNode], object]) -> None:
        for node in self.nodes:
            do(node)

    def up(self, line: Callable[[str], None]) -> None:
        self.diary.append("up")


@pytest.fixture
def lab(tmp_path: Path) -> Any:
    disks = tmp_path / "lab" / "nodes"
    disks.mkdir(parents=True)
    (disks / "disk").write_text("of 01")
    return FakeLab(tmp_path / "lab", PurePosixPath(disks))


@pytest.fixture
def done(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.ipynb" for name in CHAPTERS]
    for path in paths:
        path.write_text(path.stem)
    return paths


@pytest.fixture
def said() -> Iterator[list[str]]:
    yield []


@pytest.fixture(autouse=True)
def reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept.stage, "reached", lambda lab: 2)
    monkeypatch.setenv("HALAB_TIMEOUT_SCALE", "0.001")


def test_all_stand_still_while_their_disks_are_copied(lab: Any, done: list[Path], said: list[str]) -> None:
    kept.keep(lab, done[:1], said.append)
    verbs = [entry.partition(" --")[0] for entry in lab.diary]
    assert verbs == [
        "check_output one sync", "check_output two sync", "suspend one", "suspend two", "mkdir", "resume one", "resume two",
        "check_output one date", "check_output two date", "mv",
    ]  # fmt: skip
    assert not said


def test_what_was_kept_comes_back_and_the_newest_is_found(lab: Any, done: list[Path], said: list[str]) -> None:
    disk = Path(lab.engine.disks) / "disk"
    assert kept.newest(lab, done) == 0
    kept.keep(lab, done[:1], said.append)
    disk.write_text("of 02")
    kept.keep(lab, done[:2], said.append)
    disk.write_text("of a student")
    assert (kept.newest(lab, done), kept.newest(lab, done[:1])) == (2, 1)
    kept.restore(lab, done[:2], said.append)
    assert disk.read_text() == "of 02"
    assert lab.diary[-3:] == ["define one", "define two", "up"]
    kept.restore(lab, done[:1], said.append)
    assert disk.read_text() == "of 01"


def test_a_chapter_that_was_edited_since_is_replayed(lab: Any, done: list[Path], said: list[str]) -> None:
    for n in (1, 2, 3):
        kept.keep(lab, done[:n], said.append)
    assert kept.newest(lab, done) == 3
    done[1].write_text("better")
    assert kept.newest(lab, done) == 1


def test_without_room_it_says_so_the_machines_go_on_and_nothing_half_stays(lab: Any, done: list[Path], said: list[str]) -> None:
    (Path(lab.engine.disks) / "disk").unlink()
    Path(lab.engine.disks).rmdir()  # cp fails
    kept.keep(lab, done[:1], said.append)
    assert "resume two" in lab.diary and "will replay" in said[0]
    assert not list((lab.host.folder / "kept").iterdir())


def test_a_lab_that_does_not_come_back_is_told(lab: Any, done: list[Path], said: list[str]) -> None:
    kept.keep(lab, done, said.append)
    with pytest.raises(DeadlinePassed, match="at the end of 03-pacemaker again"):
        kept.restore(lab, done, said.append)


def test_where_replaying_is_quick_nothing_is_kept(tmp_path: Path, done: list[Path], said: list[str]) -> None:
    lab: Any = FakeLab(tmp_path, None)
    kept.keep(lab, done, said.append)
    assert kept.newest(lab, done) == 0
    assert not lab.diary
