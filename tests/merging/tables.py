"""The tables of a workspace: all rows, and their consistency."""

from uuid import UUID

import asyncpg
import msgspec

from herdbook import ids
from herdbook.addresses import comparable_address
from herdbook.contacts.model import Contact, search_entry
from herdbook.engagements.model import Details
from herdbook.phone_numbers import e164


async def everything(pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> dict[str, list[str]]:
    """Return every row of a workspace as text, by table, except those that each request writes later."""
    tables = await pool.fetch(
        "select table_name from information_schema.columns where column_name = 'workspace_id' and table_schema = 'public'"
    )
    rows: dict[str, list[str]] = {}
    for (table,) in tables:
        found = await pool.fetch(f"select t::text from {table} t where workspace_id = $1 order by 1", workspace_id)
        rows[table] = [row[0] for row in found if table not in ("credential", "request_log")]
    rows["workspace"] = [str(await pool.fetchrow("select id, seq from workspace where id = $1", workspace_id))]
    return rows


async def assert_agreement(pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> None:
    """Check that claims and links match the rows, and that each row matches its last entry."""
    contacts = await pool.fetch("select * from contact where workspace_id = $1 and deleted_at is null", workspace_id)
    addresses: set[tuple[str, UUID]] = set()
    words: set[tuple[str, UUID]] = set()
    companies: set[tuple[UUID, UUID]] = set()
    for row in contacts:
        shown = msgspec.json.decode(row["object"], type=Contact)
        addresses |= {(comparable_address(item.email), row["id"]) for item in shown.emails}
        numbers = {number for item in shown.phone_numbers if (number := e164(item.phone_number))}
        words |= {(word, row["id"]) for word in search_entry(shown).other_words | numbers}
        company_id = shown.company and ids.decoded(ids.COMPANY, shown.company.id)
        companies |= {(company_id, row["id"])} if company_id else set()
        assert row["company_id"] == (company_id or None)
    engagements = await pool.fetch("select id, contact_ids, details from engagement where workspace_id = $1", workspace_id)
    parts = {(contact_id, row["id"]) for row in engagements for contact_id in row["contact_ids"]}
    for row in engagements:
        details = msgspec.json.decode(row["details"], type=Details)
        assert row["contact_ids"] == ids.decoded_all(ids.CONTACT, details.contact_ids)
    assert await _pairs(pool, workspace_id, "contact_email", "address", "contact_id") == addresses
    assert await _pairs(pool, workspace_id, "contact_word", "word", "contact_id") == words
    assert await _pairs(pool, workspace_id, "company_contact", "company_id", "contact_id") == companies
    assert await _pairs(pool, workspace_id, "engagement_contact", "contact_id", "engagement_id") == parts
    differing = await pool.fetch(
        """
        select c.id from contact c join change e on e.workspace_id = c.workspace_id and e.seq = c.version
        where c.workspace_id = $1 and (e.object_id, e.object::text) <> (c.id, c.object::text)
        """,
        workspace_id,
    )
    assert differing == []


async def _pairs(
    pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID, table: str, key: str, object_id: str
) -> set[tuple[object, object]]:
    rows = await pool.fetch(f"select {key}, {object_id} from {table} where workspace_id = $1", workspace_id)
    return {(row[0], row[1]) for row in rows}
