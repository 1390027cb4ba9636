"""How contacts are written in bulk."""

from typing import Final, NamedTuple
from uuid import UUID

from herdbook.bulk.commands import BulkType
from herdbook.contacts.commands import CreateContact, UpdateContactRecord, UpsertContact, record
from herdbook.contacts.model import (
    ContactBulkItem,
    ContactBulkResult,
    ContactCreate,
    ContactRecordUpdate,
    ContactUpsert,
    read_numbers,
)
from herdbook.contacts.store import CONTACT
from herdbook.ledger.commands import Delete

CONTACTS_IN_BULK: Final = BulkType(
    object_type=CONTACT,
    create=ContactCreate,
    update=ContactRecordUpdate,
    upsert=ContactUpsert,
    counted=("emails", "phone_numbers", "external_ids"),
    items="e-mail addresses, phone numbers and external ids",
    item=ContactBulkItem,
    result=ContactBulkResult,
    record=record,
)


class ContactCommands(NamedTuple):
    """Makes the commands of the operations on contacts. `region` is the workspace's default region for numbers."""

    region: str | None

    def create(self, asked: ContactCreate) -> CreateContact:
        """Return the command that creates a contact."""
        read_numbers(asked, self.region)
        return CreateContact(asked)

    def update(self, object_id: UUID, asked: ContactRecordUpdate) -> UpdateContactRecord:
        """Return the command that changes a contact."""
        read_numbers(asked, self.region)
        return UpdateContactRecord(object_id, asked)

    def delete(self, object_id: UUID) -> Delete:
        """Return the command that deletes a contact."""
        return Delete(CONTACT, object_id)

    def upsert(self, asked: ContactUpsert, path: str) -> UpsertContact:
        """Return the command that changes a contact or creates one. Refusal: Invalid."""
        asked.require_match(path)
        read_numbers(asked, self.region)
        return UpsertContact(asked, self.region)
