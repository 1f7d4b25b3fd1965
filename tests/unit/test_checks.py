"""What the checks of `checks/` say, before any cluster is asked: their wording is kept in golden/checks.txt."""

from pathlib import Path
from types import ModuleType

import pytest

from tests import listing
from tests.listing import checks

GOLDEN = Path(__file__).parent / "golden" / "checks.txt"


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    return listing.modules()


def test_every_check_has_a_title_points_two_hints_and_something_to_read(modules: dict[str, ModuleType]) -> None:
    for chapter, module in modules.items():
        for name, (title, mark) in checks(module).items():
            assert title, f"{chapter}/{name}"
            assert mark["points"] > 0 or mark.get("level") == "warning"  # a warning costs nothing
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
    GOLDEN.write_text(wording(listing.modules()))
