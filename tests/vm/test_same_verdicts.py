"""The chapters 01 to 05 on emulated machines and on containers: each check gives the same verdict on both. Then, on the
machines, what containers cannot do.

What was seen last is committed in `RESULT.md`, written by this test.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import psutil
import pytest

from halab.report import Report
from tests.live.livelab import Live, labs

RESULT = Path(__file__).with_name("RESULT.md")
LAST = "05"
#: Seconds after which a command counts as hanging, on the busiest machine.
PATIENCE = 7200


@pytest.fixture(scope="module")
def make() -> Iterator[Callable[..., Live]]:
    with labs() as made:
        yield made


@pytest.fixture(scope="module")
def machines(make: Callable[..., Live]) -> Live:
    return make(engine="vm", accel="tcg")


def run(lab: Live) -> tuple[Report, float]:
    """The report of a run of the chapters on a lab, and its seconds."""
    start = time.monotonic()
    done = lab.halab("run", "--to", LAST, timeout=PATIENCE)
    folder = re.search(r"^(/\S+/runs/\S+)$", done.stdout, re.M)
    assert folder, done
    return Report.load(Path(folder[1]) / "report.json"), time.monotonic() - start


def verdicts(report: Report) -> dict[str, str]:
    """`chapter/check` -> verdict."""
    return {check.id: str(check.verdict) for chapter in report.chapters for check in chapter.checks}


def test_machines_and_containers_get_the_same_verdicts(make: Callable[..., Live], machines: Live) -> None:
    seen = {"lxc": run(make()), "vm": run(machines)}
    write({engine: (verdicts(report), took) for engine, (report, took) in seen.items()})
    assert verdicts(seen["vm"][0]) == verdicts(seen["lxc"][0])
    assert seen["vm"][0].exit_code == 0


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


def write(seen: dict[str, tuple[dict[str, str], float]]) -> None:
    """The table for people."""
    took = ", ".join(f"{engine} {seconds:.0f} s" for engine, (_, seconds) in seen.items())
    head = f"# Chapters 01 to {LAST}: containers and emulated machines\n\n{date.today()}, {psutil.cpu_count()} cores, " \
           f"load {os.getloadavg()[1]:.0f}: {took}.\n\n| check | lxc | vm |\n|---|---|---|\n"  # fmt: skip
    names = sorted({name for found, _ in seen.values() for name in found})
    RESULT.write_text(head + "".join(f"| {name} | {' | '.join(seen[e][0].get(name, 'none') for e in ('lxc', 'vm'))} |\n" for name in names))
