"""The daemons of a lab host: libvirt's with the driver of the lab's engine, and Open vSwitch's where a lab has it.

Called by `halab.warden`, as root inside the lab host. None of them is one of the machine's: their
configuration and sockets lie in folders that are private to the lab host.
"""

import os
import re
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

from halab import idmap
from halab.command import run_here
from halab.errors import DeadlinePassed
from halab.settings import Settings
from halab.wait import eventually, seconds

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
#: What answers names for slirp4netns(1), and the translation on the way there.
RESOLVER = "10.0.2.3"
UPLINK_RULES = """
table ip uplink {
  chain postrouting {
    type nat hook postrouting priority srcnat
    oifname "uplink" masquerade
  }
}
"""
#: In the network that stands for the outside world (ip-netns(8)).
OUTSIDE = ("ip", "netns", "exec", "outside")
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"


class Daemons:
    """Those of one lab; their logs are in its folder."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings

    def configure(self, group: str, accel: str | None) -> None:
        """Once, before the first start: `group` may talk to libvirt, `accel` is what machines run with."""
        driver, uri = DRIVERS[self.settings.engine]
        etc = Path("/etc/libvirt")
        (etc / "libvirtd.conf").write_text(LIBVIRTD_CONF.format(group=group))
        (etc / "libvirt.conf").write_text(f'uri_default = "{uri}"\n')
        (etc / "qemu.conf").write_text(QEMU_CONF)
        (etc / "lxc.conf").write_text('security_driver = "none"\n')
        if driver == "qemu":
            _kvm(accel == "kvm")
            _account("libvirt-qemu")
        self.spawn("virtlogd", "virtlogd")

    def libvirtd(self) -> None:
        """Start it, and wait until it answers."""
        # Only the driver that this lab uses: libvirtd ends when any one that it loads can't start.
        driver, uri = DRIVERS[self.settings.engine]
        drivers = Path("/run/halab/drivers")
        drivers.mkdir(exist_ok=True)
        link = drivers / f"libvirt_driver_{driver}.so"
        if not link.is_symlink():
            link.symlink_to(f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}/libvirt/connection-driver/{link.name}")
        self.spawn("libvirtd", "env", f"LIBVIRT_DRIVER_DIR={drivers}", "libvirtd")
        self._until("libvirtd answers", "virsh", "--connect", uri, "version")

    def openvswitch(self) -> None:
        """Start its two daemons, and wait until they answer; what is in its database stays (ovsdb-server(1))."""
        database = Path("/var/lib/openvswitch/conf.db")
        Path("/run/openvswitch").mkdir(exist_ok=True)
        if not database.exists():
            subprocess.run(["ovsdb-tool", "create", str(database), SCHEMA], check=True)
        self.spawn("ovsdb", "ovsdb-server", "--remote=punix:/run/openvswitch/db.sock", "--pidfile", str(database))
        self._until("Open vSwitch's database answers", "ovs-vsctl", "--no-wait", "init")
        # Checksums that a sender leaves to its network card are this switch's to compute where it is the card.
        subprocess.run(["ovs-vsctl", "--no-wait", "set", "Open_vSwitch", ".", "other_config:userspace-tso-enable=true"], check=True)
        self.spawn("vswitchd", "ovs-vswitchd", "--pidfile")
        self._until("Open vSwitch answers", "ovs-appctl", "version")

    def outside(self) -> None:
        """The server that stands for the outside world."""
        options = [str(self.settings.outside_address), *([RESOLVER] if self.settings.uplink else [])]
        self.spawn("outside", *OUTSIDE, sys.executable, "-m", "halab.outside", *options)

    def packages(self, image: str, address: object = "0.0.0.0") -> None:
        """The repository of an image, on the bridge: the lab host's, or one of that address, which need not be there yet."""
        self.spawn("packages", sys.executable, "-m", "halab.packages", str(address), f"{image}/repo")

    def uplink(self, machine: int) -> None:
        """A way out for the outside world, through a program in the machine's own network (of that descriptor)."""
        subprocess.run([*OUTSIDE, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1"], check=True)
        subprocess.run([*OUTSIDE, "nft", "-f", "-"], input=UPLINK_RULES, text=True, check=True)
        slirp = "slirp4netns", "--configure", "--disable-host-loopback", "--netns-type=path", "/run/netns/outside", "uplink"
        self.spawn("uplink", "nsenter", f"--net=/proc/self/fd/{machine}", *slirp, inherits=(machine,))

    def spawn(self, name: str, *argv: str, inherits: tuple[int, ...] = ()) -> None:
        """Start a daemon of the lab host; its output goes to `NAME.log` beside the lab's other files.

        An orphan from the start, so that process 1 reaps it when it ends."""
        with (self.folder / f"{name}.log").open("ab") as log:
            command = ["setsid", "--fork", *argv]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=inherits)

    def _until(self, what: str, *argv: str) -> None:
        # libvirt's first answer may take it long: it tries QEMU before.
        eventually(lambda: run_here(*argv, timeout=seconds(10)).ok, within="daemon", every=0.02, retry=(DeadlinePassed,), what=what)


def _kvm(usable: bool) -> None:
    """The lab host's own /dev/kvm: one that QEMU may open, or an empty file. When libvirt could open it and QEMU
    could not, libvirt would probe QEMU anew at every start of a machine, for many seconds."""
    device, own = Path("/dev/kvm"), Path("/run/halab/kvm")
    if device.exists():
        os.mknod(own, 0o600 | (stat.S_IFCHR if usable else stat.S_IFREG), device.stat().st_rdev if usable else 0)
        os.chown(own, idmap.BASE, idmap.BASE) if usable else own.chmod(0)
        subprocess.run(["mount", "--bind", str(own), str(device)], check=True)


def _account(name: str) -> None:
    """A user and a group that the lab host alone knows: libvirt's QEMU driver looks its own up, whatever its
    configuration says, and Debian makes them with a package that also starts a libvirtd."""
    for kind, line in (("passwd", f"{name}:x:{idmap.BASE}:{idmap.BASE}::/:/usr/sbin/nologin"), ("group", f"{name}:x:{idmap.BASE}:")):
        theirs, own = Path("/etc") / kind, Path("/run/halab") / kind
        if not re.search(f"^{name}:", theirs.read_text(), re.M):
            own.write_text(f"{theirs.read_text().rstrip()}\n{line}\n")
            subprocess.run(["mount", "--bind", str(own), str(theirs)], check=True)
