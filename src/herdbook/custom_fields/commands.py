"""The commands that define fields, and the steps by which other commands set values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from herdbook import ids
from herdbook.custom_fields.model import (
    MAX_DEFINITIONS,
    REFERENCES,
    USUAL_FIELDS,
    Field,
    FieldCreate,
    FieldKind,
    FieldUpdate,
    unsound,
)
from herdbook.custom_fields.store import (
    CONVERT_VALUES,
    DEFINITIONS,
    DELETED_FIELDS,
    FIELD,
    FIELD_KEYS,
    FIELDS,
    REFERENCED,
    SET_SINCE,
    VALUE_SLICES,
    Defined,
    default_region,
    note_usual_fields,
    without_usual_fields,
)
from herdbook.custom_fields.values import (
    MAX_TEXT,
    Conversion,
    fitted,
    fitted_to,
    normal_value,
    unique_value,
    unique_value_path,
    without_claims,
    without_values,
)
from herdbook.db.pool import Executor
from herdbook.errors import FieldError, Invalid, Stale, Taken, bounded, quoted
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.object_types import ObjectRow, ObjectType, all_active, created, current, updated
from herdbook.ledger.unfinished import SliceDone, note
from herdbook.ledger.unit_of_work import Need, Origin, Result, UnitOfWork
from herdbook.phone_numbers import international_number

RowT = TypeVar("RowT", bound=ObjectRow)
EntryT = TypeVar("EntryT", bound=msgspec.Struct)


class CreateField(msgspec.Struct, frozen=True):
    """Define a field. Refusals: Invalid, Stale if a version is required, Taken."""

    fields: FieldCreate
    has_precondition: bool = False

    def needs(self) -> Iterator[Need]:
        yield from _key_needs(self.fields)
        yield Need(DEFINITIONS, self.fields.object_type.value)

    def apply(self, work: UnitOfWork) -> Result:
        if self.has_precondition:
            raise Stale(None)
        object_type = self.fields.object_type.value
        defined = definitions(work, object_type)
        if (holder := defined.get(self.fields.key)) is not None and holder.archived:
            raise _taken_by_archived(holder)
        if len(defined) >= MAX_DEFINITIONS:
            message = f"`object_type` has {MAX_DEFINITIONS} fields, with archived ones. That is the limit. Use one of them."
            raise Invalid([FieldError("object_type", "too_long", message)])
        field_id = ids.new_id()
        field = _sound(FIELD.new(field_id, work.time, self.fields))
        _require_new(work, field)
        FIELD.claim(work, field_id, None, field)
        return created(work, FIELD, field_id, field)


def _taken_by_archived(holder: Field) -> Taken:
    message = (
        f"`key` belongs to an archived field of the type `{holder.object_type.value}`. Bring that field back by a `PATCH` "
    )
    message += 'of it with `"archived": false`, or choose another key.'
    return Taken([FieldError("key", "already_in_use", message)], [(FIELD.name, holder.id)], FIELD.read_scopes[0])


def _key_needs(asked: FieldCreate) -> Iterator[Need]:
    needs = FIELD.key_needs(asked)
    yield from needs
    yield from (Need(DELETED_FIELDS, need.key) for need in needs)


def _is_new(work: UnitOfWork, field: Field) -> bool:
    """Whether no other field has the key of a field, or had it."""
    keys = FIELD_KEYS.keys(field)
    return all(FIELD_KEYS.holder(work, key) is None and work.get(DELETED_FIELDS, key) is None for key in keys)


def _require_new(work: UnitOfWork, field: Field) -> None:
    """Require that no field which was deleted had the key. Refusal: Taken."""
    for key in FIELD_KEYS.keys(field):
        former = work.get(DELETED_FIELDS, key)
        if former is not None and FIELD_KEYS.holder(work, key) is None:
            shown_id = ids.encoded(FIELD.prefix, former.id)
            message = f"`key` belonged to a field that objects may have values of. Restore `{shown_id}`, or choose another key."
            raise Taken([FieldError("key", "already_in_use", message)], [(FIELD.name, shown_id)], FIELD.read_scopes[0])


class DefineUsualFields(msgspec.Struct, frozen=True):
    """Define the usual fields of contacts, except those whose keys are taken."""

    def needs(self) -> Iterator[Need]:
        for fields in USUAL_FIELDS:
            yield from _key_needs(fields)

    def apply(self, work: UnitOfWork) -> Result:
        defined: list[str] = []
        for fields in USUAL_FIELDS:
            field_id = ids.new_id()
            field = FIELD.new(field_id, work.time, fields)
            if _is_new(work, field):
                FIELD.claim(work, field_id, None, field)
                created(work, FIELD, field_id, field)
                defined.append(field.key)
        return Result(work.seq, UsualFields(tuple(defined)))


class UsualFields(msgspec.Struct, frozen=True):
    """The answer to `DefineUsualFields`, which has no caller: the keys of the fields that it defined."""

    defined: tuple[str, ...]


async def add_usual_fields(statements: Executor, ledger: Ledger) -> None:
    """Define the usual fields in the workspaces of earlier releases. A workspace whose turn fails has another one later."""
    while workspace_ids := await without_usual_fields(statements):
        for workspace_id in workspace_ids:
            origin = Origin(request_id=ids.new_id(), credential_id=ids.NIL)
            await ledger.write(workspace_id, DefineUsualFields(), origin)
            await note_usual_fields(statements, workspace_id)


class UpdateField(msgspec.Struct, frozen=True):
    """Change the definition of a field. Refusals: Invalid, NotFound, Stale.

    If the form of its values changes, `ConvertValues` converts those that are there.
    """

    field_id: UUID
    patch: FieldUpdate
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(FIELDS, self.field_id)

    def apply(self, work: UnitOfWork) -> Result:
        before = current(work, FIELDS, self.field_id, self.if_version, FIELD.noun)
        return updated(work, FIELD, before, redefined(before.entry, self.patch))


class ConvertValues(msgspec.Struct, frozen=True):
    """Give some of a field's values the form that its definition has now.

    `holders` are the types of objects that have fields. A value that has no such form stays until it is set anew. A value of a
    unique field that another object has, too, is not claimed. An earlier look has found neither, so these were set meanwhile.
    """

    field_id: UUID
    holders: Mapping[str, ObjectType[Any, Any]]

    def needs(self) -> Iterator[Need]:
        yield Need(FIELDS, self.field_id)

    def apply(self, work: UnitOfWork) -> Result:
        row = work.get(FIELDS, self.field_id)
        found = None
        if row is not None and row.deleted_at is None:
            found = work.get(VALUE_SLICES[row.object_type], (row.key, row.converted_to or ids.NIL))
            assert found is not None, "a slice without objects has a row, too"
            _convert(work, Conversion(row.object, row.former or ()), self.holders[row.object_type], found.object_ids)
            work.put(FIELDS, msgspec.structs.replace(row, converted_to=None if found.is_last else found.last_id))
        is_finished = found is None or found.is_last
        if is_finished:
            note(work, CONVERT_VALUES, self.field_id, is_finished=True)
        return Result(work.seq, SliceDone(all=is_finished))


def _convert(work: UnitOfWork, conversion: Conversion, object_type: ObjectType[Any, Any], object_ids: Sequence[UUID]) -> None:
    rows = [row for row in all_active(work, object_type.table, object_ids) if row is not None]
    versions = _versions(work, conversion, object_type, rows)
    fitted_rows = [(row, fitted_to(row.entry, [conversion], versions[row.id])) for row in rows]
    changed = [(row, after) for row, after in fitted_rows if after != row.entry]
    for row, after in without_taken(work, object_type, changed):
        object_type.claim(work, row.id, row.entry, after)
        updated(work, object_type, row, after)


def _versions(
    work: UnitOfWork, conversion: Conversion, object_type: ObjectType[Any, Any], rows: Sequence[Any]
) -> dict[UUID, int]:
    """Return an entry of each object at which it had its value. An object may have changed since, but not its value."""
    key = conversion.field.key
    versions: dict[UUID, int] = {row.id: row.version for row in rows}
    asked: list[tuple[str, UUID, int, str, int]] = []
    for row in rows:
        values: dict[str, Any] = row.entry.fields or {}
        if (until := conversion.may_be_typed(values.get(key), row.version)) is not None:
            asked.append((object_type.kind, row.id, row.version, key, until))
    for found in work.get_all(SET_SINCE, asked):
        if found is not None and not found.was_set:
            _, object_id, _, _, until = found.key
            versions[object_id] = until - 1
    return versions


def without_taken(
    work: UnitOfWork, object_type: ObjectType[Any, Any], entries: Sequence[tuple[RowT, EntryT]]
) -> Iterator[tuple[RowT, EntryT]]:
    """Yield rows with entries for them, each without the claims of values that other objects hold by then."""
    unique_key = next(each for each in object_type.unique_keys if each.field_path is unique_value_path)
    work.require(need for _, entry in entries for need in unique_key.needs(unique_key.keys(entry)))
    for row, entry in entries:
        taken = [each for each in unique_key.keys(entry) if unique_key.holder(work, each) not in (None, row.id)]
        yield row, without_claims(entry, taken)


def redefined(before: Field, patch: FieldUpdate) -> Field:
    """Return a definition with a patch applied. Refusal: Invalid."""
    return _sound(FIELD.patched(before, patch))


def _sound(field: Field) -> Field:
    """Return a definition with its default in the form in which it is kept. Refusal: Invalid."""
    errors = [*unsound(field)]
    if field.default is not None and not errors:
        field = msgspec.structs.replace(field, default=normal_value(field, field.default, "default", errors))
    if errors:
        raise Invalid(errors)
    return field


def definitions(work: UnitOfWork, object_type: str) -> dict[str, Field]:
    """Return the definitions of the fields of a type by their keys, as the batch has them so far."""
    return {key: each.field for key, each in _defined(work, object_type).items()}


def conversions(work: UnitOfWork, object_type: str) -> dict[str, Conversion]:
    """Return the conversions of values to the definitions of the fields of a type, by their keys."""
    return {key: Conversion(each.field, each.former or ()) for key, each in _defined(work, object_type).items()}


def _defined(work: UnitOfWork, object_type: str) -> dict[str, Defined]:
    stored = work.get(DEFINITIONS, object_type)
    found = {} if stored is None else {each.field.key: each for each in stored.fields}
    for row in work.changed_in(FIELDS):
        if row.object_type == object_type and row.deleted_at is None:
            found[row.key] = Defined(row.object, row.former)
        elif row.object_type == object_type and row.key in found and found[row.key].field.id == row.object.id:
            del found[row.key]
    return found


def value_needs(object_type: str, asked: Mapping[str, Any] | UnsetType) -> Iterator[Need]:
    """Yield the rows that a command must see to set values."""
    if asked is UNSET:
        return
    yield Need(DEFINITIONS, object_type)
    for value in asked.values():
        if isinstance(value, str):
            yield from (
                Need(REFERENCED, (kind.value, decoded))
                for kind, prefix in REFERENCES.items()
                if (decoded := ids.decoded(prefix, value)) is not None
            )


def with_values(
    work: UnitOfWork, object_type: str, entry: EntryT, asked: Mapping[str, Any] | UnsetType, *, is_new: bool = False
) -> EntryT:
    """Return an entry with values set: null clears a value, and a field that is not named keeps its own.

    A new entry gets the defaults. Refusal: Invalid, which names each field as `fields.key`.
    """
    if asked is UNSET:
        return entry
    defined = definitions(work, object_type)
    change = _ValueChange(entry, defined)
    for key, value in {**(_defaults(defined) if is_new else {}), **_with_countries(work, defined, asked)}.items():
        change.set(key, value)
    if is_new:
        change.require(asked)
    if not change.errors:
        change.errors += _dangling(work, defined, change.values, [key for key in change.changed if key in asked])
    if change.errors:
        raise Invalid(bounded(change.errors, "fields"))
    return msgspec.structs.replace(entry, fields=change.values or UNSET, unique_values=tuple(change.claimed.values()) or UNSET)


def _with_countries(work: UnitOfWork, defined: Mapping[str, Field], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return values to set with numbers of the workspace's region as international ones, because the region may change."""
    national = {
        key: value.strip()
        for key, value in asked.items()
        if isinstance(value, str) and key in defined and defined[key].kind is FieldKind.PHONE and len(value) <= MAX_TEXT
    }
    if not national:
        return {**asked}
    region = default_region(work)
    return {**asked, **{key: international_number(value, region) for key, value in national.items()}}


