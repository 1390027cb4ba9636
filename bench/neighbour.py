"""A client whose waits count: `python -m bench.neighbour METHOD HOST:PORT PATHS KEY PID`, with the process id of the server.

It sends one request after another until a line comes in, and then prints its waits as JSON. A wait lasts until the request has
succeeded, however many tries that takes: no failure is left out. Every so often it opens a new connection, because a server
might keep its known clients and refuse new ones.
"""

import http.client
import json
import os
import random
import select
import sys
import time
from pathlib import Path

PAUSE = 0.002
"""Seconds between two requests: a neighbour uses little of the processors that it shares with the server."""
REQUESTS_OF_A_CONNECTION = 50
LONGEST = 60.0
"""Seconds after which a request is given up."""


class Queued:
    """Seconds for which processes were ready to run while others had the processors, as Linux counts them."""

    def __init__(self, *processes: str) -> None:
        paths = [Path("/proc", process, "schedstat") for process in processes]
        self._files = [os.open(path, os.O_RDONLY) for path in paths if path.exists()]

    @property
    def seconds(self) -> float:
        return sum(int(os.pread(file, 100, 0).split()[1]) for file in self._files) / 1e9


class Neighbour:
    """One connection with one request at a time."""

    def __init__(self, method: str, address: str, paths: list[str], key: str, server: str) -> None:
        self.method, self.address, self.paths = method, address, paths
        self.headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self.connection = http.client.HTTPConnection(address, timeout=LONGEST)
        self.queued = Queued("self", server)
        self.requests = 0
        self.longest = 0.0
        self.longest_unqueued = 0.0
        self.failed = 0

    def ask(self) -> None:
        """Repeat a request until it succeeds."""
        path = random.choice(self.paths)
        body = json.dumps({"first_name": f"Ada{random.randrange(10**6):06d}"}) if self.method == "PATCH" else None
        queued, started = self.queued.seconds, time.perf_counter()
        while not self._succeeds(path, body) and time.perf_counter() < started + LONGEST:
            self.failed += 1
            time.sleep(PAUSE)
        wait = time.perf_counter() - started
        self.longest = max(self.longest, wait)
        self.longest_unqueued = max(self.longest_unqueued, wait - (self.queued.seconds - queued))
        self.requests += 1
        if self.requests % REQUESTS_OF_A_CONNECTION == 0:
            self.connection.close()

    def _succeeds(self, path: str, body: str | None) -> bool:
        try:
            self.connection.request(self.method, path, body, self.headers)
            answer = self.connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            return False
        return answer.status == 200


def main() -> None:
    method, address, paths, key, server = sys.argv[1:]
    neighbour = Neighbour(method, address, Path(paths).read_text().splitlines(), key, server)
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        neighbour.ask()
    milliseconds = {"longest": neighbour.longest * 1000, "longest_unqueued": neighbour.longest_unqueued * 1000}
    print(json.dumps({"requests": neighbour.requests, "failed": neighbour.failed, **milliseconds}))


if __name__ == "__main__":
    main()
