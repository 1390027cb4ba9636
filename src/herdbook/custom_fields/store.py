"""The type of fields, with its tables, and every SQL statement about them."""

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final, LiteralString, NamedTuple, Self
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.custom_fields.model import REFERENCES, Field, FieldConversion, FieldKind, UnclaimedValue, blank, patched
from herdbook.custom_fields.values import Conversion, Converting, FormerList, former_lists, unique_value
from herdbook.db.database import Find, ObjectRead, find_in
from herdbook.db.distribution import fetch_everywhere
from herdbook.db.paging import ListQuery, ListRow, PageQuery
from herdbook.db.pool import Executor, PagePool, Pool
from herdbook.ledger.changes import same
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
    converting: Converting | None
    unclaimed: tuple[UUID, ...] | None
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
            "converting": before.converting if before is not None and before.deleted_at is None else None,
            "unclaimed": before.unclaimed if before is not None and is_same else None,
        }


FIELDS: Final = object_table(
    FieldRow,
    "field",
    {
        "object_type": "text",
        "key": "text",
        "is_archived": "boolean",
        "converted_to": "uuid",
        "former": "json",
        "converting": "json",
        "unclaimed": "json",
    },
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
# Others have their turn after each of so many decoded definitions.
_TURN: Final = 20
CONVERT_VALUES: Final = Task("convert_values", FIELDS.name)


def changes_form(before: Field, after: Field) -> bool:
    """Whether the values of a field have another form after a change, or become unique, or no longer are."""
    return (before.kind, before.unique) != (after.kind, after.unique)


def _begin_conversion(work: UnitOfWork, field_id: UUID, before: Field | None, after: Field) -> None:
    """Note that values must be converted, which others may have set or claimed in the form of another definition."""
    if before is None or changes_form(before, after):
        note(work, CONVERT_VALUES, field_id, is_finished=False)
        row = work.get(FIELDS, field_id)
        assert row is not None, "it was put"
        # A value that an earlier conversion has not come to is converted from the form that it had before that one.
        kind, was_unique = (None, False) if before is None else (before.kind, before.unique)
        began = Converting(row.version, kind=kind, was_unique=was_unique)
        work.put(FIELDS, msgspec.structs.replace(row, converting=row.converting or began))


def note_undone(work: UnitOfWork, field_id: UUID, request_id: UUID) -> None:
    """Note that the conversion which an undo has begun takes back a request."""
    row = work.get(FIELDS, field_id)
    if row is not None and row.converting is not None:
        work.put(FIELDS, msgspec.structs.replace(row, converting=msgspec.structs.replace(row.converting, undone=request_id)))


FIELD: Final = ObjectType(
    kind="f",
    name="field",
    plural="fields",
    prefix=ids.FIELD,
    table=FIELDS,
    entry=Field,
    example=Field.example,
    unique_keys=(FIELD_KEYS,),
    # A caller who may read values may know what these mean.
    read_scopes=("contacts:read", "companies:read"),
    one_scope_reads=True,
    write_scopes=(ADMIN,),
    blank=blank,
    patched=patched,
    # Objects, deleted ones and their histories keep the values, which no later field of the key may show.
    retired=lambda field: msgspec.structs.replace(field, archived=True),
    begin_tasks=_begin_conversion,
    history=HistoryNotes(restoring="The values that objects have of it show again."),
)


class Defined(msgspec.Struct, frozen=True):
    """The definition of a field, the lists that it was, and the conversion of its values that is not finished."""

    field: Field
    former: tuple[FormerList, ...] | None
    converting: Converting | None

    def conversion(self, work: UnitOfWork) -> Conversion:
        """Return the conversion of values to the definition."""
        return conversion_to(work, self.field, self.former, self.converting)


class Definitions(msgspec.Struct, frozen=True):
    """The definitions of all fields of a type of objects, archived ones included."""

    workspace_id: UUID
    object_type: str
    fields: tuple[Defined, ...]


class DefinitionsState(msgspec.Struct, frozen=True):
    """The state of the definitions of a type of objects: any change of one of them, or of its conversion, gives another one."""

    workspace_id: UUID
    object_type: str
    state: str


# Many commands need all definitions of a type, which may have megabytes and change seldom. A process keeps some of them, and a
# batch loads their state alone. `xmin` changes with each write of a row.
DEFINITIONS_STATES: Final = Table(
    row=DefinitionsState,
    key=lambda found: found.object_type,
    load="""
        select asked.workspace_id, asked.key as object_type, (
            select coalesce(md5(string_agg(
                concat_ws(' ', f.id, f.version, f.xmin, f.converting is not null and exists (
                    select from unfinished u
                    where u.workspace_id = asked.workspace_id and u.task = 'convert_values' and u.object_id = f.id
                )), ',' order by f.id
            )), '')
            from field f
            where f.workspace_id = asked.workspace_id and f.object_type = asked.key
                and coalesce(f.deleted_at, 'infinity') = 'infinity'
        ) as state
        from json_to_recordset($rows) as asked(workspace_id uuid, key text)
    """,
    save=None,
)
DEFINITIONS: Final = Table(
    row=Definitions,
    key=lambda found: found.object_type,
    load="""
        select asked.workspace_id, asked.key as object_type, coalesce((
            select json_agg(json_build_object('field', f.object, 'former', f.former, 'converting', case when exists (
                select from unfinished u
                where u.workspace_id = asked.workspace_id and u.task = 'convert_values' and u.object_id = f.id
            ) then f.converting end)) from field f
            where f.workspace_id = asked.workspace_id and f.object_type = asked.key
                and coalesce(f.deleted_at, 'infinity') = 'infinity'
        ), '[]') as fields
        from json_to_recordset($rows) as asked(workspace_id uuid, key text)
    """,
    save=None,
)


class ValueSlice(msgspec.Struct, frozen=True):
    """The next objects after an id with a value of a field, the last that was looked at, and whether there are no others."""

    workspace_id: UUID
    key: str
    after: UUID
    object_ids: tuple[UUID, ...]
    last_id: UUID | None
    is_last: bool


# Limits how many objects a batch looks through for values of a field, and how many values it converts, because other writes of
# the workspace wait for it. Few values are found by their index entries: each begins with the key of the field, and `=` or `#`.
# Otherwise these would be read again for each slice, so all objects are walked.
_SLICE: Final[LiteralString] = """
    select asked.workspace_id, asked.field as key, asked.after, coalesce(slice.object_ids, '{}') as object_ids, slice.last_id,
        slice.is_last
    from (
        select r.workspace_id, r.key ->> 0 as field, (r.key ->> 1)::uuid as after
        from json_to_recordset($rows) as r(workspace_id uuid, key json)
    ) as asked
    cross join lateral (
        select coalesce(array_agg(distinct i.id), '{}') as ids, count(*) <= 2000 as are_all
        from (
            (
                select i.$table_id as id from $table_field i
                where i.workspace_id = asked.workspace_id and i.key >= asked.field || '=' and i.key < asked.field || '>'
                order by i.key limit 2001
            ) union all (
                select i.$table_id as id from $table_field i
                where i.workspace_id = asked.workspace_id and i.key >= asked.field || '#' and i.key < asked.field || '$'
                order by i.key limit 2001
            )
        ) as i
    ) as few
    cross join lateral (
        select array_agg(c.id order by c.id) filter (where c.place <= 100) as object_ids,
            (array_agg(c.id order by c.id desc) filter (where c.place <= 100))[1] as last_id, count(c.id) <= 100 as is_last
        from (
            select id, row_number() over (order by id) as place from unnest(few.ids) as id where id > asked.after
        ) as c
        having few.are_all
        union all
        select array_agg(c.id order by c.id) filter (where c.has_value and c.place <= 100),
            (array_agg(c.id order by c.id desc) filter (where c.place <= 100))[1],
            count(c.id) < 500 and coalesce(max(c.place), 0) <= 100
        from (
            select c.id, c.has_value, count(*) filter (where c.has_value) over (order by c.id) as place
            from (
                select c.id, coalesce(c.deleted_at, 'infinity') = 'infinity'
                    and c.own -> 'fields' -> asked.field is not null as has_value
                from $table c
                where c.workspace_id = asked.workspace_id and c.id > asked.after
                order by c.id limit 500
            ) as c
        ) as c
        having not few.are_all
    ) as slice
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


# Limits the index entries that a count looks at, twice: those of texts, and those of numbers.
MAX_COUNTED: Final = 100_000
_COUNT: Final[LiteralString] = """
    select count(distinct i.id), count(*) filter (where i.is_text) <= $3 and count(*) filter (where not i.is_text) <= $3
    from (
        (
            select i.$table_id as id, true as is_text from $table_field i
            where i.workspace_id = $1 and i.key >= $2 || '=' and i.key < $2 || '>' order by i.key limit $3 + 1
        ) union all (
            select i.$table_id as id, false from $table_field i
            where i.workspace_id = $1 and i.key >= $2 || '#' and i.key < $2 || '$' order by i.key limit $3 + 1
        )
    ) as i
"""
_COUNT_OF: Final[dict[str, LiteralString]] = {
    "contact": _COUNT.replace("$table", "contact"),
    "company": _COUNT.replace("$table", "company"),
}


async def value_count(statements: Executor, object_type: str, workspace_id: UUID, key: str) -> tuple[int, bool]:
    """Return how many active objects have a value of a field, at least, and whether these are all.

    Each value has index entries.
    """
    ((count, are_all),) = await statements.fetch(_COUNT_OF[object_type], workspace_id, key, MAX_COUNTED)
    return count, are_all


_UNCLAIMED: Final[LiteralString] = """
    select c.id, c.own -> 'fields' -> $3 from $table c
    where c.workspace_id = $1 and c.id = any($2) and c.deleted_at is null and (c.own -> 'fields' -> $3) is not null
        and not exists (
            select from json_array_elements_text(c.own -> 'unique_values') as claimed where starts_with(claimed, $3 || '=')
        )
    order by c.id
"""
_CLAIMED: Final[LiteralString] = """
    select value, $table_id from $table_field_value where workspace_id = $1 and value = any($2)
"""
_UNCLAIMED_OF: Final[dict[str, tuple[LiteralString, LiteralString]]] = {
    "contact": (_UNCLAIMED.replace("$table", "contact"), _CLAIMED.replace("$table", "contact")),
    "company": (_UNCLAIMED.replace("$table", "company"), _CLAIMED.replace("$table", "company")),
}


_MAX_EXAMPLES: Final = 20


class _Unclaimed(NamedTuple):
    """An object with a value of a unique field that it does not claim, and the object that does, if any."""

    id: UUID
    value: Any
    holder: UUID | None


async def _unclaimed(statements: Executor, workspace_id: UUID, field: Field, object_ids: Collection[UUID]) -> list[_Unclaimed]:
    """Return those objects, of some that a conversion has noted, whose value of a unique field still has no claim."""
    unclaimed, claimed = _UNCLAIMED_OF[field.object_type.value]
    records = await statements.fetch(unclaimed, workspace_id, object_ids, field.key)
    values = {each[0]: msgspec.json.decode(each[1]) for each in records}
    compared = {
        each: unique_value(field, value) for each, value in values.items() if same(Conversion(field).of(value, 0), value)
    }
    holders = {each[0]: each[1] for each in await statements.fetch(claimed, workspace_id, [*compared.values()])}
    return [_Unclaimed(each, values[each], holders.get(text)) for each, text in compared.items()]


_LOOKED_THROUGH: Final[LiteralString] = """
    select count(*) filter (where c.id <= $2), count(*) from $table c where c.workspace_id = $1
"""
_LOOKED_THROUGH_OF: Final[dict[str, LiteralString]] = {
    "contact": _LOOKED_THROUGH.replace("$table", "contact"),
    "company": _LOOKED_THROUGH.replace("$table", "company"),
}


async def conversion(
    statements: Executor, workspace_id: UUID, field_id: UUID, may_read: Callable[[str], bool]
) -> FieldConversion | None:
    """Return how far the conversion of a field's values is, or None if there is no such field.

    `may_read` tells whether the caller may see values of a type of objects.
    """
    records = await statements.fetch(
        """
        select f.object, f.unclaimed, coalesce(f.converted_to, $4) as converted_to, exists (
            select from unfinished u where u.workspace_id = $1 and u.task = $3 and u.object_id = $2
        ) as is_running
        from field f where f.workspace_id = $1 and f.id = $2 and f.deleted_at is null
        """,
        workspace_id,
        field_id,
        CONVERT_VALUES.name,
        ids.NIL,
    )
    if not records:
        return None
    done = total = 0
    ((definition, noted, converted_to, is_running),) = records
    field = msgspec.json.decode(definition, type=Field)
    object_type = field.object_type.value
    if is_running:
        ((done, total),) = await statements.fetch(_LOOKED_THROUGH_OF[object_type], workspace_id, converted_to)
    found: list[_Unclaimed] = []
    if noted is not None and field.unique and not field.archived:
        found = await _unclaimed(statements, workspace_id, field, msgspec.json.decode(noted, type=list[UUID]))
    shown_id = partial(ids.encoded, REFERENCES[FieldKind(object_type)])
    return FieldConversion(
        object="field_conversion",
        finished=not is_running,
        done=done,
        total=total,
        unclaimed=len(found),
        examples=tuple(
            UnclaimedValue(
                id=shown_id(each.id), value=each.value, holder=None if each.holder is None else shown_id(each.holder)
            )
            for each in found[:_MAX_EXAMPLES]
            if may_read(object_type)
        ),
    )


async def converted_for_others(
    statements: Executor, workspace_id: UUID, field_ids: Collection[UUID], request_id: UUID
) -> list[UUID]:
    """Return those of some fields whose values are being converted, except for a request that asked for it last."""
    records = await statements.fetch(
        """
        select object_id from unfinished
        where workspace_id = $1 and task = $2 and object_id = any($3) and request_id is distinct from $4
        """,
        *(workspace_id, CONVERT_VALUES.name, field_ids, request_id),
    )
    return [each[0] for each in records]


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
                    where c.workspace_id = asked.workspace_id and c.seq = chain.previous_version limit 1
                ) as e
                where chain.previous_version > (asked.key ->> 4)::bigint and chain.place < 1000
            )
            select from chain
            where chain.seq > (asked.key ->> 4)::bigint and chain.action <> 'd' and (chain.previous is null or (
                (chain.previous -> 'fields') is not null
                and (chain.previous -> 'fields' -> (asked.key ->> 3))::text
                    is distinct from (chain.object -> 'fields' -> (asked.key ->> 3))::text
            ))
        ) as was_set
        from json_to_recordset($rows) as asked(workspace_id uuid, key json)
    """,
    save=None,
)


