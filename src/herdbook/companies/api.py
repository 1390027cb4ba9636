"""The operations of /v2/companies."""

from functools import partial
from typing import Final
from uuid import UUID

from herdbook import ids
from herdbook.companies import store
from herdbook.companies.commands import (
    RELEASE_CONTACTS,
    CompanyContacts,
    DeleteCompany,
    ReleaseContacts,
    UpdateCompanyRecord,
)
from herdbook.companies.model import (
    Company,
    CompanyCreate,
    CompanyCrmAssociation,
    CompanyQuery,
    CompanyQueryPage,
    CompanyRecord,
    CompanyRecordUpdate,
    CompanyUpdate,
    MergedCompany,
    normal_domain,
)
from herdbook.companies.query_store import QUERIED_COMPANIES
from herdbook.companies.store import COMPANY
from herdbook.errors import Taken
from herdbook.fields import NO_NUL_SCHEMA
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Filter, ListOf, Operation, OtherAnswer, id_filter
from herdbook.ledger.commands import Create, SetCrmAssociation, Update
from herdbook.querying.api import answer_query
from herdbook.shared_schemas import Deleted
from herdbook.tags.api import with_existing_tags


async def list_companies(call: Call) -> Answer:
    """List the companies of the workspace."""
    return await call.answer_list(store.page)


async def create_company(call: Call, company: CompanyCreate) -> Answer:
    """Create a company."""
    return await call.write(Create(COMPANY, company, call.has_precondition))


async def get_company(call: Call, company_id: UUID) -> Answer:
    """Read one company. Redirect from a merged company to the company that replaces it."""
    found = await store.find(call.services.database, call.caller.workspace_id, company_id)
    return await call.answer_unless_merged(found, COMPANY, company_id)


async def update_company(call: Call, company_id: UUID, patch: CompanyUpdate) -> Answer:
    """Change some fields of one company. Absent leaves a field unchanged; null clears it."""
    return await call.write(Update(COMPANY, company_id, patch, call.if_version))


async def get_company_record(call: Call, company_id: UUID) -> Answer:
    """Read the whole of one company. Redirect from a merged company to the company that replaces it."""
    found = await store.find_record(call.services.database, call.caller.workspace_id, company_id)
    return await with_existing_tags(call, await call.answer_unless_merged(found, COMPANY, company_id), CompanyRecord)


async def update_company_record(call: Call, company_id: UUID, patch: CompanyRecordUpdate) -> Answer:
    """Change some members of the whole of one company. Absent leaves a member alone; null clears it."""
    answer = await call.write(UpdateCompanyRecord(company_id, patch, call.if_version))
    return await with_existing_tags(call, answer, CompanyRecord)


async def query_companies(call: Call, asked: CompanyQuery) -> Answer:
    """Find companies by conditions over all members. Refusal: Invalid."""
    return await answer_query(call, QUERIED_COMPANIES, asked, None, CompanyQueryPage)


async def delete_company(contacts: CompanyContacts, call: Call, company_id: UUID) -> Answer:
    """Delete one company, and clear it from its contacts."""
    answer = await call.write(DeleteCompany(company_id, contacts, call.if_version))
    await call.finish(RELEASE_CONTACTS, partial(ReleaseContacts, contacts=contacts), [company_id])
    return answer


async def set_crm_association(call: Call, company_id: UUID, association: CompanyCrmAssociation) -> Answer:
    """Link one company to a CRM record."""
    return await call.write(SetCrmAssociation(COMPANY, company_id, association, call.if_version))


async def clear_crm_association(call: Call, company_id: UUID) -> Answer:
    """Unlink one company from its CRM record."""
    return await call.write(SetCrmAssociation(COMPANY, company_id, None, call.if_version))


_TAG: Final = "subpackage_companies"
_READ: Final = ("companies:read",)
_WRITE: Final = ("companies:write",)
_DOMAIN: Final = {"type": "string", **NO_NUL_SCHEMA}


_MERGED: Final = {
    308: OtherAnswer(MergedCompany, "The company was merged into another one, which `Location` names.", ("Location",))
}


