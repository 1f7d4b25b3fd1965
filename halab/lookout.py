"""Who holds an address: looks into the nodes' network namespaces many times a second, and tells.

    python lookout.py SECONDS ADDRESS NODE…

Runs as root in the lab host (`Host.talk`), without any other module of halab, and ends when its stdin does. It
prints a JSON line a look: `{"at": monotonic s, "seen": {node: true, false, or null for unknown}}`. A node is
entered for each look and left at once: who keeps a door to the namespace of a dead node keeps it alive,
and its address answering.
"""

import ctypes
import json
import os
import select
import socket
import struct
import sys
import time

CLONE_NEWNET = 0x40000000
#: rtnetlink(7): ask for all IPv4 addresses; NLM_F_REQUEST | NLM_F_DUMP.
RTM_NEWADDR, RTM_GETADDR, NLMSG_DONE, DUMP = 20, 22, 3, 0x301
IFA_LOCAL = 2
LIBC = ctypes.CDLL(None, use_errno=True)


def first_process(name: str) -> str | None:
    """The container's first process: the one child of libvirt's controller, whose number libvirt keeps in a file."""
    try:
        with open(f"/run/libvirt/lxc/{name}.pid") as file:
            controller = file.read().strip()
        with open(f"/proc/{controller}/task/{controller}/children") as file:
            return next(iter(file.read().split()), None)
    except FileNotFoundError:
        return None


def enter(space: int) -> None:
    if LIBC.setns(space, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def local_addresses(answer: bytes) -> tuple[set[str], bool]:
    """(the local IPv4 addresses in a part of a netlink answer, was it the last part)."""
    found: set[str] = set()
    at = 0
    while at < len(answer):
        length, kind = struct.unpack_from("=IH", answer, at)
        if kind == NLMSG_DONE:
            return found, True
        if kind == RTM_NEWADDR:
            attribute, end = at + 24, at + length  # nlmsghdr 16, ifaddrmsg 8
            while attribute < end:
                size, of = struct.unpack_from("=HH", answer, attribute)
                if of == IFA_LOCAL:
                    found.add(socket.inet_ntoa(answer[attribute + 4 : attribute + 8]))
                attribute += (size + 3) & ~3
        elif kind == 2:  # NLMSG_ERROR
            raise OSError("netlink")
        at += (length + 3) & ~3
    return found, False


def addresses() -> set[str]:
    """The IPv4 addresses of the network namespace that this process is in."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:
        link.settimeout(1)
        link.send(struct.pack("=IHHIIBBBBi", 24, RTM_GETADDR, DUMP, 1, 0, socket.AF_INET, 0, 0, 0, 0))
        every: set[str] = set()
        while True:
            found, last = local_addresses(link.recv(1 << 16))
            every |= found
            if last:
                return every


def look(name: str, address: str, home: int) -> bool | None:
    """Does the node hold the address? A node without a running kernel holds nothing; None: it cannot be seen."""
    first = first_process(name)
    if first is None:
        return False
    try:
        space = os.open(f"/proc/{first}/ns/net", os.O_RDONLY)
    except (FileNotFoundError, ProcessLookupError):  # it ends just now
        return False
    except OSError:
        return None
    try:
        enter(space)
        return address in addresses()
    except OSError:
        return None
    finally:
        enter(home)
        os.close(space)


def main() -> None:
    every, address, names = float(sys.argv[1]), sys.argv[2], sys.argv[3:]
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    while True:
        at = time.monotonic()
        print(json.dumps({"at": at, "seen": {name: look(name, address, home) for name in names}}), flush=True)
        if select.select([sys.stdin], [], [], max(0.0, at + every - time.monotonic()))[0]:
            return


if __name__ == "__main__":
    main()
