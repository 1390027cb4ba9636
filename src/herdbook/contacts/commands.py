"""The commands that change contacts."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from herdbook import ids
from herdbook.addresses import comparable_address
from herdbook.companies.store import COMPANIES, LeftBehind
from herdbook.contacts.model import (
    Contact,
    ContactCreate,
    ContactCrmAssociation,
    ContactEmail,
    ContactObject,
    ContactUpdate,
    ContactUpsert,
    patched,
    upserted,
)
from herdbook.contacts.store import (
    ADDRESSES,
    CONTACT,
    CONTACTS,
    FORMER_HOLDERS,
    HOLDERS,
    MAX_NUMBERED,
    MAX_RELEASED_CONTACTS,
    NUMBERED,
    STAFF,
    ContactRow,
    KnownContact,
    deleted_with_staff,
    has_staff,
)
from herdbook.db.pool import Executor
from herdbook.errors import FieldError, Invalid, Stale
from herdbook.fields import MAX_ITEMS
from herdbook.ledger.object_types import active, created, current, deleted, restored, updated
from herdbook.ledger.unit_of_work import Need, Result, UnitOfWork
from herdbook.shared_schemas import crm_link


class CreateContact(msgspec.Struct, frozen=True):
    """Create a contact. Refusals: Invalid (company_id), Stale if a version is required, Taken."""

    fields: ContactCreate
    has_precondition: bool = False

    def needs(self) -> Iterator[Need]:
        yield from _references(self.fields)

    def apply(self, work: UnitOfWork) -> Result:
        _require_company(work, self.fields.company_id)
        if self.has_precondition:
            raise Stale(None)
        contact_id = ids.new_id()
        contact = patched(_blank(work, contact_id), self.fields)
        CONTACT.claim(work, contact_id, None, contact)
        return created(work, CONTACT, contact_id, contact)


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
        after = patched(before.object, self.patch)
        if self.patch.emails is not UNSET:
            CONTACT.claim(work, self.contact_id, before.object, after)
        return updated(work, CONTACT, before, after)


class Unforeseen(Exception):
    """The command needs rows that were not looked up. They must be looked up, and the command repeated."""


class Foreseen(msgspec.Struct, frozen=True):
    """The addresses and companies of contacts that an upsert may restore, so that it can check whether they are available."""

    addresses: frozenset[str] = frozenset()
    company_ids: frozenset[UUID] = frozenset()


class UpsertContact(msgspec.Struct, frozen=True):
    """Update the contact with the primary address, restore the deleted contact that had it last, or create one.

    The contact keeps its addresses and numbers, and its primary ones unless others are marked. Refusals: Invalid
    (company_id, emails, phone_numbers), Taken. Also raises Unforeseen, which no caller sees.
    """

    fields: ContactUpsert
    foreseen: Foreseen = Foreseen()

    def needs(self) -> Iterator[Need]:
        yield from _references(self.fields)
        yield Need(HOLDERS, self.fields.match)
        yield Need(FORMER_HOLDERS, self.fields.match)
        yield from ADDRESSES.needs(self.foreseen.addresses)
        for company_id in self.foreseen.company_ids:
            yield Need(COMPANIES, company_id)

    def apply(self, work: UnitOfWork) -> Result:
        _require_company(work, self.fields.company_id)
        if (before := _holder(work, self.fields.match)) is not None:
            after = upserted(before.object, self.fields)
            self._claim(work, before.id, before.object.emails, after)
            return updated(work, CONTACT, before, after)
        if (former := _former_holder(work, self.fields.match)) is not None:
            after = upserted(self._what_is_left(work, former), self.fields)
            self._claim(work, former.id, (), after)
            return restored(work, CONTACT, former, after)
        contact_id = ids.new_id()
        contact = patched(_blank(work, contact_id), self.fields)
        CONTACT.claim(work, contact_id, None, contact)
        return created(work, CONTACT, contact_id, contact)

    def _asked(self) -> dict[str, int]:
        return {comparable_address(item.email.strip()): index for index, item in enumerate(self.fields.emails)}

    def _claim(self, work: UnitOfWork, contact_id: UUID, had: Sequence[ContactEmail], after: Contact) -> None:
        for name, items in (("emails", after.emails), ("phone_numbers", after.phone_numbers)):
            if len(items) > MAX_ITEMS:
                message = (
                    f"`{name}` would have {len(items)} items, with those that the contact has. Send fewer: "
                    f"{MAX_ITEMS} is the limit."
                )
                raise Invalid([FieldError(name, "too_long", message)])
        old, new = [comparable_address(item.email) for item in had], CONTACT.keys(after)
        # The contact may always keep its own addresses, so an address that is refused was sent in the request.
        asked = self._asked()
        ADDRESSES.claim(work, CONTACT, contact_id, old, new, lambda index: ADDRESSES.field_path(asked[new[index]]))

    def _what_is_left(self, work: UnitOfWork, former: ContactRow) -> Contact:
        """Return a deleted contact with those of its addresses that are free, and its company if that still exists."""
        shown, company_id = former.object, former.company_id
        seen = self.foreseen.addresses.union(self._asked())
        if any(address not in seen and work.get(ADDRESSES.table, address) is None for address in CONTACT.keys(shown)):
            raise Unforeseen
        if company_id is not None and company_id not in self.foreseen.company_ids and work.get(COMPANIES, company_id) is None:
            raise Unforeseen
        if active(work, COMPANIES, company_id) is None:
            shown = msgspec.structs.replace(shown, company=UNSET)
        free = [item for item in shown.emails if ADDRESSES.holder(work, comparable_address(item.email)) is None]
        return msgspec.structs.replace(shown, emails=tuple(free))


class DeleteContact(msgspec.Struct, frozen=True):
    """Delete a contact, and free its e-mail addresses. Refusals: NotFound, Stale."""

    contact_id: UUID
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(CONTACTS, self.contact_id)

    def apply(self, work: UnitOfWork) -> Result:
        return deleted(work, CONTACT, current(work, CONTACTS, self.contact_id, self.if_version, "contact"))


class SetContactCrmAssociation(msgspec.Struct, frozen=True):
    """Replace the link of a contact to a CRM record; None removes it. Refusals: NotFound, Stale."""

    contact_id: UUID
    association: ContactCrmAssociation | None
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(CONTACTS, self.contact_id)

    def apply(self, work: UnitOfWork) -> Result:
        before = current(work, CONTACTS, self.contact_id, self.if_version, "contact")
        after = msgspec.structs.replace(before.object, crm_association=crm_link(self.association))
        return updated(work, CONTACT, before, after)


class KnownContacts:
    """Active contacts by address or phone number, as the batch has them when this is created."""

    def __init__(self, work: UnitOfWork) -> None:
        self._work = work
        self._numbered: dict[str, KnownContact] = {}
        for row in sorted(work.changed_in(CONTACTS), key=lambda row: row.id, reverse=True):
            if row.deleted_at is None:
                self._numbered |= dict.fromkeys(row.phone_numbers_e164 or (), KnownContact(row.id, row.company_id))

    @staticmethod
    def needs(addresses: Iterable[str], numbers: Iterable[str]) -> Iterator[Need]:
        """Yield the needs of looking up these addresses and numbers."""
        for address in addresses:
            yield Need(ADDRESSES.table, address)
            yield Need(HOLDERS, address)
        for number in numbers:
            yield Need(NUMBERED, number)

    def with_address(self, address: str) -> KnownContact | None:
        """Return the contact that has an address."""
        row = _holder(self._work, address)
        return None if row is None else KnownContact(row.id, row.company_id)

    def with_number(self, number: str) -> KnownContact | None:
        """Return the oldest contact that has a phone number. Raise Unforeseen if more contacts would have to be examined."""
        numbered = self._work.get(NUMBERED, number)
        assert numbered is not None, "the command lists it as a need"
        found = [contact for contact in map(self._now, numbered.contacts, itertools.repeat(number)) if contact is not None]
        if not found and len(numbered.contacts) == MAX_NUMBERED:
            raise Unforeseen
        if (put := self._numbered.get(number)) is not None:
            found.append(put)
        return min(found, key=lambda contact: contact.id, default=None)

    def _now(self, loaded: KnownContact, number: str) -> KnownContact | None:
        row = self._work.get(CONTACTS, loaded.id)
        if row is None:
            return loaded
        has_it = row.deleted_at is None and number in (row.phone_numbers_e164 or ())
        return KnownContact(row.id, row.company_id) if has_it else None


class CompanyStaff:
    """The contacts of companies, for the deletion of a company."""

    def needs(self, company_id: UUID) -> Iterator[Need]:
        """Yield the need for the contacts of a company."""
        yield Need(STAFF, company_id)

    def release(self, work: UnitOfWork, company_id: UUID) -> bool:
        """Remove the company from its contacts, each by a change of its own. Return whether these were all of them."""
        staff = work.get(STAFF, company_id)
        assert staff is not None, "the deletion needs it"
        # A row that the batch has changed replaces the row that it loaded.
        known = {row.id: row for row in (*staff.contacts, *work.changed_in(CONTACTS))}
        for row in known.values():
            if row.company_id == company_id and row.deleted_at is None:
                updated(work, CONTACT, row, msgspec.structs.replace(row.object, company=UNSET))
        return len(staff.contacts) < MAX_RELEASED_CONTACTS

    async def is_left(self, statements: Executor, workspace_id: UUID, company_id: UUID) -> bool:
        """Whether a company has contacts."""
        return await has_staff(statements, workspace_id, company_id)

    async def left_behind(self, statements: Executor) -> list[LeftBehind]:
        """Return the deleted companies that may still have contacts."""
        return await deleted_with_staff(statements)


def _blank(work: UnitOfWork, contact_id: UUID) -> Contact:
    return Contact(
        object=ContactObject.CONTACT,
        id=ids.encoded(ids.CONTACT, contact_id),
        created_at=work.time,
        updated_at=work.time,
    )


def _holder(work: UnitOfWork, address: str) -> ContactRow | None:
    """Return the active contact that has an address."""
    contact_id = ADDRESSES.holder(work, address)
    if contact_id is None:
        return None
    if (row := work.get(CONTACTS, contact_id)) is not None:
        return row
    holder = work.get(HOLDERS, address)
    assert holder is not None, "a contact that got the address in this batch has a row in the unit of work"
    return holder.contact


def _former_holder(work: UnitOfWork, address: str) -> ContactRow | None:
    """Return the contact that was deleted last among those that had an address, if no contact has the address now."""
    deleted_now: list[ContactRow] = []
    if work.get(ADDRESSES.table, address) is not None:
        # A contact lost the address in this batch.
        deleted_now = [row for row in work.changed_in(CONTACTS) if _may_come_back(row) and address in CONTACT.keys(row.object)]
    if deleted_now:
        return max(deleted_now, key=lambda row: row.version)
    former = work.get(FORMER_HOLDERS, address)
    if former is None:
        return None
    row = work.get(CONTACTS, former.contact.id) or former.contact
    return row if _may_come_back(row) else None


def _may_come_back(row: ContactRow) -> bool:
    return row.deleted_at is not None and row.merged_into is None


def _references(asked: ContactUpdate | ContactCreate | ContactUpsert) -> Iterator[Need]:
    if isinstance(asked.company_id, str) and (company_id := ids.decoded(ids.COMPANY, asked.company_id)):
        yield Need(COMPANIES, company_id)
    if asked.emails is not UNSET:
        yield from ADDRESSES.needs([comparable_address(item.email.strip()) for item in asked.emails])


def _require_company(work: UnitOfWork, company_id: str | None | UnsetType) -> None:
    if isinstance(company_id, str) and active(work, COMPANIES, ids.decoded(ids.COMPANY, company_id)) is None:
        message = "`company_id` names no company of this workspace. Create the company first, or leave the field out."
        raise Invalid([FieldError("company_id", "not_found", message)])
