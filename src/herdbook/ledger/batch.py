"""A batch: one transaction that loads the rows its commands need, applies the commands in memory, and saves the changes."""

import functools
import logging
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec

from herdbook import metrics
from herdbook.db.pool import Connection
from herdbook.ledger.book import Book, Need, Row, Shelf
from herdbook.ledger.changes import SAVE_CHANGES, Change

_PARAMETERS: Final[tuple[LiteralString, ...]] = (
    *("$2", "$3", "$4", "$5", "$6", "$7", "$8", "$9", "$10", "$11", "$12", "$13", "$14", "$15"),
    *("$16", "$17", "$18", "$19", "$20", "$21", "$22", "$23", "$24", "$25", "$26", "$27", "$28", "$29"),
)

_WARN_EVERY_SECONDS: Final = 60.0
_LOCK: Final = "select id from workspace where id = any($1) order by id for update"

# Use the database's time, so that all servers share one clock.
_LOAD_HEADS: Final[LiteralString] = """
    clock_timestamp(), (select json_agg(w) from (select id, seq, last_at from workspace where id = any($1)) as w)
"""

# The guard of every save. `held` lacks the workspaces whose head moved since they were loaded, so nothing is written there.
# Compare the time, too: every save moves it, while the sequence moves only with a change, and an idempotency record may be
# saved without one. Rows are locked in the order of their ids, so that two processes cannot deadlock.
_HOLD: Final[LiteralString] = """
    with head as (
        select * from json_to_recordset($1) as h(id uuid, old_seq bigint, old_at timestamptz, seq bigint, at timestamptz)
    ), locked as (
        select w.id from workspace w join head on head.id = w.id and (head.old_seq, head.old_at) = (w.seq, w.last_at)
        order by w.id for update of w
    ), held as (
        update workspace w set seq = head.seq, last_at = head.at
        from locked join head on head.id = locked.id
        where w.id = locked.id
        returning w.id
    )
"""


class _Head(msgspec.Struct):
    id: UUID
    seq: int
    last_at: datetime


class _NewHead(msgspec.Struct):
    id: UUID
    old_seq: int
    old_at: datetime
    seq: int
    at: datetime


_log: Final = logging.getLogger("herdbook.ledger")
# Clocks agree within this time once they are synchronized, so a time further ahead was written by a wrong clock.
_AHEAD: Final = timedelta(minutes=1)
# Every batch of such a workspace would log the warning; one a minute is enough.
_warned: Final = {"at": -_WARN_EVERY_SECONDS}
_number: Final = attrgetter("number")
_heads: Final = msgspec.json.Decoder(list[_Head])
_encode: Final = msgspec.json.Encoder().encode
_row_decoders: Final[dict[Shelf[Any], msgspec.json.Decoder[list[Any]]]] = {}


async def lock_all(connection: Connection, workspace_ids: Iterable[UUID]) -> None:
    """Lock the workspaces' rows until the transaction ends, in the order of their ids."""
    await connection.execute(_LOCK, list(workspace_ids))


async def lock_at_once(connection: Connection) -> None:
    """Wait for locks only 50 ms at a time until the transaction ends, because somebody was found to hold rows."""
    await connection.execute("set local lock_timeout = '50ms'")


async def load(connection: Connection, needs: dict[UUID, set[Need]]) -> dict[UUID, Book]:
    """Open a book for each workspace that exists, with the rows needed. One statement loads them, so they share a snapshot.

    A lock must be taken by an earlier statement, because a statement that waits for a lock keeps the snapshot from before it.
    """
    asked: dict[Shelf[Any], list[dict[str, Any]]] = {}
    for workspace_id, wanted in needs.items():
        for need in wanted:
            asked.setdefault(need.shelf, []).append({"workspace_id": workspace_id, "key": need.key})
    shelves = _in_order(asked)
    record = await connection.fetchrow(_load_statement(shelves), list(needs), *(_encode(asked[shelf]) for shelf in shelves))
    assert record is not None, "a select without `from` has one row"
    now: datetime = record[0]
    books = {
        head.id: Book(head.id, head.seq, head.last_at, max(now, head.last_at + timedelta(microseconds=1)))
        for head in (_heads.decode(record[1]) if record[1] else ())
    }
    _look_at_times(books.values(), now)
    for shelf, rows in zip(shelves, record[2:], strict=True):
        for row in _decoded_rows(shelf, rows):
            if book := books.get(row.workspace_id):
                book.lay(shelf, row)
    return books


