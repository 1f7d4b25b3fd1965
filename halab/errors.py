"""The one tree of errors. Each says what was expected, what was seen, and the command that fixes it.

HalabError                    exit code
├── UsageError                2   wrong use or configuration
├── LabError                  3   the lab or the machine failed, never blamed on the student
│   ├── MachineLacks          3   a program, a privilege or a kernel feature is missing
│   ├── ImageError            3   the golden root file system could not be built or found
│   ├── HostDown              3   the lab host is not running, or died
│   ├── Unreachable           3   a node did not answer in time
│   ├── HostKeyRefused        3   a node answered with a host key that is not its own
│   └── DeadlinePassed        3   a command or a wait took longer than it may
└── StudentError              1   the cluster is not in the state asked for
    └── CommandFailed         1   check_output: the command's exit status is not 0
"""

from collections.abc import Iterator
from contextlib import contextmanager


class HalabError(Exception):
    """Base of all. `str()` is one message for a person, with no traceback needed to act on it."""

    exit_code = 3

    def __init__(self, expected: str, seen: object = "", fix: str = "") -> None:
        self.expected, self.seen, self.fix = expected, seen, fix
        super().__init__(expected, seen, fix)

    def __str__(self) -> str:
        parts = [self.expected] if self.seen == "" else [f"expected: {self.expected}", f"seen: {self.seen}"]
        if self.fix:
            parts.append(f"fix: {self.fix}")
        return "\n  ".join(parts)

    @property
    def in_short(self) -> str:
        """In one line, for an error that tells of this one."""
        return f"{self.seen} (expected: {self.expected})" if self.seen != "" else self.expected

    def _render_traceback_(self) -> list[str]:
        """What IPython prints for this error in a notebook: the message, no traceback."""
        return [f"{type(self).__name__}: {self}"]


class UsageError(HalabError):
    """Wrong use or configuration."""

    exit_code = 2


class LabError(HalabError):
    """The lab or the machine failed."""


class MachineLacks(LabError):
    """A program, a privilege or a kernel feature is missing on this machine."""


class ImageError(LabError):
    """The golden root file system could not be built or found."""


class HostDown(LabError):
    """The lab host is not running, or died."""


class Unreachable(LabError):
    """A node did not answer in time."""


class HostKeyRefused(LabError):
    """A node answered with a host key that is not the one the lab gave it."""


class DeadlinePassed(LabError):
    """A command or a wait took longer than it may."""


class StudentError(HalabError):
    """The cluster is not in the state asked for."""

    exit_code = 1


class CommandFailed(StudentError):
    """`check_output`: the command's exit status is not 0."""


@contextmanager
def the_labs() -> Iterator[None]:
    """What goes wrong in here is the lab's work: a StudentError becomes a LabError that says the same."""
    try:
        yield
    except StudentError as error:
        raise LabError(error.expected, error.seen, error.fix) from error
