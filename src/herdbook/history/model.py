"""Histories and undo as clients see them, and the changes that an entry of the ledger describes."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids
from herdbook.auth.keys import CLIENT_PREFIX
from herdbook.errors import FieldError, quoted
from herdbook.http.page import DEFAULT_LIMIT, MAX_PAGE_SIZE
from herdbook.http.problems import Holder
from herdbook.ledger.changes import Action
from herdbook.object_types import OBJECT_TYPES
from herdbook.shared_schemas import Time

Members: TypeAlias = dict[str, msgspec.Raw]

_RequestId: TypeAlias = Annotated[str, fields.id_schema(ids.REQUEST)]
_TYPES: Final = tuple(object_type.name for object_type in OBJECT_TYPES)
_EXAMPLE_REQUEST: Final = ids.example(ids.REQUEST)
_EXAMPLE_CONTACT: Final = ids.example(ids.CONTACT)


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of a history."""

    schema_name: ClassVar[str] = "history_query"
    rules: ClassVar[dict[str, fields.Rule]] = {"at": fields.time}

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE_SIZE, description="The maximum number of entries on a page.")] = DEFAULT_LIMIT
    cursor: (
        Annotated[str, Meta(description="The `next_cursor` of the previous page, unchanged; empty for the first.")] | UnsetType
    ) = UNSET
    at: (
        Annotated[
            str,
            Meta(
                description="A time. The response is the object as it was then, instead of a list.",
                extra_json_schema={"format": "date-time"},
            ),
        ]
        | UnsetType
    ) = UNSET


class HistoryCursor(msgspec.Struct, frozen=True):
    """The position in a history: the version with which the next page begins."""

    version: int


class HistoryAction(Enum):
    """The kind of a change of an object."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    RESTORED = "restored"
    ERASED = "erased"


class HistoryBy(msgspec.Struct, frozen=True, kw_only=True):
    """The credential and the user that made a change."""

    schema_name: ClassVar[str] = "history_by"

    credential_id: Annotated[str | None, Meta(description="Null for the command line, and for the server itself.")]
    credential_name: str | None
    user_id: Annotated[str | None, Meta(description="The user for whom the credential was created, if any.")]

    @classmethod
    def of(cls, credential_id: UUID, name: str | None, user_id: UUID | None, *, is_client: bool) -> Self:
        """Return what is known about a credential, with ids as clients see them."""
        prefix = CLIENT_PREFIX if is_client else ids.CREDENTIAL
        return cls(
            credential_id=None if credential_id == ids.NIL else ids.encoded(prefix, credential_id),
            credential_name=name,
            user_id=None if user_id is None else ids.encoded(ids.USER, user_id),
        )


class HistoryChange(msgspec.Struct, frozen=True, kw_only=True):
    """The old and the new value of a field; null if it was or is absent."""

    schema_name: ClassVar[str] = "history_change"

    before: Any = msgspec.field(name="from")
    after: Any = msgspec.field(name="to")


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change of an object."""

    schema_name: ClassVar[str] = "history_entry"
    example: ClassVar[dict[str, Any]] = {
        "object": "history_entry",
        "version": 1842,
        "action": "updated",
        "at": "2026-03-01T12:00:00.000000Z",
        "request_id": _EXAMPLE_REQUEST,
        "by": {
            "credential_id": ids.example(ids.CREDENTIAL),
            "credential_name": "Nightly sync",
            "user_id": ids.example(ids.USER),
        },
        "changes": {"first_name": {"from": "Ada", "to": "Augusta"}},
    }

    object: Literal["history_entry"]
    version: Annotated[int, Meta(description="The object's version after this change, as in its ETag.")]
    action: HistoryAction
    at: Time
    request_id: _RequestId
    by: HistoryBy
    changes: Annotated[
        dict[str, HistoryChange],
        Meta(description="Each changed field. For an object that was created, restored or deleted, each field that it had."),
    ]
    merged_into: Annotated[str, Meta(description="The object that this one was merged into, if it was merged.")] | UnsetType = (
        UNSET
    )
    undoes: (
        Annotated[str, fields.id_schema(ids.REQUEST, "The request that this change is an undo of, if it is one.")] | UnsetType
    ) = UNSET


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A page of an object's history, the latest change first."""

    schema_name: ClassVar[str] = "history"
    example: ClassVar[dict[str, Any]] = {
        "object": "list",
        "data": [HistoryEntry.example],
        "has_more": True,
        "next_cursor": "eyJ2ZXJzaW9uIjoxNzE3fQ.h1Zk2w",
        "complete": False,
    }

    object: Literal["list"]
    data: Annotated[tuple[HistoryEntry, ...], Meta(description="The changes of this page.")]
    has_more: Annotated[bool, Meta(description="Whether another page follows.")]
    next_cursor: Annotated[str | None, Meta(description="The `cursor` of the next page.")]
    complete: Annotated[
        bool,
        Meta(
            description="Whether the last change here is the first one ever made. If it is not and no page follows, "
            "earlier changes are no longer kept."
        ),
    ]


