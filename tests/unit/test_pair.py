import pytest

from halab import pair
from halab.errors import UsageError

CONF = """\
totem {
  token: 1000
}
nodelist {
  node {
    ring0_addr: 192.0.2.1
    nodeid: 1
  }
  node {
    ring0_addr: 192.0.2.2
    name: b
    nodeid: 2
  }
  node {
    ring0_addr: 192.0.2.3
    nodeid: 3
  }
  node { ring0_addr: 192.0.2.12
    nodeid: 12
  }
}
quorum {
  provider: corosync_votequorum
}
"""


def test_the_first_two_nodes_and_the_rule_for_two() -> None:
    seen = pair.two_node(CONF)
    assert [line.split()[-1] for line in seen.splitlines() if "nodeid" in line] == ["1", "2"]
    assert "  provider: corosync_votequorum\n  two_node: 1\n}" in seen
    assert "token: 1000" in seen and seen.count("{") == seen.count("}") == 5


def test_not_twice() -> None:
    with pytest.raises(UsageError):
        pair.two_node(pair.two_node(CONF))
