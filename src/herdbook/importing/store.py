"""Every SQL statement about imports, and the tables that their commands change."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, LiteralString, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from herdbook.custom_fields.model import FieldObjectType
from herdbook.db.distribution import fetch_everywhere
from herdbook.db.pool import Executor
from herdbook.history.model import Kept
from herdbook.importing.model import (
    Content,
    ImportedRow,
    ImportState,
    KeptObject,
    Mapping,
    Progress,
    RowVerdict,
    SavedMapping,
)
from herdbook.ledger.insertion import insertion
from herdbook.ledger.unit_of_work import Table


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an import's row that each slice changes."""

    workspace_id: UUID
    id: UUID
    state: ImportState
    progress: Progress


# A statement of its own creates the row.
JOBS: Final = Table(
    row=JobRow,
    key=lambda job: job.id,
    load="""
        select c.workspace_id, c.id, c.state, c.progress
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
        join import_job c on c.workspace_id = asked.workspace_id and c.id = asked.key
    """,
    save="""
        import_job_moved as (
            update import_job j set state = r.state, progress = r.progress
            from json_to_recordset($rows) as r(workspace_id uuid, id uuid, state text, progress json)
            join held on held.id = r.workspace_id
            where j.workspace_id = r.workspace_id and j.id = r.id
        )
    """,
)