def operations(contacts: CompanyContacts) -> tuple[Operation, ...]:
    """Return the operations. `contacts` gives access to the contacts from which a deletion clears the company."""
    return (
        Operation(
            method="GET",
            path="/v2/companies",
            id="list-companies",
            summary="List companies",
            description="Lists the workspace's companies.",
            tag=_TAG,
            scopes=_READ,
            handler=list_companies,
            answer=Company,
            answer_description="Company list response.",
            list_of=ListOf(
                search="Search words. Each must match the start of a word in the name; case, accents, apostrophes and "
                "hyphens are ignored.",
                crm_types=("company",),
                filters=(
                    Filter("domain", normal_domain, _DOMAIN, "Only companies that have this domain.", most=1),
                    id_filter("tag_ids", ids.TAG, "tag", "Only companies that have any of these tags."),
                ),
            ),
        ),
        Operation(
            method="POST",
            path="/v2/companies",
            id="create-company",
            summary="Create company",
            description="Creates a workspace company.",
            tag=_TAG,
            scopes=_WRITE,
            handler=create_company,
            body=CompanyCreate,
            answer=Company,
            answer_description="Created company response.",
            status=201,
            refusals=(Taken,),
        ),
        Operation(
            method="GET",
            path="/v2/companies/{company_id}",
            id="get-company-by-id",
            summary="Get company",
            description="Reads a single workspace company.",
            tag=_TAG,
            scopes=_READ,
            handler=get_company,
            answer=Company,
            answer_description="Company response.",
            other_answers=_MERGED,
        ),
        Operation(
            method="PATCH",
            path="/v2/companies/{company_id}",
            id="update-company",
            summary="Update company",
            description="Updates a single workspace company.",
            tag=_TAG,
            scopes=_WRITE,
            handler=update_company,
            body=CompanyUpdate,
            answer=Company,
            answer_description="Updated company response.",
            refusals=(Taken,),
        ),
        Operation(
            method="DELETE",
            path="/v2/companies/{company_id}",
            id="delete-company",
            summary="Delete company",
            description="Deletes a single workspace company, and clears it from its contacts.",
            tag=_TAG,
            scopes=_WRITE,
            handler=partial(delete_company, contacts),
            answer=Deleted,
            answer_description="Deleted company response.",
        ),
        Operation(
            method="PUT",
            path="/v2/companies/{company_id}/crm_association",
            id="set-company-crm-association",
            summary="Set company CRM association",
            description="Replaces the CRM association of a company.",
            tag=_TAG,
            scopes=_WRITE,
            handler=set_crm_association,
            body=CompanyCrmAssociation,
            answer=Company,
            answer_description="Updated company response.",
        ),
        Operation(
            method="DELETE",
            path="/v2/companies/{company_id}/crm_association",
            id="clear-company-crm-association",
            summary="Clear company CRM association",
            description="Removes the CRM association of a company.",
            tag=_TAG,
            scopes=_WRITE,
            handler=clear_crm_association,
            answer=Company,
            answer_description="Updated company response.",
        ),
        Operation(
            method="POST",
            path="/herdbook/companies/query",
            id="query-companies",
            summary="Query companies",
            description="Finds companies by conditions over all members, fields of your own included, in any order. It reads, "
            "and changes nothing.",
            tag=_TAG,
            scopes=_READ,
            handler=query_companies,
            body=CompanyQuery,
            answer=CompanyQueryPage,
            answer_description="A page of the matches.",
            bypasses_ledger=True,
        ),
        Operation(
            method="GET",
            path="/herdbook/companies/{company_id}/record",
            id="get-company-record",
            summary="Get company record",
            description="Reads the whole of a single company: the members that `GET /v2/companies/{company_id}` shows, and "
            "those of herdbook's own, such as `fields`. Both operations have the same ETag.",
            tag=_TAG,
            scopes=_READ,
            handler=get_company_record,
            answer=CompanyRecord,
            answer_description="The whole of the company.",
            other_answers=_MERGED,
        ),
        Operation(
            method="PATCH",
            path="/herdbook/companies/{company_id}/record",
            id="update-company-record",
            summary="Update company record",
            description="Updates the whole of a single company in one change: the members that `PATCH "
            "/v2/companies/{company_id}` takes, the link to a CRM record, and the members of herdbook's own.",
            tag=_TAG,
            scopes=_WRITE,
            handler=update_company_record,
            body=CompanyRecordUpdate,
            answer=CompanyRecord,
            answer_description="The whole of the updated company.",
            refusals=(Taken,),
        ),
    )
