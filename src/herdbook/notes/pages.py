"""The forms of notes, which the pages of their contacts show."""

from typing import Final

from herdbook.console.page import Page, PageAnswer
from herdbook.console.visit import Refused, Visit
from herdbook.contacts.pages import CONTACTS, Editing, show_contact
from herdbook.notes.model import Note


async def add_note(visit: Visit, contact_id: str) -> PageAnswer:
    """Add a note to a contact."""
    body = {"text": visit.field("text").replace("\r\n", "\n")}
    try:
        await visit.call("create-contact-note", Note, contact_id, body=body)
    except Refused as refused:
        if refused.problem.status != 422:
            raise
        return await show_contact(visit, contact_id, Editing("note", refused.problem, is_sent=True))
    return visit.redirect(f"{CONTACTS}/{contact_id}", "Note added.", undoes=True)


PAGES: Final = (
    Page(
        method="POST",
        path="/contacts/{contact_id}/notes",
        id="add-contact-note",
        scopes=("contacts:write",),
        handler=add_note,
        template="contacts/contact.html",
    ),
)
