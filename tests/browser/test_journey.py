"""A student's way from the first page to the page at the virtual IP, in the browser only."""

import pytest
from playwright.sync_api import expect

CHAPTERS = {"01-environment": 14, "02-corosync": 21, "03-pacemaker": 14, "04-virtual-ip": 19, "05-apache": 24}


def test_the_first_page_says_where_to_begin(desk):
    page = desk.page.locator(".jp-MarkdownViewer")
    expect(page.locator("h1")).to_contain_text("Linux high availability")
    expect(page.locator("table a").first).to_contain_text("The environment")
    expect(desk.node("pacemaker03").locator(".state")).to_have_text("not made")


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_runs_by_the_menu_to_its_table_of_verdicts(desk, name):
    panel = desk.chapter(name)
    last = desk.run_all(panel)
    print(last.inner_text())
    desk.page.screenshot(path=f"/tmp/ha-shots/{name}.png")
    expect(last.locator("caption")).to_contain_text(f"{CHAPTERS[name]} of {CHAPTERS[name]} points")
    desk.close_chapter()
