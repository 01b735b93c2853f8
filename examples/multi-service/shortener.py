"""Short links: POST / with a URL gives a code, GET /CODE leads to the URL. The links are in PostgreSQL."""

import http.server
import os
import secrets
import time
import urllib.parse

import psycopg

# Without letters and digits that are mistaken for each other.
ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
MAX_URL = 2000
SCHEMA = "CREATE TABLE IF NOT EXISTS link (code text PRIMARY KEY, url text NOT NULL UNIQUE)"


def is_web_url(url):
    """Whether it is an absolute address of the web; others (`javascript:`, control characters) lead nowhere good."""
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


class Links:
    """The links, in the database that PGHOST and its like name (a connection for each request: they are few)."""

    def prepare(self, patience):
        """Makes the table; waits up to `patience` seconds for a database that is still starting."""
        deadline = time.monotonic() + patience
        while True:
            try:
                with psycopg.connect(connect_timeout=5) as connection:
                    connection.execute(SCHEMA)
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def shorten(self, url):
        """The code of `url`: always the same for the same."""
        with psycopg.connect(connect_timeout=5) as connection:
            while True:
                code = "".join(secrets.choice(ALPHABET) for _ in range(7))
                connection.execute("INSERT INTO link VALUES (%s, %s) ON CONFLICT DO NOTHING", (code, url))
                row = connection.execute("SELECT code FROM link WHERE url = %s", (url,)).fetchone()
                # None only if the code was taken by another URL.
                if row:
                    return row[0]

    def find(self, code):
        """The URL of `code`, or None."""
        with psycopg.connect(connect_timeout=5) as connection:
            row = connection.execute("SELECT url FROM link WHERE code = %s", (code,)).fetchone()
            return row and row[0]


class Handler(http.server.BaseHTTPRequestHandler):
    links = Links()

    def do_GET(self):
        self.guarded(self.lead_on)

    def do_POST(self):
        self.guarded(self.shorten)

    def guarded(self, action):
        try:
            action()
        except psycopg.OperationalError as error:
            self.log_error("the database does not answer: %s", error)
            self.answer(503, "the database does not answer; try again\n")

    def lead_on(self):
        code = self.path.lstrip("/")
        known = bool(code) and set(code) <= set(ALPHABET)
        url = self.links.find(code) if known else None
        if url is None:
            self.answer(404, "there is no such link\n")
        else:
            self.answer(302, "", ("Location", url))

    def shorten(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_URL:
            self.answer(400, f"send a URL of at most {MAX_URL} characters\n")
            return
        url = self.rfile.read(int(length)).decode("latin-1").strip()
        if is_web_url(url):
            self.answer(201, f"{self.links.shorten(url)}\n")
        else:
            self.answer(400, "send a URL that begins with http:// or https://\n")

    def answer(self, status, text, *headers):
        body = text.encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    Handler.links.prepare(float(os.environ.get("PATIENCE", "60")))
    port = int(os.environ.get("PORT", "8000"))
    # All addresses: a forward comes in from outside.
    http.server.ThreadingHTTPServer(("0.0.0.0", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
