"""The steps on pure cgroup v2, on the v2 tree of a mixed machine and a controller that v1 left free."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path("/sys/fs/cgroup/unified")
#: What a lab host's first process does; prints its group, as itself sees it, and what children may use.
STEPS = """\
from pathlib import Path
from halab import cgroups
cgroups.ROOT, cgroups.V2_CONTROLLERS = Path({tree!r}), ({controller!r},)
cgroups.pure_v2 = lambda: True
cgroups.folders = lambda lab: [Path({tree!r}) / f"halab-{{lab}}"]
cgroups.join({lab!r})
cgroups.own({lab!r})
print(next(line for line in open("/proc/self/cgroup") if line.startswith("0::")).strip())
print((Path({tree!r}) / "halab-{lab}" / "cgroup.subtree_control").read_text().strip())
"""


def test_a_lab_hosts_first_process_leaves_the_root_of_its_subtree():
    free = (TREE / "cgroup.controllers").read_text().split() if (TREE / "cgroup.controllers").exists() else []
    if not free:
        pytest.skip("no v2 tree with a free controller here")
    lab, before = f"live-{os.getpid()}-v2", (TREE / "cgroup.subtree_control").read_text().split()
    code = STEPS.format(tree=str(TREE), controller=free[0], lab=lab)
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, f"0::/daemon\n{free[0]}\n"), done.stderr
    finally:
        for folder in (TREE / f"halab-{lab}" / "daemon", TREE / f"halab-{lab}"):
            if folder.exists():
                folder.rmdir()
        if free[0] not in before:
            (TREE / "cgroup.subtree_control").write_text(f"-{free[0]}")
