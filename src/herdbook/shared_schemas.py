"""The parts of the API's JSON that several kinds of objects share."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

# A time in UTC with microseconds, such as `2026-03-01T12:00:00.000000Z` (RFC 3339).
Time: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


def shown_time(time: datetime) -> str:
    """Return a time in UTC as the API shows it."""
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


class ResourceRef(msgspec.Struct, frozen=True):
    """A reference to an object of another kind."""

    schema_name: ClassVar[str] = "resource_ref"

    id: str
    object: str


class CrmAssociation(msgspec.Struct, frozen=True):
    """The CRM record that an object represents."""

    schema_name: ClassVar[str] = "crm_association"

    object_type: Annotated[str, Meta(description="CRM object type.")]
    crm_object_id: Annotated[str, Meta(description="The record ID in the source CRM system.")]
    source: Annotated[str, Meta(description="CRM source system.")]


StructT = TypeVar("StructT", bound=msgspec.Struct)


def patched(before: StructT, patch: msgspec.Struct, others: Mapping[str, Any] | None = None) -> StructT:
    """Return an object with a patch applied (RFC 7396): absent leaves a field unchanged, null gives it its default.

    `others` are the new values of the fields that a patch does not simply replace.
    """
    changes, cleared = dict[str, Any](others or {}), defaults(type(before))
    for name, value in zip(patch.__struct_fields__, msgspec.structs.astuple(patch), strict=True):
        if value is not UNSET and name in cleared and name not in changes:
            changes[name] = cleared[name] if value is None else value
    return msgspec.structs.replace(before, **changes)


@cache
def defaults(struct: type[msgspec.Struct]) -> Mapping[str, Any]:
    """Return the default of each member of a struct."""
    return {field.name: field.default for field in msgspec.structs.fields(struct)}


class CrmRequest(Protocol):
    """A request for a link to a CRM record; each kind of object defines its own allowed object types."""

    @property
    def object_type(self) -> Any: ...
    @property
    def crm_object_id(self) -> str: ...
    @property
    def source(self) -> str: ...


def crm_link(asked: CrmRequest | None) -> CrmAssociation | UnsetType:
    """Return the requested link, if any."""
    return UNSET if asked is None else CrmAssociation(asked.object_type, asked.crm_object_id, asked.source)


class Deleted(msgspec.Struct, frozen=True):
    """The answer for a deleted object."""

    schema_name: ClassVar[str] = "deleted_object"

    id: str
    object: str
    deleted: bool = True
