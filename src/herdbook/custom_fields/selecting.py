"""The pages on which many contacts or companies are changed at once: what to change, what that does, and how to take it back.

All changes are those of one request, so one undo takes all of them back.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from herdbook.console.conflicts import changed_meanwhile
from herdbook.console.page import PageAnswer, Redirect, Shown
from herdbook.console.visit import Refused, Visit, own_path
from herdbook.custom_fields.forms import LABELS, Member
from herdbook.custom_fields.lists import Place, filterable, page_of
from herdbook.custom_fields.naming import name_of
from herdbook.custom_fields.pages import RecordPages, as_it_was, choices, members_of, related, tag_choices
from herdbook.custom_fields.telling import PLURALS, names_of
from herdbook.errors import FieldError, Invalid, NotFound
from herdbook.http.problems import Problem
from herdbook.ledger.changes import same
from herdbook.turns import MAX_TRIES

# As many as a bulk write takes.
MAX_SELECTED: Final = 1000
# As many as one merge takes.
MAX_MERGED: Final = 50
# This many are read or written at a time.
WAVE: Final = 50
MAX_EXAMPLES: Final = 5
_STALE: Final = 412
_PAGE: Final = 100
# A page may have few matches, or none, so that finding all of them could take long.
_MAX_PAGES: Final = 30
_is_id: Final = re.compile(r"[a-z]+_[0-9A-Z]{26}").fullmatch
# No two records have the same values of these, or their values have parts.
_EACH_ITS_OWN: Final = frozenset({"email", "phone_number", "domain", "lines", "parts"})


class Example(NamedTuple):
    """A record that changes, as it is and as it will be."""

    before: Any
    after: Any


class _Failed(NamedTuple):
    """A record that stays as it is, and why."""

    record_id: str
    problem: Problem


class _Outcome(msgspec.Struct):
    """The outcome of one operation of a bulk write."""

    index: int
    problem: Problem | None = None


class _Outcomes(msgspec.Struct):
    """The outcomes of a bulk write."""

    results: tuple[_Outcome, ...]


class Change(NamedTuple):
    """The change of the selected records: a member gets a value, has tags added or removed, or the record is deleted."""

    member: Member | None
    value: Any = None
    mode: str = "set"

    def after(self, record: Any) -> Any:
        """Return the value that the member will have."""
        assert self.member is not None, "a deletion sets no value"
        before = self.member.value(record)
        if self.mode == "set":
            return self.value
        had: list[Any] = [*(before or ())]
        named: list[Any] = self.value or []
        kept = [each for each in had if each not in named]
        return (kept or None) if self.mode == "remove" else had + [each for each in named if each not in had] or None

    def patch(self, record: Any) -> dict[str, Any]:
        """Return the patch of one record."""
        assert self.member is not None, "a deletion sets no value"
        value = self.after(record)
        return {self.member.name: value} if self.member.field is None else {"fields": {self.member.field.key: value}}

    def changes(self, record: Any) -> bool:
        """Whether the record will not be as it is."""
        if self.member is None:
            return True
        before = self.member.value(record)
        after = self.after(record)
        # Tags are shown as a tuple, and sent as a list.
        return not same(after, [*before] if isinstance(before, tuple) else before)


def stand_in(member: Member, value: Any) -> Any:
    """Return a record with one value, for the parts of pages that show or ask for the value of a record."""
    if member.field is not None:
        return SimpleNamespace(fields={member.field.key: value}, tag_ids=UNSET)
    if member.name == "company_id":
        return SimpleNamespace(company=UNSET if value is None else SimpleNamespace(id=value), tag_ids=UNSET)
    return SimpleNamespace(**({"tag_ids": UNSET} | {member.name: UNSET if value is None else value}))


def editable(members: Sequence[Member]) -> list[Member]:
    """Return the members that many records may get the same value of."""
    return [each for each in members if each.kind not in _EACH_ITS_OWN and not (each.field is not None and each.field.unique)]


async def show_selected(kind: RecordPages, visit: Visit) -> PageAnswer:
    """Show what can be done to the selected records: those that are named or, with `all`, those that the list has."""
    members = await members_of(kind, visit)
    place = Place(kind.path, visit.query)
    has_more = False
    if "all" in visit.query:
        record_ids, has_more = await all_of_list(kind, visit, place, members)
    else:
        record_ids = [each for each in dict.fromkeys(visit.query.getlist("id")) if _is_id(each)][:MAX_SELECTED]
    return Shown(await _context(kind, visit, record_ids, place.at(), members) | {"has_more": has_more})


async def all_of_list(kind: RecordPages, visit: Visit, place: Place, members: Sequence[Member]) -> tuple[list[str], bool]:
    """Return the first records of a list, and whether there may be more of them."""
    by_name = filterable(members)
    record_ids: list[str] = []
    cursor = None
    for _ in range(_MAX_PAGES):
        page = await page_of(kind, visit, place, by_name, limit=_PAGE, cursor=cursor)
        record_ids += [each.id for each in page.records]
        cursor = page.next_cursor
        if cursor is None or len(record_ids) > MAX_SELECTED:
            break
    return record_ids[:MAX_SELECTED], cursor is not None or len(record_ids) > MAX_SELECTED


async def _context(
    kind: RecordPages, visit: Visit, record_ids: Sequence[str], back: str, members: Sequence[Member]
) -> dict[str, Any]:
    """Return what all pages about a selection show."""
    first = await visit.each(f"get-{kind.name}-record", kind.record, record_ids[:MAX_EXAMPLES])
    return {
        "kind": kind,
        "record_ids": record_ids,
        "many": len(record_ids),
        "first": [*first.values()],
        "back": back,
        "editable": editable(members),
        "most": MAX_SELECTED,
        "most_merged": MAX_MERGED,
        "name_of": name_of,
        "has_more": False,
        "edited": None,
        "preview": None,
        "problem": None,
        "failed": None,
    }


async def preview(kind: RecordPages, visit: Visit, *, is_ready: bool = False) -> PageAnswer:
    """Show the form of a member or, once it has a value, what will change. Nothing changes yet."""
    record_ids, back = _asked(visit), own_path(visit.field("back"))
    if visit.field("do") == "merge" and len(record_ids) > 1:
        sources = "&".join(f"from={each}" for each in record_ids[1:MAX_MERGED])
        return Redirect(f"{kind.path}/{record_ids[0]}/merge?{sources}")
    members = await members_of(kind, visit)
    context = await _context(kind, visit, record_ids, back, members)
    if visit.field("do") == "delete":
        return Shown(context | await _previewed(kind, visit, record_ids, Change(None)))
    member = _member(visit, members)
    seeks = bool(visit.field("seeks"))
    if (is_ready or visit.field("ready")) and not seeks:
        return Shown(context | await _previewed(kind, visit, record_ids, _change(visit, member)))
    context |= {
        "edited": member,
        "blank": stand_in(member, None),
        # A search keeps what is chosen.
        "sent": visit.fields if seeks else None,
        "mode": visit.field("mode") or "add",
        "labels": LABELS,
        "names": await names_of(visit, visit.fields("value")) if member.refers_to else {},
        "find": "",
        "new_tag": "",
    }
    if member.kind == "tags":
        context |= await tag_choices(kind, visit, visit.fields("value"), visit.field("find"))
    if member.refers_to:
        context |= await choices(visit, PLURALS[member.refers_to])
    return Shown(context)


def _asked(visit: Visit) -> list[str]:
    """Return the ids of the selected records in a form. Refusal: Invalid."""
    record_ids = [each for each in dict.fromkeys(visit.field("ids").split(",")) if _is_id(each)]
    if len(record_ids) > MAX_SELECTED:
        message = f"You have selected {len(record_ids):,} records. Select at most {MAX_SELECTED:,} at once."
        raise Invalid([FieldError("ids", "too_long", message)])
    return record_ids


def _member(visit: Visit, members: Sequence[Member]) -> Member:
    """Return the member to change. Refusal: NotFound."""
    found = next((each for each in editable(members) if each.name == visit.field("member")), None)
    if found is None:
        raise NotFound("field", "Open the list again, and choose one of those that are offered.")
    return found


def _change(visit: Visit, member: Member) -> Change:
    patch = member.patch(visit.fields)
    value = patch[member.name] if member.field is None else patch["fields"][member.field.key]
    mode = visit.field("mode") if member.kind in ("tags", "several_of") else ""
    return Change(member, value, mode if mode in ("add", "remove") else "set")


async def _read(kind: RecordPages, visit: Visit, record_ids: Sequence[str]) -> dict[str, Any]:
    """Return the records that are still there, by their ids."""
    records: dict[str, Any] = {}
    for start in range(0, len(record_ids), WAVE):
        records |= await visit.each(f"get-{kind.name}-record", kind.record, record_ids[start : start + WAVE])
    return records


async def _previewed(kind: RecordPages, visit: Visit, record_ids: Sequence[str], change: Change) -> dict[str, Any]:
    """Return what a change will do: the numbers of records, and some examples."""
    records = await _read(kind, visit, record_ids)
    changed = [each for each in records.values() if change.changes(each)]
    some = changed[:MAX_EXAMPLES]
    member = change.member
    examples = [Example(each, None if member is None else stand_in(member, change.after(each))) for each in some]
    shown = await related(visit, [] if member is None else [member], [record for each in examples for record in each if record])
    return {
        "preview": change,
        "examples": examples,
        "changed": len(changed),
        "same": len(records) - len(changed),
        "gone": len(record_ids) - len(records),
        "values": visit.fields("value"),
        "seen": max((each.updated_at for each in records.values()), default=""),
        **shown,
    }


async def apply(kind: RecordPages, visit: Visit) -> PageAnswer:
    """Change the selected records, and say which stay as they are, and why.

    One that somebody has changed since the preview stays as it is. Without a preview, that is shown.
    """
    record_ids, back = _asked(visit), own_path(visit.field("back"))
    members = await members_of(kind, visit)
    change = Change(None) if visit.field("do") == "delete" else _change(visit, _member(visit, members))
    seen = visit.field("seen")
    if not seen and change.mode == "set":
        return await preview(kind, visit, is_ready=True)
    records = await _read(kind, visit, record_ids)
    unseen = await _unseen(kind, visit, records, change, seen) if change.mode == "set" else []
    changed = {key: each for key, each in records.items() if change.changes(each)}
    if change.mode == "set":
        changed = {key: each for key, each in changed.items() if key not in unseen}
        patches = None if change.member is None else {key: change.patch(each) for key, each in changed.items()}
        failed = await _in_bulk(kind, visit, [*changed], patches)
    else:
        failed = await _one_by_one(kind, visit, [*changed], change)
    done = len(changed) - len(failed)
    problem = changed_meanwhile(visit, "Somebody has changed it since you saw what would change. Look at it again.")
    failed += [_Failed(each, problem) for each in unseen]
    noun = kind.name if done == 1 else kind.plural
    said = f"{done:,} {noun} {'deleted' if change.member is None else 'changed'}."
    if not failed:
        return visit.redirect(back, said, undoes=bool(done))
    context = await _context(kind, visit, record_ids, back, members)
    context |= {
        "failed": [(records[each.record_id], each.problem) for each in failed[:MAX_EXAMPLES]],
        "failed_many": len(failed),
        "said": said,
        "undoes": visit.shown_request_id if done else None,
    }
    return Shown(context, failed[0].problem.status)


async def _unseen(kind: RecordPages, visit: Visit, records: Mapping[str, Any], change: Change, seen: str) -> list[str]:
    """Return the records whose member, or of which anything if they are deleted, is not as the preview has seen it.

    The ledger gives each change of a workspace a later time than all before it.
    """
    later = [key for key, each in records.items() if each.updated_at > seen]
    if change.member is None:
        return later
    then = await asyncio.gather(*(as_it_was(kind, visit, each, seen) for each in later))
    value = change.member.value
    return [key for key, was in zip(later, then, strict=True) if was is None or value(was) != value(records[key])]


async def _one_by_one(kind: RecordPages, visit: Visit, record_ids: Sequence[str], change: Change) -> list[_Failed]:
    """Add items to lists of records, or remove them. Each list is sent whole, so nobody else may have changed it meanwhile."""
    failed: list[_Failed] = []
    for start in range(0, len(record_ids), WAVE):
        wave = record_ids[start : start + WAVE]
        problems = await asyncio.gather(*(_problem_of(kind, visit, each, change) for each in wave))
        failed += [_Failed(each, problem) for each, problem in zip(wave, problems, strict=True) if problem is not None]
    return failed


async def _problem_of(kind: RecordPages, visit: Visit, record_id: str, change: Change) -> Problem | None:
    """Change one record as it is now, and return why that was refused, if it was."""
    tries = 0
    while True:
        tries += 1
        try:
            now = await visit.call(f"get-{kind.name}-record", kind.record, record_id)
            if change.changes(now.value):
                patch = change.patch(now.value)
                await visit.call(f"update-{kind.name}-record", kind.record, record_id, body=patch, if_version=now.version)
        except Refused as refused:
            if refused.problem.status == _STALE and tries < MAX_TRIES:
                continue
            return refused.problem
        return None


async def _in_bulk(
    kind: RecordPages, visit: Visit, record_ids: Sequence[str], patches: Mapping[str, Any] | None
) -> list[_Failed]:
    """Change records by one bulk write, or delete them."""
    if not record_ids:
        return []
    operations = [
        {"action": "delete", "id": each} if patches is None else {"action": "update", "id": each, kind.name: patches[each]}
        for each in record_ids
    ]
    found = await visit.call(f"bulk-write-{kind.plural}", _Outcomes, body={"operations": operations})
    return [_Failed(record_ids[each.index], each.problem) for each in found.value.results if each.problem is not None]
