import struct

import pytest

from halab import lookout

#: The answer of a real node that holds the virtual IP (rtnetlink(7)), and its end.
HOLDER = bytes.fromhex(
    "4c00000014000200010000008be30000020880fe01000000080001007f000001080002007f000001070003006c6f0000080008008000000014000600"
    "ffffffffffffffff755a0200755a02005800000014000200010000008be30000021880001400000008000100c0a8640a08000200c0a8640a08000400"
    "c0a864ff090003006574683000000000080008008000000014000600ffffffffffffffffac5a0200ac5a02005800000014000200010000008be30000"
    "021881001400000008000100c0a8646408000200c0a8646408000400c0a864ff090003006574683000000000080008008100000014000600ffffffff"
    "fffffffff3a90200f3a90200"
)
END = bytes.fromhex("1400000003000200010000008be3000000000000")


def test_the_addresses_of_a_node_are_those_that_its_kernel_tells() -> None:
    assert lookout.local_addresses(HOLDER) == ({"127.0.0.1", "192.168.100.10", "192.168.100.100"}, False)


def test_the_end_of_an_answer_is_its_last_part() -> None:
    assert lookout.local_addresses(END) == (set(), True)
    assert lookout.local_addresses(HOLDER + END)[1] is True


def test_an_error_of_the_kernel_is_no_list_of_addresses() -> None:
    with pytest.raises(OSError):
        lookout.local_addresses(struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -1))


def test_half_an_answer_is_an_error() -> None:
    with pytest.raises(struct.error):
        lookout.local_addresses(END[:3])


def test_a_node_that_libvirt_does_not_run_holds_nothing() -> None:
    assert lookout.look("no-such-node", "192.168.100.100", -1) is False
