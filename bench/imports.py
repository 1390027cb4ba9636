"""Imports measured: rows a second beside COPY, the server's memory, and the waits of a neighbour meanwhile; and archives."""

import asyncio
import contextlib
import http.client
import json
import os
import platform
import random
import subprocess
import threading
import time
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from bench import herdbook, seeding
from bench.processes import Server, call

PAUSE = 0.01  # between two requests of the neighbour
LOOK = 0.2  # between two looks at an import
ALONE = 10.0  # seconds for which the neighbour is measured alone
MEGABYTE = 1024
MICRO = 1_000_000
ARCHIVED = 100_000  # contacts


_ABOUT = """{rows:,} rows of CSV with names, e-mail, phone and company, twenty people in each company, in a workspace of 1,000
contacts; and {beside:,} more while neighbours change contacts, over one connection each, one request at a time. `COPY` writes
such contacts into a table of the same width without indexes."""
BESIDE = 10  # times as many rows without neighbours as beside them


@dataclass
class Waits:
    """The waits of a neighbour that changes contacts of its own, one request after the other, in milliseconds."""

    server: Server
    paths: Sequence[str]
    token: str
    found: list[float] = field(default_factory=list)

    @property
    def p99(self) -> float:
        return sorted(self.found)[int(len(self.found) * 0.99)] if self.found else float("nan")

    @contextmanager
    def measured(self) -> Generator[None]:
        """Measure while the block runs."""
        ended = threading.Event()
        thread = threading.Thread(target=self._ask, args=(ended,))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _ask(self, ended: threading.Event) -> None:
        connection = http.client.HTTPConnection(urlsplit(self.server.url).netloc, timeout=60)
        headers = {"Authorization": self.token, "Content-Type": "application/json"}
        while not ended.wait(PAUSE):
            body = json.dumps({"first_name": f"Ada{random.randrange(10**6):06d}"})
            started = time.perf_counter()
            connection.request("PATCH", random.choice(self.paths), body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                self.found.append((time.perf_counter() - started) * 1000)


@dataclass(frozen=True)
class Part:
    """One part of an import: its rows a second, and the processor time of a row, in microseconds."""

    rate: float
    of_program: float
    of_postgresql: float


@dataclass(frozen=True)
class Archived:
    """The seconds of an archive and of bringing it in, and the megabytes of its file."""

    contacts: int
    out: float
    into: float
    megabytes: float


@dataclass(frozen=True)
class Measured:
    """The figures of one run."""

    rows: int
    copied: float
    parts: dict[str, Part]
    load: float
    counts: dict[str, Any]
    megabytes: float
    p99: dict[str, tuple[float, float]]
    archived: Archived

    def report(self) -> str:
        """Return the figures as a page."""
        lines = [
            "# Imports",
            "",
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.system()} {platform.machine()}, {os.cpu_count()} cores.",
            "",
            f"At the end, {self.load:.1f} processes ran or waited for a core, those of the measurement among them.",
            "",
            _ABOUT.format(rows=self.rows, beside=self.rows // BESIDE),
            "",
            "| what | rows a second | of COPY | processor time of a row, server | PostgreSQL |",
            "|---|---:|---:|---:|---:|",
            f"| `COPY` into a bare table | {self.copied:,.0f} | 1 | | |",
            *(
                f"| {name} | {part.rate:,.0f} | {part.rate / self.copied:.3f} | {part.of_program:.0f} µs | "
                f"{part.of_postgresql:.0f} µs |"
                for name, part in self.parts.items()
            ),
            "",
            "| what | figure |",
            "|---|---|",
            f"| memory of the server's process at most | {self.megabytes:.0f} MB |",
            *(
                f"| PATCH of a neighbour in {name}, 99th percentile, alone and meanwhile | {alone:.1f} and {meanwhile:.1f} ms, "
                f"{meanwhile / alone:.1f} times |"
                for name, (alone, meanwhile) in self.p99.items()
            ),
            f"| objects that the undo took back | {self.counts['undo']['reverted']:,} |",
            f"| objects that it kept | {self.counts['undo']['kept']:,} |",
            f"| `herdbook archive` of {self.archived.contacts:,} contacts | {self.archived.out:.1f} s |",
            f"| the file of the archive | {self.archived.megabytes:.0f} MB |",
            f"| `herdbook unarchive` of it into a new data folder | {self.archived.into:.1f} s |",
            "",
        ]
        return "\n".join(lines)


def measure(scratch: Path, rows: int) -> Measured:
    """Import a file into a new server: a dry run, a run, the same file again, and the undo."""
    folder = scratch / "imports"
    herd = herdbook.prepare(folder, 1000)
    file, more = folder / "people.csv", folder / "more.csv"
    write_file(file, rows)
    write_file(more, rows // BESIDE, first=rows)
    others = herdbook.prepare_many(folder, 1, 1000).read_text().splitlines()
    with herdbook.serving(folder) as (server, _):
        of_same = herd.contacts.read_text().splitlines(), server.token
        of_other = [line.split()[0] for line in others], others[0].split()[1]
        alone = [Waits(server, *each) for each in (of_same, of_other)]
        meanwhile = [Waits(server, *each) for each in (of_same, of_other)]
        for each in alone:
            with each.measured():
                time.sleep(ALONE)
        copied = asyncio.run(_copied(folder, rows))
        parts: dict[str, Part] = {}
        job = upload(server, file)
        parts["dry run"], _ = _timed(server, job, "check", rows)
        parts["run: all created"], done = _timed(server, job, "run", rows)
        again = upload(server, file)
        parts["the same file again"], unchanged = _timed(server, again, "run", rows)
        parts["undo"], undone = _timed(server, job, "undo", rows)
        beside = upload(server, more)
        with meanwhile[0].measured(), meanwhile[1].measured():
            parts["run beside neighbours, their work included"], _ = _timed(server, beside, "run", rows // BESIDE)
        megabytes = _peak(server)
        load = os.getloadavg()[0]
    names = ("the same workspace", "another workspace")
    p99 = {name: (one.p99, two.p99) for name, one, two in zip(names, alone, meanwhile, strict=True)}
    counts = {"run": done["result"], "again": unchanged["result"], "undo": undone["undo"]}
    archived = archive(scratch / "archives", min(rows, ARCHIVED))
    return Measured(rows, copied, parts, load, counts, megabytes, p99, archived)


def archive(folder: Path, contacts: int) -> Archived:
    """Write a workspace into a file, and bring that into another data folder."""
    folder.mkdir()
    herdbook.prepare(folder, contacts)
    file = folder / "sales.archive"
    out = _seconds("archive", str(file), f"--data-dir={folder / 'data'}")
    into = _seconds("unarchive", str(file), f"--data-dir={folder / 'other'}")
    return Archived(contacts, out, into, file.stat().st_size / MEGABYTE**2)


def _seconds(*arguments: str) -> float:
    started = time.monotonic()
    subprocess.run([str(herdbook.PROGRAM), *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - started


def write_file(file: Path, rows: int, first: int = 0) -> None:
    """Write people with names, addresses, numbers and companies of twenty people each, those from a number on."""
    with file.open("w") as opened:
        opened.write("First name,Last name,E-mail,Phone,Company\n")
        for number in range(first, first + rows):
            address = f"grace{number}@navy{number // 20}.test"
            opened.write(f"Grace{number:06d},Hopper{number:06d},{address},+4930{number:08d},Navy {number // 20}\n")


def upload(server: Server, file: Path) -> dict[str, Any]:
    """Upload a file; return the import."""
    with file.open("rb") as opened:
        return _request(server, "POST", "/api/herdbook/imports?name=people.csv", opened, file.stat().st_size)


def _request(server: Server, method: str, path: str, body: Any, size: int | None = None) -> dict[str, Any]:
    request = urllib.request.Request(server.url + path, data=body, method=method)
    request.add_header("Authorization", server.token)
    request.add_header("Content-Type", "application/json" if size is None else "text/csv")
    if size is not None:
        request.add_header("Content-Length", str(size))
    with urllib.request.urlopen(request, timeout=3600) as answer:
        return json.loads(answer.read())


def _timed(server: Server, job: dict[str, Any], name: str, rows: int) -> tuple[Part, dict[str, Any]]:
    """Do a dry run, a run or an undo; return its figures, and the import after it."""
    url = f"{server.url}/api/herdbook/imports/{job['id']}"
    before = _processor_seconds(server)
    started = time.monotonic()
    shown = call(f"{url}/{name}", "POST", token=server.token)
    while shown["state"] in ("checking", "running", "undoing"):
        time.sleep(LOOK)
        shown = call(url, token=server.token)
    if shown["state"] not in ("checked", "finished", "undone"):
        raise RuntimeError(f"the import is {shown['state']}: {shown.get('error')}")
    seconds = time.monotonic() - started
    program, database = (
        (after - earlier) / rows * MICRO for after, earlier in zip(_processor_seconds(server), before, strict=True)
    )
    return Part(rows / seconds, program, database), shown


def _processor_seconds(server: Server) -> tuple[float, float]:
    """Return the processor time of the server's program so far, and that of its PostgreSQL."""
    seconds = {True: 0.0, False: 0.0}
    for process in server.family():
        with contextlib.suppress(psutil.NoSuchProcess):
            seconds["postgres" in process.name()] += sum(process.cpu_times()[:4])
    return seconds[False], seconds[True]


def _peak(server: Server) -> float:
    """Return the most memory that any process of the server's program has had, in megabytes."""
    peaks = [0]
    for process in server.family():
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        if "postgres" not in status[0]:
            peaks += [int(line.split()[1]) for line in status if line.startswith("VmHWM:")]
    return max(peaks) / MEGABYTE


async def _copied(folder: Path, rows: int) -> float:
    """Return the rows a second of COPY into a table of the same width without indexes."""
    connection = await seeding.connect(folder)
    numbers = range(1, min(rows, 100_000) + 1)
    some = [seeding.contact_row(herdbook.BARE_WORKSPACE, 0, number, number, seeding.no_values) for number in numbers]
    await connection.execute("create table bare as select * from contact limit 0")
    started = time.monotonic()
    await connection.copy_records_to_table("bare", records=some, columns=seeding.COLUMNS)
    seconds = time.monotonic() - started
    await connection.execute("drop table bare")
    await connection.close()
    return len(some) / seconds


def measured_page(scratch: Path, rows: int, folder: Path) -> str:
    """Measure, and write the page."""
    page = measure(scratch, rows).report()
    (folder / "imports.md").write_text(page)
    return page
