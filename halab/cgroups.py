"""A cgroup subtree of the lab's own, on mixed (v1) and on pure v2 machines.

libvirt names a container's groups after the pid it sees; two labs, each with a pid namespace, would
share them. So a lab host joins a subtree named after the lab, takes a cgroup namespace there and
mounts the hierarchies afresh: inside, the subtree is the root. Source: cgroups(7), cgroup_namespaces(7).
"""

import ctypes
import os
import subprocess
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
V2_CONTROLLERS = ("cpu", "memory", "pids")
#: libvirt makes no group for a container in systemd's own v1 hierarchy ("never mkdir there": it counts on
#: machined). All nodes' systemds would share one tree, prune each other's groups, and now and then a
#: service fails with 219/CGROUP. This stands in for libvirt's launcher and gives each node its own.
LAUNCHER = Path("/usr/lib/libvirt/libvirt_lxc")
OWN_GROUP = """\
#!/bin/sh
test "$1" = --name || exec {real} "$@"
group=/sys/fs/cgroup/systemd/$2
find "$group" -depth -type d -exec rmdir {{}} + 2>/dev/null
mkdir -p "$group" && echo $$ > "$group/cgroup.procs" && exec {real} "$@"
"""

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWCGROUP = 0x02000000  # linux/sched.h; os.unshare comes with Python 3.12


def pure_v2(root: Path = ROOT) -> bool:
    """True when the machine has only the unified hierarchy (cgroups(7))."""
    return (root / "cgroup.controllers").exists()


def hierarchies(root: Path = ROOT) -> list[Path]:
    """The v1 hierarchies that this machine has mounted, systemd's named one included."""
    return [root / name for name in (*CONTROLLERS, "systemd") if (root / name / "cgroup.procs").exists()]


def folders(lab: str, root: Path = ROOT) -> list[Path]:
    """The folders that are this lab's, whether they exist or not."""
    parents = [root] if pure_v2(root) else hierarchies(root)
    return [parent / f"halab-{lab}" for parent in parents]


def join(lab: str) -> None:
    """Make the lab's subtree and move the calling process into it."""
    if pure_v2():
        _enable(ROOT)
    for folder in folders(lab):
        make(folder)
        (folder / "cgroup.procs").write_text(str(os.getpid()))


def make(folder: Path) -> None:
    """Make a group that takes processes: a new v1 cpuset is empty, and takes none (cpuset(7))."""
    folder.mkdir(exist_ok=True)
    if folder.parent.name == "cpuset":
        for file in ("cpuset.cpus", "cpuset.mems"):
            (folder / file).write_text((folder.parent / file).read_text())


def own(lab: str) -> None:
    """Make the lab's subtree, joined before, the root of what this process and its children see.

    A v2 group with processes can't enable controllers for its children ("no internal processes"), so
    this process goes on in a leaf, before it has a child: later nobody inside could move it."""
    if _libc.unshare(_CLONE_NEWCGROUP):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if pure_v2():
        (folder,) = folders(lab)
        leaf = folder / "daemon"
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
        _enable(folder)


def remount() -> None:
    """Inside the lab host's mount and cgroup namespaces: make the subtree the whole tree.

    libvirt puts nodes into the group `machine`. Of two nodes that start at once, one makes it, and where it can't finish that
    because the other's group is in there already, it removes both (libvirt, vircgroup.c, virCgroupMakeGroup): it is made here."""
    v2, names = pure_v2(), [h.name for h in hierarchies()]
    _run("umount", "--recursive", "--lazy", str(ROOT))
    if v2:
        _run("mount", "-t", "cgroup2", "cgroup2", str(ROOT))
        return
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "cgroup", str(ROOT))
    for name in names:
        (ROOT / name).mkdir()
        options = "none,name=systemd" if name == "systemd" else name
        _run("mount", "-t", "cgroup", "-o", options, "cgroup", str(ROOT / name))
        if name != "systemd":
            make(ROOT / name / "machine")


def separate(folder: Path) -> None:
    """Inside the lab host, on v1: each node started from now on has its own tree in systemd's hierarchy.

    `folder` (private to the lab host) takes the launcher and what stands in for it."""
    if not (ROOT / "systemd" / "cgroup.procs").exists():
        return
    real, wrapper = folder / "libvirt_lxc.real", folder / "libvirt_lxc"
    real.touch()
    wrapper.write_text(OWN_GROUP.format(real=real))
    wrapper.chmod(0o755)
    _run("mount", "--bind", str(LAUNCHER), str(real))
    _run("mount", "--bind", str(wrapper), str(LAUNCHER))


def remove(lab: str) -> None:
    """Remove the folders that a dead lab host left, deepest first; by name, only this lab's.

    Raises OSError while processes are in them. A suspended node dies only when thawed."""
    paths = [Path(path) for folder in folders(lab) for path, _, _ in os.walk(folder, topdown=False)]
    for path in paths:
        _thaw(path)
    for path in paths:
        path.rmdir()


def _thaw(folder: Path) -> None:
    for file, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):  # v1, v2
        if (folder / file).exists():
            (folder / file).write_text(word)


def _enable(folder: Path) -> None:
    """One write a controller: a single write with an unavailable one fails as a whole."""
    available = (folder / "cgroup.controllers").read_text().split()
    for name in V2_CONTROLLERS:
        if name in available:
            (folder / "cgroup.subtree_control").write_text(f"+{name}")


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True)
