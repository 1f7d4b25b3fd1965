"""Engine ssh: power by a fence agent, what can be seen, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest

from halab import engine, engine_ssh
from halab.command import Result
from halab.engine import Place
from halab.engine_ssh import Machines, Wire
from halab.errors import DeadlinePassed, LabError, Unreachable, UsageError
from halab.host import Host
from halab.settings import Identity, Settings
from tests.unit.test_engine_lxc import FakeHost
from tests.unit.test_inventory import machine

HOLDS = '[{"ifname":"eth0","flags":["UP"],"addr_info":[{"local":"192.168.100.100","prefixlen":24}]}]'


@pytest.fixture
def settings() -> Settings:
    return Settings(engine="ssh", machines=(machine("192.168.100.21", power="fence_x --plug 1"), machine("192.168.100.22", user="admin")))


def machines(settings: Settings, *, agent: int = 0, arping: int = 0) -> Any:
    """The engine on a host where the fence agent and arping end with these statuses (2: it could not ask); `asked` is what
    the agent was asked."""
    host, asked = FakeHost(settings), list[str]()
    answers = {"ip -j route": (0, '[{"dev":"eth0"}]'), "arping": (arping, "" if arping else "52:54:00:9b:d5:11"), "fence_x": (agent, "")}

    def run(command: str, *args: object, **more: object) -> Result:
        asked.extend([command] if command.startswith("fence_x") else [])
        status, stdout = next(answer for start, answer in answers.items() if command.startswith(start))
        return Result("host", command, status, stdout, "why" if status == 2 else "")

    host.run = run  # type: ignore[method-assign]
    made: Any = Machines(host)
    made.asked = asked
    return made


class Link:
    """A connection whose commands give one output, or none for a machine that is silent."""

    def __init__(self, stdout: str | None) -> None:
        self.stdout, self.commands = stdout, list[str]()

    def run(self, command: str, timeout: float) -> Result:
        self.commands.append(command)
        if self.stdout is None:
            raise Unreachable("it answers")
        return Result("", command, 0, self.stdout, "")

    def close(self) -> None:
        self.commands.append("closed")


def test_the_engine_has_no_hypervisor_and_says_so(settings: Settings) -> None:
    made, hypervisor = engine.pick("ssh", Host(settings))
    assert made.name == "ssh"
    for ask in ("uri", "names", "define"):  # an empty URI would be libvirt's default: this machine's own domains
        with pytest.raises(UsageError, match=f"a hypervisor \\({ask}\\)(?s:.*)engine lxc or vm"):
            getattr(hypervisor, ask)


@pytest.mark.parametrize("name", ["domain_xml", "make_disk", "suspend", "resume", "screenshot", "lookout"])
def test_what_only_a_hypervisor_can_do_is_refused(settings: Settings, name: str) -> None:
    with pytest.raises(UsageError, match=name):
        getattr(Machines(Host(settings)), name)


@pytest.mark.parametrize(
    ("arping", "agent", "first", "second"),
    [
        (0, 0, "running", "running"),
        (1, 2, "shut off", "unknown"),
        (1, 0, "unknown", "unknown"),
        (1, 1, "unknown", "unknown"),
        (2, 0, "unknown", "unknown"),  # arping itself failed
    ],
)
def test_only_a_fence_agent_knows_that_a_silent_machine_is_off(
    settings: Settings, arping: int, agent: int, first: str, second: str
) -> None:
    made = machines(settings, agent=agent, arping=arping)
    assert [made.state(node) for node in settings.identities] == [first, second]


def test_power_is_the_agents(settings: Settings) -> None:
    made, node = machines(settings, arping=1), settings.identities[0]
    made._links[node.name] = link = Link("")
    made.power_off(node)
    made.start(node)
    assert made.asked == [f"fence_x --plug 1 --action {action}" for action in ("off", "status", "on")]
    assert link.commands == ["closed"] and not made._links


def test_a_machine_that_runs_is_left_alone(settings: Settings) -> None:
    made = machines(settings)
    made.start(settings.identities[0])
    assert not made.asked


def test_an_agent_that_fails_is_told_with_its_command(settings: Settings) -> None:
    with pytest.raises(LabError, match=r"turns pacemaker01 off(?s:.*)exit status 1(?s:.*)fix: fence_x\(8\)"):
        machines(settings, agent=1).power_off(settings.identities[0])


def test_an_agent_that_hangs_is_told_without_its_command(settings: Settings) -> None:
    def run(line: str) -> Result:
        raise DeadlinePassed(f"lab host: `{line}` within 60 s", "still running")

    with pytest.raises(DeadlinePassed, match="the fence agent of pacemaker01 ends") as late:
        engine_ssh.agent(run, settings.identities[0], "off")
    assert "fence_x" not in str(late.value)


def test_without_an_agent_it_restarts_at_once_and_says_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine_ssh, "listens", lambda address, port: False)
    made, node = machines(settings), settings.identities[1]
    made._links[node.name] = link = Link(None)  # it does not answer any more
    made.power_off(node)
    assert link.commands == [engine_ssh.CRASH, "closed"]
    assert "pacemaker02 has no fence agent" in capsys.readouterr().out


def holds(settings: Settings, number: int, said: str | None, *, agent: int = 0, arping: int = 0) -> object:
    """What that machine is seen to hold, when it, its agent's status and ARP answer so."""
    made, node = machines(settings, agent=agent, arping=arping), settings.identities[number]
    made._links[node.name] = Link(said)
    return made.addresses(node)


@pytest.mark.parametrize(("said", "expected"), [(HOLDS, {"192.168.100.100": Place("eth0", 24)}), ("no json", None)])
def test_what_a_machine_holds_is_asked_of_it(settings: Settings, said: str, expected: object) -> None:
    assert holds(settings, 0, said) == expected


@pytest.mark.parametrize(
    ("number", "agent", "arping", "expected"),
    [
        (0, 2, 0, {}),  # its agent says that it is off
        (0, 0, 0, None),  # on, on the wire, and silent
        (1, 0, 0, None),
        (1, 0, 1, {}),  # nobody answers for its own address
        (1, 0, 2, None),  # arping itself failed
    ],
)
def test_a_silent_machine_is_unknown_unless_it_is_off_or_not_on_the_wire(
    settings: Settings, number: int, agent: int, arping: int, expected: object
) -> None:
    assert holds(settings, number, None, agent=agent, arping=arping) == expected


def test_its_processes_are_not_seen_from_outside(settings: Settings) -> None:
    made = machines(settings)
    assert [made.runs(node, "sshd") for node in settings.identities] == [None, None]


def test_the_wire_is_looked_at_and_never_changed(settings: Settings) -> None:
    wire = Wire(FakeHost(settings, stdout='[{"dst":"192.168.100.21","dev":"ens9"}]'))
    assert wire.interface == "ens9" and wire.faults({}) == {}
    for change in ("up", "dropping", "heal", "switch"):
        with pytest.raises(UsageError, match=change):
            getattr(wire, change)


def test_each_connection_opens_with_the_machines_own_key(settings: Settings, tmp_path: Path) -> None:
    node: Identity = settings.identities[1]
    made = Machines(FakeHost(settings.model_copy(update={"state": tmp_path})))
    (made.host.folder / "keys").mkdir(parents=True)
    assert made._link(node) is made._link(node)
    assert made._link(node).key == Path("/k")
    assert (made._link(node).user, made._link(node).root) == ("admin", "sudo --non-interactive ")
    assert made._link(settings.identities[0]).root == ""
