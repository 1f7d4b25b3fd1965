"""The fence device: fence_virtd of Debian on the lab host, which powers nodes off and on when a node with the key asks.

It listens on the bridge (multicast), takes orders from this lab's nodes about this lab's nodes only (`groups` in
fence_virt.conf(5)), and is a user of its own without any privilege. What it may ask of libvirt is `halab.gate`'s.
"""

from __future__ import annotations

import shlex
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from halab import idmap
from halab.template import render
from halab.wait import eventually

if TYPE_CHECKING:
    from halab.lab import Lab

#: In the lab host's own /run: it goes with the lab host.
FOLDER = "/run/halab/fence"
KEY, CONF, SOCKET, OTHER = (f"{FOLDER}/{name}" for name in ("fence_xvm.key", "fence_virt.conf", "libvirt-sock", "other.xml"))
#: User and group of the daemon: below the nodes' ids, and nobody's on the machine.
USER = idmap.BASE - 1
#: A machine of libvirt that is no node: to try what is refused. It never runs.
STRANGER = "stranger"
MACHINE = f"""<domain type='%s'><name>{STRANGER}</name><uuid>00000000-0000-4000-8000-000000000007</uuid><memory unit='MiB'>64</memory>
<os>%s</os><devices><console type='pty'/></devices></domain>"""
#: By the driver of libvirt: what such a machine is and what it boots, and virsh's way to a command in a node.
KINDS = {
    "lxc": ("lxc", "<type>exe</type><init>/bin/true</init>", "lxc-enter-namespace --noseclabel %s /bin/true"),
    "qemu": ("qemu", "<type>hvm</type>", """qemu-agent-command %s '{"execute": "guest-ping"}'"""),
}
#: The port that fence_xvm and fence_virtd agree on (fence_virt.conf(5)).
PORT = 1229
#: A handle is the process's id and when it started, in ticks (proc(5), field 22 of stat).
REMEMBER = "echo $$ $(cut -d ' ' -f 22 /proc/$$/stat) > %s; exec "
ALIVE = "read pid ticks < %s && test \"$(cut -d ' ' -f 22 /proc/$pid/stat)\" = $ticks"


class FenceDevice:
    """The daemon of one lab. `start` and `stop` are safe to repeat; `with device.unreachable(): …` does both."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.host = lab, lab.host

    def __repr__(self) -> str:
        return f"<fence device fence_virtd: {'running' if self.running else 'not running'}>"

    @property
    def stranger(self) -> str:
        """The XML of a machine called `STRANGER` that is no node, for this lab's libvirt."""
        kind, boots, _ = KINDS[self._driver]
        return MACHINE % (kind, boots)

    @property
    def _driver(self) -> str:
        return self.lab.engine.uri.partition(":")[0]

    @property
    def config(self) -> str:
        """Its fence_virt.conf(5)."""
        s = self.lab.settings
        scheme, rest = self.lab.engine.uri.split(":", 1)
        return render(
            "fence_virt.conf.j2", nodes=s.identities, bridge=s.bridge, key=KEY,
            uri=f"{scheme}+unix:{rest}?socket={SOCKET}", modules=f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}/fence-virt",
        )  # fmt: skip

    @property
    def running(self) -> bool:
        return self._alive("fence_virtd")

    def start(self, key: bytes | None = None) -> None:
        """Start the daemon, and wait until it listens; a new `key` replaces the one that it had."""
        if key is not None:
            self.stop()
            self._write(KEY, key)
        if self.running:
            return
        self._write(CONF, self.config.encode())
        if not self._alive("gate"):
            self.host.run("rm -f %s", SOCKET)  # an earlier gate's
            uuids = [identity.uuid for identity in self.lab.settings.identities]
            self._spawn("gate", sys.executable, "-m", "halab.gate", SOCKET, str(USER), self.lab.engine.uri, *uuids)
            eventually(lambda: self.host.run("test -S %s", SOCKET).ok, within="daemon", every=0.05, what="the gate before libvirt is open")
        user = (
            "setpriv",
            f"--reuid={USER}",
            f"--regid={USER}",
            "--clear-groups",
            "--no-new-privs",
            "--bounding-set=-all",
            "--inh-caps=-all",
        )
        daemon = ("env", "-i", f"HOME={FOLDER}", "/usr/sbin/fence_virtd", "-F", "-f", CONF, "-p", "/dev/null")  # we keep the handle
        self._spawn("fence_virtd", *user, *daemon)
        eventually(self._listens, within="daemon", every=0.05, what="fence_virtd listens on the bridge")

    def stop(self) -> None:
        """End the daemon: from now on the device can't be reached."""
        self._end("fence_virtd")

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """Nobody answers the nodes while the block runs: the device's cable is out."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def powers(self) -> dict[str, bool]:
        """What the daemon's user may do with what the daemon is connected to; the `STRANGER` is defined. Raises LabError when
        the daemon does not run."""
        uid = self.host.check_output(f"read pid ticks < {self._handle('fence_virtd')} && stat -c %u /proc/$pid").strip()
        uri = self.host.check_output("grep -o '[a-z]*[+:][^\"]*system[^\"]*' %s", CONF).strip()
        node, virsh = self.lab.nodes[0].name, f"setpriv --reuid={uid} --regid={uid} --clear-groups virsh --connect %s "
        self.host.check_output("cat > %s && chmod 644 %s", OTHER, OTHER, input=self.stranger.encode())
        asked = {
            "look at a node": self.host.run(virsh + "domstate %s", uri, node),
            "start another machine": self.host.run(virsh + "start %s", uri, STRANGER),
            "define a machine": self.host.run(virsh + "define %s", uri, OTHER),
            "run a shell in a node": self.host.run(virsh + KINDS[self._driver][2], uri, node),
        }
        return {"it is root": uid == "0", **{what: result.ok for what, result in asked.items()}}

    def remove(self) -> None:
        """End the daemon and its gate, and forget the key."""
        self._end("fence_virtd")
        self._end("gate")
        self.host.run("rm -rf %s", FOLDER)

    def _listens(self) -> bool:
        return self.running and bool(self.host.run(f"ss -Hlun 'sport = {PORT}'").stdout.strip())

    def _write(self, path: str, data: bytes) -> None:
        """A file of the daemon's own, which only it reads: it refuses another (0600)."""
        own = "mkdir -p %s; umask 077; cat > %s; chown %s %s"
        self.host.check_output(own, FOLDER, path, f"{USER}:{USER}", path, input=data)

    def _spawn(self, name: str, *argv: str) -> None:
        """Start it as an orphan, which the lab host's process 1 reaps, with its handle kept; its log is beside the lab's others."""
        line = REMEMBER % self._handle(name) + shlex.join(argv)
        self.host.check_output("setsid --fork sh -c %s < /dev/null >> %s 2>&1", line, self.host.folder / f"{name}.log")

    def _alive(self, name: str) -> bool:
        return self.host.run(ALIVE % self._handle(name)).ok

    def _end(self, name: str) -> None:
        if not self._alive(name):
            return
        self.host.run(f"{ALIVE % self._handle(name)} && kill -KILL $pid")
        eventually(lambda: not self._alive(name), within="daemon", every=0.02, what=f"{name} has ended")

    def _handle(self, name: str) -> str:
        return f"{FOLDER}/{name}.pid"
