"""`make drills`: every fault again and again, without fencing and with it, and the table of what was measured.

    python -m halab.drills [--count 10] [--labs 2] [--only FAULT …] [--fencing off|on|both] [--keep]

Each lab runs the chapters up to Apache and does its share; every drill ends with a healed, verified cluster. What is
measured is kept in `build/drills` at once, so that a run that was ended goes on where it was. A whole run writes
`notebooks/measured.json`, `notebooks/measured.md` and the table in the README. Ends with 1 when two nodes held the
address with fencing on, or a lost node's gap was longer than predicted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import IO

from halab import fencing, results
from halab.drill import FAULTS, fenced, run
from halab.errors import HalabError, MachineLacks, UsageError
from halab.heal import heal
from halab.lab import Lab, current
from halab.measure import Measurement

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "build" / "drills"
LAST, ABOUT = "05", "about.json"

#: (fault, with fencing)
Job = tuple[str, bool]


def missing(asked: Iterable[Job], count: int, done: Iterable[Measurement]) -> list[Job]:
    """What is left to do so that each job was done `count` times, in an order that mixes them."""
    had = Counter((m.fault, m.fencing) for m in done)
    left = {job: count - had[job] for job in asked}
    return [job for turn in range(count) for job, times in left.items() if turn < times]


def shares(jobs: Sequence[Job], labs: int) -> list[list[Job]]:
    """The jobs dealt out like cards; each lab does those without fencing first."""
    return [sorted(jobs[k::labs], key=lambda job: job[1]) for k in range(labs)]


def kept(folder: Path = KEPT) -> list[Measurement]:
    """What was measured so far. Raises UsageError when a file there holds something else."""
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                found.append(Measurement.load(json.loads(line)))
            except (ValueError, TypeError) as error:
                raise UsageError(f"{path} holds measurements", error, f"rm {path}") from None
    return found


# -- in a lab ---------------------------------------------------------------------------------------------


def work(lab: Lab, jobs: Sequence[Job], path: Path) -> int:
    """Do these jobs and append what they measure; the number of those that did not end with a healthy cluster."""
    failed = 0
    heal(lab)
    path.with_name(ABOUT).write_text(json.dumps(about(lab)))
    for number, (name, fencing_on) in enumerate(jobs, 1):
        try:
            switch(lab, fencing_on)
            drill = run(lab, name)
            with path.open("a") as file:
                file.write(json.dumps(drill.measurement.json) + "\n")
            print(f"{lab.settings.name} {number}/{len(jobs)}: {drill}", flush=True)
        except MachineLacks as error:
            print(f"{lab.settings.name} {number}/{len(jobs)}: {name} left out: {error.seen}", flush=True)
        except HalabError as error:
            failed += 1
            print(f"{lab.settings.name} {number}/{len(jobs)}: {name} failed: {error}", flush=True)
            heal(lab)
    return failed


def about(lab: Lab) -> dict:
    """What the figures depend on."""
    s, versions = lab.settings, lab.host.about["versions"]
    return {"date": str(date.today()), "engine": s.engine, "release": s.release, "cores": os.cpu_count(), "versions": versions}


def switch(lab: Lab, on: bool) -> None:
    """Fencing on or off, as asked."""
    if fenced(lab) is not on:
        (fencing.enable if on else fencing.disable)(lab)
        heal(lab)


# -- on the machine ---------------------------------------------------------------------------------------


def in_lab(name: str, jobs: Sequence[Job], keep: bool) -> int:
    """A lab of that name with the chapters done, and these jobs in it; the exit status."""
    env = {**os.environ, "HALAB_NAME": name}
    path, log = KEPT / f"{name}.jsonl", KEPT / f"{name}.log"

    def halab(*argv: str, output: IO | None = None) -> int:
        return subprocess.run([sys.executable, "-m", "halab", *argv], env=env, stdout=output, stderr=output, check=False).returncode

    def worker(jobs: Sequence[Job], output: IO | None = None) -> int:
        return halab("exec", "--", sys.executable, "-m", "halab.drills", "--work", json.dumps(jobs), "--into", str(path), output=output)

    try:
        with log.open("ab") as file:
            there = worker([], file) == 0  # a lab that was kept, and can be healed
            code = 0 if there else halab("run", "--to", LAST, output=file)
        if code:
            print(f"{name}: the chapters ended with {code}, see {log}", flush=True)
        return code or worker(jobs)
    finally:
        if not keep:
            halab("down")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make drills", epilog="example: python -m halab.drills --count 2 --only corosync-killed")
    parser.add_argument("--count", type=int, default=10, help="how often each fault")
    parser.add_argument("--labs", type=int, default=2, help="how many side by side; one needs about half a core")
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS), metavar="FAULT", help=", ".join(FAULTS))
    parser.add_argument("--fencing", choices=("off", "on", "both"), default="both")
    parser.add_argument("--keep", action="store_true", help="let the labs run on")
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work is not None:
        return 3 if work(current(), asked.work, asked.into) else 0
    KEPT.mkdir(parents=True, exist_ok=True)
    ways = {"off": (False,), "on": (True,), "both": (False, True)}[asked.fencing]
    jobs = missing([(name, way) for way in ways for name in asked.only], asked.count, kept())
    dealt = [share for share in shares(jobs, asked.labs) if share]
    with ThreadPoolExecutor(max(len(dealt), 1)) as pool:
        codes = list(pool.map(lambda k: in_lab(f"drills{k + 1}", dealt[k], asked.keep), range(len(dealt))))
    wanted = {(name, way) for name in asked.only for way in ways}
    measured = [m for m in kept() if (m.fault, m.fencing) in wanted]
    print(results.table(measured))
    broken = results.broken(measured)
    print(*broken, sep="\n")
    if asked.fencing == "both" and asked.only == list(FAULTS) and not any(codes):
        results.write(measured, json.loads((KEPT / ABOUT).read_text()))
    return max([*codes, bool(broken)])


if __name__ == "__main__":
    sys.exit(main())
