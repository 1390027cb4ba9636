"""Erasures as clients see them, and the state of one that is under way."""

import hashlib
import hmac
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from unicodedata import normalize
from uuid import UUID

import msgspec
from msgspec import Meta

from herdbook import fields, ids
from herdbook.addresses import NotAnAddress, comparable_address, forms
from herdbook.contacts.model import Contact
from herdbook.contacts.store import CONTACT
from herdbook.engagements.model import Participant
from herdbook.errors import FieldError
from herdbook.ledger.object_types import ObjectType
from herdbook.phone_numbers import number_keys, read_number
from herdbook.search_text import searchable, words
from herdbook.shared_schemas import Time

_TAIL: Final = 6


def _address(email: str, path: str) -> Iterator[FieldError]:
    try:
        comparable_address(email.strip())
    except NotAnAddress as error:
        yield FieldError(path, "invalid_format", f"`{path}` is not an e-mail address: {error}")


class EraseQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of an erasure."""

    schema_name: ClassVar[str] = "erase_query"
    rules: ClassVar[dict[str, fields.Rule]] = {}

    dry_run: Annotated[bool, Meta(description="Whether to return only what would be erased, and change nothing.")] = False
    engagements: Annotated[
        bool,
        Meta(
            description="Whether to erase the engagements that are linked to the person as well, with their transcripts, "
            "comments and recordings. Otherwise only the person's participation goes."
        ),
    ] = False


class EraseParticipantsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of an erasure by address."""

    schema_name: ClassVar[str] = "erase_participants_query"
    rules: ClassVar[dict[str, fields.Rule]] = {}

    dry_run: Annotated[bool, Meta(description="Whether to return only what would be erased, and change nothing.")] = False


class EraseParticipantsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for erasing the participants with an address."""

    schema_name: ClassVar[str] = "participant_address"
    rules: ClassVar[dict[str, fields.Rule]] = {"email": _address}
    example: ClassVar[dict[str, Any]] = {"email": "ada@example.com"}

    email: Annotated[str, Meta(description="An address that no contact has.", extra_json_schema={"format": "email"})]


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure, or for a dry run the expected one: when, on whose request, and how many rows of each table."""

    schema_name: ClassVar[str] = "erasure_certificate"
    example: ClassVar[dict[str, Any]] = {
        "object": "erasure_certificate",
        "dry_run": False,
        "contact_id": ids.example(ids.CONTACT),
        "erased_at": "2026-03-01T12:00:00.000000Z",
        "request_id": ids.example(ids.REQUEST),
        "credential_id": ids.example(ids.CREDENTIAL),
        "finished": True,
        "engagements": False,
        "engagement_ids": [],
        "rows": {"contact": 1, "contact_email": 2, "change": 7, "engagement": 3},
        "kept": {"engagement": 3, "transcript": 3, "recording": 2},
    }

    object: Literal["erasure_certificate"]
    dry_run: bool
    contact_id: Annotated[
        Annotated[str, fields.id_schema(ids.CONTACT)] | None,
        Meta(description="Null if participants without a contact were erased."),
    ]
    erased_at: Time | None
    request_id: Annotated[str, fields.id_schema(ids.REQUEST)]
    credential_id: Annotated[str | None, Meta(description="Null for the command line, and for the server itself.")]
    finished: Annotated[bool, Meta(description="False if some of it is still being erased in the background.")]
    engagements: Annotated[bool, Meta(description="Whether the engagements that are linked to the person are erased, too.")]
    engagement_ids: Annotated[list[str], Meta(description="The engagements that are erased.")]
    rows: Annotated[dict[str, int], Meta(description="The rows with data of the person, by table, and files of recordings.")]
    kept: Annotated[
        dict[str, int],
        Meta(
            description="What stays of the person's engagements, by table, and recordings. Free text in it may name the person."
        ),
    ]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows an erasure found, by table: those that lose the person, and those of kept engagements.

    `engagement_ids` are the engagements that go.
    """

    rows: dict[str, int]
    kept: dict[str, int]
    engagement_ids: tuple[UUID, ...] = ()


class Subject(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The person to erase: the contacts, with those merged into them, and what they are recognised by.

    `held` are addresses, and keys of numbers, that another active contact has. They identify nobody. `engagement_ids` are the
    engagements that were found before the erasure began, and `linked_ids` those of them that are linked to the contacts. An
    erasure looks for them anew.
    """

    contact_ids: frozenset[UUID] = frozenset()
    addresses: frozenset[str] = frozenset()
    phone_numbers: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    engagement_ids: frozenset[UUID] = frozenset()
    linked_ids: frozenset[UUID] = frozenset()
    region: str | None = None

    def having(self, contact: Contact) -> "Subject":
        """Return the person, who also is or was this contact."""
        emails = [item.email for item in contact.emails]
        return msgspec.structs.replace(
            self,
            addresses=self.addresses.union(map(str.lower, emails), map(comparable_address, emails)),
            phone_numbers=self.phone_numbers.union(item.phone_number for item in contact.phone_numbers),
            names=self.names.union(_names(contact)),
        )

    def others(self, participants: tuple[Participant, ...], *, is_linked: bool) -> tuple[Participant, ...]:
        """Return the participants who are not the person.

        In an engagement that is linked to the person, address or number is enough, and so is the name of a participant without
        an address. In another one the address decides, or the number of a participant without an address.
        """
        return tuple(each for each in participants if not self._is(each, is_linked=is_linked))

    def _is(self, participant: Participant, *, is_linked: bool) -> bool:
        email, phone = participant.email, participant.phone
        has_address = email is not None and comparable_address(email.strip()) in self._addresses
        has_number = phone is not None and not self._keys.isdisjoint(number_keys(phone, self.region))
        if not is_linked:
            return has_number if email is None else has_address
        # A number may be written as it is dialled within its country, though the workspace has no region.
        national = None if phone is None else _national(phone)
        # Somebody with the same name and another address is another person.
        has_name = email is None and _name_key(participant.name or "") in self.names
        return has_address or has_number or national in self._national or has_name

    @cached_property
    def terms(self) -> list[str]:
        """The ids as the API shows them, and every spelling of the addresses that nobody else has, in lower case."""
        addresses = (each for each in self.addresses if comparable_address(each) not in self.held)
        shown = (ids.encoded(ids.CONTACT, each).lower() for each in self.contact_ids)
        return sorted({*shown, *(spelling for address in addresses for spelling in spellings(address))})

    @cached_property
    def tails(self) -> list[str]:
        """Patterns of the last digits of the phone numbers that nobody else has, which all spellings of a number share."""
        # A number as it is read has no extension, and plain digits instead of letters and other digits.
        read = (found.digits for number in self._numbers if (found := read_number(number)) is not None)
        return sorted({"[^0-9]*".join(digits[-_TAIL:]) for digits in read if len(digits) >= _TAIL})

    @property
    def number_keys(self) -> frozenset[str]:
        """The keys by which contacts with these numbers are found."""
        return frozenset(key for number in self.phone_numbers for key in number_keys(number, self.region))

    @cached_property
    def _addresses(self) -> frozenset[str]:
        return self.addresses - self.held

    @cached_property
    def _numbers(self) -> list[str]:
        return [each for each in self.phone_numbers if self.held.isdisjoint(number_keys(each, self.region))]

    @cached_property
    def _keys(self) -> frozenset[str]:
        return frozenset(key for number in self._numbers for key in number_keys(number, self.region))

    @cached_property
    def _national(self) -> frozenset[str]:
        return frozenset(national for number in self._numbers if (national := _national(number)) is not None)


