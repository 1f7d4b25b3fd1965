"""JupyterLab's page by what a person sees and clicks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, FrameLocator, Locator, Page, expect

#: Screenshots, kept for people.
SHOTS = Path(__file__).parent / "shots"
#: Milliseconds that a click's effect may take, and that a chapter may take.
SOON, CHAPTER = 30_000, 240_000


@dataclass
class Desk:
    page: Page
    base: str

    @classmethod
    def open(cls, browser: Browser, url: str) -> Desk:
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(SOON)
        expect.set_options(timeout=SOON)
        page.goto(url)
        page.locator(".jp-DirListing-item").first.wait_for()
        return cls(page, url.split("/lab?")[0])

    # -- the page -----------------------------------------------------------------------------------

    def menu(self, *names: str) -> None:
        """Click through the menus: `menu("Run", "Run All Cells")`."""
        first, *rest = names
        self.page.locator(".lm-MenuBar-item", has_text=first).first.click()
        for name in rest:
            self.page.locator(".lm-Menu-itemLabel").get_by_text(name, exact=True).click()

    @property
    def live(self) -> FrameLocator:
        """The live picture in its panel."""
        return self.page.frame_locator('iframe[src*="/cluster/"]').first

    def node(self, name: str) -> Locator:
        """A node's box in the live picture."""
        return self.live.locator(".node", has_text=name)

    def shot(self, name: str) -> None:
        SHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")

    # -- notebooks ----------------------------------------------------------------------------------

    @property
    def panel(self) -> Locator:
        """The notebook in front."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    def chapter(self, name: str) -> Locator:
        """Open a notebook by a double click in the list of files; its panel, when its kernel is ready."""
        self.page.locator(".jp-DirListing-item", has_text=f"{name}.ipynb").dblclick()
        return self._ready()

    def new_notebook(self) -> Locator:
        self.menu("File", "New", "Notebook")
        expect(self.page.locator(".lm-DockPanel-tabBar .lm-mod-current", has_text="Untitled")).to_have_count(1)
        return self._ready()

    def _ready(self) -> Locator:
        expect(self.panel.locator(".jp-NotebookPanel-toolbar")).to_contain_text("Python 3")
        expect(self.page.locator("#jp-bottom-panel")).to_contain_text("| Idle")
        return self.panel

    def run_all(self, panel: Locator) -> Locator:
        """Run > Run All Cells; the last code cell, when all has ended."""
        self.menu("Run", "Run All Cells")
        indicator = panel.locator(".jp-Notebook-ExecutionIndicator")
        expect(indicator).to_have_attribute("data-status", "busy")
        expect(indicator).to_have_attribute("data-status", "idle", timeout=CHAPTER)
        last = panel.locator(".jp-CodeCell").last
        last.scroll_into_view_if_needed()
        return last

    def type_and_run(self, code: str) -> Locator:
        """Type into the last cell and press Shift+Enter; that cell, when it has ended."""
        return self.ended(self.begin(code))

    def begin(self, code: str) -> Locator:
        cells = self.panel.locator(".jp-CodeCell")
        cell = cells.nth(cells.count() - 1)
        cell.locator(".cm-content").click()
        self.page.keyboard.insert_text(code)
        self.page.keyboard.press("Shift+Enter")
        return cell

    def ended(self, cell: Locator) -> Locator:
        expect(cell.locator(".jp-InputPrompt").first).to_have_text(re.compile(r"\[\d+\]:"), timeout=CHAPTER)
        return cell

    def pictures(self) -> int:
        """How many pictures the notebook in front shows."""
        return self.panel.locator(".jp-OutputArea-output img").count()

    def close_notebook(self) -> None:
        """Save it, and shut its kernel down, as a student at the end of a chapter."""
        self.menu("File", "Save Notebook")
        self.menu("File", "Close and Shut Down Notebook…")
        self.page.get_by_role("button", name="Ok", exact=True).click()
        expect(self.panel).to_have_count(0)