class ValueHolder(msgspec.Struct, frozen=True):
    """An active object, its last entry, and its value of a field."""

    id: UUID
    version: int
    value: Any


class ValueHolders(msgspec.Struct, frozen=True):
    """The first objects that an index finds by any of some texts of a field's values."""

    workspace_id: UUID
    key: tuple[str, tuple[str, ...], bool]
    holders: tuple[ValueHolder, ...]


# Limits the objects that are found by one text. The statement below has it, too. If it passes over objects that claim a value
# of the field, it looks at a thousand.
MAX_HOLDERS: Final = 10
_HOLDERS: Final[LiteralString] = """
    select asked.workspace_id, asked.key, coalesce((
        select json_agg(json_build_object(
            'id', c.id, 'version', c.version, 'value', c.own -> 'fields' -> (asked.key ->> 0)
        ) order by c.id)
        from (
            select distinct i.id from json_array_elements_text(asked.key -> 1) as text cross join lateral (
                select i.id
                from (
                    select i.$table_id as id from $table_field i
                    where i.workspace_id = asked.workspace_id and i.key = (asked.key ->> 0) || text
                    order by i.$table_id limit case when (asked.key ->> 2)::boolean then 1000 else 10 end
                ) as i
                where not (asked.key ->> 2)::boolean or not exists (
                    select from $table c cross join lateral json_array_elements_text(c.own -> 'unique_values') as claimed
                    where c.workspace_id = asked.workspace_id and c.id = i.id
                        and starts_with(claimed, (asked.key ->> 0) || '=')
                )
                order by i.id limit 10
            ) as i
        ) as i
        join $table c on c.workspace_id = asked.workspace_id and c.id = i.id
    ), '[]') as holders
    from json_to_recordset($rows) as asked(workspace_id uuid, key json)
"""


