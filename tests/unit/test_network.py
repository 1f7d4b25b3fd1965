from collections.abc import Callable
from types import SimpleNamespace

import pytest

from halab import network
from halab.network import Link, Network
from halab.settings import Settings

NODES = ("pacemaker01", "pacemaker02", "pacemaker03")


def test_the_links_of_a_lab_are_its_bridge_and_a_cable_for_each_node(captured: Callable[[str], str]) -> None:
    found = network.parse_links(captured("links.json"))
    assert found["ubuntu_br"] == Link("bridge", "", True)
    assert {name: found[name] for name in NODES} == dict.fromkeys(NODES, Link("veth", "ubuntu_br", True))


@pytest.mark.parametrize("text", ["", "Device does not exist", "[{"])
def test_what_is_no_output_of_ip_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        network.parse_links(text)


def with_links(settings: Settings, monkeypatch: pytest.MonkeyPatch, **changed: Link | None) -> Network:
    links = {"ubuntu_br": Link("bridge", "", True)} | dict.fromkeys(NODES, Link("veth", "ubuntu_br", True)) | changed
    monkeypatch.setattr(Network, "links", {name: link for name, link in links.items() if link})
    return Network(SimpleNamespace(settings=settings))  # type: ignore[arg-type,unused-ignore]


@pytest.mark.parametrize(
    ("changed", "faults"),
    [
        ({}, {}),
        ({"ubuntu_br": None}, {"ubuntu_br": "not a bridge"}),
        ({"ubuntu_br": Link("bridge", "", False)}, {"ubuntu_br": "switched off"}),
        ({"ubuntu_br": Link("dummy", "", True)}, {"ubuntu_br": "not a bridge"}),
        ({"pacemaker02": Link("veth", "", True)}, {"pacemaker02": "not plugged into ubuntu_br"}),
        ({"pacemaker02": Link("veth", "other", True)}, {"pacemaker02": "not plugged into ubuntu_br"}),
        ({"pacemaker02": Link("veth", "ubuntu_br", False)}, {"pacemaker02": "switched off"}),
        ({"pacemaker02": None}, {"pacemaker02": "no such interface"}),
    ],
)
def test_what_keeps_a_node_from_the_bridge_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Link | None], faults: dict[str, str]
) -> None:
    assert with_links(settings, monkeypatch, **changed).faults(NODES) == faults


@pytest.mark.parametrize(
    ("given", "rule", "forwarding"),
    [
        ({}, 'oifname "eth0" masquerade', ["1", "0"]),
        ({"engine": "vm", "host": "system"}, 'ip saddr 192.168.100.0/24 oifname != "ubuntu_br" masquerade', []),
    ],
)
def test_what_leaves_is_translated_and_only_a_lab_host_of_our_own_is_made_to_forward(
    given: dict[str, str], rule: str, forwarding: list[str]
) -> None:
    said: list[str] = []

    def check_output(command: str, *args: object, input: bytes = b"") -> str:
        said.append(command % args + input.decode())
        return ""

    host = SimpleNamespace(settings=Settings(**given), check_output=check_output, run=check_output)
    network = Network(host)  # type: ignore[arg-type,unused-ignore]
    network.up()
    assert any(rule in line for line in said)
    network.down()
    assert said.count("nft delete table bridge halab_faults") == 2  # no fault outlives its lab, or is there when one is mended
    assert [line[-1] for line in said if "ip_forward" in line] == forwarding
