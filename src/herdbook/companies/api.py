"""The operations of /v2/companies."""

from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import UUID

from herdbook import ids
from herdbook.bulk.api import bulk_write
from herdbook.bulk.model import BulkEnvelope
from herdbook.companies import store
from herdbook.companies.bulk import COMPANIES_IN_BULK, CompanyCommands
from herdbook.companies.commands import (
    RELEASE_CONTACTS,
    CompanyContacts,
    ContactsLeftForLater,
    CreateCompanyRecord,
    DeleteCompany,
    ReleaseContacts,
    UpdateCompanyRecord,
)
from herdbook.companies.model import (
    Company,
    CompanyBulkResult,
    CompanyBulkWrite,
    CompanyCreate,
    CompanyCrmAssociation,
    CompanyQuery,
    CompanyQueryPage,
    CompanyRecord,
    CompanyRecordCreate,
    CompanyRecordUpdate,
    CompanyUpdate,
    MergedCompany,
    normal_domain,
)
from herdbook.companies.query_store import QUERIED_COMPANIES
from herdbook.companies.store import COMPANY
from herdbook.custom_fields.api import further_errors_of_values
from herdbook.errors import Taken
from herdbook.fields import NO_NUL_SCHEMA
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Filter, ListOf, Operation, OtherAnswer, id_filter
from herdbook.ledger.commands import Create, SetCrmAssociation, Update
from herdbook.querying.api import answer_query, further_errors_of_query
from herdbook.shared_schemas import Deleted
from herdbook.tags.api import shown_record


async def list_companies(call: Call) -> Answer:
    """List the companies of the workspace."""
    return await call.answer_list(store.page)


async def create_company(call: Call, company: CompanyCreate) -> Answer:
    """Create a company."""
    return await call.write(Create(COMPANY, company, call.has_precondition))


async def create_company_record(call: Call, company: CompanyRecordCreate) -> Answer:
    """Create a company with all that its record has, and answer with the whole of it."""
    answer = await call.write(CreateCompanyRecord(company, call.has_precondition))
    return await shown_record(call, answer, CompanyRecord)


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
    return await shown_record(call, await call.answer_unless_merged(found, COMPANY, company_id), CompanyRecord)


async def update_company_record(call: Call, company_id: UUID, patch: CompanyRecordUpdate) -> Answer:
    """Change some members of the whole of one company. Absent leaves a member alone; null clears it."""
    answer = await call.write(UpdateCompanyRecord(company_id, patch, call.if_version))
    return await shown_record(call, answer, CompanyRecord)


async def query_companies(call: Call, asked: CompanyQuery) -> Answer:
    """Find companies by conditions over all members. Refusal: Invalid."""
    return await answer_query(call, QUERIED_COMPANIES, asked, None, CompanyQueryPage)


async def bulk_write_companies(contacts: CompanyContacts, call: Call, bulk: BulkEnvelope) -> Answer:
    """Write many companies, each independently or all or none."""
    commands = CompanyCommands(ContactsLeftForLater() if bulk.atomic else contacts)
    answer = await bulk_write(call, bulk, COMPANIES_IN_BULK, commands)
    await _finish_deletions(contacts, call, commands.deleted)
    return answer


async def _finish_deletions(contacts: CompanyContacts, call: Call, company_ids: Sequence[UUID]) -> None:
    await call.finish(RELEASE_CONTACTS, partial(ReleaseContacts, contacts=contacts), company_ids)


async def delete_company(contacts: CompanyContacts, call: Call, company_id: UUID) -> Answer:
    """Delete one company, and clear it from its contacts."""
    answer = await call.write(DeleteCompany(company_id, contacts, call.if_version))
    await _finish_deletions(contacts, call, [company_id])
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
            further_errors=partial(further_errors_of_query, QUERIED_COMPANIES),
            answer=CompanyQueryPage,
            answer_description="A page of the matches.",
            bypasses_ledger=True,
        ),
        Operation(
            method="POST",
            path="/herdbook/companies",
            id="create-company-record",
            summary="Create company record",
            description="Creates a company with all that its record has: the members that `POST /v2/companies` takes, the link "
            "to a CRM record, and the members of herdbook's own. It returns the whole of it.",
            tag=_TAG,
            scopes=_WRITE,
            handler=create_company_record,
            body=CompanyRecordCreate,
            further_errors=partial(further_errors_of_values, COMPANY.name),
            answer=CompanyRecord,
            answer_description="The whole of the created company.",
            has_variants=True,
            status=201,
            refusals=(Taken,),
        ),
        Operation(
            method="GET",
            path="/herdbook/companies/{company_id}/record",
            id="get-company-record",
            summary="Get company record",
            description="Reads the whole of a single company: the members that `GET /v2/companies/{company_id}` shows, and "
            "those of herdbook's own, such as `fields`. The ETag begins with the same version, and also tells what is hidden.",
            tag=_TAG,
            scopes=_READ,
            handler=get_company_record,
            answer=CompanyRecord,
            answer_description="The whole of the company.",
            has_variants=True,
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
            further_errors=partial(further_errors_of_values, COMPANY.name),
            answer=CompanyRecord,
            answer_description="The whole of the updated company.",
            has_variants=True,
            refusals=(Taken,),
        ),
        Operation(
            method="POST",
            path="/herdbook/companies/bulk",
            id="bulk-write-companies",
            summary="Write many companies",
            description="Creates, updates, deletes and upserts up to 1,000 companies, in the order of the operations: each "
            "independently or, with `atomic`, all or none.",
            tag=_TAG,
            scopes=_WRITE,
            handler=partial(bulk_write_companies, contacts),
            is_large=True,
            body=CompanyBulkWrite,
            envelope=BulkEnvelope,
            answer=CompanyBulkResult,
            answer_description="The result of each operation.",
        ),
    )
