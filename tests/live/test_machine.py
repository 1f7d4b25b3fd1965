"""The machine under the lab: the same before and after, and who is who on it."""

import contextlib
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from halab.cgroups import ROOT
from halab.desk import OWN
from halab.lock import held
from halab.wait import eventually
from tests.live.livelab import REPOSITORY, finish


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def machine() -> dict[str, object]:
    """What a lab must leave as it was. Other labs may come and go meanwhile: theirs is told apart by name."""
    return {
        "links": sorted((link["ifindex"], link["ifname"], tuple(link["flags"])) for link in json.loads(output("ip", "-j", "link"))),
        "addresses": sorted(a["local"] for link in json.loads(output("ip", "-j", "addr")) for a in link["addr_info"]),
        "routes": output("ip", "-j", "route", "show", "table", "all"),
        "firewall": output("nft", "list", "ruleset"),
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "core pattern": Path("/proc/sys/kernel/core_pattern").read_text(),
        "namespaces": output("ip", "netns", "list"),
    }


def traces(name: str) -> list[str]:
    """What on this machine bears a lab's name: cgroups, files, processes."""
    processes = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if name in " ".join(p.info["cmdline"] or [])]
    folders = [str(path) for path in [*ROOT.glob(f"*/halab-{name}"), *ROOT.glob(f"halab-{name}")]]
    return [*map(str, processes), *folders, *map(str, Path("/var/lib/halab").glob(f"*{name}*"))]


def ended(process: psutil.Process) -> bool:
    """Gone, or dead and not yet reaped: that is left to the machine's own first process, and some are slow."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_the_machine_is_the_same_during_and_after(new_lab):
    before = machine()
    lab = new_lab().up()
    everything = [lab.lab.host.process, *lab.lab.host.process.children(recursive=True)]
    assert traces(lab.name)
    assert machine() == before
    assert lab.halab("down").ok
    assert machine() == before
    assert traces(lab.name) == []
    assert [p for p in everything if not ended(p)] == []


def test_a_nodes_first_process_is_nobody_on_the_machine(live):
    inits = [p for p in live.lab.host.process.children(recursive=True) if p.uids().real == 1_000_000 and p.name() in ("systemd", "init")]
    assert len(inits) == len(live.lab.nodes)


def test_exec_runs_where_it_is_called_and_gives_the_exit_status(live):
    assert live.halab("exec", "--", "sh", "-c", "exit 7").status == 7
    assert live.halab("exec", "--", "pwd").stdout == f"{REPOSITORY}\n"
    missing = live.halab("exec", "--", "no-such-program")
    assert missing.status == 2 and "no-such-program" in missing.stderr


def test_the_keys_are_private(live):
    keys = live.settings.folder / "keys"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in keys.iterdir() if p.name != "known_hosts"} == {0o600}


# -- through sudo -------------------------------------------------------------------------------------


@pytest.fixture
def new_user():
    """A factory of users with passwordless sudo; gone afterwards."""
    made: list[str] = []
    if not shutil.which("sudo"):
        pytest.skip("sudo is not installed on this machine")
    sudoers = Path(f"/etc/sudoers.d/halab-live-{os.getpid()}")

    def make() -> pwd.struct_passwd:
        name = f"halab-live-{os.getpid()}-{len(made)}"
        subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", name], check=True)
        made.append(name)
        rules = [f"Defaults:{n} env_keep += PYTHONPATH\n{n} ALL=(ALL:ALL) NOPASSWD: ALL\n" for n in made]
        sudoers.write_text("".join(rules))
        sudoers.chmod(0o440)
        if subprocess.run(["setpriv", f"--reuid={name}", "--clear-groups", "sudo", "--non-interactive", "true"], check=False).returncode:
            pytest.skip("sudo lets nobody become root on this machine")
        return pwd.getpwnam(name)

    yield make
    sudoers.unlink(missing_ok=True)
    for name in made:
        subprocess.run(["userdel", "--remove", name], check=True, capture_output=True)


@pytest.fixture
def checkout():
    """A copy of this repository that every user can read, at a place that every user can reach."""
    folder = Path(f"/var/tmp/halab-live-{os.getpid()}")
    for part in ("halab", "notebooks"):
        shutil.copytree(REPOSITORY / part, folder / part)
    yield folder
    shutil.rmtree(folder)


def begun_as_user(lab, user: pwd.struct_passwd, checkout: Path, *argv: str, path: str = os.environ["PATH"], out=subprocess.PIPE):
    """As one whose files nobody else may read (umask 077): the lab's must be readable all the same."""
    command = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups", "env", "-i"]
    env = {**lab.env, "PATH": path, "HOME": user.pw_dir, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        [*command, *(f"{k}={v}" for k, v in env.items()), sys.executable, "-m", "halab", *argv],
        cwd=checkout, text=True, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, umask=0o077,
    )  # fmt: skip
    lab.started.append(process)
    return process