def _value_holders(table: LiteralString) -> Table[ValueHolders]:
    return Table(row=ValueHolders, key=lambda found: found.key, load=_HOLDERS.replace("$table", table), save=None)


# The key is that of the field, the texts, and whether objects that claim a value of the field are passed over. The texts of
# other values may be the same, so a few objects are found by each.
VALUE_HOLDERS: Final = {"contact": _value_holders("contact"), "company": _value_holders("company")}


# Limits the objects whose values a command compares because they changed while others were looked at.
MAX_SET_SINCE: Final = 500
# Limits the objects that claim their values together with the change of a definition, because other writes wait for it.
MAX_CLAIMED_AT_ONCE: Final = 200


class ValuesSetSince(msgspec.Struct, frozen=True):
    """The active objects with a value of a field that have changed since an entry: all, or one more than may be compared."""

    workspace_id: UUID
    key: tuple[str, str, int]
    holders: tuple[ValueHolder, ...]


_SET: Final[LiteralString] = """
    select asked.workspace_id, asked.key, coalesce((
        select json_agg(json_build_object('id', c.id, 'version', c.version, 'value', c.value))
        from (
            select c.id, c.version, c.value
            from (
                select distinct e.object_id from change e
                where e.workspace_id = asked.workspace_id and e.seq > (asked.key ->> 2)::bigint
                    and e.kind::text = asked.key ->> 1
            ) as e cross join lateral (
                select c.id, c.version, c.own -> 'fields' -> (asked.key ->> 0) as value from $table c
                where c.workspace_id = asked.workspace_id and c.id = e.object_id and c.deleted_at is null limit 1
            ) as c
            where c.value is not null limit 501
        ) as c
    ), '[]') as holders
    from json_to_recordset($rows) as asked(workspace_id uuid, key json)
"""


