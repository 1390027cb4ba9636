"""The ways in which a server is broken. Each breaks it, and has it serve again."""

import asyncio
import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import psutil

from bench.herdbook import PROGRAM
from evidence.checks import FaultFound
from evidence.server import Herdbook, family_of, tell, until
from tests.ledger.proxy import Proxy

FROZEN_SECONDS = 1.0
FULL_SECONDS = 0.5
"""Seconds at most in which a disk still has no room once a write was refused."""
NOTICED_SECONDS = 10.0
"""Seconds at most until a write is refused."""
COMMAND_SECONDS = 120.0
"""Seconds at most that a backup, or its verification, may take."""
BACKUP_SECONDS = (0.1, 1.5)
"""Seconds from the begin of a backup to the fault, from and to."""
numbers = itertools.count(1)


class NotTried(Exception):
    """The fault met nothing: the cycle does not count."""


class Broken:
    """A server that is being broken, the way to its database, and the seconds that its starts have taken."""

    def __init__(self, server: Herdbook, database_url: str, proxy: Proxy | None = None) -> None:
        self.server = server
        self.database_url = database_url
        self.proxy = proxy
        self.starts: list[float] = []
        self.refused: Counter[str] = Counter()
        """The writes of the clients that were refused, by the reason that the server gave."""
        self.backups: list[Path] = []
        """The backups that are still to be verified."""
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
    await broken.server.ended([await kill_one(broken.server.backends)])


async def kill_courier(broken: Broken) -> None:
    """Kill the courier once there is one; the server starts another."""
    await kill_one(broken.server.couriers)


async def kill_worker(broken: Broken) -> None:
    """Kill one of several workers, whom the others replace."""
    await until(lambda: len(broken.server.workers()) > 1)
    await broken.server.ended([await kill_one(broken.server.workers)])


async def kill_one(found: Callable[[], Sequence[psutil.Process]]) -> psutil.Process:
    """Kill one of the processes that are found, as soon as there is one; return it."""
    while True:
        with contextlib.suppress(psutil.NoSuchProcess, IndexError):
            process = random.choice(found())
            process.kill()
            return process
        await until(found)


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
    try:
        await meet_a_write(broken)
    finally:
        filler.unlink()


async def use_up_inodes(broken: Broken) -> None:
    """Take all inodes of the disk for a while."""
    folder = broken.server.data / "filler"
    folder.mkdir()
    with contextlib.suppress(OSError):
        for number in range(os.statvfs(folder).f_ffree):
            (folder / str(number)).touch()
    try:
        await meet_a_write(broken)
    finally:
        shutil.rmtree(folder)


async def meet_a_write(broken: Broken) -> None:
    """Wait until a write was refused because the disk is full, and some time longer. Raise NotTried if none is."""

    def refused() -> int:
        return sum(count for reason, count in broken.refused.items() if "disk" in reason)

    before = refused()
    try:
        await until(lambda: refused() > before, NOTICED_SECONDS)
    except TimeoutError:
        raise NotTried from None
    await asyncio.sleep(random.uniform(0, FULL_SECONDS))


async def back_up(broken: Broken) -> None:
    """Take a backup, and kill it or one process of PostgreSQL meanwhile, or neither."""
    file = broken.server.folder / f"backup-{next(numbers)}"
    backup = herdbook(broken, "backup", str(file))
    match random.randrange(3):
        case 0:
            await asyncio.sleep(random.uniform(*BACKUP_SECONDS))
            for each in family_of(backup):
                tell(each, signal.SIGKILL)
        case 1:
            await asyncio.sleep(random.uniform(*BACKUP_SECONDS))
            await kill_backend(broken)
        case _:
            pass
    await until(lambda: backup.poll() is not None, COMMAND_SECONDS)
    if is_left(file, backup.returncode):
        broken.backups.append(file)


def is_left(file: Path, code: int) -> bool:
    """Whether a backup left its file. Raise FaultFound if it failed and did so, or succeeded and did not.

    One that was killed right after its last act has left it, too. All files are restored and compared later.
    """
    # A killed command cannot remove its draft, which is no backup and says so by its name.
    for draft in file.parent.glob(f".{file.name}.*.part"):
        draft.unlink()
    if file.exists() != (code == 0) and not (file.exists() and code == -signal.SIGKILL):
        raise FaultFound("backup", f"{file.name}, after the code {code}: {'is' if file.exists() else 'is not'} there")
    return file.exists()


async def verify_backups(broken: Broken) -> int:
    """Restore each backup into a scratch folder, and return how many there were. Raise FaultFound if one is not whole."""
    verified = 0
    while broken.backups:
        file = broken.backups.pop()
        restore = herdbook(broken, "restore", "--verify", str(file))
        await until(lambda: restore.poll() is not None, COMMAND_SECONDS)  # noqa: B023  # awaited in this round
        if restore.returncode != 0:
            raise FaultFound("backup", f"{file.name}: `herdbook restore --verify` ended with {restore.returncode}")
        file.unlink()
        verified += 1
    return verified


def herdbook(broken: Broken, *arguments: str) -> psutil.Popen:
    """Start a command on the data of a server."""
    with (broken.server.folder / "log.txt").open("ab") as log:
        return psutil.Popen(
            [str(PROGRAM), *arguments, f"--data-dir={broken.server.data}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=broken.server.environment,
        )


Break = Callable[[Broken], Awaitable[None]]
EVERYWHERE: dict[str, tuple[Break, int]] = {
    "server killed": (kill_server, 12),
    "all processes killed at once": (kill_all, 12),
    "PostgreSQL's postmaster killed": (kill_postmaster, 20),
    "one backend of PostgreSQL killed": (kill_backend, 26),
    "courier killed": (kill_courier, 8),
    "SIGTERM, then started again": (terminate, 8),
    "all processes stopped for a moment, then continued": (freeze, 4),
    "a backup, killed or beside a killed backend or undisturbed": (back_up, 2),
}
"""The ways to break any server, and how often each of them is taken."""
