"""The inventory: what stands in halab.toml, and who its machines become."""

import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import paramiko
import pytest
from pydantic import ValidationError

from halab.keys import Keys
from halab.settings import Settings, load

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFB+jQkbkMWYHhJCGCKBHY8JX4MVUQyyEjK+V8gXm8lR"
FILE = """
engine = "ssh"
subnet = "10.1.2.0/24"
virtual_ip = "10.1.2.100"

[[machines]]
address = "10.1.2.31"
key = "/home/me/.ssh/id_ed25519"
host_key = "{key}"
power = "fence_ipmilan --ip 10.1.3.31"

[[machines]]
address = "10.1.2.17"
user = "admin"
key = "/home/me/.ssh/id_rsa"
host_key = "{key} root@second"
"""


def machine(address: str, **more: object) -> dict[str, object]:
    return {"address": address, "key": "/k", "host_key": KEY, **more}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_names_the_machines_in_the_nodes_order(folder: Path) -> None:
    (folder / "halab.toml").write_text(FILE.format(key=KEY))
    settings = load()
    assert settings.nodes == 2
    assert [(n.name, str(n.address)) for n in settings.identities] == [("pacemaker01", "10.1.2.31"), ("pacemaker02", "10.1.2.17")]
    first, second = (n.machine for n in settings.identities)
    assert first and first.user == "root" and first.power.startswith("fence_ipmilan")
    assert second and second.user == "admin" and not second.power
    assert second.host_key == KEY  # without the comment


def test_the_environment_can_say_it_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALAB_ENGINE", "ssh")
    monkeypatch.setenv("HALAB_MACHINES", json.dumps([machine("192.168.100.21"), machine("192.168.100.22")]))
    assert [str(n.address) for n in load().identities] == ["192.168.100.21", "192.168.100.22"]


def test_what_a_lab_host_records_is_read_back_the_same(folder: Path) -> None:
    settings = Settings(engine="ssh", machines=(machine("192.168.100.21"), machine("192.168.100.22")))
    assert Settings(**settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"machines": ()}, "go together"),
        ({"engine": "lxc"}, "go together"),
        ({"nodes": 3}, "3 nodes, and 2 machines"),
        ({"machines": (machine("192.168.100.21"),) * 2}, "192.168.100.21 is there twice"),
        ({"machines": (machine("192.168.100.21"), machine("10.0.0.1"))}, "10.0.0.1 is not in the subnet"),
        ({"virtual_ip": "192.168.100.22"}, "virtual_ip 192.168.100.22 overlaps"),
        ({"machines": (machine("192.168.100.21"), machine("192.168.100.22", key="id"))}, "absolute path"),
        ({"machines": (machine("192.168.100.21"), machine("192.168.100.22", host_key="SHA256:abc"))}, "a public key"),
        ({"machines": (machine("192.168.100.21"), machine("192.168.100.22", host_key=KEY[:40]))}, "a public key"),
        ({"machines": (machine("192.168.100.21"), machine("192.168.100.22", user="a b"))}, "user"),
        ({"machines": (machine("192.168.100.21"), machine("192.168.100.22", password="x"))}, "password"),
        ({"machines": (machine("192.168.100.21"),)}, "nodes"),
    ],
)
def test_an_inventory_that_cannot_be_is_refused_with_what_is_wrong(folder: Path, given: dict[str, Any], says: str) -> None:
    good: dict[str, Any] = {"engine": "ssh", "machines": (machine("192.168.100.21"), machine("192.168.100.22"))}
    with pytest.raises(ValidationError, match=says):
        Settings(**good | given)


def test_a_machine_may_have_an_address_that_a_node_of_ours_would_have(folder: Path) -> None:
    settings = Settings(engine="ssh", virtual_ip="192.168.100.10", machines=(machine("192.168.100.21"), machine("192.168.100.22")))
    assert settings.virtual_ip == IPv4Address("192.168.100.10")


def test_its_host_key_is_the_given_one_and_its_door_opens_by_the_given_key(folder: Path) -> None:
    settings, keys = Settings(engine="ssh", machines=(machine("192.168.100.21"), machine("192.168.100.22"))), Keys(folder)
    hosts = paramiko.HostKeys(str(keys.known_hosts(settings.identities)))
    known = hosts.lookup("192.168.100.21")
    assert known and known["ssh-ed25519"].get_base64() == KEY.split()[1]
    assert keys.opening(settings.identities[0]) == Path("/k")
    assert not (folder / "id_ed25519").exists()
