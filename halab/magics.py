"""Cell magics: a cell's text is the shell text that a person would type on that machine.

    %%host                        as root on the lab host
    %%node pacemaker01            as root on a node, over SSH
    %%nodes                       on every node at once
    %%console pacemaker01         on a node's console, before there is a network

`--fails` says that the command is meant to fail: its exit status is printed, and success is an error.
The shell has, from the lab's settings, $BRIDGE, $GATEWAY (the host's end of it), $SUBNET and $PREFIX (what addresses there
begin with), $OUTSIDE, $VIP and $NODES (names), $BRIDGE_TYPE, and $DATAPATH for Open vSwitch.
"""

import re
import shlex

from IPython.core.magic import Magics, cell_magic, magics_class

from halab.command import Result
from halab.errors import CommandFailed, DeadlinePassed, UsageError
from halab.host import Host
from halab.lab import Lab, current
from halab.node import Node
from halab.wait import seconds

#: Seconds a cell's command may take.
DEADLINE = 120
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@magics_class
class LabMagics(Magics):
    @cell_magic
    def host(self, line: str, cell: str) -> None:
        lab, (_, fails) = self._lab(), _options(line)
        _show(_run("host", lab.host, "bash -c %s", script(lab, cell)), fails)

    @cell_magic
    def node(self, line: str, cell: str) -> None:
        lab, (names, fails) = self._lab(), _options(line)
        if len(names) != 1:
            raise UsageError("%%node takes the name of one node", line or "nothing", "%%node pacemaker01")
        _show(_run(names[0], lab.node(names[0]), script(lab, cell)), fails)

    @cell_magic
    def nodes(self, line: str, cell: str) -> None:
        lab, (names, fails) = self._lab(), _options(line)
        chosen = tuple(lab.node(n) for n in names) or lab.nodes
        results = lab.each(lambda node: _run(node.name, node, script(lab, cell)), chosen)
        if len({(r.status, r.stdout) for r in results.values()}) == 1:
            results = {"every node": next(iter(results.values()))}
        for name, result in results.items():
            print(f"--- {name}")
            _show(result, fails)

    @cell_magic
    def console(self, line: str, cell: str) -> None:
        lab, (names, fails) = self._lab(), _options(line)
        with lab.node(names[0]).console() as console:
            for command in filter(_typed, map(str.strip, _joined(cell))):
                print(f"root@console:~# {command}")
                _show(console.run(variables(lab) + command), fails)

    def _lab(self) -> Lab:
        """The notebook's own `lab`, so that its connections are shared."""
        lab = self.shell.user_ns.get("lab") if self.shell else None
        return lab if isinstance(lab, Lab) else current()


def variables(lab: Lab) -> str:
    return "".join(f"{name}={shlex.quote(str(value))}; " for name, value in lab.settings.names.items())


def script(lab: Lab, cell: str) -> str:
    """The cell as one script: stops at the first failing line, both streams in the order they come."""
    return f"exec 2>&1; set -e; export LC_ALL=C.UTF-8 TERM=dumb; {variables(lab)}\n{cell}"


def register(shell) -> None:
    shell.register_magics(LabMagics)


def _options(line: str) -> tuple[list[str], bool]:
    words = shlex.split(line)
    unknown = [w for w in words if w.startswith("-") and w != "--fails"]
    if unknown:
        raise UsageError("the options are --fails", unknown[0])
    return [w for w in words if w != "--fails"], "--fails" in words


def _run(where: str, machine: Host | Node, command: str, *args: str) -> Result:
    """Raises DeadlinePassed that names the cell's time and not the whole script."""
    try:
        return machine.run(command, *args, timeout=DEADLINE)
    except KeyboardInterrupt:
        print(f"interrupted here; on {where} the command may go on until it ends, {seconds(DEADLINE):g} s at most")
        raise
    except DeadlinePassed:
        raise DeadlinePassed(f"{where}: the cell's commands end within {seconds(DEADLINE):g} s", "still running") from None


def _show(result: Result, fails: bool) -> None:
    text = ANSI.sub("", result.stdout).rstrip()
    if text:
        print(text)
    if fails:
        if result.ok:
            raise CommandFailed(f"{result.where}: this command is meant to fail", "it succeeded")
        print(f"[exit status {result.status}]")
    elif not result.ok:
        raise CommandFailed(f"{result.where}: the cell's commands succeed", f"exit status {result.status}")


def _typed(line: str) -> bool:
    """Nobody types a comment or an empty line on a console."""
    return bool(line) and not line.startswith("#")


def _joined(cell: str) -> list[str]:
    """The lines of a cell; a here-document or a line that ends in a backslash stays together."""
    lines, pending, end = [], "", None
    for line in cell.splitlines():
        pending = f"{pending}\n{line}" if pending else line
        if end is None and (found := re.search(r"<<-?\s*'?(\w+)'?", line)):
            end = found.group(1)
        elif end is not None and line.strip() == end:
            end = None
        if end is None and not line.endswith("\\"):
            lines.append(pending)
            pending = ""
    return lines + ([pending] if pending else [])
