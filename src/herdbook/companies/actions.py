"""What can be done to companies: commands, applied to a book."""

from collections.abc import Iterator
from typing import Protocol
from uuid import UUID

import msgspec
from msgspec import UNSET

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
from herdbook.companies.store import COMPANIES, COMPANY_WORDS, DOMAINS, CompanyRow
from herdbook.db.pool import Statements
from herdbook.errors import Stale
from herdbook.ledger.book import Book, Need, Result
from herdbook.ledger.changes import Action, Kind
from herdbook.ledger.links import relink
from herdbook.ledger.objects import current, deleted, updated
from herdbook.search_text import searchable, words
from herdbook.wire import crm_link


class CreateCompany(msgspec.Struct, frozen=True):
    """Create a company. Refusals: Stale where a version is asked for, Taken."""

    fields: CompanyCreate
    has_precondition: bool = False

    def needs(self) -> Iterator[Need]:
        yield from DOMAINS.needs([normal_domain(item.domain) for item in self.fields.domains])

    def apply(self, book: Book) -> Result:
        if self.has_precondition:
            raise Stale(None)
        company_id = ids.new_id()
        blank = Company(
            object=CompanyObject.COMPANY,
            id=ids.encoded(ids.COMPANY, company_id),
            created_at=book.time,
            updated_at=book.time,
        )
        company = patched(blank, self.fields)
        _claim_domains(book, company_id, blank, company)
        version = book.enter(Kind.COMPANY, company_id, Action.CREATED, None, company)
        _put(book, company_id, version, None, company)
        return Result(version, company)


class UpdateCompany(msgspec.Struct, frozen=True):
    """Change some fields of a company. Refusals: NotFound, Stale, Taken."""

    company_id: UUID
    patch: CompanyUpdate
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(COMPANIES, self.company_id)
        yield from DOMAINS.needs([normal_domain(item.domain) for item in self.patch.domains or ()])

    def apply(self, book: Book) -> Result:
        before = current(book, COMPANIES, self.company_id, self.if_version, "company")
        after = patched(before.object, self.patch)
        _claim_domains(book, self.company_id, before.object, after)
        return updated(book, Kind.COMPANY, before, after, _put)


class Staff(Protocol):
    """The contacts of companies, which know companies, and whom companies do not know."""

    async def left_behind(self, statements: Statements) -> list[tuple[UUID, UUID]]:
        """Return the workspaces and ids of companies that were deleted, and still have contacts."""
        ...

    async def is_left(self, statements: Statements, workspace_id: UUID, company_id: UUID) -> bool:
        """Whether a company has contacts."""
        ...

    def needs(self, company_id: UUID) -> Iterator[Need]:
        """Name the contacts of a company, or as many of them as a batch should have."""
        ...

    def release(self, book: Book, company_id: UUID) -> bool:
        """Let these contacts have no company, each by a change of its own; return whether that were all."""
        ...


class DeleteCompany(msgspec.Struct, frozen=True):
    """Delete a company, free its domains, and clear it from its contacts. Refusals: NotFound, Stale.

    Where it has more of these than a batch should change, the rest are left to `ReleaseStaff`.
    """

    company_id: UUID
    staff: Staff
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(COMPANIES, self.company_id)
        yield from self.staff.needs(self.company_id)

    def apply(self, book: Book) -> Result:
        before = current(book, COMPANIES, self.company_id, self.if_version, "company")
        DOMAINS.free(book, self.company_id, [item.domain for item in before.object.domains])
        relink(book, COMPANY_WORDS, self.company_id, set(words(before.search)), set())
        result = deleted(book, Kind.COMPANY, COMPANIES, before)
        self.staff.release(book, self.company_id)
        return result


class Released(msgspec.Struct, frozen=True):
    """Whether a company that was deleted has no contacts any more."""

    all: bool


class ReleaseStaff(msgspec.Struct, frozen=True):
    """Clear a company that was deleted from some of the contacts that it still has."""

    company_id: UUID
    staff: Staff

    def needs(self) -> Iterator[Need]:
        yield Need(COMPANIES, self.company_id)
        yield from self.staff.needs(self.company_id)

    def apply(self, book: Book) -> Result:
        company = book.find(COMPANIES, self.company_id)
        if company is None or company.deleted_at is None:
            return Result(0, Released(all=True))
        return Result(company.version, Released(all=self.staff.release(book, self.company_id)))


class SetCompanyCrmAssociation(msgspec.Struct, frozen=True):
    """Link a company to a CRM record, in place of the one it was linked to. Refusals: NotFound, Stale."""

    company_id: UUID
    association: CompanyCrmAssociation | None
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(COMPANIES, self.company_id)

    def apply(self, book: Book) -> Result:
        before = current(book, COMPANIES, self.company_id, self.if_version, "company")
        after = msgspec.structs.replace(before.object, crm_association=crm_link(self.association))
        return updated(book, Kind.COMPANY, before, after, _put)


def _claim_domains(book: Book, company_id: UUID, before: Company, after: Company) -> None:
    old = [item.domain for item in before.domains]
    DOMAINS.claim(book, company_id, old, [item.domain for item in after.domains], lambda index: f"domains[{index}].domain")


def _put(book: Book, company_id: UUID, version: int, before: CompanyRow | None, after: Company) -> None:
    crm = after.crm_association
    row = CompanyRow(
        workspace_id=book.workspace_id,
        id=company_id,
        version=version,
        updated_at=book.at,
        deleted_at=None,
        crm_object_id=None if crm is UNSET else crm.crm_object_id,
        search=searchable(after.name or ""),
        object=after,
    )
    book.put(COMPANIES, row)
    old = "" if before is None else before.search
    relink(book, COMPANY_WORDS, company_id, set(words(old)), set(words(row.search)))
