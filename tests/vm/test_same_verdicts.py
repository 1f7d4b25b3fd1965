"""The chapters 01 to 05 on emulated machines and on containers: each check gives the same verdict on both.

What was seen last is committed in `RESULT.md`, written by this test.
"""

import os
import re
import time
from datetime import date
from pathlib import Path

import psutil

from halab.report import Report
from tests.live.livelab import labs

RESULT = Path(__file__).with_name("RESULT.md")
LAST = "05"


def run(make, **settings: object) -> tuple[Report, float]:
    """The report of a run of the chapters on a lab with these settings, and its seconds."""
    start = time.monotonic()
    lab = make(**settings)
    done = lab.halab("run", "--to", LAST, timeout=7200)
    folder = re.search(r"^(/\S+/runs/\S+)$", done.stdout, re.M)
    assert folder, done
    return Report.load(Path(folder[1]) / "report.json"), time.monotonic() - start


def verdicts(report: Report) -> dict[str, str]:
    """`chapter check` -> verdict."""
    return {f"{chapter.name} {check.id}": str(check.verdict) for chapter in report.chapters for check in chapter.checks}


def test_machines_and_containers_get_the_same_verdicts():
    seen = {}
    with labs() as make:
        for engine in ("lxc", "vm"):
            seen[engine] = run(make, engine=engine, **({"accel": "tcg"} if engine == "vm" else {}))
    write({engine: (verdicts(report), took) for engine, (report, took) in seen.items()})
    assert verdicts(seen["vm"][0]) == verdicts(seen["lxc"][0])
    assert seen["vm"][0].exit_code == 0


def write(seen: dict[str, tuple[dict[str, str], float]]) -> None:
    """The table for people."""
    took = ", ".join(f"{engine} {seconds:.0f} s" for engine, (_, seconds) in seen.items())
    head = f"# Chapters 01 to {LAST}: containers and emulated machines\n\n{date.today()}, {psutil.cpu_count()} cores, " \
           f"load {os.getloadavg()[1]:.0f}: {took}.\n\n| check | lxc | vm |\n|---|---|---|\n"  # fmt: skip
    names = sorted({name for found, _ in seen.values() for name in found})
    RESULT.write_text(head + "".join(f"| {name} | {' | '.join(seen[e][0].get(name, 'none') for e in ('lxc', 'vm'))} |\n" for name in names))
