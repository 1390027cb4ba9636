"""Every SQL statement about contacts."""

from datetime import datetime
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from herdbook.contacts.model import Contact, SearchEntry
from herdbook.db.database import Database, Found
from herdbook.db.paging import Conditions, Listed, PageQuery
from herdbook.db.pool import Pool
from herdbook.ledger.book import Shelf
from herdbook.search_text import searched, words

# A term that more contacts match than this is common enough to be met soon on the way through the contacts in their order.
_COMMON: Final = 5000
_LAST_CHARACTER: Final = "\U0010ffff"


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
    object: Contact

    @property
    def search_entry(self) -> SearchEntry:
        """What a search finds the contact by."""
        return SearchEntry(self.search, self.first_name_word, self.last_name_word)


CONTACTS: Final = Shelf(
    row=ContactRow,
    key=lambda row: row.id,
    load="""
        select c.workspace_id, c.id, c.version, c.updated_at, c.deleted_at, c.company_id, c.crm_object_id,
            c.phone_numbers_e164, c.search, c.first_name_word, c.last_name_word, c.object
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
        join contact c on c.workspace_id = asked.workspace_id and c.id = asked.key
    """,
    save="""
        contact_saved as (
            insert into contact (workspace_id, id, version, updated_at, deleted_at, company_id, crm_object_id,
                phone_numbers_e164, search, first_name_word, last_name_word, object)
            select r.workspace_id, r.id, r.version, r.updated_at, r.deleted_at, r.company_id, r.crm_object_id,
                r.phone_numbers_e164, r.search, r.first_name_word, r.last_name_word, r.object
            from json_to_recordset($rows) as r(
                workspace_id uuid, id uuid, version bigint, updated_at timestamptz, deleted_at timestamptz, company_id uuid,
                crm_object_id text, phone_numbers_e164 text[], search text, first_name_word text, last_name_word text,
                object json
            )
            join held on held.id = r.workspace_id
            on conflict (workspace_id, id) do update
            set version = excluded.version, updated_at = excluded.updated_at, deleted_at = excluded.deleted_at,
                company_id = excluded.company_id, crm_object_id = excluded.crm_object_id,
                phone_numbers_e164 = excluded.phone_numbers_e164, search = excluded.search,
                first_name_word = excluded.first_name_word, last_name_word = excluded.last_name_word, object = excluded.object
        )
    """,
)


class AddressClaim(msgspec.Struct, frozen=True):
    """Which contact holds an e-mail address, if any, and which one does in the table before the batch is saved."""

    workspace_id: UUID
    address: str
    contact_id: UUID | None
    stored_contact_id: UUID | None


ADDRESS_CLAIMS: Final = Shelf(
    row=AddressClaim,
    key=lambda claim: claim.address,
    load="""
        select e.workspace_id, e.address, e.contact_id, e.contact_id as stored_contact_id
        from json_to_recordset($rows) as asked(workspace_id uuid, key text)
        join contact_email e on e.workspace_id = asked.workspace_id and e.address = asked.key
    """,
    # A plain insert: if two contacts ever claimed one address, the key would refuse the batch rather than give it away.
    save="""
        claim as (
            select r.workspace_id, r.address, r.contact_id, r.stored_contact_id
            from json_to_recordset($rows) as r(workspace_id uuid, address text, contact_id uuid, stored_contact_id uuid)
            join held on held.id = r.workspace_id
        ), address_freed as (
            delete from contact_email e using claim
            where e.workspace_id = claim.workspace_id and e.address = claim.address and claim.contact_id is null
        ), address_moved as (
            update contact_email e set contact_id = claim.contact_id from claim
            where e.workspace_id = claim.workspace_id and e.address = claim.address
                and claim.contact_id <> claim.stored_contact_id
        ), address_claimed as (
            insert into contact_email (workspace_id, address, contact_id)
            select workspace_id, address, contact_id from claim
            where contact_id is not null and stored_contact_id is null
        )
    """,
)


class WordEntry(msgspec.Struct, frozen=True):
    """Whether a contact is found by a word that is not the first of either name: those stand in its row."""

    workspace_id: UUID
    word: str
    contact_id: UUID
    is_there: bool