def as_user(lab, user: pwd.struct_passwd, checkout: Path, *argv: str, path: str = os.environ["PATH"]):
    return finish(begun_as_user(lab, user, checkout, *argv, path=path))


def test_a_user_with_sudo_has_a_lab_of_their_own(new_lab, new_user, checkout):
    user, other, lab = new_user(), new_user(), new_lab(nodes=2)
    if as_user(lab, user, checkout, "--version").status:
        pytest.skip(f"{sys.executable} cannot be run by another user here")
    with contextlib.ExitStack() as stack:
        stack.callback(lab.halab, "down")  # before the users go
        done = as_user(lab, user, checkout, "up")
        assert done.ok, done.stderr
        assert as_user(lab, user, checkout, "exec", "--", "id", "-un").stdout.strip() == user.pw_name
        assert as_user(lab, user, checkout, "exec", "--", "sh", "-c", "echo $HOME; pwd").stdout.split() == [user.pw_dir, str(checkout)]
        keys = lab.settings.folder / "keys"
        for path in (keys, *keys.iterdir()):
            assert path.stat().st_uid == user.pw_uid, path
        assert stat.S_IMODE(keys.stat().st_mode) == 0o700
        assert as_user(lab, user, checkout, "ssh", "pacemaker01", "hostname; stat -c %a /etc").stdout.split() == ["pacemaker01", "755"]
        assert as_user(lab, user, checkout, "status").ok
        assert as_user(lab, user, checkout, "up").ok
        refused = as_user(lab, other, checkout, "up")
        assert refused.status == 2 and user.pw_name in refused.stderr and "HALAB_NAME" in refused.stderr
        assert lab.lab.host.about["uid"] == user.pw_uid
        done = as_user(lab, user, checkout, "down")
        assert done.ok, done.stderr
    assert traces(lab.name) == []


def test_a_users_jupyterlab_that_is_asked_to_end_ends_inside_too(new_lab, new_user, checkout, tmp_path):
    """What goes through sudo is root's, and no user can end it."""
    user, lab, log = new_user(), new_lab(nodes=2), tmp_path / "log"
    if as_user(lab, user, checkout, "--version").status:
        pytest.skip(f"{sys.executable} cannot be run by another user here")
    folder = Path(user.pw_dir) / "work"
    with contextlib.ExitStack() as stack:
        stack.callback(lab.halab, "down")  # before the users go
        with log.open("w") as out:
            desk = begun_as_user(lab, user, checkout, "lab", "--no-browser", str(folder), out=out)
        eventually(lambda: "JupyterLab is open" in log.read_text(), within=90, what="JupyterLab is open")
        desk.terminate()
        assert finish(desk).status == 0
        assert log.read_text().endswith("JupyterLab is closed; the lab goes on\n")
        assert not held(folder / OWN / "lock")


def test_a_user_without_sudo_is_told(new_lab, new_user, checkout, tmp_path):
    user, lab = new_user(), new_lab()
    if as_user(lab, user, checkout, "--version").status:
        pytest.skip(f"{sys.executable} cannot be run by another user here")
    empty = as_user(lab, user, checkout, "up", path="/nonexistent:/bin/halab-none")
    assert empty.status == 3 and "sudo" in empty.stderr and "as root" in empty.stderr
    Path(f"/etc/sudoers.d/halab-live-{os.getpid()}").unlink()
    denied = as_user(lab, user, checkout, "up")
    assert denied.status == 3 and "halab: expected: sudo lets you become root" in denied.stderr
