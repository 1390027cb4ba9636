"""The ways in which a server is broken. Each breaks it, and has it serve again."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
from collections.abc import Awaitable, Callable

from evidence.server import Herdbook, tell, until
from tests.ledger.proxy import Proxy

FROZEN_SECONDS = 1.0
FULL_SECONDS = 0.5
"""Seconds in which a disk has no room: longer than the server takes to notice, and long enough for writes to fail."""


class Broken:
    """A server that is being broken, the way to its database, and the seconds that its starts have taken."""

    def __init__(self, server: Herdbook, database_url: str, proxy: Proxy | None = None) -> None:
        self.server = server
        self.database_url = database_url
        self.proxy = proxy
        self.starts: list[float] = []
        self.recording: tuple[str, bytes] | None = None
        """The address of a recording for the clients, and its bytes."""

    async def start(self) -> None:
        self.starts.append(await self.server.start())


async def kill_server(broken: Broken) -> None:
    """Kill the server, whose database and courier end by themselves."""
    server = broken.server
    tell(server.process, signal.SIGKILL)
    await server.ended([server.process])
    await broken.start()


async def kill_all(broken: Broken) -> None:
    """Kill all processes at once, in any order."""
    server = broken.server
    family = server.family()
    random.shuffle(family)
    for each in family:
        tell(each, signal.SIGKILL)
    await server.ended([server.process])
    await broken.start()


async def terminate(broken: Broken) -> None:
    """Stop the server with SIGTERM, and start it again once it has ended."""
    server = broken.server
    tell(server.process, signal.SIGTERM)
    await server.ended([server.process])
    await broken.start()


async def kill_postmaster(broken: Broken) -> None:
    """Kill PostgreSQL's first process; the server starts another."""
    before = broken.server.postmaster()
    tell(before, signal.SIGKILL)
    await broken.server.ended([before])


async def kill_backend(broken: Broken) -> None:
    """Kill a process that serves a connection, upon which PostgreSQL ends all others and recovers."""
    if backends := broken.server.backends():
        backend = random.choice(backends)
        tell(backend, signal.SIGKILL)
        await broken.server.ended([backend])


async def kill_courier(broken: Broken) -> None:
    """Kill the courier once there is one; the server starts another."""
    await until(broken.server.couriers)
    for each in broken.server.couriers():
        tell(each, signal.SIGKILL)


async def kill_worker(broken: Broken) -> None:
    """Kill one of several workers, whom the others replace."""
    await until(lambda: len(broken.server.workers()) > 1)
    worker = random.choice(broken.server.workers())
    tell(worker, signal.SIGKILL)
    await broken.server.ended([worker])


async def freeze(broken: Broken) -> None:
    """Stop all processes for a while, and let them go on."""
    family = broken.server.family()
    for each in family:
        tell(each, signal.SIGSTOP)
    await asyncio.sleep(random.uniform(0.1, FROZEN_SECONDS))
    for each in family:
        tell(each, signal.SIGCONT)


async def cut_connections(broken: Broken) -> None:
    """Catch a save on its way to PostgreSQL, and cut the connection before it is there, after it, or on one side only."""
    assert broken.proxy is not None
    caught = await broken.proxy.trap(lambda sql: "insert into change" in sql)
    match random.randrange(4):
        case 0:
            caught.cut()
        case 1:
            await caught.deliver()
            caught.cut()
        case 2:
            caught.send()
            caught.cut_client()
        case _:
            caught.cut_server()
            caught.cut_client()


async def fill_disk(broken: Broken) -> None:
    """Take all space of the disk for a while."""
    filler = broken.server.data / "filler"
    with filler.open("wb") as file:
        for left in (0, 2**20, 2**22):
            # The server takes some of the space meanwhile.
            with contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(broken.server.data).free - left)
    await asyncio.sleep(random.uniform(0, FULL_SECONDS))
    filler.unlink()


async def use_up_inodes(broken: Broken) -> None:
    """Take all inodes of the disk for a while."""
    folder = broken.server.data / "filler"
    folder.mkdir()
    with contextlib.suppress(OSError):
        for number in range(os.statvfs(folder).f_ffree):
            (folder / str(number)).touch()
    await asyncio.sleep(random.uniform(0, FULL_SECONDS))
    shutil.rmtree(folder)


Break = Callable[[Broken], Awaitable[None]]
EVERYWHERE: dict[str, tuple[Break, int]] = {
    "server killed": (kill_server, 12),
    "all processes killed at once": (kill_all, 12),
    "PostgreSQL's postmaster killed": (kill_postmaster, 20),
    "one backend of PostgreSQL killed": (kill_backend, 26),
    "courier killed": (kill_courier, 8),
    "SIGTERM, then started again": (terminate, 8),
    "all processes stopped for a moment, then continued": (freeze, 4),
}
"""The ways to break any server, and how often each of them is taken."""
