"""A batch: one transaction that loads the rows its commands need, applies the commands in memory, and saves the changes."""

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import repeat
from operator import attrgetter
from typing import Any, Final, LiteralString, NamedTuple
from uuid import UUID

import msgspec

from herdbook import metrics
from herdbook.db.placeholders import placeholder
from herdbook.db.pool import Connection
from herdbook.ledger.changes import SAVE_CHANGES, Change
from herdbook.ledger.unit_of_work import LOAD_BYTES, Need, Removed, Row, Table, UnitOfWork

# The first parameter of a batch's statements is its workspaces; the rows of each table follow.
_FIRST_ROWS: Final = 2
# The save of a single workspace has the five members of its head in place of that.
_FIRST_ROWS_OF_ONE: Final = 6
_WARN_EVERY_SECONDS: Final = 60.0
# The bytes of rows that are encoded before others have their turn.
TURN_BYTES: Final = 1_048_576
# Decoding takes several times as long as encoding.
DECODING_TURN_BYTES: Final = TURN_BYTES // 8
# A load looks at the bytes of rows if it has more than so many of a table.
MANY_ROWS: Final = 64
_LOCK: Final = "select id from workspace where id = any($1) order by id for update"

# Use the database's time, so that all servers share one clock. The comment is a condition in a shard.
_LOAD_HEADS: Final[LiteralString] = """
    clock_timestamp(), (select json_agg(w) from (select id, seq, last_at from workspace where id = any($1) /* here */) as w)
"""

# The end of each statement that saves.
SAVED: Final[LiteralString] = " select id, pg_current_xact_id()::xid as transaction from held"
# The guard of every save. `held` lacks the workspaces whose head moved since they were loaded, so nothing is written there, and
# those with a row that was kept since an earlier batch and has been written by anybody meanwhile.
# Compare the time, too: every save moves it, while the sequence moves only with a change, and an idempotency record may be
# saved without one. The comment is a condition in a shard.
_HOLD_ONE: Final[LiteralString] = """
    with $outdated held as (
        update workspace w set seq = $4, last_at = $5
        where w.id = $1 and w.seq = $2 and w.last_at = $3 /* held */ $unless_outdated
        returning w.id
    )
"""
# Rows are locked in the order of their ids, so that two processes cannot deadlock.
_HOLD: Final[LiteralString] = """
    with head as (
        select * from json_to_recordset($1) as h(id uuid, old_seq bigint, old_at timestamptz, seq bigint, at timestamptz)
    ), $outdated locked as (
        select w.id from workspace w join head on head.id = w.id and (head.old_seq, head.old_at) = (w.seq, w.last_at)
            /* held */ $unless_outdated
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


class _KeptRow(msgspec.Struct):
    workspace_id: UUID
    id: Any
    seen: int


class SavedRows(NamedTuple):
    """The rows that a transaction has written, as JSON, with their workspaces."""

    transaction: int
    rows: Sequence[tuple[UUID, Need, bytes]]


class _First(msgspec.Struct):
    """The first rows of a load, and the number of those that were looked up."""

    many: int
    rows: msgspec.Raw


_log: Final = logging.getLogger("herdbook.ledger")
# Clocks agree within this time once they are synchronized, so a time further ahead was written by a wrong clock.
_AHEAD: Final = timedelta(minutes=1)
# Every batch of such a workspace would log the warning; one a minute is enough.
_warned: Final = {"at": -_WARN_EVERY_SECONDS}
_number: Final = attrgetter("number")
_head_decoder: Final = msgspec.json.Decoder(list[_Head])
_encode: Final = msgspec.json.Encoder().encode
_raw_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])
_first_decoder: Final = msgspec.json.Decoder(_First)
_row_decoders: Final[dict[Table[Any], msgspec.json.Decoder[list[Any]]]] = {}
_single_decoders: Final[dict[Table[Any], msgspec.json.Decoder[Any]]] = {}


async def lock_all(connection: Connection, workspace_ids: Collection[UUID]) -> None:
    """Lock the workspaces' rows until the transaction ends, in the order of their ids."""
    await connection.execute(_LOCK, list(workspace_ids))


async def lock_at_once(connection: Connection) -> None:
    """Wait for locks only 50 ms at a time until the transaction ends, because somebody was found to hold rows."""
    await connection.execute("set local lock_timeout = '50ms'")


