"""Which machines may be a lab: the look is captured from a real Debian 13, each refusal changes one thing in it."""

from collections.abc import Callable
from typing import Any

import pytest

from halab import admission
from halab.command import Result
from halab.errors import HalabError, MachineLacks, UsageError
from halab.settings import Settings
from tests.unit.test_inventory import machine

ADDRESSES = (
    '[{"ifname":"lo","flags":["UP"],"addr_info":[{"local":"127.0.0.1","prefixlen":8}]},'
    '{"ifname":"eth0","flags":["UP"],"addr_info":[{"local":"192.168.100.21","prefixlen":24}]}]'
)
SEEN = {
    "system": "debian 13", "codename": "trixie", "name": "pacemaker01", "user": "0", "init": "systemd", "there": "", "addresses": ADDRESSES,
    "web": " ", "corosync": "3.1.9-2", "pacemaker": "3.0.0-1", "crmsh": "(none)",
}  # fmt: skip


@pytest.fixture
def settings() -> Settings:
    return Settings(engine="ssh", machines=(machine("192.168.100.21"), machine("192.168.100.22")))


def test_a_machine_that_has_what_a_node_needs_is_let_in(settings: Settings) -> None:
    admission.refuse(settings.identities[0], SEEN, settings)


@pytest.mark.parametrize(
    ("changed", "kind", "says"),
    [
        ({"user": "1000"}, MachineLacks, "sudo"),
        ({"system": "ubuntu 24.04", "codename": "noble"}, MachineLacks, "runs Debian 13 or 12(?s:.*)ubuntu 24.04"),
        ({"system": "raspbian 13"}, MachineLacks, "runs Debian 13 or 12(?s:.*)raspbian"),
        ({"pacemaker": "3.1.2-1~bpo13+1"}, MachineLacks, "pacemaker 3.0.x(?s:.*)bpo13(?s:.*)apt-cache policy pacemaker"),
        ({"system": "debian 12", "codename": "bookworm"}, UsageError, "HALAB_RELEASE=bookworm"),
        ({"init": "init"}, MachineLacks, "systemd"),
        ({"missing": " curl tree"}, MachineLacks, "without curl tree(?s:.*)apt-get install"),
        ({"name": "web1"}, UsageError, "hostnamectl set-hostname pacemaker01"),
        ({"addresses": ADDRESSES.replace("eth0", "ens3")}, UsageError, "on eth0(?s:.*)/24 on ens3"),
        ({"addresses": ADDRESSES.replace("100.21", "100.29")}, UsageError, "on eth0(?s:.*)nowhere"),
        ({"addresses": "no json"}, UsageError, "nowhere"),
        ({"addresses": ADDRESSES.replace("127.0.0.1", "192.168.100.100")}, UsageError, "leaves the virtual IP"),
        ({}, MachineLacks, "root"),
    ],
)
def test_a_machine_that_lacks_one_thing_is_refused_with_it(
    settings: Settings, changed: dict[str, str], kind: type[HalabError], says: str
) -> None:
    seen = SEEN | changed if changed else {}
    with pytest.raises(kind, match=says) as refusal:
        admission.refuse(settings.identities[0], seen, settings)
    assert "pacemaker01 (192.168.100.21)" in str(refusal.value)


def test_an_earlier_labs_cluster_may_hold_the_virtual_ip_and_is_told_of(settings: Settings) -> None:
    seen = SEEN | {"addresses": ADDRESSES.replace("127.0.0.1", "192.168.100.100"), "there": "/etc/corosync/corosync.conf "}
    admission.refuse(settings.identities[0], seen, settings)
    assert "would be lost: pacemaker01" in admission.consent(settings, {"pacemaker01": seen})
    assert "lost" not in admission.consent(settings, {"pacemaker01": SEEN})


