"""Every SQL statement about merging."""

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from herdbook import ids
from herdbook.db.pool import Executor
from herdbook.ledger.unit_of_work import Origin, Table


class Counted(msgspec.Struct, frozen=True):
    """The number of engagements that some contacts have together."""

    workspace_id: UUID
    contact_ids: tuple[UUID, ...]
    many: int


# Limits how many engagements a batch moves.
MAX_MOVED_ENGAGEMENTS: Final = 500
COUNTED: Final = Table(
    row=Counted,
    key=lambda counted: counted.contact_ids,
    load="""
        select asked.workspace_id, asked.key as contact_ids, (
            select count(distinct l.engagement_id) from engagement_contact l
            where l.workspace_id = asked.workspace_id and l.contact_id = any(asked.key)
        ) as many
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid[])
    """,
    save=None,
)


class Left(NamedTuple):
    """A merged contact that may still have engagements, and the origin of the command that merged it."""

    workspace_id: UUID
    contact_id: UUID
    origin: Origin


async def left(statements: Executor, workspace_id: UUID, contact_ids: Sequence[UUID]) -> list[Left]:
    """Return those of the contacts that were merged and still have engagements."""
    # This form makes PostgreSQL look up engagements and entries by key, instead of reading those of all contacts.
    records = await statements.fetch(
        """
        select c.workspace_id, c.id, e.request_id, e.credential_id
        from contact c
        cross join lateral (
            select from engagement_contact l where l.workspace_id = c.workspace_id and l.contact_id = c.id limit 1
        ) as engaged
        left join lateral (
            select e.request_id, e.credential_id from change e
            where e.workspace_id = c.workspace_id and e.seq = c.version offset 0
        ) as e on true
        where c.merged_into is not null and c.workspace_id = $1 and c.id = any($2)
        """,
        workspace_id,
        list(contact_ids),
    )
    return _decoded(records)


async def left_anywhere(statements: Executor) -> list[Left]:
    """Return all merged contacts that may still have engagements."""
    records = await statements.fetch(
        """
        select u.workspace_id, u.object_id, e.request_id, e.credential_id
        from unfinished u
        left join lateral (
            select e.request_id, e.credential_id
            from contact c join change e on e.workspace_id = c.workspace_id and e.seq = c.version
            where c.workspace_id = u.workspace_id and c.id = u.object_id limit 1
        ) as e on true
        where u.task = 'move'
        """
    )
    return _decoded(records)


def _decoded(records: Sequence[asyncpg.Record]) -> list[Left]:
    # The origin is unknown if the entry is no longer kept.
    return [
        Left(workspace_id, contact_id, Origin(request_id or ids.new_id(), credential_id or ids.NIL))
        for workspace_id, contact_id, request_id, credential_id in records
    ]
