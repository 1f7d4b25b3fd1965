"""How nbval is called, and what it does not compare: rules with a name, a reason and a need, that hide nothing else.

`tests/live/test_nbval.py` runs the chapters; a notebook of a few lines needs no lab.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from nbval.plugin import get_sanitize_patterns

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "tests" / "nbval.cfg").read_text()
RULES = {name: (reason, regex) for name, reason, regex in re.findall(r"^\[(.+)\]\n((?:(?!regex:|\[).+\n)+)regex: (.*)$", TEXT, re.M)}
PATTERNS = get_sanitize_patterns(TEXT)


def sanitised(text: str) -> str:
    for regex, replacement in PATTERNS:
        text = re.sub(regex, replacement, text)
    return text


def committed() -> list[str]:
    """Every text that is compared."""
    cells = [c for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")) for c in nbformat.read(path, as_version=4).cells]
    outputs = [o for c in cells for o in c.get("outputs", [])]
    return [text for o in outputs for text in (o.get("text", ""), *map(str, o.get("data", {}).values())) if text]


def test_every_rule_has_a_name_and_a_reason() -> None:
    assert [regex for _, regex in RULES.values()] == [regex for regex, _ in PATTERNS]
    assert all(len(reason.split()) >= 8 for reason, _ in RULES.values())


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_needed(name: str) -> None:
    assert [text for text in committed() if re.search(RULES[name][1], text)]


def test_hardly_any_of_what_is_compared_is_hidden() -> None:
    """Each rule takes a number or a name out of a line, and leaves the line."""
    assert sum(map(len, map(sanitised, committed()))) > 0.99 * sum(map(len, committed()))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<lab halab: 3 nodes, engine lxc, trixie>", "<lab live-17-2: 3 nodes, engine lxc, trixie>"),
        ("<source dir='/var/lib/halab/halab/nodes/pacemaker01/root'/>", "<source dir='/var/lib/halab/b/nodes/pacemaker01/root'/>"),
        ("no answer for 2.6 seconds", "no answer for 12.1 seconds"),
        ("elsewhere after 5.1 s", "elsewhere after 5.7 s"),
        ("eth0@if5         DOWN", "eth0@if17        DOWN"),
        ("A new membership (1.a) was formed. Members joined: 1", "A new membership (1.12) was formed. Members joined: 1"),
        ("status 8 at main.c:1456.", "status 8 at main.c:1460."),
        ("5 % lost, 50 ms late: every node stayed a member: True", "this machine's kernel has no netem: not tried"),
    ],
)
def test_may_differ(one: str, other: str) -> None:
    assert sanitised(one) == sanitised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<lab halab: 3 nodes, engine lxc, trixie>", "<lab halab: 4 nodes, engine lxc, trixie>"),
        ("/var/lib/halab/halab/nodes/pacemaker01/root", "/var/lib/halab/halab/nodes/pacemaker02/root"),
        ("token 1.65 s + consensus 1.98 s = 3.63 s", "token 3.65 s + consensus 1.98 s = 5.63 s"),
        ("token 3650 ms, consensus 3600 ms", "token 3650 ms, consensus 4380 ms"),
        ("no answer for 2.6 seconds", "no answer"),
        ("eth0@if5 UP", "eth0@if5 DOWN"),
        ("A new membership (1.a) was formed. Members joined: 1", "A new membership (1.a) was formed. Members joined: 2"),
        ("exiting with status 8 at main.c:1456.", "exiting with status 0 at main.c:1456."),
        ("nodeid: 1", "nodeid: 2"),
        ("✔ passed", "✘ failed"),
        ('dc-version" value="3.0.0-3.0.0"', 'dc-version" value="3.0.1-3.0.0"'),
        ("hello 203.0.113.1", "hello 203.0.113.2"),
        ("5 % lost, 50 ms late: every node stayed a member: True", "5 % lost, 50 ms late: every node stayed a member: False"),
    ],
)
def test_may_not_differ(one: str, other: str) -> None:
    assert sanitised(one) != sanitised(other)


def compared(folder: Path, *cells: tuple[str, str]) -> subprocess.CompletedProcess:
    """What `tests.nbval` says of a notebook with these sources and committed texts."""
    tagged = {"tags": ["nbval-check-output"]}
    code = [new_code_cell('lab_name = "halab"', metadata={"tags": ["parameters"]}, execution_count=1)]
    for source, text in cells:
        outputs = [new_output("stream", text=text)] if text else []
        code.append(new_code_cell(source, metadata=tagged, execution_count=len(code) + 1, outputs=outputs))
    nbformat.write(new_notebook(cells=code), folder / "small.ipynb")
    argv = [sys.executable, "-c", f"from tests.nbval import compare; raise SystemExit(compare(['{folder}/small.ipynb'], 'mine'))"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("HALAB_")}
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_the_labs_own_name_reaches_the_notebook_and_its_kernel_listens_on_no_port(tmp_path: Path) -> None:
    transport = "from ipykernel.connect import get_connection_info\nprint(get_connection_info(unpack=True)['transport'])"
    done = compared(tmp_path, ("print(lab_name)", "mine\n"), (transport, "ipc\n"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_a_wrong_output_fails_and_its_cell_is_named(tmp_path: Path) -> None:
    done = compared(tmp_path, ("print('hello 203.0.113.1')", "hello 203.0.113.2\n"), ("print('after 5.1 s')", "after 6.3 s\n"))
    assert done.returncode == 1
    assert re.findall(r"^FAILED .*::(Cell \d+)", done.stdout, re.M) == ["Cell 1"]
    assert "hello 203.0.113.2" in done.stdout


def test_a_cell_that_prints_where_nothing_was_printed_fails(tmp_path: Path) -> None:
    done = compared(tmp_path, ("print('surprise')", ""))
    assert done.returncode == 1
    assert "Unexpected output" in done.stdout


def test_outside_of_the_lab_host_it_says_how_to_call_it(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("HALAB_")}
    done = subprocess.run([sys.executable, "-m", "tests.nbval"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert "make nbval" in done.stderr
