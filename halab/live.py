"""The live picture: a page that shows the lab as it is, and asks again every second.

    python -m halab.live SOCKET

A process of its own with connections of its own: it only looks, and only while somebody looks at the
page. What can't be seen is told as unknown, never as none; a node that hangs holds up no other.
"""

import json
import socketserver
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from threading import Lock

import httpx

from halab import corosync, pacemaker, palette
from halab.errors import HalabError
from halab.lab import Lab, Sight, current
from halab.node import Node
from halab.pacemaker import Status
from halab.template import render
from halab.wait import seconds

#: Seconds that a request waits for looks that are under way; a look itself may take longer.
PATIENCE = 1.0
#: Seconds after which a look counts as old.
OLD = 5.0


@dataclass(frozen=True)
class Look:
    """One look at a node. `power` is libvirt's word or `unknown`; `sight`: does it hold the virtual IP;
    `members` and `quorate`: corosync's view there; `view`: pacemaker's. None: not known."""

    power: str = "unknown"
    sight: Sight = Sight.UNKNOWN
    members: tuple[int, ...] | None = None
    quorate: bool | None = None
    view: Status | None = None
    at: float = field(default_factory=time.monotonic)


def look(node: Node) -> Look:
    """From outside first, then what the node itself says; never raises for a node that is off or silent."""
    try:
        power = node.state
    except HalabError:
        return Look()
    sight = node.lab.sight(node)
    if power != "running":
        return Look(power, sight)
    members, quorate, view = None, None, None
    try:
        members = tuple(corosync.joined(node))
        quorate = corosync.quorate(node)
        view = pacemaker.status(node)
    except HalabError:  # silent, or the cluster does not run there: what was not told stays None
        pass
    return Look(power, sight, members, quorate, view)


class Watch:
    """The latest look at every node."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._looks = {node.name: Look(at=float("-inf")) for node in lab}
        self._under_way: dict[str, Future[Look]] = {}
        self._pool = ThreadPoolExecutor(len(lab.nodes))
        self._lock = Lock()

    def now(self) -> dict:
        """The picture, of looks that ended within `PATIENCE`, and older ones for nodes that take longer."""
        with self._lock:
            for node in self.lab:
                if node.name not in self._under_way:
                    self._under_way[node.name] = self._pool.submit(look, node)
            deadline = time.monotonic() + PATIENCE
            for name, future in list(self._under_way.items()):
                try:
                    self._looks[name] = future.result(max(deadline - time.monotonic(), 0))
                except TimeoutError:
                    continue
                del self._under_way[name]
            return picture(self.lab, dict(self._looks), time.monotonic())


def picture(lab: Lab, looks: dict[str, Look], now: float) -> dict:
    """What the page shows, from the looks at each node and the time (monotonic s)."""
    fresh = {name: one for name, one in looks.items() if now - one.at <= OLD}
    views = {name: one.view for name, one in fresh.items() if one.view}
    speaker = next((name for name, view in views.items() if view.quorum), next(iter(views), None))
    view = views[speaker] if speaker else None
    held = [name for name, one in fresh.items() if one.sight is Sight.HELD]
    blind = [name for name in looks if name not in fresh or fresh[name].sight is Sight.UNKNOWN]
    return {
        "lab": lab.settings.name, "bridge": f"{lab.settings.bridge}  {lab.settings.subnet}", "virtual_ip": str(lab.virtual_ip),
        "speaker": speaker, "dc": view.dc if view else None, "holders": held, "blind": blind,
        "quorum": view.quorum if view else _any_quorate(fresh),
        "resources": {name: list(where) for name, where in view.resources.items()} if view else {},
        "failures": list(view.failures) if view else [],
        "nodes": [_node(node, looks[node.name], fresh.get(node.name), view, now) for node in lab],
    }  # fmt: skip


def _any_quorate(looks: dict[str, Look]) -> bool | None:
    told = {one.quorate for one in looks.values()} - {None}
    return any(told) if told else None


def _node(node: Node, last: Look, fresh: Look | None, view: Status | None, now: float) -> dict:
    one = fresh or Look()
    return {
        "name": node.name, "address": str(node.address), "power": one.power, "state": _state(node, one, view), "sight": one.sight,
        "dc": bool(view and view.dc == node.name and one.view), "members": one.members, "quorate": one.quorate,
        "resources": [r for r, where in view.resources.items() if node.name in where] if view else [],
        "silent": None if fresh or last.at == float("-inf") else round(now - last.at),
    }  # fmt: skip


def _state(node: Node, one: Look, view: Status | None) -> str:
    """One word: power first, then what the node itself said, then what the cluster says about it."""
    if one.power != "running":
        return {"shut off": "off", "absent": "not made"}.get(one.power, one.power)
    if one.members is None:
        return "no answer"
    if one.view is None:
        return "corosync only" if one.members else "no cluster"
    if view is None or node.name not in view.online:
        return "offline"
    return "standby" if node.name in view.standby else "maintenance" if node.name in view.maintenance else "online"


# -- the page ---------------------------------------------------------------------------------------------


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    watch: Watch


class Handler(BaseHTTPRequestHandler):
    """`/now` is the picture as JSON, `/page/…` what the virtual IP serves, everything else the page that draws."""

    server: Server

    def do_GET(self) -> None:
        if self.path.startswith("/now"):
            self._send("application/json", json.dumps(self.server.watch.now()).encode())
        elif self.path.startswith("/page"):
            self._send(*served(self.server.watch.lab, self.path.removeprefix("/page")))
        else:
            colours = {name.lower(): getattr(palette, name) for name in ("INK", "PALE", "GOOD", "BAD", "OFF", "SERIES")}
            self._send("text/html; charset=utf-8", render("live.html.j2", **colours).encode())

    def _send(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: a page that asks every second is no news. (And a unix socket's client has no address.)"""


def served(lab: Lab, path: str) -> tuple[str, bytes]:
    """Type and body of what a browser in the lab host gets at the virtual IP; who does not answer is said in words."""
    try:
        with httpx.Client(timeout=seconds(3), trust_env=False, verify=False) as client:
            answer = client.get(f"http://{lab.virtual_ip}{path or '/'}")
    except httpx.HTTPError as error:
        return "text/html; charset=utf-8", render("nobody.html.j2", virtual_ip=lab.virtual_ip, why=error).encode()
    return answer.headers.get("content-type", "text/plain"), answer.content


def main() -> None:
    with Server(sys.argv[1], Handler) as server:
        server.watch = Watch(current())
        server.serve_forever()


if __name__ == "__main__":
    main()
