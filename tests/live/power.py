"""A fence agent (FenceAgentAPI) for a test: the power of a node of another lab, cut as the plug is pulled.

python -m tests.live.power LAB NODE --action on|off|status
"""

import argparse
import sys

from halab.host import Host
from halab.settings import Settings

ACTIONS = {
    "on": "virsh start {node}",
    # libvirt's destroy asks politely first: the death of the first process ends all others at once (pid_namespaces(7)).
    "off": "c=$(cat /run/libvirt/lxc/{node}.pid) && kill -KILL $(cat /proc/$c/task/$c/children); "
    "for i in $(seq 50); do virsh domstate {node} | grep -q 'shut off' && exit 0; sleep 0.1; done; "
    "echo 'it is still {node}:' $(virsh domstate {node}) >&2; exit 1",
    "status": "virsh domstate {node} | grep -q running || exit 2",
}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("lab")
    parser.add_argument("node")
    parser.add_argument("--action", choices=ACTIONS, required=True)
    asked = parser.parse_args()
    host = Host(Settings(name=asked.lab, engine="lxc", machines=()))
    result = host.run(ACTIONS[asked.action].format(node=asked.node), timeout=20)
    print(result.stdout, end="")
    print(result.stderr, end="", file=sys.stderr)
    return result.status


if __name__ == "__main__":
    sys.exit(main())
