"""A student's way from the first page to the page at the virtual IP, without leaving the browser."""

import re

import pytest
from playwright.sync_api import expect

CHAPTERS = ("01-environment", "02-corosync", "03-pacemaker", "04-virtual-ip", "05-apache")
FULL = re.compile(r"\b(\d+) of \1 points")


def test_the_first_page_says_where_to_begin(desk):
    page = desk.page.locator(".jp-MarkdownViewer")
    expect(page.locator("h1")).to_contain_text("Linux high availability, hands on")
    expect(page.locator("table a").first).to_have_text("1. The environment")
    expect(desk.node("pacemaker03").locator(".state")).to_have_text("not made")


def test_a_chapter_out_of_turn_says_what_is_missing_and_the_way_there(desk):
    last = desk.run_all(desk.chapter("03-pacemaker"))
    expect(last.locator("caption")).to_have_count(0)
    error = desk.panel.locator("[data-mime-type='application/vnd.jupyter.stderr'], .jp-RenderedText[data-mime-type*=error]").first
    expect(error).to_contain_text("chapter 03-pacemaker begins with nodes that all answer")
    expect(error).to_contain_text('halab.reset("03-pacemaker")')
    expect(error).not_to_contain_text("Traceback")
    desk.shot("out-of-turn")
    desk.close_notebook()


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_runs_by_the_menu_to_full_points(desk, name):
    last = desk.run_all(desk.chapter(name))
    expect(last.locator("caption")).to_have_text(FULL)
    assert desk.pictures() or name == "02-corosync"
    desk.shot(name)
    desk.close_notebook()


def test_the_live_picture_shows_the_cluster(desk):
    for name in ("pacemaker01", "pacemaker02", "pacemaker03"):
        expect(desk.node(name).locator(".state")).to_have_text("online · sees 3 of 3, quorum")
    expect(desk.live.locator(".pill.dc")).to_have_count(1)
    holder = desk.live.locator(".node", has_text="holds 192.168.100.100")
    expect(holder).to_have_count(1)
    expect(holder).to_contain_text("WebSite")


def test_the_page_at_the_virtual_ip_is_the_holders(desk):
    name = desk.live.locator(".node", has_text="holds 192.168.100.100").locator(".name").inner_text()
    with desk.page.expect_popup() as popup:
        desk.live.get_by_role("link", name="192.168.100.100").click()
    expect(popup.value.locator("body")).to_have_text(f"My Test Site - {name}")
    popup.value.close()


def test_what_a_cell_does_is_seen_live(desk):
    desk.new_notebook()
    desk.type_and_run('%load_ext halab\nimport halab\nlab = halab.lab()\nlab["pacemaker02"].check_output("crm node standby")')
    expect(desk.node("pacemaker02").locator(".state")).to_contain_text("standby")
    desk.shot("standby")
    desk.type_and_run('lab["pacemaker02"].check_output("crm node online")')
    expect(desk.node("pacemaker02").locator(".state")).to_contain_text("online")


def test_a_mistake_gets_a_hint_and_is_mended(desk):
    desk.type_and_run('first = lab["pacemaker01"]\nfirst.check_output("crm configure rsc_defaults resource-stickiness=0")')
    failed = desk.type_and_run('halab.check("04-virtual-ip")')
    expect(failed.locator("td", has_text="✘ failed")).to_have_count(1)
    expect(failed).to_contain_text("hint: a default for all resources, among the rsc_defaults")
    desk.shot("hint")
    desk.type_and_run('first.check_output("crm configure rsc_defaults resource-stickiness=100")')
    passed = desk.type_and_run('halab.check("04-virtual-ip")')
    expect(passed.locator("caption")).to_have_text(FULL)


def test_a_long_cell_says_that_it_works_while_it_does(desk):
    cell = desk.begin('lab.host.run("sleep 6").ok')
    expect(cell).to_contain_text("at work")
    desk.ended(cell)
    expect(cell).not_to_contain_text("at work")
    expect(cell).to_contain_text("True")


def test_a_cell_that_hangs_is_interrupted_and_the_next_one_runs(desk):
    cell = desk.begin('lab["pacemaker01"].run("sleep 1000", timeout=1000)')
    expect(cell).to_contain_text("at work")
    desk.menu("Kernel", "Interrupt Kernel")
    desk.ended(cell)
    expect(cell).to_contain_text("KeyboardInterrupt")
    expect(desk.type_and_run('lab["pacemaker01"].check_output("hostname")')).to_contain_text("pacemaker01")


def test_a_second_desk_in_the_same_folder_is_told_where_the_first_is(live, folder, url):
    again = live.halab("lab", str(folder), "--no-browser")
    assert again.status == 2
    assert url in again.stderr


def test_nothing_listens_on_the_machine_but_the_relay(live, url, listeners):
    assert listeners(live) == {f"127.0.0.1:{url.split(':')[2].split('/')[0]}"}
