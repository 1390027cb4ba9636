"""The pages of histories, of the workspace's activity, of an undo, and of deleted objects."""

import contextlib
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Final, NamedTuple

import msgspec

from herdbook import ids, sources
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import list_keys
from herdbook.companies.store import COMPANY
from herdbook.console.page import BASE, MenuItem, Page, PageAnswer, Shown, moment_of, path_of
from herdbook.console.store import CONSOLE
from herdbook.console.visit import UNDONE, Listed, MergedInto, Refused, Visit, own_path
from herdbook.contacts.store import CONTACT
from herdbook.custom_fields.naming import Named, name_of
from herdbook.custom_fields.pages import choices
from herdbook.custom_fields.store import FIELD
from herdbook.custom_fields.telling import author_of, deletion_of, names_of, told
from herdbook.engagements.store import ENGAGEMENT
from herdbook.errors import NotFound
from herdbook.history import store
from herdbook.history.deeds import can_be_undone, deeds, group_of
from herdbook.history.model import Kept, Reverted, Undo
from herdbook.history.telling import recorded
from herdbook.http.problems import Problem
from herdbook.ledger.object_types import ObjectType
from herdbook.notes.store import NOTE
from herdbook.object_types import OBJECT_TYPES
from herdbook.shared_schemas import shown_time
from herdbook.tags.store import TAG
from herdbook.users.store import USER
from herdbook.webhook_endpoints.store import WEBHOOK_ENDPOINT

LIMIT: Final = 50
# The types whose objects have pages with a history.
SHOWN_TYPES: Final = (CONTACT, COMPANY, TAG, FIELD, ENGAGEMENT)
# Those whose history is in the ledger, and no operation of the API.
_RECORDED_TYPES: Final = (USER, WEBHOOK_ENDPOINT)
# The types that are looked at as they were, member by member. Contacts, companies and tags have pages of their own for that.
_TOLD_TYPES: Final = (FIELD, ENGAGEMENT)
# Members that are the same at all times, or say when it was.
_OF_NO_MOMENT: Final = frozenset({"id", "object", "created_at", "updated_at"})
# The types in the bin. Those without a form to restore them come back by an undo.
_BINNED: Final = {each.plural: each for each in (CONTACT, COMPANY, TAG, NOTE, ENGAGEMENT)}
_MAX_EXCERPT: Final = 120
# Versions fit in a `bigint`.
_MAX_DIGITS: Final = 18
# The deleted objects whose names a page of an undo looks up, each by requests of its own, and their types.
_LAST_NAMES: Final = 20
_NAMED_TYPES: Final = frozenset(each.name for each in (CONTACT, COMPANY, TAG))


async def show_history(object_type: ObjectType[Any, Any], visit: Visit, object_id: str) -> PageAnswer:
    """Show the changes of an object, deleted or not."""
    cursor = visit.query.get("cursor")
    query = {"limit": str(LIMIT)} | ({"cursor": cursor} if cursor else {})
    found = await visit.call(f"get-{object_type.name}-history", Listed[dict[str, Any]], object_id, query=query)
    is_there = await _has_page(visit, object_type, object_id)
    bin_path = f"{BASE}/bin?type={object_type.plural}" if object_type.plural in _BINNED else f"{BASE}/{object_type.plural}"
    context: Mapping[str, Any] = {
        "object_type": object_type,
        "object_id": object_id,
        "history": await told(visit, found.value.data, lambda _: object_type.name),
        "has_more": found.value.has_more,
        "back": f"{BASE}/{object_type.plural}/{object_id}" if is_there else bin_path,
        "is_there": is_there,
        "leads_to": f"Deleted {object_type.plural}",
        "has_moments": True,
        "may_write": all(map(visit.session.may, object_type.write_scopes)),
        "next": visit.next_page(found.value.next_cursor),
    }
    return Shown(context)


