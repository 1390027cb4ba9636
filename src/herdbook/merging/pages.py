"""The pages that merge a contact or a company with others: choose one, see the result before, and merge."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import msgspec

from herdbook.companies.pages import COMPANIES
from herdbook.console.page import Page, PageAnswer, Shown
from herdbook.console.visit import Refused, Visit
from herdbook.contacts.pages import CONTACTS
from herdbook.custom_fields.naming import name_of
from herdbook.custom_fields.pages import RecordPages, choices, members_of, related
from herdbook.http.problems import Problem
from herdbook.merging.model import MAX_SOURCES


async def show_merge(kind: RecordPages, visit: Visit, target_id: str, problem: Problem | None = None) -> PageAnswer:
    """Show the records to choose from or, once some are chosen with `from`, each field of all and of the result."""
    target = await visit.call(f"get-{kind.name}-record", kind.record, target_id)
    source_ids = [*dict.fromkeys(visit.fields("from") or visit.query.getlist("from"))]
    context: dict[str, Any] = {
        "kind": kind,
        "target": target.value,
        "version": target.version,
        "problem": problem,
        "name_of": name_of,
        "sources": None,
    }
    if source_ids:
        try:
            context |= await _preview(kind, visit, target.value, source_ids)
        except Refused as refused:
            if refused.problem.status not in (404, 409, 422):
                raise
            context["problem"] = problem or refused.problem
    if context["sources"] is None:
        context |= await choices(visit, kind.plural)
    shown: Problem | None = context["problem"]
    return Shown(context, 200 if shown is None else shown.status)


async def _preview(kind: RecordPages, visit: Visit, target: Any, source_ids: Sequence[str]) -> dict[str, Any]:
    """Return what a merge would do. Refusal: Refused."""
    found = [visit.call(f"get-{kind.name}-record", kind.record, each) for each in source_ids[:MAX_SOURCES]]
    sources = [each.value for each in await asyncio.gather(*found)]
    body = {"from": source_ids}
    expected = await visit.call(f"merge-{kind.plural}", dict[str, Any], target.id, query={"dry_run": "true"}, body=body)
    merged: Any = msgspec.convert(expected.value[kind.name], kind.record)
    merged = getattr(merged, "labelled", merged)
    members = await members_of(kind, visit)
    records = [target, *sources, merged]
    return {
        "sources": sources,
        "merged": merged,
        "moved": {name: many for name in _MOVED if (many := expected.value.get(f"{name}_moved"))},
        "members": [each for each in members if any(each.value(record) is not None for record in records)],
        **await related(visit, members, records),
    }


async def merge(kind: RecordPages, visit: Visit, target_id: str) -> PageAnswer:
    """Merge the chosen records into this one, unless this one was changed since the preview."""
    body, version = {"from": visit.fields("from")}, visit.field("version")
    try:
        await visit.call(f"merge-{kind.plural}", dict[str, Any], target_id, body=body, if_version=version)
    except Refused as refused:
        if refused.problem.status not in (409, 412, 422):
            raise
        return await show_merge(kind, visit, target_id, refused.problem)
    return visit.redirect(f"{kind.path}/{target_id}", "Merged.", undoes=True)


# The objects that a merge moves, as its answer names them.
_MOVED: Final = ("contacts", "engagements", "notes")

PAGES: Final = tuple(
    Page(
        method=method,
        path=f"/{kind.plural}/{{{kind.name}_id}}/merge",
        id=page_id,
        scopes=(f"{kind.plural}:write",),
        handler=partial(handler, kind),
        template="merging/merge.html",
    )
    for kind in (CONTACTS, COMPANIES)
    for method, page_id, handler in (
        ("GET", f"show-merge-of-{kind.plural}", show_merge),
        ("POST", f"merge-{kind.plural}-by-form", merge),
    )
)
