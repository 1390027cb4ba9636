"""The parts of the wire that objects of several kinds have."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Protocol, TypeAlias

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
    """The record of a CRM that an object stands for."""

    schema_name: ClassVar[str] = "crm_association"

    object_type: Annotated[str, Meta(description="CRM object type.")]
    crm_object_id: Annotated[str, Meta(description="The record ID in the source CRM system.")]
    source: Annotated[str, Meta(description="CRM source system.")]


class CrmRequest(Protocol):
    """What asks for a link to a record of a CRM; which object types will do is its own to say."""

    @property
    def object_type(self) -> Any: ...
    @property
    def crm_object_id(self) -> str: ...
    @property
    def source(self) -> str: ...


def crm_link(asked: CrmRequest | None) -> CrmAssociation | UnsetType:
    """Return the link that is asked for, if any."""
    return UNSET if asked is None else CrmAssociation(asked.object_type, asked.crm_object_id, asked.source)


class Deleted(msgspec.Struct, frozen=True):
    """What is left to say of an object that was deleted."""

    schema_name: ClassVar[str] = "deleted"

    id: str
    object: str
    deleted: bool = True