def spellings(address: str) -> set[str]:
    """Return an address as `searched` has it: its domain in both forms, in both Unicode normal forms, bare and within JSON."""
    found = {normalize(form, each.lower().replace("\u03c2", "\u03c3")) for each in forms(address) for form in ("NFC", "NFD")}
    # A quoted local part has marks that JSON escapes.
    return {spelling for each in found for spelling in (each, msgspec.json.encode(each)[1:-1].decode())}


def _national(phone_number: str) -> str | None:
    """Return the digits of a number within its country, or None if these are too few to tell one number."""
    number = read_number(phone_number)
    return number.national if number is not None and len(number.national) >= _TAIL else None


def _names(contact: Contact) -> list[str]:
    key = _name_key(" ".join(part for part in (contact.first_name, contact.last_name) if part))
    return [key] if key else []


def _name_key(name: str) -> str:
    """Return the form of a name that is compared: its words in any order, without case and accents."""
    return " ".join(sorted(words(searchable(name))))


class Chain(msgspec.Struct, frozen=True):
    """The entries of an object from which the person must still go, from one backwards.

    If the object is kept, its entries lose only what they say of the person; otherwise they become empty. `is_linked` if it is
    an engagement that was linked to the person, so that a name tells in all its entries. `is_expired` if the object only was
    deleted long ago, so that its entries need not tell by what the person was known. `taken` are the members of the person's
    contact that another one took over by a merge, which was taken back since; entries before `until` do not have them.
    """

    kind: str
    prefix: str
    object_id: UUID
    seq: int
    is_kept: bool = False
    is_linked: bool = False
    is_expired: bool = False
    taken: dict[str, Any] | None = None
    until: int = 0

    @property
    def is_read(self) -> bool:
        """Whether the entries are read before they are emptied."""
        return self.is_kept or (self.kind == CONTACT.kind and not self.is_expired)

    @classmethod
    def of(cls, object_type: ObjectType[Any, Any], object_id: UUID, seq: int) -> Self:
        """Return the chain of the entries of an object that is erased."""
        return cls(object_type.kind, object_type.prefix, object_id, seq)


class ErasureState(msgspec.Struct, frozen=True, kw_only=True):
    """How far an erasure has come: the step, its place within the step, and what must be done before the step goes on.

    `commented` are erased engagements that still have comments.
    """

    subject: Subject
    with_engagements: bool = False
    chains: tuple[Chain, ...] = ()
    commented: tuple[UUID, ...] = ()
    step: int = 0
    after: str = ""


def erased_address(address: str) -> str:
    """Return the value that is kept, as a hash, of an erasure that was asked for by address."""
    return f"mailto:{address}"


def task_of_address(hashed: str) -> UUID:
    """Return the id of the task that erases an address, by the hash under which the erasure is kept."""
    return UUID(hashed[:32])


def keyed_hash(key: str, workspace_id: UUID, value: str) -> str:
    """Return the hash of a contact's id or address under which an erasure is kept."""
    return hmac.new(key.encode(), workspace_id.bytes + value.encode(), hashlib.sha256).hexdigest()
