"""The pages of histories, of the workspace's activity, of an undo, and of deleted objects."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Final, NamedTuple

import msgspec

from herdbook.companies.store import COMPANY
from herdbook.console.page import BASE, MenuItem, Page, PageAnswer, Shown
from herdbook.console.visit import Listed, Refused, Visit, own_path
from herdbook.contacts.store import CONTACT
from herdbook.custom_fields.pages import moment_of
from herdbook.custom_fields.telling import Named, ToldEntry, author_of, name_of, names_of, told
from herdbook.engagements.store import ENGAGEMENT
from herdbook.history.model import Undo
from herdbook.http.problems import Problem
from herdbook.ledger.object_types import ObjectType
from herdbook.notes.store import NOTE
from herdbook.object_types import OBJECT_TYPES
from herdbook.tags.store import TAG

LIMIT: Final = 50
# The types whose objects have pages with a history.
SHOWN_TYPES: Final = (CONTACT, COMPANY, TAG, ENGAGEMENT)
# The types in the bin. Those without a form to restore them come back by an undo.
_BINNED: Final = {each.plural: each for each in (CONTACT, COMPANY, TAG, NOTE, ENGAGEMENT)}
_MAX_EXCERPT: Final = 120


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
        "has_moments": object_type in (CONTACT, COMPANY),
        "moment_of": moment_of,
        "may_write": all(map(visit.session.may, object_type.write_scopes)),
        "next": visit.here(cursor=found.value.next_cursor),
    }
    return Shown(context)


class RequestGroup(NamedTuple):
    """The changes of one request on a page of the activity."""

    request_id: str
    author: str
    key: str
    by: Mapping[str, Any]
    at: str
    entries: Sequence[ToldEntry]

    @property
    def summary(self) -> str:
        """The number of objects that the request created, changed and so on."""
        counted: dict[tuple[str, str], set[str]] = {}
        for each in self.entries:
            entry = each.entry
            counted.setdefault((entry["action"], entry["object_type"]), set()).add(entry["object_id"])
        return ", ".join(f"{_VERBS[action]} {_many(len(found), name)}" for (action, name), found in counted.items())


_VERBS: Final = {"created": "created", "updated": "changed", "deleted": "deleted", "restored": "restored", "erased": "erased"}


def _many(count: int, name: str) -> str:
    object_type = OBJECT_TYPES.named(name)
    noun = object_type.noun if count == 1 else object_type.plural.replace("_", " ")
    return f"{count} {noun}" if count > 1 else f"a{'n' if noun[0] in 'aeiou' else ''} {noun}"


async def show_activity(visit: Visit) -> PageAnswer:
    """Show the changes of the workspace, the latest first, those of a request together."""
    query = {"limit": str(LIMIT)} | {
        name: value for name in ("types", "user_id", "credential_id", "cursor") if (value := visit.query.get(name, ""))
    }
    page, problem = Listed[dict[str, Any]]((), has_more=False, next_cursor=None), None
    try:
        page = (await visit.call("list-activity", Listed[dict[str, Any]], query=query)).value
    except Refused as refused:
        if refused.problem.status != 400:
            raise
        problem = refused.problem
    known: list[dict[str, Any]] = [{**each, "changes": each["changes"] or {}} for each in page.data]
    entries = await told(visit, known, lambda entry: entry["object_type"])
    groups = [
        RequestGroup(request_id, some[0].author, some[0].key, some[0].entry["by"], some[0].entry["at"], some)
        for request_id, found in groupby(entries, lambda each: each.entry["request_id"])
        if (some := list(found))
    ]
    users = (await visit.call("list-users", Listed[Named], query={"limit": "100"})).value.data
    context: dict[str, Any] = {
        "groups": groups,
        "problem": problem,
        "next": visit.here(cursor=page.next_cursor),
        "has_more": page.has_more,
        "is_first": not visit.query.get("cursor"),
        "users": {each.id: name_of(each) for each in users},
        "types": {each.name: each.noun.capitalize() for each in OBJECT_TYPES if all(map(visit.session.may, each.read_scopes))},
        "path_of": path_of,
        "may_undo": visit.session.may("contacts:write"),
    }
    return Shown(context, 200 if problem is None else problem.status)


def path_of(object_type: str, object_id: str) -> str | None:
    """Return the path of an object's page, if it has one."""
    folder = _FOLDERS.get(object_type)
    return None if folder is None else f"{BASE}/{folder}/{object_id}"


_FOLDERS: Final = {
    "contact": "contacts",
    "company": "companies",
    "tag": "tags",
    "user": "users",
    "engagement": "engagements",
    "transcript": "engagements",
    "webhook_endpoint": "webhooks",
}


async def show_undo(visit: Visit) -> PageAnswer:
    """Show what the undo of a request would take back, and what it would keep, and why."""
    request_id, back = visit.query.get("request_id", ""), own_path(visit.query.get("back", BASE))
    body = {"request_id": request_id}
    undo = (await visit.call("undo-request", Undo, query={"dry_run": "true"}, body=body)).value
    return await _shown_undo(visit, undo, back)


