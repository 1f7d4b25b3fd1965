"""SSH to a node: one kept connection, total deadlines, output of any size on both streams."""

import io
import logging
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import paramiko

from halab.command import Result
from halab.errors import DeadlinePassed, HostKeyRefused, Unreachable, UsageError
from halab.settings import Identity
from halab.wait import seconds

# What paramiko logs of a connection that died would land on stderr, which costs points in a graded notebook cell.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

#: While a node boots or dies, any of these means "no answer".
NO_ANSWER = (OSError, EOFError, paramiko.SSHException)
CHUNK = 1 << 16
#: The program behind sshd's subsystem of that name, for who becomes root by sudo (openssh-sftp-server's in Debian).
SFTP = "/usr/lib/openssh/sftp-server"
#: What gives a node back the key that the lab knows.
FRESH = "halab down, then halab up"
#: Seconds in which a node that lives answers a connection, or the opening of a channel on one.
PROMPT = 5.0
#: A node without power tells nobody. Its silence ends a connection after 8 s (tcp(7)); a kernel that
#: lives acknowledges, however busy its programs are. Without NODELAY each command waits 40 ms for the
#: acknowledgement of its last small packet (RFC 896 against RFC 1122, 4.2.3.2).
OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 8000),
)


class Ssh:
    """The connection to one node. Host keys are known in advance; an unknown one is refused."""

    def __init__(self, node: Identity, key: Path, known_hosts: Path) -> None:
        self.node, self.key, self.known_hosts = node, key, known_hosts
        self.user = node.machine.user if node.machine else "root"
        self.root = "" if self.user == "root" else "sudo --non-interactive "
        self._client: paramiko.SSHClient | None = None

    def connect(self, timeout: float) -> paramiko.Transport:
        """The live transport. Raises Unreachable, HostKeyRefused."""
        transport = self._client.get_transport() if self._client else None
        if transport and transport.is_active():
            return transport
        self.close()
        client = paramiko.SSHClient()
        client.load_host_keys(str(self.known_hosts))
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            client.connect(
                str(self.node.address), username=self.user, pkey=self._own_key(), sock=self._link(timeout),
                timeout=timeout, banner_timeout=timeout, auth_timeout=timeout, look_for_keys=False, allow_agent=False,
            )  # fmt: skip
        except paramiko.BadHostKeyException as error:
            client.close()
            raise HostKeyRefused(f"{self.node.name} shows its own host key", error, self._cure("`host_key`", FRESH)) from None
        except paramiko.AuthenticationException as error:
            client.close()
            cure = self._cure("`user` and `key`", FRESH)
            raise Unreachable(f"{self.node.name} lets {self.user} in with {self.key}", error, cure) from None
        except NO_ANSWER as error:
            client.close()
            if "not found in known_hosts" in str(error):
                raise HostKeyRefused(f"{self.node.name}'s host key is known", error, self._cure("`host_key`", FRESH)) from None
            raise Unreachable(f"{self.node.name} answers SSH", error or type(error).__name__, "halab status") from None
        self._client = client
        transport = client.get_transport()
        assert transport
        return transport

    def _own_key(self) -> paramiko.PKey:
        try:
            return paramiko.PKey.from_path(self.key)
        except (ValueError, TypeError) as error:
            raise UsageError(f"{self.key} is a private key without a passphrase", error, "ssh-keygen(1)") from None
        except OSError as error:
            if not self.node.machine:  # the lab's own keys go when the lab goes
                raise
            raise UsageError(f"{self.key} is a private key", error.strerror, self._cure("`key`", "")) from None

    def _cure(self, setting: str, otherwise: str) -> str:
        """What gives the node back a connection: for a machine of an inventory, what stands there."""
        return f"{setting} of the machine {self.node.address} in halab.toml" if self.node.machine else otherwise

    def _link(self, timeout: float) -> socket.socket:
        link = socket.create_connection((str(self.node.address), 22), timeout)
        for option in OPTIONS:
            link.setsockopt(*option)
        return link

    def run(self, command: str, timeout: float, input: bytes | None = None) -> Result:
        """Run a shell command as root. The deadline is total: connection, command and output.

        Raises Unreachable, HostKeyRefused, DeadlinePassed (the command is ended on the node too)."""
        deadline = time.monotonic() + timeout
        with self._answering(f"runs `{command}`"):
            channel = self._channel(deadline)
            guard = Timer(deadline - time.monotonic(), channel.close)  # paramiko waits for exec's answer for ever
            guard.start()
            try:
                # `timeout` on the node ends what outlives us; a shell around it turns a signal into 128 + n.
                channel.exec_command(f"{self.root}timeout -k 1 {timeout:.3f} bash -c {_single(command)}; exit $?")
            except NO_ANSWER:
                if time.monotonic() < deadline:
                    raise
                raise self._late(command, timeout) from None
            finally:
                guard.cancel()
            return self._collect(channel, command, deadline, timeout, input)

    def put(self, data: bytes, path: str, mode: int) -> None:
        """Write a file, whole or not at all (written beside and renamed). Raises Unreachable, OSError."""
        part = f"{path}.halab"
        with self._sftp(f"takes {path}") as sftp:
            sftp.open(part, "w").close()
            sftp.chmod(part, 0o600)
            try:
                sftp.putfo(io.BytesIO(data), part)
                sftp.chmod(part, mode)
                sftp.posix_rename(part, path)
            except OSError:
                sftp.remove(part)
                raise

    def get(self, path: str) -> bytes:
        """Read a file. Raises FileNotFoundError, Unreachable."""
        with self._sftp(f"gives {path}") as sftp, sftp.open(path) as file:
            return file.read()

    def close(self) -> None:
        if self._client:
            self._client.close()
            self._client = None

    @contextmanager
    def _answering(self, what: str) -> Iterator[None]:
        """Turns a connection that fails into Unreachable."""
        try:
            yield
        except NO_ANSWER as error:
            self.close()
            raise Unreachable(f"{self.node.name} {what}", str(error) or type(error).__name__, "halab status") from None

    @contextmanager
    def _sftp(self, what: str) -> Iterator[paramiko.SFTPClient]:
        with self._answering(what):
            channel = self._channel(time.monotonic() + seconds(PROMPT))
            channel.settimeout(seconds(PROMPT))
            channel.exec_command(f"{self.root}{SFTP}") if self.root else channel.invoke_subsystem("sftp")
            sftp = paramiko.SFTPClient(channel)
        try:
            yield sftp
        except (TimeoutError, EOFError, paramiko.SSHException) as error:  # any other OSError is the file's
            self.close()
            raise Unreachable(f"{self.node.name} {what}", str(error) or type(error).__name__, "halab status") from None
        finally:
            channel.close()

    def _channel(self, deadline: float) -> paramiko.Channel:
        """A new channel. A kept connection may be stale (the node lost power since): then a new one."""
        kept = self._client is not None

        def prompt() -> float:
            return max(min(deadline - time.monotonic(), seconds(PROMPT)), 0.1)

        try:
            return self.connect(prompt()).open_session(timeout=prompt())
        except NO_ANSWER:
            self.close()
            if not kept:
                raise
        return self.connect(prompt()).open_session(timeout=prompt())

    def _late(self, command: str, timeout: float) -> DeadlinePassed:
        return DeadlinePassed(f"{self.node.name}: `{command}` within {timeout:g} s", "still running")

    def _collect(self, channel: paramiko.Channel, command: str, deadline: float, timeout: float, input: bytes | None) -> Result:
        """Both streams share one window: read each as it comes, or a full one stops the other."""
        channel.settimeout(timeout)
        pending, streams = memoryview(input or b""), (bytearray(), bytearray())
        while channel.recv_ready() or channel.recv_stderr_ready() or not (channel.closed or _ended(channel)):
            left = deadline - time.monotonic()
            if left <= 0:
                channel.close()
                raise self._late(command, timeout)
            if pending and channel.send_ready():
                pending = pending[channel.send(bytes(pending[:CHUNK])) :]
            if input is not None and not pending:  # all is sent: the command waits for the end of its input
                channel.shutdown_write()
                input = None
            select.select([channel], [], [], 0.01 if pending else min(left, 0.5))
            if channel.recv_ready():
                streams[0].extend(channel.recv(CHUNK))
            if channel.recv_stderr_ready():
                streams[1].extend(channel.recv_stderr(CHUNK))
        out, err = (bytes(s).decode(errors="replace") for s in streams)
        status = channel.recv_exit_status()
        channel.close()
        if status in (124, 137) and time.monotonic() >= deadline - 0.1:
            raise self._late(command, timeout)
        if status == -1:
            raise EOFError("connection lost")
        return Result(self.node.name, command, status, out, err)


def _ended(channel: paramiko.Channel) -> bool:
    return bool(channel.eof_received and channel.exit_status_ready())


def _single(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