async def save(connection: Connection, books: Sequence[Book]) -> set[UUID]:
    """Write the changes of the books in one statement; return the workspaces that no other process had changed meanwhile."""
    heads = [_NewHead(book.workspace_id, book.loaded_seq, book.loaded_at, book.seq, book.at) for book in books]
    put: dict[Shelf[Any], list[Row]] = {}
    changes: list[Change] = []
    for book in books:
        changes += book.changes
        for (shelf, _), row in book.put_rows.items():
            put.setdefault(shelf, []).append(row)
    shelves = _in_order(put)
    records = await connection.fetch(
        _save_statement(shelves), _encode(heads), _encode(changes), *(_encode(put[shelf]) for shelf in shelves)
    )
    return {record["id"] for record in records}


def _in_order(shelves: Iterable[Shelf[Any]]) -> tuple[Shelf[Any], ...]:
    """Return the shelves in a fixed order, so that batches with the same tables share one prepared statement."""
    return tuple(sorted(shelves, key=_number))


def _look_at_times(books: Iterable[Book], now: datetime) -> None:
    """Warn of workspaces that were written while a clock was ahead; their times continue from there until clocks catch up."""
    ahead = max((book.at - now for book in books), default=timedelta())
    is_ahead = ahead > _AHEAD
    metrics.AHEAD_SECONDS.set(ahead.total_seconds() if is_ahead else 0)
    now_seconds = time.monotonic()
    if is_ahead and now_seconds > _warned["at"] + _WARN_EVERY_SECONDS:
        _warned["at"] = now_seconds
        _log.warning("a workspace's last change is in the future", extra={"seconds": round(ahead.total_seconds())})


@functools.cache
def _load_statement(shelves: tuple[Shelf[Any], ...]) -> LiteralString:
    columns: list[LiteralString] = [_LOAD_HEADS]
    for shelf, parameter in zip(shelves, _PARAMETERS[: len(shelves)], strict=True):
        assert shelf.load is not None, "a command needs rows of a shelf that is only written"
        columns.append("(select json_agg(r) from (" + shelf.load.replace("$rows", parameter) + ") as r)")
    return "select " + ", ".join(columns)


@functools.cache
def _save_statement(shelves: tuple[Shelf[Any], ...]) -> LiteralString:
    fragments: list[LiteralString] = [SAVE_CHANGES]
    for shelf in shelves:
        assert shelf.save is not None, "a command writes rows of a shelf that is only read"
        fragments.append(shelf.save)
    numbered: list[LiteralString] = [
        fragment.replace("$rows", parameter)
        for fragment, parameter in zip(fragments, _PARAMETERS[: len(fragments)], strict=True)
    ]
    return _HOLD + ", " + ", ".join(numbered) + " select id from held"


def _decoded_rows(shelf: Shelf[Any], rows: bytes | None) -> list[Any]:
    if rows is None:
        return []
    decoder = _row_decoders.get(shelf)
    if decoder is None:
        decoder = _row_decoders[shelf] = msgspec.json.Decoder(list[shelf.row])  # type: ignore[name-defined]
    return decoder.decode(rows)


async def was_committed(connection: Connection, last: Change) -> bool:
    """Whether the change table holds exactly this entry, the last of its batch.

    The time alone is no proof: if the clock is behind, two processes choose the same next time.
    """
    return await connection.fetchval(
        """
        select exists (
            select from change
            where workspace_id = $1 and seq = $2 and at = $3 and object_id = $4 and request_id = $5
        )
        """,
        last.workspace_id,
        last.seq,
        last.at,
        last.object_id,
        last.request_id,
    )
