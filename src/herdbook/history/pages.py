"""The pages of histories, and the form that undoes a request."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from herdbook.companies.store import COMPANY
from herdbook.console.page import Page, PageAnswer, Shown
from herdbook.console.visit import Listed, Visit, own_path
from herdbook.contacts.store import CONTACT
from herdbook.history.model import Undo
from herdbook.ledger.object_types import ObjectType
from herdbook.users.model import User

LIMIT: Final = 50
# The types whose objects have pages.
SHOWN_TYPES: Final = (CONTACT, COMPANY)


async def show_history(object_type: ObjectType[Any, Any], visit: Visit, object_id: str) -> PageAnswer:
    """Show the changes of an object, deleted or not."""
    cursor = visit.query.get("cursor")
    query = {"limit": str(LIMIT)} | ({"cursor": cursor} if cursor else {})
    found = await visit.call(f"get-{object_type.name}-history", Listed[dict[str, Any]], object_id, query=query)
    authors = [each["by"]["user_id"] for each in found.value.data if each["by"]["user_id"] is not None]
    context: Mapping[str, Any] = {
        "object_type": object_type,
        "object_id": object_id,
        "history": found.value,
        "authors": await visit.each("get-user-by-id", User, authors),
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
