"""The transcript comment as clients see it, and the rules that need nothing but the comment itself."""

from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids
from herdbook.errors import FieldError
from herdbook.shared_schemas import Time

_Body: TypeAlias = Annotated[str, Meta(min_length=1, max_length=50_000, extra_json_schema=fields.TEXT_SCHEMA)]
_TimelineId: TypeAlias = Annotated[str, fields.id_schema(ids.TRANSCRIPT_TIMELINE)]
_UserId: TypeAlias = Annotated[str, fields.id_schema(ids.USER)]
_Seconds: TypeAlias = Annotated[float, Meta(ge=0)]


class TranscriptCommentStatus(Enum):
    """Whether a comment is open or resolved."""

    OPEN = "OPEN"
    RESOLVED = "RESOLVED"


class Anchor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The part of the timeline that a comment is about."""

    schema_name: ClassVar[str] = "transcript_comment_anchor"

    entry_index: (
        Annotated[int, Meta(ge=0, description="The position of the entry in the timeline, counted from 0.")] | UnsetType
    ) = UNSET
    start_seconds: _Seconds | UnsetType = UNSET
    end_seconds: _Seconds | UnsetType = UNSET
    quote: Annotated[str, Meta(min_length=1, max_length=2000)] | UnsetType = UNSET


def _anchor(value: Anchor | None, path: str) -> Iterator[FieldError]:
    if value is None:
        return
    if value.quote is not UNSET:
        yield from fields.text(value.quote, f"{path}.quote")
    if value.start_seconds is not UNSET and value.end_seconds is not UNSET and value.end_seconds < value.start_seconds:
        message = f"`{path}.end_seconds` is before `{path}.start_seconds`."
        yield FieldError(f"{path}.end_seconds", "invalid_range", message)


class TranscriptCommentCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for commenting on a transcript."""

    schema_name: ClassVar[str] = "transcript_comment_create_request"
    rules: ClassVar[dict[str, fields.Rule]] = {
        "body": fields.text,
        "transcript_timeline_id": fields.id_of(ids.TRANSCRIPT_TIMELINE, "transcript timeline"),
        "anchor": _anchor,
    }
    example: ClassVar[dict[str, Any]] = {"body": "Is that a promise?", "anchor": {"entry_index": 1}}

    body: _Body
    transcript_timeline_id: _TimelineId | UnsetType = UNSET
    anchor: Anchor | UnsetType = UNSET


class TranscriptCommentUpdate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for changing a transcript comment."""

    schema_name: ClassVar[str] = "transcript_comment_update_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"body": fields.text}
    example: ClassVar[dict[str, Any]] = {"status": "RESOLVED"}

    body: _Body | UnsetType = UNSET
    status: TranscriptCommentStatus | UnsetType = UNSET


class TranscriptCommentObject(Enum):
    """Resource discriminator for transcript comment payloads."""

    TRANSCRIPT_COMMENT = "transcript_comment"


class TranscriptComment(msgspec.Struct, frozen=True, kw_only=True):
    """Public representation of a comment on a transcript."""

    schema_name: ClassVar[str] = "transcript_comment"
    read_scopes: ClassVar[tuple[str, ...]] = ("engagements:read", "transcript_comments:read")
    example: ClassVar[dict[str, Any]] = {
        "object": "transcript_comment",
        "id": ids.example(ids.TRANSCRIPT_COMMENT),
        "engagement_id": ids.example(ids.ENGAGEMENT),
        "transcript_timeline_id": ids.example(ids.TRANSCRIPT_TIMELINE),
        "body": "Is that a promise?",
        "status": "OPEN",
        "created_at": "2026-03-01T12:00:00.000000Z",
        "updated_at": "2026-03-01T12:00:00.000000Z",
        "anchor": {"entry_index": 1},
        "created_by": ids.example(ids.USER),
        "resolved_by": None,
        "resolved_at": None,
    }

    object: TranscriptCommentObject
    id: Annotated[str, fields.id_schema(ids.TRANSCRIPT_COMMENT)]
    engagement_id: Annotated[str, fields.id_schema(ids.ENGAGEMENT)]
    transcript_timeline_id: _TimelineId
    body: str
    status: TranscriptCommentStatus
    created_at: Time
    updated_at: Time
    anchor: Anchor | UnsetType = UNSET
    created_by: Annotated[_UserId, Meta(description="The user for whom the credential acts.")] | UnsetType = UNSET
    resolved_by: _UserId | None = None
    resolved_at: Time | None = None


def patched(before: TranscriptComment, patch: TranscriptCommentUpdate, user_id: str | None, time: str) -> TranscriptComment:
    """Return the comment with the patch applied. A change of status sets or clears `resolved_by` and `resolved_at`."""
    changed: dict[str, Any] = {}
    if patch.body is not UNSET:
        changed["body"] = patch.body.strip()
    if patch.status is not UNSET and patch.status is not before.status:
        is_resolved = patch.status is TranscriptCommentStatus.RESOLVED
        changed |= {
            "status": patch.status,
            "resolved_by": user_id if is_resolved else None,
            "resolved_at": time if is_resolved else None,
        }
    return msgspec.structs.replace(before, **changed)
