from ipaddress import IPv4Address
from xml.etree import ElementTree

import jinja2
import pytest

from halab.lab import Lab
from halab.settings import Settings, load
from halab.template import render


@pytest.fixture
def files(settings: Settings) -> dict[str, str]:
    return Lab(settings).node("pacemaker02").identity_files


def test_a_value_that_is_not_given_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render("hostname.j2")


def test_a_template_that_is_not_there_is_an_error() -> None:
    with pytest.raises(jinja2.TemplateNotFound):
        render("hostnames.j2")


def test_a_node_is_told_its_name(files: dict[str, str]) -> None:
    assert files["/etc/hostname"].strip() == "pacemaker02"


def test_hosts_names_every_node_once_and_localhost(files: dict[str, str]) -> None:
    lines = [line.split() for line in files["/etc/hosts"].splitlines() if line]
    assert lines == [["127.0.0.1", "localhost"], *([f"192.168.100.{9 + k}", f"pacemaker0{k}"] for k in (1, 2, 3))]


def test_interfaces_has_the_nodes_address_and_the_hosts_end_as_gateway(files: dict[str, str]) -> None:
    told = dict(line.split() for line in files["/etc/network/interfaces"].splitlines() if line.startswith("    "))
    assert told == {"address": "192.168.100.11", "netmask": "255.255.255.0", "broadcast": "192.168.100.255", "gateway": "192.168.100.1"}


def test_the_name_server_is_the_outside_world(files: dict[str, str]) -> None:
    assert files["/etc/resolv.conf"].split() == ["nameserver", "203.0.113.10"]


def test_every_file_ends_in_a_newline(files: dict[str, str]) -> None:
    assert [path for path, text in files.items() if not text.endswith("\n")] == []


def test_the_domain_is_the_node_on_the_bridge_in_a_user_namespace(settings: Settings) -> None:
    domain = ElementTree.fromstring(Lab(settings).node(1).xml)
    assert domain.get("type") == "lxc"
    assert domain.findtext("name") == "pacemaker01"
    assert domain.find("devices/interface/mac").attrib == {"address": "52:54:00:9b:d5:11"}  # type: ignore[union-attr]
    assert domain.find("devices/interface/source").attrib == {"bridge": "ubuntu_br"}  # type: ignore[union-attr]
    assert {m.tag: m.attrib for m in domain.find("idmap") or []} == {
        kind: {"start": "0", "target": "1000000", "count": "65536"} for kind in ("uid", "gid")
    }


def test_the_domains_memory_is_the_setting() -> None:
    memory = ElementTree.fromstring(Lab(load(memory=777)).node(1).xml).find("memory")
    assert memory is not None
    assert (memory.text, memory.get("unit")) == ("777", "MiB")


def test_no_template_spells_an_address() -> None:
    moved = Lab(load(subnet="10.7.7.0/24", virtual_ip="10.7.7.200", outside="10.8.8.0/24", bridge="br7")).node(1)
    text = "\n".join([moved.xml, *moved.identity_files.values()])
    assert "192.168.100" not in text
    assert "203.0.113" not in text
    assert "ubuntu_br" not in text
    assert str(IPv4Address("10.7.7.10")) in text
