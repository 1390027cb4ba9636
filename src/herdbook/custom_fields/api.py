"""The operations of /herdbook/fields."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.custom_fields import store
from herdbook.custom_fields.commands import ConvertValues, CreateField, UpdateField, redefined
from herdbook.custom_fields.model import (
    Field,
    FieldChange,
    FieldCreate,
    FieldObjectType,
    FieldUpdate,
    FieldUpdateQuery,
    ValueExample,
)
from herdbook.custom_fields.store import CONVERT_VALUES, FIELD, changes_form
from herdbook.custom_fields.values import converted_value, unique_value
from herdbook.db.database import find_in
from herdbook.errors import FieldError, Invalid, NotFound, Stale, Taken, quoted
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Filter, ListOf, Operation
from herdbook.ledger.object_types import ObjectType

FieldHolders: TypeAlias = Mapping[str, ObjectType[Any, Any]]
_MAX_EXAMPLES: Final = 20


async def list_fields(call: Call) -> Answer:
    """List the definitions of the workspace's fields."""
    return await call.answer_list(store.page)


async def create_field(call: Call, field: FieldCreate) -> Answer:
    """Define a field."""
    return await call.write(CreateField(field, call.has_precondition))


async def get_field(call: Call, field_id: UUID) -> Answer:
    """Read the definition of one field."""
    return await call.answer_object(FIELD, field_id)


async def update_field(
    holders: FieldHolders, call: Call, field_id: UUID, patch: FieldUpdate, query: FieldUpdateQuery
) -> Answer:
    """Change the definition of one field, and convert its values. Absent leaves a member unchanged; null clears it."""
    if not query.dry_run and patch.kind is UNSET and patch.unique is UNSET:
        return await call.write(UpdateField(field_id, patch, call.if_version))
    found = await call.services.database.find(find_in("field"), call.caller.workspace_id, field_id)
    if found is None:
        raise NotFound(FIELD.noun, object_id=field_id)
    if call.if_version is not None and found.version not in call.if_version:
        raise Stale(found.version)
    before = msgspec.json.decode(found.body, type=Field)
    effect = await _effect(holders, call, before, redefined(before, patch))
    if query.dry_run:
        return Answer(msgspec.json.encode(effect))
    if effect.refused:
        raise Invalid([_refused(before, effect)])
    # The values were looked at for this version of the definition.
    answer = await call.write(UpdateField(field_id, patch, frozenset({found.version})))
    await call.finish(CONVERT_VALUES, partial(ConvertValues, holders=holders), [field_id])
    return answer


async def _effect(holders: FieldHolders, call: Call, before: Field, after: Field) -> FieldChange:
    """Look at all values of a field, in slices, and return what a change of its definition does to them."""
    object_type = holders[before.object_type.value]
    tally = _Tally(after, changes_form=changes_form(before, after))
    last_id = ids.NIL
    while True:
        await call.time_slice()
        found = await store.values_after(
            call.services.database.pool, object_type.name, call.caller.workspace_id, before.key, last_id
        )
        if not found:
            break
        last_id = found[-1][0]
        for object_id, value in found:
            if value is not None:
                tally.add(ids.encoded(object_type.prefix, object_id), value)
    return FieldChange(
        object="field_change",
        dry_run=True,
        field=after,
        kept=tally.kept,
        converted=tally.converted,
        refused=tally.refused,
        examples=tuple(tally.examples),
    )


class _Tally:
    """The numbers of values that stay as they are, get another form, or do not fit a definition."""

    def __init__(self, after: Field, *, changes_form: bool) -> None:
        self.kept = self.converted = self.refused = 0
        self.examples: list[ValueExample] = []
        self._after = after
        self._changes_form = changes_form
        self._seen: set[str] = set()

    def add(self, object_id: str, value: Any) -> None:
        """Count a value."""
        new = converted_value(self._after, value) if self._changes_form else value
        if new is None or (self._after.unique and self._is_seen(new)):
            self.refused += 1
            if len(self.examples) < _MAX_EXAMPLES:
                self.examples.append(ValueExample(id=object_id, value=value))
        elif new == value and type(new) is type(value):
            self.kept += 1
        else:
            self.converted += 1

    def _is_seen(self, value: Any) -> bool:
        compared = unique_value(self._after, value)
        is_seen = compared in self._seen
        self._seen.add(compared)
        return is_seen


def _refused(before: Field, effect: FieldChange) -> FieldError:
    member = "unique" if effect.field.kind is before.kind else "kind"
    some = ", ".join(f"`{quoted(str(example.value))}`" for example in effect.examples[:3])
    message = (
        f"`{member}` does not fit {effect.refused} of the values that are there, such as {some}. Change these values first; "
        "`dry_run=true` shows more of them."
    )
    return FieldError(member, "values_in_use", message)


_TYPES: Final = [each.value for each in FieldObjectType]


def _object_type(text: str) -> str:
    if text not in _TYPES:
        raise ValueError(f"it is one of {', '.join(_TYPES)}")
    return text


_TAG: Final = "subpackage_fields"
_READ: Final = ("contacts:read",)
_WRITE: Final = (ADMIN,)


def operations(holders: FieldHolders) -> tuple[Operation, ...]:
    """Return the operations. `holders` are the types of objects that have fields, by their names."""
    return (
        Operation(
            method="GET",
            path="/herdbook/fields",
            id="list-fields",
            summary="List fields",
            description="Lists the fields that the workspace defines for its contacts and companies, archived ones included.",
            tag=_TAG,
            scopes=_READ,
            handler=list_fields,
            answer=Field,
            answer_description="Field list response.",
            list_of=ListOf(
                filters=(
                    Filter(
                        "object_type",
                        _object_type,
                        {"type": "string", "enum": _TYPES},
                        "Only the fields of this type of objects.",
                        most=1,
                    ),
                )
            ),
        ),
        Operation(
            method="POST",
            path="/herdbook/fields",
            id="create-field",
            summary="Create field",
            description="Defines a field of contacts or companies.",
            tag=_TAG,
            scopes=_WRITE,
            handler=create_field,
            body=FieldCreate,
            answer=Field,
            answer_description="Created field response.",
            status=201,
            refusals=(Taken,),
        ),
        Operation(
            method="GET",
            path="/herdbook/fields/{field_id}",
            id="get-field-by-id",
            summary="Get field",
            description="Reads the definition of a single field.",
            tag=_TAG,
            scopes=_READ,
            handler=get_field,
            answer=Field,
            answer_description="Field response.",
        ),
        Operation(
            method="PATCH",
            path="/herdbook/fields/{field_id}",
            id="update-field",
            summary="Update field",
            description="Changes the definition of a single field. An archived field keeps its values, which no object shows "
            "and no request sets until it is back. An option that is left out is archived. If another `kind` or `unique` does "
            "not fit some values, it is refused; otherwise the values are converted. `dry_run=true` says how many they are.",
            tag=_TAG,
            scopes=_WRITE,
            handler=partial(update_field, holders),
            body=FieldUpdate,
            query=FieldUpdateQuery,
            answer=Field,
            or_answer=FieldChange,
            answer_description="Updated field response.",
        ),
    )
