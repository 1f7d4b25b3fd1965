"""The first processes of a lab host. Runs as root inside the lab host's namespaces.

    python -m halab.warden FOLDER hold: records itself, joins the lab's cgroups, becomes unshare(1)
    └── process 1 of the lab host: reaps, ends when the server ends
        └── server: mounts, libvirtd, the outside world, the package server, a socket

The socket (`FOLDER/warden.sock`) runs commands as root in the lab host, for root and for the user who
owns the lab, as the source's `#` prompt on the host does. Who may use it may do anything on the
machine; the same holds for libvirtd's socket. One JSON object a line each way:

    {"argv": […], "input": base64, "timeout": s}  ->  {"status": n, "stdout": text, "stderr": text}
    {"argv": […], "talk": true}  ->  what the program prints; the connection is its stdin and stdout
"""

import base64
import json
import os
import socket
import socketserver
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from halab import cgroups, idmap
from halab.command import run_here
from halab.daemons import Daemons
from halab.errors import DeadlinePassed, HalabError
from halab.host import NAMESPACES
from halab.settings import Settings
from halab.wait import seconds

#: Where this lab keeps what it has: the program's one argument.
FOLDER = Path(sys.argv[1]) if __name__ == "__main__" else Path()
#: Private to the lab host: two libvirtd that share one of these see each other's machines.
PRIVATE = ("/run", "/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt")
#: With an uplink, the descriptor of the machine's own network, for the one program that speaks there.
MACHINE = 9


def main() -> None:
    match sys.argv[2:]:
        case ["hold", *lock]:
            hold(*map(int, lock))
        case ["mend"]:
            mend()
        case _:
            reap()


def hold(*lock: int) -> None:
    """Become the process that holds the namespaces; killed, it takes everything in them along."""
    me = psutil.Process()
    (FOLDER / "process.json").write_text(json.dumps({"pid": me.pid, "started": me.create_time()}))
    cgroups.join(FOLDER.name)
    cgroups.own(FOLDER.name)
    for descriptor in lock:
        os.close(descriptor)
    if _settings().uplink:
        os.dup2(os.open("/proc/self/ns/net", os.O_RDONLY), MACHINE)
    unshare = ["unshare", *(n for n in NAMESPACES if n != "--cgroup"), "--propagation", "private", "--fork", "--kill-child", "--mount-proc"]
    if _settings().machines:  # they are on this machine's network, which nobody in there may change
        unshare.remove("--net")
        unshare[:0] = ["setpriv", "--bounding-set=-net_admin"]
    elif _settings().host == "system":
        unshare.remove("--net")
    os.execvp(unshare[0], [*unshare, sys.executable, "-m", "halab.warden", str(FOLDER)])


def reap() -> None:
    """Be process 1."""
    server = os.fork()
    if not server:
        serve()
        return
    while True:  # process 1 inherits every orphan of the lab host; not reaped, libvirt waits for them
        pid, _ = os.wait()
        if pid == server:
            return


def serve() -> None:
    """Prepare the lab host, then answer on the socket for as long as it lives."""
    about, settings = _about(), _settings()
    if settings.machines:
        for options in ("bind", "remount,bind,ro"):
            _run("mount", "-o", options, "/proc/sys", "/proc/sys")
    elif settings.host == "system":
        _own_folder()
        Daemons(FOLDER, settings).packages(about["image"], settings.host_address)
    else:
        _private_folders(*(["/var/lib/openvswitch"] if settings.bridge_type == "openvswitch" else []))
        _populate(about, settings)
    path = settings.socket
    path.unlink(missing_ok=True)
    with Server(str(path), Handler) as server:
        server.allowed = {0, about["uid"]}
        os.chmod(path, 0o666)  # the kernel tells us who connects; see Handler
        server.serve_forever()


def _populate(about: dict, settings: Settings) -> None:
    """What nodes of our own need: libvirtd, a switch, the outside world, packages, and the image."""
    daemons = Daemons(FOLDER, settings)
    daemons.configure(about["group"], about.get("accel"))
    daemons.libvirtd()
    if settings.bridge_type == "openvswitch":
        daemons.openvswitch()
    _outside_world(settings, daemons)
    daemons.packages(about["image"])
    if settings.engine == "lxc":
        idmap.mount(Path(about["image"]) / "rootfs", FOLDER / "lower")


