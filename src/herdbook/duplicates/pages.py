"""The pages of duplicates: the groups, the records of one side by side, and all that are merged at once."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from herdbook.addresses import comparable_address
from herdbook.companies.pages import COMPANIES
from herdbook.console.page import BASE, MenuItem, Page, PageAnswer, Shown
from herdbook.console.visit import Listed, Refused, Visit
from herdbook.contacts.pages import CONTACTS
from herdbook.counts import number_of
from herdbook.custom_fields.forms import Member
from herdbook.custom_fields.naming import name_of
from herdbook.custom_fields.pages import RecordPages, members_of, related
from herdbook.custom_fields.telling import names_of
from herdbook.duplicates.model import Distinct, DuplicateGroup, DuplicateList, DuplicateMerge
from herdbook.errors import FieldError, Invalid, NotFound
from herdbook.http.problems import Problem
from herdbook.phone_numbers import comparable_number

_KINDS: Final = {each.plural: each for each in (CONTACTS, COMPANIES)}
_PATH: Final = f"{BASE}/duplicates"
# The scores from which all may be merged at once.
_SCORES: Final = ("0.99", "0.95", "0.9", "0.8")
_SHOWN_AT_ONCE: Final = "20"
# A merge of all passes over so many pages of groups that are refused.
_MOST_REQUESTS: Final = 20


def _kind(visit: Visit) -> RecordPages:
    """Return the kind of records of a page or form. Refusal: NotFound."""
    name = visit.field("type") or visit.query.get("type") or CONTACTS.plural
    if name not in _KINDS:
        raise NotFound("list", "Open the duplicates again.")
    return _KINDS[name]


def _list_of(kind: RecordPages) -> str:
    return f"{_PATH}?type={kind.plural}"


async def show_duplicates(visit: Visit) -> PageAnswer:
    """Show the groups, the most likely first, and what people have said is not the same."""
    kind = _kind(visit)
    query = {"object_type": kind.name, "limit": _SHOWN_AT_ONCE, "cursor": visit.query.get("cursor", "")}
    distinct_query = {"object_type": kind.name, "cursor": visit.query.get("distinct_cursor", "")}
    listed, distinct = await asyncio.gather(
        visit.call("list-duplicates", DuplicateList, query=query),
        visit.call("list-distinct", Listed[Distinct], query=distinct_query),
    )
    found = listed.value
    return Shown(
        {
            "kind": kind,
            "kinds": [each for each in _KINDS.values() if visit.session.may(f"{each.plural}:read")],
            "found": found,
            "next": visit.next_page(found.next_cursor),
            "distinct": distinct.value.data,
            "more_distinct": visit.here(distinct_cursor=distinct.value.next_cursor) if distinct.value.has_more else None,
            "names": await names_of(visit, [each for pair in distinct.value.data for each in pair.ids]),
            "may_write": visit.session.may(f"{kind.plural}:write"),
            "scores": _SCORES,
            "percent": _percent,
        }
    )


def _percent(score: float) -> str:
    """Return a score in words. Nothing is sure."""
    return f"{min(99, int(score * 100))}\N{NO-BREAK SPACE}%"


async def compare_duplicates(visit: Visit, problem: Problem | None = None) -> PageAnswer:
    """Show the records of the group that has one of them side by side, with what differs."""
    kind = _kind(visit)
    object_id = visit.query.get("id") or visit.field("keep")
    query = {"object_type": kind.name, "id": object_id}
    groups = (await visit.call("list-duplicates", DuplicateList, query=query)).value.data if object_id else ()
    if not groups:
        return visit.redirect(_list_of(kind), "They are no duplicates, or no longer.")
    (group,) = groups
    operation = f"get-{kind.name}-record"
    found = await asyncio.gather(*(visit.call(operation, kind.record, each.id) for each in group.objects))
    records = [each.value for each in found]
    members = [each for each in await members_of(kind, visit) if any(each.value(record) is not None for record in records)]
    context: dict[str, Any] = {
        "kind": kind,
        "group": group,
        "records": [*zip(records, (each.version for each in found), strict=True)],
        "members": members,
        "differing": {each.name for each in members if _differs([_compared(each, record) for record in records])},
        "reasons": _reasons(group),
        "problem": problem,
        "name_of": name_of,
        "may_write": visit.session.may(f"{kind.plural}:write"),
        "percent": _percent,
        "list_path": _list_of(kind),
        **await related(visit, members, records),
    }
    return Shown(context, 200 if problem is None else problem.status)


def _compared(member: Member, record: Any) -> Any:
    """Return the value of a member in the form in which it is compared: addresses and numbers in one spelling, in any order."""
    value = member.value(record)
    if value is None:
        return None
    match member.kind:
        case "email":
            return sorted({comparable_address(each.email) for each in value})
        case "phone_number":
            return sorted({comparable_number(each.phone_number) for each in value})
        case _:
            return value


def _differs(values: Sequence[Any]) -> bool:
    """Whether some that have a value have another one."""
    return len({msgspec.json.encode(each) for each in values if each is not None}) > 1


def _reasons(group: DuplicateGroup) -> list[str]:
    """Return the reasons of all pairs, each once."""
    return [*dict.fromkeys(reason for pair in group.pairs for reason in pair.reasons)]


async def decide(visit: Visit) -> PageAnswer:
    """Merge the chosen records into the one to keep, or remember that no two of them are the same."""
    kind = _kind(visit)
    keep, chosen = visit.field("keep"), visit.fields("id")
    is_distinct = visit.field("do") == "distinct"
    if not is_distinct and keep not in chosen:
        said = "Nothing was merged: the one to keep was not included. Include it, or keep another one."
        return visit.redirect(f"{_PATH}/compare?{urlencode({'type': kind.plural, 'id': keep})}", said)
    try:
        if is_distinct:
            await visit.call("set-distinct", Distinct, body={"object_type": kind.name, "ids": chosen})
            return visit.redirect(_list_of(kind), "Remembered: they are not the same.")
        body = {"from": [each for each in chosen if each != keep]}
        version = visit.field(f"version:{keep}")
        await visit.call(f"merge-{kind.plural}", dict[str, Any], keep, body=body, if_version=version)
    except Refused as refused:
        if refused.problem.status not in (404, 409, 412, 422):
            raise
        return await compare_duplicates(visit, refused.problem)
    return visit.redirect(_list_of(kind), "Merged.", undoes=True)


async def take_back(visit: Visit) -> PageAnswer:
    """Forget that records are not the same."""
    kind = _kind(visit)
    body = {"object_type": kind.name, "ids": visit.fields("id"), "distinct": False}
    await visit.call("set-distinct", Distinct, body=body)
    return visit.redirect(_list_of(kind), "Forgotten: they may be the same.")


async def show_all(visit: Visit) -> PageAnswer:
    """Show what a merge of all groups from a score on would do."""
    kind = _kind(visit)
    min_score = visit.query.get("min_score", _SCORES[1])
    body = {"object_type": kind.name, "min_score": _score(min_score)}
    merge = (await visit.call("merge-duplicates", DuplicateMerge, query={"dry_run": "true"}, body=body)).value
    some = [each for group in merge.groups for each in (group.id, *group.merged)]
    context = {
        "kind": kind,
        "merge": merge,
        "min_score": min_score,
        "names": await names_of(visit, some),
        "percent": _percent,
        "list_path": _list_of(kind),
        "scores": _SCORES,
    }
    return Shown(context)


def _score(text: str) -> float:
    """Return a score of a form. Refusal: Invalid."""
    try:
        return float(text)
    except ValueError:
        raise Invalid([FieldError("min_score", "invalid_type", "This is no score. Choose one of those on the page.")]) from None


async def merge_all(visit: Visit) -> PageAnswer:
    """Merge all groups from a score on, in one request: the first that has any which can be merged."""
    kind = _kind(visit)
    body = {"object_type": kind.name, "min_score": _score(visit.field("min_score"))}
    merged, refused, cursor = 0, 0, ""
    for _ in range(_MOST_REQUESTS):
        merge = (await visit.call("merge-duplicates", DuplicateMerge, body=body | {"cursor": cursor})).value
        problems = sum(each.problem is not None for each in merge.groups)
        merged, refused, cursor = len(merge.groups) - problems, refused + problems, merge.next_cursor or ""
        # Groups that are refused stay the most likely ones, and would stand before the others for ever.
        if merged or not cursor:
            break
    done = f"Merged {number_of(merged, 'group')}."
    if refused:
        done += f" {number_of(refused, 'group')} could not be merged: open the list to see why."
    if cursor:
        done += " There are more."
    return visit.redirect(_list_of(kind), done, undoes=True)


_READ: Final = ("contacts:read",)
_WRITE: Final = ("contacts:write",)

PAGES: Final = (
    Page(
        method="GET",
        path="/duplicates",
        id="show-duplicates",
        scopes=_READ,
        handler=show_duplicates,
        template="duplicates/list.html",
        menu=MenuItem("Duplicates", "twins", "d"),
    ),
    Page(
        method="GET",
        path="/duplicates/compare",
        id="compare-duplicates",
        scopes=_READ,
        handler=compare_duplicates,
        template="duplicates/compare.html",
    ),
    Page(
        method="POST",
        path="/duplicates/compare",
        id="decide-about-duplicates",
        scopes=_WRITE,
        handler=decide,
        template="duplicates/compare.html",
    ),
    Page(method="POST", path="/duplicates/take-back", id="take-back-distinct", scopes=_WRITE, handler=take_back),
    Page(
        method="GET",
        path="/duplicates/all",
        id="show-merge-of-all-duplicates",
        scopes=_WRITE,
        handler=show_all,
        template="duplicates/all.html",
    ),
    Page(
        method="POST",
        path="/duplicates/all",
        id="merge-all-duplicates",
        scopes=_WRITE,
        handler=merge_all,
        template="duplicates/all.html",
    ),
)
