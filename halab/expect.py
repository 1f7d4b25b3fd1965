"""How a check speaks: what was expected, what was observed and where, and the command that shows it.

Cluster state is asserted only over time: `on_every_node` and `become` wait until a deadline from the
table of named waits; a wait that ends is the student's result (`Mismatch`), a node that does not
answer is the lab's (`LabError`), and never the one for the other.
"""

from collections.abc import Callable
from typing import TypeVar

from halab.errors import DeadlinePassed, StudentError
from halab.lab import Lab, Sight
from halab.node import Node
from halab.wait import eventually, stays

T = TypeVar("T")


class Mismatch(StudentError):
    """A check's finding. `fix` is the command that shows what was observed; `share` is how much of what
    was asked is right, 0 to 1."""

    share = 0.0

    def __str__(self) -> str:
        text = f"expected: {self.expected}\nobserved: {self.seen}"
        return f"{text}\nshown by: {self.fix}" if self.fix else text


def on_every_node(lab: Lab, look: Callable[[Node], T], want: object, *, expected: str, show: str, within: str | float = "fact") -> None:
    """`look(node)` is `want` on every node, at some time before the deadline, on all of them at once.

    A StudentError from `look` (a daemon that does not answer) is what was seen on that node; so is a
    node without power, since switching it on is the student's."""

    found: dict[str, T | StudentError] = {}

    def wrong() -> dict[str, T | StudentError]:
        nonlocal found
        found = {name: value for name, value in lab.each(lambda node: attempt(node, look)).items() if value != want}
        return _together(found) if len(found) == len(lab.nodes) else found

    try:
        become(wrong, lambda found: not found, expected=expected, show=show, within=within)
    except Mismatch as mismatch:
        mismatch.share = 1 - len(found) / len(lab.nodes)  # of the look that the message tells
        raise


def _together(found: dict[str, T | StudentError]) -> dict[str, T | StudentError]:
    """What every node says in the same words is told once."""
    alike = len({describe(value) for value in found.values()}) == 1 < len(found)
    return {"every node": next(iter(found.values()))} if alike else found


def attempt(node: Node, look: Callable[[Node], T]) -> T | StudentError:
    """`look(node)`, or the StudentError that it raised. A node without power is one too: switching it on is the student's."""
    try:
        if node.state != "running":
            return StudentError(f"{node.name} is powered on", node.state)
        return look(node)
    except StudentError as error:
        return error


def become(
    look: Callable[[], T],
    holds: Callable[[T], object] = bool,
    *,
    within: str | float = "fact",
    expected: str = "the state asked for",
    show: str = "",
    retry: tuple[type[Exception], ...] = (StudentError,),
) -> T:
    """The value of `look()` once it holds; Mismatch with the last value seen when it does not in time.

    Notebooks know it as `halab.eventually`."""
    try:
        return eventually(look, holds, within=within, what=expected, retry=retry)
    except DeadlinePassed as passed:
        if passed.expected.startswith(expected):
            raise Mismatch(expected, describe(passed.seen), show) from None
        raise


def holders(lab: Lab) -> dict[str, Sight]:
    """Who holds the virtual IP, with nothing unknown. Raises LabError when a node can't be seen: not the student's."""
    return eventually(lab.holders, lambda s: Sight.UNKNOWN not in s.values(), within="fact", what="every node's addresses can be seen")


def remain(look: Callable[[], T], holds: Callable[[T], object], *, expected: str, show: str, samples: int = 3) -> None:
    """`look()` holds in each of `samples` looks."""
    value = stays(look, holds, samples=samples)
    if not holds(value):
        raise Mismatch(expected, describe(value), show)


def require(holds: object, *, expected: str, seen: object, show: str) -> None:
    if not holds:
        raise Mismatch(expected, describe(seen), show)


def describe(value: object) -> str:
    """A value for a person: `node: value` for what was seen on several nodes; yes or no for a truth value."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, StudentError):
        return f"{str(value.seen).splitlines()[0] if value.seen else 'no answer'} (asked: {value.expected})"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {describe(inner)}" for key, inner in value.items()) or "nothing"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(map(str, value)) or "none"
    return "nothing" if value is None else str(value)
