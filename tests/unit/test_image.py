import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from halab.errors import ImageError, MachineLacks
from halab.image import BASE, HEADS, Image, _packages
from halab.settings import Settings, load

PACKAGES = """\
Package: corosync
Version: 3.1.9-2
Description: cluster engine
 Version: not this one

Package: apache2
Architecture: amd64
Version: 2.4.66-1~deb13u2
"""

Fake = Callable[[str], None]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Puts a shell script in mmdebstrap's place; $root is the folder that it has to fill."""

    def put(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / "mmdebstrap"
        program.write_text(f'#!/bin/sh\nfor root; do case "$root" in */rootfs) break;; esac; done\n{script}\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return put


GOOD = f"""mkdir -p "$root/sbin" "$root/usr/sbin" "$root/halab-repo" "$root/tmp"
cat > "$root/halab-repo/Packages" <<'END'
{PACKAGES}END
echo 'I: success in 1 second'"""


def test_the_digest_is_stable_and_names_the_folder(settings: Settings) -> None:
    image = Image(settings)
    assert image.digest == Image(load()).digest
    assert len(image.digest) == 12
    assert image.folder.name == f"trixie-{image.digest}"


@pytest.mark.parametrize("change", [{"release": "bookworm"}, {"subnet": "10.7.7.0/24", "virtual_ip": "10.7.7.200"}])
def test_what_changes_the_recipe_changes_the_digest(settings: Settings, change: dict) -> None:
    assert Image(load(**change)).digest != Image(settings).digest


@pytest.mark.parametrize("change", [{"nodes": 5}, {"name": "other"}, {"memory": 2048}, {"mirror": "http://m.example/debian"}])
def test_what_does_not_change_the_recipe_keeps_the_image(settings: Settings, change: dict) -> None:
    assert Image(load(**change)).digest == Image(settings).digest


def test_another_package_is_another_recipe(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Image(settings).digest
    monkeypatch.setattr("halab.image.BASE", (*BASE, "cowsay"))
    assert Image(settings).digest != before


def test_the_recipe_leaves_no_cluster_package_and_no_placeholder(settings: Settings) -> None:
    script = Image(settings).script
    assert f"apt-get purge -y {' '.join(HEADS)}" in script
    assert "http://192.168.100.1/" in script
    assert "{" not in script.replace("${", "")


def test_the_recipe_is_a_shell_script_without_errors(settings: Settings) -> None:
    checked = subprocess.run(["sh", "-n"], input=Image(settings).script, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_built_image_tells_what_is_in_it(settings: Settings, fake: Fake) -> None:
    fake(GOOD)
    image, lines = Image(settings), list[str]()
    image.build(lines.append)
    assert image.built
    assert image.about["packages"] == {"corosync": "3.1.9-2", "apache2": "2.4.66-1~deb13u2"}
    assert lines == ["I: success in 1 second"]
    assert sorted(p.name for p in image.folder.iterdir()) == ["image.json", "repo", "rootfs"]


def test_a_built_image_is_not_built_again(settings: Settings, fake: Fake) -> None:
    fake(GOOD)
    Image(settings).build()
    fake("exit 1")
    Image(settings).build()
    assert Image(settings).built


@pytest.mark.parametrize("script", ["echo 'E: No space left on device'; exit 1", "mkdir -p \"$root/sbin\"; echo 'E: no route'; exit 25"])
def test_a_build_that_fails_says_why_and_leaves_nothing(settings: Settings, fake: Fake, script: str) -> None:
    fake(script)
    with pytest.raises(ImageError, match=r"E: no route|No space left"):
        Image(settings).build()
    assert not Image(settings).built
    assert [p.name for p in settings.cache.iterdir()] == []


def test_a_build_that_ends_half_done_is_an_error_and_leaves_nothing(settings: Settings, fake: Fake) -> None:
    fake('mkdir -p "$root/sbin"')
    with pytest.raises(ImageError):
        Image(settings).build()
    assert [p.name for p in settings.cache.iterdir()] == []


def test_an_interrupted_build_leaves_nothing(settings: Settings, fake: Fake) -> None:
    fake("echo first; exec sleep 60")

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Image(settings).build(interrupt)
    assert [p.name for p in settings.cache.iterdir()] == []


def test_without_mmdebstrap_the_fix_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MachineLacks, match=r"mmdebstrap(?s:.*)make setup"):
        Image(settings).build()


def test_a_folder_without_its_record_is_not_built(settings: Settings) -> None:
    (Image(settings).rootfs / "sbin").mkdir(parents=True)
    assert not Image(settings).built


def test_a_record_without_its_root_file_system_is_not_built(settings: Settings) -> None:
    Image(settings).folder.mkdir(parents=True)
    (Image(settings).folder / "image.json").write_text(json.dumps({}))
    assert not Image(settings).built


def test_packages_are_read_by_stanza() -> None:
    assert dict(_packages(PACKAGES)) == {"corosync": "3.1.9-2", "apache2": "2.4.66-1~deb13u2"}


def test_a_stanza_without_its_fields_is_an_error() -> None:
    with pytest.raises(KeyError):
        list(_packages("Package: corosync\n"))
