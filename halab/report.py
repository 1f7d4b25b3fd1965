"""The one report: verdicts of checks as JSON, and the tables that people read.

Its schema is `halab/report.schema.json` (`python -m halab.report` prints it). It is written after each
verdict, whole or not at all, so that a crash of the checker loses nothing. `halab.export` renders it
for other programs.
"""

import json
import os
import tempfile
from collections.abc import Iterable
from html import escape
from pathlib import Path

from pydantic import BaseModel, Field, computed_field

from halab.errors import LabError

SCHEMA = 1
VERDICTS = ("passed", "failed", "skipped", "error", "warning")
SIGNS = {"passed": "✔", "failed": "✘", "skipped": "–", "error": "!", "warning": "△"}
COLOURS = {"passed": "#2e7d32", "failed": "#c62828", "skipped": "#757575", "error": "#6a1b9a", "warning": "#ef6c00"}


class Check(BaseModel):
    """One verdict. `points` is what was earned of `max_points`; `seconds` what it took; `attempts` how often
    this check was graded on this instance of the lab; `held_back`: it came from an instructor's folder."""

    id: str
    title: str
    verdict: str = Field(pattern="^(" + "|".join(VERDICTS) + ")$")
    points: float = Field(0, ge=0)
    max_points: float = Field(0, ge=0)
    message: str = ""
    seconds: float = Field(0, ge=0)
    attempts: int = Field(0, ge=0)
    held_back: bool = False


class Chapter(BaseModel):
    """A chapter's verdicts; `not_run` is how many held-back checks it has that were not run."""

    name: str
    checks: list[Check] = []
    not_run: int = Field(0, ge=0)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def points(self) -> float:
        return sum(c.points for c in self.checks)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def max_points(self) -> float:
        return sum(c.max_points for c in self.checks)

    @property
    def exit_code(self) -> int:
        """0 all passed; 1 the student's work falls short; 3 the lab failed, or nothing was checked."""
        found = {c.verdict for c in self.checks}
        if "error" in found or not found:
            return 3
        return 1 if found & {"failed", "skipped"} else 0

    @property
    def score(self) -> str:
        """The points in words; a public score says what it does not know."""
        unknown = {0: "", 1: "; 1 held-back check was not run"}.get(self.not_run, f"; {self.not_run} held-back checks were not run")
        return f"{self.points:g} of {self.max_points:g} points{unknown}"

    def __str__(self) -> str:
        """The table as text, free of times."""
        width = max((len(c.title) for c in self.checks), default=0)
        lines = [f"{self.name}: {self.score}"]
        for c in self.checks:
            lines.append(f"  {SIGNS[c.verdict]} {c.title:<{width}}  {c.verdict:<7}  {c.points:g}/{c.max_points:g}")
            if c.verdict != "passed" and c.message:
                lines += [f"      {line}" for line in c.message.splitlines()]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(map(_row, self.checks))
        return (
            f"<table><caption>{escape(self.name)}: <b>{escape(self.score)}</b></caption>"
            f"<tr><th style='text-align:left'>check</th><th>verdict</th><th>points</th></tr>{rows}</table>"
        )


class LabFacts(BaseModel):
    """What the verdicts are about: one instance of a lab, from one start on, and the versions in it."""

    name: str
    engine: str
    release: str
    image_digest: str
    instance: str
    start: str
    versions: dict[str, str]


class Report(BaseModel):
    """The verdicts of a run, by chapter."""

    schema_version: int = Field(alias="schema", ge=SCHEMA, le=SCHEMA, description="the version of this schema")
    lab: LabFacts
    chapters: list[Chapter] = []

    def chapter(self, name: str) -> Chapter:
        """The chapter of that name, made when it is not there."""
        for chapter in self.chapters:
            if chapter.name == name:
                return chapter
        self.chapters.append(Chapter(name=name))
        return self.chapters[-1]

    @property
    def exit_code(self) -> int:
        return max((c.exit_code for c in self.chapters), default=3)

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}")
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(self.model_dump_json(by_alias=True, indent=1))
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise

    @classmethod
    def load(cls, path: Path) -> "Report":
        """Raises LabError when it is no report."""
        try:
            return cls.model_validate_json(path.read_text())
        except (OSError, ValueError) as error:
            raise LabError(f"{path} is a report", str(error).splitlines()[0], "halab check") from None

    def __str__(self) -> str:
        return "\n".join(map(str, self.chapters))


def lab_facts(about: dict) -> LabFacts:
    """The report's `lab` from what the lab host recorded about itself."""
    return LabFacts(**{key: about["settings"][key] for key in ("name", "engine", "release")}, **_picked(about))


def _picked(about: dict) -> dict:
    return {key: about[key] for key in ("image_digest", "instance", "start", "versions")}


def json_schema() -> str:
    """The report's JSON schema (draft 2020-12), as text."""
    schema = Report.model_json_schema(by_alias=True, mode="serialization")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=1) + "\n"


def summary(chapters: Iterable[Chapter]) -> list[tuple[str, str, str]]:
    """(chapter, points, verdict) rows for a table."""
    words = {0: "passed", 1: "falls short", 3: "lab error"}
    return [(c.name, f"{c.points:g}/{c.max_points:g}", words[c.exit_code]) for c in chapters]


def _row(c: Check) -> str:
    style = "margin:2px;text-align:left;white-space:pre-wrap;word-break:normal;background:none"
    message = f"<pre style='{style}'>{escape(c.message)}</pre>" if c.verdict != "passed" and c.message else ""
    verdict = f"<td style='color:{COLOURS[c.verdict]};white-space:nowrap'>{SIGNS[c.verdict]} {c.verdict}</td>"
    return f"<tr><td style='text-align:left'>{escape(c.title)}{message}</td>{verdict}<td>{c.points:g}/{c.max_points:g}</td></tr>"


if __name__ == "__main__":
    print(json_schema(), end="")
