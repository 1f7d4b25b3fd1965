from halab import fence_drill
from halab.lab import Sight
from halab.sightings import Look

LOOKS: fence_drill.Looks = [
    (0.0, {"n1": 10, "n2": 20}, True),
    (1.0, {"n1": 10, "n2": 20}, True),
    (2.0, {"n1": None, "n2": 20}, False),
    (3.0, {"n1": 11, "n2": 20}, False),
    (8.0, {"n1": 11, "n2": 20}, True),
    (9.0, {"n1": 11, "n2": 20}, True),
]


def look(at: float, *holders: str) -> Look:
    return Look(at, {name: Sight.HELD if name in holders else Sight.NOT_HELD for name in ("n1", "n2")})


def test_a_machine_restarted_when_it_was_first_off() -> None:
    assert fence_drill.restarted(LOOKS) == {"n1": 2.0}
    assert fence_drill.restarted(LOOKS[:2]) == {} == fence_drill.restarted([])


def test_a_machine_that_was_never_seen_off_restarted_under_another_number() -> None:
    assert fence_drill.restarted([LOOKS[0], *LOOKS[3:]]) == {"n1": 3.0}


def test_how_late_corosync_ran_after_the_machine_did() -> None:
    assert fence_drill.late(LOOKS, "n1") == 5.0
    assert fence_drill.late(LOOKS[:4], "n1") is None
    assert fence_drill.late(LOOKS, "n2") is None is fence_drill.late([], "n1")


def test_when_another_node_first_held_the_address() -> None:
    looks = [look(0, "n1"), look(1), look(2, "n1", "n2"), look(3, "n2")]
    assert fence_drill.moved(looks, "n1") == 2
    assert fence_drill.moved(looks[:2], "n1") is None


def test_a_victim_that_nobody_could_see_into_proves_nothing() -> None:
    blind = [Look(at, {"n1": Sight.UNKNOWN, "n2": Sight.HELD}) for at in (1, 2, 3)]
    assert fence_drill.unseen([look(0, "n1"), *blind], "n1", None) == 0.75
    assert fence_drill.unseen([look(0, "n1"), *blind], "n1", 1) == 0
    assert fence_drill.unseen([], "n1", None) == 1 > fence_drill.BLIND
