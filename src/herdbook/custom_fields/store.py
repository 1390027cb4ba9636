"""The type of fields, with its tables, and every SQL statement about them."""

from collections.abc import Collection
from typing import Any, Final, LiteralString, NamedTuple, Self
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.custom_fields.model import Field, blank, patched
from herdbook.custom_fields.values import FormerList, former_lists
from herdbook.db.database import ObjectRead, find_in
from herdbook.db.paging import ListQuery, ListRow, PageQuery
from herdbook.db.pool import Executor, PagePool, Pool
from herdbook.ledger.claims import UniqueKey, claim_table
from herdbook.ledger.object_types import HistoryNotes, ObjectRow, ObjectType, object_table, whole
from herdbook.ledger.unfinished import Task, note
from herdbook.ledger.unit_of_work import Table, UnitOfWork


class FieldRow(ObjectRow, frozen=True, kw_only=True):
    """A field's row: its definition, and the columns that queries use."""

    object_type: str
    key: str
    is_archived: bool
    converted_to: UUID | None
    former: tuple[FormerList, ...] | None
    object: Field

    @classmethod
    def of(cls, work: UnitOfWork, object_id: UUID, version: int, before: Any, after: Any) -> Self:
        row = super().of(work, object_id, version, before, after)
        was, old = (None, ()) if before is None else (before.object, before.former or ())
        return msgspec.structs.replace(row, former=former_lists(old, was, after, version) or None)

    @classmethod
    def columns(cls, before: Self | None, after: Field) -> dict[str, Any]:
        is_same = before is not None and before.deleted_at is None and not changes_form(before.object, after)
        return {
            "object_type": after.object_type.value,
            "key": after.key,
            "is_archived": after.archived,
            "converted_to": before.converted_to if before is not None and is_same else None,
            "former": None,
        }


FIELDS: Final = object_table(
    FieldRow,
    "field",
    {"object_type": "text", "key": "text", "is_archived": "boolean", "converted_to": "uuid", "former": "json"},
)
FIELD_KEYS: Final = UniqueKey[Field](
    claim_table("field_key", "key", "field_id"),
    # Only a blank definition has no key.
    keys=lambda field: [f"{field.object_type.value}.{field.key}"] if field.key else [],
    field_path=lambda _, __: "key",
)


class DeletedField(msgspec.Struct, frozen=True):
    """A field that an earlier release has deleted and whose key it has freed, although objects may have values of it."""

    workspace_id: UUID
    key: str
    id: UUID


DELETED_FIELDS: Final = Table(
    row=DeletedField,
    key=lambda found: found.key,
    load="""
        select distinct on (asked.workspace_id, asked.key) asked.workspace_id, asked.key, f.id
        from json_to_recordset($rows) as asked(workspace_id uuid, key text)
        join field f on f.workspace_id = asked.workspace_id and f.object_type || '.' || f.key = asked.key
            and f.deleted_at is not null
        order by asked.workspace_id, asked.key, f.version desc
    """,
    save=None,
)
CONVERT_VALUES: Final = Task("convert_values", FIELDS.name)


def changes_form(before: Field, after: Field) -> bool:
    """Whether the values of a field have another form after a change, or become unique, or no longer are."""
    return (before.kind, before.unique) != (after.kind, after.unique)


def _begin_conversion(work: UnitOfWork, field_id: UUID, before: Field | None, after: Field) -> None:
    """Note that values must be converted, which others may have set or claimed in the form of another definition."""
    if before is None or changes_form(before, after):
        note(work, CONVERT_VALUES, field_id, is_finished=False)


FIELD: Final = ObjectType(
    kind="f",
    name="field",
    plural="fields",
    prefix=ids.FIELD,
    table=FIELDS,
    entry=Field,
    example=Field.example,
    unique_keys=(FIELD_KEYS,),
    read_scopes=("contacts:read",),
    write_scopes=(ADMIN,),
    blank=blank,
    patched=patched,
    # Objects, deleted ones and their histories keep the values, which no later field of the key may show.
    retired=lambda field: msgspec.structs.replace(field, archived=True),
    begin_tasks=_begin_conversion,
    history=HistoryNotes(restoring="The values that objects have of it show again."),
)


class Defined(msgspec.Struct, frozen=True):
    """The definition of a field, and the lists that it was."""

    field: Field
    former: tuple[FormerList, ...] | None


class Definitions(msgspec.Struct, frozen=True):
    """The definitions of all fields of a type of objects, archived ones included."""

    workspace_id: UUID
    object_type: str
    fields: tuple[Defined, ...]


# A type has few definitions, and a command that sets values needs those that are required and those with a default, too.
DEFINITIONS: Final = Table(
    row=Definitions,
    key=lambda found: found.object_type,
    load="""
        select asked.workspace_id, asked.key as object_type, coalesce((
            select json_agg(json_build_object('field', f.object, 'former', f.former)) from field f
            where f.workspace_id = asked.workspace_id and f.object_type = asked.key
                and coalesce(f.deleted_at, 'infinity') = 'infinity'
        ), '[]') as fields
        from json_to_recordset($rows) as asked(workspace_id uuid, key text)
    """,
    save=None,
)


