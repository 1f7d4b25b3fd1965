"""Where a lab stands: what a chapter must find before it begins, and the way there.

Each stage is what a chapter leaves behind and the next one stands on. Looking takes a fraction of a
second when all is well.
"""

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

from halab import corosync, fencing, pacemaker, stonith
from halab.errors import DeadlinePassed, HalabError, LabError, StudentError
from halab.expect import attempt, describe
from halab.lab import Lab, Sight, current
from halab.node import Node
from halab.probe import ask
from halab.wait import eventually, seconds


class NotThere(StudentError):
    """The lab is not where a chapter begins."""


def begin(chapter: str, name: str | None = None, *, engine: str | None = None, nodes: int | None = None) -> Lab:
    """The lab (`halab.lab`), after a look that it is where this chapter begins; a lab that is further on is told, and a slow one.

    Raises NotThere with the way there."""
    lab, this = current(name, engine=engine, nodes=nodes), int(chapter.split("-")[0])
    if lab.settings.engine == "vm" and seconds(1) > 1:
        print("These machines are slow, as emulated ones are: what the text tells in seconds takes several times as long here.")
    for number, (what, look) in enumerate(STAGES[: this - 1], 1):
        try:
            eventually(lambda: look(lab), lambda wrong: not wrong, within=3)  # noqa: B023  (called at once)
        except DeadlinePassed as passed:
            lab.close()
            power = "`halab up` in a terminal (it powers on what is off), " if number == 1 else ""
            way = f'{power}halab.reset("{chapter}") in a cell here (a minute or two), or go back to chapter {number:02d}'
            raise NotThere(f"chapter {chapter} begins with {what}", describe(passed.seen), way) from None
    with suppress(HalabError):  # what cannot be asked yet is not there
        made, look = STAGES[this - 1]
        if not look(lab):
            print(f'This lab is further on: it has {made}. Run the chapter again as it is, or halab.reset("{chapter}") first.')
    return lab


def reached(lab: Lab) -> int:
    """The number of the last chapter whose result this lab has, with those of all before it; 0: none."""
    for number, (_, look) in enumerate(STAGES):
        if look(lab):
            return number
    return len(STAGES)


def reset(chapter: str) -> None:
    """Bring the lab to the start of a chapter, from a cell: `halab reset CHAPTER` in a process of its own.

    An interrupt ends it; the lab is then half way. Raises LabError when it does not get there."""
    command = [sys.executable, "-m", "halab", "reset", chapter]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as work:
        assert work.stdout
        try:
            for line in work.stdout:
                print(line, end="", flush=True)
        except KeyboardInterrupt:
            with suppress(ProcessLookupError):
                work.terminate()
            raise
    if work.returncode:
        raise LabError(f"the lab is brought to the start of {chapter}", "see above", "halab status")
    print("Run this chapter from its top now.")


# -- the stages -------------------------------------------------------------------------------------------


def _wrong(lab: Lab, look: Callable[[Node], object], want: object) -> dict[str, object]:
    """name -> what was seen there, of the nodes where it is not `want`."""
    return {name: seen for name, seen in lab.each(lambda node: attempt(node, look)).items() if seen != want}


def _silent(lab: Lab) -> dict[str, object]:
    return {name: "does not answer SSH" if seen is False else seen for name, seen in _wrong(lab, lambda node: node.answers, True).items()}


def _apart(lab: Lab) -> dict[str, object]:
    wrong = _wrong(lab, corosync.joined, [node.number for node in lab])
    return {name: f"sees members {describe(seen)}" for name, seen in wrong.items()}


def _unready(lab: Lab) -> dict[str, object]:
    everybody = tuple(node.name for node in lab)
    wrong = _wrong(lab, lambda node: pacemaker.status(node).ready, everybody)
    return {name: seen if isinstance(seen, StudentError) else f"sees ready {describe(seen)}" for name, seen in wrong.items()}


def _not_held_once(lab: Lab) -> dict[str, Sight]:
    seen = lab.holders()
    return {} if sorted(seen.values()).count(Sight.HELD) == 1 else seen


def _not_served(lab: Lab) -> dict[str, object]:
    holder, server = lab.holder(), ask(f"http://{lab.virtual_ip}/")
    return {} if holder and holder == server else {"the page names": server, "the address is on": holder}


def _unlimited(lab: Lab) -> dict[str, object]:
    limit = pacemaker.meta(pacemaker.cib(lab.nodes[0]), "WebSite").get("migration-threshold")
    return {} if limit else {"migration-threshold": limit}


def _unfenced(lab: Lab) -> dict[str, object]:
    on = fencing.enabled(pacemaker.cib(lab.nodes[0]))
    without = [node.name for node in lab.nodes[1:] if not stonith.able(lab.nodes[0], node.name)]
    return {"stonith-enabled": on, "without a device": without} if without or not on else {}


STAGES: tuple[tuple[str, Callable[[Lab], dict]], ...] = (
    ("nodes that all answer", _silent),
    ("a membership of all nodes in corosync", _apart),
    ("all nodes online and ready in pacemaker", _unready),
    ("the virtual IP on one node", _not_held_once),
    ("the page at the virtual IP served by its holder", _not_served),
    ("a migration threshold for the service", _unlimited),
    ("fencing, on, with a device for every other node", _unfenced),
)