async def show_moment(object_type: ObjectType[Any, Any], visit: Visit, object_id: str) -> PageAnswer:
    """Show an object as it was at a time, beside what is different now."""
    at = visit.query.get("at") or shown_time(sources.now())
    then = (await visit.call(f"get-{object_type.name}-history", dict[str, Any], object_id, query={"at": at})).value
    now: dict[str, Any] | None = None
    with contextlib.suppress(Refused):
        now = (await visit.call(f"get-{object_type.name}-by-id", dict[str, Any], object_id)).value
    before, after = await told(visit, [_all_of(then), _all_of(now or {})], lambda _: object_type.name)
    befores, afters = ({each.label: each.after for each in some.changes} for some in (before, after))
    context: dict[str, Any] = {
        "object_type": object_type,
        "path": path_of(object_type.name, object_id),
        "name": then.get("title") or then.get("label"),
        "at": at,
        "is_there": now is not None,
        "rows": [(label, befores.get(label), afters.get(label)) for label in befores | afters],
    }
    return Shown(context)


def _all_of(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an entry that would give an object without members all those of a state."""
    changes = {name: {"from": None, "to": value} for name, value in state.items() if name not in _OF_NO_MOMENT}
    return {"action": "updated", "by": {"user_id": None, "credential_name": None}, "changes": changes}


async def show_recorded_history(object_type: ObjectType[Any, Any], visit: Visit, object_id: str) -> PageAnswer:
    """Show the changes of an object of a type without an operation for them. Refusal: NotFound."""
    text, known_id = visit.query.get("cursor", ""), ids.decoded(object_type.prefix, object_id)
    version = int(text) if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS else None
    pool, caller = visit.services.database.pool, visit.session.caller
    found = None if known_id is None else await recorded(pool, caller, object_type, known_id, version, LIMIT + 1)
    if found is None:
        raise NotFound(object_type.noun, "Open the list again.")
    shown, following = found[:LIMIT], found[LIMIT:]
    path = path_of(object_type.name, object_id) or BASE
    is_there = found[0]["action"] != "deleted" or version is not None
    context: Mapping[str, Any] = {
        "object_type": object_type,
        "object_id": object_id,
        "history": await told(visit, shown, lambda _: object_type.name),
        "has_more": bool(following),
        "back": path if is_there else path.rpartition("/")[0],
        "is_there": is_there,
        "leads_to": "Webhooks" if object_type is WEBHOOK_ENDPOINT else "Team",
        "has_moments": False,
        "may_write": can_be_undone(object_type.name, visit.session.may),
        "next": visit.next_page(str(following[0]["version"]) if following else None),
    }
    return Shown(context)


async def _has_page(visit: Visit, object_type: ObjectType[Any, Any], object_id: str) -> bool:
    """Whether an object is there, or was merged into one that is."""
    try:
        await visit.call(f"get-{object_type.name}-by-id", dict[str, Any], object_id)
    except MergedInto:
        return True
    except Refused:
        return False
    return True


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
    found = await deeds(visit, await told(visit, known, lambda entry: entry["object_type"]))
    by_request = groupby(found, lambda each: each.told.entry["request_id"])
    groups = [group_of(request_id, [*some], visit.session.may) for request_id, some in by_request]
    imports = await _imports(visit, {each for group in groups for each in (group.request_id, group.undoes) if each})
    context: dict[str, Any] = {
        "groups": groups,
        "shown_requests": {each.request_id: each for each in groups},
        "imports": imports,
        "problem": problem,
        "next": visit.next_page(page.next_cursor),
        "has_more": page.has_more,
        "is_first": not visit.query.get("cursor"),
        "types": {each.name: each.noun.capitalize() for each in OBJECT_TYPES if each.may_be_read(visit.session.may)},
        "keys": await _keys(visit, page.data),
        **await _users(visit),
    }
    return Shown(context, 200 if problem is None else problem.status)


async def _users(visit: Visit) -> dict[str, Any]:
    """Return the users to choose from: the chosen one, and those that a search finds."""
    chosen = visit.query.get("user_id", "")
    names, offered = await names_of(visit, [chosen]), await choices(visit, "users")
    shown = {"chosen_user": chosen, "chosen_name": names.get(chosen, chosen)}
    return shown | {"find": offered["find"], "users": offered["choices"]}


class Imported(NamedTuple):
    """The import that a request was: the name of its file, and the path of its page, for those who may open it."""

    name: str
    path: str


async def _imports(visit: Visit, request_ids: Collection[str]) -> dict[str, Imported]:
    """Return the imports among some requests, by their ids."""
    by_id = {found: each for each in request_ids if (found := ids.decoded(ids.REQUEST, each)) is not None}
    if not by_id:
        return {}
    files = await store.imported_files(visit.services.database.pool, visit.session.stored.workspace_id, [*by_id])
    may_open = visit.session.may("contacts:write")
    return {
        by_id[request_id]: Imported(each.name, f"{BASE}/imports/{ids.encoded(ids.IMPORT, each.id)}" if may_open else "")
        for request_id, each in files.items()
    }


async def _keys(visit: Visit, entries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the names of the keys and programs to choose from: those of the entries and, for an administrator, all keys."""
    found = {each["by"]["credential_id"]: each["by"]["credential_name"] for each in entries if each["by"]["credential_name"]}
    if visit.session.may(ADMIN):
        keys = await list_keys(visit.services.database.pool, visit.session.stored.workspace_id)
        found |= {ids.encoded(ids.CREDENTIAL, each.id): each.name for each in keys}
    chosen = visit.query.get("credential_id", "")
    # The sessions of people are found by the people.
    shown = {key: name for key, name in found.items() if name != CONSOLE or key == chosen}
    return dict(sorted(shown.items(), key=lambda each: each[1].lower())) | ({} if chosen in ("", *shown) else {chosen: chosen})


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
        return visit.redirect(back, "Done again." if visit.field("again") else UNDONE, undoes=True)
    return await _shown_undo(visit, undo, back)


async def _shown_undo(visit: Visit, undo: Undo, back: str) -> Shown:
    shown = [*undo.reverted[:LIMIT], *undo.kept[:LIMIT]]
    holders = [each.conflict.id for each in undo.kept if each.conflict]
    wanted = [*(each.id for each in shown if each.id), *holders]
    names = await names_of(visit, wanted)
    gone = [each for each in shown if each.id and each.id not in names and each.object in _NAMED_TYPES]
    names |= await _last_names(visit, gone[:_LAST_NAMES])
    return Shown({"undo": undo, "back": back, "names": names, "limit": LIMIT})


async def _last_names(visit: Visit, gone: Sequence[Reverted | Kept]) -> dict[str, str]:
    """Return the names that deleted objects had last, by their ids."""
    found: dict[str, str] = {}
    for each in gone:
        object_id = each.id or ""
        if (deletion := await deletion_of(visit, each.object, object_id)) is None or not (at := moment_of(deletion)):
            continue
        with contextlib.suppress(Refused):
            then = await visit.call(f"get-{each.object}-history", dict[str, Any], object_id, query={"at": at})
            found[object_id] = _called(then.value)
    return found


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
        "types": [each for each in _BINNED.values() if each.may_be_read(visit.session.may)],
        "rows": rows,
        "problem": problem,
        "names": await names_of(visit, holder),
        "is_restorable": object_type is not ENGAGEMENT,
        "may_write": all(map(visit.session.may, object_type.write_scopes)),
        "next": visit.next_page(page.next_cursor),
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
        if refused.problem.status not in (404, 409, 410, 422) or not object_type.may_be_read(visit.session.may):
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
            scopes=object_type.reading_scopes,
            handler=partial(show_history, object_type),
            template="history/history.html",
        )
        for object_type in SHOWN_TYPES
    ),
    *(
        Page(
            method="GET",
            path=f"/{object_type.plural}/{{{object_type.name}_id}}/then",
            id=f"show-{object_type.name}-then",
            scopes=object_type.reading_scopes,
            handler=partial(show_moment, object_type),
            template="history/then.html",
        )
        for object_type in _TOLD_TYPES
    ),
    *(
        Page(
            method="GET",
            path=f"{(path_of(object_type.name, '') or '').removeprefix(BASE)}{{{object_type.name}_id}}/history",
            id=f"show-{object_type.name.replace('_', '-')}-history",
            scopes=object_type.read_scopes,
            handler=partial(show_recorded_history, object_type),
            template="history/history.html",
        )
        for object_type in _RECORDED_TYPES
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
