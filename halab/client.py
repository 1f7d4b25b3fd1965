"""A client of the service: what does it answer?"""

import re
import socket

import httpx

from halab.wait import seconds

PAGE = re.compile(r"pacemaker\d\d")
httpx.HTTPTransport(verify=False).close()  # the first one imports the rest of httpx; of two threads at once, one gets half of it


def ask(url: str, timeout: float = 0.5) -> str | None:
    """Which node's page is served at `url`: its name, or None when there is no good answer."""
    return fetch(url, timeout)[0]


def fetch(url: str, timeout: float) -> tuple[str | None, bool]:
    """(the node whose page is served, or None when there is no good answer; was there any answer)."""
    try:  # verify: without TLS there is nothing to verify, and loading certificates takes 30 ms a client
        with httpx.Client(timeout=seconds(timeout), trust_env=False, verify=False) as client:
            response = client.get(url)
    except httpx.HTTPError:
        return None, False
    found = PAGE.search(response.text) if response.status_code == 200 else None
    return (found.group() if found else None), True


def listens(address: object, port: int, timeout: float = 0.5) -> bool:
    """Does that port take a connection within `timeout` seconds?"""
    try:
        with socket.create_connection((str(address), port), seconds(timeout)):
            return True
    except OSError:
        return False
