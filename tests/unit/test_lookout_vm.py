import threading

import pytest

from halab import lookout_vm
from halab.engine import Place
from halab.errors import LabError
from halab.lookout_vm import Looks, look

VIP = "192.168.100.100"


@pytest.mark.parametrize(("found", "seen"), [({VIP: Place("eth0", 24)}, True), ({}, False), (None, None)])
def test_a_machine_holds_the_address_or_not_or_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, found: dict | None, seen: bool | None
) -> None:
    monkeypatch.setattr(lookout_vm, "addresses", lambda hypervisor, name: found)
    assert look(None, "pacemaker01", VIP) is seen


def test_without_libvirt_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> dict:
        raise LabError("libvirtd answers")

    monkeypatch.setattr(lookout_vm, "addresses", gone)
    assert look(None, "pacemaker01", VIP) is None


def test_a_machine_that_hangs_is_unknown_until_it_answers_and_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    wakes, answered = threading.Event(), threading.Event()

    def addresses(hypervisor: object, name: str) -> dict[str, Place]:
        if name == "pacemaker02":
            wakes.wait(10)
            answered.set()
        return {VIP: Place("eth0", 24)}

    monkeypatch.setattr(lookout_vm, "addresses", addresses)
    looks = Looks(["pacemaker01", "pacemaker02"], VIP)
    assert [looks.now(0.05) for _ in range(2)] == [{"pacemaker01": True, "pacemaker02": None}] * 2
    wakes.set()
    assert answered.wait(10)
    while looks.now(5)["pacemaker02"] is None:  # the late answer itself belongs to no look
        pass
    assert looks.now(5) == {"pacemaker01": True, "pacemaker02": True}


def test_how_long_a_look_takes_is_told_by_those_that_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()

    def addresses(hypervisor: object, name: str) -> dict[str, Place]:
        answers.wait(10)
        return {}

    monkeypatch.setattr(lookout_vm, "addresses", addresses)
    looks = Looks(["pacemaker01"], VIP)
    assert looks.now(0.05) == {"pacemaker01": None} and looks.took == 0
    answers.set()
    while looks.now(5)["pacemaker01"] is None:
        pass
    assert looks.took > 0
