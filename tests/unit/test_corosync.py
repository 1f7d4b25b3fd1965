from collections.abc import Callable

import pytest

from halab import corosync
from halab.command import Result
from halab.errors import StudentError

Read = Callable[[str], str]


class Answers:
    """A node that answers one command's result."""

    name = "pacemaker01"

    def __init__(self, status: int, stdout: str = "", stderr: str = "") -> None:
        self.result = Result(self.name, "", status, stdout, stderr)

    def run(self, command: str, *args: object, timeout: float) -> Result:
        return self.result


def test_cmap_keeps_every_key_with_its_value(captured: Read) -> None:
    text = captured("cmap.txt")
    found = corosync.parse_cmap(text)
    assert len(found) == len(text.splitlines())
    assert found["totem.cluster_name"] == "lab"
    assert found["nodelist.node.1.ring0_addr"] == "192.168.100.11"
    assert found["system.allow_knet_handle_fallback"] == "yes"


def test_cmap_keeps_spaces_and_parentheses_of_a_value(captured: Read) -> None:
    assert corosync.parse_cmap(captured("cmap.txt"))["runtime.members.1.ip"].strip() == "r(0) ip(192.168.100.10)"


def test_cmap_leaves_out_what_is_no_value() -> None:
    malformed = "totem.version (u32) = 2\nFailed to initialize the cmap API. Error CS_ERR_LIBRARY\n = \nkey = value\nblob (bin)\n"
    assert corosync.parse_cmap(malformed) == {"totem.version": "2"}


def test_members_of_a_whole_cluster_have_all_joined(captured: Read) -> None:
    assert corosync.members(corosync.parse_cmap(captured("cmap.txt"))) == {1: "joined", 2: "joined", 3: "joined"}


def test_members_of_the_first_node_alone_are_itself(captured: Read) -> None:
    assert corosync.members(corosync.parse_cmap(captured("cmap-one-of-three.txt"))) == {1: "joined"}


def test_members_that_were_lost_are_told_as_left(captured: Read) -> None:
    assert corosync.members(corosync.parse_cmap(captured("cmap-two-left.txt"))) == {1: "joined", 2: "left", 3: "left"}


def test_members_of_a_map_without_any_are_none() -> None:
    assert corosync.members({"runtime.members.x.status": "joined", "runtime.members.1.ip": "r(0)"}) == {}


def test_joined_counts_only_members_that_are_there(captured: Read) -> None:
    assert corosync.joined(Answers(0, captured("cmap-two-left.txt"))) == [1]
    assert corosync.joined(Answers(0, captured("cmap.txt"))) == [1, 2, 3]


def test_joined_is_empty_where_corosync_is_down() -> None:
    assert corosync.joined(Answers(1, stderr="Failed to initialize the cmap API. Error CS_ERR_LIBRARY")) == []


def test_cmap_of_a_node_without_corosync_names_node_and_reason() -> None:
    with pytest.raises(StudentError, match=r"corosync runs on pacemaker01(?s:.*)CS_ERR_LIBRARY(?s:.*)systemctl status corosync"):
        corosync.cmap(Answers(1, stderr="Failed to initialize the cmap API. Error CS_ERR_LIBRARY\n"))


def test_links_of_a_healthy_cluster_are_all_connected(captured: Read) -> None:
    assert corosync.links(corosync.parse_cmap(captured("cmap-stats.txt"))) == {(1, 0): True, (2, 0): True, (3, 0): True}


def test_links_to_nodes_without_power_are_not_connected(captured: Read) -> None:
    found = corosync.links(corosync.parse_cmap(captured("cmap-stats-two-left.txt")))
    assert found == {(1, 0): True, (2, 0): False, (3, 0): False}


def test_links_of_a_map_that_is_no_statistics_are_none(captured: Read) -> None:
    assert corosync.links(corosync.parse_cmap(captured("cmap.txt"))) == {}


def test_timeouts_are_those_in_effect_and_not_those_in_the_file(captured: Read) -> None:
    found = corosync.parse_cmap(captured("cmap.txt"))
    assert found["totem.token"] == "3000"
    assert corosync.timeouts(found) == (3650, 4380)


def test_timeouts_of_a_map_without_them_are_an_error() -> None:
    with pytest.raises(KeyError):
        corosync.timeouts({})


@pytest.mark.parametrize(("status", "quorate"), [(0, True), (2, False), (1, None), (127, None)])
def test_quorum_is_yes_no_or_unknown_by_the_exit_status(status: int, quorate: bool | None) -> None:
    assert corosync.quorate(Answers(status)) is quorate


def test_the_node_id_of_the_handbook_follows_from_its_address() -> None:
    assert corosync.ipv4_node_id("192.168.100.10") == 1084777482


def test_an_address_below_128_keeps_all_its_bits() -> None:
    assert corosync.ipv4_node_id("10.0.0.1") == 0x0A000001


def test_a_cipher_of_none_is_no_encryption_whatever_secauth_says() -> None:
    cases = [({}, False), ({"totem.secauth": "on"}, True), ({"totem.secauth": "on", "totem.crypto_cipher": "none"}, False),
             ({"totem.crypto_cipher": "aes256"}, True), ({"totem.crypto_cipher": "aes256", "totem.transport": "udpu"}, False)]  # fmt: skip
    assert [corosync.encrypts(cmap) for cmap, _ in cases] == [want for _, want in cases]
