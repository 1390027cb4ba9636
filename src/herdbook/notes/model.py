"""The note as clients see it, and the rules that need nothing but the note itself."""

from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids
from herdbook.errors import FieldError
from herdbook.shared_schemas import Time

# In bytes of UTF-8.
MAX_TEXT: Final = 64 * 1024
_Text: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_TEXT,
        description="Markdown, at most 64 KiB in UTF-8. It is kept as it was sent.",
        extra_json_schema=fields.TEXT_SCHEMA,
    ),
]
_IsPinned: TypeAlias = Annotated[bool, Meta(description="Whether the note stays on top, for programs that show it there.")]


def _text(value: str | None, path: str) -> Iterator[FieldError]:
    yield from fields.text(value, path)
    if value is not None and (size := len(value.encode())) > MAX_TEXT:
        yield FieldError(path, "too_long", f"`{path}` has {size} bytes. {MAX_TEXT} is the limit. Split it into several notes.")


_RULES: Final[dict[str, fields.Rule]] = {"text": _text}
_EXAMPLE: Final = {"text": "Prefers to be called **before** nine.", "is_pinned": True}


class NoteCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for creating a note."""

    schema_name: ClassVar[str] = "note_create_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES
    example: ClassVar[dict[str, Any]] = _EXAMPLE

    text: _Text
    is_pinned: _IsPinned = False


class NoteUpdate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for updating a note."""

    schema_name: ClassVar[str] = "note_update_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES
    example: ClassVar[dict[str, Any]] = {"is_pinned": False}

    text: _Text | UnsetType = UNSET
    is_pinned: _IsPinned | UnsetType = UNSET


class NoteObject(Enum):
    """Resource discriminator for note payloads."""

    NOTE = "note"


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A note on a contact or a company: it has either `contact_id` or `company_id`."""

    schema_name: ClassVar[str] = "note"
    example: ClassVar[dict[str, Any]] = {
        "object": "note",
        "id": ids.example(ids.NOTE),
        "contact_id": ids.example(ids.CONTACT),
        "created_by": ids.example(ids.USER),
        "created_at": "2026-03-01T12:00:00.000000Z",
        "updated_at": "2026-03-01T12:00:00.000000Z",
    } | _EXAMPLE

    object: NoteObject
    id: Annotated[str, fields.id_schema(ids.NOTE)]
    contact_id: Annotated[str, fields.id_schema(ids.CONTACT)] | UnsetType = UNSET
    company_id: Annotated[str, fields.id_schema(ids.COMPANY)] | UnsetType = UNSET
    text: str
    is_pinned: bool
    created_by: Annotated[str, fields.id_schema(ids.USER, "The author: the user for whom the credential acts.")] | UnsetType = (
        UNSET
    )
    created_at: Time
    updated_at: Time


class ShownNote(Note, frozen=True, kw_only=True):
    """A note, with the HTML of its text if `expand` asks for it."""

    schema_name: ClassVar[str] = "shown_note"

    html: (
        Annotated[str, Meta(description="The text as HTML without scripts, styles and images, which a page may show.")]
        | UnsetType
    ) = UNSET
