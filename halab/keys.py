"""SSH keys of a lab: the owner's key, and every node's host key, known before the node first boots.

All Ed25519. `keys/` in the lab's folder belongs to the lab's owner, mode 0700: `id_ed25519`, one
`NODE.host` a node, and `known_hosts` (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from halab.errors import LabError
from halab.settings import Identity


class Keys:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def user(self) -> Path:
        """The owner's private key."""
        return self._key("id_ed25519")

    def user_public(self) -> str:
        return public(self.user.read_text())

    def host(self, node: Identity) -> str:
        """The private host key of a node, OpenSSH format."""
        return self._key(f"{node.name}.host").read_text()

    def opening(self, node: Identity) -> Path:
        """The private key that opens this node."""
        return node.machine.key if node.machine else self.user

    def known_hosts(self, nodes: tuple[Identity, ...]) -> Path:
        """The file that ssh and paramiko verify nodes against."""
        lines = [n.machine.known if n.machine else f"{n.name},{n.address} {public(self.host(n))}\n" for n in nodes]
        path = self.folder / "known_hosts"
        if not path.exists() or path.read_text() != "".join(lines):
            with tempfile.NamedTemporaryFile("w", dir=self.folder, delete=False) as file:  # whole or not at all: others may read it now
                file.write("".join(lines))
            os.replace(file.name, path)
        return path

    def _key(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            private = Ed25519PrivateKey.generate()
            data = private.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption())
            self._write(path, data)
        return path

    def _write(self, path: Path, data: bytes) -> None:
        """Whole or not at all, mode 0600; when another process was first, its key stays."""
        try:
            with tempfile.NamedTemporaryFile(dir=self.folder) as file, suppress(FileExistsError):
                file.write(data)
                file.flush()
                os.link(file.name, path)
        except OSError as error:
            raise LabError(f"keys are written in {self.folder}", error, "halab doctor") from None


def public(private: str) -> str:
    """The public line (`ssh-ed25519 …`) of a private key in OpenSSH format."""
    key = form.load_ssh_private_key(private.encode(), password=None)
    return key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()
