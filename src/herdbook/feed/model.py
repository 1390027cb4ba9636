"""The change feed in the API: its query parameters, and entries of the ledger as changes."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids
from herdbook.contacts.model import Contact
from herdbook.errors import FieldError, quoted
from herdbook.ledger.changes import Action
from herdbook.object_types import OBJECT_TYPES
from herdbook.shared_schemas import Time

NOW: Final = "now"
KINDS: Final = tuple(object_type.name for object_type in OBJECT_TYPES)


def position_of(text: str) -> int | None:
    """Return a text as a position, or None if it is not one."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def _position(value: str, path: str) -> Iterator[FieldError]:
    if value != NOW and position_of(value) is None:
        message = f"`{path}` is neither a position nor `{NOW}`. Send `position` of the last answer."
        yield FieldError(path, "invalid_format", message)


def kinds(values: Sequence[str | None], path: str) -> Iterator[FieldError]:
    """Refuse names that are of no object type."""
    for value in values:
        if value is not None and value not in KINDS:
            choices = ", ".join(f"`{kind}`" for kind in KINDS)
            yield FieldError(path, "invalid_choice", f"`{path}` cannot be `{quoted(value)}`. Choose from {choices}.")


class ChangesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Query parameters of the change feed."""

    schema_name: ClassVar[str] = "changes_query"
    rules: ClassVar[dict[str, fields.Rule]] = {"after": _position, "types": kinds}

    after: Annotated[
        str,
        Meta(
            description="Only changes after this position: `position` of the last answer, 0 for all that are kept, `now` for "
            "new ones only.",
            extra_json_schema={"pattern": f"^({NOW}|[0-9]{{1,18}})$"},
        ),
    ] = "0"
    types: (
        Annotated[
            tuple[Annotated[str, Meta(extra_json_schema={"enum": list(KINDS)})], ...],
            Meta(min_length=1, description="Only changes of these object types; by default all that the credential may read."),
        ]
        | UnsetType
    ) = UNSET
    limit: Annotated[int, Meta(ge=1, le=1000, description="Maximum number of changes in an answer; 100 by default.")] = 100
    wait: Annotated[int, Meta(ge=0, le=30, description="Seconds to wait for a change if there is none yet; 0 by default.")] = 0


class ChangeData(msgspec.Struct, frozen=True, kw_only=True):
    """The object after a change, or before its deletion; for an update, also the former values of changed fields."""

    schema_name: ClassVar[str] = "change_data"

    object: dict[str, Any]
    previous_attributes: dict[str, Any] | UnsetType = UNSET


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change of an object: an entry of the workspace's ledger."""

    schema_name: ClassVar[str] = "change"

    object: Literal["change"]
    position: Annotated[int, Meta(description="Consecutive in the workspace, by commit; also the object's version.")]
    type: Annotated[
        str, Meta(extra_json_schema={"pattern": f"^[a-z_]+[.]({'|'.join(action.name.lower() for action in Action)})$"})
    ]
    at: Time
    object_id: Annotated[str, Meta(description="The object's id; for a transcript, the id of its engagement.")]
    request_id: Annotated[str, Meta(extra_json_schema={"pattern": f"^{ids.REQUEST}[0-9A-Z]+$"})]
    credential_id: Annotated[str, Meta(description="An API key or an OAuth client.")] | None
    data: ChangeData
    merged_into: Annotated[str, Meta(description="The object that this one was merged into.")] | UnsetType = UNSET


class ChangeList(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the feed."""

    schema_name: ClassVar[str] = "change_list"
    example: ClassVar[dict[str, Any]] = {
        "object": "list",
        "data": [
            {
                "object": "change",
                "position": 1842,
                "type": "contact.updated",
                "at": "2026-03-01T12:00:00.000000Z",
                "object_id": Contact.example["id"],
                "request_id": ids.example(ids.REQUEST),
                "credential_id": ids.example(ids.CREDENTIAL),
                "data": {
                    "object": Contact.example,
                    "previous_attributes": {"first_name": "Augusta"},
                },
            }
        ],
        "has_more": False,
        "position": 1842,
        "head": 1842,
    }

    object: Literal["list"]
    data: tuple[Change, ...]
    has_more: Annotated[bool, Meta(description="Whether there may be more changes after `position`.")]
    position: Annotated[int, Meta(description="The `after` to send next time.")]
    head: Annotated[int, Meta(description="The position of the workspace's last change.")]
