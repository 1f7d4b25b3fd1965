"""The QEMU guest agent: run a program in a machine from outside of it, without its network.

Source: QEMU's documentation, "QEMU Guest Agent Protocol Reference" (guest-exec, guest-exec-status). A machine
whose agent does not answer is a machine of which nothing is known.
"""

import base64
import binascii
import json
import math

import libvirt
import libvirt_qemu

from halab.command import Result
from halab.errors import DeadlinePassed
from halab.wait import eventually, seconds


def run(domain: libvirt.virDomain, *argv: str, timeout: float) -> Result | None:
    """Run a program in the machine, `timeout` seconds (times HALAB_TIMEOUT_SCALE) at most; None: it did not answer."""
    try:
        pid = _ask(domain, timeout, "guest-exec", path=argv[0], arg=list(argv[1:]), **{"capture-output": True})["pid"]
        status = eventually(lambda: _ask(domain, timeout, "guest-exec-status", pid=pid), lambda s: s["exited"], within=timeout, every=0.02)
        return parse(domain.name(), argv, status)
    except (libvirt.libvirtError, DeadlinePassed, json.JSONDecodeError, KeyError, TypeError, binascii.Error):
        return None


def parse(name: str, argv: tuple[str, ...], status: dict) -> Result | None:
    """The result of a program that has ended, from the agent's answer to guest-exec-status; None: a signal ended it."""
    if "exitcode" not in status:
        return None
    out, err = (base64.b64decode(status.get(key, "")).decode(errors="replace") for key in ("out-data", "err-data"))
    return Result(f"{name} agent", " ".join(argv), status["exitcode"], out, err)


def _ask(domain: libvirt.virDomain, timeout: float, command: str, **arguments: object) -> dict:
    text = json.dumps({"execute": command, "arguments": arguments})
    return json.loads(libvirt_qemu.qemuAgentCommand(domain, text, math.ceil(seconds(timeout)), 0))["return"]