class ValueSlice(msgspec.Struct, frozen=True):
    """The next objects after an id: those that have a value of a field, the last of all, and whether there are no others."""

    workspace_id: UUID
    key: str
    after: UUID
    object_ids: tuple[UUID, ...]
    last_id: UUID | None
    is_last: bool


# Limits how many objects a batch looks through for values of a field.
_SLICE: Final[LiteralString] = """
    select asked.workspace_id, asked.key ->> 0 as key, (asked.key ->> 1)::uuid as after,
        coalesce(array_agg(c.id order by c.id) filter (where c.has_value), '{}') as object_ids,
        (array_agg(c.id order by c.id desc) filter (where c.id is not null))[1] as last_id, count(c.id) < 500 as is_last
    from json_to_recordset($rows) as asked(workspace_id uuid, key json)
    left join lateral (
        select c.id, coalesce(c.deleted_at, 'infinity') = 'infinity'
            and c.own -> 'fields' -> (asked.key ->> 0) is not null as has_value
        from $table c
        where c.workspace_id = asked.workspace_id and c.id > (asked.key ->> 1)::uuid
        order by c.id limit 500
    ) as c on true
    group by asked.workspace_id, asked.key ->> 0, asked.key ->> 1
"""


def _value_slices(table: LiteralString) -> Table[ValueSlice]:
    return Table(row=ValueSlice, key=lambda found: (found.key, found.after), load=_SLICE.replace("$table", table), save=None)


VALUE_SLICES: Final = {"contact": _value_slices("contact"), "company": _value_slices("company")}
_VALUES: Final[LiteralString] = """
    select c.id, c.version, case when c.deleted_at is null then c.own -> 'fields' -> $3 end
    from $table c where c.workspace_id = $1 and c.id > $2 order by c.id limit 2000
"""
_VALUES_OF: Final[dict[str, LiteralString]] = {
    "contact": _VALUES.replace("$table", "contact"),
    "company": _VALUES.replace("$table", "company"),
}


class ValueOf(NamedTuple):
    """The value of a field in an object, None if it has none or is deleted."""

    id: UUID
    version: int
    value: Any


async def values_after(statements: Executor, object_type: str, workspace_id: UUID, key: str, after: UUID) -> list[ValueOf]:
    """Return the next active and deleted objects after an id, with their values of a field."""
    records = await statements.fetch(_VALUES_OF[object_type], workspace_id, after, key)
    return [ValueOf(each[0], each[1], None if each[2] is None else msgspec.json.decode(each[2])) for each in records]


class SetSince(msgspec.Struct, frozen=True):
    """Whether a value of a field was set in an object after an entry, up to another one of the object."""

    workspace_id: UUID
    key: tuple[str, UUID, int, str, int]
    was_set: bool


# The key is the letter of the object's type, its id, its last entry, the key of the field, and the entry since when.
SET_SINCE: Final = Table(
    row=SetSince,
    key=lambda found: found.key,
    load="""
        select asked.workspace_id, asked.key, exists (
            with recursive chain as (
                select c.*, 1 as place from change c
                where c.workspace_id = asked.workspace_id and c.seq = (asked.key ->> 2)::bigint
                    and c.kind::text = asked.key ->> 0 and c.object_id = (asked.key ->> 1)::uuid
                union all
                select e.*, chain.place + 1 from chain
                cross join lateral (
                    select c.* from change c
                    where c.workspace_id = chain.workspace_id and c.seq = chain.previous_version limit 1
                ) as e
                where chain.previous_version > (asked.key ->> 4)::bigint and chain.place < 1000
            )
            select from chain
            where chain.seq > (asked.key ->> 4)::bigint and (chain.previous is null or (
                (chain.previous -> 'fields') is not null
                and (chain.previous -> 'fields' ->> (asked.key ->> 3))
                    is distinct from (chain.object -> 'fields' ->> (asked.key ->> 3))
            ))
        ) as was_set
        from json_to_recordset($rows) as asked(workspace_id uuid, key json)
    """,
    save=None,
)


class Referenced(msgspec.Struct, frozen=True):
    """An active object that values may refer to: a user, a contact or a company."""

    workspace_id: UUID
    kind: str
    id: UUID


# A client knows the id of an object only when the object is stored, so what the batch creates need not be looked at. Neither
# need what it deletes, because a reference may outlive its object. `coalesce` rules out the partial indexes, so the planner
# uses the key.
REFERENCED: Final = Table(
    row=Referenced,
    key=lambda found: (found.kind, found.id),
    load="""
        select asked.workspace_id, asked.key ->> 0 as kind, (asked.key ->> 1)::uuid as id
        from json_to_recordset($rows) as asked(workspace_id uuid, key json)
        where case asked.key ->> 0
            when 'user' then exists (
                select from workspace_user c
                where c.workspace_id = asked.workspace_id and c.id = (asked.key ->> 1)::uuid
                    and coalesce(c.deleted_at, 'infinity') = 'infinity'
            )
            when 'contact' then exists (
                select from contact c
                where c.workspace_id = asked.workspace_id and c.id = (asked.key ->> 1)::uuid
                    and coalesce(c.deleted_at, 'infinity') = 'infinity'
            )
            else exists (
                select from company c
                where c.workspace_id = asked.workspace_id and c.id = (asked.key ->> 1)::uuid
                    and coalesce(c.deleted_at, 'infinity') = 'infinity'
            )
        end
    """,
    save=None,
)


