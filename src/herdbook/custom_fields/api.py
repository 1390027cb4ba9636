"""The operations of /herdbook/fields."""

from typing import Final
from uuid import UUID

from herdbook.auth.scopes import ADMIN
from herdbook.custom_fields import store
from herdbook.custom_fields.commands import CreateField, UpdateField
from herdbook.custom_fields.model import Field, FieldCreate, FieldObjectType, FieldUpdate
from herdbook.custom_fields.store import FIELD
from herdbook.errors import Taken
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Filter, ListOf, Operation


async def list_fields(call: Call) -> Answer:
    """List the definitions of the workspace's fields."""
    return await call.answer_list(store.page)


async def create_field(call: Call, field: FieldCreate) -> Answer:
    """Define a field."""
    return await call.write(CreateField(field, call.has_precondition))


async def get_field(call: Call, field_id: UUID) -> Answer:
    """Read the definition of one field."""
    return await call.answer_object(FIELD, field_id)


async def update_field(call: Call, field_id: UUID, patch: FieldUpdate) -> Answer:
    """Change the definition of one field. Absent leaves a member unchanged; null clears it."""
    return await call.write(UpdateField(field_id, patch, call.if_version))


_TYPES: Final = [each.value for each in FieldObjectType]


def _object_type(text: str) -> str:
    if text not in _TYPES:
        raise ValueError(f"it is one of {', '.join(_TYPES)}")
    return text


_TAG: Final = "subpackage_fields"
_READ: Final = ("contacts:read",)
_WRITE: Final = (ADMIN,)

OPERATIONS: Final = (
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
        description="Changes the definition of a single field. An archived field keeps its values, which no object shows and "
        "no request sets until it is back. An option that is left out is archived.",
        tag=_TAG,
        scopes=_WRITE,
        handler=update_field,
        body=FieldUpdate,
        answer=Field,
        answer_description="Updated field response.",
    ),
)
