"""What goes through the gate. The messages are built as libvirt's client builds them (captured from fence_virtd 4.12)."""

import io
import struct
from uuid import UUID

import libvirt
import pytest

from halab import gate
from halab.gate import Message, allowed, framed, messages, refusal
from halab.settings import Settings

OURS, OTHER = UUID(Settings().identities[0].uuid), UUID(int=7)
URI = "lxc:///system"


def string(text: str) -> bytes:
    return struct.pack(">I", len(text)) + text.encode() + b"\0" * (-len(text) % 4)


def domain(uuid: UUID, name: str = "pacemaker01") -> bytes:
    return string(name) + uuid.bytes + struct.pack(">i", -1)


def call(procedure: int, body: bytes = b"", *, program: int = gate.PROGRAM, version: int = 1, kind: int = gate.CALL) -> Message:
    return Message(program, version, procedure, kind, 5, 0, body)


def passes(message: Message) -> bool:
    return allowed(message, URI, {OURS})


@pytest.mark.parametrize("procedure", [2, 3, 60, 66, 110, 360, 51, 273, 16, 212, 23, 24])
def test_a_look_passes(procedure: int) -> None:
    assert passes(call(procedure, domain(OTHER)))


@pytest.mark.parametrize("procedure", [9, 12, 14, 196, 234])
@pytest.mark.parametrize("name", ["pacemaker01", "x", "a-name-of-another-length"])
def test_power_is_for_our_domains_whatever_their_name(procedure: int, name: str) -> None:
    assert passes(call(procedure, domain(OURS, name)))
    assert not passes(call(procedure, domain(OTHER, name)))


def test_a_foreign_domain_with_the_name_of_ours_is_foreign() -> None:
    assert not passes(call(12, domain(OTHER, "pacemaker01")))


def test_opens_the_labs_libvirt_and_no_other() -> None:
    yes, no = struct.pack(">I", 1), struct.pack(">I", 0)
    assert passes(call(1, yes + string(URI) + no))
    assert not passes(call(1, yes + string("test:///default") + no))
    assert not passes(call(1, no))


@pytest.mark.parametrize(
    "procedure",
    [10, 11, 8, 33, 201, 27, 28, 34, 35, 141, 152],
    ids=[
        "create XML",
        "define XML",
        "attach device",
        "shutdown",
        "open console",
        "reboot",
        "resume",
        "suspend",
        "undefine",
        "secret",
        "other",
    ],
)
def test_whatever_else_is_refused_even_of_ours(procedure: int) -> None:
    assert not passes(call(procedure, domain(OURS)))


@pytest.mark.parametrize("body", [b"", b"\0", b"\xff\xff\xff\xff", string("pacemaker01"), struct.pack(">I", 400) + b"x"])
def test_arguments_that_are_none_are_refused(body: bytes) -> None:
    assert not passes(call(12, body))


def test_other_programs_versions_and_kinds_are_refused() -> None:
    assert not passes(call(12, domain(OURS), program=0x20008087))  # the qemu program: it has a monitor
    assert not passes(call(12, domain(OURS), version=2))
    assert not passes(call(12, domain(OURS), kind=4))  # a call with file descriptors


def test_a_sign_of_life_passes() -> None:
    assert passes(call(1, program=gate.KEEPALIVE, kind=2))


def test_a_refusal_is_libvirts_error_of_that_call() -> None:
    data = refusal(call(10))
    assert struct.unpack(">I", data[:4])[0] == len(data)
    answer = Message.parse(data[4:])
    assert (answer.procedure, answer.kind, answer.serial, answer.status) == (10, gate.REPLY, 5, gate.ERROR)
    assert struct.unpack(">ii", answer.body[:8]) == (libvirt.VIR_ERR_OPERATION_DENIED, libvirt.VIR_FROM_ACCESS)


def test_messages_end_with_the_stream_or_with_what_is_none() -> None:
    whole = framed(b"x" * 24)
    assert list(messages(io.BytesIO(whole * 2).read)) == [b"x" * 24] * 2
    assert list(messages(io.BytesIO(whole + whole[:10]).read)) == [b"x" * 24]
    assert list(messages(io.BytesIO(framed(b"short")).read)) == []
    assert list(messages(io.BytesIO(struct.pack(">I", 1 << 31)).read)) == []