def _defaults(defined: Mapping[str, Field]) -> dict[str, Any]:
    return {field.key: field.default for field in defined.values() if field.default is not None and not field.archived}


class _ValueChange:
    """The values of an entry while they change: `values`, those of unique fields as they are claimed, and the errors so far.

    `changed` names the fields that got another value.
    """

    def __init__(self, entry: Any, defined: Mapping[str, Field]) -> None:
        self.values: dict[str, Any] = {} if entry.fields is UNSET else {**entry.fields}
        self.claimed = {each.partition("=")[0]: each for each in entry.unique_values or ()}
        self.errors: list[FieldError] = []
        self.changed: list[str] = []
        self._defined = defined

    def set(self, key: str, value: Any) -> None:
        """Set or clear a value, or add its errors."""
        path = f"fields.{quoted(key)}"
        old = self.values.get(key)
        # An object may always be sent as it was read.
        if value == old and type(value) is type(old) and (key in self._defined or value is not None):
            return
        field = _writable(self._defined.get(key), path, self.errors)
        if field is None:
            return
        count = len(self.errors)
        kept = None if value is None else normal_value(field, value, path, self.errors)
        # An empty list or text clears a value, too.
        if field.required and kept is None and len(self.errors) == count:
            self.errors.append(FieldError(path, "required", f"`{path}` is required. Send a value."))
        self.claimed.pop(key, None)
        self.values.pop(key, None)
        if kept is not None:
            self.values[key] = kept
            self.changed.append(key)
            if field.unique:
                self.claimed[key] = unique_value(field, kept)

    def require(self, asked: Mapping[str, Any]) -> None:
        """Add the errors of required fields that a new object does not have. Those that were sent have theirs already."""
        self.errors += [
            FieldError(f"fields.{field.key}", "required", f"`fields.{field.key}` is missing. Send it.")
            for field in self._defined.values()
            if field.required and not field.archived and field.key not in self.values and asked.get(field.key) is None
        ]


