"""The commands that define fields, and the steps by which other commands set values."""

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar, cast
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from herdbook import ids
from herdbook.custom_fields.model import (
    LISTS,
    MAX_DEFINITIONS,
    MAX_UNCLAIMED,
    REFERENCES,
    USUAL_FIELDS,
    Field,
    FieldCreate,
    FieldKind,
    FieldObjectType,
    FieldUpdate,
    ValueExample,
    labelled_alike,
    unsound,
)
from herdbook.custom_fields.store import (
    CONVERT_VALUES,
    DEFINITIONS,
    DEFINITIONS_STATES,
    DELETED_FIELDS,
    FIELD,
    FIELD_KEYS,
    FIELDS,
    GIVEN_UP,
    MAX_CLAIMED_AT_ONCE,
    MAX_SET_SINCE,
    REFERENCED,
    SET_SINCE,
    VALUE_HOLDERS,
    VALUE_SLICES,
    VALUES_SET_SINCE,
    Defined,
    GivenUp,
    ValueHolder,
    changes_form,
    conversion_to,
    default_region,
    note_usual_fields,
    without_usual_fields,
)
from herdbook.custom_fields.values import (
    MAX_BYTES,
    MAX_TEXT,
    Conversion,
    conversion_between,
    fitted,
    fitted_to,
    hidden_claims,
    index_texts,
    normal_value,
    quoted_value,
    refusal_of,
    too_many_bytes,
    unique_value,
    unique_value_path,
    with_options_of,
    without_claims,
    without_values,
)
from herdbook.db.pool import Executor
from herdbook.errors import FieldError, Invalid, Stale, Taken, bounded, quoted
from herdbook.http.body import did_you_mean
from herdbook.ledger.changes import same
from herdbook.ledger.claims import UniqueKey, in_use
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.object_types import ObjectRow, ObjectType, active, all_active, created, current, first_fitting, updated
from herdbook.ledger.unfinished import UNFINISHED, SliceDone, is_due, note
from herdbook.ledger.unit_of_work import LongCommand, Need, Origin, Result, UnitOfWork
from herdbook.phone_numbers import international_number
from herdbook.turns import finished

# Others have their turn after each of so many converted values.
_STEP: Final = 20
RowT = TypeVar("RowT", bound=ObjectRow)
EntryT = TypeVar("EntryT", bound=msgspec.Struct)


class CreateField(msgspec.Struct, frozen=True):
    """Define a field. Refusals: Invalid, Stale if a version is required, Taken."""

    fields: FieldCreate
    has_precondition: bool = False

    def needs(self) -> Iterator[Need]:
        yield from _key_needs(self.fields)
        yield from _definition_needs(self.fields.object_type)

    def apply(self, work: UnitOfWork) -> Result:
        if self.has_precondition:
            raise Stale(None)
        object_type = self.fields.object_type.value
        field_id = ids.new_id()
        field = new_definition(field_id, work.time, self.fields)
        if (holder := definitions(work, object_type).get(self.fields.key)) is not None and holder.archived:
            raise _taken_by_archived(holder)
        require_room(work, object_type)
        _require_new(work, field)
        FIELD.claim(work, field_id, None, field)
        return created(work, FIELD, field_id, field)


def _definition_needs(object_type: FieldObjectType) -> Iterator[Need]:
    """Yield the definitions of a type of objects, for a command that changes them. A first start loads no further rows."""
    yield Need(DEFINITIONS_STATES, object_type.value)
    yield Need(DEFINITIONS, object_type.value)


def require_room(work: UnitOfWork, object_type: str) -> None:
    """Require that a type of objects may have another field. Refusal: Invalid."""
    if not _has_room(work, object_type):
        message = f"`object_type` has {MAX_DEFINITIONS} fields, with archived ones. That is the limit. Use one of them."
        raise Invalid([FieldError("object_type", "too_long", message)])


def _has_room(work: UnitOfWork, object_type: str) -> bool:
    return len(definitions(work, object_type)) < MAX_DEFINITIONS


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
    """Define the usual fields of contacts, except those whose keys are taken, as far as there is room for them."""

    def needs(self) -> Iterator[Need]:
        yield from _definition_needs(FieldObjectType.CONTACT)
        for fields in USUAL_FIELDS:
            yield from _key_needs(fields)

    def apply(self, work: UnitOfWork) -> Result:
        defined: list[str] = []
        for fields in USUAL_FIELDS:
            field_id = ids.new_id()
            field = FIELD.new(field_id, work.time, fields)
            if _is_new(work, field) and _has_room(work, field.object_type.value):
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


