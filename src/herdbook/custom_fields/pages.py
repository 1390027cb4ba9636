"""The page of a contact or a company, whose members are edited in place, and what it shares with their lists."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from herdbook.console.page import BASE, PageAnswer, Shown
from herdbook.console.visit import Listed, MergedInto, Refused, Visit
from herdbook.custom_fields.forms import LABELS, Member, own_member
from herdbook.custom_fields.telling import PLURALS, Named, definitions, name_of, names_of, told
from herdbook.errors import NotFound
from herdbook.fields import parsed_time
from herdbook.http.problems import Problem
from herdbook.search_text import folded
from herdbook.shared_schemas import Deleted, shown_time

MAX_CHOICES: Final = 8
MAX_TAGS: Final = 50
_MAX_ENGAGEMENTS: Final = 5


async def _nothing_more(_visit: Visit, _record_id: str) -> Mapping[str, Any]:
    return {}


class RecordPages(NamedTuple):
    """The facts by which the pages of contacts differ from those of companies.

    `record` and `query_page` are what the API's operations on whole records answer. `hidden` names the members that the name of
    a record consists of, by the first of which it is sorted. `searched` names those in which a search looks among filtered
    records. `more` returns what its page shows beyond other records. `has_bulk` says that one operation writes many of them.
    `created_with` names the members that a creation takes. Others are set right after it.
    """

    name: str
    plural: str
    record: type[Any]
    query_page: type[Any]
    members: tuple[Member, ...]
    hidden: tuple[str, ...]
    columns: tuple[str, ...]
    searched: tuple[str, ...]
    more: Callable[[Visit, str], Awaitable[Mapping[str, Any]]] = _nothing_more
    has_bulk: bool = False
    created_with: frozenset[str] = frozenset()

    @property
    def path(self) -> str:
        """The path of the list."""
        return f"{BASE}/{self.plural}"


class Editing(NamedTuple):
    """The form that a record's page shows: its member, why it was refused, and whether to keep what was sent.

    `arrangement` is what to do with the rows that were sent. `context` is what the page shows of a note.
    """

    name: str
    problem: Problem | None = None
    is_sent: bool = False
    arrangement: str = ""
    context: Mapping[str, Any] = {}


class ShownTag(msgspec.Struct):
    """A tag, as lists and forms show it."""

    id: str
    name: str
    hex_color: str | None = None


async def members_of(kind: RecordPages, visit: Visit) -> list[Member]:
    """Return the members that a record's page shows, the fields of one's own last and in their order."""
    active = [each for each in await definitions(visit, kind.name) if not each.archived]
    return [*kind.members, *map(own_member, sorted(active, key=lambda each: (each.order, each.key)))]


async def related(visit: Visit, members: Iterable[Member], records: Sequence[Any]) -> dict[str, Any]:
    """Return the names of the objects that records refer to, and their tags, by their ids."""
    ids_of: dict[str, list[str]] = {name: [] for name in PLURALS}
    for member in members:
        if member.refers_to:
            ids_of[member.refers_to] += [found for each in records if (found := member.value(each)) is not None]
    tag_ids = [tag_id for each in records for tag_id in each.tag_ids or ()]
    tags, *found = await asyncio.gather(
        visit.each("get-tag-by-id", ShownTag, tag_ids),
        *(visit.each(f"get-{name}-by-id", Named, object_ids) for name, object_ids in ids_of.items()),
    )
    return {"tags": tags, "names": {key: name_of(value) for each in found for key, value in each.items()}, "plurals": PLURALS}


async def show_record(kind: RecordPages, visit: Visit, record_id: str, editing: Editing | None = None) -> PageAnswer:
    """Show a record, with the form of one member if one is asked for. With `at`, that has the value of that time."""
    record, members = await asyncio.gather(
        visit.call(f"get-{kind.name}-record", kind.record, record_id), members_of(kind, visit)
    )
    notes, history, engagements, more = await asyncio.gather(
        visit.call(f"list-{kind.name}-notes", Listed[dict[str, Any]], record_id, query={"limit": "50", "expand": "html"}),
        visit.call(f"get-{kind.name}-history", Listed[dict[str, Any]], record_id, query={"limit": "10"}),
        engagements_of(visit, kind.name, record_id),
        kind.more(visit, record_id),
    )
    editing = editing or Editing(visit.query.get("edit", ""))
    problem = editing.problem
    edited = next((each for each in members if each.name == editing.name), None)
    at = visit.query.get("at", "") or (visit.field("seen") if problem is not None and problem.status == 412 else "")
    start = await _as_it_was(kind, visit, record_id, at) if edited is not None and at else None
    shown = [record.value] if start is None else [record.value, start]
    authors = [each["created_by"] for each in notes.value.data if "created_by" in each]
    holder = [] if problem is None or problem.conflict is UNSET else [problem.conflict.id]
    context: dict[str, Any] = {
        "kind": kind,
        "record": record.value,
        "start": start,
        "version": record.version,
        "members": members,
        "edited": edited,
        "problem": problem,
        "sent": visit.fields if editing.is_sent else None,
        "arrangement": editing.arrangement,
        "notes": sorted(notes.value.data, key=lambda note: not note["is_pinned"]),
        "opened_note": visit.query.get("note", ""),
        "note_version": None,
        "preview": None,
        "note_problem": None,
        "history": await told(visit, history.value.data, lambda _: kind.name),
        "labels": LABELS,
        "name": name_of(record.value),
        "name_of": name_of,
        "may_write": visit.session.may(f"{kind.plural}:write"),
        "moment_of": moment_of,
        **await related(visit, members, shown),
        **engagements,
        **more,
        **editing.context,
    }
    context["names"] |= await names_of(visit, [*authors, *holder])
    if opened := context["opened_note"]:
        context["note_version"] = (await visit.call("get-note", dict[str, Any], opened)).version
    if edited is not None and edited.kind == "tags":
        context |= await _tag_choices(visit, visit.fields("value") if editing.is_sent else edited.value(record.value) or ())
    if edited is not None and edited.refers_to:
        context |= await choices(visit, PLURALS[edited.refers_to])
    return Shown(context, 200 if problem is None else problem.status)


async def _tag_choices(visit: Visit, chosen: Sequence[str]) -> dict[str, Any]:
    """Return the tags to choose from: those that are chosen, and others with the words of a search in their names."""
    find = visit.query.get("find", "").strip()
    tags = await _all_tags(visit)
    found = [tag for tag in tags if all(word in folded(tag.name) for word in folded(find).split())]
    some = [*(tag for tag in tags if tag.id in chosen), *[tag for tag in found if tag.id not in chosen][:MAX_TAGS]]
    is_new = bool(find) and all(folded(tag.name) != folded(find) for tag in tags)
    return {"all_tags": some, "find": find, "new_tag": find if is_new and visit.session.may("tags:write") else ""}


async def _all_tags(visit: Visit) -> list[ShownTag]:
    return sorted(await visit.all_of("list-tags", Listed[ShownTag], {}), key=lambda tag: folded(tag.name))


async def choices(visit: Visit, plural: str) -> dict[str, Any]:
    """Return the objects to choose from: those that a search finds, or the ones that were changed last."""
    search = (visit.query.get("find") or visit.field("find")).strip()
    query = {"limit": str(MAX_CHOICES)} | ({"search": search} if search else {})
    listed = (await visit.call(f"list-{plural}", Listed[Named], query=query)).value
    return {"choices": {each.id: name_of(each) for each in listed.data}, "find": search}


async def _as_it_was(kind: RecordPages, visit: Visit, record_id: str, at: str) -> Any:
    """Return a record as it was at some time, or None if that is no longer known."""
    try:
        found = await visit.call(f"get-{kind.name}-history", kind.record, record_id, query={"at": at})
    except Refused:
        return None
    return getattr(found.value, "labelled", found.value)


async def edit_record(kind: RecordPages, visit: Visit, record_id: str, name: str) -> PageAnswer:
    """Change one member of a record, unless somebody else has changed this member since the form was shown.

    With `arrange`, only the rows of the form are moved. With `take`, the values are taken away from the record that has them.
    With `new_tag`, the tag is created, too.
    """
    member = next((each for each in await members_of(kind, visit) if each.name == name), None)
    if member is None:
        raise NotFound("field", f"Open the {kind.name} again.")
    if arrangement := visit.field("arrange"):
        return await show_record(kind, visit, record_id, Editing(name, is_sent=True, arrangement=arrangement))
    try:
        if other_id := visit.field("take"):
            await _take(kind, visit, record_id, other_id, member)
            return visit.redirect(f"{kind.path}/{record_id}", f"{member.label} moved here.", undoes=True)
        if member.kind == "tags" and (new := visit.field("new_tag").strip()):
            await _add_new_tag(kind, visit, record_id, member, new)
        else:
            await _update(kind, visit, record_id, member, member.patch(visit.fields))
    except Refused as refused:
        if refused.problem.status in (409, 412, 422):
            return await show_record(kind, visit, record_id, Editing(name, refused.problem, is_sent=True))
        raise
    return visit.redirect(f"{kind.path}/{record_id}", f"{member.label} saved.", undoes=True)


async def _update(kind: RecordPages, visit: Visit, record_id: str, member: Member, patch: Mapping[str, Any]) -> None:
    """Change a member by the version that the form was shown for, or by a later one in which the member is the same."""
    operation, version = f"update-{kind.name}-record", visit.field("version")
    try:
        await visit.call(operation, kind.record, record_id, body=patch, if_version=version)
    except Refused as refused:
        if refused.problem.status != 412 or (unchanged := await _version_if_same(kind, visit, record_id, member)) is None:
            raise
        await visit.call(operation, kind.record, record_id, body=patch, if_version=unchanged)


async def _take(kind: RecordPages, visit: Visit, record_id: str, other_id: str, member: Member) -> None:
    """Give a record the values that were sent, and take them from another one. If it cannot have them, nothing changes."""
    other = await visit.call(f"get-{kind.name}-record", kind.record, other_id)
    rest = member.without_sent(other.value, visit.fields)
    taken = await visit.call(
        f"update-{kind.name}-record", kind.record, other_id, body=member.patch_to(rest), if_version=other.version
    )
    try:
        await _update(kind, visit, record_id, member, member.patch(visit.fields))
    except BaseException:
        back = member.patch_to(member.value(other.value))
        await visit.call(f"update-{kind.name}-record", kind.record, other_id, body=back, if_version=taken.version)
        raise


async def _add_new_tag(kind: RecordPages, visit: Visit, record_id: str, member: Member, name: str) -> None:
    """Create a tag, and give it to a record with the others that were sent. If it cannot have it, nothing changes."""
    tag = (await visit.call("create-tag", ShownTag, body={"name": name})).value
    try:
        await _update(kind, visit, record_id, member, member.patch_to([*visit.fields("value"), tag.id]))
    except BaseException:
        await visit.call("delete-tag", Deleted, tag.id)
        raise


async def _version_if_same(kind: RecordPages, visit: Visit, record_id: str, member: Member) -> int | None:
    """Return the present version of a record if the member has the value that the form began with, else None."""
    now, before = await asyncio.gather(
        visit.call(f"get-{kind.name}-record", kind.record, record_id),
        _as_it_was(kind, visit, record_id, visit.field("seen")),
    )
    return now.version if before is not None and member.value(now.value) == member.value(before) else None


async def engagements_of(visit: Visit, name: str, record_id: str) -> dict[str, Any]:
    """Return the latest engagements of a contact or a company, for those who may read them."""
    if not visit.session.may("engagements:read"):
        return {"engagements": None}
    query = {"limit": str(_MAX_ENGAGEMENTS), "order_by": "start_at:desc"}
    listed = (await visit.call(f"list-{name}-engagements", Listed[dict[str, Any]], record_id, query=query)).value
    return {"engagements": listed.data, "more_engagements": listed.has_more}


def moment_of(entry: Mapping[str, Any]) -> str | None:
    """Return a time at which an object was as an entry left it, or before its deletion. An erased one cannot be looked at."""
    if entry["action"] == "erased":
        return None
    if entry["action"] != "deleted" or (at := parsed_time(entry["at"])) is None:
        return entry["at"]
    return shown_time(at - timedelta(microseconds=1))


async def show_then(kind: RecordPages, visit: Visit, record_id: str, problem: Problem | None = None) -> PageAnswer:
    """Show a record as it was at a time, beside what is different now."""
    at = visit.field("at") or visit.query.get("at") or shown_time(datetime.now(UTC))
    then = (await visit.call(f"get-{kind.name}-history", kind.record, record_id, query={"at": at})).value
    then = getattr(then, "labelled", then)
    now = await _now(kind, visit, record_id)
    members = await members_of(kind, visit)
    differing = [] if now is None else [each for each in members if each.value(now) != each.value(then)]
    context: dict[str, Any] = {
        "kind": kind,
        "record_id": record_id,
        "then": then,
        "now": now,
        "at": at,
        "members": members,
        "differing": differing,
        "problem": problem,
        "name": name_of(then),
        "name_of": name_of,
        "may_write": visit.session.may(f"{kind.plural}:write"),
        **await related(visit, members, [then] if now is None else [then, now]),
    }
    return Shown(context, 200 if problem is None else problem.status)


async def _now(kind: RecordPages, visit: Visit, record_id: str) -> Any:
    """Return a record as it is, or None if it is deleted or merged."""
    try:
        return (await visit.call(f"get-{kind.name}-record", kind.record, record_id)).value
    except (Refused, MergedInto):
        return None


async def bring_back(kind: RecordPages, visit: Visit, record_id: str) -> PageAnswer:
    """Give a record the state of an earlier time again, in one change, or restore it if it is deleted."""
    at, path = visit.field("at") or shown_time(datetime.now(UTC)), f"{kind.path}/{record_id}"
    try:
        if await _now(kind, visit, record_id) is None:
            await visit.call(f"restore-{kind.name}", dict[str, Any], record_id)
            return visit.redirect(path, f"The {kind.name} was restored.", undoes=True)
        then = (await visit.call(f"get-{kind.name}-history", kind.record, record_id, query={"at": at})).value
        then = getattr(then, "labelled", then)
        now = await visit.call(f"get-{kind.name}-record", kind.record, record_id)
        patch: dict[str, Any] = {"fields": {}}
        for member in await members_of(kind, visit):
            if member.value(now.value) != member.value(then):
                change = member.patch_to(member.value(then))
                patch["fields"] |= change.pop("fields", {})
                patch |= change
        if not patch["fields"]:
            del patch["fields"]
        await visit.call(f"update-{kind.name}-record", kind.record, record_id, body=patch, if_version=now.version)
    except Refused as refused:
        if refused.problem.status not in (409, 412, 422):
            raise
        return await show_then(kind, visit, record_id, refused.problem)
    return visit.redirect(path, "Brought back.", undoes=True)


async def delete_record(kind: RecordPages, visit: Visit, record_id: str) -> PageAnswer:
    """Delete a record. Its history stays, and an undo brings it back."""
    await visit.call(f"delete-{kind.name}", Deleted, record_id)
    return visit.redirect(kind.path, f"The {kind.name} was deleted.", undoes=True)
