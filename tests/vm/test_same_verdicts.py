"""The chapters 01 to 05 on containers and on emulated machines, on both releases and both switches: each check gives the same
verdict everywhere. Then, on the machines, what containers cannot do.

What was seen last is committed in `RESULT.md`, written by this test.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import psutil
import pytest

from halab.report import Report
from tests.live.livelab import REPOSITORY, Live, labs
from tests.live.test_journey import newest

RESULT = Path(__file__).with_name("RESULT.md")
LAST = "05"
#: Seconds after which a command counts as hanging, on the busiest machine.
PATIENCE = 7200
MACHINES = {"engine": "vm", "accel": "tcg"}
#: The column that the others are held against.
FIRST = "lxc"
#: The lab of each other column. The last one stays, for what is tested after.
COLUMNS: dict[str, dict[str, str]] = {
    "lxc, Open vSwitch": {"bridge": "openvswitch"},
    "lxc, Debian 12": {"release": "bookworm"},
    "vm, Debian 12": MACHINES | {"release": "bookworm"},
    "vm": MACHINES,
}
#: Column -> the verdict of each check, and the seconds that the chapters took.
SEEN: dict[str, tuple[dict[str, str], float]] = {}


@pytest.fixture(scope="module")
def containers() -> dict[str, str]:
    """Verdicts of the first column."""
    with labs() as make:
        return run(make(), FIRST)


@pytest.fixture(scope="module")
def machines() -> Iterator[Live]:
    with labs() as make:
        yield make(**COLUMNS["vm"])


def run(lab: Live, column: str) -> dict[str, str]:
    """The verdict of each check after a run of the chapters on a lab; its images are made before."""
    assert (done := lab.halab("image", timeout=PATIENCE)).ok, done.stderr
    start = time.monotonic()
    done = lab.halab("run", "--to", LAST, timeout=PATIENCE)
    took = time.monotonic() - start
    report = Report.load(newest(lab) / "report.json")
    verdicts = {check.id: str(check.verdict) for chapter in report.chapters for check in chapter.checks}
    SEEN[column] = verdicts, took
    assert done.ok, done.stdout + done.stderr
    return verdicts


@pytest.mark.parametrize("column", COLUMNS)
def test_everywhere_the_same_verdicts(column: str, containers: dict[str, str], request: pytest.FixtureRequest) -> None:
    with ExitStack() as stack:
        lab = request.getfixturevalue("machines") if column == "vm" else stack.enter_context(labs())(**COLUMNS[column])
        assert run(lab, column) == containers


def test_a_bad_network_is_no_failure(machines: Live) -> None:
    """The one fault for which many machines' kernels lack something: the nodes' own kernel has netem."""
    done = machines.halab("drill", "disturbed", "--json", timeout=PATIENCE)
    assert done.ok, done.stderr
    measured = json.loads(done.stdout)
    assert len(measured["holders"]) == 1 and measured["double"] == 0


def test_a_reset_takes_the_disks_that_were_kept(machines: Live) -> None:
    done = machines.halab("reset", f"{LAST}-apache", timeout=PATIENCE)
    assert done.ok, done.stdout + done.stderr
    assert "04-virtual-ip, from kept disks" in done.stdout and "passed" not in done.stdout  # nothing was replayed
    assert machines.halab("check", "04", timeout=PATIENCE).ok
    assert machines.halab("check", LAST, timeout=PATIENCE).status == 1


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Write the table for people, when every column was seen."""
    yield
    if SEEN.keys() == {FIRST, *COLUMNS}:
        write()


def write() -> None:
    tree = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=REPOSITORY, check=False, capture_output=True, text=True).stdout
    where = "Debian 13 and the kernel's bridge where nothing else is said"
    about = [f"{date.today()}, {psutil.cpu_count()} cores, commit {tree.strip()}; {where}.", ""]
    took = [f"- {column}: {seconds:.0f} s" for column, (_, seconds) in SEEN.items()]
    names = sorted({name for found, _ in SEEN.values() for name in found})
    rows = [["check", *SEEN], ["---"] * (len(SEEN) + 1)]
    rows += [[name, *(found.get(name, "none") for found, _ in SEEN.values())] for name in names]
    lines = [f"# Chapters 01 to {LAST}, the same verdicts", "", *about, *took, "", *(f"| {' | '.join(row)} |" for row in rows)]
    RESULT.write_text("\n".join(lines) + "\n")
