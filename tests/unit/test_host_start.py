"""What stops a lab host before it starts, and what it records of itself."""

import json
import os
import pwd
import shutil
from types import SimpleNamespace
from typing import Any

import pytest

from halab import host_start
from halab.errors import ImageError, LabError, UsageError
from halab.host import Host
from halab.settings import Settings

ME = pwd.getpwuid(os.getuid())


@pytest.fixture
def host(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Host, "process", None)
    monkeypatch.setattr(Host, "remove", lambda self: shutil.rmtree(self.folder, ignore_errors=True))
    settings.state.mkdir(parents=True, exist_ok=True)
    return Host(settings)


@pytest.fixture
def image(settings: Settings) -> Any:
    return SimpleNamespace(folder=settings.cache / "image", contents="abc", versions={"corosync": "3.1.9"})


def test_a_full_disk_is_told_before_anything_is_written(host: Any, image: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_start.shutil, "disk_usage", lambda path: SimpleNamespace(free=63 << 20))
    with pytest.raises(LabError, match=r"64 MiB(?s:.*)63 MiB left"):
        host_start.start(host, image, ME, {})
    assert not host.folder.exists()


def test_another_users_lab_is_refused(host: Any, image: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    host.folder.mkdir()
    (host.folder / "host.json").write_text(json.dumps({"uid": ME.pw_uid}))
    monkeypatch.setattr(Host, "running", True)
    with pytest.raises(UsageError, match=f"is yours(?s:.*)it is {ME.pw_name}'s"):
        host_start.start(host, image, pwd.struct_passwd(("other", "x", 12345, 12345, "", "/", "/bin/sh")), {})


def test_it_records_settings_image_versions_and_owner(host: Any, image: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_start, "_launch", lambda host: None)
    host_start.start(host, image, ME, {"accel": "tcg", "slowness": 5.0})
    assert Settings(**host.about["settings"]).timeout_scale == 5
    assert host.about["image_digest"] == "abc" and host.about["versions"]["corosync"] == "3.1.9" and host.about["accel"] == "tcg"
    assert (host.folder / "keys").stat().st_mode & 0o777 == 0o700


def test_machines_facts_stand_for_an_images(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_start, "_launch", lambda host: None)
    host_start.start(host, None, ME, {"image": "", "image_digest": "of keys"})
    assert host.about["image_digest"] == "of keys" and set(host.about["versions"]) == {"halab", "kernel"}


def test_what_a_failed_start_left_is_removed(host: Any, image: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(host: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(host_start, "_launch", fail)
    with pytest.raises(LabError, match="No space left"):
        host_start.start(host, image, ME, {})
    assert not host.folder.exists()


def test_a_lab_whose_image_is_gone_is_not_mended(host: Any, image: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    host.folder.mkdir()
    (host.folder / "host.json").write_text(json.dumps({"uid": ME.pw_uid, "image": str(image.folder)}))
    monkeypatch.setattr(Host, "process", object())
    monkeypatch.setattr(Host, "answers", True)
    monkeypatch.setattr(Host, "running", True)
    with pytest.raises(ImageError, match="rootfs/sbin is gone"):
        host_start.start(host, image, ME, {})


def test_nodes_of_this_machines_own_outlive_the_first_process_and_their_disks_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    host, launched = Host(Settings(engine="vm", host="system")), list[object]()
    host.folder.mkdir(parents=True)
    (host.folder / "host.json").write_text(json.dumps({"uid": ME.pw_uid, "settings": {"host": "system"}}))
    (host.folder / "disk").touch()
    monkeypatch.setattr(host_start.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))  # no reason not to end it
    monkeypatch.setattr(Host, "process", None)
    monkeypatch.setattr(Host, "running", False)
    monkeypatch.setattr(host_start, "_launch", launched.append)
    host_start.start(host, None, ME, {})
    assert launched == [host] and (host.folder / "disk").exists()
