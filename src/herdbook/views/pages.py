"""The forms that save views of lists, and the address of a view, which leads to its list."""

from typing import Any, Final

import msgspec
from starlette.datastructures import QueryParams

from herdbook.companies.pages import COMPANIES
from herdbook.console.conflicts import changed_meanwhile, state_of
from herdbook.console.page import Page, PageAnswer, Redirect, isolated
from herdbook.console.shown import shown_time
from herdbook.console.visit import Refused, Visit
from herdbook.contacts.pages import CONTACTS
from herdbook.custom_fields import filters
from herdbook.custom_fields.lists import Place, SavedView, address_of, filterable
from herdbook.custom_fields.pages import RecordPages, members_of
from herdbook.custom_fields.telling import names_of
from herdbook.errors import NotFound
from herdbook.shared_schemas import Deleted


class LastChange(msgspec.Struct):
    """The last change of a view: its author and its time."""

    updated_by: str | None
    updated_at: str


_KINDS: Final = {each.name: each for each in (CONTACTS, COMPANIES)}


def _kind(object_type: str) -> RecordPages:
    """Return the pages of a type of objects. Refusal: NotFound."""
    if object_type not in _KINDS:
        raise NotFound("list", "Open the list again, and save the view there.")
    return _KINDS[object_type]


async def open_view(visit: Visit, view_id: str) -> PageAnswer:
    """Lead to the list of a view, whose address has all of it."""
    view = (await visit.call("get-view-by-id", SavedView, view_id)).value
    kind = _kind(view.object_type)
    return Redirect(address_of(kind, view, filterable(await members_of(kind, visit))))


async def create_view(visit: Visit) -> PageAnswer:
    """Save the list that the form is of as a view."""
    kind = _kind(visit.field("object_type"))
    body = {
        "object_type": kind.name,
        "name": visit.field("name").strip(),
        "shared": bool(visit.field("shared")),
        **await _content(kind, visit),
    }
    view = (await visit.call("create-view", SavedView, body=body)).value
    address = address_of(kind, view, filterable(await members_of(kind, visit)))
    return visit.redirect(address, f"The view “{isolated(view.name)}” was saved.")


async def update_view(visit: Visit, view_id: str) -> PageAnswer:
    """Rename a view, share it or take it back, or give it what the list has now, unless somebody else has changed it."""
    view = await _unchanged(visit, view_id)
    kind = _kind(view.object_type)
    body: dict[str, Any] = (
        await _content(kind, visit)
        if visit.field("do") == "content"
        else {"name": visit.field("name").strip(), "shared": bool(visit.field("shared"))}
    )
    view = (await visit.call("update-view", SavedView, view_id, body=body)).value
    address = address_of(kind, view, filterable(await members_of(kind, visit)))
    return visit.redirect(address, f"The view “{isolated(view.name)}” was changed.")


async def delete_view(visit: Visit, view_id: str) -> PageAnswer:
    """Delete a view, unless somebody else has changed it, and stay on the list as it is."""
    view = await _unchanged(visit, view_id)
    await visit.call("delete-view", Deleted, view_id)
    place = _place(_kind(view.object_type), visit)
    return visit.redirect(place.at(view=None), f"The view “{isolated(view.name)}” was deleted.")


async def _unchanged(visit: Visit, view_id: str) -> SavedView:
    """Return a view as the form has seen it. Refusal: Refused, if it is another one now."""
    view = (await visit.call("get-view-by-id", SavedView, view_id)).value
    if visit.field("seen") != state_of(view):
        last = (await visit.call("get-view-by-id", LastChange, view_id)).value
        author = (await names_of(visit, [last.updated_by])).get(last.updated_by) if last.updated_by else None
        detail = (
            f"{isolated(author or 'Somebody')} has changed the view “{isolated(view.name)}” since you opened it, "
            f"{shown_time(last.updated_at).striptags()}, so nothing was saved or deleted. Choose it again to see it as it is "
            "now, or save your list as another view."
        )
        raise Refused(changed_meanwhile(visit, detail))
    return view


def _place(kind: RecordPages, visit: Visit) -> Place:
    """Return the list that a form is of."""
    return Place(kind.path, QueryParams(visit.form.multi_items()))


async def _content(kind: RecordPages, visit: Visit) -> dict[str, Any]:
    """Return what the list of a form has, and how it is shown, as the API takes it."""
    place = _place(kind, visit)
    conditions = filters.condition(place.filters, filterable(await members_of(kind, visit)))
    field, _, direction = place.sort.partition(":")
    return {
        "where": {"and": conditions} if conditions else None,
        "search": place.search or None,
        "sort": [{"field": field, "direction": direction or "asc"}] if place.all("sort") else [],
        "columns": place.columns,
    }


_ONE: Final = "/views/{view_id}"

PAGES: Final = (
    Page(method="POST", path="/views", id="create-view-by-form", scopes=(), handler=create_view),
    Page(method="GET", path=_ONE, id="open-view", scopes=(), handler=open_view),
    Page(method="POST", path=_ONE, id="update-view-by-form", scopes=(), handler=update_view),
    Page(method="POST", path=_ONE + "/delete", id="delete-view-by-form", scopes=(), handler=delete_view),
)
