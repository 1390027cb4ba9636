"""How companies are written in bulk."""

from typing import Final
from uuid import UUID

from herdbook.bulk.commands import BulkType
from herdbook.companies.commands import (
    CompanyContacts,
    CreateCompanyRecord,
    DeleteCompany,
    UpdateCompanyRecord,
    UpsertCompany,
    record,
)
from herdbook.companies.model import CompanyBulkItem, CompanyBulkResult, CompanyRecordCreate, CompanyRecordUpdate, CompanyUpsert
from herdbook.companies.store import COMPANY

COMPANIES_IN_BULK: Final = BulkType(
    object_type=COMPANY,
    create=CompanyRecordCreate,
    update=CompanyRecordUpdate,
    upsert=CompanyUpsert,
    counted=("domains",),
    items="domains",
    item=CompanyBulkItem,
    result=CompanyBulkResult,
    record=record,
)


class CompanyCommands:
    """Makes the commands of the operations on companies. `deleted` are the companies that these delete."""

    def __init__(self, contacts: CompanyContacts) -> None:
        self.deleted: list[UUID] = []
        self._contacts = contacts

    def create(self, asked: CompanyRecordCreate) -> CreateCompanyRecord:
        """Return the command that creates a company."""
        return CreateCompanyRecord(asked)

    def update(self, object_id: UUID, asked: CompanyRecordUpdate) -> UpdateCompanyRecord:
        """Return the command that changes a company."""
        return UpdateCompanyRecord(object_id, asked)

    def delete(self, object_id: UUID) -> DeleteCompany:
        """Return the command that deletes a company."""
        self.deleted.append(object_id)
        return DeleteCompany(object_id, self._contacts)

    def upsert(self, asked: CompanyUpsert, path: str) -> UpsertCompany:
        """Return the command that changes a company or creates one. Refusal: Invalid."""
        asked.require_match(path)
        return UpsertCompany(asked)