class LookAgain(Exception):
    """Too many objects, or the definition, have changed during a look at the values of a field, or these are converted."""


class Looked(NamedTuple):
    """A look at all values of a field: the last change before it, the objects' type, and the definition's version.

    `unfound` are objects with a value of a unique field that others would not find beside the conversion.
    """

    at: int
    object_type: ObjectType[Any, Any]
    version: int
    unfound: tuple[UUID, ...] = ()


class UpdateField(msgspec.Struct, frozen=True):
    """Change the definition of a field. Refusals: Invalid, NotFound, Stale. It raises LookAgain, which no caller sees.

    If the form of its values changes, `ConvertValues` converts those that are there. `looked` is the look that has found that
    all fit. Values that were set since must fit, too. Unique ones that others would not find are converted, and so claimed, at
    once. Options stay as they are while values are converted, because a text becomes an option by its label.
    """

    field_id: UUID
    patch: FieldUpdate
    if_version: frozenset[int] | None = None
    looked: Looked | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(FIELDS, self.field_id)

    def apply(self, work: UnitOfWork) -> Result:
        before = current(work, FIELDS, self.field_id, self.if_version, FIELD.noun)
        after = redefined(before.entry, self.patch)
        if before.converting is not None and before.entry.options != after.options:
            raise LookAgain
        if self.looked is not None and changes_form(before.entry, after):
            # A conversion that others have begun, or left unfinished, concerns the same values.
            if before.version != self.looked.version or before.converting is not None:
                raise LookAgain
            unfound = _require_fit(work, before.entry, after, self.looked)
            result = updated(work, FIELD, before, after)
            if unfound:
                _convert_at_once(work, self.field_id, self.looked.object_type, unfound)
            return result
        return updated(work, FIELD, before, after)


def _convert_at_once(work: UnitOfWork, field_id: UUID, object_type: ObjectType[Any, Any], object_ids: Sequence[UUID]) -> None:
    """Convert the first of some values together with the change of their definition, as many as a batch should change."""
    row = work.get(FIELDS, field_id)
    assert row is not None, "it was put"
    fitting = first_fitting(work, object_type.table, object_ids[:MAX_CLAIMED_AT_ONCE])
    finished(_convert(work, conversion_to(work, row.object, row.former, row.converting), object_type, fitting))


def _require_fit(work: UnitOfWork, before: Field, after: Field, looked: Looked) -> list[UUID]:
    """Require that the values which were set since a look fit a definition, and that no other object has them if it is unique.

    Return the objects whose value of a unique field others would not find beside the conversion. Refusal: Invalid. It raises
    LookAgain if there are too many to compare.
    """
    object_type = looked.object_type
    found = work.get(VALUES_SET_SINCE[object_type.name], (before.key, object_type.kind, looked.at))
    assert found is not None, "a field without such values has a row, too"
    changed = {row.id: _holding(row, before.key) for row in work.changed_in(object_type.table)}
    holders = [each for each in found.holders if each.id not in changed]
    holders += [each for each in changed.values() if each is not None]
    if len(holders) > MAX_SET_SINCE:
        raise LookAgain
    conversion = conversion_between(before, after, default_region(work))
    values = [(each.id, conversion.of(each.value, 0)) for each in holders]
    unfit = [_example(object_type, each) for each, (_, value) in zip(holders, values, strict=True) if value is None]
    if not unfit and after.unique:
        taken = _others_with(work, object_type, conversion, values)
        alike: dict[str, list[UUID]] = {}
        unchanged = _unfound(work, before.key, looked, {each.id for each in holders})
        for own_id, value in (*values, *((each.id, conversion.of(each.value, 0)) for each in unchanged)):
            alike.setdefault(unique_value(after, value), []).append(own_id)
        for own_ids in alike.values():
            if len(own_ids) > 1:
                taken |= dict(zip(own_ids, (*own_ids[1:], own_ids[0]), strict=True))
        unfit = [_example(object_type, each, taken[each.id]) for each in holders if each.id in taken]
    if unfit:
        raise refusal_of(before, after, len(unfit), unfit)
    if not after.unique:
        return []
    since = [
        each.id
        for each, (_, value) in zip(holders, values, strict=True)
        if set(index_texts(each.value)).isdisjoint(conversion.usual_texts(value))
    ]
    return [*dict.fromkeys((*looked.unfound, *since))]


