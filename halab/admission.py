"""Which machines may be a lab (engine ssh): each is looked at before anything is changed, and refused with the reason."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from halab import arp
from halab.command import Result, run_here
from halab.engine import parse_addresses
from halab.engine_ssh import agent, told
from halab.errors import MachineLacks, UsageError
from halab.keys import Keys
from halab.settings import Identity, Settings
from halab.ssh import Ssh
from halab.wait import seconds

#: Debian releases whose corosync and pacemaker the chapters are about (os-release(5), VERSION_CODENAME), and their names.
RELEASES = {"trixie": "13", "bookworm": "12"}
#: How each release's versions begin (packages.debian.org); backports or a vendor's repository may offer others.
VERSIONS = {
    "trixie": {"corosync": "3.1.", "pacemaker": "3.0.", "crmsh": "5.0."},
    "bookworm": {"corosync": "3.1.", "pacemaker": "2.1.", "crmsh": "4.4."},
}
#: What tells that a cluster was configured there before.
CLUSTER = ("/etc/corosync/corosync.conf", "/var/lib/pacemaker/cib/cib.xml")
#: What chapter 05 stops, disables and overwrites.
PAGE = "/var/www/html/index.html"
#: What the chapters and their checks use besides what they install: our image has it, a Debian without recommended packages not.
PROGRAMS = ("ip", "ping", "curl", "tree", "pgrep", "find", "ss")
LOOK = f"""
. /etc/os-release
echo "system=$ID $VERSION_ID"
echo "codename=$VERSION_CODENAME"
echo "name=$(cat /proc/sys/kernel/hostname)"
echo "user=$(id --user)"
echo "init=$(cat /proc/1/comm)"
echo "there=$(ls --directory {" ".join(CLUSTER)} 2> /dev/null | tr '\\n' ' ')"
echo "web=$(ls {PAGE} 2> /dev/null) $(ss -Hltn 'sport = :80' 2> /dev/null | head --lines 1)"
for package in {" ".join(VERSIONS["trixie"])}; do
    echo "$package=$(LC_ALL=C apt-cache policy $package 2> /dev/null | sed --quiet 's/^  Candidate: //p')"
