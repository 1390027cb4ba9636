"""The pages that merge a contact or a company with another one: choose it, see the result before, and merge."""

from functools import partial
from typing import Any, Final

import msgspec

from herdbook.companies.pages import COMPANIES
from herdbook.console.page import Page, PageAnswer, Shown
from herdbook.console.visit import Refused, Visit
from herdbook.contacts.pages import CONTACTS
from herdbook.custom_fields.pages import RecordPages, choices, members_of, related
from herdbook.custom_fields.telling import name_of
from herdbook.http.problems import Problem


async def show_merge(kind: RecordPages, visit: Visit, target_id: str, problem: Problem | None = None) -> PageAnswer:
    """Show the records to choose from or, once one is chosen with `from`, each field of both and of the result."""
    target = await visit.call(f"get-{kind.name}-record", kind.record, target_id)
    source_id = visit.field("from") or visit.query.get("from", "")
    context: dict[str, Any] = {
        "kind": kind,
        "target": target.value,
        "version": target.version,
        "problem": problem,
        "name_of": name_of,
        "source": None,
    }
    if source_id:
        try:
            context |= await _preview(kind, visit, target.value, source_id)
        except Refused as refused:
            if refused.problem.status not in (404, 409, 422):
                raise
            context["problem"] = problem or refused.problem
    if context["source"] is None:
        context |= await choices(visit, kind.plural)
    shown: Problem | None = context["problem"]
    return Shown(context, 200 if shown is None else shown.status)


async def _preview(kind: RecordPages, visit: Visit, target: Any, source_id: str) -> dict[str, Any]:
    """Return what a merge would do. Refusal: Refused."""
    source = (await visit.call(f"get-{kind.name}-record", kind.record, source_id)).value
    body = {"from": [source_id]}
    expected = await visit.call(f"merge-{kind.plural}", dict[str, Any], target.id, query={"dry_run": "true"}, body=body)
    merged: Any = msgspec.convert(expected.value[kind.name], kind.record)
    merged = getattr(merged, "labelled", merged)
    members = await members_of(kind, visit)
    records = [target, source, merged]
    return {
        "source": source,
        "merged": merged,
        "moved": {name: many for name in _MOVED if (many := expected.value.get(f"{name}_moved"))},
        "members": [each for each in members if any(each.value(record) is not None for record in records)],
        **await related(visit, members, records),
    }


async def merge(kind: RecordPages, visit: Visit, target_id: str) -> PageAnswer:
    """Merge the chosen record into this one, unless this one was changed since the preview."""
    body, version = {"from": [visit.field("from")]}, visit.field("version")
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
