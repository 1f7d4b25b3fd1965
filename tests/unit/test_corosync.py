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


NODES = {k: (f"pacemaker0{k}", f"192.168.100.{9 + k}") for k in (1, 2, 3)}


def test_each_node_id_has_its_name_and_its_address(captured: Read) -> None:
    assert corosync.identities(corosync.parse_cmap(captured("cmap.txt"))) == NODES


def test_a_node_that_left_keeps_its_address_and_one_that_never_came_has_none(captured: Read) -> None:
    assert corosync.identities(corosync.parse_cmap(captured("cmap-two-left.txt"))) == NODES
    assert corosync.identities(corosync.parse_cmap(captured("cmap-one-of-three.txt"))) == {
        1: NODES[1], 2: ("pacemaker02", ""), 3: ("pacemaker03", ""),
    }  # fmt: skip


def test_a_node_without_a_name_has_an_empty_one(captured: Read) -> None:
    text = "".join(line for line in captured("cmap.txt").splitlines(True) if not line.startswith("nodelist.node.1.name "))
    assert corosync.identities(corosync.parse_cmap(text)) == NODES | {2: ("", NODES[2][1])}


def test_names_go_with_the_node_id_and_not_with_the_place_in_the_list(captured: Read) -> None:
    text = captured("cmap.txt").replace("nodelist.node.0.nodeid (u32) = 1", "nodelist.node.0.nodeid (u32) = 7")
    assert corosync.identities(corosync.parse_cmap(text))[7] == ("pacemaker01", "")


MALFORMED = "Failed to initialize the cmap API.\nnodelist.node.x.nodeid (u32) = 1\nnodelist.node.0.nodeid = 1\ntotem.tokn = 1\n = \n"


def test_a_map_that_is_malformed_has_neither_nodes_nor_options() -> None:
    cmap = corosync.parse_cmap(MALFORMED)
    assert (corosync.identities(cmap), corosync.unknown_options(cmap)) == ({}, [])
    assert (corosync.identities({}), corosync.unknown_options({})) == ({}, [])


def test_a_member_whose_address_is_malformed_has_none() -> None:
    cmap = corosync.parse_cmap("nodelist.node.0.nodeid (u32) = 1\nruntime.members.1.ip (str) = r(0) ip\n")
    assert corosync.identities(cmap) == {1: ("", "")}


@pytest.mark.parametrize("name", ["cmap.txt", "cmap-one-of-three.txt", "cmap-two-left.txt"])
def test_a_healthy_file_has_no_unknown_option(captured: Read, name: str) -> None:
    assert corosync.unknown_options(corosync.parse_cmap(captured(name))) == []


def unknown(captured: Read, *lines: str) -> list[str]:
    return corosync.unknown_options(corosync.parse_cmap("\n".join([captured("cmap.txt").rstrip("\n"), *lines])))


def test_options_that_corosync_does_not_have_are_told_sorted(captured: Read) -> None:
    lines = ["totem.vsftype (str) = none", "totem.tokn (u32) = 5000", "nodelist.node.0.ring0_adr (str) = 192.168.100.10",
             "totem.interface.0.bindnetadr (str) = 10.0.0.0", "quorum.two_nodes (u8) = 1", "logging.to_sysloog (str) = yes",
             "logging.logger_subsys.QUORUM.debg (str) = on", "nodelist.node.2.ring8_addr (str) = 10.0.0.1"]  # fmt: skip
    assert unknown(captured, *lines) == sorted(line.split()[0] for line in lines)


def test_an_option_in_the_wrong_section_is_unknown(captured: Read) -> None:
    assert unknown(captured, "quorum.token (u32) = 1000", "totem.two_node (u8) = 1") == ["quorum.token", "totem.two_node"]


def test_what_the_file_may_have_besides_is_known(captured: Read) -> None:
    lines = ["totem.config_version (u64) = 7", "totem.secauth (str) = on", "totem.interface.1.linknumber (u8) = 1",
             "nodelist.node.0.quorum_votes (u32) = 1", "nodelist.node.0.ring7_addr (str) = 10.7.0.1", "quorum.wait_for_all (u8) = 1",
             "logging.logger_subsys.QUORUM.debug (str) = on", "logging.logger_subsys.QUORUM.subsys (str) = QUORUM",
             "system.sched_rr (str) = no"]  # fmt: skip
    assert unknown(captured, *lines) == []


