"""The student's desk: JupyterLab inside the lab host, and a relay by which the machine's browser reaches it.

Two processes. Outside, `open_desk` starts the other one through the same door as `halab exec`, and passes
the bytes of 127.0.0.1:PORT on to a unix socket. Inside, as the lab's owner,

    python -m halab.desk FOLDER SOCKETS PORT

lays the chapters out in a folder of the student's own and becomes Jupyter's server, on that socket. Server
and kernels keep all that they keep in `FOLDER/.jupyter`; nothing in the user's home has a say.
"""

import asyncio
import fcntl
import json
import os
import re
import secrets
import socket
import sys
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat

from halab import chain
from halab.errors import HalabError, HostDown, UsageError
from halab.lab import current
from halab.lock import held
from halab.patience import DESK
from halab.settings import Settings
from halab.template import render
from halab.wait import eventually, seconds

#: Where Jupyter listens and what says the page's address, in the folder of sockets.
SOCKET, PAGE = "jupyter.sock", "page"
#: The server's and the kernels' own files, in the student's folder.
OWN, LOG = ".jupyter", "server.log"
PORT = 8888
#: The first page that a student sees.
WELCOME = "welcome.md"
#: Where JupyterLab keeps which tabs are open (jupyterlab_server names the file so).
WORKSPACE = "lab/workspaces/default-37a8.jupyterlab-workspace"


# -- outside ----------------------------------------------------------------------------------------------


def open_desk(folder: Path, port: int | None, owner: tuple[int, int], line: Callable[[str], None], *, browser: bool = True) -> int:
    """Start Jupyter in the lab host, say its address, and relay to it until it ends or Ctrl-C. Its exit code.

    Raises UsageError when `port` is taken; without one, 8888 or any free port is used."""
    with TemporaryDirectory(prefix="halab-", ignore_cleanup_errors=True) as sockets, _listen(port) as listener:
        os.chown(sockets, *owner)
        try:
            code = asyncio.run(_serve(folder, Path(sockets), listener, line, browser))
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


async def _serve(folder: Path, sockets: Path, listener: socket.socket, line: Callable[[str], None], browser: bool) -> int:
    inner = (sys.executable, "-m", "halab.desk", str(folder), str(sockets), str(listener.getsockname()[1]))
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
            server.terminate()
            await server.wait()
        if opened:  # what ended may have been the door only; Jupyter holds its lock until it is gone itself
            gone = partial(eventually, lambda: not held(folder / OWN / "lock"), within="daemon", what="JupyterLab ends when asked")
            await asyncio.to_thread(gone)


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


# -- inside -----------------------------------------------------------------------------------------------


def main() -> None:
    folder, sockets, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    lab = current()
    own = folder / OWN
    own.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(24)
    base = f"http://127.0.0.1:{port}"
    page = f"{base}/lab?token={token}"
    _only_one(own / "lock", page)
    lay_out(lab.settings, folder, base)
    configure(lab.settings, own)
    arrange(own / WORKSPACE, base)
    (sockets / PAGE).write_text(page)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON"))}
    env |= {
        "JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_CONFIG_DIR": str(own), "JUPYTER_DATA_DIR": str(own / "data"),
        "JUPYTER_RUNTIME_DIR": str(sockets), "IPYTHONDIR": str(own / "ipython"), "JUPYTER_TOKEN": token, DESK: "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    os.chdir(folder)
    log = os.open(own / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1), os.dup2(log, 2)
    os.execve(sys.executable, [sys.executable, "-m", "jupyterlab", f"--ServerApp.sock={sockets / SOCKET}"], env)


def _only_one(path: Path, page: str) -> None:
    """Hold a lock until Jupyter, which this process becomes, ends. Raises UsageError with the page of the one that holds it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        there = f"it is open at\n    {os.read(file, 1000).decode()}"
        raise UsageError("one JupyterLab in a folder", there, "go on there, or end it: Ctrl-C where it was started") from None
    os.truncate(file, 0)
    os.write(file, page.encode())
    os.set_inheritable(file, True)


def lay_out(settings: Settings, folder: Path, base: str) -> None:
    """The student's own copies of the chapters, without outputs; one that is there is the student's and stays."""
    for name in chain.chapters():
        target = folder / f"{name}.ipynb"
        if not target.exists():
            nbformat.write(fresh(settings, nbformat.read(chain.NOTEBOOKS / target.name, as_version=4)), target)
    facts = [about(name) for name in chain.chapters()]
    (folder / WELCOME).write_text(render("welcome.md.j2", chapters=facts, base=base, virtual_ip=settings.virtual_ip))


def fresh(settings: Settings, notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A chapter as a student begins it: nothing executed, its parameters those of this lab."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = f'lab_name = "{settings.name}"\nengine = "{settings.engine}"\nnodes = {settings.nodes}'
    return notebook


def about(name: str) -> dict[str, str]:
    """A chapter's title, goal and needs, from its first cell."""
    first = nbformat.read(chain.NOTEBOOKS / f"{name}.ipynb", as_version=4).cells[0].source
    parts = {part.split(".**")[0]: part.split(".**", 1)[1].strip().split("\n")[0] for part in first.split("\n**")[1:] if ".**" in part}
    return {
        "name": name,
        "title": first.splitlines()[0].lstrip("# "),
        "goal": parts.get("Goal", ""),
        "needs": parts.get("What you need", ""),
    }


def configure(settings: Settings, own: Path) -> None:
    """Jupyter's configuration, written anew at each start."""
    icon = str(Path(__file__).parent / "templates" / "live.svg")
    live = {"command": [sys.executable, "-m", "halab.live", "{unix_socket}"], "unix_socket": True, "timeout": seconds(30)}
    tile = {"icon_path": icon}
    server = {
        "IdentityProvider": {"cookie_name": f"halab-{settings.name}"},
        "ServerApp": {"allow_root": True, "answer_yes": True, "open_browser": False, "root_dir": str(own.parent), "sock_mode": "0600"},
        "LabApp": {"extension_manager": "readonly", "default_url": "/lab"},
        # No port even in the lab host: whoever could reach one may do what the student may do.
        "KernelManager": {"transport": "ipc"},
        "ServerProxy": {
            "host_allowlist": [],  # what a browser may see of the lab, `halab.live` shows
            "servers": {
                "cluster": {**live, "new_browser_tab": False, "launcher_entry": {**tile, "title": "Live cluster"}},
                "page": {
                    "unix_socket": "/nonexistent", "new_browser_tab": False,
                    "launcher_entry": {**tile, "title": "The virtual IP", "path_info": "cluster/page/"},
                },
            },
        },
    }  # fmt: skip
    look = {
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
        "@jupyterlab/notebook-extension:tracker": {"autoStartDefaultKernel": True},
        "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Markdown Preview"}},
    }
    for path, text in {"jupyter_server_config.json": server, "labconfig/default_setting_overrides.json": look}.items():
        (own / path).parent.mkdir(exist_ok=True)
        (own / path).write_text(json.dumps(text, indent=1))


def arrange(path: Path, base: str) -> None:
    """The first time, this page and the live picture side by side; later the student's own arrangement, at today's port."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text() if path.exists() else (Path(__file__).parent / "templates" / "workspace.json").read_text()
    path.write_text(re.sub(r"http://127\.0\.0\.1:\d+", base, text))


if __name__ == "__main__":
    try:
        main()
    except HalabError as error:
        print(f"halab: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
