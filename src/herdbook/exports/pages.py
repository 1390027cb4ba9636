"""The downloads of lists: what a list of contacts, companies or engagements shows, some selected ones, and changes."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from herdbook.companies.pages import COMPANIES
from herdbook.console.page import BASE, Page, PageAnswer
from herdbook.console.visit import Listed, Visit
from herdbook.contacts.pages import CONTACTS
from herdbook.custom_fields.lists import Place, filterable, where_of
from herdbook.custom_fields.pages import RecordPages, members_of
from herdbook.custom_fields.selecting import all_of_list
from herdbook.errors import FieldError, Invalid
from herdbook.exports.model import MAX_IDS, SUFFIXES

_EMPTY: Final = "Nothing was exported: the list is empty."


async def export(kind: RecordPages, visit: Visit) -> PageAnswer:
    """Send a file of the records that a form names or, if it names none, of all that the list has.

    Refusals: Invalid, Refused.
    """
    asked: dict[str, Any] = {"object_type": kind.name, "format": visit.field("format") or "csv"}
    if "ids" in visit.form:
        asked["object_ids"] = visit.field("ids").split(",")
    else:
        asked |= await _of_list(kind, visit)
    # An export without any condition is one of all.
    if asked.get("object_ids") == []:
        return visit.redirect(Place(kind.path, _query(visit)).at(), _EMPTY)
    return await _download(visit, kind.plural, asked)


async def export_engagements(visit: Visit) -> PageAnswer:
    """Send a file of all engagements, or of those that a search finds. Refusal: Refused."""
    asked: dict[str, Any] = {"object_type": "engagement", "format": visit.field("format") or "csv"}
    if search := visit.field("search").strip():
        asked["search"] = search
        found = (await visit.call("list-engagements", Listed[Any], query={"limit": "1", "search": search})).value
        if not found.data:
            return visit.redirect(f"{BASE}/engagements?{urlencode({'search': search})}", _EMPTY)
    return await _download(visit, "engagements", asked)


async def export_changes(visit: Visit) -> PageAnswer:
    """Send a file of the changes that are kept: all, or those of one kind. Refusal: Refused."""
    asked: dict[str, Any] = {"object_type": "change", "format": visit.field("format") or "csv"}
    if kind := visit.field("types"):
        asked["types"] = [kind]
    return await _download(visit, "changes", asked)


async def _download(visit: Visit, plural: str, asked: Mapping[str, Any]) -> PageAnswer:
    suffix = next((suffix for known, suffix in SUFFIXES.items() if known == asked["format"]), asked["format"])
    return await visit.download("export-found-objects", body=asked, name=f"{plural}.{suffix}")


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


PAGES: Final = (
    *(
        Page(
            method="POST",
            path=f"/{kind.plural}/export",
            id=f"export-{kind.plural}",
            scopes=(f"{kind.plural}:read",),
            handler=partial(export, kind),
        )
        for kind in (CONTACTS, COMPANIES)
    ),
    Page(
        method="POST",
        path="/engagements/export",
        id="export-engagements",
        scopes=("engagements:read",),
        handler=export_engagements,
    ),
    Page(method="POST", path="/activity/export", id="export-changes", scopes=(), handler=export_changes),
)
