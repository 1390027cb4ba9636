"""A server with its clients and a webhook endpoint, and the checks on it."""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import msgspec

from evidence import rows
from evidence.changes import Change
from evidence.checks import (
    Fault,
    FaultFound,
    Replay,
    Write,
    check_contents,
    check_events,
    check_order,
    check_rows,
    check_writes,
)
from evidence.clients import CONTACTS, ENGAGEMENTS, ERASED, FIELDS, RETRY_PAUSE, Clients
from evidence.http_client import Answer, Connection, NotSent, Unanswered
from evidence.receiver import Receiver
from evidence.server import Herdbook, NotStarted, until
from herdbook import ids

CHANGES = "/api/herdbook/changes"
WEBHOOKS = "/api/herdbook/webhooks"
OWN_FIELDS = (
    {"object_type": "contact", "key": "badge", "label": "Badge", "kind": "text", "unique": True},
    {"object_type": "contact", "key": "shoe_size", "label": "Shoe size", "kind": "integer"},
    {"object_type": "company", "key": "floor", "label": "Floor", "kind": "integer"},
)
"""The workspace's own fields, of which clients set values, and rename the last."""
MENTION = re.compile(rf"{ERASED}-\d+")
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
        workspace_id = ids.decoded(ids.WORKSPACE, server.workspace_id)
        assert workspace_id is not None, "the server has written it"
        self._workspace_id = workspace_id
        self._writes: list[Write] = []
        self._replay = Replay(workspace_id)
        self._first_event = 0
        self._checked_recordings = 0
        self._checked_persons = 0

    async def prepare(self) -> None:
        """Define fields, and make the endpoint."""
        for each in OWN_FIELDS:
            self.clients.field_id = (await self._ask("POST", FIELDS, each)).json()["id"]
        self.receiver.secret = (await self._ask("POST", WEBHOOKS, {"url": self.receiver.url})).json()["secret"]
        await self._read_feed(self._replay)
        # The endpoint receives what comes after it.
        self._first_event = self._replay.position
        self._replay.events.clear()

    async def await_service(self) -> None:
        """Return once a write passes. Raise TimeoutError if that takes too long, FaultFound if the write is refused."""
        await self._ask("POST", CONTACTS, {"first_name": "Hedy"})

    async def create(self, body: dict[str, Any], key: str) -> str:
        """Create a contact; return its id."""
        contact_id: str = (await self._answer("POST", CONTACTS, body, key)).json()["id"]
        return contact_id

    @contextmanager
    def noting(self) -> Generator[None]:
        """Note a failure of the block as a fault, beside those that it found before."""
        try:
            yield
        except FaultFound as error:
            self.faults.append(error.fault)
        except asyncpg.PostgresError as error:
            self.faults.append(Fault("damage", f"{type(error).__name__}: {error}"))
        except (NotStarted, TimeoutError, OSError) as error:
            self.faults.append(Fault("answer", f"{type(error).__name__}: {error}"))

    async def check(self) -> None:
        """Check what has come since the last check."""
        writes, told = self.clients.take()
        self._writes += writes
        self.faults += told
        replay = self._replay
        async with self._following(replay) as connection:
            changed = {place: replay.rows[place] for place in replay.changed if place in replay.rows}
            there = await rows.stored(connection, self._workspace_id, [object_id for _, object_id in replay.changed])
        self.faults += check_writes(writes, replay.marks, {*replay.emptied.values()})
        # An engagement and its transcript have one id.
        self.faults += check_rows(changed, {place: row for place, row in there.items() if place in replay.changed})
        self.compared["rows compared with the replay of the feed"] += len(changed)
        replay.changed.clear()
        self.faults += self.receiver.faults
        self.faults += check_contents(replay, self.receiver.take(replay.position))
        await self._check_recordings()
        await self._check_persons()

    async def check_all(self) -> None:
        """Check everything from the beginning, and wait for the events."""
        replay = Replay(self._workspace_id)
        async with self._following(replay) as connection:
            there = await rows.stored(connection, self._workspace_id)
            self.faults += [Fault("key", each) for each in await rows.differing(connection, self._workspace_id)]
            await self._check_mentions(connection)
        self.faults += check_writes(self._writes, replay.marks, {*replay.emptied.values()})
        self.faults += check_rows(replay.rows, there)
        self.compared["rows compared with the replay of the feed"] += len(there)
        due = {number: event for number, event in replay.events.items() if number > self._first_event}
        with contextlib.suppress(TimeoutError):
            await until(lambda: due.keys() <= set(self.receiver.arrived), DELIVERED_SECONDS)
        self.faults += check_events(due, set(self.receiver.arrived)) + check_order(due, self.receiver.arrived)
        self.faults += self.receiver.faults + check_contents(self._replay, self.receiver.take(self._replay.position))
        self.compared["events that a webhook endpoint had to receive"] += len(due)
        self._checked_recordings = self._checked_persons = 0
        await self._check_persons()
        await self._check_recordings()
        await self._check_pages()

    async def _read_feed(self, replay: Replay) -> None:
        """Add the rest of the feed to a replay."""
        page = Page([], has_more=True)
        while page.has_more:
            answer = await self._ask("GET", f"{CHANGES}?after={replay.position}&limit={PAGE}")
            self._require_erased(answer.body.decode(), "the feed")
            page = msgspec.json.decode(answer.body, type=Page)
            self.faults += replay.take(page.data)
            self.compared["changes read from the feed"] += len(page.data)

    @asynccontextmanager
    async def _following(self, replay: Replay) -> "AsyncGenerator[asyncpg.Connection[asyncpg.Record]]":
        """Read the rest of the feed, and yield a connection that sees the tables as of its last change."""
        async with self._database() as connection:
            while True:
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    head = await connection.fetchval("select seq from workspace where id = $1", self._workspace_id)
                    await self._read_feed(replay)
                    if replay.position < head:
                        raise FaultFound("gap", f"the feed ends at {replay.position}, the last change is {head}")
                    # Otherwise the server has written something by itself meanwhile.
                    if replay.position == head:
                        yield connection
                        return

    async def _check_persons(self) -> None:
        """Ask for the persons who were erased since the last check. No answer may tell of them."""
        for mark, person in list(self.clients.erased.items())[self._checked_persons :]:
            asked = [
                ("GET", f"{CONTACTS}/{person.contact_id}", None, None),
                ("GET", f"{CONTACTS}?filter%5Bemail%5D%5Beq%5D={mark}%40herd.test", None, None),
                ("GET", f"{CONTACTS}?search={mark}", None, None),
                ("POST", CONTACTS, person.body, person.key),
            ]
            answers = [await self._answer(*each) for each in asked]
            if (told := [answer.status for answer in answers]) != [404, 200, 200, 410]:
                self.faults.append(Fault("erased", f"{mark} {person.contact_id}: {told}"))
            for (method, path, *_), answer in zip(asked, answers, strict=True):
                self._require_erased(answer.body.decode(), f"the answer to {method} {path}")
            self.compared["erased persons sought in answers"] += 1
        self._checked_persons = len(self.clients.erased)

    async def _check_mentions(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Seek the erased persons in all tables."""
        for (table,) in await connection.fetch("select tablename from pg_tables where schemaname = 'public'"):
            found = await connection.fetch(
                f"select distinct t::text from {table} t where t::text ~ $1", MENTION.pattern.replace("\\d", "[0-9]")
            )
            for (text,) in found:
                self._require_erased(text, table)

    def _require_erased(self, text: str, place: str) -> None:
        """Note it as a fault if a text tells of an erased person."""
        for mark in self.clients.erased.keys() & set(MENTION.findall(text)):
            self.faults.append(Fault("erased", f"{mark} is in {place}"))

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
        """Ask until the answer is a success. Raise TimeoutError if that takes too long, FaultFound if it is another one."""
        answer = await self._answer(method, path, body)
        if answer.status not in (200, 201):
            check = "lost" if answer.lacks else "answer"
            raise FaultFound(check, f"{method} {path}: {answer.status} {answer.body[:500]!r}")
        return answer

    async def _answer(self, method: str, path: str, body: object = None, key: str | None = None) -> Answer:
        """Ask until there is an answer that a fault does not explain. Raise TimeoutError if that takes too long."""
        async with asyncio.timeout(SERVING_SECONDS), self._connected() as connection:
            while True:
                with contextlib.suppress(NotSent, Unanswered):
                    answer = await connection.ask(method, path, body, key)
                    if answer.status not in (429, 500, 503):
                        return answer
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
