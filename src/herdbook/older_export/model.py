"""The older export as clients see it. Its members are in camel case, unlike those of other operations."""

from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids
from herdbook.engagements.model import Engagement, EngagementType
from herdbook.shared_schemas import Time

MAX_EXPORTED: Final = 20
_EXAMPLE_ID: Final = Engagement.example["id"]


class ExportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of the export."""

    schema_name: ClassVar[str] = "export_query"
    rules: ClassVar[dict[str, fields.Rule]] = {}

    sort_direction: (
        Annotated[Literal["asc", "desc"], Meta(description="The order by start; `desc`, the latest first, by default.")]
        | UnsetType
    ) = msgspec.field(default=UNSET, name="sortDirection")
    cursor: Annotated[str, Meta(description="The `nextCursor` of the last page, unchanged; empty for the first page.")] = ""


class ExportRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for exporting some engagements."""

    schema_name: ClassVar[str] = "meetings_export_request"
    rules: ClassVar[dict[str, fields.Rule]] = {}
    example: ClassVar[dict[str, Any]] = {"engagementIds": [_EXAMPLE_ID]}

    engagement_ids: Annotated[tuple[str, ...], Meta(min_length=1, max_length=MAX_EXPORTED)] = msgspec.field(
        name="engagementIds"
    )


class ExportedEngagement(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An engagement as the export shows it."""

    schema_name: ClassVar[str] = "exported_engagement"

    engagement_id: Annotated[str, fields.id_schema(ids.ENGAGEMENT)]
    title: str
    description: str | None
    engagement_type: EngagementType
    is_private: bool
    transcript: Annotated[str | None, Meta(description="The transcript as plain text.")]
    start_at: Time | None
    end_at: Time | None
    duration_seconds: int | None
    external_url: str | None
    owner_user_id: str | None
    created_at: Time
    updated_at: Time
    temp_media_download_url: Annotated[
        str | None,
        Meta(description="An address that plays the recording for some minutes."),
    ]

    @classmethod
    def of(cls, shown: Engagement) -> "ExportedEngagement":
        """Return an engagement, expanded with its transcript and its recording, as the export shows it."""
        return cls(
            engagement_id=shown.id,
            title=shown.title,
            description=shown.description or None,
            engagement_type=shown.engagement_type,
            is_private=shown.is_private,
            transcript=shown.transcript or None,
            start_at=shown.start_at or None,
            end_at=shown.end_at or None,
            duration_seconds=None if shown.duration_seconds is UNSET else shown.duration_seconds,
            external_url=shown.external_url or None,
            owner_user_id=shown.owner_user_id or None,
            created_at=shown.created_at,
            updated_at=shown.updated_at,
            temp_media_download_url=shown.media_url or None,
        )


class Export(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of the export, or the engagements that were asked for."""

    schema_name: ClassVar[str] = "meetings_export"
    example: ClassVar[dict[str, Any]] = {
        "engagements": [
            {
                "engagementId": _EXAMPLE_ID,
                "title": "The engine's next step",
                "description": None,
                "engagementType": "CALL",
                "isPrivate": False,
                "transcript": "Ada Lovelace: Shall we begin?",
                "startAt": "2026-03-01T12:00:00.000000Z",
                "endAt": None,
                "durationSeconds": None,
                "externalUrl": None,
                "ownerUserId": None,
                "createdAt": "2026-03-01T12:00:00.000000Z",
                "updatedAt": "2026-03-01T12:00:00.000000Z",
                "tempMediaDownloadUrl": None,
            }
        ],
        "nextCursor": None,
        "notFoundEngagementIds": [],
    }

    engagements: tuple[ExportedEngagement, ...]
    next_cursor: Annotated[str | None, Meta(description="The `cursor` of the next page; null if there is none.")]
    not_found_engagement_ids: Annotated[
        tuple[str, ...], Meta(description="The ids that name no engagement which the caller may see.")
    ]
