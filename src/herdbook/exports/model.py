"""The choices of an export: its objects, its format, its order."""

from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids
from herdbook.engagements.model import EngagementType, ProcessingStatus
from herdbook.feed.model import KINDS, kinds
from herdbook.http.operation import MAX_FILTER_VALUES
from herdbook.http.page import MAX_CRM_ASSOCIATIONS
from herdbook.querying.model import CONDITION_EXAMPLE, MAX_SORT_KEYS, Sort
from herdbook.shared_schemas import Time

MAX_IDS: Final = 1000
ExportFormat: TypeAlias = Literal["csv", "xlsx", "ndjson", "vcard-4.0", "vcard-3.0"]
_Format: TypeAlias = Annotated[
    ExportFormat,
    Meta(
        description="`csv` (RFC 4180, in UTF-8, without formulas), `xlsx` (Office Open XML), `ndjson` (a JSON document on each "
        "line), or, of contacts, `vcard-4.0` (RFC 6350) or `vcard-3.0` (RFC 2426)."
    ),
]
ExportType: TypeAlias = Literal["contact", "company", "engagement", "change"]
_ObjectType: TypeAlias = Annotated[ExportType, Meta(description="What is exported.")]
_After: TypeAlias = Annotated[
    int, Meta(ge=0, le=10**18 - 1, description="Of changes: only those after this position. By default all that are kept.")
]
_Types: TypeAlias = (
    Annotated[
        tuple[Annotated[str, Meta(extra_json_schema={"enum": list(KINDS)})], ...],
        Meta(
            min_length=1,
            description="Of changes: only those of these object types. By default all that the credential may read.",
        ),
    ]
    | UnsetType
)
PLURALS: Final[dict[ExportType, str]] = {
    "contact": "contacts",
    "company": "companies",
    "engagement": "engagements",
    "change": "changes",
}
MEDIA_TYPES: Final[dict[ExportFormat, bytes]] = {
    "csv": b"text/csv; charset=utf-8; header=present",
    "xlsx": b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "ndjson": b"application/x-ndjson",
    "vcard-4.0": b"text/vcard; charset=utf-8; version=4.0",
    "vcard-3.0": b"text/vcard; charset=utf-8; version=3.0",
}
SUFFIXES: Final[dict[ExportFormat, str]] = {
    "csv": "csv",
    "xlsx": "xlsx",
    "ndjson": "ndjson",
    "vcard-4.0": "vcf",
    "vcard-3.0": "vcf",
}


class ExportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of an export."""

    schema_name: ClassVar[str] = "object_export_query"
    rules: ClassVar[dict[str, fields.Rule]] = {"types": kinds}

    object_type: _ObjectType = "contact"
    format: _Format = "csv"
    view_id: Annotated[str, Meta(description="Only the contacts or companies that this saved view lists.")] = ""
    after: _After = 0
    types: _Types = UNSET


class ExportSort(Sort, frozen=True, forbid_unknown_fields=True):
    """A member to sort an export by."""

    schema_name: ClassVar[str] = "export_sort"


class TimeBounds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The times between which another one is."""

    schema_name: ClassVar[str] = "time_bounds"

    gt: Annotated[Time, Meta(description="After this time.")] | UnsetType = UNSET
    gte: Annotated[Time, Meta(description="At or after this time.")] | UnsetType = UNSET
    lt: Annotated[Time, Meta(description="Before this time.")] | UnsetType = UNSET
    lte: Annotated[Time, Meta(description="At or before this time.")] | UnsetType = UNSET


class LinkedCrmRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A CRM record that engagements are linked to."""

    schema_name: ClassVar[str] = "linked_crm_record"

    id: str
    object_type: Literal["company", "contact", "deal"]


class EngagementFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The filters of the list of engagements. An engagement must meet all; several values match any of them."""

    schema_name: ClassVar[str] = "engagement_filter"

    engagement_type: (
        Annotated[
            tuple[EngagementType, ...],
            Meta(min_length=1, max_length=MAX_FILTER_VALUES, description="Only engagements of these types."),
        ]
        | UnsetType
    ) = UNSET
    processing_status: (
        Annotated[
            tuple[ProcessingStatus, ...],
            Meta(min_length=1, max_length=MAX_FILTER_VALUES, description="Only engagements with these statuses."),
        ]
        | UnsetType
    ) = UNSET
    company_ids: (
        Annotated[
            tuple[str, ...],
            Meta(min_length=1, max_length=MAX_FILTER_VALUES, description="Only engagements that these companies are part of."),
        ]
        | UnsetType
    ) = UNSET
    contact_ids: (
        Annotated[
            tuple[str, ...],
            Meta(min_length=1, max_length=MAX_FILTER_VALUES, description="Only engagements that these contacts take part in."),
        ]
        | UnsetType
    ) = UNSET
    owner_ids: (
        Annotated[
            tuple[str, ...],
            Meta(min_length=1, max_length=MAX_FILTER_VALUES, description="Only engagements that these users own."),
        ]
        | UnsetType
    ) = UNSET
    updated_at: Annotated[TimeBounds, Meta(description="When they were changed last.")] | UnsetType = UNSET
    start_at: Annotated[TimeBounds, Meta(description="When they begin.")] | UnsetType = UNSET
    crm_associations: (
        Annotated[
            tuple[LinkedCrmRecord, ...],
            Meta(min_length=1, max_length=MAX_CRM_ASSOCIATIONS, description="Only engagements linked to these CRM records."),
        ]
        | UnsetType
    ) = UNSET


class ObjectExportRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for an export of what a query finds."""

    schema_name: ClassVar[str] = "object_export_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"types": kinds}
    example: ClassVar[dict[str, Any]] = {"object_type": "contact", "format": "vcard-4.0", "where": CONDITION_EXAMPLE}

    object_type: _ObjectType
    format: _Format
    where: Annotated[
        Any,
        Meta(
            description="The condition that the contacts or companies meet, as a query takes it; null: all of them.",
            extra_json_schema={"type": ["object", "null"]},
        ),
    ] = None
    sort: Annotated[
        tuple[ExportSort, ...],
        Meta(
            max_length=MAX_SORT_KEYS,
            description="Of contacts and companies. By default, the object that was created first is first.",
        ),
    ] = ()
    object_ids: Annotated[
        tuple[str, ...],
        Meta(
            max_length=MAX_IDS,
            description="The ids of the objects, instead of a condition. Those that do not exist are left out.",
            extra_json_schema={"examples": [[ids.example(ids.CONTACT)]]},
        ),
    ] = ()
    filter: Annotated[EngagementFilter, Meta(description="Of engagements: the filters of their list.")] | UnsetType = UNSET
    search: Annotated[str, Meta(description="Of engagements: words of their titles, as their list takes them.")] = ""
    after: _After = 0
    types: _Types = UNSET


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """A line of an export as NDJSON: an object with the names of what it refers to, or a change as in the feed."""

    schema_name: ClassVar[str] = "exported_object"
    example: ClassVar[dict[str, Any]] = {
        "object": "contact",
        "id": ids.example(ids.CONTACT),
        "first_name": "Ada",
        "company_name": "Analytical Engines",
        "tags": ["Pioneer"],
        "notes": ["Prefers letters."],
    }

    object: str
    id: Annotated[str, Meta(description="A change has none: it has a `position`.")] | UnsetType = UNSET
    company_name: str | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    notes: tuple[str, ...] | UnsetType = UNSET
