"""The operations of /herdbook/fields."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.custom_fields import store
from herdbook.custom_fields.commands import (
    ConvertValues,
    CreateField,
    LookAgain,
    Looked,
    UpdateField,
    new_definition,
    redefined,
    value_errors,
)
from herdbook.custom_fields.effects import ValueSource, effect_of
from herdbook.custom_fields.model import (
    MAX_DEFINITIONS,
    Field,
    FieldChange,
    FieldConversion,
    FieldCreate,
    FieldObjectType,
    FieldUpdate,
    FieldUpdateQuery,
)
from herdbook.custom_fields.store import CONVERT_VALUES, FIELD, changes_form, head_of
from herdbook.custom_fields.values import refusal_of
from herdbook.db.database import find_in
from herdbook.errors import FieldError, Invalid, NotFound, Stale, Taken, Unavailable
from herdbook.http.body import LONG_BODY
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Filter, ListOf, Operation
from herdbook.ledger.object_types import ObjectType
from herdbook.turns import MAX_TRIES

READERS_TOLD: Final = "Requires the `contacts:read` or the `companies:read` scope."
FieldHolders: TypeAlias = Mapping[str, ObjectType[Any, Any]]


async def list_fields(call: Call) -> Answer:
    """List the definitions of the workspace's fields."""
    FIELD.require_reader(call.caller.may)
    return await call.answer_list(store.page)


async def create_field(call: Call, field: FieldCreate) -> Answer:
    """Define a field."""
    return await call.write(CreateField(field, call.has_precondition))


async def get_field(call: Call, field_id: UUID) -> Answer:
    """Read the definition of one field."""
    FIELD.require_reader(call.caller.may)
    return await call.answer_object(FIELD, field_id)


async def get_conversion(holders: FieldHolders, call: Call, field_id: UUID) -> Answer:
    """Read how far the conversion of one field's values is."""
    FIELD.require_reader(call.caller.may)

    def may_read(object_type: str) -> bool:
        return holders[object_type].may_be_read(call.caller.may)

    found = await store.conversion(call.services.database.pages, call.caller.workspace_id, field_id, may_read)
    if found is None:
        raise NotFound(FIELD.noun, object_id=field_id)
    return Answer(msgspec.json.encode(found))


async def update_field(
    holders: FieldHolders, call: Call, field_id: UUID, patch: FieldUpdate, query: FieldUpdateQuery
) -> Answer:
    """Change the definition of one field, and convert its values. Absent leaves a member unchanged; null clears it."""
    if not query.dry_run and patch.kind is patch.unique is patch.options is UNSET:
        return await call.write(UpdateField(field_id, patch, call.if_version))
    if not query.dry_run and (first := await call.first_answer()) is not None:
        return first
    for _ in range(MAX_TRIES):
        found = await call.services.database.find(find_in("field"), call.caller.workspace_id, field_id)
        if found is None:
            raise NotFound(FIELD.noun, object_id=field_id)
        if call.if_version is not None and found.version not in call.if_version:
            raise Stale(found.version)
        before = msgspec.json.decode(found.body, type=Field)
        after = redefined(before, patch)
        convert = partial(call.finish, CONVERT_VALUES, partial(ConvertValues, holders=holders), [field_id])
        if changes_form(before, after) or before.options != after.options:
            # The definition does not tell the form of values that an earlier conversion has not come to, and they become
            # options by the labels that these have now.
            await convert()
        object_type = holders[before.object_type.value]
        values = ValueSource(call.services.database.pool, call.time_slice, object_type, call.caller.workspace_id)
        looked_at = await head_of(values.statements, values.workspace_id)
        unfound: Sequence[UUID] = ()
        # A change that leaves the form of values as it is refuses none of them, so nobody needs their number.
        if query.dry_run or changes_form(before, after):
            effect, unfound = await effect_of(values, before, after)
            if query.dry_run:
                return Answer(msgspec.json.encode(effect))
            if effect.refused:
                raise refusal_of(before, effect.field, effect.refused, effect.examples)
        looked = Looked(looked_at, object_type, found.version, tuple(unfound))
        command = UpdateField(field_id, patch, call.if_version, looked)
        with contextlib.suppress(LookAgain):
            answer = await call.write(command)
            await convert()
            return answer
    message = "Others set values of the field, or change its definition, all the time. Nothing was written. "
    message += "Try again when fewer do."
    raise Unavailable(message)


