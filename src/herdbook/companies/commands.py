"""The commands that change the whole of a company, and those that delete it."""

from collections.abc import Iterator
from functools import partial
from typing import Final, Protocol
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from herdbook import ids
from herdbook.companies.model import (
    CompanyDomainRequest,
    CompanyRecord,
    CompanyRecordCreate,
    CompanyRecordUpdate,
    CompanyUpsert,
    normal_domain,
    patched,
    upserted,
    without_www,
)
from herdbook.companies.store import COMPANIES, COMPANY, DOMAINS, FORMER_HOLDERS, LINKED_COMPANIES, CompanyRow
from herdbook.custom_fields.commands import (
    EntryAt,
    fitted_entries,
    giver_needs,
    shown_entry,
    take_values,
    value_needs,
    with_free_values,
    with_values,
)
from herdbook.errors import Stale, together
from herdbook.fields import require_few
from herdbook.ledger.claims import paths_in_request
from herdbook.ledger.crm_links import oldest_linked
from herdbook.ledger.former_holders import former_holder
from herdbook.ledger.object_types import active, created, current, deleted, restored, updated
from herdbook.ledger.unfinished import UNFINISHED, SliceDone, Task, note
from herdbook.ledger.unit_of_work import Need, Result, UnitOfWork
from herdbook.shared_schemas import CrmAssociation, crm_link
from herdbook.tags.store import require_tags, tag_needs, with_hidden_tags

RELEASE_CONTACTS: Final = Task("release", COMPANIES.name)


class CreateCompanyRecord(msgspec.Struct, frozen=True):
    """Create a company with all that its record has; the answer is the whole.

    Refusals: Invalid (fields, tag_ids, take_from), Stale if a version is required, Taken.
    """

    fields: CompanyRecordCreate
    has_precondition: bool = False

    def needs(self) -> Iterator[Need]:
        yield from COMPANY.key_needs(self.fields)
        yield from value_needs(COMPANY.name, self.fields.fields)
        yield from tag_needs(self.fields.tag_ids)
        yield from giver_needs(COMPANY, self.fields.take_from)

    def apply(self, work: UnitOfWork) -> Result:
        return together([partial(require_tags, work, self.fields.tag_ids)], partial(self._created, work))

    def _created(self, work: UnitOfWork) -> Result:
        if self.has_precondition:
            raise Stale(None)
        company_id = ids.new_id()
        company = _new(work, company_id, self.fields, self.fields.take_from)
        take_values(work, COMPANY, self.fields.take_from, company, _without_domains)
        COMPANY.claim(work, company_id, None, company)
        version, _ = created(work, COMPANY, company_id, company)
        return Result(version, record(work, company_id))


def _new(
    work: UnitOfWork, company_id: UUID, asked: CompanyRecordCreate | CompanyUpsert, take_from: str | UnsetType = UNSET
) -> CompanyRecord:
    company = COMPANY.new(company_id, work.time, asked)
    return with_values(work, COMPANY, company, asked.fields, is_new=True, take_from=take_from)


def record(work: UnitOfWork, company_id: UUID) -> CompanyRecord:
    """Return the whole of a company that the unit of work has, as the API shows it."""
    row = work.get(COMPANIES, company_id)
    assert row is not None, "a command has read or written it"
    return shown_entry(work, COMPANY.name, row.entry)


class UpdateCompanyRecord(msgspec.Struct, frozen=True):
    """Change the whole of a company; the answer is the whole.

    Refusals: Invalid (fields, tag_ids, take_from), NotFound, Stale, Taken.
    """

    company_id: UUID
    patch: CompanyRecordUpdate
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(COMPANIES, self.company_id)
        yield from COMPANY.key_needs(self.patch)
        yield from value_needs(COMPANY.name, self.patch.fields)
        yield from tag_needs(self.patch.tag_ids)
        yield from giver_needs(COMPANY, self.patch.take_from)

    def apply(self, work: UnitOfWork) -> Result:
        return together([partial(require_tags, work, self.patch.tag_ids)], partial(self._updated, work))

    def _updated(self, work: UnitOfWork) -> Result:
        before = current(work, COMPANIES, self.company_id, self.if_version, "company")
        after = with_hidden_tags(work, before.entry, patched(before.entry, self.patch))
        after = with_values(work, COMPANY, after, self.patch.fields, take_from=self.patch.take_from)
        take_values(work, COMPANY, self.patch.take_from, after, _without_domains)
        COMPANY.claim(work, self.company_id, before.entry, after)
        version, _ = updated(work, COMPANY, before, after)
        return Result(version, record(work, self.company_id))


