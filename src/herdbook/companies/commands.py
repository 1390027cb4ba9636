"""The commands that change the whole of a company, and those that delete it."""

from collections.abc import Iterator
from typing import Final, Protocol
from uuid import UUID

import msgspec

from herdbook.companies.model import CompanyRecordUpdate, patched
from herdbook.companies.store import COMPANIES, COMPANY
from herdbook.custom_fields.commands import shown_entry, value_needs, with_values
from herdbook.ledger.object_types import current, deleted, updated
from herdbook.ledger.unfinished import SliceDone, Task, note
from herdbook.ledger.unit_of_work import Need, Result, UnitOfWork
from herdbook.tags.store import require_tags, tag_needs

RELEASE_CONTACTS: Final = Task("release", COMPANIES.name)


class UpdateCompanyRecord(msgspec.Struct, frozen=True):
    """Change the whole of a company; the answer is the whole. Refusals: Invalid (fields, tag_ids), NotFound, Stale, Taken."""

    company_id: UUID
    patch: CompanyRecordUpdate
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(COMPANIES, self.company_id)
        yield from COMPANY.key_needs(self.patch)
        yield from value_needs(COMPANY.name, self.patch.fields)
        yield from tag_needs(self.patch.tag_ids)

    def apply(self, work: UnitOfWork) -> Result:
        require_tags(work, self.patch.tag_ids)
        before = current(work, COMPANIES, self.company_id, self.if_version, "company")
        after = with_values(work, COMPANY.name, patched(before.entry, self.patch), self.patch.fields)
        COMPANY.claim(work, self.company_id, before.entry, after)
        version, _ = updated(work, COMPANY, before, after)
        row = work.get(COMPANIES, self.company_id)
        assert row is not None, "it was read"
        return Result(version, shown_entry(work, COMPANY.name, row.entry))


class CompanyContacts(Protocol):
    """The contacts of companies. This package must not import contacts, so they implement this protocol."""

    def needs(self, company_id: UUID) -> Iterator[Need]:
        """Yield the need for a company's contacts, at most as many as a batch should change."""
        ...

    def release(self, work: UnitOfWork, company_id: UUID) -> bool:
        """Remove the company from these contacts, each by a change of its own. Return whether these were all of them."""
        ...


class DeleteCompany(msgspec.Struct, frozen=True):
    """Delete a company, free its domains, and clear it from its contacts. Refusals: NotFound, Stale.

    If the company has more contacts than a batch should change, `ReleaseContacts` clears the rest.
    """

    company_id: UUID
    contacts: CompanyContacts
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(COMPANIES, self.company_id)
        yield from self.contacts.needs(self.company_id)

    def apply(self, work: UnitOfWork) -> Result:
        before = current(work, COMPANIES, self.company_id, self.if_version, "company")
        result = deleted(work, COMPANY, before)
        if not self.contacts.release(work, self.company_id):
            note(work, RELEASE_CONTACTS, self.company_id, is_finished=False)
        return result


class ReleaseContacts(msgspec.Struct, frozen=True):
    """Clear a deleted company from some of the contacts that it still has."""

    company_id: UUID
    contacts: CompanyContacts

    def needs(self) -> Iterator[Need]:
        yield Need(COMPANIES, self.company_id)
        yield from self.contacts.needs(self.company_id)

    def apply(self, work: UnitOfWork) -> Result:
        company = work.get(COMPANIES, self.company_id)
        # The contacts of a merged company go to the one that replaces it.
        is_deleted = company is not None and company.deleted_at is not None and company.merged_into is None
        is_finished = not is_deleted or self.contacts.release(work, self.company_id)
        if is_finished:
            note(work, RELEASE_CONTACTS, self.company_id, is_finished=True)
        return Result(0 if company is None else company.version, SliceDone(all=is_finished))
