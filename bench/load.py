"""Load on an HTTP server, generated and measured by wrk."""

import itertools
import json
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.processes import Meter, Server

SCRIPT = Path(__file__).with_name("wrk.lua")

# Each run uses other targets and names, and the same ones in each repetition of the benchmark.
seeds = itertools.count(1)


@dataclass(frozen=True)
class Figures:
    """The figures of one run of load. Times are in milliseconds, processor time in microseconds for each request."""

    per_second: float
    p50: float
    p99: float
    longest: float
    processor: float
    strangers: float
    answered: int
    failed: int = 0

    def __str__(self) -> str:
        """Return the line that reports this run."""
        times = f"p50 {self.p50:7.2f}  p99 {self.p99:7.2f}  max {self.longest:7.1f} ms"
        failed = f"  {self.failed} FAILED" if self.failed else ""
        return f"{self.per_second:8,.0f}/s  {times}  CPU {self.processor:5.0f} us{failed}"


def write_paths(file: Path, paths: Iterable[str]) -> Path:
    file.write_text("".join(f"{path}\n" for path in paths))
    return file


def require_wrk() -> None:
    if shutil.which("wrk") is None:
        raise SystemExit("bench needs wrk, the load generator: apt install wrk (Debian, Ubuntu), brew install wrk (macOS)")


def run_wrk(server: Server, paths: Path, method: str, connections: int, seconds: int) -> Figures:
    """Request random paths of the file (see wrk.lua) as fast as they are answered.

    wrk runs one thread, because more would take the server's cores. It corrects its percentiles for requests that it could not
    send while it waited (coordinated omission); the longest wait is uncorrected.
    """
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        # wrk forgets an answer that takes longer than its time limit, which would hide the worst stalls.
        "--timeout=10s",
        f"--script={SCRIPT}",
        server.url,
        "--",
        method,
        str(paths),
        server.token or "-",
        str(next(seeds)),
    ]
    with Meter(server) as meter:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if finished.returncode != 0 or "{" not in finished.stdout:
        raise RuntimeError(f"wrk failed: {finished.stderr}{finished.stdout}")
    said = json.loads(finished.stdout.strip().splitlines()[-1])
    if said["requests"] == 0:
        raise RuntimeError(f"{server.url} answered nothing in {seconds} s: {finished.stdout}")
    return Figures(
        per_second=said["requests"] / said["microseconds"] * 1e6,
        p50=said["p50"] / 1000,
        p99=said["p99"] / 1000,
        longest=said["max"] / 1000,
        processor=meter.server_seconds / said["requests"] * 1e6,
        strangers=meter.strangers_cores,
        answered=said["requests"],
        failed=said["refused"] + said["broken"],
    )


def middle(rounds: list[Figures]) -> Figures:
    """Return the median of each figure over the rounds, but the longest wait and all failures: none may be hidden."""
    return Figures(
        per_second=median(figures.per_second for figures in rounds),
        p50=median(figures.p50 for figures in rounds),
        p99=median(figures.p99 for figures in rounds),
        longest=max(figures.longest for figures in rounds),
        processor=median(figures.processor for figures in rounds),
        strangers=median(figures.strangers for figures in rounds),
        answered=sum(figures.answered for figures in rounds),
        failed=sum(figures.failed for figures in rounds),
    )