async def undo_request(visit: Visit) -> PageAnswer:
    """Undo a request, and say what stays as it is, and why."""
    request_id, back = visit.field("request_id"), own_path(visit.field("back"))
    undo = (await visit.call("undo-request", Undo, body={"request_id": request_id})).value
    if not undo.kept:
        return visit.redirect(back, "Undone.", undoes=True)
    return await _shown_undo(visit, undo, back)


async def _shown_undo(visit: Visit, undo: Undo, back: str) -> Shown:
    shown = [*undo.reverted[:LIMIT], *undo.kept[:LIMIT]]
    holders = [each.conflict.id for each in undo.kept if each.conflict]
    names = await names_of(visit, [*(each.id for each in shown if each.id), *holders])
    return Shown({"undo": undo, "back": back, "names": names, "path_of": path_of, "limit": LIMIT})


class BinRow(NamedTuple):
    """A deleted object in the bin: its id, its name, when and by whom it was deleted, and the request that deleted it."""

    id: str
    name: str
    version: int
    deleted_at: str
    author: str
    request_id: str | None


async def show_bin(visit: Visit, object_type: ObjectType[Any, Any] | None = None, problem: Problem | None = None) -> PageAnswer:
    """Show the deleted objects of a type, the latest deletion first."""
    object_type = object_type or _BINNED.get(visit.query.get("type", ""), CONTACT)
    cursor = visit.query.get("cursor") if problem is None else None
    query = {"limit": str(LIMIT)} | ({"cursor": cursor} if cursor else {})
    page = (await visit.call(f"list-deleted-{object_type.plural}", Listed[dict[str, Any]], query=query)).value
    names = await names_of(visit, [each["by"]["user_id"] for each in page.data if each["by"] and each["by"]["user_id"]])
    rows = [
        BinRow(
            each["id"],
            _called(each["data"]),
            each["version"],
            each["deleted_at"],
            "" if each["by"] is None else author_of(each["by"], names)[0],
            each["request_id"],
        )
        for each in page.data
    ]
    holder = [] if problem is None or not problem.conflict else [problem.conflict.id]
    context: dict[str, Any] = {
        "object_type": object_type,
        "types": [each for each in _BINNED.values() if all(map(visit.session.may, each.read_scopes))],
        "rows": rows,
        "problem": problem,
        "names": await names_of(visit, holder),
        "is_restorable": object_type is not ENGAGEMENT,
        "may_write": all(map(visit.session.may, object_type.write_scopes)),
        "next": visit.here(cursor=page.next_cursor),
        "has_more": page.has_more,
        "is_first": not cursor,
    }
    return Shown(context, 200 if problem is None else problem.status)


def _called(data: Mapping[str, Any]) -> str:
    text = data.get("title") or data.get("text") or ""
    return text[:_MAX_EXCERPT] if text else name_of(msgspec.convert(data, Named))


async def restore(object_type: ObjectType[Any, Any], visit: Visit, object_id: str) -> PageAnswer:
    """Restore a deleted object, or say in the bin what is in its way."""
    try:
        back = (await visit.call(f"restore-{object_type.name}", dict[str, Any], object_id)).value
    except Refused as refused:
        if refused.problem.status not in (404, 409, 410, 422) or not all(map(visit.session.may, object_type.read_scopes)):
            raise
        return await show_bin(visit, object_type, refused.problem)
    place = next(((name, back[f"{name}_id"]) for name in ("contact", "company") if back.get(f"{name}_id")), None)
    path = path_of(object_type.name, object_id) or (path_of(*place) if place else None) or f"{BASE}/bin"
    return visit.redirect(path, f"The {object_type.noun} was restored.", undoes=True)


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
    Page(
        method="GET",
        path="/activity",
        id="show-activity",
        scopes=("contacts:read",),
        handler=show_activity,
        template="history/activity.html",
        menu=MenuItem("Activity", "pulse"),
    ),
    Page(
        method="GET",
        path="/bin",
        id="show-bin",
        scopes=("contacts:read",),
        handler=show_bin,
        template="history/bin.html",
        menu=MenuItem("Bin", "bin"),
    ),
    *(
        Page(
            method="POST",
            path=f"/{object_type.plural}/{{{object_type.name}_id}}/restore",
            id=f"restore-{object_type.name}-by-form",
            scopes=object_type.write_scopes,
            handler=partial(restore, object_type),
            template="history/bin.html",
        )
        for object_type in _BINNED.values()
        if object_type is not ENGAGEMENT
    ),
    Page(method="GET", path="/undo", id="show-undo", scopes=(), handler=show_undo, template="history/undo.html"),
    Page(method="POST", path="/undo", id="undo", scopes=(), handler=undo_request, template="history/undo.html"),
)
