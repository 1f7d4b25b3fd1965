"""The packages that the nodes install, served on the bridge: a folder, over HTTP.

    python -m halab.packages ADDRESS FOLDER

Runs in the lab host (`halab.daemons`).
"""

import socket
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

#: linux/in.h; Python's socket module has no name for it.
IP_FREEBIND = 15


class Server(ThreadingHTTPServer):
    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)  # the bridge may come later (ip(7))
        super().server_bind()


def main() -> None:
    address, folder = sys.argv[1:]
    Server((address, 80), partial(SimpleHTTPRequestHandler, directory=folder)).serve_forever()


if __name__ == "__main__":
    main()