WORD_ENTRIES: Final = Shelf(
    row=WordEntry,
    key=lambda entry: (entry.word, entry.contact_id),
    load=None,
    save="""
        word_entry as (
            select r.workspace_id, r.word, r.contact_id, r.is_there
            from json_to_recordset($rows) as r(workspace_id uuid, word text, contact_id uuid, is_there boolean)
            join held on held.id = r.workspace_id
        ), word_forgotten as (
            delete from contact_word w using word_entry e
            where w.workspace_id = e.workspace_id and w.word = e.word and w.contact_id = e.contact_id and not e.is_there
        ), word_learned as (
            insert into contact_word (workspace_id, word, contact_id)
            select workspace_id, word, contact_id from word_entry where is_there
            on conflict do nothing
        )
    """,
)


async def find(database: Database, workspace_id: UUID, contact_id: UUID) -> Found | None:
    """Return an active contact as the API shows it, with its version."""
    # Planned once, perhaps for an empty table: written like this, no partial index comes into question, and the key is taken.
    return await database.find(
        """
        select asked.place, c.version, c.object
        from unnest($1::uuid[], $2::uuid[]) with ordinality as asked(workspace_id, id, place)
        join contact c on c.workspace_id = asked.workspace_id and c.id = asked.id
        where coalesce(c.deleted_at, 'infinity') = 'infinity'
        """,
        workspace_id,
        contact_id,
    )


async def page(pool: Pool, workspace_id: UUID, query: PageQuery) -> list[Listed]:
    """Return the contacts of a page, and one more where there is a next one."""
    conditions = Conditions(workspace_id, query)
    if query.crm_object_ids is not None:
        conditions.add("c.crm_object_id = any($value)", query.crm_object_ids)
    if query.search is None:
        return await conditions.fetch(pool, "select c.version, c.updated_at, c.object from contact c")
    terms = searched(query.search)
    if not terms:
        return []
    # The planner takes `like` for rare, and would sort all contacts for the few. Of what `coalesce` hides it thinks that half
    # fit, and walks through them in their order until the page is full.
    conditions.add("coalesce(c.search like all($value), false)", [f"%{_like_escaped(term)}%" for term in terms])
    rare = await _rare_word(pool, workspace_id, sorted({word for term in terms for word in words(term)}))
    if rare is None:
        return await conditions.fetch(pool, "select c.version, c.updated_at, c.object from contact c")
    least, most = conditions.parameter(rare), conditions.parameter(rare + _LAST_CHARACTER)
    # As an array, so that the planner expects few and takes each by its key. Told that they come from a select, it walks
    # through all contacts in their order instead, and looks for each among those found.
    conditions.require("c.id = any(array(" + _FOUND_BY_WORD.replace("$least", least).replace("$most", most) + "))")
    return await conditions.fetch(pool, "select c.version, c.updated_at, c.object from contact c")


_FOUND_BY_WORD: Final[LiteralString] = """
    select c.id from contact c
    where c.workspace_id = $1 and c.first_name_word >= $least and c.first_name_word < $most and c.deleted_at is null
    union all
    select c.id from contact c
    where c.workspace_id = $1 and c.last_name_word >= $least and c.last_name_word < $most and c.deleted_at is null
    union all
    select w.contact_id from contact_word w where w.workspace_id = $1 and w.word >= $least and w.word < $most
"""
_COUNT_WORDS: Final[LiteralString] = (
    """
    select asked.word, (select count(*) from (
    """
    + _FOUND_BY_WORD.replace("$least", "asked.word").replace("$most", "asked.word || $3")
    + """
        limit $4
    ) as few) as matches
    from unnest($2::text[]) as asked(word)
    order by matches
    limit 1
    """
)


async def _rare_word(pool: Pool, workspace_id: UUID, candidates: list[str]) -> str | None:
    """Return the word that the fewest contacts have at the start of one of theirs, or None where all are common.

    It reads no more than `_COMMON` entries a word, however many there are.
    """
    record = await pool.fetchrow(_COUNT_WORDS, workspace_id, candidates, _LAST_CHARACTER, _COMMON)
    assert record is not None, "there is a candidate"
    return record["word"] if record["matches"] < _COMMON else None


def _like_escaped(term: str) -> str:
    return term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
