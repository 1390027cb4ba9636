"""The type of notes, with its tables, and every SQL statement about them."""

from operator import attrgetter
from typing import Any, Final, LiteralString, Self
from uuid import UUID

from msgspec import UNSET

from herdbook import ids
from herdbook.companies.store import COMPANY
from herdbook.contacts.store import CONTACT
from herdbook.db.database import Database, ObjectRead, find_in
from herdbook.db.paging import ListQuery, ListRow, PageQuery
from herdbook.db.pool import PagePool
from herdbook.ledger.index_entries import Index, index_table
from herdbook.ledger.object_types import HistoryNotes, ObjectRow, ObjectType, object_table
from herdbook.notes.model import Note


class NoteRow(ObjectRow, frozen=True, kw_only=True):
    """A note's row: the contact or the company that the note is on, and whether it is pinned."""

    contact_id: UUID | None
    company_id: UUID | None
    is_pinned: bool
    object: Note

    @classmethod
    def columns(cls, before: Self | None, after: Note) -> dict[str, Any]:  # noqa: ARG003  # all is in the note
        return {
            "contact_id": None if after.contact_id is UNSET else ids.decoded(ids.CONTACT, after.contact_id),
            "company_id": None if after.company_id is UNSET else ids.decoded(ids.COMPANY, after.company_id),
            "is_pinned": after.is_pinned,
        }


NOTES: Final = object_table(NoteRow, "note", {"contact_id": "uuid", "company_id": "uuid", "is_pinned": "boolean"})
CONTACT_NOTES: Final = index_table("contact_note", "contact_id", "uuid", "note_id")
COMPANY_NOTES: Final = index_table("company_note", "company_id", "uuid", "note_id")
# A note is read and written with the scopes of the object that it is on. An answer that may have notes on both takes both.
NOTE: Final = ObjectType(
    kind="m",
    name="note",
    plural="notes",
    prefix=ids.NOTE,
    table=NOTES,
    entry=Note,
    example=Note.example,
    indexes=(
        Index[NoteRow](
            CONTACT_NOTES, attrgetter("contact_id"), lambda row: set() if row.contact_id is None else {row.contact_id}
        ),
        Index[NoteRow](
            COMPANY_NOTES, attrgetter("company_id"), lambda row: set() if row.company_id is None else {row.company_id}
        ),
    ),
    refers_to=(CONTACT, COMPANY),
    read_scopes=("contacts:read", "companies:read"),
    write_scopes=("contacts:read", "contacts:write", "companies:read", "companies:write"),
    history=HistoryNotes(
        restoring="The contact or company that it is on must exist. If that was merged, the note comes back on the one that "
        "replaces it."
    ),
)


def place_of(note: Note) -> tuple[ObjectType[Any, Any], UUID]:
    """Return the object that a note is on: its type, and its id."""
    if note.contact_id is not UNSET:
        object_type, shown_id = CONTACT, note.contact_id
    else:
        assert note.company_id is not UNSET, "a note is on a contact or a company"
        object_type, shown_id = COMPANY, note.company_id
    return object_type, ids.decoded(object_type.prefix, shown_id) or ids.NIL


async def find(database: Database, workspace_id: UUID, note_id: UUID) -> ObjectRead | None:
    """Return an active note as the API shows it, with its version, whether or not the object that it is on is active."""
    return await database.find(find_in("note"), workspace_id, note_id)


_ON: Final[dict[ObjectType[Any, Any], LiteralString]] = {CONTACT: "c.contact_id = $value", COMPANY: "c.company_id = $value"}


async def page(
    pool: PagePool, workspace_id: UUID, query: PageQuery, object_type: ObjectType[Any, Any], object_id: UUID
) -> list[ListRow]:
    """Return the notes of a page on one contact or company, and one more if there is a next page."""
    conditions = ListQuery(workspace_id, query)
    conditions.add(_ON[object_type], object_id)
    if (pinned := query.filters.get("is_pinned")) is not None:
        conditions.add("c.is_pinned = $value", pinned == ("true",))
    return await conditions.fetch(pool, "note")
