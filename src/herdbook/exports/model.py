"""The choices of an export: its objects, its format, its order."""

from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids
from herdbook.feed.model import KINDS, kinds
from herdbook.querying.model import CONDITION_EXAMPLE, MAX_SORT_KEYS, Sort

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
