"""The tag as clients see it, and the rules that need nothing but the tag itself."""

import unicodedata
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids
from herdbook.errors import FieldError
from herdbook.letter_case import without_case
from herdbook.shared_schemas import Time

_COLOR_PATTERN: Final = "^#[A-Fa-f0-9]{6}$"
_Color: TypeAlias = Annotated[str, Meta(extra_json_schema={"pattern": _COLOR_PATTERN})]
_RULES: Final[dict[str, fields.Rule]] = {
    "name": fields.text,
    "description": fields.text,
    "hex_color": fields.matching(_COLOR_PATTERN, "a colour such as `#1F6FEB`"),
}
_EXAMPLE: Final = {"name": "Renewal", "description": "The contract ends this year.", "hex_color": "#1F6FEB"}


class TagCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for creating a tag."""

    schema_name: ClassVar[str] = "tag_create_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES
    example: ClassVar[dict[str, Any]] = _EXAMPLE

    name: fields.Name
    description: fields.Description | UnsetType = UNSET
    hex_color: _Color | UnsetType = UNSET
    auto_tagging_enabled: bool | UnsetType = UNSET


class TagUpdate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for updating a tag."""

    schema_name: ClassVar[str] = "tag_update_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES
    example: ClassVar[dict[str, Any]] = {"hex_color": None, "auto_tagging_enabled": True}

    name: fields.Name | UnsetType = UNSET
    description: fields.Description | None | UnsetType = UNSET
    hex_color: _Color | None | UnsetType = UNSET
    auto_tagging_enabled: bool | UnsetType = UNSET


class TagObject(Enum):
    """Resource discriminator for tag payloads."""

    TAG = "tag"


class Tag(msgspec.Struct, frozen=True, kw_only=True):
    """Public representation of a workspace tag."""

    schema_name: ClassVar[str] = "tag"
    read_scopes: ClassVar[tuple[str, ...]] = ("tags:read",)
    example: ClassVar[dict[str, Any]] = {
        "object": "tag",
        "id": ids.example(ids.TAG),
        "created_at": "2026-03-01T12:00:00.000000Z",
        "updated_at": "2026-03-01T12:00:00.000000Z",
        "auto_tagging_enabled": False,
    } | _EXAMPLE

    object: TagObject
    id: Annotated[str, fields.id_schema(ids.TAG)]
    name: str
    created_at: Time
    updated_at: Time
    hex_color: _Color | None = None
    description: str | None = None
    auto_tagging_enabled: Annotated[
        bool,
        Meta(description="Whether the vendor's automations may set the tag. herdbook stores this, but tags nothing itself."),
    ] = False


# The tags of an object, which are shown while they exist.
TagIds: TypeAlias = Annotated[
    tuple[Annotated[str, fields.id_schema(ids.TAG)], ...],
    Meta(max_length=fields.MAX_ITEMS, description="The tags of the object, each once."),
]


def tag_ids(values: Sequence[str | None] | None, path: str) -> Iterator[FieldError]:
    """Refuse texts that do not look like ids of tags; whether the tags exist is checked later."""
    for index, value in enumerate(values or ()):
        yield from _id_of_tag(value, f"{path}[{index}]")


_id_of_tag: Final = fields.id_of(ids.TAG, "tag")


def comparable_name(name: str) -> str:
    """Return the form in which a tag's name is compared: without case, width, and surrounding white space.

    Only case and differences that the normal form NFKC removes are ignored, so `Straße` and `Strasse` are two names.
    """
    return without_case(unicodedata.normalize("NFKC", name)).strip()
