"""Every SQL statement about companies."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from herdbook.companies.model import Company
from herdbook.db.database import Database, Found
from herdbook.ledger.book import Shelf


class CompanyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A company's row: the company as the API shows it, and beside it what is looked up."""

    workspace_id: UUID
    id: UUID
    version: int
    updated_at: datetime
    deleted_at: datetime | None
    object: Company


COMPANIES: Final = Shelf(
    row=CompanyRow,
    key=lambda row: row.id,
    load="""
        select c.workspace_id, c.id, c.version, c.updated_at, c.deleted_at, c.object
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
        join company c on c.workspace_id = asked.workspace_id and c.id = asked.key
    """,
    save="""
        company_saved as (
            insert into company (workspace_id, id, version, updated_at, deleted_at, object)
            select r.workspace_id, r.id, r.version, r.updated_at, r.deleted_at, r.object
            from json_to_recordset($rows) as r(
                workspace_id uuid, id uuid, version bigint, updated_at timestamptz, deleted_at timestamptz, object json
            )
            join held on held.id = r.workspace_id
            on conflict (workspace_id, id) do update
            set version = excluded.version, updated_at = excluded.updated_at, deleted_at = excluded.deleted_at,
                object = excluded.object
        )
    """,
)


class DomainClaim(msgspec.Struct, frozen=True):
    """Which company holds a domain."""

    workspace_id: UUID
    domain: str
    company_id: UUID


DOMAIN_CLAIMS: Final = Shelf(
    row=DomainClaim,
    key=lambda claim: claim.domain,
    load="""
        select d.workspace_id, d.domain, d.company_id
        from json_to_recordset($rows) as asked(workspace_id uuid, key text)
        join company_domain d on d.workspace_id = asked.workspace_id and d.domain = asked.key
    """,
    save="""
        domain_claimed as (
            insert into company_domain (workspace_id, domain, company_id)
            select r.workspace_id, r.domain, r.company_id
            from json_to_recordset($rows) as r(workspace_id uuid, domain text, company_id uuid)
            join held on held.id = r.workspace_id
        )
    """,
)


async def find(database: Database, workspace_id: UUID, company_id: UUID) -> Found | None:
    """Return an active company as the API shows it, with its version."""
    # Planned once, perhaps for an empty table: written like this, no partial index comes into question, and the key is taken.
    return await database.find(
        """
        select asked.place, c.version, c.object
        from unnest($1::uuid[], $2::uuid[]) with ordinality as asked(workspace_id, id, place)
        join company c on c.workspace_id = asked.workspace_id and c.id = asked.id
        where coalesce(c.deleted_at, 'infinity') = 'infinity'
        """,
        workspace_id,
        company_id,
    )
