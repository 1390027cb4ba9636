"""The commands that change companies."""

from collections.abc import Iterator
from typing import Final, Protocol
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
from herdbook.companies.store import COMPANIES, COMPANY_WORDS, DOMAINS, CompanyRow, LeftBehind
from herdbook.db.pool import Statements
from herdbook.errors import Stale
from herdbook.ledger.book import Book, Need, Result
from herdbook.ledger.changes import Kind
from herdbook.ledger.links import relink
from herdbook.ledger.objects import Subject, claim, created, current, deleted, updated
from herdbook.ledger.unfinished import Task, note
from herdbook.search_text import searchable, words
from herdbook.wire import crm_link


class CreateCompany(msgspec.Struct, frozen=True):
    """Create a company. Refusals: Stale if a version is required, Taken."""

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
        claim(book, COMPANY, company_id, None, company)
        return created(book, COMPANY, company_id, company)


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
        claim(book, COMPANY, self.company_id, before.object, after)
        return updated(book, COMPANY, before, after)


class Staff(Protocol):
    """The contacts of companies. This package must not import contacts, so they implement this protocol."""

    async def left_behind(self, statements: Statements) -> list[LeftBehind]:
        """Return the deleted companies that may still have contacts."""
        ...

    async def is_left(self, statements: Statements, workspace_id: UUID, company_id: UUID) -> bool:
        """Whether a company has contacts."""
        ...

    def needs(self, company_id: UUID) -> Iterator[Need]:
        """Yield the need for a company's contacts, at most as many as a batch should change."""
        ...

    def release(self, book: Book, company_id: UUID) -> bool:
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

    def apply(self, book: Book) -> Result:
        before = current(book, COMPANIES, self.company_id, self.if_version, "company")
        result = deleted(book, COMPANY, before)
        if not self.staff.release(book, self.company_id):
            note(book, Task.RELEASE_CONTACTS, self.company_id, is_finished=False)
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

    def apply(self, book: Book) -> Result:
        company = book.find(COMPANIES, self.company_id)
        is_deleted = company is not None and company.deleted_at is not None
        is_finished = not is_deleted or self.staff.release(book, self.company_id)
        if is_finished:
            note(book, Task.RELEASE_CONTACTS, self.company_id, is_finished=True)
        return Result(0 if company is None else company.version, Released(all=is_finished))


class SetCompanyCrmAssociation(msgspec.Struct, frozen=True):
    """Replace the link of a company to a CRM record; None removes it. Refusals: NotFound, Stale."""

    company_id: UUID
    association: CompanyCrmAssociation | None
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(COMPANIES, self.company_id)

    def apply(self, book: Book) -> Result:
        before = current(book, COMPANIES, self.company_id, self.if_version, "company")
        after = msgspec.structs.replace(before.object, crm_association=crm_link(self.association))
        return updated(book, COMPANY, before, after)


def _row(book: Book, company_id: UUID, version: int, _: CompanyRow | None, after: Company) -> CompanyRow:
    crm = after.crm_association
    return CompanyRow(
        workspace_id=book.workspace_id,
        id=company_id,
        version=version,
        updated_at=book.at,
        deleted_at=None,
        crm_object_id=None if crm is UNSET else crm.crm_object_id,
        search=searchable(after.name or ""),
        object=after,
    )


def _relink(book: Book, before: CompanyRow | None, after: CompanyRow | None) -> None:
    company = after or before
    assert company is not None, "a change has a row before or after it"
    old, new = (set[str]() if row is None else set(words(row.search)) for row in (before, after))
    relink(book, COMPANY_WORDS, company.id, old, new)


COMPANY: Final = Subject(
    kind=Kind.COMPANY,
    name="company",
    prefix=ids.COMPANY,
    table="company",
    shelf=COMPANIES,
    entry=Company,
    row=_row,
    entered=lambda row: row.object,
    read_scopes=Company.read_scopes,
    write_scope="companies:write",
    relink=_relink,
    claimants=DOMAINS,
    claimed=lambda company: [item.domain for item in company.domains],
    place=lambda index: f"domains[{index}].domain",
)
