"""A counter over HTTP that keeps its number in a file."""

import http.server
import os
import pathlib
import threading

COUNTER = pathlib.Path(__file__).with_name("counter.txt")
LOCK = threading.Lock()


def read():
    return int(COUNTER.read_text()) if COUNTER.exists() else 0


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with LOCK:
            self.answer(read())

    def do_POST(self):
        with LOCK:
            number = read() + 1
            COUNTER.write_text(str(number))
            self.answer(number)

    def answer(self, number):
        body = f"{number}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8000"))
    http.server.ThreadingHTTPServer(("0.0.0.0", port), Handler).serve_forever()
