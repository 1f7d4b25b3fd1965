"""Facts about corosync on one node: a command and a pure parser each.

`corosync-cmapctl` prints `key (type) = value`, the one stable interface that corosync has
(corosync-cmapctl(8)); of its other tools, which print for people, only the exit status and one number are used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from halab.errors import StudentError

if TYPE_CHECKING:
    from halab.node import Node

LINE = re.compile(r"^(\S+) \((\w+)\) = (.*)$")


def parse_cmap(text: str) -> dict[str, str]:
    """key -> value, as text. Lines of any other form (binary values have none) are left out."""
    return {m[1]: m[3] for line in text.splitlines() if (m := LINE.match(line))}


def cmap(node: Node, map_name: str = "icmap") -> dict[str, str]:
    """The node's configuration map, or its statistics with `stats`. Raises StudentError when corosync is down."""
    result = node.run("corosync-cmapctl -m %s", map_name, timeout=10)
    if not result.ok:
        raise StudentError(f"corosync runs on {node.name}", result.stderr.strip()[-200:], "systemctl status corosync")
    return parse_cmap(result.stdout)


def members(cmap: dict[str, str]) -> dict[int, str]:
    """node id -> `joined` or `left`, as this node sees the membership (runtime.members.N.status)."""
    found = {}
    for key, value in cmap.items():
        if m := re.fullmatch(r"runtime\.members\.(\d+)\.status", key):
            found[int(m[1])] = value
    return found


def joined(node: Node) -> list[int]:
    """The ids of the members that this node sees joined, sorted; empty when corosync does not run."""
    try:
        return sorted(k for k, status in members(cmap(node)).items() if status == "joined")
    except StudentError:
        return []


def encrypted(node: Node) -> int:
    """How many encrypted packets knet has sent since it started (cmap_keys(8)). Raises StudentError when corosync is down."""
    return int(cmap(node, "stats").get("stats.knet.handle.tx_crypt_packets", "0"))


def quorate(node: Node) -> bool | None:
    """Does this node's partition have quorum? None: corosync or its quorum service does not answer.

    By the exit status of `corosync-quorumtool -s`: 0 quorate, 2 not, 1 error."""
    return {0: True, 2: False}.get(node.run("corosync-quorumtool -s", timeout=10).status)


def needed(node: Node) -> int | None:
    """How many votes make a quorum here, as votequorum computed it; None when it does not answer.

    No map has this number; `corosync-quorumtool -s` prints it as `Quorum: N`."""
    found = re.search(r"^Quorum:\s+(\d+)", node.run("corosync-quorumtool -s", timeout=10).stdout, re.M)
    return int(found[1]) if found else None


def encrypts(cmap: dict[str, str]) -> bool:
    """Is a cipher in force? `secauth: on` means aes256 unless `crypto_cipher` says otherwise (corosync.conf(5))."""
    secauth = cmap.get("totem.secauth", "off") == "on"
    cipher = cmap.get("totem.crypto_cipher", "aes256" if secauth else "none")
    return cmap.get("totem.transport", "knet") == "knet" and cipher != "none"


def links(stats: dict[str, str]) -> dict[tuple[int, int], bool]:
    """(node id, link) -> connected, from the statistics map (stats.knet.nodeN.linkM.connected)."""
    found = {}
    for key, value in stats.items():
        if m := re.fullmatch(r"stats\.knet\.node(\d+)\.link(\d+)\.connected", key):
            found[int(m[1]), int(m[2])] = value == "1"
    return found


def timeouts(cmap: dict[str, str]) -> tuple[int, int]:
    """(token, consensus) in ms as they are in effect: token grows with the nodes (corosync.conf(5))."""
    return int(cmap["runtime.config.totem.token"]), int(cmap["runtime.config.totem.consensus"])


def ipv4_node_id(address: object) -> int:
    """The node id that corosync 2 derived from an address with `clear_node_high_bit: yes`."""
    number = 0
    for part in str(address).split("."):
        number = number << 8 | int(part)
    return number & 0x7FFFFFFF


def identities(cmap: dict[str, str]) -> dict[int, tuple[str, str]]:
    """node id -> (name, address): the name from the node list, the address as the membership has it."""
    found = {}
    for key, number in cmap.items():
        if m := re.fullmatch(r"nodelist\.node\.(\d+)\.nodeid", key):
            address = re.search(r"r\(0\) ip\(([^)]+)\)", cmap.get(f"runtime.members.{number}.ip", ""))
            found[int(number)] = (cmap.get(f"nodelist.node.{m[1]}.name", ""), address[1] if address else "")
    return found


def _walk(text: str) -> Iterator[tuple[list[str], str]]:
    """(sections that a line is in, the line) for what opens a section or gives an option in corosync.conf(5)."""
    path: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if not line or line.startswith("#"):  # no comment elsewhere: coroparse.c takes the rest of a line as the value
            continue
        if line == "}" and path:
            path.pop()
            continue
        if line.endswith("{"):
            path.append(line[:-1].strip())
        yield list(path), line