def _unfound(work: UnitOfWork, key: str, looked: Looked, changed_ids: Collection[UUID]) -> list[ValueHolder]:
    """Return the objects that others would not find by their values, as the look has found these."""
    known_ids = [each for each in looked.unfound if each not in changed_ids]
    if not known_ids:
        return []
    table = looked.object_type.table
    rows = work.get_all(table, first_fitting(work, table, known_ids))
    return [found for row in rows if (found := _holding(row, key)) is not None]


def _example(object_type: ObjectType[Any, Any], holder: ValueHolder, other: UUID | None = None) -> ValueExample:
    same_as = UNSET if other is None else ids.encoded(object_type.prefix, other)
    return ValueExample(id=ids.encoded(object_type.prefix, holder.id), value=holder.value, same_as=same_as)


def _others_with(
    work: UnitOfWork,
    object_type: ObjectType[Any, Any],
    conversion: Conversion,
    values: Sequence[tuple[UUID, Any]],
    giver_id: UUID | None = None,
) -> dict[UUID, UUID]:
    """Return, for objects with values, another object that has the same by a conversion that has come to neither.

    An index finds those with the value in its usual spelling. One that gives its value up does not count.
    """
    key = conversion.field.key
    # Values that were set since the field became unique are claimed, and found by their claims.
    only_unclaimed = conversion.converting is not None and not conversion.converting.was_unique
    asked = [(key, conversion.texts_before(value), only_unclaimed) for _, value in values]
    holders: list[list[ValueHolder]] = []
    for (own_id, _), stored in zip(values, work.get_all(VALUE_HOLDERS[object_type.name], asked), strict=True):
        assert stored is not None, "a value without holders has a row, too"
        others = [each for each in stored.holders if each.id not in (own_id, giver_id)]
        holders.append([now for each in others if (now := _holder_now(work, object_type, key, each)) is not None])
    given_up = _given_up(work, conversion, object_type, [each for others in holders for each in others])
    found: dict[UUID, UUID] = {}
    for (own_id, value), others in zip(values, holders, strict=True):
        compared = unique_value(conversion.field, value)
        holding = (each.id for each in others if _claim_of(conversion, each, given_up.get(each.id)) == compared)
        if (holder := next(holding, None)) is not None:
            found[own_id] = holder
    return found


class ConvertValues(LongCommand, frozen=True):
    """Give some of a field's values the form that its definition has now.

    `holders` are the types of objects that have fields. A value that has no such form stays until it is set anew. A value of a
    unique field that another object has, too, is not claimed, and its object is noted. An earlier look has found neither, so
    these were set meanwhile.
    """

    field_id: UUID
    holders: Mapping[str, ObjectType[Any, Any]]

    def needs(self) -> Iterator[Need]:
        yield Need(FIELDS, self.field_id)
        yield Need(UNFINISHED, (CONVERT_VALUES.name, self.field_id))

    def steps(self, work: UnitOfWork) -> Generator[None, None, Result]:
        row = work.get(FIELDS, self.field_id)
        found, is_last = None, False
        if not is_due(work, CONVERT_VALUES, self.field_id):
            # Another request has asked for another form since, or other slices have finished this.
            return Result(work.seq, SliceDone(all=True))
        if row is not None and row.deleted_at is None:
            found = work.get(VALUE_SLICES[row.object_type], (row.key, row.converted_to or ids.NIL))
            assert found is not None, "a slice without objects has a row, too"
            conversion = conversion_to(work, row.object, row.former, row.converting)
            object_ids = first_fitting(work, self.holders[row.object_type].table, found.object_ids)
            unclaimed = yield from _convert(work, conversion, self.holders[row.object_type], object_ids)
            fits = len(object_ids) == len(found.object_ids)
            is_last, last_id = found.is_last and fits, found.last_id if fits else object_ids[-1]
            left: dict[str, Any] = {"converted_to": None, "converting": None} if is_last else {"converted_to": last_id}
            left["unclaimed"] = (*(row.unclaimed or ()), *unclaimed)[:MAX_UNCLAIMED] or None
            work.put(FIELDS, msgspec.structs.replace(row, **left))
        is_finished = found is None or is_last
        if is_finished:
            note(work, CONVERT_VALUES, self.field_id, is_finished=True)
        return Result(work.seq, SliceDone(all=is_finished))


