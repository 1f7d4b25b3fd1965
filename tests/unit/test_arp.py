"""Who answers ARP: what arping prints, and how it ends."""

import pytest

from halab import arp
from halab.command import Result
from halab.errors import LabError


def asked(status: int = 0, stdout: str = "", stderr: str = "", *, first: bool = False) -> tuple[set[str], str]:
    """(the cards, the command), when arping ends so."""
    lines = list[str]()

    def run(line: str) -> Result:
        lines.append(line)
        return Result("host", line, status, stdout, stderr)

    return arp.cards(run, "br 0", "192.168.100.100", first=first), lines[0]


def test_each_card_is_told_once_in_small_letters() -> None:
    text = "52:54:00:9B:D5:11\n52:54:00:9b:d5:12\n52:54:00:9b:d5:11\narping: timeout\n\n"
    assert asked(0, text)[0] == {"52:54:00:9b:d5:11", "52:54:00:9b:d5:12"}


def test_nobody_is_none() -> None:
    assert asked(1)[0] == set()


def test_arping_that_cannot_ask_ends_with_the_same_status_and_is_an_error() -> None:
    with pytest.raises(LabError, match="No such device"):
        asked(1, "", "arping: libnet_init(LIBNET_LINK, br 0): libnet_check_iface() ioctl: No such device")


def test_the_first_answer_is_enough_when_only_one_is_wanted() -> None:
    assert " -C 1 " in asked(first=True)[1] and " -C " not in asked()[1]
    assert asked()[1].endswith("-i 'br 0' 192.168.100.100")
