"""The kill loop: servers of four kinds are broken while clients write, and each time everything is checked."""

import asyncio
import itertools
import os
import random
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from evidence.breaking import (
    EVERYWHERE,
    Break,
    Broken,
    NotTried,
    cut_connections,
    fill_disk,
    kill_worker,
    use_up_inodes,
    verify_backups,
)
from evidence.herd import Herd
from evidence.receiver import receiving
from evidence.results import Results
from evidence.server import Herdbook, until
from herdbook.embedded import EmbeddedPostgres, running
from tests.ledger.proxy import proxy_to

LOADED_SECONDS = (0.1, 0.5)
"""Seconds of load before a fault, from and to."""
AFTERWARDS_SECONDS = 0.1
"""Seconds of load after it."""
WRITES_SECONDS = 120.0
"""Seconds within which all clients must end their last write."""
DISK = "size=600m,nr_inodes=6000"

Made = Callable[[Path], AbstractAsyncContextManager[Broken]]


@dataclass(frozen=True)
class Kind:
    """A kind of server: how it is made, the ways to break it with their weights, and the cycles on one folder."""

    made: Made
    ways: Mapping[str, tuple[Break, int]]
    cycles: int


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HERDBOOK_")}


@asynccontextmanager
async def embedded(folder: Path, *options: str) -> AsyncGenerator[Broken]:
    """Run a server with its embedded database."""
    server = Herdbook(folder, *options, environment=environment())
    try:
        await server.start()
        yield Broken(server, database_url(server))
    finally:
        await server.stop()


def with_workers(folder: Path) -> AbstractAsyncContextManager[Broken]:
    return embedded(folder, "--workers=2")


@asynccontextmanager
async def on_small_disk(folder: Path) -> AsyncGenerator[Broken]:
    """Run a server on a disk that is easily filled."""
    data = folder / "data"
    data.mkdir()
    mount(data)
    try:
        async with embedded(folder) as broken:
            yield broken
    finally:
        subprocess.run(["umount", str(data)], check=True)


@asynccontextmanager
async def behind_proxy(folder: Path) -> AsyncGenerator[Broken]:
    """Run a server that reaches its database through a proxy, which cuts connections."""
    database = EmbeddedPostgres(folder / "database")
    try:
        url = await asyncio.to_thread(database.start)
        async with proxy_to(url, folder) as proxy:
            server = Herdbook(folder, f"--database-url={proxy.url}", environment=environment())
            try:
                await server.start()
                yield Broken(server, url, proxy)
            finally:
                await server.stop()
    finally:
        await asyncio.to_thread(database.stop)


KINDS: dict[str, Kind] = {
    "one worker": Kind(embedded, EVERYWHERE, 50),
    "two workers": Kind(with_workers, {**EVERYWHERE, "one of two workers killed": (kill_worker, 20)}, 30),
    "small disk": Kind(
        on_small_disk, {"disk full for a moment": (fill_disk, 1), "no inodes for a moment": (use_up_inodes, 1)}, 8
    ),
    "behind a proxy": Kind(behind_proxy, {"connection to PostgreSQL cut": (cut_connections, 1)}, 12),
}
"""The kinds of servers. Each has its turn, on a new folder."""


