"""The commands that change companies."""

from collections.abc import Iterator
from typing import Protocol
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.companies.model import (
    Company,
    CompanyCreate,
    CompanyCrmAssociation,
    CompanyObject,
    CompanyUpdate,
    normal_domain,
    patched,
)
from herdbook.companies.store import COMPANIES, COMPANY, DOMAINS, LeftBehind
from herdbook.db.pool import Executor
from herdbook.errors import Stale
from herdbook.ledger.object_types import created, current, deleted, updated
from herdbook.ledger.unfinished import Task, note
from herdbook.ledger.unit_of_work import Need, Result, UnitOfWork
from herdbook.shared_schemas import crm_link


class CreateCompany(msgspec.Struct, frozen=True):
    """Create a company. Refusals: Stale if a version is required, Taken."""

    fields: CompanyCreate
    has_precondition: bool = False

    def needs(self) -> Iterator[Need]:
        yield from DOMAINS.needs([normal_domain(item.domain) for item in self.fields.domains])

    def apply(self, work: UnitOfWork) -> Result:
        if self.has_precondition:
            raise Stale(None)
        company_id = ids.new_id()
        blank = Company(
            object=CompanyObject.COMPANY,
            id=ids.encoded(ids.COMPANY, company_id),
            created_at=work.time,
            updated_at=work.time,
        )
        company = patched(blank, self.fields)
        COMPANY.claim(work, company_id, None, company)
        return created(work, COMPANY, company_id, company)


class UpdateCompany(msgspec.Struct, frozen=True):
    """Change some fields of a company. Refusals: NotFound, Stale, Taken."""

    company_id: UUID
    patch: CompanyUpdate
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(COMPANIES, self.company_id)
        yield from DOMAINS.needs([normal_domain(item.domain) for item in self.patch.domains or ()])

    def apply(self, work: UnitOfWork) -> Result:
        before = current(work, COMPANIES, self.company_id, self.if_version, "company")
        after = patched(before.object, self.patch)
        COMPANY.claim(work, self.company_id, before.object, after)
        return updated(work, COMPANY, before, after)


class Staff(Protocol):
    """The contacts of companies. This package must not import contacts, so they implement this protocol."""

    async def left_behind(self, statements: Executor) -> list[LeftBehind]:
        """Return the deleted companies that may still have contacts."""
        ...

    async def is_left(self, statements: Executor, workspace_id: UUID, company_id: UUID) -> bool:
        """Whether a company has contacts."""
        ...

    def needs(self, company_id: UUID) -> Iterator[Need]:
        """Yield the need for a company's contacts, at most as many as a batch should change."""
        ...

    def release(self, work: UnitOfWork, company_id: UUID) -> bool:
        """Remove the company from these contacts, each by a change of its own. Return whether these were all of them."""
        ...


class DeleteCompany(msgspec.Struct, frozen=True):
    """Delete a company, free its domains, and clear it from its contacts. Refusals: NotFound, Stale.

    If the company has more contacts than a batch should change, `ReleaseStaff` clears the rest.
    """

    company_id: UUID
    staff: Staff
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(COMPANIES, self.company_id)
        yield from self.staff.needs(self.company_id)

    def apply(self, work: UnitOfWork) -> Result:
        before = current(work, COMPANIES, self.company_id, self.if_version, "company")
        result = deleted(work, COMPANY, before)
        if not self.staff.release(work, self.company_id):
            note(work, Task.RELEASE_CONTACTS, self.company_id, is_finished=False)
        return result


class Released(msgspec.Struct, frozen=True):
    """The answer to `ReleaseStaff`: whether the deleted company has no contacts left."""

    all: bool


class ReleaseStaff(msgspec.Struct, frozen=True):
    """Clear a deleted company from some of the contacts that it still has."""

    company_id: UUID
    staff: Staff

    def needs(self) -> Iterator[Need]:
        yield Need(COMPANIES, self.company_id)
        yield from self.staff.needs(self.company_id)

    def apply(self, work: UnitOfWork) -> Result:
        company = work.get(COMPANIES, self.company_id)
        # The contacts of a merged company go to the one that replaces it.
        is_deleted = company is not None and company.deleted_at is not None and company.merged_into is None
        is_finished = not is_deleted or self.staff.release(work, self.company_id)
        if is_finished:
            note(work, Task.RELEASE_CONTACTS, self.company_id, is_finished=True)
        return Result(0 if company is None else company.version, Released(all=is_finished))


class SetCompanyCrmAssociation(msgspec.Struct, frozen=True):
    """Replace the link of a company to a CRM record; None removes it. Refusals: NotFound, Stale."""

    company_id: UUID
    association: CompanyCrmAssociation | None
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(COMPANIES, self.company_id)

    def apply(self, work: UnitOfWork) -> Result:
        before = current(work, COMPANIES, self.company_id, self.if_version, "company")
        after = msgspec.structs.replace(before.object, crm_association=crm_link(self.association))
        return updated(work, COMPANY, before, after)
