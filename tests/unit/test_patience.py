import time
from threading import Event

import pytest
from IPython.core.interactiveshell import InteractiveShell

from halab import patience
from halab.patience import Patience, watch


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(patience, "SILENCE", 0.05)
    monkeypatch.setattr(patience, "EVERY", 0.01)
    return []


def counting(lines: list[str], counted: Event) -> Patience:
    def change(text: str) -> None:
        lines.append(text)
        counted.set()

    def show(text: str):
        lines.append(text)
        return change

    return Patience(show)


def test_a_long_cell_gets_a_line_that_counts_and_goes(lines: list[str]) -> None:
    counted = Event()
    it = counting(lines, counted)
    it.begin()
    assert counted.wait(5)
    it.end()
    assert lines[0].startswith("at work") and lines[-1] == ""


def test_a_short_cell_gets_none(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SILENCE", 60)
    it = counting(lines, Event())
    before = time.monotonic()
    it.begin()
    it.end()
    assert (lines, time.monotonic() - before < 5) == ([], True)


def test_an_end_without_a_beginning_is_nothing(lines: list[str]) -> None:
    counting(lines, Event()).end()
    assert lines == []


class Shell:
    def __init__(self) -> None:
        self.events = self
        self.hooks: list[str] = []

    def register(self, event: str, hook: object) -> None:
        self.hooks.append(event)

    def set_custom_exc(self, kinds: tuple[type, ...], handler: object) -> None:
        pass


@pytest.mark.parametrize(("desk", "run", "hooks"), [(True, False, 2), (False, False, 0), (True, True, 0)])
def test_only_a_person_is_shown_it(desk: bool, run: bool, hooks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, given in (("HALAB_DESK", desk), ("HALAB_REPORT", run)):
        monkeypatch.setenv(name, "1") if given else monkeypatch.delenv(name, raising=False)
    shell = Shell()
    watch(shell)
    assert len(shell.hooks) == hooks


def test_an_interrupt_is_told_in_a_line(capsys: pytest.CaptureFixture) -> None:
    shell = InteractiveShell()
    watch(shell)
    result = shell.run_cell("def deep():\n    raise KeyboardInterrupt\ndeep()")
    assert isinstance(result.error_in_exec, KeyboardInterrupt)
    assert (
        capsys.readouterr().out.strip()
        == "KeyboardInterrupt: the cell was interrupted, by you or by its deadline; run it again when it is mended"
    )