class DefaultRegion(msgspec.Struct, frozen=True):
    """The region of a workspace for phone numbers, if it has one. There is one for each workspace, with the key `region`."""

    workspace_id: UUID
    key: str
    region: str | None


_DEFAULT_REGIONS: Final = Table(
    row=DefaultRegion,
    key=lambda found: found.key,
    load="""
        select asked.workspace_id, asked.key, w.region
        from json_to_recordset($rows) as asked(workspace_id uuid, key text) join workspace w on w.id = asked.workspace_id
    """,
    save=None,
)


def default_region(work: UnitOfWork) -> str | None:
    """Return the region of the workspace for phone numbers, if it has one."""
    found = work.get(_DEFAULT_REGIONS, "region")
    return None if found is None else found.region


async def note_older_values(statements: Executor) -> None:
    """Note once that values, and claims of values, in the form of an earlier release must be converted.

    Numbers had no form of their own, and claims of texts were not normalized.
    """
    await statements.execute(
        """
        with outdated as (
            insert into setting as s (name, value) values ('form_of_values', '2')
            on conflict (name) do update set value = excluded.value where s.value <> excluded.value
            returning name
        )
        insert into unfinished (workspace_id, task, object_id)
        select f.workspace_id, 'convert_values', f.id from outdated cross join field f
        where f.deleted_at is null and (
            f.object ->> 'kind' = 'phone' or (f.object ->> 'kind' = 'text' and f.object ->> 'unique' = 'true')
        )
        on conflict do nothing
        """
    )


# The keys of fields whose values no object shows: archived ones, and those that an undo has deleted.
_HIDDEN: Final[LiteralString] = """, c.own, case when c.own is not null then (
    select json_agg(f.key) from field f
    where f.workspace_id = c.workspace_id and f.object_type = '$table' and (f.is_archived or f.deleted_at is not null)
        and not exists (
            select from field_key k
            where k.workspace_id = f.workspace_id and k.key = f.object_type || '.' || f.key and k.field_id <> f.id
        )
) end"""
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_texts: Final = msgspec.json.Decoder(list[str]).decode


def find_record_in(table: LiteralString) -> LiteralString:
    """Return the statement that finds active objects with their own members, for `record_of`."""
    return find_in(table, _HIDDEN.replace("$table", table))


def record_of(found: ObjectRead) -> ObjectRead:
    """Return the whole of an object as the API shows it: without the values of archived fields."""
    own, hidden = found.more
    if own is not None and hidden is not None:
        own = _without(own, _texts(hidden))
    return ObjectRead(found.version, whole(found.body, own))


def _without(own: bytes, hidden: Collection[str]) -> bytes | None:
    members = _members(own)
    if "fields" in members:
        values = {key: value for key, value in _members(members["fields"]).items() if key not in hidden}
        members["fields"] = msgspec.Raw(msgspec.json.encode(values))
        if not values:
            del members["fields"]
    if "unique_values" in members:
        claimed = [each for each in _texts(members["unique_values"]) if each.partition("=")[0] not in hidden]
        members["unique_values"] = msgspec.Raw(msgspec.json.encode(claimed))
        if not claimed:
            del members["unique_values"]
    return msgspec.json.encode(members) if members else None


async def all_definitions(statements: Executor, workspace_id: UUID) -> list[Field]:
    """Return the definitions of all fields of a workspace, archived ones included."""
    records = await statements.fetch("select object from field where workspace_id = $1 and deleted_at is null", workspace_id)
    return [msgspec.json.decode(record[0], type=Field) for record in records]


async def definitions_version(pool: Pool, workspace_id: UUID) -> int:
    """Return the number of the last change of a field's definition in a workspace."""
    version: int = await pool.fetchval("select coalesce(max(version), 0) from field where workspace_id = $1", workspace_id)
    return version


async def without_usual_fields(statements: Executor) -> list[UUID]:
    """Return some workspaces that have not been given the usual fields."""
    records = await statements.fetch("select id from workspace where not has_usual_fields order by id limit 100")
    return [record["id"] for record in records]


async def note_usual_fields(statements: Executor, workspace_id: UUID) -> None:
    """Note that a workspace has been given the usual fields."""
    await statements.execute("update workspace set has_usual_fields = true where id = $1", workspace_id)


async def page(pool: PagePool, workspace_id: UUID, query: PageQuery) -> list[ListRow]:
    """Return the definitions of a page, and one more if there is a next page."""
    conditions = ListQuery(workspace_id, query)
    if (object_types := query.filters.get("object_type")) is not None:
        conditions.add("c.object_type = any($value)", list(object_types))
    return await conditions.fetch(pool, "field")
