"""Faults of what is on a node's disk, as `halab.faults` has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from halab.repair import APACHE, BEFORE, CIB, CONF, FULL, WRITTEN, mended, write_again

if TYPE_CHECKING:
    from halab.node import Node
#: A copy of a folder in a file system of its own, with a little room, put over it and filled to the last block.
#: (Moved there it cannot be: where systemd is the machine's own, all is shared, mount(8), "The move operation".)
FILL = """set -e; dir=%s; size=$(du -sk $dir | cut -f1); tmp=$(mktemp -d)
mount -t tmpfs -o size=$((size + 512))k %s $tmp; cp -a $dir/. $tmp; mount --bind $tmp $dir; umount $tmp; rmdir $tmp
dd if=/dev/zero of=$dir/full bs=4k status=none || true"""


@contextmanager
def disk_full(node: Node) -> Iterator[None]:
    """Nothing can be written any more where corosync, pacemaker and the logs write.

    Small full file systems with the same content are mounted there: the node's own disk is the machine's."""
    with mended(node):
        for folder in WRITTEN:
            node.check_output(FILL, folder, FULL)
        yield


@contextmanager
def conf_damaged(node: Node) -> Iterator[None]:
    """corosync.conf is cut off in its middle. Nobody notices before corosync reads it again."""
    with mended(node):
        node.check_output("cp -p %s %s && truncate -s $(($(stat -c %%s %s) / 2)) %s", CONF, CONF + BEFORE, CONF, CONF)
        yield


@contextmanager
def apache_damaged(node: Node) -> Iterator[None]:
    """Apache's configuration file is gone. Nobody notices before Apache starts there."""
    with mended(node):
        node.check_output("mv %s %s", APACHE, APACHE + BEFORE)
        yield


@contextmanager
def cib_damaged(node: Node) -> Iterator[None]:
    """The CIB on this node's disk is cut off in its middle. Nobody notices before pacemaker reads or writes it again.

    Afterwards the node fetches it from the others: pacemaker is restarted there, and its resources move."""
    try:
        with mended(node):
            node.check_output("truncate -s $(($(stat -c %%s %s) / 2)) %s", CIB, CIB)
            yield
    finally:
        write_again(node)
