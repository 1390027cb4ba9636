"""Whether this server can serve: its database answers, takes writes, and has the schema that this program was made for."""

import asyncio
import time
from typing import Final, NamedTuple

import asyncpg

from herdbook.db.migrate import missing, unknown
from herdbook.db.pool import CONNECTION_ERRORS, Pool
from herdbook.ledger.ledger import Ledger

# Whoever asks is answered so soon, also by a database that hangs; and the database is asked so often at most.
_ANSWER_SECONDS: Final = 1.5
_ASK_EVERY_SECONDS: Final = 1.0
# A disk that is full fails writes to tables that grow, and lets others pass. Nobody writes to a server that is not ready, so
# after this time it is tried again by whoever does.
_BELIEVED_SECONDS: Final = 30.0


class Schema(NamedTuple):
    """What tells the schema from this program's: migrations that it lacks, and those that this program does not know."""

    missing: list[str]
    unknown: list[str]


class Readiness:
    """What was last found, by whoever asked."""

    def __init__(self, pool: Pool, ledger: Ledger) -> None:
        self._pool = pool
        self._ledger = ledger
        self._asked_at = -_ASK_EVERY_SECONDS
        self._asking: asyncio.Task[Schema] | None = None

    def failing_writes(self) -> Exception | None:
        """Return why writes fail, if they did just now."""
        trouble = self._ledger.trouble
        return None if trouble is None or time.monotonic() > trouble.last + _BELIEVED_SECONDS else trouble.error

    async def schema(self) -> Schema:
        """Return what tells the schema from this program's. It fails where the database does not answer, or takes no write."""
        now = time.monotonic()
        if self._asking is None or (self._asking.done() and now >= self._asked_at + _ASK_EVERY_SECONDS):
            self._asked_at, self._asking = now, asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Schema:
        async with asyncio.timeout(_ANSWER_SECONDS):
            # A lock of a row is a write, and its commit waits for the disk; it changes nothing.
            await self._pool.execute("select name from setting where name = 'cursor_secret' for update")
            return Schema(await missing(self._pool), await unknown(self._pool))


# What it means that the database does not take a write.
NOT_READY: Final = (*CONNECTION_ERRORS, asyncpg.PostgresError)
