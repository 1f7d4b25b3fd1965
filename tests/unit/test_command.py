import os
import time
from pathlib import Path

import pytest

from halab.command import Result, quote, run_here
from halab.errors import CommandFailed, DeadlinePassed


def test_arguments_are_quoted_for_the_shell() -> None:
    assert quote("cat %s > %s", "a file", "b; reboot") == "cat 'a file' > 'b; reboot'"
    assert quote("kill %s", 12) == "kill 12"


def test_a_command_without_arguments_is_left_as_it_is() -> None:
    assert quote("date +%s") == "date +%s"


@pytest.mark.parametrize("args", [(), ("one", "two")])
def test_a_wrong_number_of_arguments_is_no_command(args: tuple[str, ...]) -> None:
    if args:
        with pytest.raises(TypeError):
            quote("cat %s", *args)
    else:
        assert quote("cat %s") == "cat %s"  # nothing was asked to be quoted


def test_check_gives_stdout_of_a_command_that_succeeded() -> None:
    assert Result("node", "true", 0, "out", "err").check() == "out"


def test_check_of_a_failure_says_where_what_and_why() -> None:
    with pytest.raises(CommandFailed, match=r"node: `crm x` succeeds(?s:.*)exit status 3: no such thing"):
        Result("node", "crm x", 3, "", "no such thing\n").check()


def test_check_of_a_silent_failure_tells_stdout() -> None:
    with pytest.raises(CommandFailed, match="only here"):
        Result("node", "x", 1, "only here", "  ").check()


def test_the_repr_has_no_output_and_no_times() -> None:
    assert repr(Result("pacemaker01", "true", 0, "long", "")) == "<pacemaker01$ true -> 0>"


def test_both_streams_and_the_status_come_back() -> None:
    result = run_here("sh", "-c", "echo out; echo err >&2; exit 7", timeout=10)
    assert (result.status, result.stdout, result.stderr, result.ok) == (7, "out\n", "err\n", False)


def test_output_larger_than_a_pipe_comes_whole_on_both_streams() -> None:
    result = run_here("sh", "-c", "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero", timeout=20)
    assert (len(result.stdout), len(result.stderr)) == (300000, 300000)


def test_input_reaches_the_program_and_without_it_stdin_is_empty() -> None:
    assert run_here("cat", timeout=10, input=b"hello").stdout == "hello"
    assert run_here("cat", timeout=10).stdout == ""


def test_output_that_is_no_utf8_is_kept_readable() -> None:
    assert run_here("printf", "a\\377b", timeout=10).stdout == "a\ufffdb"


def test_a_signal_becomes_the_shells_exit_status() -> None:
    assert run_here("sh", "-c", "kill -9 $$", timeout=10).status == 137


def test_a_program_that_does_not_exist_is_told_apart() -> None:
    with pytest.raises(FileNotFoundError):
        run_here("no-such-program", timeout=1)


def test_the_deadline_ends_the_program_and_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    start = time.monotonic()
    with pytest.raises(DeadlinePassed, match=r"within 0\.3 s"):
        run_here("sh", "-c", f"sleep 60 & echo $! > {pid}; wait", timeout=0.3)
    assert time.monotonic() - start < 10
    with pytest.raises(ProcessLookupError):
        for _ in range(200):  # the kernel may take a moment to reap the orphan
            os.kill(int(pid.read_text()), 0)
            if "\nState:\tZ" in Path(f"/proc/{pid.read_text().strip()}/status").read_text():
                raise ProcessLookupError
            time.sleep(0.01)
