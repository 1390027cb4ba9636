"""Readiness of this server: its database answers, takes writes, and has the schema that this program expects."""

import asyncio
import time
from typing import Final, NamedTuple

import asyncpg

from herdbook.db.migrate import missing, unknown
from herdbook.db.pool import CONNECTION_ERRORS, Pool
from herdbook.ledger.ledger import Ledger

# The answer comes within the first of these times, even if the database hangs. The second is the time between two checks.
_ANSWER_SECONDS: Final = 1.5
_ASK_EVERY_SECONDS: Final = 1.0
# A full disk fails writes to tables that grow, while the check itself passes. A server that is not ready gets no writes, so a
# failure is believed only for this time; then the next write decides.
_BELIEVED_SECONDS: Final = 30.0


class Schema(NamedTuple):
    """The difference between the schema and this program: migrations that are missing, and those that are unknown here."""

    missing: list[str]
    unknown: list[str]


class Readiness:
    """Checks readiness; concurrent requests share one check."""

    def __init__(self, pool: Pool, ledger: Ledger) -> None:
        self._pool = pool
        self._ledger = ledger
        self._asked_at = -_ASK_EVERY_SECONDS
        self._asking: asyncio.Task[Schema] | None = None

    def failing_writes(self) -> Exception | None:
        """Return the error of the last write, if it failed a short time ago."""
        trouble = self._ledger.trouble
        return None if trouble is None or time.monotonic() > trouble.last + _BELIEVED_SECONDS else trouble.error

    async def schema(self) -> Schema:
        """Return the difference between the schema and this program. Raise `NOT_READY` if the database does not take writes."""
        now = time.monotonic()
        if self._asking is None or (self._asking.done() and now >= self._asked_at + _ASK_EVERY_SECONDS):
            self._asked_at, self._asking = now, asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Schema:
        async with asyncio.timeout(_ANSWER_SECONDS):
            # Locking a row is a write whose commit waits for the disk, but it changes nothing.
            await self._pool.execute("select name from setting where name = 'cursor_secret' for update")
            return Schema(await missing(self._pool), await unknown(self._pool))


# The errors of a database that does not answer, or takes no writes.
NOT_READY: Final = (*CONNECTION_ERRORS, asyncpg.PostgresError)
