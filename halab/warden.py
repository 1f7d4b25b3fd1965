"""The first processes of a lab host. Runs as root inside the lab host's namespaces.

    python -m halab.warden FOLDER hold: records itself, joins the lab's cgroups, becomes unshare(1)
    └── process 1 of the lab host: reaps, ends when the server ends
        └── server: mounts, libvirtd, the outside world, the package server, a socket

The socket (`FOLDER/warden.sock`) runs commands as root in the lab host, for root and for the user who
owns the lab, as the source's `#` prompt on the host does. Who may use it may do anything on the
machine; the same holds for libvirtd's socket. One JSON object a line each way:

    {"argv": […], "input": base64, "timeout": s}  ->  {"status": n, "stdout": text, "stderr": text}
"""

import base64
import json
import os
import re
import socket
import socketserver
import stat
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

import psutil

from halab import cgroups, idmap
from halab.command import run_here
from halab.errors import HalabError
from halab.host import NAMESPACES
from halab.settings import Settings
from halab.wait import eventually

#: Where this lab keeps what it has: the program's one argument.
FOLDER = Path(sys.argv[1]) if __name__ == "__main__" else Path()
#: Private to the lab host: two libvirtd that share one of these see each other's machines.
PRIVATE = ("/run", "/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt")
#: Engine -> libvirt's driver and the address under which it answers.
DRIVERS = {"lxc": ("lxc", "lxc:///system"), "vm": ("qemu", "qemu:///system")}
LIBVIRTD_CONF = """\
unix_sock_group = "{group}"
unix_sock_ro_perms = "0770"
unix_sock_rw_perms = "0770"
auth_unix_ro = "none"
auth_unix_rw = "none"
"""
#: QEMU runs as root in a node does, an unprivileged user of the machine; what belongs to it is given to it beforehand.
QEMU_CONF = f"""\
user = "+{idmap.BASE}"
group = "+{idmap.BASE}"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
"""


def main() -> None:
    match sys.argv[2:]:
        case ["hold", *lock]:
            hold(*map(int, lock))
        case ["libvirtd"]:  # `halab up` mends a lab host whose libvirtd is gone
            start_libvirtd()
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
    unshare = ("unshare", *(n for n in NAMESPACES if n != "--cgroup"), "--propagation", "private", "--fork", "--kill-child", "--mount-proc")
    os.execvp("unshare", [*unshare, sys.executable, "-m", "halab.warden", str(FOLDER)])


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
    about = json.loads((FOLDER / "host.json").read_text())
    settings = Settings(**about["settings"])
    _private_folders()
    if settings.engine == "vm":
        _kvm(about["accel"] == "kvm")
        _account("libvirt-qemu")
    _libvirtd(about["group"], settings.engine)
    _outside_world(settings)
    _spawn("packages", sys.executable, "-m", "http.server", "80", "-d", about["image"] + "/repo")
    if settings.engine == "lxc":
        idmap.mount(Path(about["image"]) / "rootfs", FOLDER / "lower")
    path = settings.socket
    path.unlink(missing_ok=True)
    with Server(str(path), Handler) as server:
        server.allowed = {0, about["uid"]}
        os.chmod(path, 0o666)  # the kernel tells us who connects; see Handler
        server.serve_forever()


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
            self.wfile.write(json.dumps(_answer(json.loads(line))).encode() + b"\n")


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


def _private_folders() -> None:
    cgroups.remount()
    for path in PRIVATE:
        Path(path).mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", "mode=755", "halab", path)
    for path in ("/run/lock", "/run/libvirt", "/run/halab", "/run/netns", "/var/lib/libvirt/dnsmasq"):
        Path(path).mkdir(parents=True, exist_ok=True)
    Path("/run/halab/lab").write_text(FOLDER.name)
    cgroups.separate(Path("/run/halab"))
    _run("ip", "link", "set", "lo", "up")


def _libvirtd(group: str, engine: str) -> None:
    etc = Path("/etc/libvirt")
    (etc / "libvirtd.conf").write_text(LIBVIRTD_CONF.format(group=group))
    (etc / "libvirt.conf").write_text(f'uri_default = "{DRIVERS[engine][1]}"\n')
    (etc / "qemu.conf").write_text(QEMU_CONF)
    (etc / "lxc.conf").write_text('security_driver = "none"\n')
    _spawn("virtlogd", "virtlogd")
    start_libvirtd()


def start_libvirtd() -> None:
    """Start libvirtd and wait until it answers."""
    # Only the driver that this lab uses: libvirtd ends when any one that it loads can't start.
    driver, uri = DRIVERS[json.loads((FOLDER / "host.json").read_text())["settings"]["engine"]]
    drivers = Path("/run/halab/drivers")
    drivers.mkdir(exist_ok=True)
    link = drivers / f"libvirt_driver_{driver}.so"
    if not link.is_symlink():
        link.symlink_to(f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}/libvirt/connection-driver/{link.name}")
    _spawn("libvirtd", "env", f"LIBVIRT_DRIVER_DIR={drivers}", "libvirtd")
    up = ("virsh", "--connect", uri, "version")
    eventually(lambda: run_here(*up, timeout=10).ok, within="daemon", every=0.02, what="libvirtd answers")


def _kvm(usable: bool) -> None:
    """The lab host's own /dev/kvm: one that QEMU may open, or an empty file. When libvirt could open it and QEMU
    could not, libvirt would probe QEMU anew at every start of a machine, for many seconds."""
    device, own = Path("/dev/kvm"), Path("/run/halab/kvm")
    if device.exists():
        os.mknod(own, 0o600 | (stat.S_IFCHR if usable else stat.S_IFREG), device.stat().st_rdev if usable else 0)
        os.chown(own, idmap.BASE, idmap.BASE) if usable else own.chmod(0)
        _run("mount", "--bind", str(own), str(device))


def _account(name: str) -> None:
    """A user and a group that the lab host alone knows: libvirt's QEMU driver looks its own up, whatever its
    configuration says, and Debian makes them with a package that also starts a libvirtd."""
    for kind, line in (("passwd", f"{name}:x:{idmap.BASE}:{idmap.BASE}::/:/usr/sbin/nologin"), ("group", f"{name}:x:{idmap.BASE}:")):
        theirs, own = Path("/etc") / kind, Path("/run/halab") / kind
        if not re.search(f"^{name}:", theirs.read_text(), re.M):
            own.write_text(f"{theirs.read_text().rstrip()}\n{line}\n")
            _run("mount", "--bind", str(own), str(theirs))


def _outside_world(settings: Settings) -> None:
    """A namespace that stands for the Internet: it has no route back to the nodes' network."""
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
    into = ("ip", "netns", "exec", "outside", sys.executable, "-m", "halab.outside")
    _spawn("outside", *into, str(settings.outside_address))


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True)


def _spawn(name: str, *argv: str) -> None:
    """Start a daemon of the lab host; its output goes to `NAME.log` beside the lab's other files.

    An orphan from the start, so that process 1 reaps it when it ends."""
    with (FOLDER / f"{name}.log").open("ab") as log:
        subprocess.run(["setsid", "--fork", *argv], check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


if __name__ == "__main__":
    main()
