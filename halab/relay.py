"""The way from the machine's browser to JupyterLab in the lab host.

`open_desk` starts `halab.desk` through the same door as `halab exec`, and passes the bytes of
127.0.0.1:PORT on to Jupyter's unix socket, both ways, until Jupyter ends or Ctrl-C.
"""

import asyncio
import os
import socket
import subprocess
import sys
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from halab.desk import LOG, OWN, PAGE, SOCKET
from halab.errors import HostDown, UsageError
from halab.lock import held
from halab.wait import eventually

PORT = 8888


def open_desk(
    folder: Path, edition: str, port: int | None, owner: tuple[int, int], line: Callable[[str], None], *, browser: bool = True
) -> int:
    """Start Jupyter in the lab host, say its address, and relay to it until it ends or Ctrl-C. Its exit code.

    `edition` is one of `halab.desk.EDITIONS`. Raises UsageError when `port` is taken; without one, 8888 or any free port is used."""
    with TemporaryDirectory(prefix="halab-", ignore_cleanup_errors=True) as sockets, _listen(port) as listener:
        os.chown(sockets, *owner)
        try:
            code = asyncio.run(_serve((str(folder), sockets, str(listener.getsockname()[1]), edition), listener, line, browser))
        except KeyboardInterrupt:
            code = 0
    if code not in (0, UsageError.exit_code):  # what was wrong with its use, it has said
        seen = f"it ended with status {code}; its log is {folder / OWN / LOG}"
        raise HostDown("JupyterLab runs until it is closed", seen, "halab status, then halab lab again")
    if code == 0:
        line("JupyterLab is closed; the lab goes on")
    return code


def _listen(port: int | None) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port or PORT))
    except OSError as error:
        if port:
            raise UsageError(f"port {port} of 127.0.0.1 is free", error, "another --port") from None
        return socket.create_server(("127.0.0.1", 0))


async def _serve(argv: tuple[str, ...], listener: socket.socket, line: Callable[[str], None], browser: bool) -> int:
    folder, sockets = Path(argv[0]), Path(argv[1])
    inner = (sys.executable, "-m", "halab.desk", *argv)
    # No terminal on its input: Jupyter would ask there whether Ctrl-C is meant.
    server = await asyncio.create_subprocess_exec(sys.executable, "-m", "halab", "exec", "--", *inner, stdin=asyncio.subprocess.DEVNULL)
    relay = await asyncio.start_server(partial(_client, sockets / SOCKET), sock=listener)
    opened = False
    try:
        if opened := await asyncio.to_thread(_opens, sockets, server):
            _tell((sockets / PAGE).read_text(), line, browser)
        return await server.wait()
    finally:
        relay.close()
        if server.returncode is None:
            _end(server)
            await server.wait()
        if opened:  # what ended may have been the door only; Jupyter holds its lock until it is gone itself
            gone = partial(eventually, lambda: not held(folder / OWN / "lock"), within="daemon", what="JupyterLab ends when asked")
            await asyncio.to_thread(gone)


def _end(server: asyncio.subprocess.Process) -> None:
    """Ask it to end; one that went through sudo is root's, and sudo passes on what root asks."""
    try:
        server.terminate()
    except PermissionError:
        subprocess.run(["sudo", "--non-interactive", "kill", "-TERM", str(server.pid)], check=False)


def _opens(sockets: Path, server: asyncio.subprocess.Process) -> bool:
    """Does Jupyter answer? False: it ended instead, and said why."""
    eventually(lambda: server.returncode is not None or _answers(sockets / SOCKET), within="boot", what="JupyterLab answers")
    return server.returncode is None


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as link:
        return link.connect_ex(str(path)) == 0


async def _client(path: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection of the browser: every byte goes through, both ways."""
    try:
        inner = await asyncio.open_unix_connection(str(path))
    except OSError:  # it is not there yet, or no more
        writer.close()
        return
    await asyncio.gather(_copy(reader, inner[1]), _copy(inner[0], writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


def _tell(page: str, line: Callable[[str], None], browser: bool) -> None:
    line(f"JupyterLab is open at\n    {page}")
    line("Ctrl-C here closes it; the lab goes on. `halab down` ends the lab.")
    if browser and os.geteuid() != 0 and {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        webbrowser.open(page)
