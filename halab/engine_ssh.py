"""Engine ssh: a node is a machine that exists already, named in the inventory (`halab.inventory`).

Nothing is made and nothing removed. What only a hypervisor can do, it refuses. Power is a fence agent's, where the
inventory names one; without, a machine is made to restart at once, without a word to the cluster. Nobody looks into a
machine from outside: who holds an address is asked over SSH, on a connection apart from the node's own, and ARP is
asked on the wire. A machine that is silent is *unknown*, unless its agent says that it is off.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from halab import arp
from halab.client import listens
from halab.command import Result
from halab.engine import Place, parse_addresses
from halab.errors import DeadlinePassed, HalabError, LabError, Unreachable, UsageError
from halab.host import Host
from halab.image import Image
from halab.keys import Keys
from halab.settings import Identity
from halab.ssh import Ssh
from halab.wait import eventually, seconds

#: How a fence agent's `status` ends (FenceAgentAPI, "Agent Operations and Return Values").
OFF = 2
#: systemctl(1): twice --force neither ends services nor unmounts. A moment later: the answer gets out.
CRASH = "setsid sh -c 'sleep 0.2; systemctl reboot --force --force' < /dev/null > /dev/null 2>&1 &"


class Without:
    """Stands where machines of an inventory have nothing; whoever asks is told so. Raises UsageError."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise UsageError(f"{self._what} ({name})", "machines of an inventory have none", "a lab with engine lxc or vm")


class Machines:
    name = "ssh"
    reboot_closes_console = True
    disks = None

    def __init__(self, host: Host) -> None:
        self.host, self._links = host, dict[str, Ssh]()
        self.hypervisor: Any = Without("a hypervisor")

    def __getattr__(self, name: str) -> Any:
        """Disks, domains, screens and clocks: everything that is not below."""
        return getattr(Without("a hypervisor"), name)

    def prepare(self, golden: Image | None, build: Callable[..., None]) -> dict[str, object]:
        return {}

    # -- power ----------------------------------------------------------------------------------------

    def state(self, node: Identity) -> str:
        """`running`: its kernel answers ARP; `shut off`: its agent says so; `unknown`: silent, and nobody says why.

        Its sshd is not asked: it shuts out who connects often and says nothing (sshd_config(5), PerSourcePenalties)."""
        if self._on_the_wire(node):
            return "running"
        return "shut off" if self._off(node) else "unknown"

    def start(self, node: Identity) -> None:
        if _power(node) and self.state(node) != "running":
            self._turn(node, "on")

    def power_off(self, node: Identity) -> None:
        if _power(node):
            self._turn(node, "off")
        else:
            print(f"{node.name} has no fence agent in the inventory: it restarts at once, without a word to the cluster.")
            with suppress(HalabError):  # its last words
                self._link(node).run(CRASH, seconds(5))
            eventually(lambda: not listens(node.address, 22), within="daemon", every=0.02, what=f"{node.name} is silent")
        self._hang_up(node)

    def _turn(self, node: Identity, way: str) -> None:
        """A fence agent comes back when it is done."""
        done = agent(self.host.run, node, way)
        if not done.ok:
            raise LabError(f"the fence agent turns {node.name} {way}", *told(node, done))

    def _off(self, node: Identity) -> bool:
        return bool(_power(node)) and agent(self.host.run, node, "status").status == OFF

    # -- looking --------------------------------------------------------------------------------------

    def addresses(self, node: Identity) -> dict[str, Place] | None:
        """What it says itself. Silent, it holds nothing when its agent says that it is off, or when nobody answers ARP for
        its own address: then its kernel is not on the wire."""
        try:
            result = self._link(node).run("ip -j -4 addr", seconds(5))
        except (Unreachable, DeadlinePassed):
            self._hang_up(node)
            return {} if self._off(node) or self._on_the_wire(node) is False else None
        return parse_addresses(result.stdout) if result.ok else None

    def _on_the_wire(self, node: Identity) -> bool | None:
        """Does its kernel answer ARP? None: that cannot be asked."""
        try:
            return bool(arp.cards(self.host.run, Wire(self.host).interface, node.address, first=True))
        except HalabError:
            return None

    def runs(self, node: Identity, program: str) -> bool | None:
        return False if self._off(node) else None

    def _link(self, node: Identity) -> Ssh:
        if node.name not in self._links:
            keys = Keys(self.host.folder / "keys")
            self._links[node.name] = Ssh(node, keys.opening(node), keys.known_hosts(self.host.settings.identities))
        return self._links[node.name]

    def _hang_up(self, node: Identity) -> None:
        if link := self._links.pop(node.name, None):
            link.close()


class Wire:
    """The network that the machines are on already: looked at, never changed. Everything else of `Network` is refused."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def __getattr__(self, name: str) -> Any:
        return getattr(Without("a network that the lab may change"), name)

    @property
    def interface(self) -> str:
        """This machine's, towards them (ip-route(8))."""
        first = self.host.settings.identities[0].address
        return json.loads(self.host.check_output("ip -j route get %s", first))[0]["dev"]

    @property
    def addresses(self) -> dict[str, Place]:
        """This machine's own IPv4 addresses."""
        return parse_addresses(self.host.check_output("ip -j -4 addr")) or {}

    def plug(self, node: str) -> None:
        """Its cable is somebody else's to plug in."""

    def faults(self, nodes: Mapping[str, object]) -> dict[str, str]:
        """What is wrong with their cables: nobody here can see that."""
        return {}


def agent(run: Callable[[str], Result], node: Identity, action: str) -> Result:
    """What the node's fence agent did; `run` runs a shell command. Raises DeadlinePassed. Its command is told nowhere: there
    may be a password in it."""
    try:
        return run(f"{_power(node)} --action {action}")
    except DeadlinePassed:
        raise DeadlinePassed(f"the fence agent of {node.name} ends", "still running", "`power` in halab.toml") from None


def told(node: Identity, done: Result) -> tuple[str, str]:
    """How a fence agent ended, and where to look: the rest of an error."""
    return f"exit status {done.status}: {done.stderr.strip()[-300:]}", f"{_power(node).split()[0]}(8), and `power` in halab.toml"


def _power(node: Identity) -> str:
    return node.machine.power if node.machine else ""
