"""The golden root file system: built once by mmdebstrap, kept under the digest of its recipe.

It holds systemd, sshd and everything that the cluster packages depend on. The cluster packages
themselves (`HEADS`) are installed while building, so that every package they need is at hand, and then
removed again: a student's `apt-get install pacemaker corosync` is a real one, and takes seconds. All
packages stay in `repo/`, which the lab host serves on the bridge.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from halab.errors import ImageError, MachineLacks
from halab.lock import lock
from halab.settings import Settings

BASE = (
    "systemd-sysv,dbus,libpam-systemd,openssh-server,ifupdown,iproute2,iputils-ping,iputils-arping,procps,psmisc,less,"
    "vim-tiny,nano,python3,python3-lxml,apt-utils,debconf,curl,tree,ca-certificates"
).split(",")  # fmt: skip
#: What the chapters install on the nodes.
HEADS = "corosync,pacemaker,pacemaker-cli-utils,crmsh,resource-agents,fence-virt,apache2,wget".split(",")
#: Root's password on the console (never over the network: sshd takes keys only).
CONSOLE_PASSWORD = "halab"
VERSION = 2

#: Debian starts what it installs, and a cluster daemon must not start before it is configured
#: (invoke-rc.d(8), "policy-rc.d"). mmdebstrap has a file of its own there and removes it at the end.
POLICY = "#!/bin/sh\nexit 101\n"
#: Runs in the new root. The nodes' apt sees the lab's repository only. ShowStatus=no: a container whose
#: console nobody reads stops in the middle of its boot or shutdown once some 4 KB are waiting there.
#: force-unsafe-io: a node's disk lives as long as the lab; dpkg need not wait for it (dpkg(1)).
#: DefaultTimeoutStopSec: on cgroup v1 systemd 252 sometimes misses that a service in a container has
#: ended, and would wait 90 s for it at every reboot.
CUSTOMIZE = """\
set -e
apt-get install -y --no-install-recommends {heads}
mkdir -p /halab-repo
mv /var/cache/apt/archives/*.deb /halab-repo/
cd /halab-repo
apt-ftparchive packages . > Packages
apt-ftparchive -o APT::FTPArchive::Release::Label=halab release . > /tmp/Release
mv /tmp/Release Release
apt-get purge -y {heads}
rm -rf /var/log/apt /var/log/*.log /var/lib/apt/lists/* /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] http://{host}/ ./' > /etc/apt/sources.list
echo 'APT::Install-Recommends "false";' > /etc/apt/apt.conf.d/90halab
echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/halab
rm -f /etc/ssh/ssh_host_* /etc/machine-id /etc/hostname /etc/hosts /etc/resolv.conf /etc/network/interfaces
: > /etc/machine-id
echo debian > /etc/hostname
echo '127.0.0.1       localhost' > /etc/hosts
echo 'debconf debconf/frontend select Noninteractive' | debconf-set-selections
echo 'root:{password}' | chpasswd
printf 'PermitRootLogin prohibit-password\\nPasswordAuthentication no\\nUseDNS no\\nMaxSessions 64\\nMaxStartups 64\\n' \
> /etc/ssh/sshd_config.d/halab.conf
mkdir -p /etc/systemd/system.conf.d
printf '[Manager]\\nShowStatus=no\\nDefaultTimeoutStopSec=5s\\n' > /etc/systemd/system.conf.d/halab.conf
systemctl mask systemd-resolved.service systemd-networkd.service systemd-timesyncd.service apt-daily.timer \
apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer dpkg-db-backup.timer getty-static.service \
systemd-logind.service sys-kernel-debug.mount sys-kernel-tracing.mount systemd-modules-load.service 2>/dev/null
systemctl disable logd.service 2>/dev/null
systemctl enable ssh.service networking.service 2>/dev/null
"""


@dataclass(frozen=True)
class Image:
    """A golden image: where it is kept and what its recipe is. `built` says whether it is there."""

    settings: Settings

    def __repr__(self) -> str:
        return f"<image {self.settings.release} {self.digest}: {'built' if self.built else 'not built'}>"

    @cached_property
    def script(self) -> str:
        return CUSTOMIZE.format(heads=" ".join(HEADS), host=self.settings.host_address, password=CONSOLE_PASSWORD)

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the recipe."""
        recipe = json.dumps([VERSION, self.settings.release, BASE, self.script])
        return hashlib.sha256(recipe.encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        return self.settings.cache / f"{self.settings.release}-{self.digest}"

    @property
    def rootfs(self) -> Path:
        return self.folder / "rootfs"

    @property
    def built(self) -> bool:
        """True only for a whole image: the folder is renamed into place as the last step."""
        return (self.folder / "image.json").is_file() and (self.rootfs / "sbin").exists()

    @property
    def contents(self) -> str:
        """Digest of the recipe and of the packages' versions: what the nodes really run."""
        packages = json.dumps(self.about["packages"], sort_keys=True)
        return f"{self.digest}-{hashlib.sha256(packages.encode()).hexdigest()[:12]}"

    @property
    def versions(self) -> dict[str, str]:
        """name -> version of the packages that the chapters install."""
        return {name: version for name, version in self.about["packages"].items() if name in HEADS}

    @property
    def about(self) -> dict:
        """release, digest, packages (name -> version)."""
        return json.loads((self.folder / "image.json").read_text())

    def build(self, line: Callable[[str], None] = lambda text: None) -> None:
        """Build it unless it is there; `line` is told each step. Needs root. Raises ImageError, MachineLacks."""
        if self.built:
            return
        if not shutil.which("mmdebstrap"):
            raise MachineLacks("mmdebstrap is installed", "not found", "make setup")
        try:
            self.settings.cache.mkdir(parents=True, exist_ok=True)
            with lock(self.settings.cache / ".lock", lambda: line("I: another build goes on; waiting for it")) as held:
                self._build(held.fileno(), line)
        except OSError as error:
            raise ImageError("the image is written", error, "free some disk, then `halab image`") from None

    def _build(self, held: int, line: Callable[[str], None]) -> None:
        if self.built:  # by the one that we waited for
            return
        for left in self.settings.cache.glob(".building-*"):  # whoever holds the lock is the only one who builds
            shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=".building-", dir=self.settings.cache))
        try:
            work.chmod(0o755)
            self._bootstrap(work, held, line)
            self._finish(work)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _bootstrap(self, work: Path, held: int, line: Callable[[str], None]) -> None:
        script = work / "customize"
        script.write_text(self.script)
        argv = ["--variant=minbase", f"--include={','.join(BASE)}"]
        argv += ["--customize-hook=copy-in %s /tmp" % script, '--customize-hook=chroot "$1" sh /tmp/customize']
        argv += [self.settings.release, str(work / "rootfs"), *([self.settings.mirror] if self.settings.mirror else [])]
        run_mmdebstrap(*argv, held=held, line=line)

    def _finish(self, work: Path) -> None:
        rootfs = work / "rootfs"
        (rootfs / "halab-repo").rename(work / "repo")
        (work / "customize").unlink()
        (rootfs / "tmp" / "customize").unlink(missing_ok=True)
        policy = rootfs / "usr" / "sbin" / "policy-rc.d"
        policy.write_text(POLICY)
        policy.chmod(0o755)
        packages = dict(_packages((work / "repo" / "Packages").read_text()))
        about = {"release": self.settings.release, "digest": self.digest, "packages": packages}
        (work / "image.json").write_text(json.dumps(about, indent=1))
        if not self.built:
            shutil.rmtree(self.folder, ignore_errors=True)
            work.rename(self.folder)


def run_mmdebstrap(*argv: str, held: int, line: Callable[[str], None]) -> None:
    """Run mmdebstrap(1) as root; `line` is told what it says, `held` is the lock's descriptor. Raises ImageError."""
    # When this process is killed, so is mmdebstrap; until it is gone it holds the lock too.
    command = ["setpriv", "--pdeathsig", "TERM", "mmdebstrap", "--mode=root", *argv]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_environment(), pass_fds=(held,))
    assert process.stdout
    lines = []
    try:
        for text in process.stdout:
            lines.append(text.rstrip())
            line(lines[-1])
    except BaseException:
        process.terminate()
        raise
    finally:
        process.wait()
    if process.returncode:
        wrong = [t for t in lines if t.startswith(("E:", "W:", "E ")) or "No space left" in t] or lines
        raise ImageError("mmdebstrap builds the image", "\n".join(wrong[-6:]), "free disk or mend the network, then `halab image`")


def _packages(text: str):
    """(name, version) of each stanza of a Packages file (deb-control(5))."""
    for stanza in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " ")
        yield fields["Package"], fields["Version"]


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
