"""The one validated configuration. Nothing else in the project spells an address.

Settings come from `HALAB_*` environment variables, then `halab.toml` in the working directory, then
the defaults below. Rule of the numbers: node k is `pacemaker` and k in two digits, its address is the
subnet's 9 + k, the last byte of its MAC is 10 + k written in decimal digits (the handbook's
pacemaker01 is 192.168.100.10, 52:54:00:9b:d5:11), its corosync node id is k.
"""

import os
import tomllib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Literal
from uuid import NAMESPACE_DNS, uuid5

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from halab.errors import UsageError
from halab.inventory import Machine

PREFIX = "HALAB_"
#: There when the kernel has a datapath for Open vSwitch.
OVS_MODULE = Path("/sys/module/openvswitch")
#: Set by halab itself for the processes that it starts inside the lab host.
INTERNAL = {"HALAB_DESK", "HALAB_INSIDE", "HALAB_REPORT"}


@dataclass(frozen=True)
class Identity:
    """Who a node is: its number k (1 to 16) and what follows from it."""

    number: int
    name: str
    address: IPv4Address
    mac: str
    machine: Machine | None = None

    @property
    def uuid(self) -> str:
        """The same for a name always: defining a node again is defining the same machine."""
        return str(uuid5(NAMESPACE_DNS, self.name))