@pytest.mark.parametrize(
    "key",
    ["runtime.config.totem.tokn", "runtime.tokn", "config.totemconfig_reload_in_progress", "uidgid.gid.104", "uidgid.config.uid.1",
     "internal_configuration.service.9.tokn", "resources.system.tokn", "quorum.device.model", "nozzle.name", "stats.tokn"],
)  # fmt: skip
def test_keys_that_are_corosyncs_own_or_a_plugins_are_not_looked_at(captured: Read, key: str) -> None:
    assert unknown(captured, f"{key} (str) = x") == []


def test_the_file_is_read_as_keys_of_the_map(captured: Read) -> None:
    found = corosync.parse_conf(captured("corosync.conf"))
    assert found["totem.cluster_name"] == "halab"
    assert [found[f"nodelist.node.{k}.name"] for k in range(3)] == ["pacemaker01", "pacemaker02", "pacemaker03"]


def test_a_file_that_corosync_read_is_in_force(captured: Read) -> None:
    assert corosync.not_in_force(corosync.parse_conf(captured("corosync.conf")), corosync.parse_cmap(captured("cmap-conf.txt"))) == {}


def test_what_was_edited_since_is_told_with_what_runs(captured: Read) -> None:
    text = captured("corosync.conf").replace("token: 1000", "token: 7000").replace("provider:", "two_node: 1\n  provider:")
    found = corosync.not_in_force(corosync.parse_conf(text), corosync.parse_cmap(captured("cmap-conf.txt")))
    assert found == {"totem.token": "7000, in force 1000", "quorum.two_node": "1, in force nothing"}


def test_comments_empty_lines_and_sections_that_are_told_apart_otherwise_are_left_out() -> None:
    text = "# a\ntotem {\n  # b\n\n  token: 3000\n  interface {\n    linknumber: 0\n    mcastport: 5405\n  }\n}\nlogging {\n debug:off\n}\n"
    assert corosync.parse_conf(text) == {"totem.token": "3000", "logging.debug": "off"}


@pytest.mark.parametrize("text", ["token: 3000", "totem {\n token\n}", "}"])
def test_a_file_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(StudentError, match="sections and options"):
        corosync.parse_conf(text)


def test_a_sharp_sign_behind_a_value_belongs_to_it_as_corosync_reads_it() -> None:
    assert corosync.parse_conf("totem {\n  cluster_name: halab # ours\n}") == {"totem.cluster_name": "halab # ours"}


def test_sections_that_nobody_reads_are_told(captured: Read) -> None:
    text = captured("corosync.conf")
    assert corosync.unknown_sections(text) == []
    old = "service {\n  ver: 1\n}\nloging {\n}\ntotem {\n  logging {\n  }\n}\nquorum {\n  device {\n    net {\n    }\n  }\n}\n"
    assert corosync.unknown_sections(text + old) == ["loging", "service", "totem.logging"]


@pytest.mark.parametrize("lost", ["provider", "crypto_", "nodeid", "token:"])
def test_what_runs_and_the_file_lacks_is_told_too(captured: Read, lost: str) -> None:
    text = "\n".join(line for line in captured("corosync.conf").splitlines() if lost not in line)
    found = corosync.not_in_force(corosync.parse_conf(text), corosync.parse_cmap(captured("cmap-conf.txt")))
    assert found and all(lost.rstrip(":") in key and value.startswith("not in the file, in force ") for key, value in found.items())


def test_a_provider_that_a_reload_dropped_from_the_map_runs_on(captured: Read) -> None:
    text = captured("corosync.conf").replace("provider: corosync_votequorum", "")
    cmap = {key: value for key, value in corosync.parse_cmap(captured("cmap-conf.txt")).items() if key != "quorum.provider"}
    assert corosync.not_in_force(corosync.parse_conf(text), cmap) == {"quorum.provider": "not in the file, in force corosync_votequorum"}
