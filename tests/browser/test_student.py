"""The student's edition in the browser: an exercise left blank, its hint, the answer, the points."""

import re
from collections.abc import Iterator

import nbformat
import pytest
from playwright.sync_api import Browser, Locator, expect

from halab import chain, exercise
from tests.browser.conftest import started
from tests.browser.desk import Desk
from tests.live.livelab import Live

FULL = re.compile(r"\b(\d+) of \1 points")


@pytest.fixture(scope="module")
def opened(browser: Browser, live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A second desk on the same lab, with the exercises to do, where chapter 04 begins or later."""
    assert live.halab("check", "03").ok or live.halab("reset", "04-virtual-ip", timeout=300).ok
    with started(live, tmp_path_factory.mktemp("student") / "work") as url:
        yield Desk.open(browser, url)


@pytest.fixture
def desk(opened: Desk, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """The open page; what it showed at the end of the test is kept."""
    yield opened
    opened.shot(request.node.name)


def code(desk: Desk, text: str) -> Locator:
    """The code cell that holds this text; JupyterLab draws a cell only when it comes near the window."""
    cell = desk.panel.locator(".jp-CodeCell", has_text=text).first
    for _ in range(60):
        if cell.count():
            break
        desk.panel.locator(".jp-WindowedPanel-outer").first.evaluate("panel => panel.scrollBy(0, 600)")
        desk.page.wait_for_timeout(100)
    cell.scroll_into_view_if_needed()
    return cell


def run(desk: Desk, cell: Locator) -> Locator:
    cell.locator(".cm-content").click()
    desk.page.keyboard.press("Control+Enter")
    return desk.ended(cell)


def test_a_blank_exercise_gets_a_hint_and_its_answer_passes(desk: Desk) -> None:
    panel = desk.chapter("04-virtual-ip")
    desk.run_all(panel)  # to the first exercise, where it stops
    blank = code(desk, "your_answer_is_missing")
    expect(blank).to_contain_text("command not found")
    desk.shot("student-blank")
    check = run(desk, code(desk, 'only="address"'))
    expect(check).to_contain_text("expected: agent: ocf:heartbeat:IPaddr2")
    expect(check).to_contain_text("hint:")
    expect(check).not_to_contain_text("Traceback")
    desk.shot("student-hint")
    blank.locator(".cm-content").click()
    desk.page.keyboard.press("Control+a")
    desk.page.keyboard.insert_text(exercise.find("address").solution)
    desk.page.keyboard.press("Control+Enter")
    desk.ended(code(desk, "params ip=$VIP"))
    passed = run(desk, code(desk, 'only="address"'))
    expect(passed.locator("caption")).to_have_text(FULL)
    desk.shot("student-passed")


def test_the_solution_is_shown_after_a_try_and_not_before(desk: Desk) -> None:
    desk.close_notebook()
    desk.new_notebook()
    expect(desk.type_and_run('import halab\nhalab.solution("colocation")')).to_contain_text("tried before its solution is shown")
    expect(desk.type_and_run('halab.solution("address")')).to_contain_text("IPaddr2")


@pytest.mark.slow
def test_the_whole_edition_is_done_in_the_browser(live: Live, desk: Desk) -> None:
    """Every chapter: each blank cell gets what the complete chapter has there, all cells are run, and the points are full."""
    assert live.halab("reset", "01-environment", timeout=300).ok
    for name in chain.chapters():
        desk.chapter(name)
        for answer in answers(name):
            blank = code(desk, "your_answer_is_missing")
            blank.locator(".cm-content").click()
            desk.page.keyboard.press("Control+a")
            desk.page.keyboard.insert_text(answer)
        last = desk.run_all(desk.panel)
        expect(last.locator("caption")).to_have_text(FULL)
        desk.shot(f"student-{name}")
        desk.close_notebook()


def answers(chapter: str) -> list[str]:
    """What the complete chapter has in the cells that the student's edition leaves blank, in order."""
    cells = nbformat.read(chain.NOTEBOOKS / f"{chapter}.ipynb", as_version=4).cells
    marked = [cell.source for cell in cells if exercise.BEGIN in cell.source]
    return ["\n".join(line for line in text.splitlines() if "### " not in line) for text in marked]
