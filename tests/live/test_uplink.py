"""The way out to the real world (`uplink`). The machine is the host of another lab here, so that nothing leaves this one."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from halab.wait import eventually
from tests.live.livelab import Live, labs

pytestmark = pytest.mark.skipif(not shutil.which("slirp4netns"), reason="slirp4netns is not installed")

#: The outer lab has the default for it, and the nodes must not take that for their own.
OTHER = {"HALAB_NODES": "2", "HALAB_OUTSIDE": "198.51.100.0/24"}
PORT = 8099


@dataclass
class World:
    """The machine: how to be on it, and an address of its own on which a web server of its own answers."""

    door: tuple[str, ...]
    address: str


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with labs() as make:
        outer = make()
        assert (done := outer.halab("up", "--empty")).ok, done.stderr
        host = outer.lab.host.process
        assert host
        door = ("nsenter", f"--net=/proc/{host.children()[0].pid}/ns/net")
        argv = (*door, sys.executable, "-m", "http.server", str(PORT), "--directory", "/var/empty")
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            try:
                yield World(door, str(outer.settings.uplink_address))
            finally:
                server.kill()


def reached(lab: Live, *addresses: str) -> list[bool]:
    """Does a node get an answer from the web server, at each of these addresses?"""

    def ask() -> list[bool]:
        node = lab.lab.node(1)
        return [node.run("curl --silent --output /dev/null --max-time 5 http://%s:%s/", address, PORT).ok for address in addresses]

    return lab.within(ask)


@pytest.mark.parametrize("uplink", [True, False])
def test_the_nodes_reach_what_the_machine_reaches_with_an_uplink_and_only_then(world: World, uplink: bool) -> None:
    lab = Live({"HALAB_NAME": f"uplink-{str(uplink).lower()}", "HALAB_UPLINK": str(uplink), **OTHER}, through=world.door)
    try:
        lab.up()
        if uplink:
            eventually(lambda: reached(lab, world.address), [True].__eq__, within="daemon", what="slirp4netns has its way out")
        # The last one is what slirp4netns(1) would have for the machine's own 127.0.0.1.
        assert reached(lab, world.address, "10.0.2.2") == [uplink, False]
    finally:
        lab.close()