def _convert(
    work: UnitOfWork, conversion: Conversion, object_type: ObjectType[Any, Any], object_ids: Sequence[UUID]
) -> Generator[None, None, list[UUID]]:
    """Convert the values of objects step by step. Return those objects whose value another one has claimed."""
    rows = [row for row in all_active(work, object_type.table, object_ids) if row is not None]
    had_at = _had_at(work, object_type, [conversion], [EntryAt(row.id, row.entry, row.version, is_active=True) for row in rows])
    given_up = _given_up(work, conversion, object_type, rows)
    key = conversion.field.key
    changed: list[tuple[Any, Any]] = []
    for number, (row, at) in enumerate(zip(rows, had_at, strict=True)):
        if number % _STEP == 0:
            yield
        entry, former = row.entry, given_up.get(row.id)
        if former is not None:
            entry, at[key] = msgspec.structs.replace(entry, fields={**entry.fields, key: former.value}), former.had_at
        after = fitted_to(entry, [conversion], at)
        if not same(after, row.entry):
            changed.append((row, after))
    unclaimed: list[UUID] = []
    for number, ((row, after), (_, claiming)) in enumerate(
        zip(without_taken(work, object_type, changed), changed, strict=True)
    ):
        if number % _STEP == 0:
            yield
        object_type.claim(work, row.id, row.entry, after)
        updated(work, object_type, row, after)
        if after.unique_values != claiming.unique_values:
            unclaimed.append(row.id)
    return unclaimed


class EntryAt(NamedTuple):
    """A state of an object, and the number of an entry at which it had that state: of its last one, if it is active."""

    object_id: UUID
    entry: Any
    version: int
    is_active: bool = False


def _had_at(
    work: UnitOfWork, object_type: ObjectType[Any, Any], conversions: Collection[Conversion], entries: Sequence[EntryAt]
) -> list[dict[str, int]]:
    """Return for each state an entry at which its object had each value as it was set.

    An object may have changed since, or been deleted, but not its value.
    """
    had_at: list[dict[str, int]] = [dict.fromkeys(each.entry.fields or (), each.version) for each in entries]
    asked: list[tuple[str, UUID, int, str, int]] = []
    places: list[int] = []
    for conversion in [each for each in conversions if each.former or each.converting]:
        key = conversion.field.key
        for place, (object_id, entry, version, is_active) in enumerate(entries):
            values: dict[str, Any] = entry.fields or {}
            if is_active and key in values:
                had_at[place][key] = conversion.had_at(version)
            for since in conversion.doubted(values.get(key), version):
                asked.append((object_type.kind, object_id, version, key, since))
                places.append(place)
    # The earliest entry comes last.
    for place, (*_, key, since), found in zip(places, asked, work.get_all(SET_SINCE, asked), strict=True):
        if found is not None and not found.was_set:
            had_at[place][key] = since - 1
    return had_at


def _given_up(
    work: UnitOfWork, conversion: Conversion, object_type: ObjectType[Any, Any], rows: Sequence[Any]
) -> dict[UUID, GivenUp]:
    """Return the values that objects have given up by the request that is undone, and get back by whatever comes first."""
    undone = None if conversion.converting is None else conversion.converting.undone
    if undone is None:
        return {}
    asked = [(object_type.kind, row.id, row.version, conversion.field.key, undone) for row in rows]
    return {found.key[1]: found for found in work.get_all(GIVEN_UP, asked) if found is not None}


def unconverted_holders(
    work: UnitOfWork,
    object_type: ObjectType[Any, Any],
    entries: Sequence[Any],
    keys: Collection[str] | None = None,
    giver_id: UUID | None = None,
) -> dict[UUID, dict[str, UUID]]:
    """Return other objects that have unique values which entries claim, and that a conversion has not come to.

    They have no claim yet. An index finds them, by the ids of the entries and the keys of fields, or of these fields. One that
    gives its values up does not count.
    """
    claimed = [
        (ids.decoded(object_type.prefix, entry.id) or ids.NIL, each.partition("=")[0], entry.fields)
        for entry in entries
        for each in entry.unique_values or ()
    ]
    defined = conversions(work, object_type.name) if claimed else {}
    found: dict[UUID, dict[str, UUID]] = {}
    for key in {key for _, key, _ in claimed} if keys is None else keys:
        if key in defined and defined[key].converting is not None:
            values = [(own_id, fields[key]) for own_id, each, fields in claimed if each == key]
            for own_id, holder in _others_with(work, object_type, defined[key], values, giver_id).items():
                found.setdefault(own_id, {})[key] = holder
    return found


def _holder_now(work: UnitOfWork, object_type: ObjectType[Any, Any], key: str, stored: ValueHolder) -> ValueHolder | None:
    """Return an object with its value of a field as the batch has it, or None if it has none."""
    return _holding(work.get(object_type.table, stored.id), key) if work.has_changed(object_type.table, stored.id) else stored


