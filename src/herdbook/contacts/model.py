"""The contact as clients see it, and the rules that need nothing but the contact itself."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids, shared_schemas
from herdbook.addresses import comparable_address, forms
from herdbook.bulk import model as bulk
from herdbook.custom_fields.values import UniqueValues, Values
from herdbook.errors import FieldError, Invalid
from herdbook.ledger.object_types import Record
from herdbook.phone_numbers import comparable_number, number_keys, number_with, read_number, sure_keys
from herdbook.querying.model import CONDITION_EXAMPLE, MAX_SORT_KEYS, Query, QueryPage, Sort
from herdbook.search_text import (
    END,
    WORD_START,
    first_word,
    indexed,
    name_key_of,
    searchable,
    searchable_name,
    searchable_number,
)
from herdbook.shared_schemas import CrmAssociation, ResourceRef, Time
from herdbook.tags.model import TagIds, tag_ids
from herdbook.time_zones import not_a_time_zone, time_zones

_CompanyId: TypeAlias = Annotated[str, fields.id_schema(ids.COMPANY)]
_TakeFrom: TypeAlias = Annotated[
    str,
    fields.id_schema(
        ids.CONTACT,
        "Another contact, which gives up the addresses, external ids and unique values that this one gets with it.",
    ),
]
_Email: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "email"})]
_TimeZone: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255, extra_json_schema={"format": "iana-time-zone"})]


def _known_time_zone(value: str | None, path: str) -> Iterator[FieldError]:
    if value is not None and value not in time_zones():
        yield FieldError(path, "unknown_time_zone", f"`{path}` {not_a_time_zone(value)}")


class ContactUpdateEmail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An e-mail address to give a contact."""

    schema_name: ClassVar[str] = "ContactUpdateRequestEmailsItems"

    email: _Email
    is_primary: bool | UnsetType = UNSET