async def load(
    connection: Connection,
    needs: Mapping[UUID, Collection[Need]],
    note_time: Callable[[datetime], None] | None = None,
) -> dict[UUID, UnitOfWork]:
    """Open a unit of work, with the rows needed, for each workspace that exists. `note_time` is told the time of the database.

    One statement loads them, so they share a snapshot. A lock must be taken by an earlier statement, because a statement that
    waits for a lock keeps the snapshot from before it.
    """
    loaded = await _loaded(connection, needs, LOAD_BYTES)
    if note_time is not None:
        note_time(loaded.now)
    units = {
        head.id: UnitOfWork(head.id, head.seq, head.last_at, max(loaded.now, head.last_at + timedelta(microseconds=1)))
        for head in loaded.heads
    }
    _look_at_times(units.values(), loaded.now)
    await _add(units, needs, loaded)
    return units


async def load_more(
    connection: Connection,
    units: Mapping[UUID, UnitOfWork],
    needs: Mapping[UUID, Collection[Need]],
    loads: int,
) -> set[UUID]:
    """Load further rows into units of work. Return the workspaces that another process has changed since their first load.

    After several loads, a load has many more bytes, so that a command which needs all of its rows gets them.
    """
    loaded = await _loaded(connection, needs, LOAD_BYTES << 2 * max(0, loads - 1))
    await _add(units, needs, loaded)
    return {
        head.id for head in loaded.heads if (head.seq, head.last_at) != (units[head.id].loaded_seq, units[head.id].loaded_at)
    }


async def load_ahead(connection: Connection, before: UnitOfWork, needs: Collection[Need]) -> UnitOfWork | None:
    """Open the unit of work that follows one which is being saved. Return None if another process has written meanwhile."""
    loaded = await _loaded(connection, {before.workspace_id: needs}, LOAD_BYTES)
    if not _is_around(before, loaded):
        return None
    work = UnitOfWork.ahead_of(before, loaded.now)
    await _add({work.workspace_id: work}, {work.workspace_id: needs}, loaded)
    return work


async def load_more_ahead(connection: Connection, work: UnitOfWork, before: UnitOfWork, needs: Collection[Need]) -> bool:
    """Load further rows into a unit of work that follows one. Return whether no other process has written meanwhile."""
    loaded = await _loaded(connection, {before.workspace_id: needs}, LOAD_BYTES)
    await _add({work.workspace_id: work}, {work.workspace_id: needs}, loaded)
    return _is_around(before, loaded)


def _is_around(before: UnitOfWork, loaded: "_Loaded") -> bool:
    """Whether the head is where a unit of work begins, or where it ends."""
    heads = ((before.loaded_seq, before.loaded_at), (before.seq, before.at))
    return bool(loaded.heads) and all((head.seq, head.last_at) in heads for head in loaded.heads)


class _Loaded(NamedTuple):
    """One snapshot: the time, the heads of the workspaces, and the rows of each table in JSON."""

    now: datetime
    heads: Sequence[_Head]
    rows: Sequence[tuple[Table[Any], bytes | msgspec.Raw | None]]
    left_out: Mapping[UUID, Collection[Need]]


async def _loaded(connection: Connection, needs: Mapping[UUID, Collection[Need]], most_bytes: int) -> _Loaded:
    asked: dict[Table[Any], list[dict[str, Any]]] = {}
    for workspace_id, wanted in needs.items():
        for need in wanted:
            asked.setdefault(need.table, []).append({"workspace_id": workspace_id, "key": need.key})
    tables = _in_order(asked)
    many = tuple(table for table in tables if table.load_first is not None and len(asked[table]) > MANY_ROWS)
    for table in many:
        # A slice of a long task takes the first objects, so these must come first.
        asked[table].sort(key=lambda each: each["key"])
    statement = _load_statement(tables, many)
    bound = [most_bytes] if many else []
    record = await connection.fetchrow(statement, list(needs), *(_encode(asked[table]) for table in tables), *bound)
    assert record is not None, "a select without `from` has one row"
    heads = _head_decoder.decode(record[1]) if record[1] else ()
    rows: list[tuple[Table[Any], bytes | msgspec.Raw | None]] = []
    left_out: dict[UUID, list[Need]] = {}
    for table, found in zip(tables, record[2:], strict=True):
        if table not in many:
            rows.append((table, found))
            continue
        first = _first_decoder.decode(found)
        rows.append((table, first.rows))
        for each in asked[table][first.many :]:
            left_out.setdefault(each["workspace_id"], []).append(Need(table, each["key"]))
    return _Loaded(record[0], heads, rows, left_out)


