"""What a node's daemons look like, from one answer of the node."""

from types import SimpleNamespace
from typing import Any

import pytest

from halab.repair import DAEMONS, without

ALL = " ".join(DAEMONS)


def node(answer: str) -> Any:
    return SimpleNamespace(run=lambda command: SimpleNamespace(stdout=answer))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (f"active\nactive\n{ALL}", ""),
        (f"active\nactive\n{ALL.replace('pacemaker-execd', '')}", "without pacemaker-execd"),
        ("active\nactive\n", f"without {', '.join(DAEMONS)}"),  # a look that fails has seen none
        ("active\nfailed\ncorosync", "corosync is active, pacemaker is failed"),
        ("activating\ninactive\n", "corosync is activating, pacemaker is inactive"),
        ("", "systemd does not answer"),
    ],
)
def test_what_a_node_lacks_is_told(answer: str, text: str) -> None:
    assert without(node(answer)) == text