class ContactUpdatePhoneNumber(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A phone number to give a contact."""

    schema_name: ClassVar[str] = "ContactUpdateRequestPhoneNumbersItems"

    phone_number: fields.Name
    is_primary: bool | UnsetType = UNSET


# A text of one's own is a label, too.
_Label: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=50,
        description="`work`, `home`, `mobile`, `other`, or a text of your own. Absent leaves the label alone; null clears it.",
        extra_json_schema={"examples": ["work"], **fields.TEXT_SCHEMA},
    ),
]


class ContactRecordUpdateEmail(ContactUpdateEmail, frozen=True, forbid_unknown_fields=True):
    """An e-mail address to give a contact, with its label."""

    schema_name: ClassVar[str] = "contact_record_update_email"

    label: _Label | None | UnsetType = UNSET


class ContactRecordUpdatePhoneNumber(ContactUpdatePhoneNumber, frozen=True, forbid_unknown_fields=True):
    """A phone number to give a contact, with its label."""

    schema_name: ClassVar[str] = "contact_record_update_phone_number"

    label: _Label | None | UnsetType = UNSET


_Labelled: TypeAlias = ContactRecordUpdateEmail | ContactRecordUpdatePhoneNumber
_Emails: TypeAlias = Annotated[tuple[ContactUpdateEmail, ...], Meta(max_length=fields.MAX_ITEMS)]
_PhoneNumbers: TypeAlias = Annotated[tuple[ContactUpdatePhoneNumber, ...], Meta(max_length=fields.MAX_ITEMS)]
_LabelledEmails: TypeAlias = Annotated[tuple[ContactRecordUpdateEmail, ...], Meta(max_length=fields.MAX_ITEMS)]
_LabelledPhoneNumbers: TypeAlias = Annotated[tuple[ContactRecordUpdatePhoneNumber, ...], Meta(max_length=fields.MAX_ITEMS)]


def _phone_numbers(items: Sequence[ContactUpdatePhoneNumber | None], path: str) -> Iterator[FieldError]:
    yield from fields.one_primary(items, path)
    for index, item in enumerate(items):
        if item is not None:
            yield from fields.text(item.phone_number, f"{path}[{index}].phone_number")


# Ids that callers give a contact. They are compared exactly.
_ExternalIds: TypeAlias = Annotated[
    tuple[fields.Name, ...],
    Meta(
        max_length=fields.MAX_ITEMS,
        description="Ids of your own. Each belongs to at most one active contact of the workspace; compared exactly.",
    ),
]


def _external_ids(items: Sequence[str | None] | None, path: str) -> Iterator[FieldError]:
    seen: dict[str, int] = {}
    for index, item in enumerate(items or ()):
        if item is None:
            continue
        place = f"{path}[{index}]"
        yield from fields.text(item, place)
        if (first := seen.setdefault(item, index)) != index:
            yield FieldError(place, "duplicate", f"`{place}` is the same id as `{path}[{first}]`. Send each id once.")


class ContactCrmAssociation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for linking a contact to a CRM record."""

    schema_name: ClassVar[str] = "contact_crm_association_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"crm_object_id": fields.text, "source": fields.text}
    example: ClassVar[dict[str, Any]] = {"object_type": "contact", "crm_object_id": "12345", "source": "hubspot"}

    object_type: Literal["contact"]
    crm_object_id: fields.Name
    source: fields.Name


def _crm_association(value: ContactCrmAssociation | None, path: str) -> Iterator[FieldError]:
    if value is not None:
        yield from fields.text(value.crm_object_id, f"{path}.crm_object_id")
        yield from fields.text(value.source, f"{path}.source")


_RULES: Final[dict[str, fields.Rule]] = {
    "first_name": fields.text,
    "last_name": fields.text,
    "description": fields.text,
    "company_id": fields.id_of(ids.COMPANY, "company"),
    "emails": fields.each_once("email", "address", "an e-mail address", lambda email: comparable_address(email.strip())),
    "phone_numbers": _phone_numbers,
    "time_zone": _known_time_zone,
}


# The rules of members that the vendor's update of a contact does not have.
_OWN_RULES: Final[dict[str, fields.Rule]] = {
    "crm_association": _crm_association,
    "external_ids": _external_ids,
    "tag_ids": tag_ids,
}
_TAKE_RULES: Final[dict[str, fields.Rule]] = {"take_from": fields.id_of(ids.CONTACT, "contact")}


def _with_labels(name: str) -> fields.Rule:
    def rule(items: Sequence[_Labelled | None], path: str) -> Iterator[FieldError]:
        yield from _RULES[name](items, path)
        for index, item in enumerate(items):
            if item is not None and item.label is not UNSET:
                yield from fields.text(item.label, f"{path}[{index}].label")

    return rule


_LABEL_RULES: Final = {name: _with_labels(name) for name in ("emails", "phone_numbers")}


class ContactUpdate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for updating a contact."""

    schema_name: ClassVar[str] = "contact_update_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES
    example: ClassVar[dict[str, Any]] = {"last_name": "King", "emails": [{"email": "ada@example.com", "is_primary": True}]}

    first_name: fields.Name | None | UnsetType = UNSET
    last_name: fields.Name | None | UnsetType = UNSET
    description: fields.Description | None | UnsetType = UNSET
    company_id: _CompanyId | None | UnsetType = UNSET
    emails: _Emails | UnsetType = UNSET
    phone_numbers: _PhoneNumbers | UnsetType = UNSET
    time_zone: _TimeZone | None | UnsetType = UNSET


class ContactCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for creating a contact."""

    schema_name: ClassVar[str] = "contact_create_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES | _OWN_RULES | _LABEL_RULES | _TAKE_RULES
    example: ClassVar[dict[str, Any]] = {
        "first_name": "Ada",
        "last_name": "Lovelace",
        "emails": [{"email": "ada@example.com"}],
        "phone_numbers": [{"phone_number": "+44 20 7946 0958"}],
        "time_zone": "Europe/London",
    }

    first_name: fields.Name | UnsetType = UNSET
    last_name: fields.Name | UnsetType = UNSET
    description: fields.Description | UnsetType = UNSET
    company_id: _CompanyId | UnsetType = UNSET
    emails: _LabelledEmails | UnsetType = UNSET
    phone_numbers: _LabelledPhoneNumbers | UnsetType = UNSET
    time_zone: _TimeZone | UnsetType = UNSET
    crm_association: ContactCrmAssociation | UnsetType = UNSET
    external_ids: _ExternalIds | UnsetType = UNSET
    fields: Values | UnsetType = UNSET
    tag_ids: TagIds | UnsetType = UNSET
    take_from: _TakeFrom | UnsetType = UNSET


class ContactRecordUpdate(ContactUpdate, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for updating the whole of a contact."""

    schema_name: ClassVar[str] = "contact_record_update_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES | _OWN_RULES | _LABEL_RULES | _TAKE_RULES
    example: ClassVar[dict[str, Any]] = {"last_name": "King", "external_ids": ["crm-1842"]}

    emails: _LabelledEmails | UnsetType = UNSET
    phone_numbers: _LabelledPhoneNumbers | UnsetType = UNSET
    crm_association: ContactCrmAssociation | None | UnsetType = UNSET
    external_ids: _ExternalIds | None | UnsetType = UNSET
    fields: Values | UnsetType = UNSET
    tag_ids: TagIds | None | UnsetType = UNSET
    take_from: _TakeFrom | UnsetType = UNSET


class ContactUpsert(ContactUpdate, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for updating the contact that is looked up by `match_by`, or creating one if there is none.

    The member that `match_by` names is required: at least one address, number or id, or the link.
    """

    schema_name: ClassVar[str] = "contact_upsert_request"
    example: ClassVar[dict[str, Any]] = {"first_name": "Ada", "emails": [{"email": "ada@example.com"}]}

    rules: ClassVar[dict[str, fields.Rule]] = _RULES | _OWN_RULES | _LABEL_RULES

    emails: _LabelledEmails | UnsetType = UNSET
    phone_numbers: _LabelledPhoneNumbers | UnsetType = UNSET
    match_by: Annotated[
        Literal["emails", "phone_numbers", "crm_association", "external_ids"],
        Meta(
            description="The member by which the contact is looked up: its primary address or number, the link, or the first "
            "of the external ids."
        ),
    ] = "emails"
    crm_association: ContactCrmAssociation | None | UnsetType = UNSET
    external_ids: _ExternalIds | UnsetType = UNSET
    fields: Values | UnsetType = UNSET
    tag_ids: TagIds | UnsetType = UNSET

    def require_match(self, path: str) -> None:
        """Refuse an upsert without a value to look up; `path` is that of the contact. Refusal: Invalid."""
        value = getattr(self, self.match_by)
        if not value:
            place = f"{path}.{self.match_by}"
            message = f"`{place}` is missing or empty, and the contact is looked up by it. Send it, or another `match_by`."
            raise Invalid([FieldError(place, "too_short" if value == () else "required", message)])
        if self.match_by == "phone_numbers" and read_number(self.phone_number) is None:
            index = [item.phone_number for item in self.phone_numbers or ()].index(self.phone_number)
            place = f"{path}.phone_numbers[{index}].phone_number"
            message = f"`{place}` has no digits, and the contact is looked up by it. Send a number, or another `match_by`."
            raise Invalid([FieldError(place, "invalid_format", message)])

    @property
    def address(self) -> str:
        """The address by which the contact is looked up, in the form in which addresses are compared."""
        assert self.emails, "the request has an address"
        marked = next((item for item in self.emails if item.is_primary is True), self.emails[0])
        return comparable_address(marked.email.strip())

    @property
    def phone_number(self) -> str:
        """The number by which the contact is looked up, as it was sent."""
        assert self.phone_numbers, "the request has a number"
        marked = next((item for item in self.phone_numbers if item.is_primary is True), self.phone_numbers[0])
        return marked.phone_number

    @property
    def external_id(self) -> str:
        """The external id by which the contact is looked up."""
        assert self.external_ids, "the request has an id"
        return self.external_ids[0]


_SETS_OWN: Final = (ContactCreate, ContactRecordUpdate, ContactUpsert)


def read_numbers(contact: ContactCreate | ContactUpdate, region: str | None = None) -> None:
    """Read the phone numbers, so that they are known when the ledger carries it out, which goes on without a pause."""
    for item in contact.phone_numbers or ():
        read_number(item.phone_number)
        if isinstance(contact, ContactUpsert):
            number_keys(item.phone_number, region)


class ContactObject(Enum):
    """Resource discriminator for contact payloads."""

    CONTACT = "contact"


class ContactEmail(msgspec.Struct, frozen=True):
    """An e-mail address of a contact."""

    schema_name: ClassVar[str] = "ContactEmailsItems"

    email: Annotated[str, Meta(description="Contact email address.")]
    is_primary: Annotated[bool, Meta(description="Indicates whether this is the primary email address.")]


class ContactPhoneNumber(msgspec.Struct, frozen=True):
    """A phone number of a contact."""

    schema_name: ClassVar[str] = "ContactPhoneNumbersItems"

    phone_number: Annotated[str, Meta(description="Contact phone number in the source-system format.")]
    is_primary: Annotated[bool, Meta(description="Indicates whether this is the primary phone number.")]


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """Public representation of a workspace contact."""

    schema_name: ClassVar[str] = "contact"
    read_scopes: ClassVar[tuple[str, ...]] = ("contacts:read",)
    example: ClassVar[dict[str, Any]] = {
        "object": "contact",
        "id": ids.example(ids.CONTACT),
        "first_name": "Ada",
        "last_name": "Lovelace",
        "company": {"id": ids.example(ids.COMPANY), "object": "company"},
        "emails": [{"email": "ada@example.com", "is_primary": True}],
        "phone_numbers": [{"phone_number": "+44 20 7946 0958", "is_primary": True}],
        "time_zone": "Europe/London",
        "created_at": "2026-03-01T12:00:00.000000Z",
        "updated_at": "2026-03-01T12:00:00.000000Z",
    }

    object: Annotated[ContactObject, Meta(description="Resource discriminator for contact payloads.")]
    id: Annotated[
        str,
        fields.id_schema(ids.CONTACT, "Stable AskElephant contact identifier."),
    ]
    first_name: Annotated[str | None, Meta(description="Contact given name.")] = None
    last_name: Annotated[str | None, Meta(description="Contact family name.")] = None
    description: (
        Annotated[str, Meta(description="Free-form contact summary or notes visible through the public API.")] | UnsetType
    ) = UNSET
    company: (
        Annotated[ResourceRef, Meta(description="Lightweight reference to the contact's associated company when one exists.")]
        | UnsetType
    ) = UNSET
    emails: Annotated[tuple[ContactEmail, ...], Meta(description="Email addresses associated with the contact.")] = ()
    phone_numbers: Annotated[
        tuple[ContactPhoneNumber, ...], Meta(description="Phone numbers associated with the contact.")
    ] = ()
    crm_association: (
        Annotated[
            CrmAssociation,
            Meta(
                description="CRM record linked to this contact. Present when the contact has been matched to a CRM record "
                "via integration or API."
            ),
        ]
        | UnsetType
    ) = UNSET
    time_zone: Annotated[str, Meta(description="IANA time zone identifier for the contact.")] | UnsetType = UNSET
    created_at: Annotated[Time, Meta(description="Timestamp when the contact was first created in AskElephant.")]
    updated_at: Annotated[Time, Meta(description="Timestamp when the contact was most recently updated in AskElephant.")]


class Labels(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The labels of a contact's addresses and numbers.

    The key of an address is the form in which it is compared; that of a number is its E.164 form, or else the number as it was
    sent. Earlier releases had the key of a contact's index in place of the latter.
    """

    schema_name: ClassVar[str] = "contact_labels"

    emails: dict[str, str] = {}
    phone_numbers: dict[str, str] = {}


class OwnMembers(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a contact that the vendor's operations neither show nor set."""

    external_ids: tuple[str, ...] | UnsetType = UNSET
    fields: dict[str, Any] | UnsetType = UNSET
    unique_values: tuple[str, ...] | UnsetType = UNSET
    labels: Labels | UnsetType = UNSET
    tag_ids: tuple[str, ...] | UnsetType = UNSET
    card_ids: tuple[str, ...] | UnsetType = UNSET


_CardIds: TypeAlias = Annotated[
    tuple[Annotated[str, fields.id_schema(ids.CARD)], ...],
    Meta(description="Ids of the vCards that are kept beside the contact, because they have more than it has."),
]


class ContactRecord(Contact, Record, frozen=True, kw_only=True):
    """The whole of a contact: what the vendor's operations show of it, and the members that only herdbook's own ones show.

    The ledger records contacts in this form. Without members of its own, it is the contact that the vendor's operations show.
    """

    schema_name: ClassVar[str] = "contact_record"
    example: ClassVar[dict[str, Any]] = Contact.example | {"external_ids": ["crm-1842"], "fields": {"job_title": "Countess"}}
    own_type: ClassVar[type[msgspec.Struct]] = OwnMembers

    external_ids: Annotated[tuple[str, ...], Meta(description="Ids that callers gave the contact, if any.")] | UnsetType = UNSET
    fields: Values | UnsetType = UNSET
    unique_values: UniqueValues | UnsetType = UNSET
    labels: (
        Annotated[
            Labels,
            Meta(
                description="The labels of addresses and numbers. The record of a contact has each as the `label` of the "
                "address or number instead."
            ),
        ]
        | UnsetType
    ) = UNSET
    tag_ids: TagIds | UnsetType = UNSET
    card_ids: _CardIds | UnsetType = UNSET


class ContactRecordEmail(ContactEmail, frozen=True):
    """An e-mail address of a contact, with its label."""

    schema_name: ClassVar[str] = "contact_record_email"

    label: str | UnsetType = UNSET


class ContactRecordPhoneNumber(ContactPhoneNumber, frozen=True):
    """A phone number of a contact, with its label."""

    schema_name: ClassVar[str] = "contact_record_phone_number"

    label: str | UnsetType = UNSET


class LabelledContactRecord(ContactRecord, frozen=True, kw_only=True):
    """The whole of a contact, with the labels of its addresses and numbers beside each."""

    schema_name: ClassVar[str] = "labelled_contact_record"

    emails: Annotated[tuple[ContactRecordEmail, ...], Meta(description="Email addresses of the contact.")] = ()
    phone_numbers: Annotated[tuple[ContactRecordPhoneNumber, ...], Meta(description="Phone numbers of the contact.")] = ()

    @property
    def labelled(self) -> "LabelledContactRecord":
        """The same with the labels beside the addresses and numbers."""
        if self.labels is UNSET:
            return self
        labels, of_numbers = self.labels, _by_number(self.labels)
        emails = tuple(
            msgspec.structs.replace(item, label=labels.emails.get(comparable_address(item.email), UNSET))
            for item in self.emails
        )
        phone_numbers = tuple(
            msgspec.structs.replace(item, label=of_numbers.get(_comparable_number(item.phone_number), UNSET))
            for item in self.phone_numbers
        )
        return msgspec.structs.replace(self, emails=emails, phone_numbers=phone_numbers, labels=UNSET)


class MergedContact(msgspec.Struct, frozen=True, kw_only=True):
    """A contact that was merged into another one, which replaces it."""

    schema_name: ClassVar[str] = "merged_contact"
    example: ClassVar[dict[str, Any]] = {
        "object": "contact",
        "id": ids.example(ids.CONTACT),
        "merged_into": ids.example(ids.CONTACT, "01HQXVB5M3Y3Y7Q2J7Y5R9T0WZ"),
    }

    object: ContactObject
    id: Annotated[str, fields.id_schema(ids.CONTACT)]
    merged_into: Annotated[str, fields.id_schema(ids.CONTACT, "The contact that replaces it.")]


def patched(before: ContactRecord, patch: ContactUpdate | ContactCreate, region: str | None = None) -> ContactRecord:
    """Return the contact with the patch applied. Absent leaves a field unchanged; null clears it (RFC 7396).

    `region` is the workspace's default region for numbers, in any spelling of which a number keeps its label.
    """
    others: dict[str, Any] = {}
    if patch.company_id is not UNSET:
        others["company"] = UNSET if patch.company_id is None else ResourceRef(patch.company_id, "company")
    if patch.emails is not UNSET:
        others["emails"] = _patched_emails(before, patch.emails)
    if patch.phone_numbers is not UNSET:
        others["phone_numbers"] = _patched_phone_numbers(before, patch.phone_numbers)
    # The vendor's update has none of these members.
    if isinstance(patch, _SETS_OWN):
        if patch.crm_association is not UNSET:
            others["crm_association"] = shared_schemas.crm_link(patch.crm_association)
        if patch.external_ids is not UNSET:
            others["external_ids"] = patch.external_ids or UNSET
        if patch.tag_ids is not UNSET:
            others["tag_ids"] = tuple(dict.fromkeys(patch.tag_ids or ())) or UNSET
        # Values follow from definitions, too, so the command sets them.
        others["fields"] = before.fields
    return _labelled(shared_schemas.patched(before, patch, others), patch, region)


def moves_labels(before: ContactRecord, patch: ContactUpdate) -> bool:
    """Whether labels may follow numbers from one spelling to another in a patch."""
    return bool(patch.phone_numbers) and before.labels is not UNSET and bool(before.labels.phone_numbers)


def _labelled(contact: ContactRecord, patch: ContactUpdate | ContactCreate, region: str | None) -> ContactRecord:
    """Return the contact with the labels of a request, and without those of addresses and numbers that it does not have."""
    asked = [*(patch.emails or ()), *(patch.phone_numbers or ())]
    labelled = [item for item in asked if isinstance(item, _Labelled) and item.label is not UNSET]
    if contact.labels is UNSET and not labelled:
        return contact
    old = contact.labels or Labels()
    emails = {**old.emails}
    for item in labelled:
        if isinstance(item, ContactRecordUpdateEmail):
            emails[comparable_address(item.email.strip())] = (item.label or "").strip()
    held = {comparable_address(item.email) for item in contact.emails}
    labels = Labels(
        emails={address: label for address, label in emails.items() if label and address in held},
        phone_numbers=_number_labels(
            contact, old, [item for item in labelled if isinstance(item, ContactRecordUpdatePhoneNumber)], region
        )
        if patch.phone_numbers is not UNSET
        else old.phone_numbers,
    )
    is_same = labels.emails == old.emails and _by_number(labels) == _by_number(old)
    return contact if is_same else msgspec.structs.replace(contact, labels=UNSET if labels == Labels() else labels)


def _number_labels(
    contact: ContactRecord, old: Labels, labelled: Sequence[ContactRecordUpdatePhoneNumber], region: str | None
) -> dict[str, str]:
    """Return the labels of a contact's numbers: of each in its own spelling, or else of the same number in another one."""
    asked = {_comparable_number(item.phone_number): (item.label or "").strip() for item in labelled}
    numbers = {comparable_number(number_with(key), region) for key in asked}
    kept = {key: label for key, label in _by_number(old).items() if comparable_number(number_with(key), region) not in numbers}
    spelled = {**kept, **asked}
    by_number = {comparable_number(number_with(key), region): label for key, label in reversed(spelled.items())}
    held: dict[str, str] = {}
    former = {_comparable_number(number_with(key)): key for key in old.phone_numbers}
    for item in contact.phone_numbers:
        key = _comparable_number(item.phone_number)
        if label := spelled.get(key, by_number.get(comparable_number(item.phone_number, region))):
            # A label that was not sent keeps its key, by which an erasure knows it in all entries.
            held[_label_key(item.phone_number) if key in asked else former.get(key, _label_key(item.phone_number))] = label
    return held


def _by_number(labels: Labels) -> dict[str, str]:
    """Return the labels of numbers by the keys under which contacts with them are found."""
    return {_comparable_number(number_with(key)): label for key, label in labels.phone_numbers.items()}


def _label_key(phone_number: str) -> str:
    number = read_number(phone_number)
    if number is None:
        return phone_number
    # A number that looks like a key of an earlier release would be taken for that.
    return number.e164 or (phone_number if number_with(phone_number) == phone_number else number.digits)


def _patched_emails(before: Contact, items: Sequence[ContactUpdateEmail]) -> tuple[ContactEmail, ...]:
    old = next((comparable_address(item.email) for item in before.emails if item.is_primary), None)
    primary = fields.primary_index(items, None if old is None else lambda item: comparable_address(item.email.strip()) == old)
    return tuple(ContactEmail(item.email.strip(), index == primary) for index, item in enumerate(items))


def _patched_phone_numbers(before: Contact, items: Sequence[ContactUpdatePhoneNumber]) -> tuple[ContactPhoneNumber, ...]:
    old = next((item.phone_number for item in before.phone_numbers if item.is_primary), None)
    if old is not None and all(item.phone_number != old for item in items):
        # A number may be listed in several spellings. Another spelling is the old primary only if the old spelling is gone.
        old = next(
            (item.phone_number for item in items if _comparable_number(item.phone_number) == _comparable_number(old)), None
        )
    primary = fields.primary_index(items, None if old is None else lambda item: item.phone_number == old)
    return tuple(ContactPhoneNumber(item.phone_number, index == primary) for index, item in enumerate(items))


ItemT = TypeVar("ItemT", ContactRecordUpdateEmail, ContactRecordUpdatePhoneNumber)


def upserted(before: ContactRecord, asked: ContactUpsert, region: str | None) -> ContactRecord:
    """Return the contact with the upsert applied. Its addresses, numbers and ids are added to those that the contact has.

    `region` is the workspace's default region for numbers.
    """
    changes: dict[str, Any] = {}
    if asked.emails is not UNSET:
        changes["emails"] = with_emails(before.emails, asked.emails)
    if asked.phone_numbers is not UNSET:
        changes["phone_numbers"] = with_phone_numbers(before.phone_numbers, asked.phone_numbers, region)
    if asked.external_ids is not UNSET:
        changes["external_ids"] = tuple(dict.fromkeys((*(before.external_ids or ()), *asked.external_ids)))
    if asked.tag_ids is not UNSET:
        changes["tag_ids"] = (*(before.tag_ids or ()), *asked.tag_ids)
    # An address or number that the contact has keeps its item, so its label is set afterwards.
    return _labelled(patched(before, msgspec.structs.replace(asked, **changes), region), asked, region)


def without_marks(before: ContactRecord, asked: ContactUpsert, region: str | None) -> ContactUpsert:
    """Return an upsert that only fills in what is empty: it makes no other address or number primary, and keeps labels."""
    labels = Labels() if before.labels is UNSET else before.labels
    changes: dict[str, Any] = {}
    if asked.emails:
        changes["emails"] = tuple(
            _without_mark(
                item, has_primary=bool(before.emails), has_label=comparable_address(item.email.strip()) in labels.emails
            )
            for item in asked.emails
        )
    if asked.phone_numbers:
        labelled = {comparable_number(number_with(key), region) for key in labels.phone_numbers}
        changes["phone_numbers"] = tuple(
            _without_mark(
                item,
                has_primary=bool(before.phone_numbers),
                has_label=bool(labelled) and comparable_number(item.phone_number, region) in labelled,
            )
            for item in asked.phone_numbers
        )
    return msgspec.structs.replace(asked, **changes) if changes else asked


def _without_mark(item: ItemT, *, has_primary: bool, has_label: bool) -> ItemT:
    changes: dict[str, Any] = {"is_primary": UNSET} if has_primary else {}
    return msgspec.structs.replace(item, **(changes | ({"label": UNSET} if has_label else {})))


def united_labels(contacts: Iterable[ContactRecord]) -> Labels | UnsetType:
    """Return the labels of contacts that become one; those of the first go before those of the others."""
    emails: dict[str, str] = {}
    phone_numbers: dict[str, str] = {}
    for contact in contacts:
        if contact.labels is not UNSET:
            emails = contact.labels.emails | emails
            phone_numbers = contact.labels.phone_numbers | phone_numbers
    return Labels(emails=emails, phone_numbers=phone_numbers) if emails or phone_numbers else UNSET


def with_emails(old: Sequence[ContactEmail], more: Iterable[ContactRecordUpdateEmail]) -> tuple[ContactRecordUpdateEmail, ...]:
    """Return the old addresses followed by the new ones, each once. A new one that is marked as primary stays marked."""
    items = (ContactRecordUpdateEmail(item.email) for item in old)
    keys = _keys_of_address
    return _united(items, more, lambda item: item.email.strip(), keys, keys)


def with_phone_numbers(
    old: Sequence[ContactPhoneNumber], more: Iterable[ContactRecordUpdatePhoneNumber], region: str | None
) -> tuple[ContactRecordUpdatePhoneNumber, ...]:
    """Return the old numbers followed by the new ones, each once. A new one that is marked as primary stays marked.

    A new one is an old one if looking it up would find a contact with the old one. `region` is the workspace's default region.
    """
    items = (ContactRecordUpdatePhoneNumber(item.phone_number) for item in old)
    return _united(
        items,
        more,
        lambda item: item.phone_number,
        lambda phone_number: sure_keys(phone_number, region),
        lambda phone_number: number_keys(phone_number, region),
    )


def _united(
    old: Iterable[ItemT],
    more: Iterable[ItemT],
    spelling: Callable[[ItemT], str],
    held_by: Callable[[str], Iterable[str]],
    looked_up_by: Callable[[str], Iterable[str]],
) -> tuple[ItemT, ...]:
    items = list(old)
    spelled: dict[str, int] = {}
    for index, item in enumerate(items):
        spelled.setdefault(spelling(item), index)
    # Keys of numbers take long to find, and most numbers come as they are spelled already.
    places: dict[str, int] | None = None
    for item in more:
        # A number may be listed in several spellings, so the spelling that was sent is preferred.
        known = spelled.get(spelling(item))
        if known is None:
            if places is None:
                places = _first_places(map(spelling, items), held_by)
            known = next((places[key] for key in looked_up_by(spelling(item)) if key in places), None)
            if known is None:
                spelled[spelling(item)] = len(items)
                places |= dict.fromkeys(held_by(spelling(item)), len(items))
                items.append(item)
                continue
        if item.is_primary is True:
            items[known] = msgspec.structs.replace(items[known], is_primary=True)
    return tuple(items)


def _first_places(spellings: Iterable[str], held_by: Callable[[str], Iterable[str]]) -> dict[str, int]:
    places: dict[str, int] = {}
    for index, each in enumerate(spellings):
        for key in held_by(each):
            places.setdefault(key, index)
    return places


def _keys_of_address(email: str) -> tuple[str]:
    return (comparable_address(email),)


def _comparable_number(phone_number: str) -> str:
    number = read_number(phone_number)
    return phone_number if number is None else number.key


class SearchEntry(msgspec.Struct, frozen=True):
    """The search data of a contact: the text that a search compares, its names from their first words on, and all other words.

    The text has two sections: the names, then the e-mail addresses and the phone numbers.
    """

    text: str
    first_name_word: str | None
    last_name_word: str | None

    @property
    def other_words(self) -> set[str]:
        """The words of the text, except the first word of each name."""
        return indexed(self.text).difference(_first_word(self.first_name_word), _first_word(self.last_name_word))

    @property
    def source_of_other_words(self) -> tuple[str | None, ...]:
        """The part of this that `other_words` follows from: while it is the same, so are they.

        Names of a single word each have no other words, and hide none unless an address or a number has them, too.
        """
        first, last = self.first_name_word, self.last_name_word
        names, _, handles = self.text.partition(END)
        if first is None or last is None or first in handles or last in handles:
            return self.text, first, last
        is_plain = (
            names.isascii() and first.isalnum() and last.isalnum() and names == f"{WORD_START}{first}\n{WORD_START}{last}"
        )
        return (handles,) if is_plain else (self.text, first, last)


def search_entry(contact: Contact, before: Contact | None = None, entry_before: SearchEntry | None = None) -> SearchEntry:
    """Return the search data of a contact, given its state before with the search data of that, if any.

    Only what changed is made anew, because text costs more than all other columns of a row.
    """
    # A release that had no sections wrote no `END`.
    if before is None or entry_before is None or not entry_before.text.endswith(END):
        names, first_name_word, last_name_word = _names_entry(contact)
        return SearchEntry(names + END + _handles_text(contact), first_name_word, last_name_word)
    same_names = contact.first_name == before.first_name and contact.last_name == before.last_name
    same_handles = contact.emails == before.emails and contact.phone_numbers == before.phone_numbers
    if same_names and same_handles:
        return entry_before
    first_name_word, last_name_word = entry_before.first_name_word, entry_before.last_name_word
    names, _, handles = entry_before.text.partition(END)
    if not same_names:
        names, first_name_word, last_name_word = _names_entry(contact)
    if not same_handles:
        handles = _handles_text(contact)
    return SearchEntry(names + END + handles, first_name_word, last_name_word)


def _first_word(name: str | None) -> tuple[str, ...]:
    if name is None:
        return ()
    if name.isascii() and name.isalnum():
        # Most names are a single word.
        return (name,)
    # The marks of words tell only where letters without spaces between words begin one.
    found = first_word(name if name.isascii() else searchable(name))
    return () if found is None else (found,)


def _names_entry(contact: Contact) -> tuple[str, str | None, str | None]:
    """Return the first section of a contact's text, with the words of its names."""
    text = searchable_name(contact.first_name or "", contact.last_name or "")
    first_name, last_name, *_ = text.split("\n", 2)
    return text, name_key_of(first_name), name_key_of(last_name)


def _handles_text(contact: Contact) -> str:
    """Return the second section of a contact's text: its addresses and numbers."""
    lines = [searchable(form) for item in contact.emails for form in forms(item.email)]
    lines += [text for item in contact.phone_numbers if (text := _searchable_number(item.phone_number))]
    return "\n".join(lines) + END


def _searchable_number(phone_number: str) -> str:
    number = read_number(phone_number)
    if number is None:
        return ""
    return searchable_number(number.digits, number.national, is_international=number.e164 is not None)


_BulkId: TypeAlias = Annotated[
    str, Meta(description="Identifier of the contact.", extra_json_schema={"examples": [Contact.example["id"]]})
]


class ContactBulkCreate(bulk.BulkOperation, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="create"):
    """Create a contact, as `POST /v2/contacts` does."""

    schema_name: ClassVar[str] = "contact_bulk_create"

    contact: ContactCreate


class ContactBulkUpdate(bulk.BulkOperation, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="update"):
    """Change some members of a contact, as `PATCH /herdbook/contacts/{contact_id}/record` does."""

    schema_name: ClassVar[str] = "contact_bulk_update"

    id: _BulkId
    contact: ContactRecordUpdate


class ContactBulkDelete(bulk.BulkOperation, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="delete"):
    """Delete a contact, as `DELETE /v2/contacts/{contact_id}` does."""

    schema_name: ClassVar[str] = "contact_bulk_delete"

    id: _BulkId


class ContactBulkUpsert(bulk.BulkOperation, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="upsert"):
    """Update the contact that `match_by` finds, or create one.

    By an address or an external id, a deleted contact that had it is restored. Addresses, numbers and external ids are added to
    those that the contact has. Its primary ones stay primary, unless others are marked here. Absent leaves any other field
    unchanged, and null clears it.
    """

    schema_name: ClassVar[str] = "contact_bulk_upsert"

    contact: ContactUpsert


class ContactBulkWrite(bulk.BulkWrite, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for writing many contacts at once."""

    schema_name: ClassVar[str] = "contact_bulk_write_request"
    example: ClassVar[dict[str, Any]] = {
        "operations": [
            {"action": "create", "contact": {"first_name": "Grace", "last_name": "Hopper"}},
            {"action": "upsert", "contact": ContactUpsert.example},
        ]
    }

    operations: Annotated[
        tuple[ContactBulkCreate | ContactBulkUpdate | ContactBulkDelete | ContactBulkUpsert, ...],
        Meta(min_length=1, max_length=bulk.MAX_OPERATIONS, description="The operations, which are applied in this order."),
    ]


class ContactBulkItem(bulk.BulkItem, frozen=True, kw_only=True):
    """The result of one operation."""

    schema_name: ClassVar[str] = "contact_bulk_item"

    contact: (
        Annotated[ContactRecord, Meta(description="The whole of the contact, unless it was deleted or the write failed.")]
        | UnsetType
    ) = UNSET


class ContactBulkResult(bulk.BulkResult, frozen=True, kw_only=True):
    """The results of all operations, in the order of the request."""

    schema_name: ClassVar[str] = "contact_bulk_result"
    example: ClassVar[dict[str, Any]] = {
        "object": "bulk_result",
        "atomic": False,
        "results": [{"index": 0, "result": "created", "version": 1842, "contact": Contact.example}],
    }

    results: tuple[ContactBulkItem, ...]


class ContactSort(Sort, frozen=True, forbid_unknown_fields=True):
    """A member to sort contacts by. Those without a value come last."""

    schema_name: ClassVar[str] = "contact_sort"


class ContactQuery(Query, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for querying contacts."""

    schema_name: ClassVar[str] = "contact_query_request"
    example: ClassVar[dict[str, Any]] = {
        "where": {"and": [CONDITION_EXAMPLE, {"not": {"field": "emails", "op": "contains", "value": "@example.com"}}]},
        "sort": [{"field": "fields.birthday", "direction": "desc"}],
        "limit": 25,
        "count": True,
    }

    sort: Annotated[
        tuple[ContactSort, ...],
        Meta(max_length=MAX_SORT_KEYS, description="By default, the contact that was changed last is first."),
    ] = ()


class ContactQueryPage(QueryPage, frozen=True, kw_only=True):
    """A page of the contacts that a query finds."""

    schema_name: ClassVar[str] = "contact_query_page"
    example: ClassVar[dict[str, Any]] = {
        "object": "list",
        "data": [Contact.example | {"external_ids": ["crm-1842"], "fields": {"birthday": "1815-12-10"}}],
        "has_more": False,
        "next_cursor": None,
        "count": 1,
        "count_is_exact": True,
    }

    data: Annotated[
        tuple[LabelledContactRecord, ...],
        Meta(description="The whole of each contact. It may hold fewer than `limit`, or none, while more follow."),
    ]
