"""The student's desk: JupyterLab inside the lab host, as the lab's owner.

    python -m halab.desk FOLDER SOCKETS PORT student|solved

lays the chapters out in a folder of the student's own and becomes Jupyter's server, on a unix socket;
`halab.relay` starts it, and brings the machine's browser there. Server and kernels keep all that they
keep in `FOLDER/.jupyter`; nothing in the user's home has a say.
"""

import fcntl
import json
import os
import re
import secrets
import shutil
import sys
from pathlib import Path

import nbformat

from halab import chain, student
from halab.errors import HalabError, UsageError
from halab.lab import current
from halab.patience import DESK
from halab.settings import Settings
from halab.template import render
from halab.wait import seconds

#: Where Jupyter listens and what says the page's address, in the folder of sockets.
SOCKET, PAGE = "jupyter.sock", "page"
#: The server's and the kernels' own files, in the student's folder.
OWN, LOG = ".jupyter", "server.log"
#: The first page that a student sees.
WELCOME = "welcome.md"
#: Where JupyterLab keeps which tabs are open (jupyterlab_server names the file so).
WORKSPACE = "lab/workspaces/default-37a8.jupyterlab-workspace"
#: What is on the desk: chapters with exercises to do, or the complete ones.
EDITIONS = ("student", "solved")


def main() -> None:
    folder, sockets, port, edition = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    lab = current()
    own = folder / OWN
    own.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(24)
    base = f"http://127.0.0.1:{port}"
    page = f"{base}/lab?token={token}"
    _only_one(own / "lock", page)
    lay_out(lab.settings, folder, base, edition)
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


def lay_out(settings: Settings, folder: Path, base: str, edition: str) -> None:
    """The student's own copies of the chapters; one that is there is the student's and stays."""
    names = chain.possible(chain.chapters(), settings)
    for name in names:
        target = folder / f"{name}.ipynb"
        if not target.exists():
            complete = nbformat.read(chain.NOTEBOOKS / target.name, as_version=4)
            made = student.blank(complete, settings) if edition == "solved" else student.exercises(complete, name, settings)
            nbformat.write(made, target)
    for page in chain.NOTEBOOKS.glob("*.md"):
        shutil.copy(page, folder)
    facts = [about(name) for name in names]
    (folder / WELCOME).write_text(render("welcome.md.j2", chapters=facts, base=base, edition=edition))


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
    ends = ["setpriv", "--pdeathsig", "TERM"]  # with the server that started it
    live = {"command": [*ends, sys.executable, "-m", "halab.live", "{unix_socket}"], "unix_socket": True, "timeout": seconds(30)}
    tile = {"icon_path": icon}
    server = {
        "IdentityProvider": {"cookie_name": f"halab-{settings.name}"},
        "ServerApp": {"allow_root": True, "answer_yes": True, "open_browser": False, "root_dir": str(own.parent), "sock_mode": "0600",
                      "terminado_settings": {"shell_command": ["/bin/bash", "-i"]}},  # a login shell would forget where halab is
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
    # A cell with %%node may be the first that somebody runs.
    magics = {"InteractiveShellApp": {"exec_lines": ["import halab.magics; halab.magics.register(get_ipython())"]}}
    files = {
        "jupyter_server_config.json": server, "labconfig/default_setting_overrides.json": look,
        "labconfig/page_config.json": {"disabledExtensions": {"@jupyter/nbgrader": True}},  # a teacher's tools, where installed
        "ipython/profile_default/ipython_config.json": magics,
    }  # fmt: skip
    for path, text in files.items():
        (own / path).parent.mkdir(parents=True, exist_ok=True)
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