def mount(folder: Path) -> None:
    """Mount a small disk. Raise CalledProcessError if that is not allowed."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", DISK, "herdbook-evidence", str(folder)], check=True, capture_output=True)


def can_mount(scratch: Path) -> bool:
    """Whether a small disk can be mounted here."""
    folder = scratch / "mounted"
    folder.mkdir()
    try:
        mount(folder)
    except (OSError, subprocess.CalledProcessError):
        return False
    subprocess.run(["umount", str(folder)], check=True)
    return True


@dataclass(frozen=True)
class Plan:
    """The bounds of a run: cycles, the time at which it ends, and the cycles between two checks of everything.

    `side_by_side` is the number of servers that are broken at the same time.
    """

    cycles: int
    ends_at: float
    whole_every: int = 25
    side_by_side: int = 1

    def is_over(self, results: Results) -> bool:
        return results.tried.total() >= self.cycles or time.monotonic() > self.ends_at


async def kill_all_kinds(plan: Plan, scratch: Path, results: Results, report: Callable[[], None]) -> None:
    """Break servers of all kinds in turns."""
    kinds = dict(KINDS)
    if not can_mount(scratch):
        del kinds["small disk"]
        results.omitted.append("a full disk and one without inodes, because a small disk could not be mounted")
    await break_in_turns([*kinds.values()], plan, scratch, results, report)


async def break_in_turns(
    kinds: Sequence[Kind], plan: Plan, scratch: Path, results: Results, report: Callable[[], None]
) -> None:
    """Break servers of these kinds in turns, some side by side, until the plan is done; call `report` after each server."""
    numbers = itertools.count()

    async def one_after_another() -> None:
        while not plan.is_over(results):
            number = next(numbers)
            folder = scratch / f"server-{number}"
            folder.mkdir()
            if await break_one(kinds[number % len(kinds)], plan, folder, results):
                shutil.rmtree(folder)
            else:
                print(f"the folder of the failure is kept: {folder}", flush=True)
            report()

    async with asyncio.TaskGroup() as group:
        for _ in range(plan.side_by_side):
            group.create_task(one_after_another())


async def break_one(kind: Kind, plan: Plan, folder: Path, results: Results) -> bool:
    """Break one server again and again; return whether no fault was found."""
    ways = ways_in_turn(kind)
    async with receiving() as receiver, kind.made(folder) as broken:
        herd = Herd(broken.server, broken.database_url, receiver, broken.recording)
        broken.refused = herd.clients.refused
        await herd.prepare()
        for cycle in range(1, kind.cycles + 1):
            name, way = next(ways)
            began = time.monotonic()
            await one_cycle(herd, broken, name, way, results)
            print(f"{results.tried.total():6} {name:<60}{time.monotonic() - began:6.2f} s", flush=True)
            is_last = cycle == kind.cycles or plan.is_over(results)
            if not herd.faults and (is_last or cycle % plan.whole_every == 0):
                began = time.monotonic()
                with herd.noting():
                    await herd.check_all()
                print(f"       everything checked{time.monotonic() - began:48.2f} s", flush=True)
            if herd.faults:
                results.note(name, herd.faults)
            if herd.faults or is_last:
                break
        results.add(herd.clients.acknowledged, herd.compared)
    return not herd.faults


async def one_cycle(herd: Herd, broken: Broken, name: str, way: Break, results: Results) -> None:
    """Break a server under load, have it serve again, and check what it did. A fault that met nothing does not count."""
    broken.starts.clear()
    changed = herd.clients.acknowledged["PATCH"]
    herd.clients.start()
    results.tried[name] += 1
    try:
        with herd.noting():
            await asyncio.sleep(random.uniform(*LOADED_SECONDS))
            # A fault before the first answer would prove little. A busy machine takes longer for that.
            await until(lambda: herd.clients.acknowledged["PATCH"] > changed or herd.clients.is_broken, WRITES_SECONDS)
            began = time.monotonic()
            try:
                await way(broken)
            except NotTried:
                results.tried[name] -= 1
            await herd.await_service()
            results.outages[name].append(time.monotonic() - began)
            results.starts[name] += broken.starts
            await asyncio.sleep(AFTERWARDS_SECONDS)
            async with asyncio.timeout(WRITES_SECONDS):
                await herd.clients.stop()
            await herd.check()
            herd.compared["backups restored and compared"] += await verify_backups(broken)
    finally:
        herd.clients.cancel()


def ways_in_turn(kind: Kind) -> Iterator[tuple[str, Break]]:
    """Yield the ways to break a server in a random order, each as often as its weight says."""
    while True:
        ways = [(name, way) for name, (way, weight) in kind.ways.items() for _ in range(weight)]
        random.shuffle(ways)
        yield from ways


def database_url(server: Herdbook) -> str:
    """Return the way to the embedded database of a running server."""
    url = running(server.data)
    assert url is not None, "the server runs"
    return url