def _holding(row: Any, key: str) -> ValueHolder | None:
    if row is None or row.deleted_at is not None or key not in (row.entry.fields or ()):
        return None
    return ValueHolder(row.id, row.version, row.entry.fields[key])


def _claim_of(conversion: Conversion, holder: ValueHolder, given_up: GivenUp | None) -> str | None:
    """Return the unique value that an object will claim, or None if its value has no form of the field's kind."""
    if given_up is None:
        value = conversion.of(holder.value, conversion.had_at(holder.version))
    else:
        value = conversion.of(given_up.value, given_up.had_at)
    return None if value is None else unique_value(conversion.field, value)


def require_unconverted(
    work: UnitOfWork,
    object_type: ObjectType[Any, Any],
    entry: Any,
    keys: Collection[str] | None = None,
    giver_id: UUID | None = None,
) -> None:
    """Require that no object which a conversion has not come to has a unique value that an entry claims. Refusal: Taken."""
    for held in unconverted_holders(work, object_type, [entry], keys, giver_id).values():
        raise in_use(object_type, {f"fields.{key}": holder for key, holder in held.items()})


def _values_of(object_type: ObjectType[Any, Any]) -> UniqueKey[Any]:
    """Return the unique key of the values of fields of a type."""
    return next(each for each in object_type.unique_keys if each.field_path is unique_value_path)


def without_hidden(
    work: UnitOfWork,
    object_type: ObjectType[Any, Any],
    entries: Sequence[EntryT],
    defined: Mapping[str, Conversion],
    may_hold: Callable[[EntryT, UUID], bool],
) -> list[EntryT]:
    """Return entries without the claims of values of archived fields that other objects hold, except those that may."""
    claimed = [hidden_claims(entry, defined) for entry in entries]
    holders = _values_of(object_type).holders(work, [each for of_one in claimed for each in of_one])
    return [
        without_claims(
            entry, [each for each in of_one if (holder := holders[each]) is not None and not may_hold(entry, holder)]
        )
        for entry, of_one in zip(entries, claimed, strict=True)
    ]


def with_free_values(work: UnitOfWork, object_type: ObjectType[Any, Any], object_id: UUID, entry: EntryT) -> EntryT:
    """Return the state in which an object comes back without the values of unique fields that others have by now."""
    whole: Any = entry
    if whole.unique_values is not UNSET:
        (whole,) = without_hidden(work, object_type, [whole], conversions(work, object_type.name), lambda _, __: False)
    holders = _values_of(object_type).holders(work, whole.unique_values or ())
    taken = {each.partition("=")[0] for each, holder in holders.items() if holder is not None}
    return without_values(whole, taken.union(unconverted_holders(work, object_type, [whole]).get(object_id, ())))


def without_taken(
    work: UnitOfWork, object_type: ObjectType[Any, Any], entries: Sequence[tuple[RowT, EntryT]]
) -> Iterator[tuple[RowT, EntryT]]:
    """Yield rows with entries for them, each without the claims of values that other objects hold by then."""
    unique_key = _values_of(object_type)
    # The rows that this misses are loaded together.
    unique_key.holders(work, [key for _, entry in entries for key in unique_key.keys(entry)])
    for row, entry in entries:
        taken = [each for each in unique_key.keys(entry) if unique_key.holder(work, each) not in (None, row.id)]
        yield row, without_claims(entry, taken)


def new_definition(field_id: UUID, time: str, asked: FieldCreate) -> Field:
    """Return the definition that a request asks for. Refusal: Invalid."""
    field = FIELD.new(field_id, time, asked)
    return _sound(field, (), labelled_alike(field))


def redefined(before: Field, patch: FieldUpdate) -> Field:
    """Return a definition with a patch applied. A default that the patch does not name gets the form of another kind.

    Refusal: Invalid.
    """
    after = FIELD.patched(before, patch)
    alike = [*labelled_alike(after, before)]
    unsent = [name for name in ("default", "unique") if getattr(patch, name) is UNSET]
    if "default" not in unsent or before.default is None:
        return _sound(after, unsent, alike)
    errors = [*unsound(after, unsent), *alike]
    default = before.default
    if after.kind is not before.kind:
        default = conversion_between(before, after).of(default, 0)
    elif after.options != before.options:
        default = normal_value(after, default, "default", [])
    if default is None and not any(error.field in ("default", "options") for error in errors):
        message = f"`default` is {quoted_value(before.default)}, which does not fit the change. Send another one, too, or null."
        errors.append(FieldError("default", "invalid_choice" if after.kind in LISTS else "invalid_format", message))
    if errors:
        raise Invalid(errors)
    return msgspec.structs.replace(after, default=default)


