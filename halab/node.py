"""One machine of the lab: `run`, `check_output`, `put`, `get`, `console`, and its power."""

from __future__ import annotations

from typing import TYPE_CHECKING

from halab.command import Result, quote
from halab.console import Console
from halab.engine import Place
from halab.errors import DeadlinePassed, HostKeyRefused, LabError, Unreachable
from halab.settings import Identity
from halab.ssh import Ssh
from halab.template import render
from halab.wait import eventually, seconds

if TYPE_CHECKING:
    from IPython.display import Image

    from halab.lab import Lab

#: Files that give a node its identity on the network, by template (interfaces(5), hosts(5), resolv.conf(5)).
IDENTITY_FILES = {
    "hostname": "/etc/hostname",
    "interfaces": "/etc/network/interfaces",
    "hosts": "/etc/hosts",
    "resolv.conf": "/etc/resolv.conf",
}


class Node:
    """A node of a lab. Commands run as root; `%s` in a command are replaced by quoted arguments."""

    def __init__(self, lab: Lab, identity: Identity) -> None:
        self.lab, self.identity = lab, identity
        self.number, self.name, self.address = identity.number, identity.name, identity.address
        self._ssh: Ssh | None = None

    def __repr__(self) -> str:
        return f"<node {self.name} {self.address}>"

    @property
    def mac(self) -> str:
        """The hardware address of eth0."""
        return self.identity.mac or self.get("/sys/class/net/eth0/address").decode().strip()

    # -- talk to it ---------------------------------------------------------------------------------

    @property
    def ssh(self) -> Ssh:
        if self._ssh is None:
            keys = self.lab.keys
            self._ssh = Ssh(self.identity, keys.opening(self.identity), keys.known_hosts(self.lab.settings.identities))
        return self._ssh

    def run(self, command: str, *args: object, timeout: float = 60, input: bytes | None = None) -> Result:
        """Run a command over SSH; never raises for its exit status.

        `timeout` is total, in seconds times HALAB_TIMEOUT_SCALE. Raises Unreachable, HostKeyRefused, DeadlinePassed."""
        return self.ssh.run(quote(command, *args), seconds(timeout), input)

    def check_output(self, command: str, *args: object, timeout: float = 60, input: bytes | None = None) -> str:
        """stdout of a command that must succeed. Also raises CommandFailed."""
        return self.run(command, *args, timeout=timeout, input=input).check()

    def put(self, content: str | bytes, path: str, mode: int = 0o644) -> None:
        """Write a file on the node, whole or not at all."""
        self.ssh.put(content.encode() if isinstance(content, str) else content, path, mode)

    def get(self, path: str) -> bytes:
        """Read a file from the node. Raises FileNotFoundError."""
        return self.ssh.get(path)

    def console(self) -> Console:
        """A root shell on the console: `with node.console() as console: console.run("hostname")`."""
        return Console(self.lab.hypervisor.uri, self.name)

    @property
    def answers(self) -> bool:
        """True when SSH works now; a wrong host key still raises HostKeyRefused."""
        try:
            return self.run("true", timeout=5).ok
        except HostKeyRefused:
            raise
        except (Unreachable, DeadlinePassed):
            return False

    def wait_for_ssh(self) -> None:
        """Raises DeadlinePassed, with what is seen from outside, when it does not within the named wait `boot`."""
        try:
            eventually(lambda: self._placed and self.answers, within="boot", every=0.05, what=f"{self.name} answers SSH")
        except DeadlinePassed as passed:
            seen = f"{self.state}, addresses {', '.join(sorted(self.seen_addresses or ())) or 'unknown'}"
            look = "halab status" if self.identity.machine else f"halab console {self.name}"
            raise DeadlinePassed(passed.expected, seen, look) from None

    @property
    def _placed(self) -> bool:
        """It has its address, or that cannot be seen. Who asks for SSH earlier waits for ARP's next question, a second
        later (RETRANS_TIMER of RFC 4861, 10, which Linux takes for ARP too: arp(7), retrans_time)."""
        seen = self.seen_addresses
        return seen is None or str(self.address) in seen

    # -- what it is ---------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """`running`, `paused`, `shut off` or `absent`."""
        return self.lab.engine.state(self.identity)

    @property
    def xml(self) -> str:
        """Its libvirt domain, as `define` gives it to libvirt."""
        return self.lab.engine.domain_xml(self.identity)

    @property
    def disk(self) -> dict[str, str]:
        return self.lab.engine.disk(self.identity)

    @property
    def own_files(self) -> list[str]:
        """Paths of the files on its own disk, besides those that all nodes share."""
        return self.lab.engine.own_files(self.identity)

    def screenshot(self) -> Image | None:
        """What its screen shows now; None: it has none."""
        from IPython.display import Image

        png = self.lab.engine.screenshot(self.identity)
        return Image(png) if png else None

    @property
    def identity_files(self) -> dict[str, str]:
        """path -> text of the files that make it this node."""
        s = self.lab.settings
        values = {
            "node": self.identity, "nodes": s.identities, "netmask": s.subnet.netmask, "gateway": s.host_address,
            "broadcast": s.subnet.broadcast_address, "nameserver": self.lab.host.nameserver,
        }  # fmt: skip
        return {path: render(f"{name}.j2", **values) for name, path in IDENTITY_FILES.items()}

    @property
    def seen_addresses(self) -> dict[str, Place] | None:
        """IPv4 address -> interface and prefix, as its kernel holds them, observed from outside; None: unknown."""
        return self.lab.engine.addresses(self.identity)

    def runs(self, program: str) -> bool:
        """Does a process of that name run there? Seen from outside; asked over SSH where the engine can't see it.

        Raises LabError when neither can be known."""
        seen = self.lab.engine.runs(self.identity, program)
        if seen is None:
            seen = {0: True, 1: False}.get(self.run("pgrep --exact %s", program).status)  # pgrep(1)
        if seen is None:
            raise LabError(f"the processes of {self.name} can be seen", "pgrep failed", "halab status")
        return seen

    # -- make it, power -----------------------------------------------------------------------------

    def make_disk(self, *, configured: bool = False) -> None:
        """A fresh copy-on-write disk. It always carries the SSH keys; `configured`: the identity too.

        A machine that is on is powered off first: no disk is pulled out under a running one."""
        files = {
            "/etc/ssh/ssh_host_ed25519_key": (self.lab.keys.host(self.identity), 0o600),
            "/root/.ssh/authorized_keys": (self.lab.keys.user_public() + "\n", 0o600),
        }
        if configured:
            files |= {path: (text, 0o644) for path, text in self.identity_files.items()}
        if self.state not in ("absent", "shut off"):
            self.power_off()
        self.lab.engine.make_disk(self.identity, files)

    def define(self) -> None:
        """`virsh define`: libvirt knows the machine; nothing runs yet."""
        self.lab.hypervisor.define(self.xml)

    def start(self) -> None:
        """Power on. One that runs already is left alone."""
        self.lab.engine.start(self.identity)

    def reboot(self) -> None:
        """`systemctl reboot` on the console, which needs no network; returns when SSH answers again."""
        with self.console() as console:
            console.leave("systemctl reboot", closes=self.lab.engine.reboot_closes_console)
        self.close()
        self.wait_for_ssh()

    def suspend(self) -> None:
        """Stop its clock, as when a virtual machine is paused: the network sees a node that says nothing."""
        self.lab.engine.suspend(self.identity)

    def resume(self) -> None:
        self.lab.engine.resume(self.identity)

    def power_off(self) -> None:
        """Cut the power, as if the cable were pulled: nothing in the node is told."""
        self.close()
        self.lab.engine.power_off(self.identity)

    def remove(self) -> None:
        """Power off, forget the domain and the disk. Safe when there is none."""
        if self.state != "absent":
            self.power_off()
            self.lab.hypervisor.undefine(self.name)
        self.lab.engine.remove_disk(self.identity)

    def close(self) -> None:
        if self._ssh:
            self._ssh.close()
            self._ssh = None
