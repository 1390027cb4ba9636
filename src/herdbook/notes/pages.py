"""The forms of notes, which the pages of contacts and companies show."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from herdbook.companies.pages import COMPANIES
from herdbook.console.page import Page, PageAnswer
from herdbook.console.visit import Refused, Visit
from herdbook.contacts.pages import CONTACTS
from herdbook.custom_fields.pages import Editing, RecordPages, show_record
from herdbook.custom_fields.telling import ToldEntry, changed_since
from herdbook.errors import TooLarge
from herdbook.http.problems import Problem
from herdbook.notes.model import MAX_TEXT, Note
from herdbook.notes.rendering import html_of
from herdbook.shared_schemas import Deleted

_TEMPLATES: Final = {CONTACTS: "custom_fields/record.html", COMPANIES: "companies/company.html"}


async def add_note(kind: RecordPages, visit: Visit, record_id: str) -> PageAnswer:
    """Add a note to a contact or a company, or show how it would look."""
    text = visit.field("text").replace("\r\n", "\n")
    if visit.field("act") == "preview":
        return await _previewed(kind, visit, record_id, "", text)
    try:
        await visit.call(f"create-{kind.name}-note", Note, record_id, body={"text": text})
    except Refused as refused:
        if refused.problem.status != 422:
            raise
        return await _shown_again(kind, visit, record_id, "", refused.problem)
    return visit.redirect(f"{kind.path}/{record_id}", "Note added.", undoes=True)


async def change_note(kind: RecordPages, visit: Visit, record_id: str, note_id: str) -> PageAnswer:
    """Change the text of a note, show how it would look, pin it, or delete it."""
    text = visit.field("text").replace("\r\n", "\n")
    patches: dict[str, dict[str, Any]] = {"pin": {"is_pinned": True}, "unpin": {"is_pinned": False}}
    try:
        match visit.field("act"):
            case "preview":
                return await _previewed(kind, visit, record_id, note_id, text)
            case "delete":
                note = await visit.call("get-note", Note, note_id)
                # No version is zero: the text that was seen is not there any more.
                seen = note.version if note.value.updated_at == visit.field("seen") else 0
                await visit.call("delete-note", Deleted, note_id, if_version=seen)
                done = "Note deleted."
            case "pin" | "unpin" as act:
                await visit.call("update-note", Note, note_id, body=patches[act])
                done = "Note pinned." if act == "pin" else "Note no longer pinned."
            case _:
                await visit.call("update-note", Note, note_id, body={"text": text}, if_version=visit.field("version") or None)
                done = "Note saved."
    except Refused as refused:
        if refused.problem.status not in (412, 422):
            raise
        return await _shown_again(kind, visit, record_id, note_id, refused.problem)
    return visit.redirect(f"{kind.path}/{record_id}", done, undoes=True)


async def _previewed(kind: RecordPages, visit: Visit, record_id: str, note_id: str, text: str) -> PageAnswer:
    if len(text.encode()) > MAX_TEXT:
        raise TooLarge(MAX_TEXT)
    html = await html_of(text, visit.session.stored.workspace_id)
    shown = {"preview": html, "opened_note": note_id}
    return await show_record(kind, visit, record_id, Editing("", is_sent=True, context=shown))


async def _shown_again(kind: RecordPages, visit: Visit, record_id: str, note_id: str, problem: Problem) -> PageAnswer:
    since: Sequence[ToldEntry] = ()
    if problem.status == 412:
        since = await changed_since(visit, "note", note_id, version=visit.field("version"), seen=visit.field("seen"))
    shown = {"note_problem": problem, "note_since": since, "opened_note": note_id}
    return await show_record(kind, visit, record_id, Editing("", problem, is_sent=True, context=shown))


PAGES: Final = tuple(
    page
    for kind, template in _TEMPLATES.items()
    for page in (
        Page(
            method="POST",
            path=f"/{kind.plural}/{{{kind.name}_id}}/notes",
            id=f"add-{kind.name}-note",
            scopes=(f"{kind.plural}:write",),
            handler=partial(add_note, kind),
            template=template,
        ),
        Page(
            method="POST",
            path=f"/{kind.plural}/{{{kind.name}_id}}/notes/{{note_id}}",
            id=f"change-{kind.name}-note",
            scopes=(f"{kind.plural}:write",),
            handler=partial(change_note, kind),
            template=template,
        ),
    )
)
