"""The way to the start of a chapter: the chapters before it, from disks that were kept and by doing them again."""

import shutil
from collections.abc import Callable

from halab import chain, grading, kept
from halab.errors import LabError
from halab.lab import Lab

#: What brings a machine that is not ours to make anew to the start of chapter 02.
FORGET = (
    "systemctl stop pacemaker corosync 2> /dev/null; "
    "rm -f /etc/corosync/corosync.conf /etc/corosync/authkey /var/lib/pacemaker/cib/* 2> /dev/null; true"
)


def reset(lab: Lab, chapter: str, line: Callable[[str], None]) -> None:
    """Bring the lab to the start of a chapter: with the disks that were kept at the end of one before it, and by replaying the
    others (on machines of an inventory, from no cluster).

    Each is graded as always, so the state is verified by the checks of the chapter before. Raises LabError when one of them
    does not pass."""
    names = chain.chapters()
    before = names[: names.index(chain.possible(chain.pick(chapter, chapter), lab.settings)[0])]
    if lab.settings.machines:
        before = before[1:]  # nobody makes them
        lab.each(lambda node: node.check_output(FORGET))
    else:
        lab.down()
    (lab.keys.folder / "attempts.json").unlink(missing_ok=True)  # a new start is a first try
    folder = lab.settings.folder / "keys" / "reset"
    shutil.rmtree(folder, ignore_errors=True)
    if there := kept.newest(lab, chain.until(before[-1])) if before else 0:
        name = before[there - 1]
        line(f"{name}, from kept disks …")
        kept.restore(lab, chain.until(name), line)
        folder.mkdir(parents=True)
        if grading.run([name], folder / "kept.json").exit_code:
            raise LabError(f"the kept disks are those of the end of {name}", f"see {folder}/kept.json", "halab down; halab up")
    elif before and lab.settings.host == "system":
        lab.up(line)  # where chapter 01 would have ended
        there = 1
    if before[there:] and chain.Run(lab, before[there:], folder=folder).execute(line):
        raise LabError(f"the replay reaches the start of {chapter}", f"see {folder}", "halab down; halab up")
