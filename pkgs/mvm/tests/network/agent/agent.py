"""Stands in one place of the test's world (a namespace or a guest), serves there, and tries to reach other places.

Reads a JSON object a line, answers with one; ends with its standard input.
"""

import json
import os
import sys
import threading

import probes
import services


def serve(request):
    for name in request.get("sniff", []):
        services.sniff(probes.interface() if name == "*" else name)
    if request.get("raw"):
        services.listen_raw()
    for kind, start in [("tcp", services.tcp_echo), ("udp", services.udp_echo), ("dns", services.dns_server)]:
        for address, port in request.get(kind, []):
            start(address, port)
    return True


def names(request):
    services.NAMES.clear()
    services.NAMES.update(request["names"])
    return True


def seen(_):
    return services.RECORD.all()


def probe(request):
    """All at once, so that those that must fail wait for their silence together."""
    wanted = request["probes"]
    outcomes = [None] * len(wanted)

    def one(index):
        try:
            outcome, detail = probes.KINDS[wanted[index]["how"]](wanted[index])
        except Exception as error:  # One attempt that can't be made shall not hide the others.
            outcome, detail = "error", f"{type(error).__name__}: {error}"
        outcomes[index] = {"outcome": outcome, "detail": detail}

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(wanted))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def run(request):
    """A shell script, whose output and errors come together."""
    with os.popen(f"exec 2>&1; set -eu\n{request['script']}") as pipe:
        output = pipe.read()
        code = pipe.close()
    return {"code": code or 0, "output": output}


OPERATIONS = {"serve": serve, "names": names, "seen": seen, "probe": probe, "run": run}


def main():
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"answer": OPERATIONS[request["do"]](request)}
        except Exception as error:  # Whatever it is, the test shall say it.
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
