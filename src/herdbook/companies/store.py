"""Every SQL statement about companies."""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.companies.model import Company
from herdbook.db.database import Database, ObjectRead, find_in
from herdbook.db.paging import ListQuery, ListRow, PageQuery, SearchIndex
from herdbook.db.pool import Pool
from herdbook.ledger.claims import UniqueKey, claim_table
from herdbook.ledger.index_entries import index_table
from herdbook.ledger.object_types import object_table
from herdbook.ledger.unit_of_work import Origin


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


COMPANIES: Final = object_table(CompanyRow, "company", {"crm_object_id": "text", "search": "text"})
COMPANY_WORDS: Final = index_table("company_word", "word", "text", "company_id")
DOMAINS: Final = UniqueKey(claim_table("company_domain", "domain", "company_id"), "company", ids.COMPANY, "companies:read")


class LeftBehind(NamedTuple):
    """A deleted company that may still have contacts, and the origin of the command that deleted it."""

    workspace_id: UUID
    company_id: UUID
    origin: Origin


_SEARCH_INDEX: Final = SearchIndex(
    "company",
    "select w.company_id from company_word w where w.workspace_id = $1 and w.word >= $least and w.word < $most",
)


async def find(database: Database, workspace_id: UUID, company_id: UUID) -> ObjectRead | None:
    """Return an active company as the API shows it, with its version."""
    return await database.find(find_in("company"), workspace_id, company_id)


async def page(pool: Pool, workspace_id: UUID, query: PageQuery) -> list[ListRow]:
    """Return the companies of a page, and one more if there is a next page."""
    conditions = ListQuery(workspace_id, query)
    conditions.require_crm_records("company")
    if (domains := query.filters.get("domain")) is not None:
        domain = conditions.parameter(list(domains))
        conditions.require_few(
            "select d.company_id from company_domain d where d.workspace_id = $1 and d.domain = any(" + domain + ")"
        )
    await conditions.search(pool, _SEARCH_INDEX)
    return await conditions.fetch(pool, "company")
