"""/v2/companies: the operations that contacts need; the rest is not there yet."""

from typing import Final

from herdbook import ids
from herdbook.companies import store
from herdbook.companies.actions import CreateCompany
from herdbook.companies.model import Company, CompanyCreate
from herdbook.errors import Invalid, KeyReused, NotFound, Stale, Taken
from herdbook.http.call import Call, answer_found
from herdbook.http.operation import Answer, Operation


async def create_company(call: Call, company: CompanyCreate) -> Answer:
    """Create a company."""
    return await call.write(CreateCompany(company, call.has_precondition))


async def get_company(call: Call, company_id: str) -> Answer:
    """Read one company."""
    decoded = ids.decoded(ids.COMPANY, company_id)
    if decoded is None:
        raise NotFound("company")
    return answer_found(await store.find(call.services.database, call.caller.workspace_id, decoded), "company")


_TAG: Final = "subpackage_companies"

OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v2/companies",
        id="create-company",
        summary="Create company",
        description="Creates a workspace company. Requires the `companies:write` scope.",
        tag=_TAG,
        scope="companies:write",
        handler=create_company,
        body=CompanyCreate,
        answer=Company,
        answer_description="Created company response.",
        status=201,
        refusals=(Taken, Stale, Invalid, KeyReused),
    ),
    Operation(
        method="GET",
        path="/v2/companies/{company_id}",
        id="get-company-by-id",
        summary="Get company",
        description="Reads a single workspace company. Requires the `companies:read` scope.",
        tag=_TAG,
        scope="companies:read",
        handler=get_company,
        answer=Company,
        answer_description="Company response.",
        refusals=(NotFound,),
    ),
)
