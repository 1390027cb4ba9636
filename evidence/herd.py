"""A server with its clients and a webhook endpoint, and the checks on it."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from uuid import UUID

import asyncpg
import msgspec

from evidence.checks import (
    Change,
    Fault,
    Replay,
    Row,
    Write,
    check_events,
    check_order,
    check_rows,
    check_writes,
)
from evidence.clients import CONTACTS, ENGAGEMENTS, RETRY_PAUSE, Clients
from evidence.http_client import Answer, Connection, Missing, NotSent, Unanswered
from evidence.receiver import Receiver
from evidence.server import Herdbook, NotStarted, until
from herdbook import ids

CHANGES = "/api/herdbook/changes"
WEBHOOKS = "/api/herdbook/webhooks"
PAGE = 1000
SERVING_SECONDS = 90.0
"""Seconds within which a broken server must take a write again."""
DELIVERED_SECONDS = 300.0
"""Seconds within which all events must have arrived, once nothing is broken any more."""


class Page(msgspec.Struct):
    data: list[Change]
    has_more: bool


class Herd:
    """The writes to a server since its folder was made, and the state that follows from its feed.

    `compared` counts what was compared, and `faults` are those that were found. `database_url` leads to its database.
    """

    def __init__(self, server: Herdbook, database_url: str, receiver: Receiver, recording: tuple[str, bytes] | None) -> None:
        self.server = server
        self.receiver = receiver
        self.clients = Clients(server.url, server.key, None if recording is None else recording[0])
        self.compared: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self._recording = b"" if recording is None else recording[1]
        self._database_url = database_url
        self._writes: list[Write] = []
        self._replay = Replay()
        self._first_event = 0
        self._checked_recordings = 0

    async def prepare(self) -> None:
        """Make the endpoint."""
        await self._ask("POST", WEBHOOKS, {"url": self.receiver.url})
        await self._read_feed(self._replay)
        # The endpoint receives what comes after it.
        self._first_event = self._replay.position
        self._replay.events.clear()

    async def await_service(self) -> None:
        """Return once a write passes. Raise TimeoutError if that takes too long, RuntimeError if the write is refused."""
        await self._ask("POST", CONTACTS, {"first_name": "Hedy"})

    @contextmanager
    def noting(self) -> Generator[None]:
        """Note a failure of the block as a fault, beside those that it found before."""
        try:
            yield
        except Missing as error:
            self.faults.append(Fault("lost", str(error)))
        except asyncpg.PostgresError as error:
            self.faults.append(Fault("damage", f"{type(error).__name__}: {error}"))
        except (NotStarted, TimeoutError, OSError, RuntimeError) as error:
            self.faults.append(Fault("answer", f"{type(error).__name__}: {error}"))

    async def check(self) -> None:
        """Check what has come since the last check."""
        since = self._replay.position
        writes, told = self.clients.take()
        self._writes += writes
        self.faults += told
        await self._read_feed(self._replay)
        self.faults += check_writes(writes, self._replay.marks)
        changed = {object_id: row for object_id, row in self._replay.rows.items() if row.version > since}
        self.faults += check_rows(changed, await self._stored(list(changed)))
        self.compared["rows compared with the replay of the feed"] += len(changed)
        await self._check_recordings()

    async def check_all(self) -> None:
        """Check everything from the beginning, and wait for the events."""
        replay = Replay()
        await self._read_feed(replay)
        self.faults += check_writes(self._writes, replay.marks)
        stored = await self._stored()
        self.faults += check_rows(replay.rows, stored)
        self.compared["rows compared with the replay of the feed"] += len(stored)
        due = {number: object_id for number, object_id in replay.events.items() if number > self._first_event}
        with contextlib.suppress(TimeoutError):
            await until(lambda: due.keys() <= set(self.receiver.arrived), DELIVERED_SECONDS)
        self.faults += check_events(due, set(self.receiver.arrived)) + check_order(due, self.receiver.arrived)
        self.compared["events that a webhook endpoint had to receive"] += len(due)
        self._checked_recordings = 0
        await self._check_recordings()
        await self._check_pages()

    async def _read_feed(self, replay: Replay) -> None:
        """Add the rest of the feed to a replay."""
        page = Page([], has_more=True)
        while page.has_more:
            answer = await self._ask("GET", f"{CHANGES}?after={replay.position}&limit={PAGE}")
            page = msgspec.json.decode(answer.body, type=Page)
            self.faults += replay.take(page.data)
            self.compared["changes read from the feed"] += len(page.data)

    async def _stored(self, contact_ids: Sequence[UUID] | None = None) -> dict[UUID, Row]:
        """Return the rows of these contacts, or of all."""
        workspace_id = ids.decoded(ids.WORKSPACE, self.server.workspace_id)
        async with self._database() as connection:
            records = await connection.fetch(
                """
                select id, version, deleted_at is not null, object from contact
                where workspace_id = $1 and ($2::uuid[] is null or id = any($2))
                """,
                workspace_id,
                contact_ids,
            )
        return {record[0]: Row(record[1], record[2], record[3].encode()) for record in records}

    async def _check_recordings(self) -> None:
        """Fetch the recordings that were acknowledged since the last check."""
        for mark, engagement_id in list(self.clients.recordings.items())[self._checked_recordings :]:
            shown = (await self._ask("GET", f"{ENGAGEMENTS}/{engagement_id}?expand=media_url")).json()
            async with self._connected() as connection:
                path = (shown["media_url"] or "/missing").removeprefix("http://herdbook.test")
                answer = await connection.ask("GET", path)
            if answer.body != self._recording:
                self.faults.append(Fault("recording", f"{mark}: {answer.status}, {len(answer.body)} bytes"))
            self.compared["recordings fetched"] += 1
        self._checked_recordings = len(self.clients.recordings)

    async def _check_pages(self) -> None:
        """Have PostgreSQL check the pages of all tables and indexes, and whether each row is in its indexes."""
        async with self._database() as connection:
            await connection.execute("create extension if not exists amcheck")
            damaged = await connection.fetch(
                """
                select c.relname, d.msg from pg_class c, lateral verify_heapam(c.oid) d
                where c.relkind = 'r' and c.relpersistence = 'p'
                """
            )
            self.faults += [Fault("damage", f"{name}: {message}") for name, message in damaged]
            await connection.execute(
                """
                select bt_index_check(i.indexrelid, true) from pg_index i
                join pg_class c on c.oid = i.indexrelid join pg_am a on a.oid = c.relam
                where a.amname = 'btree' and c.relpersistence = 'p' and i.indisvalid
                """
            )

    async def _ask(self, method: str, path: str, body: object = None) -> Answer:
        """Ask until the answer is a success.

        Raise TimeoutError if that takes too long, Missing if the server lacks what it had acknowledged, RuntimeError if it
        refuses for another reason.
        """
        async with asyncio.timeout(SERVING_SECONDS), self._connected() as connection:
            while True:
                with contextlib.suppress(NotSent, Unanswered):
                    answer = await connection.ask(method, path, body)
                    if answer.status in (200, 201):
                        return answer
                    if answer.status not in (429, 500, 503):
                        refusal = Missing if answer.lacks else RuntimeError
                        raise refusal(f"{method} {path}: {answer.status} {answer.body[:500]!r}")
                await asyncio.sleep(RETRY_PAUSE / 4)

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[Connection]:
        connection = Connection(self.server.url, self.server.key)
        try:
            yield connection
        finally:
            connection.close()

    @asynccontextmanager
    async def _database(self) -> "AsyncGenerator[asyncpg.Connection[asyncpg.Record]]":
        connection = await asyncpg.connect(self._database_url)
        try:
            yield connection
        finally:
            await connection.close()
