"""The cost of a webhook for writes, and the delay of its events."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.load import Figures, run_wrk
from bench.processes import Server, call, processor_seconds


@dataclass(frozen=True)
class Arrived:
    """The events that the endpoint received: how many, how many distinct ones, and some delays in seconds, sorted."""

    events: int
    different: int
    delays: list[float]

    def delay(self, part: float) -> float:
        """Return the milliseconds from a change to its event that this fraction of the events does not exceed."""
        return self.delays[min(int(len(self.delays) * part), len(self.delays) - 1)] * 1000


@dataclass(frozen=True)
class Flow:
    """A load whose every write became an event: the writes, and how long after the last write the last event arrived."""

    writes: Figures
    seconds: int
    arrived_at_end: int
    arrived: Arrived
    seconds_behind: float


class Receiver:
    """The endpoint's process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.stdin, self.stdout = process.stdin, process.stdout
        self.url = f"http://127.0.0.1:{self.stdout.readline().strip()}/"

    def take(self) -> Arrived:
        """Return the events received since the last call."""
        self.stdin.write("\n")
        self.stdin.flush()
        return Arrived(**json.loads(self.stdout.readline()))


@contextlib.contextmanager
def receiving() -> Generator[Receiver]:
    command = [sys.executable, "-m", "bench.receiver"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Receiver(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(10)


class Subscription:
    """An endpoint of the server, which can be switched on and off."""

    def __init__(self, server: Server, receiver: Receiver) -> None:
        self.server = server
        self.receiver = receiver
        self.id: str = self._call("", {"url": receiver.url})["id"]

    def switch(self, *, on: bool) -> None:
        """Switch the endpoint; switched on, it receives later changes, once a first event has shown that a courier delivers."""
        if on:
            self._call(f"/{self.id}/enable", {"from": "now"})
            self.await_quiet()
        else:
            self._call(f"/{self.id}/disable", {})

    def behind(self) -> int:
        behind: int = call(f"{self.server.url}/api/herdbook/webhooks/{self.id}/status", token=self.server.token)["behind"]
        return behind

    def await_quiet(self) -> float:
        """Wait until every event has arrived; return the seconds that it took."""
        started = time.monotonic()
        while self.behind():
            if time.monotonic() > started + 120:
                raise RuntimeError("the events do not arrive")
            time.sleep(0.05)
        return time.monotonic() - started

    def _call(self, path: str, body: object) -> Any:
        return call(f"{self.server.url}/api/herdbook/webhooks{path}", "POST", body, self.server.token)


def idle_share(server: Server, seconds: int) -> float:
    """Return the percentage of a core that an idle server uses."""
    before = processor_seconds(server)
    time.sleep(seconds)
    return (processor_seconds(server) - before) / seconds * 100


def subscribe_all(server: Server, spread_paths: Path, url: str) -> int:
    """Create an endpoint in each of the many workspaces; return their number."""
    keys = dict.fromkeys(line.split(" ")[1] for line in spread_paths.read_text().splitlines())
    for key in keys:
        call(f"{server.url}/api/herdbook/webhooks", "POST", {"url": url}, key)
    return len(keys)


def measure_flow(subscription: Subscription, paths: Path, seconds: int) -> Flow:
    """Write as fast as the writes are answered, each of them an event."""
    subscription.await_quiet()
    subscription.receiver.take()
    writes = run_wrk(subscription.server, paths, "PATCH", 64, seconds)
    at_end = subscription.receiver.take()
    behind = subscription.await_quiet()
    rest = subscription.receiver.take()
    arrived = Arrived(at_end.events + rest.events, at_end.different + rest.different, sorted([*at_end.delays, *rest.delays]))
    return Flow(writes, seconds, at_end.events, arrived, behind)
