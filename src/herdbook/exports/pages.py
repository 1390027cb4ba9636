"""The downloads of the lists of contacts and companies: what a list shows, or some selected ones."""

from functools import partial
from typing import Any, Final

from starlette.datastructures import QueryParams

from herdbook.companies.pages import COMPANIES
from herdbook.console.page import Page, PageAnswer
from herdbook.console.visit import Visit
from herdbook.contacts.pages import CONTACTS
from herdbook.custom_fields.lists import Place, filterable, where_of
from herdbook.custom_fields.pages import RecordPages, members_of
from herdbook.custom_fields.selecting import all_of_list
from herdbook.errors import FieldError, Invalid
from herdbook.exports.model import MAX_IDS, SUFFIXES


async def export(kind: RecordPages, visit: Visit) -> PageAnswer:
    """Send a file of the records that a form names or, if it names none, of all that the list has.

    Refusals: Invalid, Refused.
    """
    file_format = visit.field("format") or "csv"
    asked: dict[str, Any] = {"object_type": kind.name, "format": file_format}
    if "ids" in visit.form:
        asked["object_ids"] = visit.field("ids").split(",")
    else:
        asked |= await _of_list(kind, visit)
    # An export without any condition is one of all.
    if asked.get("object_ids") == []:
        return visit.redirect(Place(kind.path, _query(visit)).at(), "Nothing was exported: the list is empty.")
    suffix = next((suffix for known, suffix in SUFFIXES.items() if known == file_format), file_format)
    return await visit.download("export-found-objects", body=asked, name=f"{kind.plural}.{suffix}")


def _query(visit: Visit) -> QueryParams:
    return QueryParams(visit.form.multi_items())


async def _of_list(kind: RecordPages, visit: Visit) -> dict[str, Any]:
    """Return what the export of a list asks for. Refusals: Invalid, Refused."""
    place, members = Place(kind.path, _query(visit)), await members_of(kind, visit)
    if place.search and not place.filters:
        # No condition finds the same as the search of a list.
        record_ids, has_more = await all_of_list(kind, visit, place, members)
        if has_more:
            message = f"The search finds more than {MAX_IDS:,}. Export with filters instead, or without the search."
            raise Invalid([FieldError("search", "too_long", message)])
        return {"object_ids": record_ids}
    field, _, direction = (place.all("sort") or [""])[0].partition(":")
    return {
        "where": where_of(kind, place, filterable(members)),
        "sort": [{"field": field, "direction": direction or "asc"}] if field else [],
    }


PAGES: Final = tuple(
    Page(
        method="POST",
        path=f"/{kind.plural}/export",
        id=f"export-{kind.plural}",
        scopes=(f"{kind.plural}:read",),
        handler=partial(export, kind),
    )
    for kind in (CONTACTS, COMPANIES)
)
