"""The operations of /herdbook/fields."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook.auth.scopes import ADMIN
from herdbook.custom_fields import store
from herdbook.custom_fields.commands import ConvertValues, CreateField, UpdateField, redefined
from herdbook.custom_fields.effects import ValueSource, does_not_fit, effect_of
from herdbook.custom_fields.model import (
    Field,
    FieldChange,
    FieldCreate,
    FieldObjectType,
    FieldUpdate,
    FieldUpdateQuery,
)
from herdbook.custom_fields.store import CONVERT_VALUES, FIELD
from herdbook.db.database import find_in
from herdbook.errors import FieldError, Invalid, NotFound, Stale, Taken
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Filter, ListOf, Operation
from herdbook.ledger.object_types import ObjectType

FieldHolders: TypeAlias = Mapping[str, ObjectType[Any, Any]]


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
    object_type = holders[before.object_type.value]
    values = ValueSource(call.services.database.pool, call.time_slice, object_type, call.caller.workspace_id)
    effect = await effect_of(values, before, redefined(before, patch))
    if query.dry_run:
        return Answer(msgspec.json.encode(effect))
    if effect.refused:
        member = "unique" if effect.field.kind is before.kind else "kind"
        message = f"{does_not_fit(before, effect)} Change these values first; `dry_run=true` shows more of them."
        raise Invalid([FieldError(member, "values_in_use", message)])
    # The values were looked at for this version of the definition.
    answer = await call.write(UpdateField(field_id, patch, frozenset({found.version})))
    await call.finish(CONVERT_VALUES, partial(ConvertValues, holders=holders), [field_id])
    return answer


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