class UpsertCompany(msgspec.Struct, frozen=True):
    """Update the company that has the domain or the link, or create one.

    For a domain, the deleted company that had it last is restored, without its contacts: not while some still have it. The
    company keeps its domains and tags, and its primary domain unless another is marked. Refusals: Invalid (domains, fields,
    tag_ids), Taken.
    """

    fields: CompanyUpsert

    def needs(self) -> Iterator[Need]:
        yield from COMPANY.key_needs(self.fields)
        yield from value_needs(COMPANY.name, self.fields.fields)
        yield from tag_needs(self.fields.tag_ids)
        if self.fields.match_by == "crm_association":
            yield Need(LINKED_COMPANIES, (self._link.crm_object_id, self._link.source))
        else:
            yield Need(FORMER_HOLDERS, self.fields.domain)

    def apply(self, work: UnitOfWork) -> Result:
        return together([partial(require_tags, work, self.fields.tag_ids)], partial(self._written, work))

    def _written(self, work: UnitOfWork) -> Result:
        if (before := self.known(work)) is not None:
            return self.update(work, before)
        if (former := self.former(work)) is not None:
            return self.restore(work, former)
        return self.create(work)

    def former(self, work: UnitOfWork) -> CompanyRow | None:
        """Return the deleted company that the request means, if no active one has the domain, and no contact has it still."""
        if self.fields.match_by == "crm_association":
            return None
        former = former_holder(work, FORMER_HOLDERS, DOMAINS, COMPANIES, self.fields.domain)
        return None if former is None or _is_being_released(work, former.id) else former

    def known(self, work: UnitOfWork) -> CompanyRow | None:
        """Return the active company that the request means; the oldest, if several have the link."""
        if self.fields.match_by == "crm_association":
            return oldest_linked(work, LINKED_COMPANIES, COMPANIES, self._link)
        return active(work, COMPANIES, DOMAINS.holder(work, self.fields.domain))

    def update(self, work: UnitOfWork, before: CompanyRow) -> Result:
        """Update an active company. Refusals: Invalid, Taken."""
        after = with_values(work, COMPANY, upserted(before.entry, self.fields), self.fields.fields)
        self._claim(work, before.id, before.entry, after)
        return updated(work, COMPANY, before, after)

    def restore(self, work: UnitOfWork, former: CompanyRow) -> Result:
        """Restore a deleted company, and update it. Refusals: Invalid, Taken."""
        after = with_values(work, COMPANY, upserted(_remains(work, former), self.fields), self.fields.fields)
        self._claim(work, former.id, None, after)
        return restored(work, COMPANY, former, after)

    def _claim(self, work: UnitOfWork, company_id: UUID, before: CompanyRecord | None, after: CompanyRecord) -> None:
        require_few(after, ("domains", "tag_ids"), COMPANY.noun)
        asked = [normal_domain(item.domain) for item in self.fields.domains or ()]
        COMPANY.claim(work, company_id, before, after, {DOMAINS: paths_in_request(DOMAINS, asked)})

    def create(self, work: UnitOfWork) -> Result:
        """Create a company. Refusals: Invalid, Taken."""
        company_id = ids.new_id()
        company = _new(work, company_id, self.fields)
        COMPANY.claim(work, company_id, None, company)
        return created(work, COMPANY, company_id, company)

    @property
    def _link(self) -> CrmAssociation:
        link = crm_link(self.fields.crm_association or None)
        assert link is not UNSET, "the request has a link"
        return link


def _is_being_released(work: UnitOfWork, company_id: UUID) -> bool:
    """Whether slices are still to clear a deleted company from contacts. None would come if the company were back."""
    noted = work.get(UNFINISHED, (RELEASE_CONTACTS.name, company_id))
    return noted is not None and noted.is_there


def _remains(work: UnitOfWork, former: CompanyRow) -> CompanyRecord:
    """Return a deleted company with those of its domains and of its unique values that are free."""
    (last,) = fitted_entries(work, COMPANY, [EntryAt(former.id, former.entry, former.version)])
    work.require(held.need for held in COMPANY.held(last))
    free = [
        CompanyDomainRequest(each.domain) for each in last.domains if DOMAINS.holder(work, without_www(each.domain)) is None
    ]
    return patched(with_free_values(work, COMPANY, former.id, last), CompanyRecordUpdate(domains=tuple(free)))


def _without_domains(entry: CompanyRecord, taken: CompanyRecord) -> CompanyRecord:
    """Return a company without the domains that another one gets."""
    domains = set(DOMAINS.keys(taken))
    left = [CompanyDomainRequest(each.domain) for each in entry.domains if without_www(each.domain) not in domains]
    return patched(entry, CompanyRecordUpdate(domains=tuple(left)))


class CompanyContacts(Protocol):
    """The contacts of companies. This package must not import contacts, so they implement this protocol."""

    def needs(self, company_id: UUID) -> Iterator[Need]:
        """Yield the need for a company's contacts, at most as many as a batch should change."""
        ...

    def release(self, work: UnitOfWork, company_id: UUID) -> bool:
        """Remove the company from these contacts, each by a change of its own. Return whether these were all of them."""
        ...


class ContactsLeftForLater:
    """The contacts of companies for deletions that leave all of them to `ReleaseContacts`, because one command has many."""

    def needs(self, company_id: UUID) -> Iterator[Need]:  # noqa: ARG002
        """Yield nothing."""
        yield from ()

    def release(self, work: UnitOfWork, company_id: UUID) -> bool:  # noqa: ARG002
        """Remove the company from no contact."""
        return False


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
