"""How a lab host starts, or is mended: its record, its first process, and the wait until it answers. Needs root."""

from __future__ import annotations

import grp
import json
import os
import platform
import pwd
import secrets
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from halab.errors import DeadlinePassed, HostDown, ImageError, LabError, UsageError
from halab.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from halab.host import Host
    from halab.image import Image

#: MiB without which nodes don't even boot (`halab doctor` asks for what the chapters need).
ROOM = 64
NO_ROOM = "free some disk, or set HALAB_STATE to a folder on another one"


def start(host: Host, image: Image | None, owner: pwd.struct_passwd, facts: dict[str, object]) -> None:
    """Start the lab host, or mend one that is half there; `facts` of the engine are recorded (those of machines that are
    there already stand for an image's). Raises LabError; UsageError when it is somebody else's."""
    _refuse_strangers(host, owner)
    if host.survives and not host.process:
        _launch(host)
        return
    _room(host)
    if host.process:
        _until_it_answers(host, lambda: host.process is not None)
        _mend(host)
        return
    host.remove()
    try:
        host.folder.mkdir(parents=True)
        _record(host, image, owner, facts)
        _launch(host)
    except BaseException as error:
        host.remove()
        if isinstance(error, OSError):
            raise LabError(f"the lab's files are written in {host.folder}", error, NO_ROOM) from None
        raise


def _refuse_strangers(host: Host, owner: pwd.struct_passwd) -> None:
    try:
        uid = host.about["uid"]
    except HostDown:
        return
    if host.running and uid != owner.pw_uid:
        name = pwd.getpwuid(uid).pw_name
        raise UsageError(f"lab {host.settings.name} is yours", f"it is {name}'s", "HALAB_NAME=another halab up")


def _room(host: Host) -> None:
    free = shutil.disk_usage(host.settings.state).free >> 20
    if free < ROOM:
        raise LabError(f"{ROOM} MiB for the lab in {host.settings.state}", f"{free} MiB left on that disk", NO_ROOM)


def _record(host: Host, image: Image | None, owner: pwd.struct_passwd, facts: dict[str, object]) -> None:
    about = {
        "settings": host.settings.slowed(float(str(facts.get("slowness", 1)))).model_dump(mode="json"),
        **({"image": str(image.folder), "image_digest": image.contents} if image else {}),
        "versions": {"halab": metadata.version("halab"), "kernel": platform.release(), **(image.versions if image else {})},
        "uid": owner.pw_uid,
        "group": grp.getgrgid(owner.pw_gid).gr_name,
        "instance": secrets.token_hex(4),
        "start": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
    }
    record = host.folder / "host.json"
    record.touch(0o600)  # a fence agent's password may stand in it
    os.chown(record, owner.pw_uid, owner.pw_gid)
    record.write_text(json.dumps(about, indent=1))
    keys = host.folder / "keys"
    keys.mkdir(mode=0o700)
    os.chown(keys, owner.pw_uid, owner.pw_gid)


def _launch(host: Host) -> None:
    # The holder records itself and holds the lock until it did: nobody can kill us in between.
    with (host.folder / "host.log").open("wb") as output:
        holder = subprocess.Popen(
            [sys.executable, "-m", "halab.warden", str(host.folder), "hold", *map(str, host.lock)],
            cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, pass_fds=host.lock,
        )  # fmt: skip
    _until_it_answers(host, lambda: holder.poll() is None)


def _until_it_answers(host: Host, lives: Callable[[], bool]) -> None:
    log = host.folder / "host.log"
    try:
        eventually(lambda: not lives() or host.answers, within="boot", every=0.02)
    except DeadlinePassed:
        raise LabError("the lab host answers within its time", _tail(log), "halab down, then halab up") from None
    if not lives():
        raise LabError("the lab host starts", _tail(log), "halab doctor")


def _mend(host: Host) -> None:
    """Nodes survive the lab host's daemons: those that are gone are started again."""
    if host.settings.machines:
        return
    about = host.about
    parts = [Path(about["image"], "rootfs", "sbin"), *(Path(folder, "disk.qcow2") for folder in [about.get("machine_image")] if folder)]
    for part in parts:
        if not part.exists():
            raise ImageError(f"lab {host.settings.name} has its image", f"{part} is gone", "halab down, then halab up")
    host.check_output("%s -m halab.warden %s mend", sys.executable, host.folder)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-5:]) if log.exists() else "no log"
