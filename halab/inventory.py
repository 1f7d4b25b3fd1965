"""Machines that exist already, for engine ssh: the entries `[[machines]]` of halab.toml, in the nodes' order.

    engine = "ssh"
    subnet = "10.1.2.0/24"
    virtual_ip = "10.1.2.100"

    [[machines]]
    address = "10.1.2.11"
    key = "/home/me/.ssh/id_ed25519"
    host_key = "ssh-ed25519 AAAA…"
    power = "fence_ipmilan --ip 10.1.3.11 --username lab --password-script /root/bmc"

The first one plays pacemaker01, and is called so. How the lab gets in: by that key as `user`, who is root or may become
it by sudo without a password; a host key that is not the given one is refused.
"""

from ipaddress import IPv4Address
from pathlib import Path

from paramiko.hostkeys import HostKeyEntry
from pydantic import BaseModel, ConfigDict, Field, field_validator


class Machine(BaseModel):
    """One machine of the inventory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: IPv4Address = Field(description="in the subnet; the interface that has it is eth0")
    user: str = Field("root", pattern=r"^[a-z_][a-z0-9_-]*$", description="root, or who becomes root by sudo without a password")
    key: Path = Field(description="the file of that user's private key")
    host_key: str = Field(description="its /etc/ssh/ssh_host_ed25519_key.pub, or another kind's")
    power: str = Field("", description="a fence agent's command (FenceAgentAPI): it is given --action on, off or status")

    @field_validator("key")
    @classmethod
    def _absolute(cls, key: Path) -> Path:
        if not key.is_absolute():
            raise ValueError("an absolute path: root and you have different homes")
        return key

    @field_validator("host_key")
    @classmethod
    def _readable(cls, text: str) -> str:
        """Its kind and the key; the comment behind them is nobody's business."""
        kind_and_key = " ".join(text.split()[:2])
        try:
            entry = HostKeyEntry.from_line(f"machine {kind_and_key}")
        except Exception as error:  # paramiko's InvalidHostKey has no nearer base
            raise ValueError(f"a public key: {error}") from None
        if entry is None or entry.key is None or entry.key.get_base64() != kind_and_key.split()[1]:  # it fills up what was cut short
            raise ValueError("a public key, whole, such as `ssh-ed25519 AAAA…`")
        return kind_and_key

    @property
    def known(self) -> str:
        """Its line in a file of known hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
        return f"{self.address} {self.host_key}\n"
