"""Pictures, as far as they need no lab: what is in them."""

from halab import draw
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
