"""The pages of tags: the list, a tag with those who have it, and the forms that change one."""

from typing import Any, Final

from herdbook import sources
from herdbook.console.conflicts import theirs
from herdbook.console.page import BASE, MenuItem, Page, PageAnswer, Shown
from herdbook.console.visit import Done, Listed, Refused, Visit
from herdbook.custom_fields.naming import Named, name_of
from herdbook.custom_fields.pages import FoundTags, ShownTag
from herdbook.custom_fields.telling import changed_since, instead
from herdbook.http.problems import Problem
from herdbook.shared_schemas import Deleted, shown_time
from herdbook.tags import store
from herdbook.tags.model import Tag
from herdbook.tags.store import TAG

_LIMIT: Final = 100
_MAX_HOLDERS: Final = 20
_TAGS: Final = f"{BASE}/tags"
# Colours to choose from, which are told apart in both themes.
_SWATCHES: Final = {
    "#1F6FEB": "Blue",
    "#0E8A8A": "Teal",
    "#2E8B3D": "Green",
    "#B58900": "Yellow",
    "#D9730D": "Orange",
    "#D1242F": "Red",
    "#C2418F": "Pink",
    "#7A4FD0": "Violet",
    "#6B7280": "Grey",
}


async def show_tags(visit: Visit, problem: Problem | None = None) -> PageAnswer:
    """Show the tags of the workspace, and the form of a new one."""
    cursor = visit.query.get("cursor")
    query = {"limit": str(_LIMIT)} | ({"cursor": cursor} if cursor else {})
    listed = (await visit.call("list-tags", Listed[Tag], query=query)).value
    context: dict[str, Any] = {
        "tags": listed.data,
        "next": visit.next_page(listed.next_cursor),
        "has_more": listed.has_more,
        "is_first": not cursor,
        "problem": problem,
        "sent": visit.field,
        "swatches": _SWATCHES,
        "may_write": visit.session.may("tags:write"),
    }
    return Shown(context, 200 if problem is None else problem.status)


async def create_tag(visit: Visit) -> PageAnswer:
    """Create a tag."""
    try:
        tag = (await visit.call("create-tag", Tag, body=_sent(visit))).value
    except Refused as refused:
        if refused.problem.status not in (409, 422):
            raise
        return await show_tags(visit, refused.problem)
    return visit.redirect(f"{_TAGS}/{tag.id}", "Created.", undoes=True)


def _texts(visit: Visit) -> dict[str, str]:
    """Return the members of a form. The colour is a chosen one, or that which is typed."""
    texts = {name: visit.field(name).strip().replace("\r\n", "\n") for name in ("name", "description", "hex_color")}
    return texts | ({"hex_color": chosen} if (chosen := visit.field("swatch")) else {})


def _sent(visit: Visit) -> dict[str, Any]:
    """Return the members of a form that are not empty."""
    texts = _texts(visit)
    return {name: text for name, text in texts.items() if text}


async def find_tags(visit: Visit, search: str, limit: int) -> FoundTags:
    """Return the first tags by name that a search finds. The API's list has no search, and a workspace may have thousands."""
    visit.session.caller.require(*TAG.read_scopes)
    pool, workspace_id = visit.services.database.pool, visit.session.stored.workspace_id
    found = await store.found(pool, workspace_id, search, limit)
    shown = [ShownTag(each.id, each.name, each.hex_color) for each in found]
    return FoundTags(shown, not await store.is_named(pool, workspace_id, search))


async def show_tag(visit: Visit, tag_id: str, problem: Problem | None = None, *, was_to_go: bool = False) -> PageAnswer:
    """Show a tag, the first contacts and companies that have it, and its form; of a deleted one, its history.

    `was_to_go` says that the problem is that of its deletion.
    """
    try:
        tag = await visit.call("get-tag-by-id", Tag, tag_id)
    except Refused as refused:
        return await instead(visit, "tag", tag_id, refused)
    holders: dict[str, Listed[Named]] = {}
    for plural in ("contacts", "companies"):
        if visit.session.may(f"{plural}:read"):
            cursor = visit.query.get(f"{plural}_cursor")
            query = {"limit": str(_MAX_HOLDERS)} | ({"cursor": cursor} if cursor else {"filter[tag_ids][eq]": tag_id})
            holders[plural] = (await visit.call(f"list-{plural}", Listed[Named], query=query)).value
    context: dict[str, Any] = {
        "tag": tag.value,
        "version": tag.version,
        "holders": holders,
        "name_of": name_of,
        "theirs": theirs(
            (label, stored or None, visit.field(name).strip().replace("\r\n", "\n"))
            for label, name, stored in (
                ("Name", "name", tag.value.name),
                ("Description", "description", tag.value.description),
                ("Colour", "hex_color", tag.value.hex_color),
            )
        ),
        "since": await changed_since(visit, "tag", tag_id, version=visit.field("version")) if problem else (),
        "was_to_go": was_to_go,
        "problem": None if was_to_go else problem,
        "sent": visit.field,
        "swatches": _SWATCHES,
        "may_write": visit.session.may("tags:write"),
    }
    return Shown(context, 200 if problem is None else problem.status)


