"""The notebooks as files: anatomy, committed outputs, and nothing in them that is true on one machine only."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
CHECKS = Path(__file__).parents[2] / "checks"
WORDS, LINES = 85, 12


def cells(path: Path, kind: str) -> list[nbformat.NotebookNode]:
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def texts(cell: nbformat.NotebookNode) -> str:
    return "".join(o.get("text", "") + str(o.get("data", {}).get("text/plain", "")) for o in cell.outputs)


@pytest.fixture(params=NOTEBOOKS, ids=lambda p: p.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_the_chapters_are_numbered_without_a_gap() -> None:
    assert [p.stem[:2] for p in NOTEBOOKS] == [f"{k:02d}" for k in range(1, len(NOTEBOOKS) + 1)]
    assert len(NOTEBOOKS) >= 5


def test_every_chapter_has_its_checks() -> None:
    assert [p.stem for p in NOTEBOOKS] == [p.stem.removeprefix("test_").replace("_", "-") for p in sorted(CHECKS.glob("test_*.py"))]


def test_is_valid(path: Path) -> None:
    nbformat.validate(nbformat.read(path, as_version=4))


def test_begins_with_its_goal_and_what_it_needs(path: Path) -> None:
    first = cells(path, "markdown")[0].source
    assert first.startswith("# ")
    assert "**Goal.**" in first
    assert "**What you need.**" in first


def test_names_its_words_breaks_something_and_says_what_changed_and_what_is_next(path: Path) -> None:
    text = "\n".join(c.source for c in cells(path, "markdown"))
    for part in ("**Vocabulary.**", "2014", "**Roads not taken.**", "**Next", "## Checks", "## Break it"):
        assert part in text, part


def test_each_word_of_the_vocabulary_has_its_source(path: Path) -> None:
    """A link, or `there` and `the same page` for one that was named already."""
    (text,) = [c.source for c in cells(path, "markdown") if c.source.startswith("**Vocabulary.**")]
    sentences = re.split(r"(?<=\.) (?=An? \*|\*|The \*)", text.removeprefix("**Vocabulary.** "))
    assert len(sentences) >= 4
    assert not [s for s in sentences if not re.search(r"\]\(https://|\(there\b|\(the same page\)", s)]


def test_cells_need_no_lambda_and_no_walrus(path: Path) -> None:
    assert not [c.source for c in cells(path, "code") if "lambda" in c.source or ":=" in c.source]


def test_takes_the_lab_as_parameters(path: Path) -> None:
    tagged = [c for c in cells(path, "code") if "parameters" in c.metadata.get("tags", [])]
    names = [t.id for c in tagged for n in ast.parse(c.source).body if isinstance(n, ast.Assign) for t in n.targets]
    assert names == ["lab_name", "engine", "nodes"]


def test_ends_with_its_own_checks(path: Path) -> None:
    last = cells(path, "code")[-1]
    assert last.source.strip() == f'halab.check("{path.stem}")'
    assert (last.metadata.deletable, last.metadata.editable) == (False, False)


def test_prose_and_code_cells_are_short(path: Path) -> None:
    long = [c.source[:50] for c in cells(path, "markdown") if len(re.sub(r"^\|.*$", "", c.source, flags=re.M).split()) > WORDS]
    long += [c.source[:50] for c in cells(path, "code") if len([line for line in c.source.splitlines() if " SOLUTION" not in line]) > LINES]
    assert not long


def test_links_lead_to_chapters_that_exist(path: Path) -> None:
    linked = re.findall(r"\]\(([^):]+\.ipynb)\)", "\n".join(c.source for c in cells(path, "markdown")))
    assert not [name for name in linked if not (path.parent / name).exists()]


def test_outputs_are_committed(path: Path) -> None:
    code = cells(path, "code")
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert sum(bool(c.outputs) for c in code) >= 10
    assert "passed" in texts(code[-1])
    assert not [o for c in code for o in c.outputs if o.output_type == "error"]


def test_every_output_is_compared(path: Path) -> None:
    """What may differ is named in tests/nbval.cfg; no cell is left out, also none that prints nothing."""
    tags = [c.metadata.get("tags", []) for c in cells(path, "code")]
    assert all("nbval-check-output" in found for found in tags)
    assert not [found for found in tags if set(found) & {"nbval-ignore-output", "nbval-skip", "nbval-raises-exception", "raises-exception"}]


def test_no_comment_in_a_cell_switches_the_comparison_off(path: Path) -> None:
    assert not [c.source for c in cells(path, "code") if re.search(r"#\s*(NBVAL|PYTEST_VALIDATE)_", c.source)]


def test_outputs_hold_no_time_no_machine_name_and_no_stderr(path: Path) -> None:
    for cell in cells(path, "code"):
        text = texts(cell)
        assert not re.search(r"\b20\d\d-\d\d-\d\d\b|\b\d\d:\d\d:\d\d\b(?!:)", text), text
        assert not re.search(r"0x[0-9a-f]{6,}|/home/", text), text
        assert not [o for o in cell.outputs if o.get("name") == "stderr"], cell.source


def test_pictures_are_there(path: Path) -> None:
    pictures = [o for c in cells(path, "code") for o in c.outputs if "image/png" in o.get("data", {})]
    assert pictures or path.stem == "02-corosync"


def test_no_shell_line_spells_an_address_of_the_lab(path: Path) -> None:
    assert not [c.source for c in cells(path, "code") if re.search(r"192\.168\.|203\.0\.113\.", c.source)]
