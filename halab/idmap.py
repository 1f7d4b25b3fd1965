"""An idmapped mount: the image as the nodes' user namespace sees it, without a copy.

Root in a node is user 1000000 on the machine. The image belongs to root; this mount shifts its owners
by 1000000, so one image serves every node. Source: mount_setattr(2), open_tree(2), user_namespaces(7).
"""

import ctypes
import os
import subprocess
from pathlib import Path

#: The first id on the machine that a node's root maps to, and how many ids a node has.
BASE, COUNT = 1_000_000, 65_536

# x86-64 and the generic table (arm64, riscv) agree on these three numbers.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH, _MOUNT_ATTR_IDMAP = 1, 4, 0x100000


class _MountAttr(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: Path, target: Path) -> None:
    """Mount `source` on `target` with owners shifted by BASE. Raises OSError."""
    target.mkdir(parents=True, exist_ok=True)
    userns = _user_namespace()
    tree = _call(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), _OPEN_TREE_CLONE | os.O_CLOEXEC)
    try:
        attr = _MountAttr(_MOUNT_ATTR_IDMAP, 0, 0, userns)
        _call(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, ctypes.byref(attr), ctypes.sizeof(attr))
        _call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(tree)
        os.close(userns)


def _user_namespace() -> int:
    """A descriptor of a user namespace with the lab's mapping; the child that made it ends at once."""
    child = subprocess.Popen(["unshare", "--user", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin and child.stdout
    try:
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()  # cat answers: the namespace exists
        for file in ("uid_map", "gid_map"):
            Path(f"/proc/{child.pid}/{file}").write_text(f"0 {BASE} {COUNT}")
        return os.open(f"/proc/{child.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        child.stdin.close()
        child.wait()
        child.stdout.close()


def _call(number: int, *args: object) -> int:
    result = _libc.syscall(number, *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)
