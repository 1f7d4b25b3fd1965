"""The golden image: whole or not there. mmdebstrap is played by a script, but in the slow tests."""

import os
import subprocess
from pathlib import Path

import psutil
import pytest

from halab.wait import eventually

#: Called as the real one: … RELEASE ROOTFS [MIRROR]. It waits for as long as the file `hold` is beside it.
FAKE = """\
#!/bin/bash
while [ "${1#-}" != "$1" ]; do shift; done
release=$1 rootfs=$2
mkdir -p $rootfs/sbin $rootfs/halab-repo $rootfs/tmp $rootfs/usr/sbin
touch $rootfs/usr/sbin/policy-rc.d
printf 'Package: crmsh\\nVersion: 1\\n\\nPackage: corosync\\nVersion: 2\\n' > $rootfs/halab-repo/Packages
echo "I: at work in $rootfs"
echo $BASHPID >> FOLDER/builds
while [ -e FOLDER/hold ]; do sleep 0.05; done
[ ! -e FOLDER/fill ] || head -c 30M /dev/zero > $rootfs/filler || exit 1
"""


@pytest.fixture
def fake(tmp_path: Path) -> dict[str, str]:
    """The environment in which `mmdebstrap` is the script."""
    program = tmp_path / "mmdebstrap"
    program.write_text(FAKE.replace("FOLDER", str(tmp_path)))
    program.chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


def builds(tmp_path: Path) -> list[int]:
    file = tmp_path / "builds"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def images(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/image.json"))


def test_a_build_that_was_killed_is_never_used_and_leaves_nothing(new_lab, tmp_path, fake):
    cache = tmp_path / "cache"
    lab = new_lab(cache=cache)
    (tmp_path / "hold").touch()
    first = lab.start("image", **fake)
    eventually(lambda: builds(tmp_path), within=20, every=0.02)
    first.kill()
    assert len(list(cache.glob(".building-*"))) == 1 and images(cache) == []
    orphan = builds(tmp_path)[0]
    eventually(lambda: not psutil.pid_exists(orphan), within=10, what="mmdebstrap ends with halab")
    (tmp_path / "hold").unlink()
    done = lab.halab("image", **fake)
    assert done.ok, done.stderr
    assert "2 packages" in done.stdout
    assert len(images(cache)) == 1 and list(cache.glob(".building-*")) == []


def test_two_builds_at_once_make_one_image(new_lab, tmp_path, fake):
    lab = new_lab(cache=tmp_path / "cache")
    (tmp_path / "hold").touch()
    first = lab.start("image", **fake)
    eventually(lambda: builds(tmp_path), within=20, every=0.02)
    second = lab.start("image", **fake)
    assert "another build goes on" in second.stdout.readline() + second.stdout.readline()
    (tmp_path / "hold").unlink()
    assert first.wait(30) == second.wait(30) == 0
    assert len(builds(tmp_path)) == 1


def test_a_change_of_the_release_is_another_image(new_lab, tmp_path, fake):
    lab, cache = new_lab(cache=tmp_path / "cache"), tmp_path / "cache"
    for release in ("trixie", "bookworm", "trixie"):
        assert lab.halab("image", HALAB_RELEASE=release, **fake).ok
    assert [path.parent.name.split("-")[0] for path in images(cache)] == ["bookworm", "trixie"]
    assert len(builds(tmp_path)) == 2


def test_a_disk_that_fills_while_building_is_told(small_disk, new_lab, tmp_path, fake):
    lab = new_lab(cache=small_disk("20m"))
    (tmp_path / "fill").touch()
    done = lab.halab("image", **fake)
    assert done.status == 3 and "No space left" in done.stderr and "halab image" in done.stderr
    assert list(lab.settings.cache.iterdir()) == []
    done = lab.halab("up", **fake)
    assert done.status == 3 and "No space left" in done.stderr


def test_mmdebstrap_that_is_not_there_is_told(new_lab, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    done = new_lab(cache=tmp_path / "cache").halab("image", PATH=str(tools))
    assert done.status == 3 and "make setup" in done.stderr


@pytest.mark.slow
def test_the_real_mmdebstrap_tells_of_a_full_disk_too(small_disk, new_lab):
    lab = new_lab(cache=small_disk("20m"))
    done = lab.halab("image", timeout=300)
    assert done.status == 3 and "space" in done.stderr, done
    assert list(lab.settings.cache.iterdir()) == []


@pytest.mark.slow
def test_debian_12_nodes_come_up_and_install_the_cluster(new_lab):
    lab = new_lab(release="bookworm")
    done = lab.halab("up", timeout=900)
    assert done.ok, done.stderr

    def install(node):
        node.check_output("apt-get update && apt-get install -y corosync pacemaker crmsh", timeout=300)
        return node.check_output("cat /etc/debian_version; crm --version; corosync -v; systemctl is-enabled corosync || true")

    seen = lab.within(lambda: lab.lab.each(install), timeout=400)
    assert len(seen) == 3
    for text in seen.values():
        assert text.startswith("12.") and "Corosync Cluster Engine, version '3.1.7'" in text and "crm 4.4" in text
    running = "pgrep -x 'corosync|pacemakerd'"  # installed, not started
    assert lab.within(lambda: {r.status for r in lab.lab.each(lambda n: n.run(running)).values()}) == {1}


def test_the_packages_of_the_chapters_install_with_no_way_out(live):
    def install():
        node = live.lab.node(1)
        assert not node.run("ping -c 1 -W 1 9.9.9.9").ok
        node.check_output("apt-get update && apt-get install -y corosync pacemaker crmsh apache2 wget", timeout=120)
        return node.check_output("crm --version; pacemakerd --version")

    assert "crm 5" in (seen := live.within(install)) and "Pacemaker 3" in seen


def test_a_mount_of_the_image_never_reaches_the_machine(live, image):
    mounts = subprocess.run(["findmnt", "-rn"], capture_output=True, text=True, check=True).stdout
    assert str(live.settings.folder) not in mounts
    assert live.within(lambda: live.lab.node(1).run("touch /lower-probe").ok)
    assert not (image.rootfs / "lower-probe").exists()
