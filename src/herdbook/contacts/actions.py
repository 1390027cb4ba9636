"""What can be done to contacts: commands, applied to a book."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from herdbook import ids
from herdbook.companies.store import COMPANIES
from herdbook.contacts.addresses import comparable_address, e164
from herdbook.contacts.model import (
    Contact,
    ContactCreate,
    ContactCrmAssociation,
    ContactObject,
    ContactUpdate,
    SearchEntry,
    patched,
    search_entry,
)
from herdbook.contacts.store import ADDRESS_CLAIMS, CONTACTS, WORD_ENTRIES, AddressClaim, ContactRow, WordEntry
from herdbook.errors import FieldError, Invalid, NotFound, Stale, Taken
from herdbook.ledger.book import Book, Need, Result
from herdbook.ledger.changes import Action, Kind
from herdbook.wire import CrmAssociation, Deleted


class CreateContact(msgspec.Struct, frozen=True):
    """Create a contact. Refusals: Invalid (company_id), Stale where a version is asked for, Taken."""

    fields: ContactCreate
    has_precondition: bool = False

    def needs(self) -> Iterator[Need]:
        yield from _references(self.fields)

    def apply(self, book: Book) -> Result:
        _require_company(book, self.fields.company_id)
        if self.has_precondition:
            raise Stale(None)
        contact_id = ids.new_id()
        blank = Contact(
            object=ContactObject.CONTACT,
            id=ids.encoded(ids.CONTACT, contact_id),
            created_at=book.time,
            updated_at=book.time,
        )
        contact = patched(blank, self.fields)
        _claim_addresses(book, contact_id, blank, contact)
        version = book.enter(Kind.CONTACT, contact_id, Action.CREATED, None, contact)
        _put(book, contact_id, version, None, contact)
        return Result(version, contact)


class UpdateContact(msgspec.Struct, frozen=True):
    """Change some fields of a contact. Refusals: Invalid (company_id), NotFound, Stale, Taken."""

    contact_id: UUID
    patch: ContactUpdate
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(CONTACTS, self.contact_id)
        yield from _references(self.patch)

    def apply(self, book: Book) -> Result:
        _require_company(book, self.patch.company_id)
        before = _current(book, self.contact_id, self.if_version)
        after = patched(before.object, self.patch)
        if self.patch.emails is not UNSET:
            _claim_addresses(book, self.contact_id, before.object, after)
        return _updated(book, before, after)


class DeleteContact(msgspec.Struct, frozen=True):
    """Delete a contact, and free its e-mail addresses. Refusals: NotFound, Stale."""

    contact_id: UUID
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(CONTACTS, self.contact_id)

    def apply(self, book: Book) -> Result:
        before = _current(book, self.contact_id, self.if_version)
        for item in before.object.emails:
            _free_address(book, comparable_address(item.email), self.contact_id)
        for word in before.search_entry.other_words:
            book.put(WORD_ENTRIES, WordEntry(book.workspace_id, word, self.contact_id, is_there=False))
        version = book.enter(Kind.CONTACT, self.contact_id, Action.DELETED, None, before.object)
        gone = msgspec.structs.replace(before, version=version, updated_at=book.at, deleted_at=book.at)
        book.put(CONTACTS, gone)
        return Result(version, Deleted(before.object.id, "contact"))


class SetContactCrmAssociation(msgspec.Struct, frozen=True):
    """Link a contact to a CRM record, in place of the one it was linked to. Refusals: NotFound, Stale."""

    contact_id: UUID
    association: ContactCrmAssociation | None
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(CONTACTS, self.contact_id)

    def apply(self, book: Book) -> Result:
        before = _current(book, self.contact_id, self.if_version)
        link: CrmAssociation | UnsetType = UNSET
        if self.association is not None:
            link = CrmAssociation(self.association.object_type, self.association.crm_object_id, self.association.source)
        return _updated(book, before, msgspec.structs.replace(before.object, crm_association=link))


def _references(asked: ContactUpdate | ContactCreate) -> Iterator[Need]:
    if isinstance(asked.company_id, str) and (company_id := ids.decoded(ids.COMPANY, asked.company_id)):
        yield Need(COMPANIES, company_id)
    if asked.emails is not UNSET:
        for item in asked.emails:
            yield Need(ADDRESS_CLAIMS, comparable_address(item.email.strip()))


def _require_company(book: Book, company_id: str | None | UnsetType) -> None:
    if not isinstance(company_id, str):
        return
    found = ids.decoded(ids.COMPANY, company_id)
    company = book.find(COMPANIES, found)
    if company is None or company.deleted_at is not None:
        message = "`company_id` names no company of this workspace. Create the company first, or leave the field out."
        raise Invalid([FieldError("company_id", "not_found", message)])


def _current(book: Book, contact_id: UUID, if_version: frozenset[int] | None) -> ContactRow:
    row = book.find(CONTACTS, contact_id)
    if row is None or row.deleted_at is not None:
        raise NotFound("contact")
    if if_version is not None and row.version not in if_version:
        raise Stale(row.version)
    return row


def _claim_addresses(book: Book, contact_id: UUID, before: Contact, after: Contact) -> None:
    old = {comparable_address(item.email) for item in before.emails}
    new = [comparable_address(item.email) for item in after.emails]
    errors: list[FieldError] = []
    holders: list[tuple[str, str]] = []
    for index, address in enumerate(new):
        claim = book.find(ADDRESS_CLAIMS, address)
        if claim is not None and claim.contact_id not in (None, contact_id):
            place = f"emails[{index}].email"
            message = f"`{place}` belongs to another active contact of this workspace. Update that one, or leave it out."
            errors.append(FieldError(place, "already_in_use", message))
            holders.append(("contact", ids.encoded(ids.CONTACT, claim.contact_id)))
    if errors:
        raise Taken(errors, holders, "contacts:read")
    for address in old.difference(new):
        _free_address(book, address, contact_id)
    for address in new:
        if address not in old:
            claim = book.find(ADDRESS_CLAIMS, address)
            stored = None if claim is None else claim.stored_contact_id
            book.put(ADDRESS_CLAIMS, AddressClaim(book.workspace_id, address, contact_id, stored))


def _free_address(book: Book, address: str, contact_id: UUID) -> None:
    claim = book.find(ADDRESS_CLAIMS, address)
    # An address that the batch did not ask for stands in the table as this contact's, since it stands in its row.
    stored = contact_id if claim is None else claim.stored_contact_id
    book.put(ADDRESS_CLAIMS, AddressClaim(book.workspace_id, address, None, stored))


def _updated(book: Book, before: ContactRow, after: Contact) -> Result:
    """Save what an update made of a contact; what changes nothing writes nothing."""
    if after == before.object:
        return Result(before.version, before.object)
    after = msgspec.structs.replace(after, updated_at=book.time)
    version = book.enter(Kind.CONTACT, before.id, Action.UPDATED, _previous(before.object, after), after)
    _put(book, before.id, version, before, after)
    return Result(version, after)


def _previous(before: Contact, after: Contact) -> dict[str, Any]:
    """Return the old values of the members that changed, null for those that were not there; the time tells itself."""
    changed: dict[str, Any] = {}
    for name in Contact.__struct_fields__:
        old = getattr(before, name)
        if old != getattr(after, name) and name != "updated_at":
            changed[name] = None if old is UNSET else old
    return changed


def _put(book: Book, contact_id: UUID, version: int, before: ContactRow | None, after: Contact) -> None:
    search = _entered_words(book, contact_id, before, after)
    crm = after.crm_association
    book.put(
        CONTACTS,
        ContactRow(
            workspace_id=book.workspace_id,
            id=contact_id,
            version=version,
            updated_at=book.at,
            deleted_at=None,
            company_id=_company_id(before, after),
            crm_object_id=None if crm is UNSET else crm.crm_object_id,
            phone_numbers_e164=_e164_numbers(before, after),
            search=search.text,
            first_name_word=search.first_name_word,
            last_name_word=search.last_name_word,
            object=after,
        ),
    )


def _entered_words(book: Book, contact_id: UUID, before: ContactRow | None, after: Contact) -> SearchEntry:
    old = SearchEntry("", None, None) if before is None else before.search_entry
    new = search_entry(after)
    if new != old:
        old_words, new_words = old.other_words, new.other_words
        for word in old_words ^ new_words:
            book.put(WORD_ENTRIES, WordEntry(book.workspace_id, word, contact_id, is_there=word in new_words))
    return new


# Decoding an id and reading a phone number cost more than all else here, and most updates touch neither.
def _company_id(before: ContactRow | None, after: Contact) -> UUID | None:
    if before is not None and before.object.company == after.company:
        return before.company_id
    return None if after.company is UNSET else ids.decoded(ids.COMPANY, after.company.id)


def _e164_numbers(before: ContactRow | None, after: Contact) -> tuple[str, ...] | None:
    if before is not None and before.object.phone_numbers == after.phone_numbers:
        return before.phone_numbers_e164
    return tuple(number for item in after.phone_numbers if (number := e164(item.phone_number))) or None
