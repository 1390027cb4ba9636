"""The operations of /v2/contacts."""

from functools import partial
from typing import Final
from uuid import UUID

import msgspec

from herdbook import fields, ids
from herdbook.addresses import comparable_address
from herdbook.bulk.api import bulk_write
from herdbook.bulk.model import BulkEnvelope
from herdbook.companies import store as companies
from herdbook.contacts import store
from herdbook.contacts.bulk import CONTACTS_IN_BULK, ContactCommands
from herdbook.contacts.commands import CreateContact, CreateContactRecord, UpdateContact, UpdateContactRecord
from herdbook.contacts.model import (
    Contact,
    ContactBulkResult,
    ContactBulkWrite,
    ContactCreate,
    ContactCrmAssociation,
    ContactQuery,
    ContactQueryPage,
    ContactRecordUpdate,
    ContactUpdate,
    LabelledContactRecord,
    MergedContact,
    read_numbers,
)
from herdbook.contacts.query_store import QUERIED_CONTACTS
from herdbook.contacts.store import CONTACT
from herdbook.custom_fields.api import further_errors_of_values
from herdbook.errors import NotFound, Taken
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Filter, ListOf, Operation, OtherAnswer, id_filter
from herdbook.ledger.commands import Delete, SetCrmAssociation
from herdbook.phone_numbers import read_number
from herdbook.querying.api import answer_query, further_errors_of_query
from herdbook.shared_schemas import Deleted
from herdbook.tags.api import shown_record
from herdbook.workspaces.store import region_of


async def list_contacts(call: Call) -> Answer:
    """List the contacts of the workspace."""
    return await call.answer_list(store.page)


async def list_company_contacts(call: Call, company_id: UUID) -> Answer:
    """List the contacts of one company."""
    query = call.page_query()
    if await companies.find(call.services.database, call.caller.workspace_id, company_id) is None:
        raise NotFound("company", object_id=company_id)
    pages, workspace_id = call.services.database.pages, call.caller.workspace_id
    return call.answer_page(await store.page(pages, workspace_id, query, company_id=company_id), query)


async def create_contact(call: Call, contact: ContactCreate) -> Answer:
    """Create a contact."""
    read_numbers(contact)
    return await call.write(CreateContact(contact, call.has_precondition))


async def create_contact_record(call: Call, contact: ContactCreate) -> Answer:
    """Create a contact, and answer with the whole of it."""
    read_numbers(contact)
    return await shown_whole(call, await call.write(CreateContactRecord(contact, call.has_precondition)))


async def get_contact(call: Call, contact_id: UUID) -> Answer:
    """Read one contact. Redirect from a merged contact to the contact that replaces it."""
    found = await store.find(call.services.database, call.caller.workspace_id, contact_id)
    return await call.answer_unless_merged(found, CONTACT, contact_id)


async def update_contact(call: Call, contact_id: UUID, patch: ContactUpdate) -> Answer:
    """Change some fields of one contact. Absent leaves a field alone; null clears it."""
    read_numbers(patch)
    return await call.write(UpdateContact(contact_id, patch, call.if_version))


async def get_contact_record(call: Call, contact_id: UUID) -> Answer:
    """Read the whole of one contact. Redirect from a merged contact to the contact that replaces it."""
    found = await store.find_record(call.services.database, call.caller.workspace_id, contact_id)
    return await shown_whole(call, await call.answer_unless_merged(found, CONTACT, contact_id))


async def update_contact_record(call: Call, contact_id: UUID, patch: ContactRecordUpdate) -> Answer:
    """Change some members of the whole of one contact. Absent leaves a member alone; null clears it."""
    read_numbers(patch)
    return await shown_whole(call, await call.write(UpdateContactRecord(contact_id, patch, call.if_version)))


async def shown_whole(call: Call, answer: Answer) -> Answer:
    """Return a record with the labels beside the addresses and numbers, and without tags that are deleted."""
    if b'"labels":' in answer.body:
        record = msgspec.json.decode(answer.body, type=LabelledContactRecord)
        answer = answer._replace(body=msgspec.json.encode(record.labelled))
    return await shown_record(call, answer, LabelledContactRecord)


async def delete_contact(call: Call, contact_id: UUID) -> Answer:
    """Delete one contact."""
    return await call.write(Delete(CONTACT, contact_id, call.if_version))


async def set_crm_association(call: Call, contact_id: UUID, association: ContactCrmAssociation) -> Answer:
    """Link one contact to a CRM record."""
    return await call.write(SetCrmAssociation(CONTACT, contact_id, association, call.if_version))


