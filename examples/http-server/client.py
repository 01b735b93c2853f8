"""Counts three times at the server of this example; exits 1 if it does not count by one."""

import os
import sys
import time
import urllib.request

URL = f"http://{os.environ.get('SERVER', '127.0.0.1')}:{os.environ.get('PORT', '8000')}/"
PATIENCE = float(os.environ.get("PATIENCE", "30"))
DEADLINE = time.monotonic() + PATIENCE
# Whatever proxy the environment names, this is for the server next door.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(method):
    request = urllib.request.Request(URL, method=method)
    with OPENER.open(request, timeout=min(PATIENCE, 10)) as response:
        return int(response.read())


while True:
    try:
        before = ask("GET")
        break
    # URLError, or a connection that a forward's proxy resets while nobody listens behind it.
    except OSError as error:
        if time.monotonic() > DEADLINE:
            sys.exit(f"no server at {URL}: {getattr(error, 'reason', error)}")
        time.sleep(0.05)

for step in range(1, 4):
    number = ask("POST")
    print(number)
    if number != before + step:
        sys.exit(f"expected {before + step}, got {number}")
