"""What the checks of `checks/` say, before any cluster is asked: their wording is kept in golden/checks.txt."""

import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from halab import grading

GOLDEN = Path(__file__).parent / "golden" / "checks.txt"


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """chapter -> its module."""
    sys.path.insert(0, str(grading.CHECKS))
    yield {name: import_module(f"test_{name.replace('-', '_')}") for name in grading.chapters()}
    sys.path.remove(str(grading.CHECKS))


def checks(module: ModuleType) -> dict[str, tuple[str, dict]]:
    """name -> (title, marker) in the order in which pytest runs them."""
    found = {}
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if name.startswith("test_"):
            mark = next(m for m in vars(function)["pytestmark"] if m.name == "check")
            found[name.removeprefix("test_")] = ((function.__doc__ or "").splitlines()[0], mark.kwargs)
    return found


def test_every_check_has_a_title_points_two_hints_and_something_to_read(modules: dict[str, ModuleType]) -> None:
    for chapter, module in modules.items():
        for name, (title, mark) in checks(module).items():
            assert title, f"{chapter}/{name}"
            assert mark["points"] > 0
            assert {"hint", "more", "read"} <= set(mark), f"{chapter}/{name}"
            assert mark["hint"] != mark["more"]


def test_what_a_check_needs_is_a_check_of_its_chapter_that_stands_before_it(modules: dict[str, ModuleType]) -> None:
    for chapter, module in modules.items():
        order = list(vars(module))  # in which pytest collects them, those that it imports as well
        for name, (_, mark) in checks(module).items():
            for needed in mark.get("needs", ()):
                assert order.index(f"test_{needed}") < order.index(f"test_{name}"), f"{chapter}/{name}"


def test_about_ten_checks_a_chapter(modules: dict[str, ModuleType]) -> None:
    assert all(len(checks(module)) >= 8 for module in modules.values())


def test_the_wording_is_the_one_that_was_read_and_kept(modules: dict[str, ModuleType]) -> None:
    """After a change that is meant, run `python -m tests.unit.test_checks` and read what it writes."""
    assert wording(modules) == GOLDEN.read_text()


def wording(modules: dict[str, ModuleType]) -> str:
    lines = []
    for chapter, module in modules.items():
        for name, (title, mark) in checks(module).items():
            lines += [f"{chapter}/{name} ({mark['points']}): {title}", *(f"  {key}: {mark[key]}" for key in ("hint", "more", "read")), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.path.insert(0, str(grading.CHECKS))
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(wording({name: import_module(f"test_{name.replace('-', '_')}") for name in grading.chapters()}))