@pytest.mark.parametrize("web", ["/var/www/html/index.html ", " LISTEN 0 511 *:80 *:*"])
def test_a_web_server_that_is_there_is_told_of(settings: Settings, web: str) -> None:
    assert "overwritten: pacemaker01" in admission.consent(settings, {"pacemaker01": SEEN | {"web": web}})
    assert "web server" not in admission.consent(settings, {"pacemaker01": SEEN})


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What programs on this machine say: nobody answers arping unless a test says so."""
    said = {"arping": Result("", "", 1, "", "")}

    def run_here(*argv: str, timeout: float) -> Result:
        program = argv[2].split()[0] if argv[:2] == ("sh", "-c") else argv[0]
        return said[program]

    monkeypatch.setattr(admission, "run_here", run_here)

    def say(program: str, stdout: str = "", status: int = 0, stderr: str = "") -> None:
        said[program] = Result("machine", program, status, stdout, stderr)

    return say


@pytest.fixture
def answering(settings: Settings, monkeypatch: pytest.MonkeyPatch, here: Callable[..., None]) -> Callable[[dict[str, Any]], None]:
    """Every machine says this of itself, with its own name and address."""

    def answer(changed: dict[str, Any]) -> None:
        def run(ssh: Any, command: str, timeout: float, input: bytes | None = None) -> Result:
            node = ssh.node
            own = SEEN | {"name": node.name, "addresses": ADDRESSES.replace("192.168.100.21", str(node.address))} | changed
            return Result(node.name, command, 0, "".join(f"{k}={v}\n" for k, v in own.items()), "")

        monkeypatch.setattr(admission.Ssh, "run", run)
        here("ip", '[{"dev":"eth0"}]')

    return answer


def test_without_consent_nothing_begins_and_it_says_what_would(settings: Settings, answering: Callable[[dict[str, Any]], None]) -> None:
    answering({})
    with pytest.raises(UsageError, match=r"pacemaker02 \(192.168.100.22\)(?s:.*)cut their power(?s:.*)halab up --yes"):
        admission.admit(settings, print, agreed=False)


def test_with_consent_the_machines_keys_stand_for_an_image(settings: Settings, answering: Callable[[dict[str, Any]], None]) -> None:
    answering({})
    told: list[str] = []
    facts = admission.admit(settings, told.append, agreed=True)
    assert "you agreed: on pacemaker01" in told[0] and "replace pacemaker's configuration" in told[0]
    assert facts["image"] == "" and len(str(facts["image_digest"])) == 64


@pytest.mark.parametrize(
    ("program", "said", "says"),
    [
        ("ip", {"stdout": '[{"dev":"eth0","gateway":"10.0.0.1"}]'}, "goes there by 10.0.0.1"),
        ("arping", {"stdout": "52:54:00:9b:d5:11\n"}, "somebody answers for it"),
    ],
)
def test_this_machine_is_on_their_link_and_nobody_has_the_virtual_ip(
    settings: Settings, answering: Callable[[dict[str, Any]], None], here: Callable[..., None], program: str, said: dict, says: str
) -> None:
    answering({})
    here(program, **said)
    with pytest.raises(UsageError, match=says):
        admission.admit(settings, print, agreed=True)


def test_a_fence_agent_is_tried_before_it_cuts_anybodys_power(
    answering: Callable[[dict[str, Any]], None], here: Callable[..., None]
) -> None:
    answering({})
    settings = Settings(engine="ssh", machines=(machine("192.168.100.21", power="fence_x --password secret"), machine("192.168.100.22")))
    here("fence_x", status=2, stderr="no such plug")
    with pytest.raises(UsageError, match=r"pacemaker01 \(192.168.100.21\)(?s:.*)no such plug") as refusal:
        admission.admit(settings, print, agreed=True)
    assert "secret" not in str(refusal.value)
    here("fence_x", status=0)
    with pytest.raises(UsageError, match=r"cut their power \(fence_x, run as root here\)") as question:
        admission.admit(settings, print, agreed=False)
    assert "secret" not in str(question.value)


def test_a_refusal_comes_before_the_question(settings: Settings, answering: Callable[[dict[str, Any]], None]) -> None:
    answering({"system": "fedora 44", "codename": ""})
    with pytest.raises(MachineLacks, match="fedora"):
        admission.admit(settings, print, agreed=False)


def test_who_may_not_become_root_is_told_what_sudo_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    said = Result("pacemaker01", "", 1, "", "sudo: a password is required")
    monkeypatch.setattr(admission.Ssh, "run", lambda *args, **kwargs: said)
    with pytest.raises(MachineLacks, match="a password is required"):
        admission.look(settings)
