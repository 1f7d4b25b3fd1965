import subprocess
from pathlib import Path

import paramiko
import pytest

from halab.keys import Keys, public
from halab.settings import Settings


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def test_the_owners_key_is_made_once_and_private(keys: Keys) -> None:
    first = keys.user.read_text()
    assert keys.user.read_text() == first
    assert keys.user.stat().st_mode & 0o777 == 0o600


def test_keys_are_ed25519_that_paramiko_reads(keys: Keys) -> None:
    read = paramiko.Ed25519Key(filename=str(keys.user))
    assert f"{read.get_name()} {read.get_base64()}" == keys.user_public()


def test_each_node_has_a_host_key_of_its_own(keys: Keys, settings: Settings) -> None:
    found = [keys.host(i) for i in settings.identities]
    assert len({*found, keys.user.read_text()}) == 4
    assert found == [keys.host(i) for i in settings.identities]
    assert all((keys.folder / f"{i.name}.host").stat().st_mode & 0o777 == 0o600 for i in settings.identities)


def test_known_hosts_accepts_a_node_by_name_and_by_address(keys: Keys, settings: Settings) -> None:
    hosts = paramiko.HostKeys(str(keys.known_hosts(settings.identities)))
    for node in settings.identities:
        own = paramiko.Ed25519Key(filename=str(keys.folder / f"{node.name}.host"))
        assert hosts.check(node.name, own)
        assert hosts.check(str(node.address), own)


def test_known_hosts_refuses_another_nodes_key(keys: Keys, settings: Settings) -> None:
    hosts = paramiko.HostKeys(str(keys.known_hosts(settings.identities)))
    other = paramiko.Ed25519Key(filename=str(keys.folder / "pacemaker02.host"))
    assert not hosts.check("pacemaker01", other)


def test_known_hosts_follows_the_number_of_nodes(keys: Keys, settings: Settings) -> None:
    keys.known_hosts(settings.identities[:2])
    assert len(keys.known_hosts(settings.identities).read_text().splitlines()) == 3


def test_known_hosts_is_left_alone_when_nothing_changed(keys: Keys, settings: Settings) -> None:
    path = keys.known_hosts(settings.identities)
    before = path.stat().st_mtime_ns
    keys.known_hosts(settings.identities)
    assert path.stat().st_mtime_ns == before


def test_the_public_line_is_the_one_that_ssh_keygen_tells(keys: Keys) -> None:
    told = subprocess.run(["ssh-keygen", "-y", "-f", str(keys.user)], capture_output=True, text=True, check=True).stdout
    assert told.split()[:2] == public(keys.user.read_text()).split()


def test_a_key_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"(?i)key"):
        public("-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense\n-----END OPENSSH PRIVATE KEY-----\n")
