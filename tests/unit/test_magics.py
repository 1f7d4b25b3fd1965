import subprocess
from types import SimpleNamespace

import pytest

from halab import magics
from halab.command import Result
from halab.errors import CommandFailed, DeadlinePassed, UsageError
from halab.lab import Lab
from halab.settings import Settings


@pytest.fixture
def lab(settings: Settings) -> Lab:
    return Lab(settings)


class Shell:
    """As much of IPython's shell as the magics use."""

    def __init__(self, **names: object) -> None:
        self.user_ns = names


def test_names_and_the_option_are_told_apart() -> None:
    assert magics._options("pacemaker01 --fails pacemaker02") == (["pacemaker01", "pacemaker02"], True)
    assert magics._options("") == ([], False)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(UsageError, match="--fail"):
        magics._options("pacemaker01 --fail")


def test_a_cell_gets_the_labs_addresses_as_variables(lab: Lab) -> None:
    line = magics.variables(lab) + 'echo "$BRIDGE $GATEWAY $SUBNET $OUTSIDE $VIP"'
    out = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
    assert out == "ubuntu_br 192.168.100.1 192.168.100.0/24 203.0.113.10 192.168.100.100\n"


def test_a_cell_stops_at_its_first_failing_line_with_both_streams_in_order(lab: Lab) -> None:
    cell = "echo one\necho two >&2\nfalse\necho never"
    done = subprocess.run(["bash", "-c", magics.script(lab, cell)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "one\ntwo\n", "")


def test_a_cell_that_takes_too_long_is_told_without_its_script(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(command: str, *args: str, timeout: float) -> Result:
        raise DeadlinePassed(f"pacemaker01: `{command}` within {timeout:g} s", "still running")

    node = lab.node("pacemaker01")
    monkeypatch.setattr(node, "run", late)
    with pytest.raises(DeadlinePassed, match=r"^expected: pacemaker01: the cell's commands end within 120 s\n"):
        magics._run(node.name, node, magics.script(lab, "sleep 1000"))


def test_output_is_shown_without_colours(capsys: pytest.CaptureFixture[str]) -> None:
    magics._show(Result("n", "c", 0, "\x1b[32mINFO\x1b[0m: moved\n\n", ""), fails=False)
    assert capsys.readouterr().out == "INFO: moved\n"


def test_no_output_prints_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    magics._show(Result("n", "c", 0, "", ""), fails=False)
    assert capsys.readouterr().out == ""


def test_a_failure_shows_its_output_and_raises(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandFailed, match="exit status 8"):
        magics._show(Result("n", "c", 8, "parse error", ""), fails=False)
    assert capsys.readouterr().out == "parse error\n"


def test_a_failure_that_was_announced_is_shown_with_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    magics._show(Result("n", "c", 8, "parse error\n", ""), fails=True)
    assert capsys.readouterr().out == "parse error\n[exit status 8]\n"


def test_a_success_where_a_failure_was_announced_is_an_error() -> None:
    with pytest.raises(CommandFailed, match="it succeeded"):
        magics._show(Result("n", "c", 0, "", ""), fails=True)


def test_console_lines_are_typed_one_by_one() -> None:
    assert magics._joined("ip link\n\nhostname\n") == ["ip link", "", "hostname"]


def test_a_line_that_ends_in_a_backslash_goes_on() -> None:
    assert magics._joined("echo one \\\n two\nthree") == ["echo one \\\n two", "three"]


@pytest.mark.parametrize("start", ["cat > f <<EOF", "cat > f <<'EOF'", "cat > f << EOF"])
def test_a_here_document_is_typed_as_one(start: str) -> None:
    assert magics._joined(f"{start}\na b\nEOF\nreboot") == [f"{start}\na b\nEOF", "reboot"]


def test_a_here_document_without_its_end_is_typed_too() -> None:
    assert magics._joined("cat <<EOF\na") == ["cat <<EOF\na"]


def test_the_notebooks_own_lab_is_used(lab: Lab) -> None:
    shell = Shell(lab=lab)
    assert magics.LabMagics._lab(SimpleNamespace(shell=shell)) is lab


def test_a_notebook_whose_lab_is_something_else_gets_the_current_one() -> None:
    found = magics.LabMagics._lab(SimpleNamespace(shell=Shell(lab="mine")))
    assert (type(found), found.settings.name) == (Lab, "halab")


def test_comments_and_empty_lines_are_not_typed_on_a_console() -> None:
    assert list(filter(magics._typed, magics._joined("### BEGIN SOLUTION\nhostname\n\n### END SOLUTION"))) == ["hostname"]


def test_a_cell_knows_what_addresses_begin_with(lab: Lab) -> None:
    assert "PREFIX=192.168.100; " in magics.variables(lab)
