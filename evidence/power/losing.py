"""Loss of power under load: all processes are stopped at a moment, and started again on what a disk would hold."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import ssl
import subprocess
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import trustme

from bench.herdbook import PROGRAM
from evidence.breaking import Break, Broken
from evidence.kill import Kind, Plan, break_in_turns, database_url, environment
from evidence.power.replay import Disk, Loss
from evidence.receiver import playing
from evidence.results import Results
from evidence.server import Herdbook, tell, until
from tests.engagements.media_server import sound

CHECKPOINT_SECONDS = 0.1
"""Seconds at most from the begin of a checkpoint to the loss of power, which falls into it or comes soon after it."""


class NoCompiler(Exception):
    """There is no C compiler for the recorder."""


def build_recorder(folder: Path) -> Path:
    """Compile the recorder. Raise NoCompiler if there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise NoCompiler("no C compiler (`cc`) was found")
    library = folder / "recorder.so"
    source = Path(__file__).with_name("recorder.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


class Powered(Broken):
    """A server whose disk is recorded."""

    def __init__(self, server: Herdbook, database_url: str, disk: Disk, log: Path) -> None:
        super().__init__(server, database_url)
        self.disk = disk
        self.log = log


@asynccontextmanager
async def powered(folder: Path, program: Sequence[str] = (str(PROGRAM),)) -> AsyncGenerator[Powered]:
    """Run a server whose disk is recorded, with recordings to fetch. It begins on a folder that another start has made."""
    log, library = folder / "disk.log", build_recorder(folder)
    log.touch()
    log.chmod(0o666)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(certificate)  # pyright: ignore[reportUnknownMemberType]
    trusting = environment() | {"SSL_CERT_FILE": str(folder / "authority.pem"), "HERDBOOK_ALLOWED_TARGETS": "127.0.0.1"}
    recorded = {"LD_PRELOAD": str(library), "RECORDER_LOG": str(log), "RECORDER_ROOT": str(folder / "data")}
    server = Herdbook(folder, environment=trusting, program=program)
    recording = sound(20)
    async with playing(recording, certificate) as address:
        try:
            await server.start()
            await server.stop()
            disk = Disk(server.data, folder / "image")
            server.data.rename(disk.image)
            disk.begin()
            server.environment = trusting | recorded
            await server.start()
            broken = Powered(server, database_url(server), disk, log)
            broken.recording = address, recording
            yield broken
        finally:
            await server.stop()


def lose_power(loss: Loss) -> Break:
    """Return the way to break a server that loses this part of what was not synced."""

    async def lose(broken: Broken) -> None:
        assert isinstance(broken, Powered)
        checkpoint = asyncio.create_task(checkpointed(broken.database_url)) if random.random() < 0.5 else None
        await asyncio.sleep(random.uniform(0, CHECKPOINT_SECONDS))
        stopped = await freeze(broken.server)
        log = broken.log.read_bytes()
        for each in stopped:
            tell(each, signal.SIGKILL)
        await broken.server.ended(stopped)
        if checkpoint is not None:
            await checkpoint
        await asyncio.to_thread(broken.disk.lose_power, log, loss, random.Random())
        await asyncio.to_thread(broken.disk.begin)
        os.truncate(broken.log, 0)
        await broken.start()

    return lose


async def checkpointed(database_url: str) -> None:
    """Have PostgreSQL write and sync its data files. It may be killed meanwhile."""
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute("checkpoint")
        finally:
            connection.terminate()


async def freeze(server: Herdbook) -> list[psutil.Process]:
    """Stop all processes of a server, and those that they start meanwhile."""
    stopped: list[psutil.Process] = []
    while new := [each for each in server.family() if each not in stopped]:
        for each in new:
            tell(each, signal.SIGSTOP)
        stopped += new
    await until(lambda: all(map(is_stopped, stopped)))
    return stopped


def is_stopped(process: psutil.Process) -> bool:
    """Whether a process stands still."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    return True


POWER = Kind(
    powered,
    {
        "all that was not synced is lost": (lose_power(Loss.ALL), 1),
        "some of what was not synced is lost, with torn pages": (lose_power(Loss.SOME), 1),
    },
    20,
)


async def lose_power_often(plan: Plan, scratch: Path, results: Results, report: Callable[[], None]) -> None:
    """Let servers lose power until the plan is done."""
    await break_in_turns([POWER], plan, scratch, results, report)