async def _add(units: Mapping[UUID, UnitOfWork], needs: Mapping[UUID, Collection[Need]], loaded: _Loaded) -> None:
    for workspace_id, wanted in needs.items():
        if work := units.get(workspace_id):
            left_out = loaded.left_out.get(workspace_id)
            work.note_looked_up(set(wanted).difference(left_out) if left_out else wanted)
            work.note_left_out(left_out or ())
    for table, rows in loaded.rows:
        sizes: list[int] = []
        decoded = [] if rows is None else await decoded_in_turns(table, rows, sizes)
        for row, size in zip(decoded, sizes or repeat(0), strict=False):
            if work := units.get(row.workspace_id):
                work.add_loaded(table, row, size)


async def save(
    connection: Connection,
    units: Sequence[UnitOfWork],
    note_rows: Callable[[SavedRows], None] | None = None,
) -> set[UUID]:
    """Write all changes in one statement; return the workspaces that no other process had changed meanwhile.

    `note_rows` is told the rows that were written, if the transaction commits.
    """
    heads = [_NewHead(work.workspace_id, work.loaded_seq, work.loaded_at, work.seq, work.at) for work in units]
    is_one = len(heads) == 1
    put, written = _put_by(units)
    changes: list[Change] = []
    kept: dict[Table[Any], list[_KeptRow]] = {}
    for work in units:
        changes += work.changes
        for (table, key), seen in work.kept.items():
            kept.setdefault(table, []).append(_KeptRow(work.workspace_id, key, seen))
    tables, kept_tables = _in_order(put), _in_order(kept)
    texts = [await _each_encoded(put[table]) for table in tables]
    parameters = [
        *(msgspec.structs.astuple(heads[0]) if is_one else (_encode(heads),)),
        await encoded_in_turns(changes),
        *map(_array, texts),
        *map(_encode, map(kept.get, kept_tables)),
    ]
    records = await connection.fetch(_save_statement(tables, kept_tables, is_one=is_one), *parameters)
    saved = {record["id"] for record in records}
    if note_rows is not None and saved:
        rows = [
            (row.workspace_id, Need(of_table, table.key(row)), text)
            for table, encoded in zip(tables, texts, strict=True)
            if (of_table := written.get(table)) is not None and of_table.outdated is not None
            for row, text in zip(put[table], encoded, strict=True)
            if row.workspace_id in saved
        ]
        note_rows(SavedRows(records[0]["transaction"], rows))
    return saved


def _put_by(units: Iterable[UnitOfWork]) -> tuple[dict[Table[Any], list[Row]], dict[Table[Any], Table[Any]]]:
    """Return the rows that units of work have put, by the table that saves them, and of which table the whole ones are."""
    put: dict[Table[Any], list[Row]] = {}
    written: dict[Table[Any], Table[Any]] = {}
    for work in units:
        for place, row in work.changed_rows.items():
            table = place[0]
            if type(row) is Removed:
                saving = table.removals
                assert saving is not None, "a command removes rows of a table that allows it"
            else:
                saving = table.additions if table.additions is not None and place in work.new_rows else table
                written[saving] = table
            put.setdefault(saving, []).append(row)
    return put, written


async def encoded_in_turns(rows: Sequence[Any]) -> bytes:
    """Return rows as a JSON array. Others have their turn while a large one is encoded."""
    return _array(await _each_encoded(rows))


async def _each_encoded(rows: Iterable[Any]) -> list[bytes]:
    encoded: list[bytes] = []
    size = 0
    for row in rows:
        part = _encode(row)
        encoded.append(part)
        # A small row takes as long as some hundred bytes.
        size += len(part) + 100
        if size > TURN_BYTES:
            size = 0
            await asyncio.sleep(0)
    return encoded