def _about() -> dict:
    return json.loads((FOLDER / "host.json").read_text())


def _settings() -> Settings:
    return Settings(**_about()["settings"])


def mend() -> None:
    """Start again those of the daemons that are gone: the nodes survive them."""
    from halab.probe import listens

    about, settings = _about(), _settings()
    daemons = Daemons(FOLDER, settings)
    if settings.host == "system":
        if not run_here("ss", "-Hltn", f"src {settings.host_address}:80", timeout=10).stdout:
            daemons.packages(about["image"], settings.host_address)
        return
    if not _well("virsh", "version"):
        daemons.libvirtd()
    if settings.bridge_type == "openvswitch" and not _well("ovs-appctl", "--timeout=5", "version"):
        daemons.openvswitch()
    if not listens("127.0.0.1", 80):
        daemons.packages(about["image"])
    if not all(listens(settings.outside_address, port) for port in (80, 53)):
        daemons.outside()


def _well(*argv: str) -> bool:
    """Does a daemon answer? One that takes longer than it may does not."""
    with suppress(DeadlinePassed):
        return run_here(*argv, timeout=seconds(10)).ok
    return False


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64
    allowed: set[int]


class Handler(socketserver.StreamRequestHandler):
    """One connection: requests until the client closes it."""

    server: Server

    def handle(self) -> None:
        credentials = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", credentials)
        if uid not in self.server.allowed:
            return
        for line in self.rfile:
            request = json.loads(line)
            if request.get("talk"):
                subprocess.run(request["argv"], stdin=self.connection, stdout=self.connection, start_new_session=True, check=False)
                return
            self.wfile.write(json.dumps(_answer(request)).encode() + b"\n")


def _answer(request: dict) -> dict:
    data = request.get("input")
    try:
        result = run_here(
            *request["argv"],
            timeout=request["timeout"],
            input=None if data is None else base64.b64decode(data),
            where="lab host",
        )
    except (HalabError, OSError) as error:
        return {"error": type(error).__name__, "message": str(error)}
    return {"status": result.status, "stdout": result.stdout, "stderr": result.stderr}


def _private_folders(*more: str) -> None:
    cgroups.remount()
    for path in (*PRIVATE, *more):
        Path(path).mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", "mode=755", "halab", path)
    for path in ("/run/lock", "/run/libvirt", "/run/halab", "/run/netns", "/var/lib/libvirt/dnsmasq"):
        Path(path).mkdir(parents=True, exist_ok=True)
    Path("/run/halab/lab").write_text(FOLDER.name)
    cgroups.separate(Path("/run/halab"))
    _run("ip", "link", "set", "lo", "up")


def _own_folder() -> None:
    """On this machine itself, with its own libvirtd: one folder in /run is the lab's, and goes with it."""
    Path("/run/halab").mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "halab", "/run/halab")
    Path("/run/halab/lab").write_text(FOLDER.name)


def _outside_world(settings: Settings, daemons: Daemons) -> None:
    """A namespace that stands for the Internet: it has no route back to the nodes' network. With an uplink it has a
    way to the real one, by a program that speaks for it as an ordinary user of the machine does (slirp4netns(1))."""
    commands = f"""
        ip netns add outside
        ip link add eth0 type veth peer name eth0 netns outside
        ip addr add {settings.uplink_address}/24 dev eth0
        ip link set eth0 up
        ip -n outside addr add {settings.outside_address}/24 dev eth0
        ip -n outside link set eth0 up
        ip -n outside link set lo up
        ip route add default via {settings.outside_address}
        sysctl -q -w net.ipv4.ip_forward=0
    """
    for line in filter(None, map(str.strip, commands.splitlines())):
        _run(*line.split())
    daemons.outside()
    if settings.uplink:
        daemons.uplink(MACHINE)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True)


if __name__ == "__main__":
    main()
