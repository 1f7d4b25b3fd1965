"""Kept disks: what the machines had written when a chapter had ended well, so that the way back to there is short.

Only on an engine where replaying takes long. They lie in the lab's folder, and go with it. The disks are copied while their
machines stand still (QEMU writes what it holds of a disk when it stops a machine): all at once, so that no node misses another.
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from halab import stage
from halab.errors import HalabError
from halab.lab import Lab
from halab.wait import eventually


def keep(lab: Lab, done: list[Path], line: Callable[[str], None]) -> None:
    """Keep the disks as they are at the end of the last of these chapters; where there is no room, say so."""
    if not (disks := lab.engine.disks):
        return
    lab.each(lambda node: node.check_output("sync"))
    kept = _folder(lab, done)
    try:
        lab.each(lambda node: node.suspend())
        make = "mkdir -p %s && rm -rf %s %s && cp -a --reflink=auto %s %s"
        copied = lab.host.run(make, kept.parent, kept, part := f"{kept}.part", disks, part, timeout=600)
    finally:
        lab.each(lambda node: node.resume())
    lab.each(lambda node: node.check_output("date --utc --set=@%s", f"{time.time():.3f}"))  # their clocks stood still too
    if copied.ok:
        lab.host.check_output("mv %s %s", part, kept)
    else:
        lab.host.run("rm -rf %s", part)
        line(f"the disks are not kept, a reset will replay this chapter ({copied.stderr.strip()[-200:]})")


def newest(lab: Lab, before: list[Path]) -> int:
    """How many of these chapters, from the first, are done on the disks that are kept."""
    there = lab.host.run("ls %s", _shelf(lab)).stdout.split() if lab.engine.disks else []
    return max((n for n in range(1, len(before) + 1) if _folder(lab, before[:n]).name in there), default=0)


def restore(lab: Lab, done: list[Path], line: Callable[[str], None]) -> None:
    """Nodes with the disks that were kept at the end of the last of these chapters, running, in a lab without nodes.

    Raises DeadlinePassed when the lab does not come to what that chapter leaves behind."""
    lab.host.check_output("rm -rf %s && cp -a --reflink=auto %s %s", lab.engine.disks, _folder(lab, done), lab.engine.disks, timeout=600)
    lab.each(lambda node: node.define())
    lab.up(line)
    what = f"the lab is at the end of {done[-1].stem} again"
    eventually(lambda: stage.reached(lab) >= len(done), within="election", retry=(HalabError,), what=what)


def _shelf(lab: Lab) -> PurePosixPath:
    return PurePosixPath(lab.host.folder / "kept")


def _folder(lab: Lab, done: list[Path]) -> PurePosixPath:
    """Named by what these chapters are: one that was edited since is replayed."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in done)).hexdigest()[:12]
    return _shelf(lab) / f"{done[-1].stem}-{digest}"
