"""Tries the shortener at SERVER (default localhost:8080): exits 1 if a link does not lead back to its URL."""

import http.client
import os
import sys
import time

SERVER = os.environ.get("SERVER", "localhost:8080")
DEADLINE = time.monotonic() + float(os.environ.get("PATIENCE", "60"))
URL = "https://example.org/a/long/way?to=go"


def ask(method, path, body=None):
    connection = http.client.HTTPConnection(SERVER, timeout=10)
    connection.request(method, path, body)
    response = connection.getresponse()
    return response.status, response.getheader("Location"), response.read().decode().strip()


def wait():
    while True:
        try:
            return ask("GET", "/")
        # Refused, or reset by a forward whose VM doesn't listen yet.
        except OSError as error:
            if time.monotonic() > DEADLINE:
                sys.exit(f"nothing answers at {SERVER}: {error}")
            time.sleep(0.1)


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: got {got!r}, expected {wanted!r}")
    print(f"ok: {what}")


wait()
status, _, code = ask("POST", "/", URL)
expect("a URL is shortened", status, 201)
expect("the link leads back to it", ask("GET", f"/{code}")[:2], (302, URL))
expect("the same URL has the same code", ask("POST", "/", URL)[2], code)
expect("what is no link is not found", ask("GET", "/nothing!")[0], 404)
expect("a script is no URL", ask("POST", "/", "javascript:alert(1)")[0], 400)