def _values_set_since(table: LiteralString) -> Table[ValuesSetSince]:
    return Table(row=ValuesSetSince, key=lambda found: found.key, load=_SET.replace("$table", table), save=None)


# The key is that of the field, the letter of the objects' type, and the entry.
VALUES_SET_SINCE: Final = {"contact": _values_set_since("contact"), "company": _values_set_since("company")}


async def head_of(statements: Executor, workspace_id: UUID) -> int:
    """Return the number of the last change of a workspace."""
    head: int = await statements.fetchval("select seq from workspace where id = $1", workspace_id)
    return head


class GivenUp(msgspec.Struct, frozen=True):
    """The value of a field that an object had before a request has changed it last, and the entry at which it had that."""

    workspace_id: UUID
    key: tuple[str, UUID, int, str, UUID]
    value: Any
    had_at: int


# The key is the letter of the object's type, its id, its last entry, the key of the field, and the request.
GIVEN_UP: Final = Table(
    row=GivenUp,
    key=lambda found: found.key,
    load="""
        select asked.workspace_id, asked.key, e.previous -> 'fields' -> (asked.key ->> 3) as value,
            coalesce(e.previous_version, e.seq - 1) as had_at
        from json_to_recordset($rows) as asked(workspace_id uuid, key json)
        cross join lateral (
            select c.* from change c where c.workspace_id = asked.workspace_id and c.seq = (asked.key ->> 2)::bigint limit 1
        ) as e
        where e.kind::text = asked.key ->> 0 and e.object_id = (asked.key ->> 1)::uuid
            and e.request_id = (asked.key ->> 4)::uuid and (e.previous -> 'fields' -> (asked.key ->> 3)) is not null
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
        from json_to_recordset($rows) as asked(workspace_id uuid, key text)
        join workspace w on w.id = asked.workspace_id
    """,
    save=None,
)


