"""Pictures, as far as they need no lab: what is in them."""

from types import SimpleNamespace
from typing import Any

import pytest

from halab import draw
from halab.errors import StudentError
from halab.totem import Trade


def test_the_curve_has_what_was_forgiven_and_what_was_not() -> None:
    points = [Trade(1, 3.63, 5.5, 1.8, True), Trade(2, 5.83, 8.1, 2.9, True), Trade(3, 8.03, 9.4, 4.0, False)]
    (axes,) = draw.trade(points).axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn == {
        "token + consensus in force": [3.63, 5.83, 8.03],
        "gap at a power cut, measured": [5.5, 8.1, 9.4],
        "pause of corosync that was forgiven": [1.8, 2.9],
        "pause that was not": [4.0],
    }


def test_the_cluster_is_drawn_as_a_node_with_dc_and_quorum_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, off = SimpleNamespace(state="running", dc=None, quorum=False), SimpleNamespace(state="shut off")
    broken, whole = SimpleNamespace(state="running"), SimpleNamespace(state="running", dc="b", quorum=True)

    def status(node: SimpleNamespace) -> SimpleNamespace:
        if node is broken:
            raise StudentError("pacemaker runs", "it does not")
        return node

    monkeypatch.setattr(draw, "status", status)
    for lab, seen in (([alone, off, broken, whole], whole), ([broken, alone], alone), ([broken, off], None)):
        nodes: Any = lab
        drawn: Any = draw.view(nodes)
        assert drawn is seen
