"""Predict, then do: a student says what will happen before it happens, and a cell compares.

    guess = halab.predict(seconds=10, holder="another node", quorum=True)
    …
    guess.against(seconds=gap, holder=seen, quorum=corosync.quorate(node))

A time is predicted as a bound. What is shown never holds a measured time, so that it reads the same on
every machine: a figure of its own beside it does.
"""

from dataclasses import dataclass

from halab.errors import UsageError

#: A bound this many times longer than what was measured is told as such: "an hour" is never wrong, and says nothing.
GENEROUS = 20
#: What was shorter than this, in s, counts as this long: nobody predicts tenths of a second, and no bound on them is idle.
SHORT = 1.0


class Prediction:
    """What will happen, each question by its name. `seconds`, and names that begin with it, are upper bounds in s."""

    def __init__(self, *unnamed: object, **said: object) -> None:
        if unnamed:
            raise UsageError("each answer has the name of its question", ", ".join(map(repr, unnamed)), "halab.predict(seconds=10)")
        if not said:
            raise UsageError("a prediction says something", "nothing", "halab.predict(seconds=10)")
        for name, value in said.items():
            if name.startswith("seconds") and not (isinstance(value, (int, float)) and value > 0):
                raise UsageError(f"{name} is a number of seconds above 0", value)
        self.said = said

    def __repr__(self) -> str:
        return "predicted: " + "; ".join(f"{_words(name)} {_value(name, value)}" for name, value in self.said.items())

    def against(self, **seen: object) -> "Comparison":
        """Compare with what happened. Raises UsageError when a question was not predicted, or stays unanswered."""
        if set(seen) != set(self.said):
            fix = "predict again with these names, and go on from there"
            raise UsageError(f"a prediction of {', '.join(seen) or 'nothing'}", f"one of {', '.join(self.said)}", fix)
        return Comparison({name: _compared(name, self.said[name], value) for name, value in seen.items()})


@dataclass(frozen=True)
class Comparison:
    """question -> (was the prediction right, in words)."""

    lines: dict[str, tuple[bool, str]]

    @property
    def right(self) -> bool:
        return all(right for right, _ in self.lines.values())

    def __repr__(self) -> str:
        return "\n".join(f"{'✔' if right else '✘'} {_words(name)}: {text}" for name, (right, text) in self.lines.items())


def _compared(name: str, said: object, seen: object) -> tuple[bool, str]:
    if not name.startswith("seconds"):
        return said == seen, f"{_value(name, seen)}, as you predicted" if said == seen else (
            f"you predicted {_value(name, said)}, it was {_value(name, seen)}"
        )
    assert isinstance(said, (int, float))
    if not isinstance(seen, (int, float)):
        return False, f"you predicted {_value(name, said)}, it did not happen"
    if seen > said:
        return False, f"it took {seen:.1f} s, longer than your {said:g} s"
    if max(seen, SHORT) * GENEROUS < said:
        return False, f"your {said:g} s are more than {GENEROUS} times too long"
    return True, f"within your {said:g} s"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(name: str, value: object) -> str:
    if name.startswith("seconds"):
        return f"within {value:g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
