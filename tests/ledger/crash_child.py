"""A process to be killed: it has its own PostgreSQL, as `herdbook serve` has it, and concurrent callers that write there.

`python -m tests.ledger.crash_child FOLDER SEED` prints its workspaces on a line, and then the outcome of each command, as
`concurrent_callers` does.
"""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

from herdbook.auth.store import create_workspace
from herdbook.embedded import EmbeddedPostgres
from herdbook.first_start import prepare
from tests.ledger.concurrent_callers import Said, call_all
from tests.ledger.ledger_client import ledger_on

_WORKSPACES: Final = 3


async def _main(folder: Path, seed: int) -> None:
    logging.getLogger("herdbook").setLevel(logging.CRITICAL)
    server = EmbeddedPostgres(folder)
    database_url = server.start()
    await prepare(database_url)
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool, ledger_on(database_url) as ledger:
        while await pool.fetchval("select count(*) from workspace") < _WORKSPACES:
            await create_workspace(pool, "Workspace")
        workspace_ids = [row["id"] for row in await pool.fetch("select id from workspace order by id")]
        _print(msgspec.json.encode(workspace_ids))
        await call_all(ledger, pool, workspace_ids, seed, sys.maxsize, _say)
    server.stop()


def _say(said: Said) -> None:
    _print(msgspec.json.encode(said))


def _print(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2])))
