"""The SQL that reads the addresses in a restored database: an erasure is known by hashes alone, which no statement searches."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any, Final, LiteralString, NamedTuple
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.addresses import addresses_within
from herdbook.db.pool import Executor
from herdbook.erasure.model import texts_of

_ROWS: Final = 1000
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


class Mention(NamedTuple):
    """The addresses that a row mentions, and when it was created; the earliest time, if nothing tells that."""

    created_at: datetime
    addresses: set[str]


class _Rows(NamedTuple):
    """Rows of a table that may mention an address: a statement for the next ones after a place, and the first place."""

    statement: LiteralString
    first: tuple[UUID | str | int, ...]


# A slice has so few rows and stored bytes that others hardly wait for it. `many` are the rows from which it takes the first.
_NEXT: Final[LiteralString] = """
    select $key, r.at, case when strpos($said::text, '@') > 0 then $said end, r.many
    from (
        select r.*, count(*) over () as many,
            sum(pg_column_size(r.kept)) over (order by $key) - pg_column_size(r.kept) as bytes_before
        from ($rows order by $key limit 1000) as r
    ) as r
    where r.bytes_before < 1048576 order by $key
"""


def _next(key: LiteralString, rows: LiteralString, said: LiteralString) -> LiteralString:
    return _NEXT.replace("$rows", rows).replace("$key", key).replace("$said", said)


_OBJECTS: Final[LiteralString] = """
    select r.id, (r.object ->> 'created_at')::timestamptz as at, r.$kept as kept from $table r
    where r.workspace_id = $1 and r.id > $2 and r.$kept is not null
"""


def _objects(table: LiteralString, kept: LiteralString, said: LiteralString) -> _Rows:
    return _Rows(_next("r.id", _OBJECTS.replace("$kept", kept).replace("$table", table), said), (ids.NIL,))


_ALL: Final = (
    _Rows(
        _next(
            "r.id",
            """
            select r.id, (r.object ->> 'created_at')::timestamptz as at, r.object, r.details as kept from engagement r
            where r.workspace_id = $1 and r.id > $2
            """,
            "json_build_array(r.kept -> 'participants', r.kept -> 'external_id', r.object -> 'external_url')",
        ),
        (ids.NIL,),
    ),
    _Rows(
        _next(
            "r.id",
            """
            select r.id, (e.object ->> 'created_at')::timestamptz as at, r.object as kept
            from transcript r left join engagement e on e.workspace_id = r.workspace_id and e.id = r.id
            where r.workspace_id = $1 and r.id > $2 and r.object is not null
            """,
            "(r.kept -> 'speakers')",
        ),
        (ids.NIL,),
    ),
    _objects("contact", "own", "(r.kept -> 'fields')"),
    _objects("company", "own", "(r.kept -> 'fields')"),
    _objects("field", "object", "(r.kept -> 'default')"),
    # The values that contacts and companies had before, the defaults of fields, and what was said of calls and transcripts.
    _Rows(
        _next(
            "r.seq",
            """
            select r.seq, r.at, r.kind, r.object as kept, r.previous from change r
            where r.workspace_id = $1 and r.seq > $2 and r.kind in ('c', 'o', 'f', 'e', 'r')
            """,
            """(
            case when r.kind = 'f' then json_build_array(r.kept -> 'default', r.previous -> 'default')
            when r.kind = 'e' then json_build_array(
                r.kept -> 'details' -> 'participants', r.previous -> 'details' -> 'participants',
                r.kept -> 'details' -> 'external_id', r.previous -> 'details' -> 'external_id',
                r.kept -> 'external_url', r.previous -> 'external_url'
            )
            when r.kind = 'r' then json_build_array(
                r.kept -> 'timeline' -> 'speakers', r.kept -> 'engagement' -> 'external_url',
                r.previous -> 'timeline' -> 'speakers', r.previous -> 'engagement' -> 'external_url'
            )
            when strpos(r.kept::text, '"fields":') > 0 or strpos(r.previous::text, '"fields":') > 0
                then json_build_array(r.kept -> 'fields', r.previous -> 'fields') end
            )""",
        ),
        (0,),
    ),
    _Rows(
        _next(
            "r.credential_id, r.key",
            """
            select r.credential_id, r.key, r.at, r.answer as kept from idempotency_record r
            where r.workspace_id = $1 and (r.credential_id, r.key) > ($2, $3)
            """,
            "json_build_array(r.key, r.kept)",
        ),
        (ids.NIL, ""),
    ),
    # Views and mappings are changed long after they were created, and say nothing of when.
    _Rows(
        _next(
            "r.id",
            """
            select r.id, null::timestamptz as at, r.name, r.content as kept from saved_view r
            where r.workspace_id = $1 and r.id > $2
            """,
            "json_build_array(r.name, r.kept)",
        ),
        (ids.NIL,),
    ),
    _Rows(
        _next(
            "r.name",
            """
            select r.name, null::timestamptz as at, r.columns, r.mapping as kept from import_mapping r
            where r.workspace_id = $1 and r.name > $2
            """,
            "json_build_array(r.name, r.columns, r.kept)",
        ),
        ("",),
    ),
)


async def mentions(statements: Executor, workspace_id: UUID) -> AsyncGenerator[Mention]:
    """Yield the rows that mention addresses: calls, values of fields, defaults, kept answers, views and mappings of imports."""
    for rows in _ALL:
        place: tuple[Any, ...] | None = rows.first
        while place is not None:
            records = await statements.fetch(rows.statement, workspace_id, *place)
            for *_, at, said, _many in records:
                if said is not None and (addresses := _addresses(msgspec.json.decode(said))):
                    yield Mention(at or _LONG_AGO, addresses)
            # A slice that has all that is left is the last one, though others may add rows meanwhile.
            is_last = not records or len(records) == records[0]["many"] < _ROWS
            place = None if is_last else tuple(records[-1])[:-3]


def _addresses(said: Any) -> set[str]:
    return {address for text in texts_of(said) if "@" in text for address in addresses_within(text)}


async def has_imports(statements: Executor, workspace_id: UUID) -> bool:
    """Whether a workspace has imports."""
    found: bool = await statements.fetchval("select exists (select from import_job where workspace_id = $1)", workspace_id)
    return found
