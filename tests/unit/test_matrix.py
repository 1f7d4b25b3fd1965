"""The matrix of checks by mutants, before any lab is started: every check has something that kills it."""

import subprocess

import pytest

from halab import grading
from halab.report import LabFacts
from tests import listing
from tests.mutants import GRADED, MUTANTS, ROADS, graded_at, matrix, stages


@pytest.fixture(scope="module")
def checks() -> list[str]:
    return listing.ids()


def test_every_check_has_a_mutant(checks: list[str]) -> None:
    assert matrix.unkilled(checks) == []
    assert matrix.unkilled(["05-apache/nobody"]) == ["05-apache/nobody"]


def test_mutants_name_checks_that_exist(checks: list[str]) -> None:
    assert {check for one in MUTANTS.values() for check in one.expected} <= set(checks)


def test_a_mutant_breaks_something_unless_it_is_another_right_way() -> None:
    assert matrix.toothless() == []
    assert len(ROADS) >= 3


def test_no_check_is_declared_with_two_verdicts() -> None:
    sets = {one.name: (one.fails, one.skips, one.errors, one.warns) for one in MUTANTS.values()}
    assert not [name for name, some in sets.items() if sum(map(len, some)) > len(frozenset.union(*some))]


def test_the_mutants_are_dealt_out_without_loss() -> None:
    names = list(MUTANTS)
    dealt = matrix.shares(names, 3)
    assert sorted(name for share in dealt for name in share) == sorted(names)
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def test_every_lab_goes_through_the_stages_in_order() -> None:
    works = matrix.dealt(2)
    assert [list(work) for work in works] == [stages()] * 2
    assert sorted(name for work in works for share in work.values() for name in share) == sorted(MUTANTS)
    assert all(MUTANTS[name].stage == stage for work in works for stage, share in work.items() for name in share)


def test_a_mutant_is_declared_by_checks_that_are_graded_at_its_stage() -> None:
    for one in MUTANTS.values():
        assert {check.split("/")[0] for check in one.expected} <= set(graded_at(one.stage)), one.name


def test_every_chapter_is_graded_at_some_stage() -> None:
    assert {chapter for stage in stages() for chapter in graded_at(stage)} == set(grading.chapters())
    assert set(stages()) <= set(GRADED) == set(matrix.HEALTHY)


def test_a_lab_that_does_not_get_to_a_stage_is_not_asked_further(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(argv: list[str], **_: object) -> subprocess.CompletedProcess:
        asked.append(argv[3:])
        return subprocess.CompletedProcess(argv, 3 if argv[-1] == "06" else argv[3] == "exec")

    monkeypatch.setattr(matrix.subprocess, "run", run)
    assert matrix.tried("mutants1", {"05": ["standby"], "06": ["a-long-token"]}, ["--record"]) == 3
    assert [argv[0] for argv in asked] == ["run", "exec", "run", "down"]
    assert asked[0] == ["run", "--from", "01", "--to", "05"]
    assert asked[1][-6:] == ["--stage", "05", "--healthy", "20", "--record", "standby"]


def test_a_stage_without_a_share_is_only_passed_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without names `tests.mutants` would try all."""
    asked: list[list[str]] = []

    def run(argv: list[str], **_: object) -> subprocess.CompletedProcess:
        asked.append(argv[3:])
        return subprocess.CompletedProcess(argv, 0)

    monkeypatch.setattr(matrix.subprocess, "run", run)
    assert matrix.tried("mutants1", {"05": [], "06": ["a-long-token"]}, []) == 0
    assert [argv[:5] for argv in asked if argv[0] == "run"] == [
        ["run", "--from", "01", "--to", "05"],
        ["run", "--from", "06", "--to", "06"],
    ]
    assert sum(argv[0] == "exec" for argv in asked) == 1


def test_the_table_says_what_kills_each_check() -> None:
    lab = {"name": "mutants1", "engine": "lxc", "release": "trixie", "image_digest": "d", "instance": "i", "start": "s",
           "versions": {"corosync": "3.1.9", "pacemaker": "3.0.0"}}  # fmt: skip
    lines = matrix.table(LabFacts.model_validate(lab), ["02-corosync/majority"]).splitlines()
    assert "| 02-corosync/majority | too-few-votes-expected, two-node, a-node-with-two-votes |" in lines
    assert any(line.startswith("| two-node | ") for line in lines)
    assert any(line.startswith("| a-group | ") for line in lines)
