"""Tests of the lab itself, on real labs. Root needed; every lab here has a name of its own.

`live` is one lab, up, shared by the tests of a module; `new_lab` makes further ones. Both take down
what they made, also after a failure. Tests marked `inside` run in the lab host, where notebooks run;
others look from the machine.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from halab.image import Image
from halab.settings import Settings
from halab.wait import eventually
from tests.live.livelab import Live, labs


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "inside: the test's body runs in the lab host")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not pyfuncitem.get_closest_marker("inside"):
        return None
    args = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    live = args["live"]
    assert isinstance(live, Live)
    live.within(lambda: pyfuncitem.obj(**args))
    return True


@pytest.fixture(scope="session", autouse=True)
def image() -> Image:
    """The golden image, built when it is not there."""
    if os.geteuid() != 0:
        pytest.skip("live labs need root")
    made = Image(Settings())
    made.build(lambda text: None)
    return made


@pytest.fixture
def new_lab() -> Iterator[Callable[..., Live]]:
    """A factory of labs: `new_lab(nodes=2)`; nothing runs until `.up()`."""
    with labs() as make:
        yield make


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    """One lab, up, for the tests of a module. A test that breaks it mends it."""
    with labs() as make:
        yield make().up()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """A factory of folders that hold `size` bytes at most."""
    made: list[Path] = []

    def make(size: str) -> Path:
        folder = tmp_path / f"small{len(made)}"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "small", str(folder)], check=True)
        made.append(folder)
        return folder

    yield make
    for folder in made:
        eventually(lambda: _unmounted(folder), within=10, what=f"{folder} unmounted")  # noqa: B023  (called at once)


def _unmounted(folder: Path) -> bool:
    return subprocess.run(["umount", str(folder)], check=False, capture_output=True).returncode == 0
