"""`make mutants`: the whole matrix of checks by mutants, shared out over some labs side by side.

    python -m tests.mutants.matrix [--labs N] [--table FILE] [--record]

Each lab runs the chapters, its healthy cluster is graded again and again, then every mutant of its share is
tried. Ends with 1 when one was not noticed as declared, when nothing kills a check, or when a mutant kills
nothing and is no right way to the same state; the table is written after a run without any of these.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

from halab import chain
from halab.report import Report
from tests.mutants import MUTANTS, ROADS

#: How often each lab's healthy cluster is graded; no check may flicker.
HEALTHY = 20


def shares(names: list[str], labs: int) -> list[list[str]]:
    """The names dealt out like cards: neighbours, which are alike, come to different labs."""
    return [names[k::labs] for k in range(labs)]


def tried(lab: str, words: list[str]) -> int:
    """Run the chapters on a lab of this name, then `tests.mutants` with these words; the exit status."""
    env = {**os.environ, "HALAB_NAME": lab}

    def halab(*argv: str) -> int:
        return subprocess.run([sys.executable, "-m", "halab", *argv], env=env, check=False).returncode

    try:
        return halab("run") or halab("exec", "--", sys.executable, "-m", "tests.mutants", "--healthy", str(HEALTHY), *words)
    finally:
        halab("down")


def unkilled(checks: list[str]) -> list[str]:
    """Checks that no mutant turns red."""
    return [check for check in checks if not any(check in one.fails for one in MUTANTS.values())]


def toothless() -> list[str]:
    """Mutants that break nothing and are not declared as another right way."""
    return [name for name, one in MUTANTS.items() if not one.expected and name not in ROADS]


def table(report: Report) -> str:
    """The matrix as Markdown: what kills each check, and what each mutant is."""
    lab = report.lab
    versions = ", ".join(f"{name} {lab.versions[name]}" for name in ("corosync", "pacemaker"))
    killers = {check: ", ".join(m.name for m in MUTANTS.values() if check in m.fails) for check in ids(report)}
    return "\n".join([
        "# Checks by mutants", "",
        f"{date.today()}, engine {lab.engine}, {lab.release}, {versions}: {len(MUTANTS)} changes to a running cluster. Each of "
        f"{len(MUTANTS) - len(ROADS)} mutants was noticed by exactly the checks named here; {len(ROADS)} other right ways to the same "
        f"state cost nothing; the healthy cluster was graded {HEALTHY} times. `make mutants` makes this table.",
        "", "| check | killed by |", "|---|---|", *(f"| {check} | {names} |" for check, names in killers.items()),
        "", "| mutant | what somebody did |", "|---|---|",
        *(f"| {m.name} | {m.mistake} |" for m in MUTANTS.values() if m.name not in ROADS),
        "", "| other right way | what somebody did |", "|---|---|", *(f"| {name} | {MUTANTS[name].mistake} |" for name in ROADS), "",
    ])  # fmt: skip


def ids(report: Report) -> list[str]:
    return [check.id for chapter in report.chapters for check in chapter.checks]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--labs", type=int, default=2, help="how many side by side; one needs about half a core")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--record", action="store_true", help="keep the wording as golden: then read it")
    asked = parser.parse_args()
    work = shares(list(MUTANTS), asked.labs)
    with ThreadPoolExecutor(asked.labs) as pool:
        words = [["--record"] * asked.record + share for share in work]
        codes = list(pool.map(tried, [f"mutants{k}" for k in range(1, asked.labs + 1)], words))
    report = Report.load(chain.RUNS / "latest" / "report.json")
    loose = [f"nothing kills {check}" for check in unkilled(ids(report))] + [f"{name} kills nothing" for name in toothless()]
    print(*loose, sep="\n")
    if not any(codes) and not loose and asked.table:
        asked.table.write_text(table(report))
    return max([*codes, bool(loose)])


if __name__ == "__main__":
    sys.exit(main())
