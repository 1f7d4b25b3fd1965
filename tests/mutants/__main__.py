"""Mutants tried on one lab, those of the stage that it is at. Runs in the lab host (`halab exec`).

    python -m tests.mutants [NAME…] [--stage 05] [--some N] [--healthy N] [--record]

Without names or a stage, the lab is asked how far it is. Every mutant is applied, the checks of its stage are
run, the verdicts and the wording are compared with what was declared, the break is undone, and all of them must
pass again. Ends with 1 when a mutant was not noticed as declared, or when a message differs from its golden file.
The whole matrix is `tests.mutants.matrix`.
"""

import argparse
import difflib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from rich.console import Console

from halab import grading
from halab.errors import HalabError
from halab.lab import Lab, current
from halab.report import Report
from halab.stage import reached
from tests.mutants import FIRST, MUTANTS, Mutant, graded_at, of, stages

GOLDEN = Path(__file__).parent / "golden"
#: What is broken stays broken: waiting half as long as a grader is enough, but not for a fault that a check injects itself.
HASTE = {"05": 0.5, "06": 1.0, "07": 1.0}
#: Measured seconds, digests, addresses, hardware addresses, names and numbers of nodes, times that follow HALAB_TIMEOUT_SCALE.
BLOTS = {
    r"\b\d+\.\d s\b": "SECONDS",
    r"\b[0-9a-f]{12}\b": "DIGEST", r"\b\d+\.\d+\.\d+\.\d+\b": "ADDRESS", r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b": "CARD",
    r"\bpacemaker0[1-9]\b": "NODE", r"\b[1-9]\b": "N", r"\b\d{4,}\b": "NUMBER",
}  # fmt: skip
screen = Console(highlight=False, soft_wrap=True, emoji=False)


@contextmanager
def _scaled(factor: float) -> Iterator[None]:
    before = os.environ.get("HALAB_TIMEOUT_SCALE", "1")
    os.environ["HALAB_TIMEOUT_SCALE"] = str(float(before) * factor)
    yield
    os.environ["HALAB_TIMEOUT_SCALE"] = before


def graded(lab: Lab, stage: str, factor: float = 1) -> Report:
    """The checks of a stage, as if for the first time."""
    (lab.settings.folder / "keys" / "attempts.json").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder, _scaled(factor):
        return grading.run(graded_at(stage), Path(folder) / "report.json")


def other_than_passed(report: Report) -> dict[str, str]:
    return {c.id: c.verdict for chapter in report.chapters for c in chapter.checks if c.verdict != "passed"}


def wording(report: Report) -> str:
    """The messages of what failed, without what depends on the day: which node it was, and in which order."""
    found = [(c.id, c.message) for chapter in report.chapters for c in chapter.checks if c.verdict in ("failed", "warning")]
    text = "\n\n".join(f"{check}\n{message}" for check, message in found) + "\n"
    for pattern, word in BLOTS.items():
        text = re.sub(pattern, word, text)
    return re.sub(r"(?m)^observed: (.*)$", lambda m: "observed: " + "; ".join(sorted(m[1].split("; "))), text)


def differences(one: Mutant, report: Report, record: bool) -> list[str]:
    seen, want = other_than_passed(report), one.expected
    found = [f"{check}: {seen.get(check, 'passed')}, declared {want.get(check, 'passed')}" for check in sorted({*seen, *want})
             if seen.get(check) != want.get(check)]  # fmt: skip
    if found:
        messages = {c.id: c.message for chapter in report.chapters for c in chapter.checks}
        return found + [f"{check}: {messages[check]}" for check in seen if seen[check] != want.get(check)]
    path, text = GOLDEN / f"{one.name}.txt", wording(report)
    if record:
        path.write_text(text)
    golden = path.read_text() if path.exists() else ""
    return list(difflib.unified_diff(golden.splitlines(), text.splitlines(), "golden", "seen", lineterm=""))


def tried(lab: Lab, one: Mutant, record: bool) -> list[str]:
    """What is wrong with this mutant; nothing when it was noticed as declared and undone."""
    breaking = one.apply(lab)
    found: list[str] = []
    try:
        next(breaking)
        found = differences(one, graded(lab, one.stage, HASTE[one.stage]), record)
    except HalabError as error:
        found = [f"it could not be tried: {error}"]
    finally:
        next(breaking, None)
    report = graded(lab, one.stage)
    left = [c for chapter in report.chapters for c in chapter.checks if c.verdict != "passed"]
    return found + [f"{c.id}: {c.verdict} after it was undone: {c.message}" for c in left]


def rotating(count: int, stage: str) -> list[str]:
    """`count` mutants of a stage, others every day."""
    names, start = of(stage), date.today().toordinal() * count
    return [names[(start + k) % len(names)] for k in range(count)]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", choices=[[], *MUTANTS])
    parser.add_argument("--stage", choices=stages(), help="the chapter at whose end the lab is; it is asked otherwise")
    parser.add_argument("--some", type=int, help="so many, others every day")
    parser.add_argument("--healthy", type=int, default=1, help="how often the healthy cluster is graded first")
    parser.add_argument("--record", action="store_true", help="keep the wording as golden: then read it")
    asked = parser.parse_args()
    lab = current()
    named = {MUTANTS[name].stage for name in asked.names} | ({asked.stage} if asked.stage else set())
    if len(named) > 1:
        parser.error(f"one stage at a time, not {' and '.join(sorted(named))}")
    stage = named.pop() if named else min(max(f"{reached(lab):02d}", FIRST), stages()[-1])
    names = asked.names or (rotating(asked.some, stage) if asked.some else of(stage))
    for _ in range(asked.healthy):
        if flickering := other_than_passed(graded(lab, stage)):
            screen.print(f"the lab is not healthy: {flickering}", markup=False)
            return 3
    wrong = 0
    for name in names:
        found = tried(lab, MUTANTS[name], asked.record)
        wrong += bool(found)
        screen.print(f"{'WRONG' if found else 'ok   '} {name}: {MUTANTS[name].mistake}", markup=False)
        for line in found:
            screen.print(f"      {line}", markup=False)
    screen.print(f"{len(names) - wrong} of {len(names)} mutants noticed as declared")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
