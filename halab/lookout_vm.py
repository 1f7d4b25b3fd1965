"""Who holds an address, on virtual machines: asks their guest agents again and again, and tells as `halab.lookout` does.

    python -m halab.lookout_vm SECONDS PATIENCE ADDRESS NODE…

Runs as root in the lab host, and ends when its stdin does. A machine whose agent is slower than PATIENCE seconds
holds up no other: it is unknown until it answers. An answer is as old as the look that it came with.
"""

import json
import select
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait

from halab.engine_vm import Vm, addresses
from halab.errors import HalabError
from halab.hypervisor import Hypervisor

#: A look starts a program in each machine. Where that is emulated, it takes a good part of a second of all that the machine can
#: do; so it is let alone after one that takes longer than the looks are apart, for this many times what it took.
REST = 2


def look(hypervisor: Hypervisor, name: str, address: str) -> bool | None:
    """Does the machine hold the address? None: it does not tell."""
    try:
        found = addresses(hypervisor, name)
    except HalabError:
        return None
    return None if found is None else address in found


class Looks:
    """One question at a time for each machine."""

    def __init__(self, names: list[str], address: str) -> None:
        self.names, self.address = names, address
        self._hypervisors = {name: Hypervisor(Vm.uri) for name in names}
        self.took = 0.0
        self._under_way: dict[str, Future[bool | None]] = {}
        self._pool = ThreadPoolExecutor(len(names))

    def now(self, patience: float) -> dict[str, bool | None]:
        start = time.monotonic()
        self._under_way = {name: future for name, future in self._under_way.items() if not future.done()}
        fresh = [name for name in self.names if name not in self._under_way]
        for name in fresh:
            self._under_way[name] = self._pool.submit(look, self._hypervisors[name], name, self.address)
        done, late = wait([self._under_way[name] for name in fresh], patience)
        if not late:  # one that hangs says nothing of how long it takes
            self.took = time.monotonic() - start
        return {name: self._under_way[name].result() if name in fresh and self._under_way[name] in done else None for name in self.names}


def main() -> None:
    every, patience, address, names = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:]
    looks = Looks(names, address)
    while True:
        at = time.monotonic()
        print(json.dumps({"at": at, "seen": looks.now(patience)}), flush=True)
        rest = REST * looks.took if looks.took > every else 0.0
        if select.select([sys.stdin], [], [], max(at + every - time.monotonic(), rest))[0]:
            return


if __name__ == "__main__":
    main()