def _types(values: Sequence[str], path: str) -> Iterator[FieldError]:
    for value in values:
        if value not in _TYPES:
            choices = ", ".join(f"`{each}`" for each in _TYPES)
            yield FieldError(path, "invalid_choice", f"`{path}` cannot be `{quoted(value)}`. Choose from {choices}.")


def _credential(value: str, path: str) -> Iterator[FieldError]:
    if all(ids.decoded(prefix, value) is None for prefix in (ids.CREDENTIAL, CLIENT_PREFIX)):
        message = f"`{path}` is not the id of a key or a client. Send one as `by` of an entry has it."
        yield FieldError(path, "invalid_format", message)


class ActivityQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of a workspace's activity."""

    schema_name: ClassVar[str] = "activity_query"
    rules: ClassVar[dict[str, fields.Rule]] = {
        "types": _types,
        "user_id": fields.id_of(ids.USER, "user"),
        "credential_id": _credential,
    }

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE_SIZE, description="The maximum number of entries on a page.")] = DEFAULT_LIMIT
    cursor: Annotated[str, Meta(description="The `next_cursor` of the previous page, unchanged.")] | UnsetType = UNSET
    types: (
        Annotated[
            tuple[Annotated[str, Meta(extra_json_schema={"enum": list(_TYPES)})], ...],
            Meta(min_length=1, description="Only changes of these object types; by default all that the credential may read."),
        ]
        | UnsetType
    ) = UNSET
    user_id: Annotated[str, Meta(description="Only changes by this user, with any key.")] | UnsetType = UNSET
    credential_id: Annotated[str, Meta(description="Only changes by this API key or OAuth client.")] | UnsetType = UNSET


class ActivityEntry(HistoryEntry, frozen=True, kw_only=True):
    """One change in a workspace, with its object."""

    schema_name: ClassVar[str] = "activity_entry"
    example: ClassVar[dict[str, Any]] = HistoryEntry.example | {
        "object": "activity_entry",
        "object_type": "contact",
        "object_id": _EXAMPLE_CONTACT,
        "name": "Augusta Lovelace",
        "part_of": None,
    }

    object: Literal["activity_entry"]  # pyright: ignore[reportIncompatibleVariableOverride]
    object_type: Annotated[str, Meta(extra_json_schema={"enum": list(_TYPES)})]
    object_id: Annotated[str, Meta(description="The object's id; for a transcript, the id of its engagement.")]
    name: Annotated[str | None, Meta(description="The name or the title of the object after the change, if it had one.")]
    part_of: Annotated[
        str | None, Meta(description="The contact, company or engagement that a note, comment or transcript is part of.")
    ]
    changes: Annotated[  # pyright: ignore[reportIncompatibleVariableOverride]
        dict[str, HistoryChange] | None, Meta(description="Each changed field, or null for a very long object.")
    ]


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a workspace's activity, the latest change first. With filters, a page may be empty and others follow."""

    schema_name: ClassVar[str] = "activity"
    example: ClassVar[dict[str, Any]] = {
        "object": "list",
        "data": [ActivityEntry.example],
        "has_more": False,
        "next_cursor": None,
    }

    object: Literal["list"]
    data: Annotated[tuple[ActivityEntry, ...], Meta(description="The changes of this page.")]
    has_more: Annotated[bool, Meta(description="Whether another page follows.")]
    next_cursor: Annotated[str | None, Meta(description="The `cursor` of the next page.")]


class BinQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of a list of deleted objects."""

    schema_name: ClassVar[str] = "bin_query"
    rules: ClassVar[dict[str, fields.Rule]] = {}

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE_SIZE, description="The maximum number of objects on a page.")] = DEFAULT_LIMIT
    cursor: Annotated[str, Meta(description="The `next_cursor` of the previous page, unchanged.")] | UnsetType = UNSET


class BinItem(msgspec.Struct, frozen=True, kw_only=True):
    """A deleted object, as it was."""

    schema_name: ClassVar[str] = "bin_item"
    example: ClassVar[dict[str, Any]] = {
        "object": "bin_item",
        "object_type": "contact",
        "id": _EXAMPLE_CONTACT,
        "version": 1842,
        "deleted_at": "2026-03-01T12:00:00.000000Z",
        "request_id": _EXAMPLE_REQUEST,
        "by": HistoryEntry.example["by"],
        "data": {"object": "contact", "id": _EXAMPLE_CONTACT, "first_name": "Ada"},
    }

    object: Literal["bin_item"]
    object_type: str
    id: str
    version: Annotated[int, Meta(description="The version of the deletion, as restoring compares it with If-Match.")]
    deleted_at: Time
    request_id: Annotated[_RequestId | None, Meta(description="The request that deleted it. Null if that is no longer kept.")]
    by: HistoryBy | None
    data: Annotated[Any, Meta(description="The object as it was when it was deleted.")]


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """A page of deleted objects, the latest deletion first."""

    schema_name: ClassVar[str] = "bin"
    example: ClassVar[dict[str, Any]] = {
        "object": "list",
        "data": [BinItem.example],
        "has_more": False,
        "next_cursor": None,
    }

    object: Literal["list"]
    data: Annotated[tuple[BinItem, ...], Meta(description="The deleted objects of this page.")]
    has_more: Annotated[bool, Meta(description="Whether another page follows.")]
    next_cursor: Annotated[str | None, Meta(description="The `cursor` of the next page.")]


# These fields are never reported as changes.
_NEVER_TOLD: Final = frozenset({"object", "id", "created_at", "updated_at"})
_NULL: Final = msgspec.Raw(b"null")
_NONE: Final = msgspec.Raw(b"[]")
_members: Final = msgspec.json.Decoder(Members)


def changes_of(
    action: Action, object_: bytes, previous: bytes | None, told_of_details: Collection[str]
) -> dict[str, HistoryChange]:
    """Return the changes that an entry describes, field by field.

    An engagement's details are not shown, except the lists named in `told_of_details`.
    """
    after = _with_lists(_members.decode(object_), told_of_details)
    if previous is not None:
        before = _with_lists(_members.decode(previous), told_of_details)
        return _differences(before, {name: after.get(name, _NULL) for name in before})
    shown = {name: value for name, value in after.items() if name not in _NEVER_TOLD and value not in (_NULL, _NONE)}
    absent = dict.fromkeys(shown, _NULL)
    return _differences(shown, absent) if action is Action.DELETED else _differences(absent, shown)


def without_details(object_: bytes) -> bytes:
    """Return a recorded object as the API shows it: an engagement without its details, any other object unchanged."""
    members = _members.decode(object_)
    if members.pop("details", None) is None:
        return object_
    return msgspec.json.encode(members)


def _with_lists(members: Members, told: Collection[str]) -> Members:
    details = members.pop("details", None)
    if details is not None:
        kept = _members.decode(details)
        members |= {name: kept.get(name, _NONE) for name in told}
    return members


def _differences(before: Members, after: Members) -> dict[str, HistoryChange]:
    return {name: HistoryChange(before=old, after=after[name]) for name, old in before.items() if old != after[name]}


def state_before(object_: bytes, previous: bytes, entry: type[msgspec.Struct]) -> Any:
    """Return an object as it was before an update, from the object after it and the old values of the changed fields."""
    members = _members.decode(object_)
    # Null means that the field was absent, unless the field is required.
    needed = {field.encode_name for field in msgspec.structs.fields(entry) if field.required}
    for name, value in _members.decode(previous).items():
        if value == _NULL and name not in needed:
            members.pop(name, None)
        else:
            members[name] = value
    return msgspec.json.decode(msgspec.json.encode(members), type=entry)


def value_at(state: Any, path: str) -> Any:
    """Return the value at a path of an object, such as `emails[0].email` or `fields.code`, or None if it shows none there."""
    found: Any = msgspec.to_builtins(state)
    try:
        for step in re.findall(r"[^.\[\]]+", path):
            found = found[int(step) if step.isdecimal() else step]
    except LookupError:
        return None
    return found


class UndoRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for undoing a request."""

    schema_name: ClassVar[str] = "undo_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"request_id": fields.id_of(ids.REQUEST, "request")}
    example: ClassVar[dict[str, Any]] = {"request_id": _EXAMPLE_REQUEST}

    request_id: Annotated[
        _RequestId, Meta(description="The `X-Request-Id` of the request, also shown in histories and changes.")
    ]


class UndoQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of an undo."""

    schema_name: ClassVar[str] = "undo_query"
    rules: ClassVar[dict[str, fields.Rule]] = {}

    dry_run: Annotated[bool, Meta(description="Whether to return the expected result only, and change nothing.")] = False


class RevertedBy(Enum):
    """The change that an undo makes to an object."""

    UPDATED = "updated"
    DELETED = "deleted"
    RESTORED = "restored"


class Reverted(msgspec.Struct, frozen=True, kw_only=True):
    """An object that is back in its state before the request."""

    schema_name: ClassVar[str] = "undo_reverted"

    object: str
    id: str
    action: RevertedBy


class KeptReason(Enum):
    """Why an undo leaves an object unchanged."""

    CHANGED_SINCE = "changed_since"
    ALREADY_UNDONE = "already_undone"
    ERASED = "erased"
    CONFLICT = "conflict"
    CONTACT_NOT_FOUND = "contact_not_found"
    COMPANY_NOT_FOUND = "company_not_found"
    TAG_NOT_FOUND = "tag_not_found"
    ENGAGEMENT_NOT_FOUND = "engagement_not_found"
    TRANSCRIPT_NOT_FOUND = "transcript_not_found"
    IN_USE = "in_use"
    VALUES_IN_USE = "values_in_use"
    NOT_SUPPORTED = "not_supported"
    PRIVATE = "private"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An object that the undo leaves unchanged, and why."""

    schema_name: ClassVar[str] = "undo_kept"

    object: str
    id: Annotated[str, Meta(description="Absent if the credential may not see the object.")] | UnsetType = UNSET
    reason: KeptReason
    message: str
    field: Annotated[str, Meta(description="The field whose value another object has by now.")] | UnsetType = UNSET
    conflict: (
        Annotated[Holder, Meta(description="The object that now holds the value, if the credential may read it.")] | UnsetType
    ) = UNSET


class Undo(msgspec.Struct, frozen=True, kw_only=True):
    """The result of undoing a request or, for a dry run, the expected result."""

    schema_name: ClassVar[str] = "undo"
    example: ClassVar[dict[str, Any]] = {
        "object": "undo",
        "request_id": _EXAMPLE_REQUEST,
        "dry_run": False,
        "reverted": [{"object": "contact", "id": _EXAMPLE_CONTACT, "action": "updated"}],
        "kept": [],
    }

    object: Literal["undo"]
    request_id: _RequestId
    dry_run: bool
    reverted: tuple[Reverted, ...]
    kept: tuple[Kept, ...]


KEPT_MESSAGES: Final[Mapping[KeptReason, str]] = {
    KeptReason.CHANGED_SINCE: "It was changed since. Undo the later change first, or change the object by hand.",
    KeptReason.ALREADY_UNDONE: "An undo has taken it back before, and it has not changed since.",
    KeptReason.ERASED: "It was erased, or was deleted too long ago, and cannot come back.",
    KeptReason.CONTACT_NOT_FOUND: "A contact that it referred to is gone. Restore that contact first.",
    KeptReason.COMPANY_NOT_FOUND: "A company that it referred to is gone. Restore that company first.",
    KeptReason.TAG_NOT_FOUND: "A tag that it referred to is gone. Restore that tag first.",
    KeptReason.ENGAGEMENT_NOT_FOUND: "Its engagement is gone. Undo the request that removed it first.",
    KeptReason.TRANSCRIPT_NOT_FOUND: "Its transcript timeline is gone. Undo the request that removed it first.",
    KeptReason.IN_USE: "Other objects need it: contacts, engagements, comments, notes, or an object that was merged into it. "
    "Change or delete those first.",
    KeptReason.NOT_SUPPORTED: "Changes of this kind of object cannot be undone. Change it by hand.",
    KeptReason.PRIVATE: "It belongs to a private engagement. Undo it with the scope `engagements:private:write`.",
}
