"""The page of a contact or a company, whose members are edited in place, and what it shares with their lists."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from herdbook.console.page import BASE, PageAnswer, Shown
from herdbook.console.visit import Listed, Refused, Visit
from herdbook.custom_fields.forms import LABELS, Member, own_member
from herdbook.custom_fields.model import Field
from herdbook.errors import NotFound
from herdbook.http.problems import Problem
from herdbook.shared_schemas import Deleted

MAX_CHOICES: Final = 8
# The types of objects that a reference may name, by their plural in operations and paths.
PLURALS: Final = {"user": "users", "contact": "contacts", "company": "companies"}


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
    """The form that a record's page shows: its member, why it was refused, whether to keep what was sent, and another start."""

    name: str
    problem: Problem | None = None
    is_sent: bool = False
    start: Any = None


class _Address(msgspec.Struct):
    """An e-mail address of a user or a contact."""

    email: str


class _Domain(msgspec.Struct):
    """A domain of a company."""

    domain: str


class ShownTag(msgspec.Struct):
    """A tag, as lists and forms show it."""

    id: str
    name: str
    hex_color: str | None = None


class Named(msgspec.Struct):
    """The parts of a contact, a company or a user by which people know it."""

    id: str
    name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    emails: tuple[_Address, ...] = ()
    domains: tuple[_Domain, ...] = ()


def name_of(record: Any) -> str:
    """Return the name of a contact, a company or a user, or an address or domain that stands for it."""
    name = getattr(record, "name", None) or ""
    full = " ".join(part for part in (getattr(record, "first_name", None), getattr(record, "last_name", None)) if part)
    addresses = [each.email for each in getattr(record, "emails", ())]
    domains = [each.domain for each in getattr(record, "domains", ())]
    return next((text for text in (name, full, *addresses[:1], *domains[:1]) if text.strip()), "No name")


async def members_of(kind: RecordPages, visit: Visit) -> list[Member]:
    """Return the members that a record's page shows, the fields of one's own last and in their order."""
    definitions: list[Field] = []
    query = {"filter[object_type][eq]": kind.name, "limit": "100"}
    while True:
        listed = (await visit.call("list-fields", Listed[Field], query=query)).value
        definitions += listed.data
        if listed.next_cursor is None:
            break
        query = {"cursor": listed.next_cursor}
    own = sorted((each for each in definitions if not each.archived), key=lambda each: (each.order, each.key))
    return [*kind.members, *map(own_member, own)]


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
    notes, history, more = await asyncio.gather(
        visit.call(f"list-{kind.name}-notes", Listed[dict[str, Any]], record_id, query={"limit": "50", "expand": "html"}),
        visit.call(f"get-{kind.name}-history", Listed[dict[str, Any]], record_id, query={"limit": "10"}),
        kind.more(visit, record_id),
    )
    editing = editing or Editing(visit.query.get("edit", ""))
    edited = next((each for each in members if each.name == editing.name), None)
    is_conflict = editing.problem is not None and editing.problem.status == 412
    at = visit.query.get("at", "") or (visit.field("seen") if is_conflict else "")
    start = await _as_it_was(kind, visit, record_id, at) if edited is not None and at else None
    authors = [each["created_by"] for each in notes.value.data if "created_by" in each]
    authors += [each["by"]["user_id"] for each in history.value.data if each["by"]["user_id"] is not None]
    shown = [record.value] if start is None else [record.value, start]
    context: dict[str, Any] = {
        "kind": kind,
        "record": record.value,
        "start": start,
        "version": record.version,
        "members": members,
        "edited": edited,
        "problem": editing.problem,
        "sent": visit.fields if editing.is_sent else None,
        "notes": notes.value.data,
        "history": history.value,
        "authors": await visit.each("get-user-by-id", Named, authors),
        "labels": LABELS,
        "name": name_of(record.value),
        "name_of": name_of,
        "may_write": visit.session.may(f"{kind.plural}:write"),
        **await related(visit, members, shown),
        **more,
    }
    if edited is not None and edited.kind == "tags":
        context["all_tags"] = (await visit.call("list-tags", Listed[ShownTag], query={"limit": "100"})).value.data
    if edited is not None and edited.refers_to:
        context |= await choices(visit, PLURALS[edited.refers_to])
    return Shown(context, 200 if editing.problem is None else editing.problem.status)


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
    """Change one member of a record, unless somebody else has changed this member since the form was shown."""
    member = next((each for each in await members_of(kind, visit) if each.name == name), None)
    if member is None:
        raise NotFound("field", f"Open the {kind.name} again.")
    patch, version = member.patch(visit.fields), visit.field("version")
    try:
        try:
            await visit.call(f"update-{kind.name}-record", kind.record, record_id, body=patch, if_version=version)
        except Refused as refused:
            if refused.problem.status != 412 or (unchanged := await _version_if_same(kind, visit, record_id, member)) is None:
                raise
            await visit.call(f"update-{kind.name}-record", kind.record, record_id, body=patch, if_version=unchanged)
    except Refused as refused:
        if refused.problem.status in (409, 412, 422):
            return await show_record(kind, visit, record_id, Editing(name, refused.problem, is_sent=True))
        raise
    return visit.redirect(f"{kind.path}/{record_id}", f"{member.label} saved.", undoes=True)


async def _version_if_same(kind: RecordPages, visit: Visit, record_id: str, member: Member) -> int | None:
    """Return the present version of a record if the member has the value that the form began with, else None."""
    now, before = await asyncio.gather(
        visit.call(f"get-{kind.name}-record", kind.record, record_id),
        _as_it_was(kind, visit, record_id, visit.field("seen")),
    )
    return now.version if before is not None and member.value(now.value) == member.value(before) else None


async def delete_record(kind: RecordPages, visit: Visit, record_id: str) -> PageAnswer:
    """Delete a record. Its history stays, and an undo brings it back."""
    await visit.call(f"delete-{kind.name}", Deleted, record_id)
    return visit.redirect(kind.path, f"The {kind.name} was deleted.", undoes=True)