async def clear_crm_association(call: Call, contact_id: UUID) -> Answer:
    """Unlink one contact from its CRM record."""
    return await call.write(SetCrmAssociation(CONTACT, contact_id, None, call.if_version))


async def query_contacts(call: Call, asked: ContactQuery) -> Answer:
    """Find contacts by conditions over all members. Refusal: Invalid."""
    region = await region_of(call.services.database.pages, call.caller.workspace_id)
    return await answer_query(call, QUERIED_CONTACTS, asked, region, ContactQueryPage)


async def bulk_write_contacts(call: Call, bulk: BulkEnvelope) -> Answer:
    """Write many contacts, each independently or all or none."""
    region = await region_of(call.services.database.pool, call.caller.workspace_id)
    return await bulk_write(call, bulk, CONTACTS_IN_BULK, ContactCommands(region))


def _address(text: str) -> str:
    # An unencoded plus sign in a query arrives as a space, which is only allowed between quotation marks.
    return comparable_address(text if '"' in text else text.strip().replace(" ", "+"))


def _phone_number(text: str) -> str:
    number = "+" + text.lstrip() if text.startswith(" ") else text
    if read_number(number) is None:
        raise ValueError("a phone number has digits")
    return number


def _external_id(text: str) -> str:
    if len(text) > _MAX_EXTERNAL_ID or not fields.shows(text):
        raise ValueError(f"an external id has 1 to {_MAX_EXTERNAL_ID} characters, and some of them show")
    return text


