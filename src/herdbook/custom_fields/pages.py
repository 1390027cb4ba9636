"""The page of a contact or a company, whose members are edited in place, and what it shares with their lists."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec
from msgspec import UNSET

from herdbook import sources
from herdbook.console.page import BASE, PageAnswer, Shown, isolated, moment_of
from herdbook.console.visit import Done, Listed, MergedInto, Refused, Visit
from herdbook.custom_fields.cells import Cells
from herdbook.custom_fields.defined import defined
from herdbook.custom_fields.forms import LABELS, Member
from herdbook.custom_fields.naming import Named, name_of
from herdbook.custom_fields.telling import (
    PLURALS,
    ToldEntry,
    changed_since,
    deletion_of,
    names_of,
    newer,
    told,
)
from herdbook.errors import NotFound
from herdbook.http.problems import Problem
from herdbook.search_text import folded
from herdbook.shared_schemas import Deleted, shown_time

MAX_CHOICES: Final = 8
MAX_TAGS: Final = 50
_MAX_ENGAGEMENTS: Final = 5
_MAX_NOTES: Final = 50


async def _nothing_more(_visit: Visit, _record_id: str) -> Mapping[str, Any]:
    return {}


class ShownTag(msgspec.Struct):
    """A tag, as lists and forms show it."""

    id: str
    name: str
    hex_color: str | None = None


class FoundTags(NamedTuple):
    """The first tags that a search has found, by name, and whether no tag has the whole search as its name."""

    tags: Sequence[ShownTag]
    is_free: bool


class RecordPages(NamedTuple):
    """The facts by which the pages of contacts differ from those of companies.

    `record` and `query_page` are what the API's operations on whole records answer. `hidden` names the members that the name of
    a record consists of, by the first of which it is sorted. `searched` names those in which a search looks among filtered
    records, and `unlisted` those that the API's list leaves out, as it does fields of one's own. `find_tags` returns tags with
    the words of a search, up to a number. `more` returns what its page shows beyond other records.
    """

    name: str
    plural: str
    record: type[Any]
    query_page: type[Any]
    members: tuple[Member, ...]
    hidden: tuple[str, ...]
    columns: tuple[str, ...]
    searched: tuple[str, ...]
    unlisted: tuple[str, ...]
    find_tags: Callable[[Visit, str, int], Awaitable[FoundTags]]
    more: Callable[[Visit, str], Awaitable[Mapping[str, Any]]] = _nothing_more

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


async def members_of(kind: RecordPages, visit: Visit) -> list[Member]:
    """Return the members that a record's page shows, the fields of one's own last and in their order."""
    return [*kind.members, *(await defined(visit, kind.name)).members]


async def related(visit: Visit, members: Iterable[Member], records: Sequence[Any]) -> dict[str, Any]:
    """Return the names of the objects that records refer to, and their tags, by their ids, and what shows values with these."""
    ids_of: dict[str, list[str]] = {name: [] for name in PLURALS}
    for member in members:
        if member.refers_to:
            ids_of[member.refers_to] += [found for each in records if (found := member.value(each)) is not None]
    tag_ids = [tag_id for each in records for tag_id in each.tag_ids or ()]
    tags, *found = await asyncio.gather(
        visit.each("get-tag-by-id", ShownTag, tag_ids),
        *(visit.each(f"get-{name}-by-id", Named, object_ids) for name, object_ids in ids_of.items()),
    )
    names = {key: name_of(value) for each in found for key, value in each.items()}
    return {"tags": tags, "names": names, "plurals": PLURALS, "plain": Cells(names, tags).plain}


async def show_record(kind: RecordPages, visit: Visit, record_id: str, editing: Editing | None = None) -> PageAnswer:
    """Show a record, with the form of one member if one is asked for. With `at`, that has the value of that time.

    A deleted one is shown as it was last.
    """
    try:
        record = await visit.call(f"get-{kind.name}-record", kind.record, record_id)
    except Refused as refused:
        deletion = await deletion_of(visit, kind.name, record_id) if refused.problem.status == 404 else None
        if deletion is None or (last := moment_of(deletion)) is None:
            raise
        return visit.onward(f"{kind.path}/{record_id}/then?{urlencode({'at': last})}")
    members = await members_of(kind, visit)
    notes_query = {"limit": str(_MAX_NOTES), "expand": "html"}
    if notes_cursor := visit.query.get("notes_cursor"):
        notes_query["cursor"] = notes_cursor
    notes, history, engagements, more = await asyncio.gather(
        visit.call(f"list-{kind.name}-notes", Listed[dict[str, Any]], record_id, query=notes_query),
        visit.call(f"get-{kind.name}-history", Listed[dict[str, Any]], record_id, query={"limit": "10"}),
        engagements_of(visit, kind.name, record_id),
        kind.more(visit, record_id),
    )
    editing = editing or Editing(visit.query.get("edit", ""))
    problem = editing.problem
    edited = next((each for each in members if each.name == editing.name), None)
    at = visit.query.get("at", "") or (visit.field("seen") if problem is not None and problem.status == 412 else "")
    start = await as_it_was(kind, visit, record_id, at) if edited is not None and at else None
    shown = [record.value] if start is None else [record.value, start]
    opened = await _note(kind, visit, record_id, editing.context.get("opened_note") or visit.query.get("note", ""))
    shown_notes = [*notes.value.data]
    if opened is not None and all(each["id"] != opened.value["id"] for each in shown_notes):
        shown_notes.append((await visit.call("get-note", dict[str, Any], opened.value["id"], query={"expand": "html"})).value)
    authors = [each["created_by"] for each in shown_notes if "created_by" in each]
    holder = [] if problem is None or problem.conflict is UNSET else [problem.conflict.id]
    entries, others, names = await asyncio.gather(
        told(visit, history.value.data, lambda _: kind.name),
        related(visit, members, shown),
        names_of(visit, [*authors, *holder]),
    )
    context: dict[str, Any] = {
        "kind": kind,
        "record": record.value,
        "start": start,
        "version": record.version,
        "runs": _runs(members, record.value, edited),
        "edited": edited,
        "problem": problem,
        "sent": visit.fields if editing.is_sent else None,
        "arrangement": editing.arrangement,
        "notes": sorted(shown_notes, key=lambda note: not note["is_pinned"]),
        "more_notes": visit.here(without=("note", "edit"), notes_cursor=notes.value.next_cursor)
        if notes.value.has_more
        else None,
        "preview": None,
        "note_problem": None,
        "note_since": (),
        "deletion_problem": None,
        "history": entries,
        "labels": LABELS,
        "name": name_of(record.value),
        "name_of": name_of,
        "may_write": visit.session.may(f"{kind.plural}:write"),
        "since": _since(visit, entries, problem, edited),
        **others,
        "names": others["names"] | names,
        **engagements,
        **more,
        **editing.context,
        "opened_note": "" if opened is None else opened.value["id"],
        "note_version": None if opened is None else opened.version,
    }
    if edited is not None and edited.kind == "tags":
        chosen = visit.fields("value") if editing.is_sent else edited.value(record.value) or ()
        context |= await tag_choices(
            kind, visit, chosen, visit.query.get("find", ""), may_create=visit.session.may("tags:write")
        )
    if edited is not None and edited.refers_to:
        context |= await choices(visit, PLURALS[edited.refers_to])
    return Shown(context, 200 if problem is None else problem.status)


def _runs(members: Iterable[Member], record: Any, edited: Member | None) -> list[tuple[bool, list[Member]]]:
    """Return the members of a record in runs, each with whether its members have no value, and no form is open for one."""
    by_value = groupby(members, key=lambda each: each is not edited and each.value(record) is None)
    return [(is_unset, [*run]) for is_unset, run in by_value]


def _since(visit: Visit, entries: Sequence[ToldEntry], problem: Problem | None, edited: Member | None) -> list[ToldEntry]:
    """Return what was done to a record, or to one of its members, since the form was shown that was refused for it."""
    if problem is None or problem.status != 412:
        return []
    known = {each["version"] for each in newer([each.entry for each in entries], version=visit.field("version"))}
    since = [each for each in entries if each.entry["version"] in known]
    if edited is None:
        return since
    return [each for each in since if any(change.label == edited.label for change in each.changes)] or since


async def _note(kind: RecordPages, visit: Visit, record_id: str, note_id: str) -> Done[dict[str, Any]] | None:
    """Return a note of a record, or None: one that was deleted meanwhile, or never was there, hides nothing of the page."""
    if not note_id:
        return None
    try:
        # The expanded note has no version.
        found = await visit.call("get-note", dict[str, Any], note_id)
    except Refused as refused:
        if refused.problem.status != 404:
            raise
        return None
    return found if found.value.get(f"{kind.name}_id") == record_id else None


async def tag_choices(
    kind: RecordPages, visit: Visit, chosen: Sequence[str], search: str, *, may_create: bool = False
) -> dict[str, Any]:
    """Return the tags to choose from: those that are chosen, and others with the words of a search in their names.

    A name that no tag has may be that of a new one.
    """
    find, words = search.strip(), folded(search).split()
    found = await kind.find_tags(visit, find, MAX_TAGS + len(chosen))
    kept = sorted((await visit.each("get-tag-by-id", ShownTag, chosen)).values(), key=lambda tag: folded(tag.name))
    others = [tag for tag in found.tags if tag.id not in chosen][:MAX_TAGS]
    fitting = [tag for tag in kept if all(word in folded(tag.name) for word in words)]
    return {
        "all_tags": [*kept, *others],
        "found_tags": {tag.id for tag in (*fitting, *others)},
        "find": find,
        "new_tag": find if may_create and find and found.is_free else "",
    }


async def choices(visit: Visit, plural: str) -> dict[str, Any]:
    """Return the objects to choose from: those that a search finds, or the ones that were changed last."""
    search = (visit.query.get("find") or visit.field("find")).strip()
    query = {"limit": str(MAX_CHOICES)} | ({"search": search} if search else {})
    listed = (await visit.call(f"list-{plural}", Listed[Named], query=query)).value
    return {"choices": {each.id: name_of(each) for each in listed.data}, "find": search}


async def as_it_was(kind: RecordPages, visit: Visit, record_id: str, at: str) -> Any:
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
            await _update(kind, visit, record_id, member, member.patch(visit.fields) | {"take_from": other_id})
            return visit.redirect(f"{kind.path}/{record_id}", f"{isolated(member.label)} moved here.", undoes=True)
        if member.kind == "tags" and (new := visit.field("new_tag").strip()):
            await _add_new_tag(kind, visit, record_id, member, new)
        else:
            await _update(kind, visit, record_id, member, member.patch(visit.fields))
    except Refused as refused:
        if refused.problem.status in (409, 412, 422):
            return await show_record(kind, visit, record_id, Editing(name, refused.problem, is_sent=True))
        raise
    return visit.redirect(f"{kind.path}/{record_id}", f"{isolated(member.label)} saved.", undoes=True)


async def _update(kind: RecordPages, visit: Visit, record_id: str, member: Member, patch: Mapping[str, Any]) -> None:
    """Change a member by the version that the form was shown for, or by a later one in which the member is the same."""
    operation, version = f"update-{kind.name}-record", visit.field("version")
    try:
        await visit.call(operation, kind.record, record_id, body=patch, if_version=version)
    except Refused as refused:
        if refused.problem.status != 412 or (unchanged := await _version_if_same(kind, visit, record_id, member)) is None:
            raise
        await visit.call(operation, kind.record, record_id, body=patch, if_version=unchanged)


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
        as_it_was(kind, visit, record_id, visit.field("seen")),
    )
    return now.version if before is not None and member.value(now.value) == member.value(before) else None


async def engagements_of(visit: Visit, name: str, record_id: str) -> dict[str, Any]:
    """Return the latest engagements of a contact or a company, for those who may read them."""
    if not visit.session.may("engagements:read"):
        return {"engagements": None}
    query = {"limit": str(_MAX_ENGAGEMENTS), "order_by": "start_at:desc"}
    listed = (await visit.call(f"list-{name}-engagements", Listed[dict[str, Any]], record_id, query=query)).value
    return {"engagements": listed.data, "more_engagements": listed.has_more}


async def show_then(kind: RecordPages, visit: Visit, record_id: str, problem: Problem | None = None) -> PageAnswer:
    """Show a record as it was at a time, beside what is different now."""
    at = visit.field("at") or visit.query.get("at") or shown_time(sources.now())
    then = (await visit.call(f"get-{kind.name}-history", kind.record, record_id, query={"at": at})).value
    then = getattr(then, "labelled", then)
    current = await _now(kind, visit, record_id)
    now = None if current is None else current.value
    members = await members_of(kind, visit)
    differing = [] if now is None else [each for each in members if each.value(now) != each.value(then)]
    deletion = await deletion_of(visit, kind.name, record_id) if now is None else None
    merged_into: str | None = deletion.get("merged_into") if deletion else None
    others = await related(visit, members, [then] if now is None else [then, now])
    if merged_into is not None:
        others["names"] |= await names_of(visit, [merged_into])
    context: dict[str, Any] = {
        "kind": kind,
        "record_id": record_id,
        "merged_into": merged_into,
        "then": then,
        "now": now,
        "at": at,
        "members": members,
        "differing": differing,
        "version": None if current is None else current.version,
        "problem": problem,
        "since": await changed_since(visit, kind.name, record_id, version=visit.field("version")) if problem else (),
        "name": name_of(then),
        "name_of": name_of,
        "may_write": visit.session.may(f"{kind.plural}:write"),
        **others,
    }
    return Shown(context, 200 if problem is None else problem.status)


async def _now(kind: RecordPages, visit: Visit, record_id: str) -> Done[Any] | None:
    """Return a record as it is, with its version, or None if it is deleted or merged."""
    try:
        return await visit.call(f"get-{kind.name}-record", kind.record, record_id)
    except (Refused, MergedInto):
        return None


async def bring_back(kind: RecordPages, visit: Visit, record_id: str) -> PageAnswer:
    """Give a record the state of an earlier time again, in one change, or restore it if it is deleted.

    A later change, which the page has not shown, is not taken back unseen.
    """
    at, path = visit.field("at") or shown_time(sources.now()), f"{kind.path}/{record_id}"
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
        await visit.call(
            f"update-{kind.name}-record", kind.record, record_id, body=patch, if_version=visit.field("version") or None
        )
    except Refused as refused:
        if refused.problem.status not in (409, 412, 422):
            raise
        return await show_then(kind, visit, record_id, refused.problem)
    return visit.redirect(path, "Brought back.", undoes=True)


async def delete_record(kind: RecordPages, visit: Visit, record_id: str) -> PageAnswer:
    """Delete a record, unless somebody has changed it since the page was shown. An undo brings it back."""
    try:
        await visit.call(f"delete-{kind.name}", Deleted, record_id, if_version=visit.field("version") or None)
    except Refused as refused:
        if refused.problem.status != 412:
            raise
        shown = {"deletion_problem": refused.problem}
        return await show_record(kind, visit, record_id, Editing("", refused.problem, context=shown))
    return visit.redirect(kind.path, f"The {kind.name} was deleted.", undoes=True)
