"""`make bench`: figures of this machine, printed with what they are measured against. Never a verdict.

Needs root. One lab of its own, from nothing to nothing.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil

from halab import chain
from halab.host import Host
from halab.image import Image
from halab.image_vm import MachineImage
from halab.settings import load

os.environ.setdefault("HALAB_NAME", "bench")
#: The handbook's journey, which the bounds are about.
FIVE = chain.pick(None, "05")
#: Seconds, what they are measured against; machines are emulated on two cores.
BOUNDS = {
    "lxc": {"up": "bound 2.5; a naive script 1.9", "run": "bound 75; a bare script 30 to 48"},
    "vm": {"up": "bound 120", "run": "bound 600"},
}


def halab(*argv: str) -> float:
    """Run a command of halab; its seconds."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "halab", *argv], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def inside(code: str) -> str:
    argv = [sys.executable, "-m", "halab", "exec", "--", sys.executable, "-c", code]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def memory(host: Host) -> int:
    """MiB that the nodes' processes take together, shared pages divided (PSS)."""
    total = 0
    for process in psutil.process_iter():
        try:
            if process.uids().real >= 1_000_000 and host.process in process.parents():
                total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total >> 20


def waits(run: Path) -> float:
    """Seconds of a run's cells that only wait for the cluster (their tag says so): joining, electing,
    missing a dead node, starting and stopping resources."""
    cells = [cell for path in run.glob("*.ipynb") for cell in nbformat.read(path, 4).cells]
    return sum(c.metadata.papermill.duration for c in cells if "waits" in c.metadata.get("tags", []))


def show(what: str, seen: object, against: str) -> None:
    print(f"{what:<58} {seen!s:>10}   {against}", flush=True)


def main() -> None:
    def timed(body: str) -> str:
        return inside(f"import time, halab\nlab = halab.lab()\nt = time.monotonic()\n{body}\nprint(time.monotonic() - t)")

    def checks(*names: str) -> float:
        run = f"with tempfile.TemporaryDirectory() as folder: grading.run({names}, pathlib.Path(folder) / 'report.json')"
        return float(timed(f"import pathlib, tempfile; from halab import grading\n{run}"))

    if load().engine not in BOUNDS:
        sys.exit("bench: expected engine lxc or vm, which it makes and ends; fix: HALAB_ENGINE=lxc")
    halab("image")
    bounds = BOUNDS[load().engine]
    if load().engine == "vm":
        disk = MachineImage(Image(load()))
        show("building the image on a disk (s)", disk.about["seconds"], "")
        show("the image on a disk (MiB)", (disk.folder / "disk.qcow2").stat().st_size >> 20, "")
    show("lab host from nothing (s)", f"{halab('up', '--empty'):.1f}", "")
    show("network to SSH on three nodes (s)", f"{float(timed('lab.up()')):.2f}", bounds["up"])
    show("`halab up` from nothing (s)", f"{halab('down') * 0 + halab('up'):.1f}", "")
    show("memory of three idle nodes (MiB, PSS)", memory(Host(load())), "")
    show("`halab down` (s)", f"{halab('down'):.1f}", "bound 5")
    show("five chapters from nothing to the last grade (s)", f"{halab('run', '--to', FIVE[-1]):.1f}", bounds["run"])
    show("  of which the protocols' own waits (s)", f"{waits(chain.RUNS / 'latest'):.1f}", "cells that only wait for the cluster")
    show("memory of three nodes with Apache and the cluster", memory(Host(load())), "")
    for name in FIVE:
        show(f"checks of {name} (s)", f"{checks(name):.1f} {halab('check', name):.1f}", "bound 3; as a chapter runs them, and as a command")
    show("all checks in one call (s)", f"{checks(*FIVE):.1f} {halab('check', *FIVE):.1f}", "bound 10; as above")
    show("chapters 06 and 07, drills and fencing (s)", f"{halab('run', '--from', '06'):.1f}", "")
    halab("down")
    print(json.dumps({"cores": psutil.cpu_count(), "load": round(os.getloadavg()[0], 1)}))


if __name__ == "__main__":
    main()
