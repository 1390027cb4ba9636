"""The type of companies, with its tables, and every SQL statement about them."""

from operator import attrgetter
from typing import Any, Final, Self
from uuid import UUID

from msgspec import UNSET

from herdbook import ids
from herdbook.addresses import without_www
from herdbook.companies.model import Company, CompanyObject, CompanyRecord, OwnMembers, patched
from herdbook.custom_fields.store import find_record_in, record_of
from herdbook.custom_fields.values import claims_value, field_values, index_keys, unique_value_path
from herdbook.db.database import Database, ObjectRead, find_in
from herdbook.db.paging import ListQuery, ListRow, PageQuery, SearchIndex
from herdbook.db.pool import PagePool
from herdbook.ledger.claims import UniqueKey, claim_table
from herdbook.ledger.crm_links import linked_table
from herdbook.ledger.former_holders import former_holders
from herdbook.ledger.index_entries import Index, index_table
from herdbook.ledger.object_types import Events, HistoryNotes, ObjectType, RecordRow, active, object_table
from herdbook.search_text import END, indexed, searchable_name
from herdbook.tags.store import TAG, tags_of


class CompanyRow(RecordRow, frozen=True, kw_only=True):
    """A company's row: the company as the vendor's operations show it, its own members, and the columns that queries use."""

    crm_object_id: str | None
    search: str
    merged_into: UUID | None
    own: OwnMembers | None
    object: CompanyRecord

    @property
    def former_domains(self) -> set[str]:
        """The domains of a deleted company. Those of a merged one passed to the company that replaces it."""
        return set() if self.merged_into is not None else set(DOMAINS.keys(self.object))

    @classmethod
    def columns(cls, before: Self | None, after: CompanyRecord) -> dict[str, Any]:  # noqa: ARG003  # all follows from the company
        crm = after.crm_association
        return {
            "crm_object_id": None if crm is UNSET else crm.crm_object_id,
            "search": searchable_name(after.name or "") + END,
            "merged_into": None,
            **cls.own_columns(after),
        }


COMPANIES: Final = object_table(
    CompanyRow, "company", {"crm_object_id": "text", "search": "text", "merged_into": "uuid", "own": "json"}
)
LINKED_COMPANIES: Final = linked_table("company")
COMPANY_WORDS: Final = index_table("company_word", "word", "text", "company_id")
DOMAINS: Final = UniqueKey[CompanyRecord](
    claim_table("company_domain", "domain", "company_id"),
    keys=lambda company: [without_www(item.domain) for item in company.domains],
    field_path=lambda index, _: f"domains[{index}].domain",
)
# Holds the domains that deleted companies had.
FORMER_DOMAINS: Final = index_table("company_former_domain", "domain", "text", "company_id")
FORMER_HOLDERS: Final = former_holders("company_former_domain", "domain", "company")
FIELD_VALUES: Final = UniqueKey[CompanyRecord](
    claim_table("company_field_value", "value", "company_id"),
    keys=lambda company: [*(company.unique_values or ())],
    field_path=unique_value_path,
    is_held=lambda work, company_id, value: claims_value(active(work, COMPANIES, company_id), value),
)
# Holds the values of the workspace's own fields.
COMPANY_FIELDS: Final = index_table("company_field", "key", "text", "company_id")
# This index has the tags' ids as the API shows them.
COMPANY_TAGS: Final = index_table("company_tag", "tag_id", "text", "company_id")
COMPANY: Final = ObjectType(
    kind="o",
    name="company",
    plural="companies",
    prefix=ids.COMPANY,
    table=COMPANIES,
    entry=CompanyRecord,
    example=CompanyRecord.example,
    indexes=(
        Index[CompanyRow](COMPANY_WORDS, attrgetter("search"), lambda company: indexed(company.search)),
        Index[CompanyRow](FORMER_DOMAINS, attrgetter("object.domains"), attrgetter("former_domains"), is_of_deleted=True),
        Index[CompanyRow](COMPANY_TAGS, attrgetter("own"), lambda row: set(tags_of(row))),
        Index[CompanyRow](COMPANY_FIELDS, attrgetter("own"), lambda row: index_keys(field_values(row))),
    ),
    unique_keys=(DOMAINS, FIELD_VALUES),
    refers_to=(TAG,),
    read_scopes=Company.read_scopes,
    write_scopes=("companies:write",),
    events=Events.of_changes(
        "company", example_previous={"name": "Difference Engine"}, own_members=("fields", "unique_values", "tag_ids")
    ),
    blank=lambda company_id, time: CompanyRecord(object=CompanyObject.COMPANY, id=company_id, created_at=time, updated_at=time),
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


async def find_record(database: Database, workspace_id: UUID, company_id: UUID) -> ObjectRead | None:
    """Return the whole of an active company, with its version."""
    found = await database.find(find_record_in("company"), workspace_id, company_id)
    return None if found is None else record_of(found)


async def page(pool: PagePool, workspace_id: UUID, query: PageQuery) -> list[ListRow]:
    """Return the companies of a page, and one more if there is a next page."""
    conditions = ListQuery(workspace_id, query)
    conditions.require_crm_records("company")
    if (domains := query.filters.get("domain")) is not None:
        domain = conditions.parameter(list(domains))
        conditions.require_few(
            "select d.company_id from company_domain d where d.workspace_id = $1 and d.domain = any(" + domain + ")"
        )
    if "tag_ids" in query.filters:
        await conditions.require_links(
            pool,
            "select l.company_id from company_tag l where l.workspace_id = $1 and l.tag_id = any($ids)",
            "coalesce((c.own::jsonb -> 'tag_ids') ?| $value, false)",
            query.filters["tag_ids"],
        )
    await conditions.search(pool, _SEARCH_INDEX)
    return await conditions.fetch(pool, "company")
