"""The outside world, one process: a web server that tells who asked, and a name server.

Runs in the lab host's `outside` namespace (see `halab.warden`). It has no route to the nodes' network:
an answer reaches a node only when the lab host forwarded the question under its own address.
"""

import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: Reserved for examples (RFC 2606).
NAME = "www.example.org"


class Who(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"hello {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    address, *resolvers = sys.argv[1:]
    with subprocess.Popen(
        ["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--pid-file=", "--conf-file=/dev/null",
         "--user=root", f"--listen-address={address}", "--bind-interfaces", f"--address=/{NAME}/{address}",
         *(f"--server={resolver}" for resolver in resolvers)]
    ):  # fmt: skip
        ThreadingHTTPServer((address, 80), Who).serve_forever()


if __name__ == "__main__":
    main()
