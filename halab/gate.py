"""A gate before libvirt: whoever comes through it sees what is on and off, and can power some domains off and on. Nothing else.

    python -m halab.gate SOCKET UID URI UUID…       runs as root in the lab host

libvirt has no such credential: whoever may write to its socket may do everything, unless polkit is at hand. So the fence
daemon does not reach that socket. It reaches this one, which belongs to its user, and every call is looked at before
libvirtd gets it. A call is a length, a header and XDR arguments (libvirt's documentation, "RPC infrastructure"; the
numbers are those of its src/remote/remote_protocol.x, which never change). libvirtd's answers pass as they are.
"""

import os
import signal
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import NamedTuple
from uuid import UUID

import libvirt
import psutil

LIBVIRTD = "/run/libvirt/libvirt-sock"
PROGRAM, VERSION, KEEPALIVE = 0x20008086, 1, 0x6B656570
CALL, REPLY, PING = 0, 1, 3  # PING: a message that wants no answer
ERROR = 1
OPEN = 1
#: About the connection: no domain is named.
ABOUT_ITSELF = {
    2: "close",
    3: "get type",
    60: "supports feature",
    66: "auth list",
    110: "get URI",
    360: "tell me when it closes",
    361: "don't",
}
#: Names, and on or off, of all domains (one that it may not look at ends its list); it shows a caller those of the caller's group.
LISTS = {51: "number of domains", 273: "list all domains", 16: "info", 212: "state", 23: "look up by name", 24: "look up by UUID"}
#: Each names its domain first: name, UUID, id.
POWER = {9: "create", 12: "destroy", 14: "XML", 196: "create with flags", 234: "destroy with flags"}
DESTROY = (12, 234)
#: libvirt's "operation denied", by its access control, an error (libvirt/virterror.h).
REFUSED = (libvirt.VIR_ERR_OPERATION_DENIED, libvirt.VIR_FROM_ACCESS, libvirt.VIR_ERR_ERROR)
#: The longest message of the protocol, bytes.
LONGEST = 32 * 1024 * 1024


class Message(NamedTuple):
    program: int
    version: int
    procedure: int
    kind: int
    serial: int
    status: int
    body: bytes

    @classmethod
    def parse(cls, data: bytes) -> "Message":
        """From what follows the length. Raises struct.error when it is shorter than a header."""
        return cls._make([*struct.unpack(">IIiiIi", data[:24]), data[24:]])


def allowed(message: Message, uri: str, uuids: set[UUID]) -> bool:
    """May libvirtd get this message?"""
    if message.program == KEEPALIVE:
        return True
    if (message.program, message.version, message.kind) != (PROGRAM, VERSION, CALL):
        return False
    try:
        return _allowed(message.procedure, message.body, uri, uuids)
    except (struct.error, ValueError, IndexError):
        return False


def _allowed(procedure: int, body: bytes, uri: str, uuids: set[UUID]) -> bool:
    if procedure in ABOUT_ITSELF or procedure in LISTS:
        return True
    if procedure == OPEN:
        present, rest = struct.unpack(">I", body[:4])[0], body[4:]
        return bool(present) and _string(rest)[0] == uri.encode()
    return procedure in POWER and _domain(body) in uuids


def _domain(body: bytes) -> UUID:
    """The domain that is named first: its name, its UUID."""
    _, rest = _string(body)
    return UUID(bytes=rest[:16])


def _string(data: bytes) -> tuple[bytes, bytes]:
    """A string of XDR (RFC 4506, 4.11), and what follows it."""
    (length,) = struct.unpack(">I", data[:4])
    return data[4 : 4 + length], data[4 + (length + 3) // 4 * 4 :]


def still(uri: str, uuid: UUID) -> None:
    """Stop what runs in a container, before libvirt ends it.

    Its LXC driver asks all processes to end (SIGTERM), and kills them 1.6 s later (src/util/vircgroup.c, "painfully"). Where
    power is cut nobody is asked: pacemaker would tell the others that its node shuts down, and the one that comes back after
    the fencing was then shut down by the DC. Who is stopped hears nothing but SIGKILL (signal(7))."""
    with closing(libvirt.open(uri)) as connection, suppress(libvirt.libvirtError, psutil.NoSuchProcess):
        if (pid := connection.lookupByUUID(uuid.bytes).ID()) < 0:  # it is off
            return
        controller = psutil.Process(pid)
        for _ in range(2):  # the second time for those that were born meanwhile
            for process in controller.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGSTOP)


def refusal(message: Message) -> bytes:
    """The answer that a client takes for libvirt's own "operation denied" (struct remote_error)."""
    text = b"halab.gate: a fence device may look, power off and power on, and only this lab's nodes"
    said = struct.pack(">I", len(text)) + text + b"\0" * (-len(text) % 4)
    code, domain, level = REFUSED
    body = struct.pack(">iiI", code, domain, 1) + said + struct.pack(">iIIIIiiI", level, 0, 0, 0, 0, 0, 0, 0)
    header = struct.pack(">IIiiIi", message.program, message.version, message.procedure, REPLY, message.serial, ERROR)
    return framed(header + body)


def framed(data: bytes) -> bytes:
    return struct.pack(">I", len(data) + 4) + data


def messages(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Each message without its length, until the stream ends or what comes is no message."""
    while len(head := read(4)) == 4:
        length = struct.unpack(">I", head)[0] - 4
        if not 24 <= length <= LONGEST or len(data := read(length)) < length:
            return
        yield data


class Handler(socketserver.StreamRequestHandler):
    """One client: its calls are looked at, libvirtd's answers are passed on."""

    server: "Gate"

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as libvirtd:
            libvirtd.connect(LIBVIRTD)
            writing = threading.Lock()
            threading.Thread(target=self._answers, args=(libvirtd, writing), daemon=True).start()
            for data in messages(self.rfile.read):
                message = Message.parse(data)
                if allowed(message, self.server.uri, self.server.uuids):
                    if message.procedure in DESTROY and self.server.uri.startswith("lxc"):
                        still(self.server.uri, _domain(message.body))
                    libvirtd.sendall(framed(data))
                else:
                    print(f"refused: procedure {message.procedure} of program {message.program:#x}", flush=True)
                    with writing:
                        self.wfile.write(refusal(message))
            libvirtd.shutdown(socket.SHUT_RDWR)

    def _answers(self, libvirtd: socket.socket, writing: threading.Lock) -> None:
        try:
            for data in messages(libvirtd.makefile("rb").read):
                with writing:
                    self.wfile.write(framed(data))
        finally:
            self.connection.shutdown(socket.SHUT_RDWR)


class Gate(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    uri: str
    uuids: set[UUID]


def main() -> None:
    path, uid, uri, *uuids = sys.argv[1:]
    os.umask(0o177)
    with Gate(path, Handler) as gate:
        gate.uri, gate.uuids = uri, {UUID(text) for text in uuids}
        os.chown(path, int(uid), int(uid))
        gate.serve_forever()


if __name__ == "__main__":
    main()
