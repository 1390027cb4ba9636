"""Every SQL statement about the data of a person, for the person. None changes anything."""

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, LiteralString, NamedTuple
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.custom_fields.model import FieldObjectType
from herdbook.custom_fields.store import all_definitions
from herdbook.db.pool import Connection, Executor
from herdbook.db.survivors import survivors
from herdbook.erasure.model import Subject
from herdbook.erasure.places import PLACES, Place
from herdbook.erasure.store import contacts_known_by, parameters, parts, subject_of, with_engagements_of
from herdbook.subject_access.words import Words, name_of
from herdbook.workspaces.store import region_of

# Limits how many engagements a statement reads with their transcripts, which have up to a megabyte each.
_ENGAGEMENTS: Final = 20
# Limits how many rows of a file a statement reads the outcomes of.
_IMPORTED_ROWS: Final = 10_000


class Workspace(NamedTuple):
    """A workspace, and the time of the snapshot."""

    name: str
    now: datetime


class Endpoint(NamedTuple):
    """A webhook endpoint, deleted or not. `event_types` is None if it gets all events."""

    id: UUID
    url: str
    event_types: Sequence[str] | None
    deleted_at: datetime | None


@asynccontextmanager
async def snapshot(connection: Connection) -> AsyncGenerator[None]:
    """Let all reads within the block see one moment, and refuse writes."""
    async with connection.transaction():
        await connection.execute("set transaction isolation level repeatable read, read only")
        yield


async def subject_with_contact(statements: Executor, workspace_id: UUID, contact_id: UUID) -> Subject:
    """Return the person that a contact is, with all contacts that were merged with it."""
    replacing = await survivors(statements, "contact", workspace_id, [contact_id])
    return await subject_of(statements, workspace_id, [replacing.get(contact_id, contact_id)])


async def subject_with_address(statements: Executor, workspace_id: UUID, address: str) -> Subject:
    """Return the person with an address: all contacts that have or had it, and engagements even without a contact."""
    found = await contacts_known_by(statements, workspace_id, address)
    subject = await subject_of(statements, workspace_id, sorted(found))
    if address in subject.addresses:
        return subject
    region = await region_of(statements, workspace_id)
    known = msgspec.structs.replace(subject, addresses=subject.addresses | {address}, region=region)
    return await with_engagements_of(statements, workspace_id, known)


async def rows_of(statements: Executor, workspace_id: UUID, subject: Subject) -> AsyncGenerator[tuple[Place, bytes]]:
    """Yield each row with data of a person, as JSON, table by table."""
    slices = [*parts(subject, _ENGAGEMENTS)]
    tables = [*dict.fromkeys(place.table for place in PLACES)]
    outcomes = await _outcomes_of(statements, workspace_id)
    for place in sorted(PLACES, key=lambda place: tables.index(place.table)):
        for part in slices if place.is_of_engagements else slices[:1]:
            for further in outcomes if place.is_of_imports else ((),):
                for record in await statements.fetch(place.rows, *parameters(workspace_id, part), *further):
                    yield place, record[0]


async def _outcomes_of(statements: Executor, workspace_id: UUID) -> list[tuple[UUID, bool, int, int]]:
    """Return ranges of rows of all imports: the import, whether it is the dry run, the row before the first, and the last."""
    records = await statements.fetch(
        """
        select job_id, is_check, max(last_row) from import_slice where workspace_id = $1
        group by job_id, is_check order by job_id, is_check
        """,
        workspace_id,
    )
    return [
        (job_id, is_check, start, start + _IMPORTED_ROWS)
        for job_id, is_check, last in records
        for start in range(0, last, _IMPORTED_ROWS)
    ]


_OBJECTS: Final[LiteralString] = "select c.id, c.object from $table c where c.workspace_id = $1 and c.id = any($2)"
# The objects that a contact refers to, deleted or not, by the prefix of their ids.
_REFERRED: Final[dict[str, LiteralString]] = {
    ids.USER: _OBJECTS.replace("$table", "workspace_user"),
    ids.CONTACT: _OBJECTS.replace("$table", "contact"),
    ids.COMPANY: _OBJECTS.replace("$table", "company"),
    ids.TAG: _OBJECTS.replace("$table", "tag"),
}


async def words_of(statements: Executor, workspace_id: UUID, referred: Collection[str]) -> Words:
    """Return the workspace's fields of contacts, and the names of the objects with these ids, as the API shows them."""
    definitions = await all_definitions(statements, workspace_id)
    names: dict[str, str] = {}
    for prefix, found in _REFERRED.items():
        records = await statements.fetch(found, workspace_id, ids.decoded_all(prefix, referred))
        names |= {ids.encoded(prefix, record[0]): name_of(msgspec.json.decode(record[1])) for record in records}
    of_contacts = {field.key: field for field in definitions if field.object_type is FieldObjectType.CONTACT}
    return Words(of_contacts, names)


async def workspace_now(statements: Executor, workspace_id: UUID) -> Workspace:
    """Return a workspace, and the time."""
    record = await statements.fetchrow("select name, now() from workspace where id = $1", workspace_id)
    assert record is not None, "the command has found it"
    return Workspace(*record)


async def endpoints_of(statements: Executor, workspace_id: UUID) -> list[Endpoint]:
    """Return the webhook endpoints of a workspace, deleted ones, too."""
    records = await statements.fetch(
        """
        select id, object ->> 'url', object -> 'event_types', deleted_at from webhook_endpoint
        where workspace_id = $1 order by id
        """,
        workspace_id,
    )
    return [
        Endpoint(record[0], record[1], None if record[2] is None else msgspec.json.decode(record[2]), record[3])
        for record in records
    ]