def _sound(field: Field, unsent: Collection[str], alike: Iterable[FieldError]) -> Field:
    """Return a definition with its default in the form in which it is kept. Refusal: Invalid.

    `unsent` are members that the request did not name, and `alike` the errors of labels.
    """
    errors = [*unsound(field, unsent), *alike]
    if field.default is not None and not any(error.field in ("default", "options") for error in errors):
        field = msgspec.structs.replace(field, default=normal_value(field, field.default, "default", errors))
    if errors:
        raise Invalid(errors)
    return field


def definitions(work: UnitOfWork, object_type: str) -> dict[str, Field]:
    """Return the definitions of the fields of a type by their keys, as the batch has them so far."""
    return {key: each.field for key, each in _defined(work, object_type).items()}


def conversions(work: UnitOfWork, object_type: str) -> dict[str, Conversion]:
    """Return the conversions of values to the definitions of the fields of a type, by their keys."""
    return {key: each.conversion(work) for key, each in _defined(work, object_type).items()}


class KeptDefinitions:
    """The definitions that a process has used last, by workspace and type of objects, as far as they have few bytes.

    Each has the state in which it was loaded. A batch loads the state that is in force, so none is out of date, whichever
    process has changed a definition.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: dict[tuple[UUID, str], tuple[str, dict[str, Defined], int]] = {}

    def of(self, work: UnitOfWork, object_type: str) -> dict[str, Defined]:
        """Return the definitions of a type as they were before the batch."""
        found = work.get(DEFINITIONS_STATES, object_type)
        if found is None:
            return {}
        place = work.workspace_id, object_type
        kept = self._kept.get(place)
        if kept is None or kept[0] != found.state:
            stored = work.get(DEFINITIONS, object_type)
            defined = {} if stored is None else {each.field.key: each for each in stored.fields}
            self._forget(place)
            self._keep(place, (found.state, defined, len(msgspec.json.encode(stored))))
            return defined
        # The last one used is the last one to go.
        del self._kept[place]
        self._kept[place] = kept
        return kept[1]

    def _keep(self, place: tuple[UUID, str], kept: tuple[str, dict[str, Defined], int]) -> None:
        while self._kept and self._bytes + kept[2] > self._most_bytes:
            self._forget(next(iter(self._kept)))
        self._kept[place] = kept
        self._bytes += kept[2]

    def _forget(self, place: tuple[UUID, str]) -> None:
        if (kept := self._kept.pop(place, None)) is not None:
            self._bytes -= kept[2]


# In memory they take several times as many bytes as in JSON.
_kept: Final = KeptDefinitions(16_777_216)


def _defined(work: UnitOfWork, object_type: str) -> dict[str, Defined]:
    found = _kept.of(work, object_type)
    changed = work.changed_in(FIELDS)
    if changed:
        found = {**found}
    for row in changed:
        if row.object_type == object_type and row.deleted_at is None:
            found[row.key] = Defined(row.object, row.former, row.converting)
        elif row.object_type == object_type and row.key in found and found[row.key].field.id == row.object.id:
            del found[row.key]
    return found


def value_needs(object_type: str, asked: Mapping[str, Any] | UnsetType) -> Iterator[Need]:
    """Yield the rows that a command must see to set values."""
    if asked is UNSET:
        return
    yield Need(DEFINITIONS_STATES, object_type)
    for value in asked.values():
        if isinstance(value, str):
            yield from (
                Need(REFERENCED, (kind.value, decoded))
                for kind, prefix in REFERENCES.items()
                if (decoded := ids.decoded(prefix, value)) is not None
            )


def with_values(
    work: UnitOfWork,
    object_type: ObjectType[Any, Any],
    entry: EntryT,
    asked: Mapping[str, Any] | UnsetType,
    *,
    is_new: bool = False,
    take_from: str | UnsetType = UNSET,
) -> EntryT:
    """Return an entry with values set: null clears a value, and a field that is not named keeps its own.

    A new entry gets the defaults. A value that is sent again is claimed if it was not, and no other object holds it. A request
    may name an object that gives values up, as `take_from`. Refusal: Invalid, which names each field as `fields.key`.
    """
    if asked is UNSET:
        return entry
    whole: Any = entry
    known = conversions(work, object_type.name)
    defined = {key: each.field for key, each in known.items()}
    # A conversion claims the values that it comes to by itself.
    change = _ValueChange(entry, defined, {key for key, each in known.items() if each.converting is None})
    to_set = {**(_defaults(defined) if is_new else {}), **asked}
    for key, value in _with_countries(work, defined, to_set, whole.fields).items():
        change.set(key, value)
    if is_new:
        change.require(asked)
    if not change.errors:
        change.errors += _dangling(work, defined, change.values, [key for key in change.changed if key in asked])
    if not change.errors and (size := too_many_bytes(whole.fields, change.values)) is not None:
        message = f"`fields` would have {size:,} bytes, with the values that the object has. {MAX_BYTES:,} is the limit. "
        change.errors.append(FieldError("fields", "too_long", message + "Shorten some values, or clear them with null."))
    if change.errors:
        raise Invalid(bounded(change.errors, "fields"))
    giver_id = None if take_from is UNSET else ids.decoded(object_type.prefix, take_from)
    claimed = change.claimed | _free(work, object_type, whole.id, change.unclaimed, giver_id)
    after = msgspec.structs.replace(entry, fields=change.values or UNSET, unique_values=tuple(claimed.values()) or UNSET)
    require_unconverted(work, object_type, after, change.changed, giver_id)
    return after


class _NoValues(msgspec.Struct, frozen=True):
    """An object without values."""

    fields: UnsetType = UNSET
    unique_values: UnsetType = UNSET


def value_errors(definitions: Iterable[Field], asked: Mapping[str, Any], *, is_new: bool) -> list[FieldError]:
    """Return the errors of values that a request sets, whatever object gets them. Whether references exist is not looked up.

    The object may have an archived option, so these count as others.
    """
    defined = {field.key: with_options_of(field, asked.get(field.key)) for field in definitions}
    change = _ValueChange(_NoValues(), defined, ())
    for key, value in {**(_defaults(defined) if is_new else {}), **asked}.items():
        change.set(key, value)
    if is_new:
        change.require(asked)
    return bounded(change.errors, "fields")


def _free(
    work: UnitOfWork,
    object_type: ObjectType[Any, Any],
    shown_id: str,
    compared: Mapping[str, str],
    giver_id: UUID | None,
) -> dict[str, str]:
    """Return those unique values that no other object holds but one that gives them up, by the keys of their fields."""
    holders = _values_of(object_type).holders(work, [*compared.values()]) if compared else {}
    own_id = ids.decoded(object_type.prefix, shown_id)
    return {key: each for key, each in compared.items() if holders[each] in (None, own_id, giver_id)}


def _with_countries(
    work: UnitOfWork, defined: Mapping[str, Field], asked: Mapping[str, Any], kept: Mapping[str, Any] | UnsetType
) -> dict[str, Any]:
    """Return values to set with numbers of the workspace's region as international ones, because the region may change.

    A number that is sent as it is kept stays so: it was set before the workspace had the region.
    """
    national = {
        key: value.strip()
        for key, value in asked.items()
        if isinstance(value, str)
        and key in defined
        and defined[key].kind is FieldKind.PHONE
        and len(value) <= MAX_TEXT
        and not same(value, (kept or {}).get(key))
    }
    if not national:
        return {**asked}
    region = default_region(work)
    return {**asked, **{key: international_number(value, region) for key, value in national.items()}}


def _defaults(defined: Mapping[str, Field]) -> dict[str, Any]:
    return {field.key: field.default for field in defined.values() if field.default is not None and not field.archived}


class _ValueChange:
    """The values of an entry while they change: `values`, those of unique fields as they are claimed, and the errors so far.

    `changed` names the fields that got another value. `unclaimed` has the unique values that were sent again and are not
    claimed, by the keys of their fields.
    """

    def __init__(self, entry: Any, defined: Mapping[str, Field], converted: Collection[str]) -> None:
        self.values: dict[str, Any] = {} if entry.fields is UNSET else {**entry.fields}
        self.claimed = {each.partition("=")[0]: each for each in entry.unique_values or ()}
        self.errors: list[FieldError] = []
        self.changed: list[str] = []
        self.unclaimed: dict[str, str] = {}
        self._defined = defined
        self._converted = converted

    def set(self, key: str, value: Any) -> None:
        """Set or clear a value, or add its errors."""
        path = f"fields.{quoted(key)}"
        old = self.values.get(key)
        # An object may always be sent as it was read.
        if same(value, old) and (key in self._defined or value is not None):
            if value is not None:
                self._note_unclaimed(key, value)
            return
        field = _writable(self._defined, key, path, self.errors)
        if field is None:
            return
        count = len(self.errors)
        kept = None if value is None else normal_value(with_options_of(field, old), value, path, self.errors)
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

    def _note_unclaimed(self, key: str, value: Any) -> None:
        field = self._defined.get(key)
        if field is None or not field.unique or field.archived or key not in self._converted or key in self.claimed:
            return
        errors: list[FieldError] = []
        kept = normal_value(field, value, "", errors)
        if not errors:
            self.unclaimed[key] = unique_value(field, kept)

    def require(self, asked: Mapping[str, Any]) -> None:
        """Add the errors of required fields that a new object does not have. Those that were sent have theirs already."""
        self.errors += [
            FieldError(f"fields.{field.key}", "required", f"`fields.{field.key}` is missing. Send it.")
            for field in self._defined.values()
            if field.required and not field.archived and field.key not in self.values and asked.get(field.key) is None
        ]


def _writable(defined: Mapping[str, Field], key: str, path: str, errors: list[FieldError]) -> Field | None:
    field = defined.get(key)
    if field is None:
        active = [each.key for each in defined.values() if not each.archived]
        hint = did_you_mean(key, active, "fields.") or "`GET /api/herdbook/fields` lists those of the workspace."
        message = f"There is no field `{path}`. {hint}"
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


def giver_needs(object_type: ObjectType[RowT, EntryT], take_from: str | UnsetType) -> Iterator[Need]:
    """Yield the row of the object that values are taken from."""
    if take_from is not UNSET:
        yield Need(object_type.table, ids.decoded(object_type.prefix, take_from) or ids.NIL)


def take_values(
    work: UnitOfWork,
    object_type: ObjectType[RowT, EntryT],
    take_from: str | UnsetType,
    after: EntryT,
    without_handles: Callable[[EntryT, EntryT], EntryT],
) -> None:
    """Take from another object, if one is named, the keys and the unique values that an object gets.

    `after` is the object with them. `without_handles` returns the other one without those of its own members that `after` has.
    Refusal: Invalid.
    """
    if take_from is UNSET:
        return
    taking, giver = cast("Any", after), active(work, object_type.table, ids.decoded(object_type.prefix, take_from))
    if giver is None or take_from == taking.id:
        message = f"`take_from` names no other {object_type.noun} of this workspace. Send one with the value, or leave it out."
        raise Invalid([FieldError("take_from", "not_found", message, take_from)])
    before: Any = giver.entry
    claimed = {*(before.unique_values or ()), *_claims_to_come(work, object_type, giver)}
    keys = sorted(each.partition("=")[0] for each in claimed.intersection(taking.unique_values or ()))
    defined = definitions(work, object_type.name)
    if needed := [key for key in keys if key in defined and defined[key].required and not defined[key].archived]:
        message = "`fields.{}` is required, so `take_from` cannot be left without it. Give that one another value first."
        raise Invalid([FieldError(f"fields.{key}", "required", message.format(key)) for key in needed])
    left = without_values(without_handles(before, after), keys)
    object_type.claim(work, giver.id, before, left)
    updated(work, object_type, giver, left)


def _claims_to_come(work: UnitOfWork, object_type: ObjectType[RowT, EntryT], row: RowT) -> Iterator[str]:
    """Yield the unique values of an object that conversions have not come to, as it will claim them."""
    values: dict[str, Any] = row.entry.fields or {}
    for key, conversion in conversions(work, object_type.name).items() if values else ():
        if key in values and conversion.converting is not None and conversion.field.unique:
            given_up = _given_up(work, conversion, object_type, [row])
            claim = _claim_of(conversion, ValueHolder(row.id, row.version, values[key]), given_up.get(row.id))
            if claim is not None:
                yield claim


def fitted_entries(
    work: UnitOfWork,
    object_type: ObjectType[Any, Any],
    entries: Sequence[EntryAt],
    defined: Mapping[str, Conversion] | None = None,
) -> list[Any]:
    """Return states of objects at another time with their values, and their claims, as the definitions are now.

    While values are converted, an entry may have some in their old form, so an object that takes values of another needs this.
    `defined` may replace the conversions to the definitions of the fields of the type, by their keys.
    """
    if all(each.entry.fields is UNSET for each in entries):
        return [each.entry for each in entries]
    defined = conversions(work, object_type.name) if defined is None else defined
    had_at = _had_at(work, object_type, defined.values(), entries)
    return [fitted(each.entry, defined, at) for each, at in zip(entries, had_at, strict=True)]


def shown_entry(work: UnitOfWork, object_type: str, entry: EntryT) -> EntryT:
    """Return an entry as the API shows it: without the values of archived fields."""
    whole: Any = entry
    if whole.fields is UNSET:
        return entry
    defined = definitions(work, object_type)
    return without_values(entry, {key for key in whole.fields if key not in defined or defined[key].archived})