def default_region(work: UnitOfWork) -> str | None:
    """Return the region of the workspace for phone numbers, if it has one."""
    found = work.get(_DEFAULT_REGIONS, "region")
    return None if found is None else found.region


def conversion_to(
    work: UnitOfWork, field: Field, former: tuple[FormerList, ...] | None, converting: Converting | None
) -> Conversion:
    """Return the conversion of values to a definition, of which one may be unfinished."""
    reads_numbers = converting is not None and converting.reads_numbers(field)
    return Conversion(field, former or (), converting, default_region(work) if reads_numbers else None)


async def region_of(statements: Executor, workspace_id: UUID) -> str | None:
    """Return the region of a workspace for phone numbers, if it has one."""
    region: str | None = await statements.fetchval("select region from workspace where id = $1", workspace_id)
    return region


async def note_older_values(statements: Executor) -> None:
    """Note once that values, and claims of values, in the form of an earlier release must be converted.

    Numbers, and those with extensions, had no form of their own, and claims of texts were not normalized.
    """
    await statements.execute(
        """
        with outdated as (
            insert into setting as s (name, value) values ('form_of_values', '3')
            on conflict (name) do update set value = excluded.value where s.value <> excluded.value
            returning name
        )
        insert into unfinished (workspace_id, task, object_id, request_id, credential_id)
        select f.workspace_id, 'convert_values', f.id, $1, $2 from outdated cross join field f
        where f.deleted_at is null and (
            f.object ->> 'kind' = 'phone' or (f.object ->> 'kind' = 'text' and f.object ->> 'unique' = 'true')
        )
        on conflict do nothing
        """,
        ids.new_id(),
        ids.NIL,
    )


