"""Every SQL statement about contacts."""

from datetime import datetime
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.contacts.model import Contact, SearchEntry
from herdbook.db.database import Database, Found, find_in
from herdbook.db.paging import Conditions, Listed, PageQuery, Searched
from herdbook.db.pool import Pool, Statements
from herdbook.ledger.book import Shelf
from herdbook.ledger.claims import Claimants, claim_shelf
from herdbook.ledger.links import link_shelf
from herdbook.ledger.objects import Columns, object_shelf, row_columns


class ContactRow(msgspec.Struct, frozen=True, kw_only=True):
    """A contact's row: the contact as the API shows it, and beside it what is looked up."""

    workspace_id: UUID
    id: UUID
    version: int
    updated_at: datetime
    deleted_at: datetime | None
    company_id: UUID | None
    crm_object_id: str | None
    phone_numbers_e164: tuple[str, ...] | None
    search: str
    first_name_word: str | None
    last_name_word: str | None
    merged_into: UUID | None
    object: Contact

    @property
    def search_entry(self) -> SearchEntry:
        """What a search finds the contact by."""
        return SearchEntry(self.search, self.first_name_word, self.last_name_word)


_COLUMNS: Final[Columns] = {
    "company_id": "uuid",
    "crm_object_id": "text",
    "phone_numbers_e164": "text[]",
    "search": "text",
    "first_name_word": "text",
    "last_name_word": "text",
    "merged_into": "uuid",
}
CONTACTS: Final = object_shelf(ContactRow, "contact", _COLUMNS)
ADDRESSES: Final = Claimants(claim_shelf("contact_email", "address", "contact_id"), "contact", ids.CONTACT, "contacts:read")
# Words that are not the first of either name, which stand in the contact's row; and phone numbers, which no search asks for.
CONTACT_WORDS: Final = link_shelf("contact_word", "word", "text", "contact_id")
COMPANY_CONTACTS: Final = link_shelf("company_contact", "company_id", "uuid", "contact_id")


class Staff(msgspec.Struct, frozen=True):
    """The contacts of a company, but no more than a batch should have."""

    workspace_id: UUID
    company_id: UUID
    contacts: tuple[ContactRow, ...]


MOST_STAFF: Final = 500
_STAFF: Final[LiteralString] = """
    select asked.workspace_id, asked.key as company_id, (
        select coalesce(json_agg(few), '[]') from (
            select $columns
            from company_contact l join contact c on c.workspace_id = l.workspace_id and c.id = l.contact_id
            where l.workspace_id = asked.workspace_id and l.company_id = asked.key
            order by l.contact_id
            limit 500
        ) as few
    ) as contacts
    from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
"""
STAFF: Final = Shelf(
    row=Staff, key=lambda staff: staff.company_id, load=_STAFF.replace("$columns", row_columns(_COLUMNS)), save=None
)

_SEARCHED: Final = Searched(
    "contact",
    """
    select c.id from contact c
    where c.workspace_id = $1 and c.first_name_word >= $least and c.first_name_word < $most and c.deleted_at is null
    union all
    select c.id from contact c
    where c.workspace_id = $1 and c.last_name_word >= $least and c.last_name_word < $most and c.deleted_at is null
    union all
    select w.contact_id from contact_word w where w.workspace_id = $1 and w.word >= $least and w.word < $most
    """,
)


async def find(database: Database, workspace_id: UUID, contact_id: UUID) -> Found | None:
    """Return an active contact as the API shows it, with its version."""
    return await database.find(find_in("contact"), workspace_id, contact_id)


async def page(pool: Pool, workspace_id: UUID, query: PageQuery) -> list[Listed]:
    """Return the contacts of a page, and one more where there is a next one."""
    conditions = Conditions(workspace_id, query)
    conditions.require_crm_records("contact")
    await conditions.search(pool, _SEARCHED)
    return await conditions.fetch(pool, "contact")


async def has_staff(statements: Statements, workspace_id: UUID, company_id: UUID) -> bool:
    """Whether a company has contacts."""
    return await statements.fetchval(
        "select exists (select from company_contact where workspace_id = $1 and company_id = $2)", workspace_id, company_id
    )


async def deleted_with_staff(statements: Statements) -> list[tuple[UUID, UUID]]:
    """Return the workspaces and ids of companies that were deleted, and still have contacts."""
    records = await statements.fetch(
        """
        select c.workspace_id, c.id from company c
        where c.deleted_at is not null and exists (
            select from company_contact l where l.workspace_id = c.workspace_id and l.company_id = c.id
        )
        """
    )
    return [(record["workspace_id"], record["id"]) for record in records]
