"""Against libvirt's own test driver, which keeps its machines in memory (`test:///FILE`)."""

from pathlib import Path
from xml.etree import ElementTree

import libvirt
import pytest

from halab.errors import LabError
from halab.hypervisor import STATES, Hypervisor
from halab.lab import Lab
from halab.settings import Settings


@pytest.fixture
def hypervisor(tmp_path: Path) -> Hypervisor:
    node = tmp_path / "node.xml"
    node.write_text("<node><cpu><mhz>1</mhz><model>x86_64</model><active>2</active><nodes>1</nodes><sockets>1</sockets><cores>2</cores>"
                    "<threads>1</threads></cpu><memory>8388608</memory></node>")  # fmt: skip
    return Hypervisor(f"test://{node}")


def domain_xml(settings: Settings, number: int = 1) -> str:
    """The lab's own domain, with what only the lxc driver takes said in the test driver's words."""
    domain = ElementTree.fromstring(Lab(settings).node(number).xml)
    domain.set("type", "test")
    kind = domain.find("os/type")
    assert kind is not None
    kind.text = "exe"
    return ElementTree.tostring(domain, encoding="unicode")


@pytest.fixture
def defined(hypervisor: Hypervisor, settings: Settings) -> Hypervisor:
    hypervisor.define(domain_xml(settings))
    return hypervisor


def test_a_machine_that_is_not_defined_is_absent(hypervisor: Hypervisor) -> None:
    assert hypervisor.state("pacemaker01") == "absent"
    assert hypervisor.domain("pacemaker01") is None
    assert hypervisor.pid("pacemaker01") is None


def test_the_labs_domain_is_valid_and_keeps_its_address(defined: Hypervisor, settings: Settings) -> None:
    assert defined.names() == ["pacemaker01"]
    kept = ElementTree.fromstring(defined.domain("pacemaker01").XMLDesc())  # type: ignore[union-attr]
    mac = kept.find("devices/interface/mac")
    assert mac is not None
    assert mac.get("address") == settings.identities[0].mac
    assert kept.findtext("memory") == str(settings.memory * 1024)


def test_a_defined_machine_is_off(defined: Hypervisor) -> None:
    assert defined.state("pacemaker01") == "shut off"
    assert defined.pid("pacemaker01") is None


def test_started_suspended_resumed_and_destroyed_it_tells_each_state(defined: Hypervisor) -> None:
    states = []
    for act in (defined.start, defined.suspend, defined.resume, defined.destroy):
        act("pacemaker01")
        states.append(defined.state("pacemaker01"))
    assert states == ["running", "paused", "running", "shut off"]


def test_starting_twice_is_harmless(defined: Hypervisor) -> None:
    defined.start("pacemaker01")
    defined.start("pacemaker01")
    assert defined.state("pacemaker01") == "running"


def test_destroying_twice_is_harmless(defined: Hypervisor) -> None:
    defined.start("pacemaker01")
    defined.destroy("pacemaker01")
    defined.destroy("pacemaker01")
    assert defined.state("pacemaker01") == "shut off"


def test_resuming_what_is_off_is_an_error(defined: Hypervisor) -> None:
    with pytest.raises(LabError, match="libvirt resumes pacemaker01"):
        defined.resume("pacemaker01")


def test_starting_what_is_paused_is_an_error_and_not_taken_for_running(defined: Hypervisor) -> None:
    defined.start("pacemaker01")
    defined.suspend("pacemaker01")
    with pytest.raises(LabError, match="libvirt starts pacemaker01"):
        defined.start("pacemaker01")


@pytest.mark.parametrize("verb", ["start", "destroy", "suspend", "resume"])
def test_what_is_not_defined_can_not_be_acted_on(hypervisor: Hypervisor, verb: str) -> None:
    with pytest.raises(LabError, match="node pacemaker01 is defined"):
        getattr(hypervisor, verb)("pacemaker01")


def test_undefining_forgets_the_machine_and_twice_is_harmless(defined: Hypervisor) -> None:
    defined.undefine("pacemaker01")
    defined.undefine("pacemaker01")
    assert defined.names() == []


def test_defining_again_keeps_one_machine(defined: Hypervisor, settings: Settings) -> None:
    defined.define(domain_xml(settings))
    defined.define(domain_xml(settings, 2))
    assert defined.names() == ["pacemaker01", "pacemaker02"]


@pytest.mark.parametrize("xml", ["", "<domain", "<domain type='test'><name>x</name></domain>", "<network><name>x</name></network>"])
def test_xml_that_is_no_domain_is_refused(hypervisor: Hypervisor, xml: str) -> None:
    with pytest.raises(LabError, match="libvirt defines the domain"):
        hypervisor.define(xml)


def test_a_libvirtd_that_is_not_there_is_the_labs_failure(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="libvirtd answers at test://"):
        Hypervisor(f"test://{tmp_path}/absent.xml").names()


def test_a_connection_that_was_closed_is_made_again(hypervisor: Hypervisor) -> None:
    first = hypervisor.link
    hypervisor._link = None
    assert hypervisor.link is not first
    assert hypervisor.names() == []


def test_libvirts_errors_are_not_printed(hypervisor: Hypervisor, capfd: pytest.CaptureFixture[str]) -> None:
    hypervisor.state("pacemaker01")
    with pytest.raises(LabError):
        hypervisor.define("<domain")
    assert capfd.readouterr() == ("", "")


def test_every_state_of_libvirt_has_a_word() -> None:
    numbers = {getattr(libvirt, f"VIR_DOMAIN_{n}") for n in
               ("NOSTATE", "RUNNING", "BLOCKED", "PAUSED", "SHUTDOWN", "SHUTOFF", "CRASHED", "PMSUSPENDED")}  # fmt: skip
    assert set(STATES) == numbers
    assert set(STATES.values()) == {"running", "paused", "shut off"}
