from pathlib import Path
from typing import Any

import nbformat
import pytest

from halab import chain
from halab.errors import UsageError
from halab.lab import Lab
from halab.report import Check
from halab.settings import Settings

NAMES = ["01-environment", "02-corosync", "03-pacemaker"]


@pytest.fixture(autouse=True)
def notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in [*reversed(NAMES), "scratch", "10x-not-a-chapter"]:
        (folder / f"{name}.ipynb").write_text("{}")
    monkeypatch.setattr(chain, "NOTEBOOKS", folder)
    monkeypatch.setattr(chain, "RUNS", tmp_path / "runs")


def test_chapters_are_the_numbered_notebooks_in_order() -> None:
    assert chain.chapters() == NAMES


@pytest.mark.parametrize(
    ("first", "last", "chosen"),
    [
        (None, None, NAMES),
        ("02-corosync", None, NAMES[1:]),
        ("2", "2", NAMES[1:2]),
        (None, "02", NAMES[:2]),
    ],
)
def test_chapters_are_picked_by_name_or_number(first: str | None, last: str | None, chosen: list[str]) -> None:
    assert chain.pick(first, last) == chosen


@pytest.mark.parametrize("which", ["9", "corosync", "scratch", ""])
def test_an_unknown_chapter_is_refused_with_the_ones_that_there_are(which: str) -> None:
    with pytest.raises(UsageError, match="01-environment, 02-corosync, 03-pacemaker"):
        chain.pick(which, None)


def test_a_range_that_is_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(UsageError, match="--from names a chapter before --to"):
        chain.pick("03", "01")


def test_two_nodes_are_refused_where_one_must_be_able_to_die() -> None:
    chain.enough(NAMES, 2)
    chain.enough([*NAMES, "04-virtual-ip"], 3)
    with pytest.raises(UsageError, match="04-virtual-ip has three nodes or more"):
        chain.enough([*NAMES, "04-virtual-ip"], 2)


def test_a_brace_in_a_path_is_no_format_for_papermill() -> None:
    assert chain._plain(Path("/a{b}")).format() == "/a{b}"


@pytest.fixture
def run(about: dict, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run whose chapters are graded as a test says: name -> verdict, and exit codes in order."""
    it = chain.Run(Lab(settings), NAMES)
    it.verdicts = {}  # type: ignore[attr-defined]

    def chapter(self: Any, name: str, kernel: Any, halfway: Any) -> int:
        halfway()
        report = self.report
        report.chapter(name).checks.append(Check(id="x", title="x", verdict=self.verdicts.get(name, "passed"), points=1, max_points=1))
        report.save(self.path)
        return report.chapter(name).exit_code

    monkeypatch.setattr(chain.Run, "_chapter", chapter)
    monkeypatch.setattr(chain, "_kernel", lambda end: it.life.append("starts") or end.callback(it.life.append, "ends"))  # type: ignore[attr-defined]
    it.life = []  # type: ignore[attr-defined]
    return it


def test_a_kernel_starts_while_the_chapter_before_runs_and_ends_with_its_own(run: Any) -> None:
    run.execute(lambda line: None)
    assert run.life == ["starts", *["starts", "ends"] * (len(NAMES) - 1), "ends"]


def test_a_good_run_passes_every_chapter_and_is_the_latest(run: Any) -> None:
    lines: list[str] = []
    assert run.execute(lines.append) == 0
    assert [line.split(":")[0] for line in lines if line.endswith("points")] == NAMES
    assert (chain.RUNS / "latest" / "report.json").samefile(run.path)


@pytest.mark.parametrize(("verdict", "code"), [("failed", 1), ("error", 3)])
def test_a_run_stops_at_the_first_chapter_that_falls_short(run: Any, verdict: str, code: int) -> None:
    run.verdicts = {"02-corosync": verdict}
    assert run.execute(lambda line: None) == code
    assert [c.name for c in run.report.chapters if c.checks] == NAMES[:2]


def test_a_newer_run_becomes_the_latest(run: Any) -> None:
    run.execute(lambda line: None)
    again = chain.Run(run.lab, NAMES[:1], folder=chain.RUNS / "newer")
    again.verdicts = {}  # type: ignore[attr-defined]
    again.execute(lambda line: None)
    assert (chain.RUNS / "latest").readlink() == Path("newer")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("StudentError", 1),
        ("Mismatch", 1),
        ("CommandFailed", 1),
        ("FellShort", 1),
        ("LabError", 3),
        ("DeadlinePassed", 3),
        ("KeyError", 1),
        ("UsageError", 2),
        ("KeyboardInterrupt", 3),  # the cell took longer than it may
        ("libvirtError", 3),
    ],
)
def test_whose_fault_an_early_end_is_follows_from_the_errors_class(run: Any, kind: str, code: int) -> None:
    assert run._ended_early("02-corosync", kind, "cell 3: why\nmore") == code
    assert (run.folder / "02-corosync.error").read_text().startswith("cell 3: why")
    assert run._verdict("02-corosync", code).endswith("points (cell 3: why)")


FAKE = "import halab\nhalab.check = lambda chapter: print('21 of 21 points')\nhalab.check('02-corosync')"


def test_a_notebook_that_puts_its_own_check_in_place_of_ours_falls_short(about: dict, settings: Settings) -> None:
    spec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(FAKE)], metadata={"kernelspec": spec})
    nbformat.write(notebook, chain.NOTEBOOKS / "02-corosync.ipynb")
    lines: list[str] = []
    it = chain.Run(Lab(settings), ["02-corosync"])
    assert it.execute(lines.append) == 1
    assert lines[-1] == "02-corosync: falls short, 0 of 0 points (the chapter ended without being graded)"


def test_two_runs_of_one_second_have_a_folder_each(run: chain.Run) -> None:
    folders = [chain.Run(run.lab, NAMES).folder for _ in range(5)]
    assert len(set(folders)) == 5
    assert all(folder.parent == chain.RUNS and folder.is_dir() for folder in folders)
