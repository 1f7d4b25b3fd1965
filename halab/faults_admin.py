"""What an administrator does to a cluster, as `halab.faults` has it: it is undone all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from halab.errors import HalabError
from halab.heal import speaker
from halab.lab import Lab
from halab.repair import mended
from halab.wait import eventually

if TYPE_CHECKING:
    from halab.node import Node


@contextmanager
def standby(node: Node) -> Iterator[None]:
    """The node stays a member and runs no resources."""
    with mended(node):
        try:
            node.check_output("crm_standby --node %s --update on", node.name)
            yield
        finally:
            ask(node.lab, "crm_standby --node %s --delete", node.name)


@contextmanager
def maintenance(what: Lab | Node) -> Iterator[None]:
    """The cluster (or one node) is left alone: resources go on, and nothing is watched or started."""
    lab = what if isinstance(what, Lab) else what.lab
    place = "--type crm_config --name maintenance-mode" if isinstance(what, Lab) else f"--node {what.name} --name maintenance"
    try:
        ask(lab, f"crm_attribute {place} --update true")
        yield
    finally:
        ask(lab, f"crm_attribute {place} --delete")


@contextmanager
def moved(node: Node, resource: str = "WebSite") -> Iterator[None]:
    """The resource is moved away from this node; afterwards it may run there again, and stays where it is."""
    try:
        ask(node.lab, "crm_resource --ban --resource %s --node %s", resource, node.name)
        yield
    finally:
        ask(node.lab, "crm_resource --clear --resource %s", resource)


def ask(lab: Lab, command: str, *args: object) -> None:
    """Type a command on a node that sees quorum."""
    node = eventually(lambda: speaker(lab), within="election", retry=(HalabError,))
    node.check_output(command, *args)
