"""Tests of JupyterLab as a student meets it: Chromium, driven by Playwright, on a real lab.

One lab and one desk for all of them, in order, as in a class. Every test leaves a screenshot in
`tests/browser/shots/`. Root needed, and Debian's chromium.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.desk import Desk
from tests.live.livelab import Live, labs

#: Nothing that calls home, and root may run it.
FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync""".split()


@pytest.fixture(scope="session")
def live() -> Iterator[Live]:
    """A lab host without nodes: chapter 01 makes them."""
    if os.geteuid() != 0:
        pytest.skip("live labs need root")
    with labs() as make:
        yield make().up("--empty")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("desk") / "work"


@contextmanager
def started(live: Live, folder: Path, *options: str) -> Iterator[str]:
    """`halab lab`, from its start to its end: the address that it prints."""
    process = live.start("lab", str(folder), "--no-browser", *options)
    assert process.stdout
    lines: list[str] = []
    while not (found := re.search(r"http://127\.0\.0\.1:\d+/lab\?token=\w+", "".join(lines))):
        lines.append(process.stdout.readline())
        assert lines[-1], f"halab lab ended: {''.join(lines)}"
    yield found.group()
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.fixture(scope="session")
def url(live: Live, folder: Path) -> Iterator[str]:
    """A desk with the complete chapters, for all tests of the journey."""
    with started(live, folder, "--solved") as url:
        yield url


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("chromium is not installed (make test installs it)")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=FLAGS)


@pytest.fixture(scope="session")
def opened(browser: Browser, url: str) -> Desk:
    return Desk.open(browser, url)


@pytest.fixture
def desk(opened: Desk, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """The open page; what it showed at the end of the test is kept."""
    yield opened
    opened.shot(request.node.name)


@pytest.fixture
def listeners(url: str) -> Callable[[Live], set[str]]:
    """The addresses on which anything of a lab listens on the machine: its own processes and `halab lab`'s."""

    def find(live: Live) -> set[str]:
        ours = {psutil.Process(process.pid) for process in live.started if process.poll() is None}
        holder = live.lab.host.process
        assert holder
        ours |= {child for process in [*ours, holder] for child in process.children(recursive=True)} | {holder}
        pids = {process.pid for process in ours}
        return {f"{c.laddr.ip}:{c.laddr.port}" for c in psutil.net_connections("inet") if c.status == "LISTEN" and c.pid in pids}

    return find
