"""The commands that change contacts."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from herdbook import ids
from herdbook.addresses import comparable_address
from herdbook.companies.store import COMPANIES
from herdbook.contacts.model import (
    ContactCreate,
    ContactRecord,
    ContactRecordUpdate,
    ContactRecordUpdateEmail,
    ContactUpdate,
    ContactUpsert,
    moves_labels,
    patched,
    upserted,
)
from herdbook.contacts.store import (
    ADDRESSES,
    COMPANY_CONTACTS,
    CONTACT,
    CONTACT_WORDS,
    CONTACTS,
    EXTERNAL_IDS,
    FORMER_HOLDERS,
    LINKED_CONTACTS,
    MAX_RELEASED_CONTACTS,
    ContactRow,
)
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
from herdbook.custom_fields.store import default_region
from herdbook.errors import FieldError, Invalid, Stale, together
from herdbook.fields import require_few
from herdbook.ledger.claims import UniqueKey, paths_in_request
from herdbook.ledger.crm_links import oldest_linked
from herdbook.ledger.former_holders import former_holder
from herdbook.ledger.index_entries import IndexReader
from herdbook.ledger.object_types import active, all_active, created, current, first_fitting, restored, updated
from herdbook.ledger.unit_of_work import Need, Result, UnitOfWork
from herdbook.phone_numbers import number_keys
from herdbook.shared_schemas import CrmAssociation, crm_link
from herdbook.tags.store import require_tags, tag_needs, with_hidden_tags


class CreateContact(msgspec.Struct, frozen=True):
    """Create a contact. Refusals: Invalid (company_id, tag_ids, take_from), Stale if a version is required, Taken."""

    fields: ContactCreate
    has_precondition: bool = False

    def needs(self) -> Iterator[Need]:
        yield from _references(self.fields)
        yield from EXTERNAL_IDS.needs(self.fields.external_ids or ())
        yield from value_needs(CONTACT.name, self.fields.fields)
        yield from tag_needs(self.fields.tag_ids)
        yield from giver_needs(CONTACT, self.fields.take_from)

    def apply(self, work: UnitOfWork) -> Result:
        return together(_references_exist(work, self.fields), partial(self._created, work))

    def _created(self, work: UnitOfWork) -> Result:
        if self.has_precondition:
            raise Stale(None)
        contact_id = ids.new_id()
        contact = _new(work, contact_id, self.fields, self.fields.take_from)
        take_values(work, CONTACT, self.fields.take_from, contact, _without_handles)
        CONTACT.claim(work, contact_id, None, contact)
        return created(work, CONTACT, contact_id, contact)


class CreateContactRecord(CreateContact, frozen=True):
    """Create a contact; the answer is the whole. Refusals: as for `CreateContact`."""

    def apply(self, work: UnitOfWork) -> Result:
        version, contact = CreateContact.apply(self, work)
        assert isinstance(contact, ContactRecord), "it was created"
        contact_id = ids.decoded(ids.CONTACT, contact.id)
        assert contact_id is not None, "the server wrote this id"
        return Result(version, record(work, contact_id))


class UpdateContact(msgspec.Struct, frozen=True):
    """Change some fields of a contact. Refusals: Invalid (company_id), NotFound, Stale, Taken."""

    contact_id: UUID
    patch: ContactUpdate
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(CONTACTS, self.contact_id)
        yield from _references(self.patch)

    def apply(self, work: UnitOfWork) -> Result:
        _require_company(work, self.patch.company_id)
        before = current(work, CONTACTS, self.contact_id, self.if_version, "contact")
        after = _patched(work, before.entry, self.patch)
        if self.patch.emails is not UNSET:
            CONTACT.claim(work, self.contact_id, before.entry, after)
        return updated(work, CONTACT, before, after)


class UpdateContactRecord(msgspec.Struct, frozen=True):
    """Change the whole of a contact; the answer is the whole.

    Refusals: Invalid (company_id, tag_ids, take_from), NotFound, Stale, Taken.
    """

    contact_id: UUID
    patch: ContactRecordUpdate
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(CONTACTS, self.contact_id)
        yield from _references(self.patch)
        yield from EXTERNAL_IDS.needs(self.patch.external_ids or ())
        yield from value_needs(CONTACT.name, self.patch.fields)
        yield from tag_needs(self.patch.tag_ids)
        yield from giver_needs(CONTACT, self.patch.take_from)

    def apply(self, work: UnitOfWork) -> Result:
        return together(_references_exist(work, self.patch), partial(self._updated, work))

    def _updated(self, work: UnitOfWork) -> Result:
        before = current(work, CONTACTS, self.contact_id, self.if_version, "contact")
        after = _patched(work, before.entry, self.patch)
        after = with_hidden_tags(work, before.entry, after)
        after = with_values(work, CONTACT, after, self.patch.fields, take_from=self.patch.take_from)
        take_values(work, CONTACT, self.patch.take_from, after, _without_handles)
        CONTACT.claim(work, self.contact_id, before.entry, after)
        version, _ = updated(work, CONTACT, before, after)
        return Result(version, record(work, self.contact_id))


def _without_handles(entry: ContactRecord, taken: ContactRecord) -> ContactRecord:
    """Return a contact without the addresses and external ids that another one gets."""
    addresses = set(ADDRESSES.keys(taken))
    emails = [ContactRecordUpdateEmail(each.email) for each in entry.emails if comparable_address(each.email) not in addresses]
    external_ids = [each for each in entry.external_ids or () if each not in (taken.external_ids or ())]
    return patched(entry, ContactRecordUpdate(emails=tuple(emails), external_ids=tuple(external_ids)))


def _patched(work: UnitOfWork, before: ContactRecord, patch: ContactUpdate) -> ContactRecord:
    return patched(before, patch, default_region(work) if moves_labels(before, patch) else None)


class UpsertContact(msgspec.Struct, frozen=True):
    """Update the contact that has the address, number, link or external id, or create one.

    For an address or an external id, the deleted contact that had it last is restored. `region` is the workspace's default
    region for numbers. The contact keeps its addresses, numbers and external ids, and its primary ones unless others are
    marked. `completed` returns the contact that is written with what no request may set, if there is any. Refusals: Invalid
    (company_id, emails, phone_numbers, external_ids, tag_ids), Taken.
    """

    fields: ContactUpsert
    region: str | None = None
    completed: Callable[[ContactRecord], ContactRecord] | None = None

    def needs(self) -> Iterator[Need]:
        yield from _references(self.fields)
        yield from EXTERNAL_IDS.needs(self.fields.external_ids or ())
        yield from value_needs(CONTACT.name, self.fields.fields)
        yield from tag_needs(self.fields.tag_ids)
        match self.fields.match_by:
            case "emails" | "external_ids":
                unique_key, key = self._key
                yield Need(FORMER_HOLDERS[unique_key], key)
            case "phone_numbers":
                yield from CONTACT_WORDS.needs(number_keys(self.fields.phone_number, self.region))
            case _:
                yield Need(LINKED_CONTACTS, (self._link.crm_object_id, self._link.source))

    def apply(self, work: UnitOfWork) -> Result:
        return together(_references_exist(work, self.fields), partial(self._written, work))

    def _written(self, work: UnitOfWork) -> Result:
        if (before := self.known(work)) is not None:
            return self.update(work, before)
        if (former := self.former(work)) is not None:
            return self.restore(work, former)
        return self.create(work)

    def require_references(self, work: UnitOfWork) -> None:
        """Require that the company and the tags exist. Refusal: Invalid."""
        _require_company(work, self.fields.company_id)
        require_tags(work, self.fields.tag_ids)

    def update(self, work: UnitOfWork, before: ContactRow) -> Result:
        """Update an active contact. Refusals: Invalid, Taken."""
        after = with_values(work, CONTACT, upserted(before.entry, self.fields, self.region), self.fields.fields)
        after = self._completed(after)
        self._claim(work, before.id, before.entry, after)
        return updated(work, CONTACT, before, after)

    def restore(self, work: UnitOfWork, former: ContactRow) -> Result:
        """Restore a deleted contact, and update it. Refusals: Invalid, Taken."""
        after = upserted(_remains(work, former), self.fields, self.region)
        after = self._completed(with_values(work, CONTACT, after, self.fields.fields))
        self._claim(work, former.id, None, after)
        return restored(work, CONTACT, former, after)

    def create(self, work: UnitOfWork) -> Result:
        """Create a contact. Refusals: Invalid, Taken."""
        contact_id = ids.new_id()
        contact = self._completed(_new(work, contact_id, self.fields))
        CONTACT.claim(work, contact_id, None, contact)
        return created(work, CONTACT, contact_id, contact)

    def _completed(self, contact: ContactRecord) -> ContactRecord:
        return contact if self.completed is None else self.completed(contact)

    def former(self, work: UnitOfWork) -> ContactRow | None:
        """Return the deleted contact that the request means, if no active one has the key."""
        if self.fields.match_by not in ("emails", "external_ids"):
            return None
        unique_key, key = self._key
        return former_holder(work, FORMER_HOLDERS[unique_key], unique_key, CONTACTS, key)

    def known(self, work: UnitOfWork) -> ContactRow | None:
        """Return the active contact that the request means; the oldest, if several have the number or the link."""
        match self.fields.match_by:
            case "emails" | "external_ids":
                return _holder(work, *self._key)
            case "phone_numbers":
                keys = number_keys(self.fields.phone_number, self.region)
                known = known_contacts(work, [], keys)
                return next((known[key] for key in keys if key in known), None)
            case _:
                return oldest_linked(work, LINKED_CONTACTS, CONTACTS, self._link)

    @property
    def _key(self) -> "tuple[UniqueKey[ContactRecord], str]":
        """The key by which the contact is looked up, if it is an address or an external id."""
        if self.fields.match_by == "external_ids":
            return EXTERNAL_IDS, self.fields.external_id
        return ADDRESSES, self.fields.address

    @property
    def _link(self) -> CrmAssociation:
        link = crm_link(self.fields.crm_association or None)
        assert link is not UNSET, "the request has a link"
        return link

    def _claim(self, work: UnitOfWork, contact_id: UUID, before: ContactRecord | None, after: ContactRecord) -> None:
        require_few(after, ("emails", "phone_numbers", "external_ids", "tag_ids"), CONTACT.noun)
        asked = [comparable_address(item.email.strip()) for item in self.fields.emails or ()]
        field_paths = {
            ADDRESSES: paths_in_request(ADDRESSES, asked),
            EXTERNAL_IDS: paths_in_request(EXTERNAL_IDS, self.fields.external_ids or ()),
        }
        CONTACT.claim(work, contact_id, before, after, field_paths)


def record(work: UnitOfWork, contact_id: UUID) -> ContactRecord:
    """Return the whole of a contact that the unit of work has, as the API shows it."""
    row = work.get(CONTACTS, contact_id)
    assert row is not None, "a command has read or written it"
    return shown_entry(work, CONTACT.name, row.entry)


def _new(
    work: UnitOfWork, contact_id: UUID, asked: ContactCreate | ContactUpsert, take_from: str | UnsetType = UNSET
) -> ContactRecord:
    contact = CONTACT.new(contact_id, work.time, asked)
    return with_values(work, CONTACT, contact, asked.fields, is_new=True, take_from=take_from)


def known_contacts(work: UnitOfWork, addresses: Sequence[str], numbers: Sequence[str]) -> dict[str, ContactRow]:
    """Return the active contacts with these addresses and numbers, by address or number; the oldest with each number."""
    work.require([*ADDRESSES.needs(addresses), *CONTACT_WORDS.needs(numbers)])
    found = {address: ADDRESSES.holder(work, address) for address in addresses}
    numbered = IndexReader(work, CONTACT_WORDS).first(numbers, 1)
    found |= {number: next(iter(contact_ids), None) for number, contact_ids in numbered.items()}
    rows = all_active(work, CONTACTS, list(found.values()))
    return {handle: row for handle, row in zip(found, rows, strict=True) if row is not None}


class ContactsOfCompany:
    """The contacts of companies, for the deletion of a company."""

    def needs(self, company_id: UUID) -> Iterator[Need]:
        """Yield the need for the contacts of a company."""
        yield from COMPANY_CONTACTS.needs([company_id])

    def release(self, work: UnitOfWork, company_id: UUID) -> bool:
        """Remove the company from its contacts, each by a change of its own. Return whether these were all of them."""
        contact_ids = IndexReader(work, COMPANY_CONTACTS).first([company_id], MAX_RELEASED_CONTACTS)[company_id]
        fitting = first_fitting(work, CONTACTS, contact_ids)
        for row in work.get_all(CONTACTS, fitting):
            assert row is not None, "an index names rows that exist"
            updated(work, CONTACT, row, msgspec.structs.replace(row.entry, company=UNSET))
        return len(fitting) == len(contact_ids) < MAX_RELEASED_CONTACTS


def _holder(work: UnitOfWork, unique_key: UniqueKey[ContactRecord], key: str) -> ContactRow | None:
    """Return the active contact that has a key."""
    return active(work, CONTACTS, unique_key.holder(work, key))


def _remains(work: UnitOfWork, former: ContactRow) -> ContactRecord:
    """Return a deleted contact with those of its keys that are free, and its company if that still exists."""
    (last,) = fitted_entries(work, CONTACT, [EntryAt(former.id, former.entry, former.version)])
    work.require([*(held.need for held in CONTACT.held(last)), *_company_need(former.company_id)])
    if active(work, COMPANIES, former.company_id) is None:
        last = msgspec.structs.replace(last, company=UNSET)
    addresses = [item.email for item in last.emails if ADDRESSES.holder(work, comparable_address(item.email)) is None]
    external_ids = [each for each in last.external_ids or () if EXTERNAL_IDS.holder(work, each) is None]
    free = ContactRecordUpdate(emails=tuple(map(ContactRecordUpdateEmail, addresses)), external_ids=tuple(external_ids))
    return patched(with_free_values(work, CONTACT, former.id, last), free)


def _references(asked: ContactUpdate | ContactCreate | ContactUpsert) -> Iterator[Need]:
    if isinstance(asked.company_id, str):
        yield from _company_need(ids.decoded(ids.COMPANY, asked.company_id))
    if asked.emails is not UNSET:
        yield from ADDRESSES.needs([comparable_address(item.email.strip()) for item in asked.emails])


def _company_need(company_id: UUID | None) -> list[Need]:
    return [] if company_id is None else [Need(COMPANIES, company_id)]


def _references_exist(
    work: UnitOfWork, asked: ContactCreate | ContactRecordUpdate | ContactUpsert
) -> Sequence[Callable[[], None]]:
    """Return the checks that the company and the tags of a request exist."""
    return partial(_require_company, work, asked.company_id), partial(require_tags, work, asked.tag_ids)


def _require_company(work: UnitOfWork, company_id: str | None | UnsetType) -> None:
    if isinstance(company_id, str) and active(work, COMPANIES, ids.decoded(ids.COMPANY, company_id)) is None:
        message = "`company_id` names no company of this workspace. Create the company first, or leave the field out."
        raise Invalid([FieldError("company_id", "not_found", message, company_id)])
