"""The pages of histories, and the form that undoes a request."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from herdbook.companies.store import COMPANY
from herdbook.console.page import Page, PageAnswer, Shown
from herdbook.console.visit import Listed, Visit, own_path
from herdbook.contacts.store import CONTACT
from herdbook.custom_fields.pages import moment_of
from herdbook.custom_fields.telling import told
from herdbook.history.model import Undo
from herdbook.ledger.object_types import ObjectType

LIMIT: Final = 50
# The types whose objects have pages.
SHOWN_TYPES: Final = (CONTACT, COMPANY)


async def show_history(object_type: ObjectType[Any, Any], visit: Visit, object_id: str) -> PageAnswer:
    """Show the changes of an object, deleted or not."""
    cursor = visit.query.get("cursor")
    query = {"limit": str(LIMIT)} | ({"cursor": cursor} if cursor else {})
    found = await visit.call(f"get-{object_type.name}-history", Listed[dict[str, Any]], object_id, query=query)
    context: Mapping[str, Any] = {
        "object_type": object_type,
        "object_id": object_id,
        "history": await told(visit, found.value.data, lambda _: object_type.name),
        "has_more": found.value.has_more,
        "moment_of": moment_of,
        "may_write": all(map(visit.session.may, object_type.write_scopes)),
        "next": visit.here(cursor=found.value.next_cursor),
    }
    return Shown(context)


async def undo_request(visit: Visit) -> PageAnswer:
    """Undo a request, and say what stays as it is, and why."""
    request_id, back = visit.field("request_id"), own_path(visit.field("back"))
    undo = (await visit.call("undo-request", Undo, body={"request_id": request_id})).value
    if not undo.kept:
        return visit.redirect(back, "Undone.", undoes=True)
    return Shown({"undo": undo, "back": back})


PAGES: Final = (
    *(
        Page(
            method="GET",
            path=f"/{object_type.plural}/{{{object_type.name}_id}}/history",
            id=f"show-{object_type.name}-history",
            scopes=object_type.read_scopes,
            handler=partial(show_history, object_type),
            template="history/history.html",
        )
        for object_type in SHOWN_TYPES
    ),
    Page(method="POST", path="/undo", id="undo", scopes=(), handler=undo_request, template="history/undone.html"),
)
