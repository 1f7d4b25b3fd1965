from ipaddress import IPv4Address
from pathlib import Path

import pytest
from pydantic import ValidationError

from halab.errors import UsageError
from halab.settings import INTERNAL, Settings, load


def test_defaults_are_the_handbooks_numbers(settings: Settings) -> None:
    first = settings.identities[0]
    assert [i.name for i in settings.identities] == ["pacemaker01", "pacemaker02", "pacemaker03"]
    assert (str(first.address), first.mac, first.number) == ("192.168.100.10", "52:54:00:9b:d5:11", 1)
    assert str(settings.host_address) == "192.168.100.1"
    assert str(settings.virtual_ip) == "192.168.100.100"
    assert settings.bridge == "ubuntu_br"


def test_numbers_follow_from_a_nodes_name_up_to_the_sixteenth() -> None:
    last = load(nodes=16).identities[-1]
    assert (last.name, str(last.address), last.mac) == ("pacemaker16", "192.168.100.25", "52:54:00:9b:d5:26")


def test_another_subnet_moves_every_address() -> None:
    moved = load(subnet="10.7.7.0/24", virtual_ip="10.7.7.200")
    assert str(moved.host_address) == "10.7.7.1"
    assert {str(i.address) for i in moved.identities} == {"10.7.7.10", "10.7.7.11", "10.7.7.12"}


def test_environment_wins_over_halab_toml(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("halab.toml").write_text("nodes = 4\nmemory = 600\n")
    monkeypatch.setenv("HALAB_NODES", "5")
    found = load()
    assert (found.nodes, found.memory) == (5, 600)


def test_an_argument_wins_over_the_environment_and_none_counts_as_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALAB_NODES", "5")
    assert load(nodes=2).nodes == 2
    assert load(nodes=None).nodes == 5


def test_settings_survive_the_json_that_a_lab_host_records(settings: Settings) -> None:
    assert Settings(**settings.model_dump(mode="json")) == settings


def test_settings_are_immutable(settings: Settings) -> None:
    with pytest.raises(ValidationError):
        settings.nodes = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("NODES", "0", "nodes: .*2.*given: 0"),
        ("NODES", "1", "nodes: .*2.*given: 1"),
        ("NODES", "200", "nodes: .*16.*given: 200"),
        ("NODES", "three", "nodes: .*integer.*given: three"),
        ("ENGINE", "docker", "engine: .*'lxc'.*given: docker"),
        ("RELEASE", "sarge", "release: .*'trixie'.*given: sarge"),
        ("NAME", "../etc", "name: .*given: ../etc"),
        ("NAME", "", "name: "),
        ("BRIDGE", "br0; reboot", "bridge: .*given"),
        ("BRIDGE", "a-name-that-is-too-long", "bridge: .*given"),
        ("SUBNET", "192.168.100.10/24", "subnet: .*IPv4 network.*given"),
        ("SUBNET", "10.0.0.0/16", "must be /24"),
        ("OUTSIDE", "192.168.100.0/24", "subnet 192.168.100.0/24 and outside 192.168.100.0/24 overlap"),
        ("VIRTUAL_IP", "10.0.0.1", "virtual_ip 10.0.0.1 is not in the subnet 192.168.100.0/24"),
        ("VIRTUAL_IP", "192.168.100.10", "virtual_ip 192.168.100.10 overlaps"),
        ("VIRTUAL_IP", "192.168.100.1", "virtual_ip 192.168.100.1 overlaps"),
        ("VIRTUAL_IP", "192.168.100.255", "virtual_ip 192.168.100.255 overlaps"),
        ("MEMORY", "1", "memory: .*512.*given: 1"),
        ("TIMEOUT_SCALE", "0", "timeout_scale: .*given: 0"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_what_was_given(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(f"HALAB_{name}", value)
    with pytest.raises(UsageError, match=says):
        load()


def test_an_unknown_setting_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALAB_NODE", "3")
    with pytest.raises(UsageError, match=r"HALAB_NODE is no setting.*(?s:.*)nodes"):
        load()


@pytest.mark.parametrize("name", sorted(INTERNAL))
def test_what_halab_sets_for_its_own_processes_is_no_unknown_setting(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "anything")
    assert load() == Settings()


def test_an_unknown_setting_in_halab_toml_is_named() -> None:
    Path("halab.toml").write_text("nodse = 3\n")
    with pytest.raises(UsageError, match="nodse"):
        load()


def test_a_halab_toml_that_is_no_toml_is_named() -> None:
    Path("halab.toml").write_text("nodes = = 3\n")
    with pytest.raises(UsageError, match=r"halab\.toml is a TOML file"):
        load()


def test_every_setting_says_what_it_means() -> None:
    assert [n for n, field in Settings.model_fields.items() if not field.description] == []


def test_a_labs_folder_and_socket_carry_its_name() -> None:
    found = load(name="ha", state="/s")
    assert (str(found.folder), str(found.socket)) == ("/s/ha", "/s/ha/warden.sock")


def test_no_address_is_taken_twice() -> None:
    full = load(nodes=16)
    taken: list[IPv4Address] = [i.address for i in full.identities]
    taken += [full.host_address, full.virtual_ip, full.uplink_address, full.outside_address]
    assert len(set(taken)) == len(taken)


def test_a_bridge_called_openvswitch_is_the_handbooks_bridge_of_that_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALAB_BRIDGE", "openvswitch")
    found = load()
    assert (found.bridge, found.bridge_type) == ("ubuntu_br", "openvswitch")


def test_a_bridge_of_that_type_may_have_any_name() -> None:
    found = load(bridge="br0", bridge_type="openvswitch")
    assert (found.bridge, found.bridge_type) == ("br0", "openvswitch")


def test_waits_are_longer_by_a_factor_and_never_longer_than_a_scale_may_be() -> None:
    assert load(timeout_scale=3).slowed(5).timeout_scale == 15
    assert load(timeout_scale=50).slowed(5).timeout_scale == 100


@pytest.mark.parametrize(
    ("name", "value"), [("HALAB_ACCEL", "xen"), ("HALAB_VCPUS", "0"), ("HALAB_BRIDGE_TYPE", "cisco"), ("HALAB_UPLINK", "perhaps")]
)
def test_a_setting_of_machines_and_networks_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=name.removeprefix("HALAB_").lower()):
        load()