def _writable(field: Field | None, path: str, errors: list[FieldError]) -> Field | None:
    if field is None:
        message = f"There is no field `{path}`. `GET /api/herdbook/fields` lists those of the workspace."
        errors.append(FieldError(path, "unknown_field", message))
        return None
    if field.archived:
        errors.append(FieldError(path, "archived", f"`{path}` is archived. Leave it out, or bring the field back first."))
        return None
    return field


def _dangling(
    work: UnitOfWork, defined: Mapping[str, Field], values: Mapping[str, Any], changed: Sequence[str]
) -> Iterator[FieldError]:
    """Yield the errors of new references whose object does not exist."""
    places: dict[str, tuple[str, UUID]] = {}
    for key in changed:
        if (prefix := REFERENCES.get(defined[key].kind)) is not None:
            decoded = ids.decoded(prefix, values[key])
            places[key] = defined[key].kind.value, decoded or ids.NIL
    for key, found in zip(places, work.get_all(REFERENCED, list(places.values())), strict=True):
        if found is None:
            kind = places[key][0]
            message = f"`fields.{key}` names no {kind} of this workspace. Send another, or null."
            yield FieldError(f"fields.{key}", "not_found", message, values[key])


def fitted_entry(work: UnitOfWork, object_type: str, entry: EntryT, version: int) -> EntryT:
    """Return an entry of another time with its values, and their claims, as the definitions are now.

    While values are converted, an entry may have some in their old form, so an object that takes values of another needs this.
    `version` is the number of the entry.
    """
    whole: Any = entry
    return entry if whole.fields is UNSET else fitted(entry, conversions(work, object_type), version)


def shown_entry(work: UnitOfWork, object_type: str, entry: EntryT) -> EntryT:
    """Return an entry as the API shows it: without the values of archived fields."""
    whole: Any = entry
    if whole.fields is UNSET:
        return entry
    defined = definitions(work, object_type)
    return without_values(entry, {key for key in whole.fields if key not in defined or defined[key].archived})
