"""The contents of exports: pages of objects, read one after the other, and encoded as they come."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from msgspec import UNSET

from herdbook.db.paging import PageQuery
from herdbook.errors import FieldError, Invalid
from herdbook.exports import changes, engagements, records
from herdbook.exports.files import Source, encoded
from herdbook.exports.model import ExportType, ObjectExportRequest
from herdbook.formats.model import MAX_COLUMNS

_NO_CARDS: Final[dict[ExportType, str]] = {
    "company": "a company is no person",
    "engagement": "a call or a meeting is no person",
    "change": "a change is no person",
}


async def export(source: Source, asked: ObjectExportRequest, chosen: PageQuery | None = None) -> AsyncGenerator[bytes]:
    """Return the parts of the file, the first of which is ready. Refusals: Invalid, NoLongerKept.

    `chosen` are the filters of engagements, where they come beside the request.
    """
    _require_sound(asked)
    match asked.object_type:
        case "engagement":
            exporting = engagements.exporting(source, asked, chosen)
        case "change":
            exporting = await changes.exporting(source, asked)
        case _:
            exporting = await records.exporting(source, asked)
    # An import reads no more, and a sheet of a workbook has room for few more.
    if asked.format in ("csv", "xlsx") and (many := len(exporting.header)) > MAX_COLUMNS:
        message = f"The table would have {many:,} columns, and `{asked.format}` has at most {MAX_COLUMNS:,}. Send `ndjson`."
        raise Invalid([FieldError("format", "invalid_choice", message)])
    # A refusal must come before the first byte.
    # A tuple as the default of `anext` is no result to Python 3.11 but an error.
    first: Sequence[Any] = await anext(exporting.pages, None) or ()
    if asked.format in ("vcard-4.0", "vcard-3.0"):
        return records.cards_of(source, first, exporting.pages, asked.format.removeprefix("vcard-"))
    return encoded(exporting, asked.format, first)


def _require_sound(asked: ObjectExportRequest) -> None:
    """Refuse parts of a request that do not go together. Refusal: Invalid."""
    name = asked.object_type
    if name in _NO_CARDS and asked.format.startswith("vcard"):
        message = f"`format` is for contacts alone: {_NO_CARDS[name]}. Send `csv`, `xlsx` or `ndjson`."
        raise Invalid([FieldError("format", "invalid_choice", message)])
    if asked.object_ids and (asked.where is not None or asked.sort or asked.filter is not UNSET or asked.search):
        message = "`object_ids` goes without `where`, `sort`, `filter` and `search`. Send either."
        raise Invalid([FieldError("object_ids", "conflict", message)])
    is_record = name in ("contact", "company")
    errors: list[FieldError] = []
    for member, is_sent, is_known in (
        ("where", asked.where is not None, is_record),
        ("sort", bool(asked.sort), is_record),
        ("object_ids", bool(asked.object_ids), name != "change"),
        ("filter", asked.filter is not UNSET, name == "engagement"),
        ("search", bool(asked.search), name == "engagement"),
        ("after", bool(asked.after), name == "change"),
        ("types", asked.types is not UNSET, name == "change"),
    ):
        if is_sent and not is_known:
            message = f"`{member}` does not go with the `object_type` `{name}`. Leave it out."
            errors.append(FieldError(member, "conflict", message))
    if errors:
        raise Invalid(errors)
