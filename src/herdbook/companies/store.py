"""The type of companies, with its tables, and every SQL statement about them."""

from operator import attrgetter
from typing import Any, Final, Self
from uuid import UUID

from msgspec import UNSET

from herdbook import ids
from herdbook.addresses import without_www
from herdbook.companies.model import Company, CompanyObject, patched
from herdbook.db.database import Database, ObjectRead, find_in
from herdbook.db.paging import ListQuery, ListRow, PageQuery, SearchIndex
from herdbook.db.pool import Pool
from herdbook.ledger.claims import UniqueKey, claim_table
from herdbook.ledger.index_entries import Index, index_table
from herdbook.ledger.object_types import Events, HistoryNotes, ObjectRow, ObjectType, object_table
from herdbook.search_text import END, indexed, searchable_name


class CompanyRow(ObjectRow, frozen=True, kw_only=True):
    """A company's row: the company as the API shows it, and the columns that queries use."""

    crm_object_id: str | None
    search: str
    merged_into: UUID | None
    object: Company

    @classmethod
    def columns(cls, before: Self | None, after: Company) -> dict[str, Any]:  # noqa: ARG003  # all follows from the company
        crm = after.crm_association
        return {
            "crm_object_id": None if crm is UNSET else crm.crm_object_id,
            "search": searchable_name(after.name or "") + END,
            "merged_into": None,
        }


COMPANIES: Final = object_table(CompanyRow, "company", {"crm_object_id": "text", "search": "text", "merged_into": "uuid"})
COMPANY_WORDS: Final = index_table("company_word", "word", "text", "company_id")
DOMAINS: Final = UniqueKey[Company](
    claim_table("company_domain", "domain", "company_id"),
    keys=lambda company: [without_www(item.domain) for item in company.domains],
    field_path=lambda index: f"domains[{index}].domain",
)
COMPANY: Final = ObjectType(
    kind="o",
    name="company",
    plural="companies",
    prefix=ids.COMPANY,
    table=COMPANIES,
    entry=Company,
    example=Company.example,
    indexes=(Index[CompanyRow](COMPANY_WORDS, attrgetter("search"), lambda company: indexed(company.search)),),
    unique_keys=(DOMAINS,),
    read_scopes=Company.read_scopes,
    write_scopes=("companies:write",),
    events=Events.of_changes("company", example_previous={"name": "Difference Engine"}),
    blank=lambda company_id, time: Company(object=CompanyObject.COMPANY, id=company_id, created_at=time, updated_at=time),
    patched=patched,
    history=HistoryNotes(
        restoring="Its contacts stay without a company, or with the one that it was merged into: to link them again, undo the "
        "request that deleted or merged it."
    ),
)


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
