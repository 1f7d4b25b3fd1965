"""The matrix of checks by mutants, before any lab is started: every check has something that kills it."""

import pytest

from halab.report import Report
from tests import listing
from tests.mutants import MUTANTS, ROADS, matrix


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
    assert not [one.name for one in MUTANTS.values() if one.fails & one.skips or one.fails & one.errors or one.skips & one.errors]


def test_the_mutants_are_dealt_out_without_loss() -> None:
    names = list(MUTANTS)
    dealt = matrix.shares(names, 3)
    assert sorted(name for share in dealt for name in share) == sorted(names)
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def test_the_table_says_what_kills_each_check() -> None:
    lab = {"name": "mutants1", "engine": "lxc", "release": "trixie", "image_digest": "d", "instance": "i", "start": "s",
           "versions": {"corosync": "3.1.9", "pacemaker": "3.0.0"}}  # fmt: skip
    check = {"id": "02-corosync/majority", "title": "", "verdict": "passed", "points": 1, "max_points": 1, "message": "", "seconds": 0,
             "attempts": 1, "held_back": False}  # fmt: skip
    report = Report.model_validate({"schema": 1, "lab": lab, "chapters": [{"name": "02-corosync", "checks": [check]}]})
    lines = matrix.table(report).splitlines()
    assert "| 02-corosync/majority | too-few-votes-expected, two-node, a-node-with-two-votes |" in lines
    assert any(line.startswith("| two-node | ") for line in lines)
    assert any(line.startswith("| a-group | ") for line in lines)
