"""Every SQL statement about companies."""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.companies.model import Company
from herdbook.db.database import Database, Found, find_in
from herdbook.db.paging import Conditions, Listed, PageQuery, Searched
from herdbook.db.pool import Pool
from herdbook.ledger.book import Origin
from herdbook.ledger.claims import Claimants, claim_shelf
from herdbook.ledger.links import link_shelf
from herdbook.ledger.objects import object_shelf


class CompanyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A company's row: the company as the API shows it, and the columns that queries use."""

    workspace_id: UUID
    id: UUID
    version: int
    updated_at: datetime
    deleted_at: datetime | None
    crm_object_id: str | None
    search: str
    object: Company


COMPANIES: Final = object_shelf(CompanyRow, "company", {"crm_object_id": "text", "search": "text"})
COMPANY_WORDS: Final = link_shelf("company_word", "word", "text", "company_id")
DOMAINS: Final = Claimants(claim_shelf("company_domain", "domain", "company_id"), "company", ids.COMPANY, "companies:read")


class LeftBehind(NamedTuple):
    """A deleted company that may still have contacts, and the origin of the command that deleted it."""

    workspace_id: UUID
    company_id: UUID
    origin: Origin


_SEARCHED: Final = Searched(
    "company",
    "select w.company_id from company_word w where w.workspace_id = $1 and w.word >= $least and w.word < $most",
)


async def find(database: Database, workspace_id: UUID, company_id: UUID) -> Found | None:
    """Return an active company as the API shows it, with its version."""
    return await database.find(find_in("company"), workspace_id, company_id)


async def page(pool: Pool, workspace_id: UUID, query: PageQuery) -> list[Listed]:
    """Return the companies of a page, and one more if there is a next page."""
    conditions = Conditions(workspace_id, query)
    conditions.require_crm_records("company")
    if (domains := query.filters.get("domain")) is not None:
        domain = conditions.parameter(list(domains))
        conditions.require_few(
            "select d.company_id from company_domain d where d.workspace_id = $1 and d.domain = any(" + domain + ")"
        )
    await conditions.search(pool, _SEARCHED)
    return await conditions.fetch(pool, "company")
