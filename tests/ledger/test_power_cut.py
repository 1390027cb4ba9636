"""A power cut, as far as a test can simulate it: PostgreSQL and the writer die at once, again and again."""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import asyncpg
import msgspec
import psutil

from herdbook.embedded import EmbeddedPostgres
from tests.cli.programs import kill
from tests.ledger.concurrent_callers import Said, assert_kept, heard
from tests.ledger.promises import kept_promises

ROOT = Path(__file__).parents[2]
ROUNDS = 2
LINES_A_ROUND = 250


async def test_nothing_acknowledged_is_lost_when_all_dies_at_once() -> None:
    """Everything acknowledged before the kill is stored after the next start, and nothing twice."""
    with tempfile.TemporaryDirectory(prefix="herdbook-") as folder:
        said: list[Said] = []
        workspace_ids: list[UUID] = []
        for number in range(ROUNDS):
            workspace_ids = await write_until_killed(Path(folder), number, said)
        server = EmbeddedPostgres(Path(folder))
        try:
            await assert_all_kept(server.start(), workspace_ids, said)
        finally:
            server.stop()


async def write_until_killed(folder: Path, number: int, said: list[Said]) -> list[UUID]:
    """Let a server and its database write, kill both, and add the output of the server to `said`; return its workspaces."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.ledger.crash_child", str(folder), str(number), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(90):
            workspace_ids = msgspec.json.decode(await process.stdout.readline(), type=list[UUID])
            lines = [await process.stdout.readline() for _ in range(LINES_A_ROUND)]
            postgresql = processes_of_postgresql(folder)
            # The order matters, because the survivor may still try something.
            writer = psutil.Process(process.pid)
            everything = [writer, *postgresql] if number % 2 else [*postgresql, writer]
            for one in everything:
                # A process of PostgreSQL may end by itself before its turn, as one that vacuums does.
                kill(one)
            lines += [line async for line in process.stdout]
            psutil.wait_procs(postgresql)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    # A line that was cut short does not count.
    news = [heard(line) for line in lines if line.endswith(b"\n")]
    assert any(one.refusal is None for one in news)
    said += news
    return workspace_ids


def processes_of_postgresql(folder: Path) -> list[psutil.Process]:
    """Return the processes of the PostgreSQL whose cluster is in a folder."""
    number = (folder / "postgres" / "postmaster.pid").read_text().splitlines()[0]
    postmaster = psutil.Process(int(number))
    return [postmaster, *postmaster.children()]


async def assert_all_kept(database_url: str, workspace_ids: Sequence[UUID], said: Sequence[Said]) -> None:
    """Check all invariants of the workspaces and all outcomes that callers saw."""
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool:
        for workspace_id in workspace_ids:
            changes = await kept_promises(pool, workspace_id)
            assert_kept(changes, [one for one in said if one.workspace_id == workspace_id])
