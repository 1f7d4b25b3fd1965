"""Who answers ARP for an address (RFC 826)? Asked with arping(8), on the wire where it is put."""

from collections.abc import Callable

from halab.command import Result, quote
from halab.errors import LabError


def cards(run: Callable[[str], Result], interface: str, address: object, *, first: bool = False) -> set[str]:
    """The hardware addresses that answer within a second; `first`: the first of them. Empty: nobody answers.

    `run` runs a shell command. Raises LabError when it could not be asked: arping ends with 1 then too, but says why."""
    enough = "-C 1 " if first else ""
    result = run(quote(f"arping -r -c 2 -W 0.2 -w 1 {enough}-i %s %s", interface, address))
    if not result.ok and result.stderr.strip():
        raise LabError(f"arping asks for {address}", result.stderr.strip(), "halab doctor")
    return {line.strip().lower() for line in result.stdout.splitlines() if line.count(":") == 5}