async def show_tag_then(visit: Visit, tag_id: str, problem: Problem | None = None) -> PageAnswer:
    """Show a tag as it was at a time, beside what is different now."""
    at = visit.field("at") or visit.query.get("at") or shown_time(sources.now())
    then = (await visit.call("get-tag-history", Tag, tag_id, query={"at": at})).value
    current = await _now(visit, tag_id)
    now = None if current is None else current.value
    rows = [
        ("Name", then.name, now and now.name),
        ("Description", then.description, now and now.description),
        ("Colour", then.hex_color, now and now.hex_color),
    ]
    context: dict[str, Any] = {
        "then": then,
        "now": now,
        "at": at,
        "rows": rows,
        "differs": any(before != after for _, before, after in rows),
        "version": None if current is None else current.version,
        "since": await changed_since(visit, "tag", tag_id, version=visit.field("version")) if problem else (),
        "problem": problem,
        "may_write": visit.session.may("tags:write"),
    }
    return Shown(context, 200 if problem is None else problem.status)


async def _now(visit: Visit, tag_id: str) -> Done[Tag] | None:
    """Return a tag as it is, with its version, or None if it is deleted."""
    try:
        return await visit.call("get-tag-by-id", Tag, tag_id)
    except Refused as refused:
        if refused.problem.status != 404:
            raise
        return None


async def bring_tag_back(visit: Visit, tag_id: str) -> PageAnswer:
    """Give a tag the state of an earlier time again, in one change, or restore it if it is deleted.

    A later change, which the page has not shown, is not taken back unseen.
    """
    at = visit.field("at") or shown_time(sources.now())
    try:
        if await _now(visit, tag_id) is None:
            await visit.call("restore-tag", Tag, tag_id)
            return visit.redirect(f"{_TAGS}/{tag_id}", "The tag was restored.", undoes=True)
        then = (await visit.call("get-tag-history", Tag, tag_id, query={"at": at})).value
        body = {"name": then.name, "description": then.description, "hex_color": then.hex_color}
        await visit.call("update-tag", Tag, tag_id, body=body, if_version=visit.field("version") or None)
    except Refused as refused:
        if refused.problem.status not in (409, 412, 422):
            raise
        return await show_tag_then(visit, tag_id, refused.problem)
    return visit.redirect(f"{_TAGS}/{tag_id}", "Brought back.", undoes=True)


async def change_tag(visit: Visit, tag_id: str) -> PageAnswer:
    """Change the name, the description and the colour of a tag, unless somebody else has changed it meanwhile."""
    body = {"description": None, "hex_color": None, "name": ""} | _sent(visit)
    try:
        await visit.call("update-tag", Tag, tag_id, body=body, if_version=visit.field("version") or None)
    except Refused as refused:
        if refused.problem.status not in (409, 412, 422):
            raise
        return await show_tag(visit, tag_id, refused.problem)
    return visit.redirect(f"{_TAGS}/{tag_id}", "Saved.", undoes=True)


async def delete_tag(visit: Visit, tag_id: str) -> PageAnswer:
    """Delete a tag, unless somebody has changed it since the page was shown. Those who had it have it again after an undo."""
    try:
        await visit.call("delete-tag", Deleted, tag_id, if_version=visit.field("version") or None)
    except Refused as refused:
        if refused.problem.status != 412:
            raise
        return await show_tag(visit, tag_id, refused.problem, was_to_go=True)
    return visit.redirect(_TAGS, "The tag was deleted.", undoes=True)


_READ: Final = ("tags:read",)
_WRITE: Final = ("tags:write",)

PAGES: Final = (
    Page(
        method="GET",
        path="/tags",
        id="show-tags",
        scopes=_READ,
        handler=show_tags,
        template="tags/list.html",
        menu=MenuItem("Tags", "tag"),
    ),
    Page(method="POST", path="/tags", id="create-tag-by-form", scopes=_WRITE, handler=create_tag, template="tags/list.html"),
    Page(method="GET", path="/tags/{tag_id}", id="show-tag", scopes=_READ, handler=show_tag, template="tags/tag.html"),
    Page(
        method="GET",
        path="/tags/{tag_id}/then",
        id="show-tag-then",
        scopes=_READ,
        handler=show_tag_then,
        template="tags/then.html",
    ),
    Page(
        method="POST",
        path="/tags/{tag_id}/then",
        id="bring-tag-back",
        scopes=_WRITE,
        handler=bring_tag_back,
        template="tags/then.html",
    ),
    Page(method="POST", path="/tags/{tag_id}", id="change-tag", scopes=_WRITE, handler=change_tag, template="tags/tag.html"),
    Page(
        method="POST",
        path="/tags/{tag_id}/delete",
        id="delete-tag-by-form",
        scopes=_WRITE,
        handler=delete_tag,
        template="tags/tag.html",
    ),
)
