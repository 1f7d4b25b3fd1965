"""`make mutants`: the whole matrix of checks by mutants, shared out over some labs side by side.

    python -m tests.mutants.matrix [--labs N] [--table FILE] [--record]

Each lab runs the chapters up to a stage, its healthy cluster is graded again and again, every mutant of its share
of that stage is tried, and so on with the next stage. Ends with 1 when one was not noticed as declared, when
nothing kills a check, or when a mutant kills nothing and is no right way to the same state; the table is written
after a run without any of these.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from pathlib import Path

from halab import chain
from halab.report import LabFacts, Report
from tests import listing
from tests.mutants import FIRST, MUTANTS, ROADS, of, stages

#: How often each lab's healthy cluster is graded at a stage; no check may flicker. From 06 on they inject faults.
HEALTHY = {"05": 20, "06": 3, "07": 3}
#: How `halab exec` ends at Ctrl-C.
STOPPED = 130


def shares(names: list[str], labs: int) -> list[list[str]]:
    """The names dealt out like cards: neighbours, which are alike, come to different labs."""
    return [names[k::labs] for k in range(labs)]


def tried(lab: str, work: dict[str, list[str]], options: list[str]) -> int:
    """On a lab of this name: stage by stage the chapters up to it, then its mutants; the worst exit status."""
    env = {**os.environ, "HALAB_NAME": lab}

    def halab(*argv: str) -> int:
        return subprocess.run([sys.executable, "-m", "halab", *argv], env=env, check=False).returncode

    first, worst = "01", 0
    try:
        for stage, names in work.items():
            mutants = [sys.executable, "-m", "tests.mutants", "--stage", stage, "--healthy", str(HEALTHY[stage]), *options, *names]
            if code := halab("run", "--from", first, "--to", stage):
                return code
            worst = max(worst, halab("exec", "--", *mutants)) if names else worst
            if worst == STOPPED:  # the next stage is nobody's wish
                return worst
            first = f"{int(stage) + 1:02d}"
        return worst
    finally:
        halab("down")


def dealt(labs: int) -> list[dict[str, list[str]]]:
    """For each lab, stage -> the names of its share."""
    return [{stage: shares(of(stage), labs)[k] for stage in stages()} for k in range(labs)]


def unkilled(checks: list[str]) -> list[str]:
    """Checks that no mutant turns red."""
    return [check for check in checks if not any(check in one.fails | one.warns for one in MUTANTS.values())]


def toothless() -> list[str]:
    """Mutants that break nothing and are not declared as another right way."""
    return [name for name, one in MUTANTS.items() if not one.expected and name not in ROADS]


def table(lab: LabFacts, checks: list[str]) -> str:
    """The matrix as Markdown: what kills each check, and what each mutant is."""
    versions = ", ".join(f"{name} {lab.versions[name]}" for name in ("corosync", "pacemaker"))
    killers = {check: ", ".join(m.name for m in MUTANTS.values() if check in m.fails | m.warns) for check in checks}
    return "\n".join([
        "# Checks by mutants", "",
        f"{date.today()}, engine {lab.engine}, {lab.release}, {versions}: {len(MUTANTS)} changes to a running cluster. Each of "
        f"{len(MUTANTS) - len(ROADS)} mutants was noticed by exactly the checks named here; {len(ROADS)} other right ways to the same "
        f"state cost nothing; the healthy cluster was graded {HEALTHY[FIRST]} times at the end of chapter 05, {HEALTHY['06']} times after "
        "each later one. `make mutants` makes this table.",
        "", "| check | killed by |", "|---|---|", *(f"| {check} | {names} |" for check, names in killers.items()),
        "", "| mutant | what somebody did |", "|---|---|",
        *(f"| {m.name} | {m.mistake} |" for m in MUTANTS.values() if m.name not in ROADS),
        "", "| other right way | what somebody did |", "|---|---|", *(f"| {name} | {MUTANTS[name].mistake} |" for name in ROADS), "",
    ])  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--labs", type=int, default=2, help="how many side by side; one needs about half a core")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--record", action="store_true", help="keep the wording as golden: then read it")
    asked = parser.parse_args()
    names = [f"mutants{k}" for k in range(1, asked.labs + 1)]
    with ThreadPoolExecutor(asked.labs) as pool:
        codes = list(pool.map(partial(tried, options=["--record"] * asked.record), names, dealt(asked.labs)))
    checks = listing.ids()
    loose = [f"nothing kills {check}" for check in unkilled(checks)] + [f"{name} kills nothing" for name in toothless()]
    print(*loose, sep="\n")
    if not any(codes) and not loose and asked.table:
        asked.table.write_text(table(Report.load(chain.RUNS / "latest" / "report.json").lab, checks))
    return max([*codes, bool(loose)])


if __name__ == "__main__":
    sys.exit(main())
