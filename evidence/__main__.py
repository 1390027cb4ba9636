"""Breaks servers and writes what was found to docs/evidence: `python -m evidence [kill|power] [--cycles N] [--seconds N]`."""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from evidence.kill import Plan, kill_all_kinds
from evidence.power.losing import NoCompiler, lose_power_often
from evidence.results import Results

KILLED = """Eighteen clients write: four change contacts, two create them, two create and delete them, one creates twenty in
bulk and two do so all or none, one upserts, one merges and undoes. One changes whole contacts with ids and fields of its own,
one writes notes and tags, one companies and fields, one engagements with transcripts and comments, and one has persons erased.
Changes of contacts and companies, upserts and merges are sent once; all others are repeated with their Idempotency-Key until
they are acknowledged. After each fault the server must serve again. Then the new part of the change feed is compared with what
the clients were told, the changed rows of all kinds and the webhook events with the feed, and erased persons are sought in
answers. Every 25 cycles, and at the end of each server, this is done for all of it, columns, unique keys and index entries are
computed anew, erased persons are sought in all tables, the events are counted, and PostgreSQL checks its tables and indexes."""


LOST = """The same clients write as in the kill loop, and one has the server fetch recordings. A recorder, loaded into each
process, notes every write, sync and change of a name. At a random moment, half of the time around a checkpoint, all processes
are stopped and killed, and the data folder becomes what a disk would hold: what was synced, and of the rest nothing, or for
each sector of 512 bytes any state since. The next server starts there, and the same is checked."""
TITLES = {"kill": ("Killed, stopped and cut off", KILLED), "power": ("Loss of power", LOST)}
PARTS = {"kill": kill_all_kinds, "power": lose_power_often}


def stop(*_: object) -> NoReturn:
    """Turn the signal into an exception, so that the servers under test are stopped on the way out."""
    sys.exit("evidence: told to stop")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m evidence", description=__doc__)
    parser.add_argument("part", choices=PARTS, help="how to break the servers")
    parser.add_argument("--cycles", type=int, default=200, help="the cycles at most (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3600.0, help="the seconds at most (default: %(default)s)")
    parser.add_argument("--side-by-side", type=int, default=1, help="the servers at a time (default: %(default)s)")
    parser.add_argument("--to", type=Path, default=Path("docs/evidence"), help="the folder to write (default: %(default)s)")
    parser.add_argument("--scratch", type=Path, help="the folder for the data of the servers (default: a temporary one)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)

    scratch = Path(tempfile.mkdtemp(prefix="herdbook-evidence-", dir=arguments.scratch))
    results = Results(*TITLES[arguments.part])

    def report() -> None:
        results.write(arguments.to, arguments.part)
        print(f"{results.tried.total():,} cycles, {results.failed.total()} failed", flush=True)

    plan = Plan(arguments.cycles, time.monotonic() + arguments.seconds, side_by_side=arguments.side_by_side)
    try:
        asyncio.run(PARTS[arguments.part](plan, scratch, results, report))
    except NoCompiler as error:
        sys.exit(f"evidence: {error}")
    if results.failed:
        sys.exit("\n".join(["Faults were found:", *results.findings]))
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
