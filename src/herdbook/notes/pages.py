"""The forms of notes, which the pages of contacts and companies show."""

from functools import partial
from typing import Final

from herdbook.companies.pages import COMPANIES
from herdbook.console.page import Page, PageAnswer
from herdbook.console.visit import Refused, Visit
from herdbook.contacts.pages import CONTACTS
from herdbook.custom_fields.pages import Editing, RecordPages, show_record
from herdbook.notes.model import Note

_TEMPLATES: Final = {CONTACTS: "custom_fields/record.html", COMPANIES: "companies/company.html"}


async def add_note(kind: RecordPages, visit: Visit, record_id: str) -> PageAnswer:
    """Add a note to a contact or a company."""
    body = {"text": visit.field("text").replace("\r\n", "\n")}
    try:
        await visit.call(f"create-{kind.name}-note", Note, record_id, body=body)
    except Refused as refused:
        if refused.problem.status != 422:
            raise
        return await show_record(kind, visit, record_id, Editing("note", refused.problem, is_sent=True))
    return visit.redirect(f"{kind.path}/{record_id}", "Note added.", undoes=True)


PAGES: Final = tuple(
    Page(
        method="POST",
        path=f"/{kind.plural}/{{{kind.name}_id}}/notes",
        id=f"add-{kind.name}-note",
        scopes=(f"{kind.plural}:write",),
        handler=partial(add_note, kind),
        template=template,
    )
    for kind, template in _TEMPLATES.items()
)
