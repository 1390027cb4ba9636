"""The workspace as clients see it."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from herdbook import fields, ids
from herdbook.errors import FieldError
from herdbook.phone_numbers import region_named, regions


def _region(value: str | None, path: str) -> Iterator[FieldError]:
    if value is not None and region_named(value) is None:
        message = f"`{path}` is no country with phone numbers. Send two letters (ISO 3166-1), such as `GB`, or null."
        yield FieldError(path, "invalid_choice", message)


_Region = Annotated[
    str,
    Meta(
        description="The country whose phone numbers need no country code, as two letters (ISO 3166-1).",
        extra_json_schema={"enum": sorted(regions())},
    ),
]


class WorkspaceUpdate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for changing the settings of the workspace."""

    schema_name: ClassVar[str] = "workspace_update_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"region": _region}
    example: ClassVar[dict[str, Any]] = {"region": "GB"}

    region: _Region | None


class Workspace(msgspec.Struct, frozen=True, kw_only=True):
    """The workspace of the caller, with its settings."""

    schema_name: ClassVar[str] = "workspace"
    example: ClassVar[dict[str, Any]] = {
        "object": "workspace",
        "id": "wrks_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
        "region": "GB",
    }

    object: Literal["workspace"]
    id: Annotated[str, fields.id_schema(ids.WORKSPACE)]
    region: _Region | None