done
for program in {" ".join(PROGRAMS)}; do command -v $program > /dev/null || missing="$missing $program"; done
echo "missing=$missing"
echo "addresses=$(ip -j -4 addr | tr -d '\\n')"
"""


def admit(settings: Settings, line: Callable[[str], None], *, agreed: bool) -> dict[str, object]:
    """What the lab host records of the machines; a digest of it stands where an image's does. Nothing on them is changed.
    What will be done to them is told in any case, by `line` to who has agreed.

    Raises UsageError without consent, or for a machine that cannot take its place; MachineLacks for one that lacks
    something; Unreachable, HostKeyRefused."""
    seen = look(settings)
    for node in settings.identities:
        refuse(node, seen[node.name], settings)
        _power_answers(node)
    _on_their_network(settings, seen)
    if not agreed:
        raise UsageError(f"you agree: {consent(settings, seen)}", "no --yes", "halab up --yes")
    line(f"you agreed: {consent(settings, seen)}")
    digest = sha256("".join(machine.known for machine in settings.machines).encode()).hexdigest()
    return {"image": "", "image_digest": digest}


def look(settings: Settings) -> dict[str, dict[str, str]]:
    """Node name -> what its machine says of itself, all at once. Raises Unreachable, HostKeyRefused, MachineLacks."""
    with TemporaryDirectory() as folder, ThreadPoolExecutor(16) as pool:
        keys = Keys(Path(folder))
        known = keys.known_hosts(settings.identities)
        return dict(pool.map(lambda node: (node.name, _look(node, Ssh(node, keys.opening(node), known))), settings.identities))


def _look(node: Identity, ssh: Ssh) -> dict[str, str]:
    try:
        result = ssh.run(LOOK, seconds(20))
    finally:
        ssh.close()
    if not result.stdout:
        raise MachineLacks(f"{node.name} ({node.address}) lets the lab be root", result.stderr.strip(), "sudoers(5), NOPASSWD")
    return dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)


def refuse(node: Identity, seen: dict[str, str], settings: Settings) -> None:
    """Raises UsageError or MachineLacks when this machine cannot be that node."""
    where = f"{node.name} ({node.address})"
    if seen.get("user") != "0":
        raise MachineLacks(f"{where} lets the lab be root, by sudo without a password", f"user {seen.get('user')}", "sudoers(5), NOPASSWD")
    if seen.get("codename") not in RELEASES or seen.get("system", "").split()[:1] != ["debian"]:
        raise MachineLacks(f"{where} runs Debian 13 or 12", seen.get("system", "nothing known"), "another machine")
    if seen["codename"] != settings.release:
        fix = f"HALAB_RELEASE={seen['codename']}, when all machines run it"
        raise UsageError(f"{where} runs Debian {RELEASES[settings.release]}, as the setting release says", seen["system"], fix)
    for package, version in VERSIONS[seen["codename"]].items():
        offered = seen.get(package, "")  # nothing, or `(none)`: where apt was never updated
        if offered[:1].isdigit() and not offered.startswith(version):
            fix = f"apt-cache policy {package}, on it: no other repository may offer it"
            raise MachineLacks(f"apt on {where} installs {package} {version}x, as in its release", offered, fix)
    if seen.get("init") != "systemd":
        raise MachineLacks(f"{where} runs systemd", seen.get("init", ""), "another machine")
    if seen.get("name") != node.name:
        raise UsageError(f"{where} is called {node.name}", seen.get("name", ""), f"hostnamectl set-hostname {node.name}, on it")
    if missing := seen.get("missing", "").strip():
        fix = "apt-get install iproute2 iputils-ping curl tree procps findutils, on it"
        raise MachineLacks(f"{where} has {', '.join(PROGRAMS)}", f"without {missing}", fix)
    held = parse_addresses(seen.get("addresses", "")) or {}
    if (place := held.get(str(node.address))) is None or place.interface != "eth0":
        fix = "name it so: systemd.link(5), or net.ifnames=0 on the kernel's command line"
        raise UsageError(f"{where} has that address on eth0, as in the chapters", place or "nowhere", fix)
    if str(settings.virtual_ip) in held and not seen.get("there"):  # of an earlier lab's cluster, it may be
        raise UsageError(f"{where} leaves the virtual IP to the cluster", f"it has {settings.virtual_ip}", "another virtual_ip")


def _power_answers(node: Identity) -> None:
    """The machine has just answered: its fence agent must call it on."""
    if not (node.machine and node.machine.power):
        return
    done = agent(_shell, node, "status")
    if not done.ok:
        raise UsageError(f"{node.name} ({node.address}): its fence agent says that it is on", *told(node, done))


def _on_their_network(settings: Settings, seen: dict[str, dict[str, str]]) -> None:
    """This machine asks by ARP who has an address: it must be on the same link; and nobody else may have the virtual IP."""
    route = json.loads(run_here("ip", "-j", "route", "get", str(settings.machines[0].address), timeout=5).stdout or "[{}]")[0]
    if "dev" not in route or "gateway" in route:
        raise UsageError(f"this machine is on the network {settings.subnet}", f"it goes there by {route.get('gateway')}", "another machine")
    ours = any(str(settings.virtual_ip) in (parse_addresses(facts.get("addresses", "")) or {}) for facts in seen.values())
    if not ours and arp.cards(_shell, route["dev"], settings.virtual_ip):
        raise UsageError(f"nobody has the virtual IP {settings.virtual_ip} yet", "somebody answers for it (arping)", "another virtual_ip")


def _shell(line: str) -> Result:
    """On this machine, not yet in a lab host."""
    return run_here("sh", "-c", line, timeout=seconds(30))


def consent(settings: Settings, seen: dict[str, dict[str, str]]) -> str:
    """What will be done to the machines, in words."""
    machines = ", ".join(f"{node.name} ({node.address})" for node in settings.identities)

    def where(key: str, what: str) -> str:
        had = [name for name, facts in seen.items() if facts.get(key, "").strip()]
        return f" {what}: {', '.join(had)}." if had else ""

    there = where("there", "A cluster was configured there before and would be lost")
    web = where("web", f"A web server runs there, or has its first page: it would be stopped, and {PAGE} overwritten")
    agents = sorted({machine.power.split()[0] for machine in settings.machines if machine.power})
    by = f" ({', '.join(agents)}, run as root here)" if agents else ""
    return (
        f"on {machines} the chapters install corosync, pacemaker and Apache, write /etc/corosync, replace pacemaker's "
        f"configuration, and cut their power{by}.{there}{web}"
    )