# The keys of fields whose values no object shows: archived ones, and those that an undo has deleted.
_HIDDEN: Final[LiteralString] = """case when c.own is not null then (
    select json_agg(f.key) from field f
    where f.workspace_id = c.workspace_id and f.object_type = '$table' and (f.is_archived or f.deleted_at is not null)
        and not exists (
            select from field_key k
            where k.workspace_id = c.workspace_id and k.key = f.object_type || '.' || f.key and k.field_id <> f.id
        )
) end"""
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_texts: Final = msgspec.json.Decoder(list[str]).decode


def find_record_in(table: LiteralString) -> Find:
    """Return the statement that finds active objects with their own members, for `record_of`."""
    return find_in(table, ", c.own, " + hidden_keys(table))


def hidden_keys(table: LiteralString) -> LiteralString:
    """Return the column of `c` with the keys of fields whose values no object shows, for `record_of`."""
    return _HIDDEN.replace("$table", table)


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
    found: list[Field] = []
    for record in records:
        found.append(msgspec.json.decode(record[0], type=Field))
        # A definition may have hundreds of options.
        if len(found) % _TURN == 0:
            await asyncio.sleep(0)
    return found


async def definitions_version(pool: Pool, workspace_id: UUID) -> int:
    """Return the number of the last change of a field's definition in a workspace."""
    version: int = await pool.fetchval("select coalesce(max(version), 0) from field where workspace_id = $1", workspace_id)
    return version


async def without_usual_fields(statements: Executor) -> list[UUID]:
    """Return some workspaces that have not been given the usual fields."""
    found = await fetch_everywhere(statements, "select id from workspace where not has_usual_fields order by id limit 100")
    return [record["id"] for record in found.records]


async def note_usual_fields(statements: Executor, workspace_id: UUID) -> None:
    """Note that a workspace has been given the usual fields."""
    await statements.execute("update workspace set has_usual_fields = true where id = $1", workspace_id)


async def page(pool: PagePool, workspace_id: UUID, query: PageQuery) -> list[ListRow]:
    """Return the definitions of a page, and one more if there is a next page."""
    conditions = ListQuery(workspace_id, query)
    if (object_types := query.filters.get("object_type")) is not None:
        conditions.add("c.object_type = any($value)", list(object_types))
    return await conditions.fetch(pool, "field")