# The length of `fields.Name`.
_MAX_EXTERNAL_ID: Final = 255
_TAG: Final = "subpackage_contacts"
_READ: Final = ("contacts:read",)
_WRITE: Final = ("contacts:write",)
_LIST: Final = ListOf(
    search="Search words. Each must match the start of a word in the full name or an e-mail address; case, accents, "
    "apostrophes and hyphens are ignored. Four and more digits also match the start or the end of a phone number, and "
    "a complete number any form of it. A contact that has exactly the searched address comes first.",
    crm_types=("contact",),
    filters=(
        Filter(
            "email",
            _address,
            {"type": "string", "format": "idn-email"},
            "Only the contact that has this address.",
            most=1,
        ),
        Filter(
            "phone_number",
            _phone_number,
            {"type": "string", "pattern": "[0-9]"},
            "Only contacts that have this number, in any form in which a telephone system sends it. Without a country "
            "code, it is read as a number of the workspace's region.",
            most=1,
        ),
        Filter(
            "external_id",
            _external_id,
            {"type": "string", "minLength": 1, "maxLength": _MAX_EXTERNAL_ID, **fields.TEXT_SCHEMA},
            "Only the contact that has this external id, compared exactly.",
            most=1,
        ),
        id_filter("company_id", ids.COMPANY, "company", "Only contacts of this company."),
        id_filter("tag_ids", ids.TAG, "tag", "Only contacts that have any of these tags."),
    ),
)
_MERGED: Final = {
    308: OtherAnswer(MergedContact, "The contact was merged into another one, which `Location` names.", ("Location",))
}

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v2/contacts",
        id="list-contacts",
        summary="List contacts",
        description="Lists the workspace's contacts.",
        tag=_TAG,
        scopes=_READ,
        handler=list_contacts,
        answer=Contact,
        answer_description="Contact list response.",
        list_of=_LIST,
    ),
    Operation(
        method="GET",
        path="/herdbook/companies/{company_id}/contacts",
        id="list-company-contacts",
        summary="List company contacts",
        description="Lists the contacts of a company.",
        tag=_TAG,
        scopes=_READ,
        handler=list_company_contacts,
        answer=Contact,
        answer_description="Contact list response.",
        list_of=_LIST,
    ),
    Operation(
        method="POST",
        path="/v2/contacts",
        id="create-contact",
        summary="Create contact",
        description="Creates a workspace contact.",
        tag=_TAG,
        scopes=_WRITE,
        handler=create_contact,
        body=ContactCreate,
        answer=Contact,
        answer_description="Created contact response.",
        status=201,
        refusals=(Taken,),
    ),
    Operation(
        method="GET",
        path="/v2/contacts/{contact_id}",
        id="get-contact-by-id",
        summary="Get contact",
        description="Reads a single workspace contact.",
        tag=_TAG,
        scopes=_READ,
        handler=get_contact,
        answer=Contact,
        answer_description="Contact response.",
        other_answers=_MERGED,
    ),
    Operation(
        method="PATCH",
        path="/v2/contacts/{contact_id}",
        id="update-contact",
        summary="Update contact",
        description="Updates a single workspace contact.",
        tag=_TAG,
        scopes=_WRITE,
        handler=update_contact,
        body=ContactUpdate,
        answer=Contact,
        answer_description="Updated contact response.",
        refusals=(Taken,),
    ),
    Operation(
        method="DELETE",
        path="/v2/contacts/{contact_id}",
        id="delete-contact",
        summary="Delete contact",
        description="Deletes a single workspace contact.",
        tag=_TAG,
        scopes=_WRITE,
        handler=delete_contact,
        answer=Deleted,
        answer_description="Deleted contact response.",
    ),
    Operation(
        method="PUT",
        path="/v2/contacts/{contact_id}/crm_association",
        id="set-contact-crm-association",
        summary="Set contact CRM association",
        description="Replaces the CRM association of a contact.",
        tag=_TAG,
        scopes=_WRITE,
        handler=set_crm_association,
        body=ContactCrmAssociation,
        answer=Contact,
        answer_description="Updated contact response.",
    ),
    Operation(
        method="DELETE",
        path="/v2/contacts/{contact_id}/crm_association",
        id="clear-contact-crm-association",
        summary="Clear contact CRM association",
        description="Removes the CRM association of a contact.",
        tag=_TAG,
        scopes=_WRITE,
        handler=clear_crm_association,
        answer=Contact,
        answer_description="Updated contact response.",
    ),
    Operation(
        method="POST",
        path="/herdbook/contacts",
        id="create-contact-record",
        summary="Create contact record",
        description="Creates a contact with all that its record has, as `POST /v2/contacts` does, and returns the whole of it.",
        tag=_TAG,
        scopes=_WRITE,
        handler=create_contact_record,
        body=ContactCreate,
        further_errors=partial(further_errors_of_values, CONTACT.name),
        answer=LabelledContactRecord,
        answer_description="The whole of the created contact.",
        has_variants=True,
        status=201,
        refusals=(Taken,),
    ),
    Operation(
        method="GET",
        path="/herdbook/contacts/{contact_id}/record",
        id="get-contact-record",
        summary="Get contact record",
        description="Reads the whole of a single contact: the members that `GET /v2/contacts/{contact_id}` shows, and those of "
        "herdbook's own, such as `external_ids`. The ETag begins with the same version, and also tells what is hidden.",
        tag=_TAG,
        scopes=_READ,
        handler=get_contact_record,
        answer=LabelledContactRecord,
        answer_description="The whole of the contact.",
        has_variants=True,
        other_answers=_MERGED,
    ),
    Operation(
        method="PATCH",
        path="/herdbook/contacts/{contact_id}/record",
        id="update-contact-record",
        summary="Update contact record",
        description="Updates the whole of a single contact in one change: the members that `PATCH /v2/contacts/{contact_id}` "
        "takes, the link to a CRM record, and the members of herdbook's own.",
        tag=_TAG,
        scopes=_WRITE,
        handler=update_contact_record,
        body=ContactRecordUpdate,
        further_errors=partial(further_errors_of_values, CONTACT.name),
        answer=LabelledContactRecord,
        answer_description="The whole of the updated contact.",
        has_variants=True,
        refusals=(Taken,),
    ),
    Operation(
        method="POST",
        path="/herdbook/contacts/query",
        id="query-contacts",
        summary="Query contacts",
        description="Finds contacts by conditions over all members, fields of your own included, in any order. It reads, and "
        "changes nothing.",
        tag=_TAG,
        scopes=_READ,
        handler=query_contacts,
        body=ContactQuery,
        further_errors=partial(further_errors_of_query, QUERIED_CONTACTS),
        answer=ContactQueryPage,
        answer_description="A page of the matches.",
        bypasses_ledger=True,
    ),
    Operation(
        method="POST",
        path="/herdbook/contacts/bulk",
        id="bulk-write-contacts",
        summary="Write many contacts",
        description="Creates, updates, deletes and upserts up to 1,000 contacts, in the order of the operations: each "
        "independently or, with `atomic`, all or none.",
        tag=_TAG,
        scopes=_WRITE,
        handler=bulk_write_contacts,
        is_large=True,
        body=ContactBulkWrite,
        envelope=BulkEnvelope,
        answer=ContactBulkResult,
        answer_description="The result of each operation.",
    ),
)