class _Asked(msgspec.Struct):
    """The values that a body sets, whatever its other members are."""

    fields: msgspec.Raw = msgspec.Raw()


_ASKED: Final = msgspec.json.Decoder(_Asked)


def asked_values(body: bytes) -> dict[str, Any] | None:
    """Return the values that a refused body sets, or None if they are not an object of a length that is checked."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raw = bytes(_ASKED.decode(body).fields)
        if 0 < len(raw) <= LONG_BODY:
            return msgspec.json.decode(raw, type=Annotated[dict[str, Any], msgspec.Meta(max_length=MAX_DEFINITIONS)])
    return None


async def further_errors_of_values(
    object_type: str,
    call: Call,
    body: bytes,
    errors: Sequence[FieldError],  # noqa: ARG001  # values do not depend on other members
    object_id: UUID | None = None,
) -> Sequence[FieldError]:
    """Return the errors of values in a body that was refused for other members. Without an id, it asks for a new object."""
    if (asked := asked_values(body)) is None:
        return ()
    found = await store.all_definitions(call.services.database.pool, call.caller.workspace_id)
    return value_errors((each for each in found if each.object_type.value == object_type), asked, is_new=object_id is None)


async def _further_errors(
    call: Call, body: bytes, errors: Sequence[FieldError], field_id: UUID | None = None
) -> Sequence[FieldError]:
    """Return the errors of members that do not go together, in a body that was refused for others."""
    at_fault = {_MEMBER_END.split(error.field)[0] for error in errors}
    try:
        members = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    request = FieldCreate if field_id is None else FieldUpdate
    sound = {name: value for name, value in members.items() if name in request.__struct_fields__ and name not in at_fault}
    # All else depends on the kind.
    if "kind" in at_fault:
        return ()
    try:
        if field_id is None:
            unnamed = {"object_type": FieldObjectType.CONTACT, "key": "a", "label": "a"}
            new_definition(ids.NIL, "", msgspec.convert(unnamed | sound, FieldCreate))
        else:
            found = await call.services.database.find(find_in("field"), call.caller.workspace_id, field_id)
            if found is not None:
                redefined(msgspec.json.decode(found.body, type=Field), msgspec.convert(sound, FieldUpdate))
    except Invalid as invalid:
        return [error for error in invalid.errors if _MEMBER_END.split(error.field)[0] not in at_fault]
    return ()


_MEMBER_END: Final = re.compile(r"[.\[]")
_TYPES: Final = [each.value for each in FieldObjectType]


def _object_type(text: str) -> str:
    if text not in _TYPES:
        raise ValueError(f"it is one of {', '.join(_TYPES)}")
    return text


_TAG: Final = "subpackage_fields"
_WRITE: Final = (ADMIN,)


def operations(holders: FieldHolders) -> tuple[Operation, ...]:
    """Return the operations. `holders` are the types of objects that have fields, by their names."""
    return (
        Operation(
            method="GET",
            path="/herdbook/fields",
            id="list-fields",
            summary="List fields",
            description="Lists the fields that the workspace defines for its contacts and companies, archived ones included. "
            + READERS_TOLD,
            tag=_TAG,
            scopes=(),
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
            further_errors=_further_errors,
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
            description=f"Reads the definition of a single field. {READERS_TOLD}",
            tag=_TAG,
            scopes=(),
            handler=get_field,
            answer=Field,
            answer_description="Field response.",
        ),
        Operation(
            method="GET",
            path="/herdbook/fields/{field_id}/conversion",
            id="get-field-conversion",
            summary="Get field conversion",
            description="Reads how far the conversion of the values of a single field is, after a change of its kind or of its "
            f"uniqueness, and which values are without a claim. {READERS_TOLD}",
            tag=_TAG,
            scopes=(),
            handler=partial(get_conversion, holders),
            answer=FieldConversion,
            answer_description="The progress of the conversion.",
            bypasses_ledger=True,
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
            further_errors=_further_errors,
            query=FieldUpdateQuery,
            answer=Field,
            or_answer=FieldChange,
            answer_description="Updated field response.",
        ),
    )
