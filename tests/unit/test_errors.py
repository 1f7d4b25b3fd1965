import inspect
import re

import pytest

from halab import errors
from halab.errors import HalabError, LabError, StudentError, UsageError

CLASSES = {n: c for n, c in vars(errors).items() if inspect.isclass(c) and issubclass(c, HalabError)}


def test_a_message_says_expected_seen_and_fix() -> None:
    assert str(LabError("three nodes", "two", "halab up")) == "expected: three nodes\n  seen: two\n  fix: halab up"


def test_what_is_not_known_is_left_out() -> None:
    assert str(LabError("three nodes")) == "three nodes"
    assert str(LabError("three nodes", 0)) == "expected: three nodes\n  seen: 0"


def test_a_notebook_shows_the_message_and_no_traceback() -> None:
    assert UsageError("a name", "none")._render_traceback_() == ["UsageError: expected: a name\n  seen: none"]


def test_an_error_that_tells_of_another_does_so_in_one_line() -> None:
    assert LabError("three nodes", "two", "halab up").in_short == "two (expected: three nodes)"
    assert LabError("three nodes").in_short == "three nodes"


def test_the_tree_in_the_docstring_is_the_tree_of_the_code() -> None:
    drawn = dict(re.findall(r"([A-Z]\w+) +(\d) ", errors.__doc__ or ""))
    assert drawn == {n: str(c.exit_code) for n, c in CLASSES.items() if n != "HalabError"}


def test_the_labs_failures_are_never_the_students() -> None:
    for name in ("MachineLacks", "ImageError", "HostDown", "Unreachable", "HostKeyRefused", "DeadlinePassed"):
        assert issubclass(CLASSES[name], LabError)
        assert not issubclass(CLASSES[name], StudentError)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_error_is_described_in_a_sentence(name: str) -> None:
    assert (CLASSES[name].__doc__ or "").strip().endswith(".")


def test_what_goes_wrong_in_the_labs_own_work_is_never_the_students() -> None:
    with pytest.raises(errors.LabError, match="corosync starts") as seen, errors.the_labs():
        raise errors.CommandFailed("corosync starts", "it does not")
    assert seen.value.exit_code == 3