class Settings(BaseSettings):
    """A lab's configuration; immutable."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, toml_file="halab.toml", extra="forbid", frozen=True)

    name: str = Field("halab", pattern=r"^[a-z][a-z0-9-]{0,19}$", description="the lab's name")
    engine: Literal["lxc", "vm", "ssh"] = Field("lxc", description="what a node is")
    host: Literal["private", "system"] = Field("private", description="a lab host of its own, or (engine vm) this machine's libvirtd")
    machines: tuple[Machine, ...] = Field((), max_length=16, description="engine ssh: the machines, in the nodes' order")
    release: Literal["trixie", "bookworm"] = Field("trixie", description="Debian release of the nodes (13 or 12)")
    nodes: int = Field(3, ge=2, le=16, description="how many nodes")
    subnet: IPv4Network = Field(IPv4Network("192.168.100.0/24"), description="the nodes' network, a /24")
    virtual_ip: IPv4Address = Field(IPv4Address("192.168.100.100"), description="the address the cluster carries")
    bridge: str = Field("ubuntu_br", pattern=r"^[a-z][a-z0-9_-]{0,14}$", description="the bridge's name")
    bridge_type: Literal["linux", "openvswitch"] = Field("linux", description="the kernel's bridge, or Open vSwitch's")
    uplink: bool = Field(False, description="NAT to the real outside, too")
    outside: IPv4Network = Field(IPv4Network("203.0.113.0/24"), description="the network that stands for the outside world (RFC 5737)")
    accel: Literal["auto", "kvm", "tcg"] = Field("auto", description="engine vm: KVM, emulation, or whatever works")
    vcpus: int = Field(1, ge=1, le=16, description="processors of a node")
    memory: int = Field(1024, ge=512, le=65536, description="memory of a node, MiB")
    mirror: str | None = Field(None, description="Debian mirror for building the image; None: the default one")
    timeout_scale: float = Field(1.0, gt=0, le=100, description="multiplies every wait")
    state: Path = Field(Path("/var/lib/halab"), description="folder of running labs")
    cache: Path = Field(Path("/var/cache/halab"), description="folder of built images")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @model_validator(mode="before")
    @classmethod
    def _bridge_openvswitch(cls, given: Any) -> Any:
        """`bridge = "openvswitch"` is short for a bridge of that type, under the handbook's name."""
        if isinstance(given, dict) and given.get("bridge") == "openvswitch":
            return {key: value for key, value in given.items() if key != "bridge"} | {"bridge_type": "openvswitch"}
        return given

    @model_validator(mode="before")
    @classmethod
    def _as_many_nodes_as_machines(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(machines := given.get("machines"), (list, tuple)) and machines:
            return {"nodes": len(machines)} | given
        return given

    @model_validator(mode="after")
    def _machines_are_the_nodes(self) -> "Settings":
        if (self.engine == "ssh") != bool(self.machines):
            raise ValueError("engine ssh and an inventory of machines go together")
        if self.machines and self.nodes != len(self.machines):
            raise ValueError(f"{self.nodes} nodes, and {len(self.machines)} machines in the inventory")
        addresses = [machine.address for machine in self.machines]
        if twice := sorted({str(a) for a in addresses if addresses.count(a) > 1}):
            raise ValueError(f"{', '.join(twice)} is there twice among the machines")
        if outside := [str(a) for a in addresses if a not in self.subnet]:
            raise ValueError(f"{', '.join(outside)} is not in the subnet {self.subnet}, where the virtual IP is")
        return self

    @model_validator(mode="after")
    def _system_is_for_machines_of_its_libvirtd(self) -> "Settings":
        if self.host == "system" and self.engine != "vm":
            raise ValueError('host = "system" goes together with engine = "vm"')
        if self.host == "system" and self.uplink:
            raise ValueError('host = "system" has the machine\'s own way out, and takes no uplink')
        return self

    @model_validator(mode="after")
    def _addresses_do_not_overlap(self) -> "Settings":
        if self.subnet.prefixlen != 24 or self.outside.prefixlen != 24:
            raise ValueError("subnet and outside must be /24 networks")
        if self.subnet.overlaps(self.outside):
            raise ValueError(f"subnet {self.subnet} and outside {self.outside} overlap")
        if self.virtual_ip not in self.subnet:
            raise ValueError(f"virtual_ip {self.virtual_ip} is not in the subnet {self.subnet}")
        taken = {self.host_address, self.subnet.network_address, self.subnet.broadcast_address}
        taken |= {machine.address for machine in self.machines} or {self.subnet[9 + k] for k in range(1, 17)}
        if self.virtual_ip in taken:
            raise ValueError(f"virtual_ip {self.virtual_ip} overlaps an address of the host or of a node")
        return self

    @property
    def host_address(self) -> IPv4Address:
        """The lab host's end of the bridge."""
        return self.subnet[1]

    @property
    def uplink_address(self) -> IPv4Address:
        """The lab host's address towards the outside world."""
        return self.outside[1]

    @property
    def outside_address(self) -> IPv4Address:
        """The server that stands for the outside world: HTTP, and the nodes' name server."""
        return self.outside[10]

    @property
    def token(self) -> int:
        """The token that chapter 02 ends with, ms: corosync 2's default, longer where the machine is slow
        (corosync.conf(5))."""
        return round(1000 * max(self.timeout_scale, 1))

    @cached_property
    def identities(self) -> tuple[Identity, ...]:
        return tuple(self.identity(k) for k in range(1, self.nodes + 1))

    def identity(self, k: int) -> Identity:
        if self.machines:
            return Identity(k, f"pacemaker{k:02d}", self.machines[k - 1].address, "", self.machines[k - 1])
        return Identity(k, f"pacemaker{k:02d}", self.subnet[9 + k], f"52:54:00:9b:d5:{10 + k:02d}")

    @property
    def datapath(self) -> str:
        """Open vSwitch's (ovs-vswitchd.conf.db(5)): `system` where the kernel has its module, else `netdev`, which needs none."""
        return "system" if OVS_MODULE.exists() else "netdev"

    def slowed(self, factor: float) -> "Settings":
        """The same with all waits longer by that factor, within what a scale may be."""
        return self.model_copy(update={"timeout_scale": min(self.timeout_scale * factor, 100)})

    @property
    def names(self) -> dict[str, object]:
        """The settings by the names that the shell of a cell and the advice of a check have for them."""
        return {
            "BRIDGE": self.bridge, "GATEWAY": self.host_address, "SUBNET": self.subnet,
            "PREFIX": str(self.host_address).rpartition(".")[0], "OUTSIDE": self.outside_address, "VIP": self.virtual_ip,
            "NODES": " ".join(node.name for node in self.identities), "BRIDGE_TYPE": self.bridge_type, "DATAPATH": self.datapath,
        }  # fmt: skip

    @property
    def folder(self) -> Path:
        """Where this lab keeps what it has while it runs."""
        return self.state / self.name

    @property
    def socket(self) -> Path:
        """Where the lab host answers (`halab.warden`)."""
        return self.folder / "warden.sock"


def load(**given: object) -> Settings:
    """The settings in force; raises UsageError that names the setting, what it must be and what was given.

    Every wait asks for them: as long as environment and file say the same, they are read once."""
    said = frozenset((name, value) for name, value in os.environ.items() if name.startswith(PREFIX))
    file = Path("halab.toml")
    return _load(said, file.read_bytes() if file.is_file() else b"", frozenset((k, v) for k, v in given.items() if v is not None))


@lru_cache(maxsize=8)
def _load(environment: frozenset[tuple[str, str]], file: bytes, given: frozenset[tuple[str, object]]) -> Settings:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | INTERNAL
    unknown = sorted({name for name, _ in environment} - known)
    if unknown:
        raise UsageError(f"{unknown[0]} is no setting of halab", fix=f"the settings are {', '.join(Settings.model_fields)}")
    try:
        return Settings(**dict(given))  # type: ignore[arg-type]
    except tomllib.TOMLDecodeError as error:
        raise UsageError("halab.toml is a TOML file", error, "correct that line of halab.toml") from None
    except ValidationError as error:
        raise UsageError("the settings are valid", _first(error), "see `halab doctor --settings`") from None


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(p) for p in problem["loc"])
    given = "" if isinstance(problem.get("input"), dict) else f" (given: {problem.get('input')})"
    return f"{where}: {problem['msg']}{given}" if where else problem["msg"].removeprefix("Value error, ")