def _in_order(tables: Iterable[Table[Any]]) -> tuple[Table[Any], ...]:
    """Return the tables in a fixed order, so that batches with the same tables share one prepared statement."""
    return tuple(sorted(tables, key=_number))


def _look_at_times(units: Iterable[UnitOfWork], now: datetime) -> None:
    """Warn of workspaces that were written while a clock was ahead; their times continue from there until clocks catch up."""
    ahead = max((work.at - now for work in units), default=timedelta())
    is_ahead = ahead > _AHEAD
    metrics.AHEAD_SECONDS.set(ahead.total_seconds() if is_ahead else 0)
    now_seconds = time.monotonic()
    if is_ahead and now_seconds > _warned["at"] + _WARN_EVERY_SECONDS:
        _warned["at"] = now_seconds
        _log.warning("a workspace's last change is in the future", extra={"seconds": round(ahead.total_seconds())})


@functools.cache
def _load_statement(tables: tuple[Table[Any], ...], many: tuple[Table[Any], ...]) -> LiteralString:
    columns: list[LiteralString] = [_LOAD_HEADS]
    most = placeholder(_FIRST_ROWS + len(tables))
    for number, table in enumerate(tables, _FIRST_ROWS):
        assert table.load is not None, "a command needs rows of a table that is only written"
        if table in many and table.load_first is not None:
            columns.append(
                "(" + table.load_first.replace("$rows", placeholder(number)).replace("$most", most + "::bigint") + ")"
            )
            continue
        columns.append("(select json_agg(r) from (" + table.load.replace("$rows", placeholder(number)) + ") as r)")
    return "select " + ", ".join(columns)


@functools.cache
def _save_statement(tables: tuple[Table[Any], ...], kept_tables: tuple[Table[Any], ...], *, is_one: bool) -> LiteralString:
    fragments: list[LiteralString] = [SAVE_CHANGES]
    for table in tables:
        assert table.save is not None, "a command writes rows of a table that is only read"
        fragments.append(table.save)
    outdated: list[LiteralString] = []
    for table in kept_tables:
        assert table.outdated is not None, "a row is kept of a table whose rows may be"
        outdated.append(table.outdated)
    numbered: list[LiteralString] = [
        fragment.replace("$rows", placeholder(number))
        for number, fragment in enumerate((*fragments, *outdated), _FIRST_ROWS_OF_ONE if is_one else _FIRST_ROWS)
    ]
    saves, kept = numbered[: len(fragments)], numbered[len(fragments) :]
    hold = _HOLD_ONE if is_one else _HOLD
    hold = hold.replace("$outdated", "outdated as (" + " union all ".join(kept) + ")," if kept else "")
    hold = hold.replace("$unless_outdated", "and w.id not in (select workspace_id from outdated)" if kept else "")
    return hold + ", " + ", ".join(saves) + SAVED


def decoded_row(table: Table[Any], text: bytes) -> Any:
    """Return one row as it was encoded."""
    decoder = _single_decoders.get(table)
    if decoder is None:
        decoder = _single_decoders[table] = msgspec.json.Decoder(table.row)
    return decoder.decode(text)


async def decoded_in_turns(table: Table[Any], rows: bytes | msgspec.Raw, sizes: list[int] | None = None) -> list[Any]:
    """Return the rows of a JSON array, and add the bytes of each to `sizes` if they have very many together.

    Others have their turn while many are decoded.
    """
    decoder = _row_decoders.get(table)
    if decoder is None:
        decoder = _row_decoders[table] = msgspec.json.Decoder(list[table.row])  # type: ignore[name-defined]
    if len(memoryview(rows)) <= DECODING_TURN_BYTES:
        return decoder.decode(rows)
    decoded: list[Any] = []
    parts: list[msgspec.Raw] = []
    size = 0
    for part in _raw_decoder.decode(rows):
        parts.append(part)
        part_size = len(memoryview(part))
        if sizes is not None:
            sizes.append(part_size)
        size += part_size
        if size > DECODING_TURN_BYTES:
            decoded += decoder.decode(_array(parts))
            parts.clear()
            size = 0
            await asyncio.sleep(0)
    return decoded + decoder.decode(_array(parts))


def _array(parts: Iterable[bytes | msgspec.Raw]) -> bytes:
    return b"[" + b",".join(parts) + b"]"


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
