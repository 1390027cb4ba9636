"""Claims and links derive from the rows of objects: they are recomputed here and compared."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from herdbook.companies import store as companies
from herdbook.companies.store import COMPANY_FIELDS, COMPANY_TAGS, COMPANY_WORDS, DOMAINS
from herdbook.contacts import store as contacts
from herdbook.contacts.store import (
    ADDRESSES,
    COMPANY_CONTACTS,
    CONTACT_FIELDS,
    CONTACT_TAGS,
    CONTACT_WORDS,
    FORMER_ADDRESSES,
    FORMER_EXTERNAL_IDS,
)
from herdbook.custom_fields.store import FIELD_KEYS
from herdbook.engagements.store import (
    ENGAGEMENT_COMPANIES,
    ENGAGEMENT_CONTACTS,
    ENGAGEMENT_TAGS,
    ENGAGEMENT_WORDS,
    EXTERNAL_IDS,
)
from herdbook.ledger.claims import UniqueKey
from herdbook.ledger.index_entries import reindex
from herdbook.ledger.unit_of_work import Table, UnitOfWork
from herdbook.notes.store import COMPANY_NOTES, CONTACT_NOTES
from herdbook.object_types import OBJECT_TYPES
from herdbook.tags.store import TAG_NAMES
from herdbook.users.store import USER_WORDS

_LINKS: Final[dict[Table[Any], str]] = {
    CONTACT_WORDS: "select word, contact_id from contact_word",
    COMPANY_CONTACTS: "select company_id, contact_id from company_contact",
    CONTACT_FIELDS: "select key, contact_id from contact_field",
    COMPANY_FIELDS: "select key, company_id from company_field",
    FORMER_ADDRESSES: "select address, contact_id from contact_former_email",
    FORMER_EXTERNAL_IDS: "select external_id, contact_id from contact_former_external_id",
    COMPANY_WORDS: "select word, company_id from company_word",
    USER_WORDS: "select word, user_id from user_word",
    ENGAGEMENT_WORDS: "select word, engagement_id from engagement_word",
    ENGAGEMENT_CONTACTS: "select contact_id, engagement_id from engagement_contact",
    ENGAGEMENT_COMPANIES: "select company_id, engagement_id from engagement_company",
    CONTACT_TAGS: "select tag_id, contact_id from contact_tag",
    COMPANY_TAGS: "select tag_id, company_id from company_tag",
    CONTACT_NOTES: "select contact_id, note_id from contact_note",
    COMPANY_NOTES: "select company_id, note_id from company_note",
    ENGAGEMENT_TAGS: "select tag_id, engagement_id from engagement_tag",
}
_CLAIMS: Final[dict[UniqueKey[Any], str]] = {
    ADDRESSES: "select address, contact_id from contact_email",
    contacts.EXTERNAL_IDS: "select external_id, contact_id from contact_external_id",
    contacts.FIELD_VALUES: "select value, contact_id from contact_field_value",
    companies.FIELD_VALUES: "select value, company_id from company_field_value",
    FIELD_KEYS: "select key, field_id from field_key",
    DOMAINS: "select domain, company_id from company_domain",
    TAG_NAMES: "select name, tag_id from tag_name",
    EXTERNAL_IDS: "select external_id, engagement_id from engagement_external_id",
}


async def assert_consistent(pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> None:
    """Check that claims and links are exactly those that the rows imply."""
    moment = datetime.now(UTC)
    work = UnitOfWork(workspace_id, 0, moment, moment)
    for object_type in OBJECT_TYPES:
        held: dict[UniqueKey[Any], set[tuple[str, UUID]]] = {each: set() for each in object_type.unique_keys}
        for record in await pool.fetch(
            f"select to_json(c) from {object_type.table.name} c where workspace_id = $1", workspace_id
        ):
            row = msgspec.json.decode(record[0], type=object_type.table.row)
            reindex(work, object_type.indexes, None, row)
            if row.deleted_at is None:
                for each in object_type.held(row.entry):
                    held[each.unique_key].add((each.key, row.id))
        for unique_key, expected in held.items():
            assert await _pairs(pool, _CLAIMS[unique_key], workspace_id) == expected, object_type.name
    linked: dict[Table[Any], set[tuple[Any, ...]]] = {table: set() for table in _LINKS}
    for (table, _), link in work.changed_rows.items():
        known: Any = link
        linked[table].add((known.key, known.object_id))
    for table, query in _LINKS.items():
        assert await _pairs(pool, query, workspace_id) == linked[table], query


async def _pairs(pool: "asyncpg.Pool[asyncpg.Record]", query: str, workspace_id: UUID) -> set[tuple[Any, ...]]:
    return {tuple(record) for record in await pool.fetch(query + " where workspace_id = $1", workspace_id)}
