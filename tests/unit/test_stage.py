from pathlib import Path

import pytest

from halab import chain, stage
from halab.errors import LabError, StudentError
from halab.lab import Lab, Sight
from halab.settings import Settings
from halab.stage import NotThere


@pytest.fixture
def looked(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The stages that were looked at; the third of them is wrong."""
    found: list[int] = []

    def look(number: int) -> dict[str, object]:
        found.append(number)
        return {"pacemaker02": "off"} if number == 3 else {}

    stages = tuple((f"stage {k}", lambda lab, k=k: look(k)) for k in range(1, 5))
    monkeypatch.setattr(stage, "STAGES", stages)
    monkeypatch.setattr(stage, "current", lambda *_, **__: Lab(settings))
    monkeypatch.setenv("HALAB_TIMEOUT_SCALE", "0.01")
    return found


@pytest.mark.parametrize(("chapter", "looks"), [("01-environment", [1]), ("02-corosync", [1, 2]), ("03-pacemaker", [1, 2, 3])])
def test_a_chapter_looks_at_what_those_before_it_left_and_at_its_own(
    looked: list[int], chapter: str, looks: list[int], capsys: pytest.CaptureFixture
) -> None:
    assert isinstance(stage.begin(chapter), Lab)
    assert looked == looks
    told = capsys.readouterr().out
    if chapter == "03-pacemaker":  # whose own stage is wrong: nobody has done it yet
        assert told == ""
    else:
        assert (
            told
            == f'This lab is further on: it has stage {looks[-1]}. Run the chapter again as it is, or halab.reset("{chapter}") first.\n'
        )


@pytest.mark.parametrize(("engine", "scale", "told"), [("vm", "5", True), ("vm", "1", False), ("lxc", "5", False)])
@pytest.mark.usefixtures("looked")
def test_emulated_machines_are_told_where_a_chapter_begins(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, capsys: pytest.CaptureFixture[str], engine: str, scale: str, told: bool
) -> None:
    monkeypatch.setattr(stage, "current", lambda *_, **__: Lab(settings.model_copy(update={"engine": engine})))
    monkeypatch.setenv("HALAB_TIMEOUT_SCALE", scale)
    stage.begin("03-pacemaker")
    assert ("emulated" in capsys.readouterr().out) is told


def test_what_is_missing_is_said_with_the_way_there(looked: list[int]) -> None:
    with pytest.raises(NotThere) as caught:
        stage.begin("05-apache")
    assert 4 not in looked
    assert str(caught.value).startswith("expected: chapter 05-apache begins with stage 3\n  seen: pacemaker02: off\n")
    assert 'halab.reset("05-apache")' in str(caught.value) and "chapter 03" in str(caught.value)
    assert caught.value.exit_code == 1


def test_a_lab_is_as_far_as_the_first_stage_that_is_wrong(looked: list[int], settings: Settings) -> None:
    assert stage.reached(Lab(settings)) == 2
    assert looked == [1, 2, 3]


def test_a_lab_in_which_nothing_is_wrong_has_reached_the_last_stage(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr(stage, "STAGES", (("one", lambda lab: {}), ("two", lambda lab: {})))
    assert stage.reached(Lab(settings)) == 2


@pytest.mark.parametrize(
    ("holder", "server", "good"), [("a", "a", True), ("a", "b", False), (None, "a", False), ("a", None, False), (None, None, False)]
)
def test_the_page_comes_from_the_holder(
    holder: str | None, server: str | None, good: bool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(settings)
    monkeypatch.setattr(lab, "holder", lambda: holder)
    monkeypatch.setattr(stage, "ask", lambda url: server)
    assert (stage._not_served(lab) == {}) is good


def test_every_chapter_but_the_first_begins_with_a_look() -> None:
    for path in (chain.NOTEBOOKS / f"{name}.ipynb" for name in chain.chapters()[1:]):
        assert f'halab.begin(\\"{path.stem}\\"' in path.read_text(), path.stem


def test_there_is_a_stage_between_every_two_chapters() -> None:
    assert len(stage.STAGES) >= len(chain.chapters()) - 1


@pytest.mark.parametrize(
    ("holders", "good"),
    [
        ((Sight.HELD, Sight.NOT_HELD, Sight.NOT_HELD), True),
        ((Sight.HELD, Sight.HELD, Sight.NOT_HELD), False),
        ((Sight.NOT_HELD,) * 3, False),
        ((Sight.UNKNOWN,) * 3, False),
    ],
)
def test_the_virtual_ip_is_held_once(holders: tuple[Sight, ...], good: bool, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(settings)
    monkeypatch.setattr(lab, "holders", lambda: dict(zip("abc", holders, strict=True)))
    assert (stage._not_held_once(lab) == {}) is good


def test_a_node_without_power_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(settings)
    off = StudentError("pacemaker01 is powered on", "shut off")
    monkeypatch.setattr(stage, "attempt", lambda node, look: off if node.number == 1 else node.number == 2)
    assert stage._silent(lab) == {"pacemaker01": off, "pacemaker03": "does not answer SSH"}


def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(stage.sys, "executable", str(program))


def test_a_reset_shows_its_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command(monkeypatch, tmp_path, 'echo "$@"')
    stage.reset("03-pacemaker")
    assert capfd.readouterr().out.splitlines()[0] == "-m halab reset 03-pacemaker"


def test_a_reset_that_fails_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command(monkeypatch, tmp_path, "exit 3")
    with pytest.raises(LabError, match="brought to the start of 03-pacemaker"):
        stage.reset("03-pacemaker")