def parse_conf(text: str) -> dict[str, str]:
    """corosync.conf(5) as keys of the configuration map: `totem.token`, `nodelist.node.0.name`. Subsections
    that are told apart by an option of theirs (interface, logger_subsys) are left out. Raises StudentError."""
    found: dict[str, str] = {}
    nodes = -1
    for path, line in _walk(text):
        key, _, value = (part.strip() for part in line.partition(":"))
        if line.endswith("{"):
            nodes += path == ["nodelist", "node"]
        elif not path or not value:
            raise StudentError("corosync.conf is made of sections and options", line, "corosync -t")
        elif not {"interface", "logger_subsys"} & set(path):
            numbered = [f"node.{nodes}" if name == "node" else name for name in path]
            found[".".join([*numbered, key])] = value
    return found


def unknown_sections(text: str) -> list[str]:
    """Sections of the file that no part of corosync reads, sorted: `totem.logging`, `service`."""
    found = {".".join(path) for path, line in _walk(text) if line.endswith("{")}
    return sorted(name for name in found if name not in SECTIONS and not name.startswith(OTHERS))


def not_in_force(conf: dict[str, str], cmap: dict[str, str]) -> dict[str, str]:
    """Where the file and what runs differ, whichever of the two lacks it: key -> `FILE, in force RUNNING`."""
    running = dict(cmap)
    if "runtime.votequorum.this_node_id" in cmap:  # a reload drops the provider from the map, and it goes on
        running["quorum.provider"] = "corosync_votequorum"
    differ = sorted(key for key in {*conf, *running} if _in_file(key) and conf.get(key) != running.get(key))
    return {key: f"{conf.get(key, 'not in the file')}, in force {running.get(key, 'nothing')}" for key in differ}


#: The options of corosync.conf(5), corosync 3.1, by section; `interface`, `node` and `logger_subsys` are
#: subsections. Some are told by corosync itself when it computed them.
OPTIONS = {
    "totem": """version transport cluster_name crypto_model crypto_cipher crypto_hash secauth keyfile key link_mode ip_version
        ip_dscp netmtu token token_warning token_coefficient token_retransmit token_retransmits_before_loss_const hold join send_join
        consensus merge downcheck fail_recv_const seqno_unchanged_const heartbeat_failures_allowed max_network_delay window_size
        max_messages miss_count_const clear_node_high_bit nodeid block_unlisted_ips config_version
        cancel_token_hold_on_retransmit knet_pmtud_interval knet_mtu knet_compression_model knet_compression_threshold
        knet_compression_level""",
    "totem.interface": """linknumber ringnumber knet_link_priority knet_ping_interval knet_ping_timeout knet_ping_precision
        knet_pong_count knet_transport bindnetaddr broadcast mcastaddr mcastport ttl""",
    "nodelist": "local_node_pos",
    "nodelist.node": "nodeid name quorum_votes " + " ".join(f"ring{k}_addr" for k in range(8)),
    "quorum": """provider expected_votes votes two_node wait_for_all last_man_standing last_man_standing_window auto_tie_breaker
        auto_tie_breaker_node allow_downscale expected_votes_tracking ev_tracking_barrier""",
    "logging": "timestamp fileline function_name blackbox to_stderr to_logfile to_syslog logfile logfile_priority syslog_facility "
    "syslog_priority debug trace",
    "system": """qb_ipc_type sched_rr priority move_to_root_cgroup allow_knet_handle_fallback state_dir run_dir""",
}


#: The sections of corosync.conf(5).
SECTIONS = ("totem", "totem.interface", "nodelist", "nodelist.node", "quorum", "logging", "logging.logger_subsys", "uidgid", "system")
#: Sections that belong to a quorum device, to resource monitoring and to nozzle(5).
OTHERS = ("quorum.device", "resources", "nozzle")


def unknown_options(cmap: dict[str, str]) -> list[str]:
    """Keys that the file gave and that no option of corosync has, sorted. Sections that plugins own are not looked at."""
    return sorted(key for key in cmap if (split := _option(key)) and split[1] not in OPTIONS[split[0]].split())


def _in_file(key: str) -> bool:
    """Is this the key of an option that `parse_conf` gives? Corosync finds out by itself which node of the list it is."""
    return bool(_option(key)) and key != "nodelist.local_node_pos" and not {"interface", "logger_subsys"} & set(key.split("."))


def _option(key: str) -> tuple[str, str] | None:
    """(section, option) of a key that comes from the file; None for anything else in the map."""
    if m := re.fullmatch(r"(totem\.interface|nodelist\.node)\.\d+\.(\w+)", key):
        return m[1], m[2]
    if m := re.fullmatch(r"logging\.logger_subsys\.\w+\.(\w+)", key):
        return ("logging", m[1]) if m[1] != "subsys" else None
    section, _, option = key.partition(".")
    return (section, option) if section in OPTIONS and "." not in option else None