class ContentRow(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an import's row that only its own changes touch."""

    workspace_id: UUID
    id: UUID
    content: Content


CONTENTS: Final = Table(
    row=ContentRow,
    key=lambda job: job.id,
    load="""
        select c.workspace_id, c.id, c.content
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
        join import_job c on c.workspace_id = asked.workspace_id and c.id = asked.key
    """,
    save="""
        import_content_changed as (
            update import_job j set content = r.content
            from json_to_recordset($rows) as r(workspace_id uuid, id uuid, content json)
            join held on held.id = r.workspace_id
            where j.workspace_id = r.workspace_id and j.id = r.id
        )
    """,
)


class SliceRow(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of some rows."""

    workspace_id: UUID
    job_id: UUID
    is_check: bool
    last_row: int
    verdicts: tuple[RowVerdict, ...]
    rows: tuple[ImportedRow, ...]


_NOTE_SLICES: Final = insertion(
    "import_slice_noted",
    "import_slice",
    {"job_id": "uuid", "is_check": "boolean", "last_row": "bigint", "verdicts": "text[]", "rows": "json"},
)
SLICES: Final = Table(
    row=SliceRow,
    key=lambda each: (each.job_id, each.is_check, each.last_row),
    load=None,
    save=_NOTE_SLICES,
)


class KeptRow(msgspec.Struct, frozen=True, kw_only=True):
    """Some objects that the undo of an import has kept. The first `many` of all end with them."""

    workspace_id: UUID
    job_id: UUID
    many: int
    kept: tuple[Kept, ...]


KEPT: Final = Table(
    row=KeptRow,
    key=lambda each: (each.job_id, each.many),
    load=None,
    save="""
        import_kept_noted as (
            insert into import_slice (workspace_id, job_id, is_check, is_undo, last_row, verdicts, rows)
            select r.workspace_id, r.job_id, false, true, r.many, '{}', r.kept
            from json_to_recordset($rows) as r(workspace_id uuid, job_id uuid, many bigint, kept json)
            join held on held.id = r.workspace_id
        )
    """,
)


class ForgottenSlices(msgspec.Struct, frozen=True):
    """The outcome of a dry run that is done again."""

    workspace_id: UUID
    job_id: UUID


FORGOTTEN_SLICES: Final = Table(
    row=ForgottenSlices,
    key=lambda each: each.job_id,
    load=None,
    save="""
        import_slices_forgotten as (
            delete from import_slice s
            using json_to_recordset($rows) as r(workspace_id uuid, job_id uuid) join held on held.id = r.workspace_id
            where s.workspace_id = r.workspace_id and s.job_id = r.job_id and s.is_check
        )
    """,
)


class NamedCompany(msgspec.Struct, frozen=True):
    """The oldest active company with a name, in the form in which names are compared."""

    workspace_id: UUID
    key: str
    company_id: UUID


NAMED_COMPANIES: Final = Table(
    row=NamedCompany,
    key=lambda named: named.key,
    load="""
        select asked.workspace_id, asked.key, c.id as company_id
        from json_to_recordset($rows) as asked(workspace_id uuid, key text)
        cross join lateral (
            select c.id from company c
            where c.workspace_id = asked.workspace_id and md5(c.search) = md5(asked.key) and c.search = asked.key
                and c.deleted_at is null
            order by c.id limit 1
        ) as c
    """,
    save=None,
)


class NamedContacts(msgspec.Struct, frozen=True):
    """The oldest active contacts with a name, in the form in which names are compared: of one company, of none, or of any."""

    workspace_id: UUID
    first_name_word: str | None
    last_name_word: str | None
    names: str
    company: str | None
    contact_ids: tuple[UUID, ...]


MAX_NAMESAKES: Final = 20
NO_COMPANY: Final = "none"
# The first word of either name has an index.
NAMED_CONTACTS: Final = Table(
    row=NamedContacts,
    key=lambda named: (named.first_name_word, named.last_name_word, named.names, named.company),
    load="""
        select asked.workspace_id, asked.key ->> 0 as first_name_word, asked.key ->> 1 as last_name_word,
            asked.key ->> 2 as names, asked.key ->> 3 as company, array(
                select c.id from contact c
                where c.workspace_id = asked.workspace_id and c.deleted_at is null
                    and case when asked.key ->> 1 is null then c.first_name_word = asked.key ->> 0
                        else c.last_name_word = asked.key ->> 1 end
                    and starts_with(c.search, asked.key ->> 2)
                    and (asked.key ->> 3 is null or coalesce(c.company_id::text, 'none') = asked.key ->> 3)
                order by c.id
                limit 20
            ) as contact_ids
        from json_to_recordset($rows) as asked(workspace_id uuid, key json)
    """,
    save=None,
)


class NotesWithText(msgspec.Struct, frozen=True):
    """The active notes on an object that have a text, which its hash stands for."""

    workspace_id: UUID
    object_id: UUID
    digest: str
    note_ids: tuple[UUID, ...]


def _notes_with_text(links: LiteralString, object_id: LiteralString) -> Table[NotesWithText]:
    load: LiteralString = """
        select asked.workspace_id, (asked.key ->> 0)::uuid as object_id, asked.key ->> 1 as digest, array(
            select n.id
            from (
                select l.note_id from $links l
                where l.workspace_id = asked.workspace_id and l.$object = (asked.key ->> 0)::uuid offset 0
            ) as of_object
            -- One note at a time, or a plan for many notes reads all of the workspace for each text.
            join lateral (
                select n.id, md5(n.object ->> 'text') as digest from note n
                where n.workspace_id = asked.workspace_id and n.id = of_object.note_id and n.deleted_at is null limit 1
            ) as n on n.digest = asked.key ->> 1
            order by n.id limit 20
        ) as note_ids
        from json_to_recordset($rows) as asked(workspace_id uuid, key json)
    """
    return Table(
        row=NotesWithText,
        key=lambda found: (found.object_id, found.digest),
        load=load.replace("$links", links).replace("$object", object_id),
        save=None,
    )


NOTES_WITH_TEXT: Final = {
    FieldObjectType.CONTACT: _notes_with_text("contact_note", "contact_id"),
    FieldObjectType.COMPANY: _notes_with_text("company_note", "company_id"),
}


class StoredImport(NamedTuple):
    """An import, as its row has it."""

    workspace_id: UUID
    id: UUID
    created_at: datetime
    expires_at: datetime
    state: ImportState
    progress: Progress
    content: Content


_SELECT: Final[LiteralString] = """
    select workspace_id, id, created_at, expires_at, state, progress, content from import_job
"""


def _stored(record: asyncpg.Record) -> StoredImport:
    content = msgspec.json.decode(record["content"], type=Content)
    # An earlier release stored NUL characters, which PostgreSQL would refuse when the import is changed.
    members = tuple(name.replace("\0", "") for name in content.file.members)
    return StoredImport(
        workspace_id=record["workspace_id"],
        id=record["id"],
        created_at=record["created_at"],
        expires_at=record["expires_at"],
        state=ImportState(record["state"]),
        progress=msgspec.json.decode(record["progress"], type=Progress),
        content=msgspec.structs.replace(content, file=msgspec.structs.replace(content.file, members=members)),
    )


async def create(
    statements: Executor, workspace_id: UUID, job_id: UUID, content: Content, days: int, most: int
) -> datetime | None:
    """Note a new import. Return when it expires, or None if the workspace has too many."""
    expires_at: datetime | None = await statements.fetchval(
        """
        insert into import_job (workspace_id, id, expires_at, state, progress, content)
        select $1, $2, now() + make_interval(days => $3), 'uploaded', '{}', $4
        where (select count(*) from import_job where workspace_id = $1) < $5
        returning expires_at
        """,
        workspace_id,
        job_id,
        days,
        msgspec.json.encode(content),
        most,
    )
    return expires_at


async def find(statements: Executor, workspace_id: UUID, job_id: UUID) -> StoredImport | None:
    """Return an import, or None."""
    record = await statements.fetchrow(_SELECT + " where workspace_id = $1 and id = $2", workspace_id, job_id)
    return None if record is None else _stored(record)


async def all_of(statements: Executor, workspace_id: UUID, object_types: Sequence[str]) -> list[StoredImport]:
    """Return the imports of some types of objects, the latest first, without the parts that may be long."""
    records = await statements.fetch(
        r"""
        select workspace_id, id, created_at, expires_at, state, progress, jsonb_set(
            content #- '{file,sheets}' #- '{file,members}' #- '{mapping,columns}' #- '{mapping,fixed}', '{file,columns}', '[]'
        ) as content
        from (
            select workspace_id, id, created_at, expires_at, state, progress,
                -- An earlier release stored NUL characters, which this type has not, in the names of members.
                case when strpos(content::text, '\u0000') = 0 then content::text
                    else regexp_replace(content::text, '(?<!\\)((?:\\\\)*)\\u0000', '\1', 'g') end::jsonb as content
            from import_job where workspace_id = $1
        ) as j
        where content -> 'mapping' ->> 'object_type' = any($2) order by id desc
        """,
        workspace_id,
        [*object_types],
    )
    return [_stored(record) for record in records]


async def at_work(statements: Executor, workspace_id: UUID | None = None) -> list[tuple[UUID, UUID]]:
    """Return the imports that a server must work on, of one workspace or all: their workspaces and ids."""
    found = await fetch_everywhere(
        statements,
        """
        select workspace_id, id from import_job
        where state in ('checking', 'running', 'undoing') and ($1::uuid is null or workspace_id = $1)
        order by id limit 100
        """,
        workspace_id,
    )
    return [(record["workspace_id"], record["id"]) for record in found.records]


async def delete(statements: Executor, workspace_id: UUID, job_id: UUID) -> bool:
    """Delete an import that no server works on. Return whether that was done."""
    deleted = await statements.fetchval(
        """
        with gone as (
            delete from import_job
            where workspace_id = $1 and id = $2 and state not in ('checking', 'running', 'undoing')
            returning id
        ), slices as (
            delete from import_slice s using gone where s.workspace_id = $1 and s.job_id = gone.id
        )
        select count(*) from gone
        """,
        workspace_id,
        job_id,
    )
    return bool(deleted)


async def expired(statements: Executor, workspace_id: UUID | None = None) -> list[tuple[UUID, UUID]]:
    """Return imports of one workspace or all whose time is over, and on which no server works."""
    found = await fetch_everywhere(
        statements,
        """
        select workspace_id, id from import_job
        where expires_at < now() and state not in ('checking', 'running', 'undoing')
            and ($1::uuid is null or workspace_id = $1)
        limit 1000
        """,
        workspace_id,
    )
    return [(record["workspace_id"], record["id"]) for record in found.records]


class RowsAsked(NamedTuple):
    """The rows of an import that are asked for: of the dry run or the run, with one verdict or any, behind a row."""

    is_check: bool
    verdict: str
    after: int
    limit: int


async def rows(statements: Executor, workspace_id: UUID, job_id: UUID, asked: RowsAsked) -> list[ImportedRow]:
    """Return what came of some rows, in order, and one more if there are more."""
    records = await statements.fetch(
        """
        select row.value
        from (
            select s.rows from import_slice s
            where s.workspace_id = $1 and s.job_id = $2 and s.is_check = $3 and not s.is_undo
                and ($4 = '' or $4 = any(s.verdicts))
                and s.last_row > $5
            order by s.last_row
        ) as s
        cross join lateral json_array_elements(s.rows) as row(value)
        where (row.value ->> 'row')::bigint > $5 and ($4 = '' or row.value ->> 'verdict' = $4)
        limit $6
        """,
        workspace_id,
        job_id,
        asked.is_check,
        asked.verdict,
        asked.after,
        asked.limit + 1,
    )
    return [msgspec.json.decode(record["value"], type=ImportedRow) for record in records]


async def kept(statements: Executor, workspace_id: UUID, job_id: UUID, after: int, limit: int) -> list[KeptObject]:
    """Return some of the objects that the undo of an import has kept, and one more if there are more."""
    records = await statements.fetch(
        """
        select s.last_row - json_array_length(s.rows) + row.place as number, row.value
        from (
            select s.last_row, s.rows from import_slice s
            where s.workspace_id = $1 and s.job_id = $2 and not s.is_check and s.is_undo and s.last_row > $3
            order by s.last_row
        ) as s
        cross join lateral json_array_elements(s.rows) with ordinality as row(value, place)
        where s.last_row - json_array_length(s.rows) + row.place > $3
        limit $4
        """,
        workspace_id,
        job_id,
        after,
        limit + 1,
    )
    return [KeptObject(number=record[0], kept=msgspec.json.decode(record[1], type=Kept)) for record in records]


_HAS_ROOM: Final[LiteralString] = """
    select count(*) < $3 and coalesce(sum(octet_length(columns::text) + octet_length(mapping::text)), 0) <= $4::bigint
    from import_mapping where workspace_id = $1 and name <> $2
"""


async def has_room(statements: Executor, workspace_id: UUID, saved: SavedMapping, most: int, most_bytes: int) -> bool:
    """Whether a workspace has room for a mapping, in place of an earlier one of its name."""
    columns, mapping = msgspec.json.encode(saved.columns), msgspec.json.encode(saved.mapping)
    left = most_bytes - len(columns) - len(mapping)
    has_room: bool = await statements.fetchval(_HAS_ROOM, workspace_id, saved.name, most, left)
    return has_room


async def save_mapping(statements: Executor, workspace_id: UUID, saved: SavedMapping, most: int, most_bytes: int) -> bool:
    """Keep a mapping by its name, in place of an earlier one. Return whether the workspace has room for it."""
    columns, mapping = msgspec.json.encode(saved.columns), msgspec.json.encode(saved.mapping)
    done = await statements.execute(
        f"""
        insert into import_mapping (workspace_id, name, columns, mapping)
        select $1, $2, $5, $6 where ({_HAS_ROOM})
        on conflict (workspace_id, name) do update
        set columns = excluded.columns, mapping = excluded.mapping, updated_at = excluded.updated_at
        """,
        workspace_id,
        saved.name,
        most,
        most_bytes - len(columns) - len(mapping),
        columns,
        mapping,
    )
    return done == "INSERT 0 1"


async def saved_mappings(statements: Executor, workspace_id: UUID) -> list[SavedMapping]:
    """Return the saved mappings of a workspace, the latest first."""
    records = await statements.fetch(
        "select name, columns, mapping from import_mapping where workspace_id = $1 order by updated_at desc, name", workspace_id
    )
    return [
        SavedMapping(
            name=record["name"],
            columns=msgspec.json.decode(record["columns"], type=tuple[str, ...]),
            mapping=msgspec.json.decode(record["mapping"], type=Mapping),
        )
        for record in records
    ]
