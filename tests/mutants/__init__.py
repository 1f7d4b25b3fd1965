"""Mutants: what goes wrong in a real cluster, done to a real cluster, to see that the checks notice.

A mutant is a generator: before its `yield` it breaks something, after it the break is undone. It declares
by name the checks that then fail and those that are skipped because of it; every other verdict must stay
`passed`. The sets are written by thinking, not copied from a run: when a run disagrees, one of the two is
wrong. Names are short, `02/members` for `02-corosync/members`.

A mutant belongs to a stage: the lab as a chapter leaves it. Its module says `STAGE = "06"`; one that says
nothing means the end of chapter 05. What is graded at a stage is in `GRADED`: the checks of 06 and 07 inject
faults themselves and take a minute or more, so they are asked only where they are meant.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from halab import grading
from halab.lab import Lab, Sight
from halab.node import Node

Break = Callable[[Lab], Iterator[None]]
#: stage -> the chapters whose checks are graded there, by their numbers.
GRADED = {"05": ("01", "02", "03", "04", "05"), "06": ("06",), "07": ("07",)}
FIRST = min(GRADED)


@dataclass(frozen=True)
class Mutant:
    """`mistake` is what somebody did, in one line; `stage` the chapter at whose end the lab is, by its number."""

    name: str
    mistake: str
    stage: str
    fails: frozenset[str]
    skips: frozenset[str]
    errors: frozenset[str]
    warns: frozenset[str]
    apply: Break

    @property
    def expected(self) -> dict[str, str]:
        """check -> the verdict that is not `passed`."""
        sets = {"failed": self.fails, "skipped": self.skips, "error": self.errors, "warning": self.warns}
        return {check: verdict for verdict, checks in sets.items() for check in checks}


MUTANTS: dict[str, Mutant] = {}
#: Names of those that break nothing: other right ways to the same state.
ROADS: list[str] = []


def mutant(fails: str, skips: str = "", errors: str = "", warns: str = "") -> Callable[[Break], Break]:
    """Registers a generator function under its name; the sets are words, its docstring is the mistake."""

    def register(apply: Break) -> Break:
        name, stage = apply.__name__.replace("_", "-"), apply.__globals__.get("STAGE", FIRST)
        mistake = (apply.__doc__ or name).rstrip(".")
        MUTANTS[name] = Mutant(name, mistake, stage, _ids(fails), _ids(skips), _ids(errors), _ids(warns), apply)
        return apply

    return register


def road(apply: Break) -> Break:
    """Registers another right way to the same state: it must cost nothing (its docstring says what somebody did)."""
    ROADS.append(apply.__name__.replace("_", "-"))
    return mutant("")(apply)


def of(stage: str) -> list[str]:
    """Names of the mutants of a stage."""
    return [name for name, one in MUTANTS.items() if one.stage == stage]


def stages() -> list[str]:
    """The stages that have mutants, in order."""
    return sorted({one.stage for one in MUTANTS.values()})


def graded_at(stage: str) -> list[str]:
    """Names of the chapters whose checks are graded at a stage."""
    return [name for name in grading.chapters() if name[:2] in GRADED[stage]]


def _ids(words: str) -> frozenset[str]:
    chapters = {name[:2]: name for name in grading.chapters()}
    return frozenset(f"{chapters[word[:2]]}{word[2:]}" for word in words.split())


# -- what follows from what ---------------------------------------------------------------------------

#: Skipped when 01/addresses did not pass, when 02/service, 02/members, 03/service, 03/online, 04/resource, 04/one_holder,
#: 05/resource, 05/runs_with_the_address did not.
AFTER_ADDRESSES = "01/addresses_at_boot 01/hostnames 01/names 01/each_reaches_each 01/way_out 01/resolver 01/packages"
AFTER_MEMBERS = "02/quorum 02/majority 02/encryption 02/links 02/consensus 02/identities"
AFTER_COROSYNC = f"02/members {AFTER_MEMBERS} 02/known_options 02/same_configuration 02/in_force 02/key 02/key_in_force 02/starts_at_boot"
AFTER_ONLINE = "03/dc 03/verified 03/no_quorum_policy 03/unhindered 03/same_cib"
AFTER_PACEMAKER = f"03/online {AFTER_ONLINE} 03/starts_at_boot"
AFTER_IP = "04/holder_is_the_clusters 04/stickiness 04/recovers 04/no_leftovers"
AFTER_HOLDER = "04/holder_is_the_clusters 04/recovers 04/arp 04/well_placed"
AFTER_WEB = "05/recovers 05/colocation 05/order 05/operation_defaults 05/no_leftovers 05/tidy"
AFTER_APACHE = "05/page 05/recovers 05/order"
AFTER_FAILURES = "05/colocation 05/order"  # 05/all_ready or 05/no_failures
#: Skipped when the cluster is not well before a fault is injected, and when nobody would notice that Apache died.
AFTER_WATCHED = "06/service_killed 06/threshold"
AFTER_WELL = f"{AFTER_WATCHED} 06/pause_forgiven 06/power_cut 06/one_holder_throughout 06/survivor_serves 06/stays 06/nothing_failed"
#: Every check that asks a node over SSH: skipped when the student's bridge or cable keeps it from being asked.
ASKING = (
    f"{AFTER_ADDRESSES} 02/service {AFTER_COROSYNC} 03/service {AFTER_PACEMAKER} 04/resource {AFTER_IP} 05/resource {AFTER_WEB} "
    "04/not_at_boot 04/agreement 04/all_ready 04/no_cores 04/no_failures 04/no_orphans 05/agreement 05/all_ready 05/no_cores "
    "05/no_failures 05/no_orphans 05/systemd_lets_go 05/pages_differ 05/every_node_could_serve"
)


# -- who is who ---------------------------------------------------------------------------------------


def holder(lab: Lab) -> Node:
    """The node that holds the virtual IP."""
    return next(lab.node(name) for name, sight in lab.holders().items() if sight is Sight.HELD)


def spare(lab: Lab) -> Node:
    """A node that holds nothing, and is not the first, on which the mutants type their commands."""
    return [node for node in lab if node.number != holder(lab).number][-1]


def everywhere(lab: Lab, command: str, *args: object) -> None:
    lab.each(lambda node: node.check_output(command, *args))


# Each module registers its own.
from tests.mutants import environment, corosync, pacemaker, virtual_ip, apache, drills, fencing  # noqa: E402, F401, I001
