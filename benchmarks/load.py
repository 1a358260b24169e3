"""The load generator: sends prebuilt requests over keep-alive connections, and notes when each outcome came.

Run as a process of its own (`python -m benchmarks.load`), so that it shares no interpreter with anything it measures.
Reads a JSON job from standard input and prints a JSON report.
"""

from __future__ import annotations

import http.client
import json
import random
import sys
import threading
import time
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]


def main() -> None:
    """Run the job."""
    json.dump(run(json.load(sys.stdin)), sys.stdout)


def run(job: Json) -> Json:
    """Send `bodies` (each a method's path and a body) from `clients` threads; wait until all has landed.

    Latency is measured on every `sample`-th single request, by a long poll on a connection of its own that begins when
    the request has been answered: from the request's first byte to `committed`, and to `landed`.
    """
    bodies = [(path, body.encode()) for path, body in job["bodies"]]
    address = urlsplit(job["url"])
    todo = list(reversed(list(enumerate(bodies))))
    lock = threading.Lock()
    accepted: list[tuple[float, float]] = []
    waits: list[threading.Thread] = []
    committed: list[float] = []
    landed: list[float] = []
    errors: list[str] = []

    def wait_for(changeset: str, started: float) -> None:
        connection = http.client.HTTPConnection(address.netloc, timeout=120)
        for until, times in (("committed", committed), ("landed", landed)):
            connection.request("GET", f"/v1/changesets/{changeset}?wait=60&until={until}")
            answer = json.loads(connection.getresponse().read())
            if answer["status"] not in {"committed", "landed"}:
                errors.append(str(answer))
            times.append(time.monotonic() - started)
        connection.close()

    def client() -> None:
        connection = http.client.HTTPConnection(address.netloc, timeout=120)
        while True:
            with lock:
                if not todo:
                    break
                number, (path, body) = todo.pop()
            started = time.monotonic()
            while True:
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                data = answer.read()
                if answer.status not in {429, 503}:
                    break
                time.sleep(float(answer.headers.get("Retry-After", 1)) * random.uniform(0.5, 1))
            done = time.monotonic()
            accepted.append((started, done))
            found = json.loads(data)
            refused = answer.status != 202 or any(each["status"] != 202 for each in found.get("outcomes", []))
            if refused:
                errors.append(data[:500].decode())
            elif job["sample"] and number % job["sample"] == 0:
                changeset = found["id"] if "id" in found else found["outcomes"][-1]["changeset"]["id"]
                waiting = threading.Thread(target=wait_for, args=(changeset, started))
                waiting.start()
                waits.append(waiting)
        connection.close()

    begin = time.monotonic()
    threads = [threading.Thread(target=client) for _ in range(job["clients"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    submitted = time.monotonic() - begin
    _await_tree(address.netloc, job["expected"], errors)
    total = time.monotonic() - begin
    for waiting in waits:
        waiting.join()
    return {
        "submit_seconds": submitted,
        "seconds": total,
        "accepted_latency": [done - start for start, done in accepted],
        "committed_latency": committed,
        "landed_latency": landed,
        "errors": errors[:5],
    }


def _await_tree(netloc: str, expected: str, errors: list[str]) -> None:
    """Wait until the global head has the expected tree; look 50 times a second."""
    connection = http.client.HTTPConnection(netloc, timeout=60)
    until = time.monotonic() + 300
    while time.monotonic() < until:
        connection.request("GET", "/v1/head")
        found = json.loads(connection.getresponse().read())
        if found.get("main", {}).get("tree") == expected:
            connection.close()
            return
        time.sleep(0.02)
    errors.append(f"the tree is {found.get('main')}, not {expected}")


if __name__ == "__main__":
    main()
