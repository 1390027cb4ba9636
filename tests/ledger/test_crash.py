"""`kill -9` of a writer and of PostgreSQL: nothing acknowledged is lost, and nothing is done twice."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import psutil
import pytest

from herdbook.auth.store import create_workspace
from herdbook.embedded import EmbeddedPostgres
from herdbook.first_start import prepare
from herdbook.ledger.ledger import Ledger
from tests.cli.programs import command_line
from tests.ledger.concurrent_callers import Said, assert_kept, call_all, crowd_elsewhere, heard
from tests.ledger.ledger_client import ledger_on
from tests.ledger.promises import Pool, kept_promises

FOREVER = 1_000_000


@pytest.mark.parametrize("lines_heard", [1, 50, 400, 1000])
async def test_killed_writer_loses_nothing_acknowledged(
    ledger: Ledger, database_url: str, pool: Pool, lines_heard: int
) -> None:
    """Everything that a killed process acknowledged is stored, and others write on from there."""
    workspace_ids = [await create_workspace(pool, f"Workspace {number}") for number in range(3)]
    said: list[Said] = []
    async with crowd_elsewhere(database_url, lines_heard, FOREVER, workspace_ids) as (process, lines):
        said += [heard(await lines.readline()) for _ in range(lines_heard)]
        process.kill()
        await listen(lines, said.append)
    await call_all(ledger, pool, workspace_ids, 0, 100, said.append)

    await assert_all_kept(pool, workspace_ids, said)
    assert any(one.refusal is None for one in said)


async def test_killed_writers_lock_is_given_back(ledger: Ledger, database_url: str, pool: Pool, workspace_id: UUID) -> None:
    """A killed process does not keep its workspace locked."""
    said: list[Said] = []
    ours = asyncio.create_task(call_all(ledger, pool, [workspace_id], 0, 1500, said.append))
    for seed in range(1, 4):
        async with crowd_elsewhere(database_url, seed, FOREVER, [workspace_id]) as (process, lines):
            said += [heard(await lines.readline()) for _ in range(100)]
            process.kill()
            await listen(lines, said.append)
    async with asyncio.timeout(90):
        await ours

    await assert_all_kept(pool, [workspace_id], said)


async def test_killed_postgresql_loses_nothing_acknowledged() -> None:
    """PostgreSQL is killed while two processes write; it recovers, and they continue."""
    with tempfile.TemporaryDirectory(prefix="herdbook-") as folder:
        server = EmbeddedPostgres(Path(folder))
        try:
            database_url = server.start()
            await prepare(database_url)
            await write_through_crashes(server, database_url)
        finally:
            server.stop()


async def write_through_crashes(server: EmbeddedPostgres, database_url: str) -> None:
    """Have two processes write, kill PostgreSQL again and again, and check all invariants."""
    ears = Ears()
    async with ledger_on(database_url) as ledger, pool_on(database_url) as pool:
        workspace_ids = [await create_workspace(pool, f"Workspace {number}") for number in range(3)]
        async with crowd_elsewhere(database_url, 1, FOREVER, workspace_ids) as (process, lines):
            theirs = asyncio.create_task(listen(lines, ears.hear))
            await ears.heard(1)
            ours = asyncio.create_task(call_all(ledger, pool, workspace_ids, 2, FOREVER, ears.hear))
            for is_whole in (True, False, True, True):
                await ears.heard(300)
                kill_postgresql(server, whole=is_whole)
                if is_whole:
                    server.stop()
                    assert await asyncio.to_thread(server.start) == database_url
            await ears.heard(300)
            process.kill()
            await theirs
            ours.cancel()
            await asyncio.wait([ours])

    async with pool_on(database_url) as pool:
        await assert_all_kept(pool, workspace_ids, ears.said)


class Ears:
    """A collector of the outcomes that all callers see."""

    def __init__(self) -> None:
        self.said: list[Said] = []
        self._more = asyncio.Event()

    def hear(self, said: Said) -> None:
        """Record the outcome of a command."""
        self.said.append(said)
        self._more.set()

    async def heard(self, more: int) -> None:
        """Return once a number of further commands were answered."""
        target = len(self.said) + more
        async with asyncio.timeout(90):
            while len(self.said) < target:
                self._more.clear()
                await self._more.wait()


@asynccontextmanager
async def pool_on(database_url: str) -> AsyncGenerator[Pool]:
    """Open a pool to inspect the tables."""
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool:
        yield pool


def kill_postgresql(server: EmbeddedPostgres, *, whole: bool) -> None:
    """Kill all processes of PostgreSQL, or one that serves a connection, upon which PostgreSQL restarts itself."""
    number = (server.data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0]
    postmaster = psutil.Process(int(number))
    others = postmaster.children()
    if whole:
        for process in (postmaster, *others):
            process.kill()
        psutil.wait_procs(others)
    else:
        [serving, *_] = [process for process in others if "herdbook" in command_line(process)]
        serving.kill()


async def listen(lines: asyncio.StreamReader, hear: Callable[[Said], None]) -> None:
    """Record all output of a crowd in another process; a line that was cut short does not count."""
    async for line in lines:
        if line.endswith(b"\n"):
            hear(heard(line))


async def assert_all_kept(pool: Pool, workspace_ids: Sequence[UUID], said: Sequence[Said]) -> None:
    """Check all invariants of the workspaces and all outcomes that callers saw."""
    for workspace_id in workspace_ids:
        changes = await kept_promises(pool, workspace_id)
        assert_kept(changes, [one for one in said if one.workspace_id == workspace_id])
