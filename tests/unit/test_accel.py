import json
from pathlib import Path

import pytest

from halab import accel
from halab.accel import Answer
from halab.errors import MachineLacks
from halab.settings import Settings, load

KERNEL = Path("/cache/vmlinuz")
#: What QEMU 7.2 said in a virtual machine whose /dev/kvm answers, but cannot run what a kernel is made of.
ERROR = "KVM internal error. Suberror: 1\nextra data[0]: 0x0000000000000001\nemulation failure\nRAX=0000000001ad2b90\n"
#: The end of a kernel that booted.
PANIC = "[    0.9] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n"


@pytest.fixture
def cached(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings.cache.mkdir()
    monkeypatch.setattr(accel, "_machine", lambda kernel: ["this machine", str(kernel)])
    return settings


def probe_finds(monkeypatch: pytest.MonkeyPatch, why: str) -> list[Path]:
    asked: list[Path] = []

    def trouble(kernel: Path) -> str:
        asked.append(kernel)
        return why

    monkeypatch.setattr(accel, "trouble", trouble)
    return asked


def test_a_kernel_that_came_to_its_end_booted() -> None:
    assert accel.diagnose(PANIC, "qemu-system-x86_64: warning: something\n", "QEMU ended with status 0") == ""


def test_a_qemu_that_gives_up_says_why() -> None:
    assert accel.diagnose("SeaBIOS\n", ERROR, "QEMU ended with status 1") == (
        "/dev/kvm is there; KVM internal error. Suberror: 1; QEMU ended with status 1"
    )


def test_a_guest_that_hangs_is_told_from_one_that_never_spoke() -> None:
    assert "said nothing" in accel.diagnose("", "", "the guest was not at its end after 10 s")
    assert "said nothing" not in accel.diagnose("Linux version 6", "", "the guest was not at its end after 10 s")


def test_without_a_device_there_is_no_kvm(tmp_path: Path) -> None:
    assert accel.trouble(KERNEL, tmp_path / "kvm") == f"{tmp_path}/kvm: No such file or directory"


def test_a_device_that_may_not_be_opened_says_so(tmp_path: Path) -> None:
    assert accel.trouble(KERNEL, tmp_path) == f"{tmp_path}: Is a directory"


@pytest.mark.parametrize(("why", "chosen"), [("", "kvm"), ("it hangs", "tcg")])
def test_auto_takes_what_works_and_remembers_it(cached: Settings, monkeypatch: pytest.MonkeyPatch, why: str, chosen: str) -> None:
    asked = probe_finds(monkeypatch, why)
    answers = [accel.choose(cached, KERNEL) for _ in range(2)]
    assert [answer.accel for answer in answers] == [chosen] * 2
    assert asked == [KERNEL]
    assert why in answers[1].why


def test_another_kernel_is_another_question(cached: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = probe_finds(monkeypatch, "")
    for kernel in (KERNEL, Path("/cache/another")):
        accel.choose(cached, kernel)
    assert len(asked) == 2


def test_who_demands_kvm_has_it_tried_again_after_a_failure(cached: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    probe_finds(monkeypatch, "the machine was busy")
    assert accel.choose(cached, KERNEL).accel == "tcg"
    asked = probe_finds(monkeypatch, "")
    assert accel.choose(load(accel="kvm"), KERNEL).accel == accel.choose(cached, KERNEL).accel == "kvm"
    assert asked == [KERNEL]


@pytest.mark.parametrize(
    ("does", "why"),
    [
        ("echo 'Linux version 6.12'; exec sleep 60", "not at its end after 1 s"),
        ("exec sleep 60", "the guest's kernel said nothing; the guest was not at its end after 1 s"),
        ("echo 'failed to initialize kvm' >&2; exit 1", "failed to initialize kvm; QEMU ended with status 1"),
        (f"echo '{PANIC}'", ""),
    ],
)
def test_a_probe_ends_however_qemu_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, why: str) -> None:
    qemu = tmp_path / f"qemu-system-{accel.platform.machine()}"
    qemu.write_text(f"#!/bin/sh\n{does}\n")
    qemu.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert accel.diagnose(*accel.boot(KERNEL, "kvm", "host", patience=1)).endswith(why)


def test_emulation_asked_for_needs_no_probe(cached: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = probe_finds(monkeypatch, "")
    assert accel.choose(load(accel="tcg"), KERNEL) == Answer("tcg", "as set")
    assert asked == []


def test_kvm_asked_for_where_it_does_not_work_is_refused_with_the_reason(cached: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    probe_finds(monkeypatch, "the guest hangs")
    with pytest.raises(MachineLacks, match=r"the guest hangs(?s:.*)accel = auto"):
        accel.choose(load(accel="kvm"), KERNEL)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"machine": ["another"], "accel": "kvm", "why": ""}', '{"accel": "kvm", "why": ""}']
)
def test_what_is_no_memory_of_this_machine_is_none(cached: Settings, text: str) -> None:
    (cached.cache / "accelerator.json").write_text(text)
    assert accel.remembered(cached, KERNEL) is None


def test_what_is_remembered_is_a_file_for_people_too(cached: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    probe_finds(monkeypatch, "it hangs")
    accel.choose(cached, KERNEL)
    kept = json.loads((cached.cache / "accelerator.json").read_text())
    assert kept == {"machine": ["this machine", "/cache/vmlinuz"], "accel": "tcg", "why": "it hangs"}
