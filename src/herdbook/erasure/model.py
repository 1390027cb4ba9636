"""Erasures as clients see them, and the state of one that is under way."""

import hashlib
import hmac
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from herdbook import fields, ids
from herdbook.addresses import comparable_address
from herdbook.contacts.model import Contact
from herdbook.contacts.store import CONTACT, number_keys
from herdbook.engagements.model import Participant
from herdbook.ledger.object_types import ObjectType
from herdbook.shared_schemas import Time

_TAIL: Final = 6


class EraseQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of an erasure."""

    schema_name: ClassVar[str] = "erase_query"
    rules: ClassVar[dict[str, fields.Rule]] = {}

    dry_run: Annotated[bool, Meta(description="Whether to return only what would be erased, and change nothing.")] = False
    engagements: Annotated[
        bool,
        Meta(
            description="Whether to erase the engagements of the person as well, with their transcripts, comments and "
            "recordings. Otherwise only the person's participation goes."
        ),
    ] = False


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
        "rows": {"contact": 1, "contact_email": 2, "change": 7, "engagement": 3},
        "kept": {"transcript": 3},
    }

    object: Literal["erasure_certificate"]
    dry_run: bool
    contact_id: Annotated[str, fields.id_schema(ids.CONTACT)]
    erased_at: Time | None
    request_id: Annotated[str, fields.id_schema(ids.REQUEST)]
    credential_id: Annotated[str | None, Meta(description="Null for the command line, and for the server itself.")]
    finished: Annotated[bool, Meta(description="False if some of it is still being erased in the background.")]
    engagements: Annotated[bool, Meta(description="Whether the engagements of the person are erased, too.")]
    rows: Annotated[dict[str, int], Meta(description="The rows with data of the person, by table.")]
    kept: Annotated[
        dict[str, int],
        Meta(description="Rows of the person's engagements that stay, by table. Their free text may name the person."),
    ]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows an erasure found, by table: those that lose the person, and those of kept engagements."""

    rows: dict[str, int]
    kept: dict[str, int]


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The person to erase: the contacts, with those merged into them, and what they are recognised by.

    `engagement_ids` are the engagements that were found before the erasure began. An erasure looks for them anew.
    """

    contact_ids: frozenset[UUID] = frozenset()
    addresses: frozenset[str] = frozenset()
    phone_numbers: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    engagement_ids: frozenset[UUID] = frozenset()
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
        """Return the participants who are not the person. Names tell only in an engagement that is linked to the person."""
        return tuple(each for each in participants if not self._is(each, by_name=is_linked))

    def _is(self, participant: Participant, *, by_name: bool) -> bool:
        if participant.email is not None:
            return comparable_address(participant.email.strip()) in self.addresses
        if participant.phone is not None:
            return not self.number_keys.isdisjoint(number_keys(participant.phone, self.region))
        return by_name and (participant.name or "").casefold() in self.names

    @property
    def terms(self) -> list[str]:
        """The ids as the API shows them and the addresses, in lower case."""
        return sorted({*(ids.encoded(ids.CONTACT, each).lower() for each in self.contact_ids), *self.addresses})

    @property
    def tails(self) -> list[str]:
        """The last digits of the phone numbers, which all spellings of a number share."""
        numbers = ("".join(filter(str.isdecimal, number)) for number in self.phone_numbers)
        return sorted({digits[-_TAIL:] for digits in numbers if len(digits) >= _TAIL})

    @property
    def number_keys(self) -> frozenset[str]:
        """The keys by which contacts with these numbers are found."""
        return frozenset(key for number in self.phone_numbers for key in number_keys(number, self.region))


def _names(contact: Contact) -> list[str]:
    name = " ".join(part for part in (contact.first_name, contact.last_name) if part)
    return [name.casefold()] if name else []


class Chain(msgspec.Struct, frozen=True):
    """The entries of an object from which the person must still go, from one backwards.

    If the object is kept, its entries lose only what they say of the person; otherwise they become empty. `is_linked` if it is
    an engagement that was linked to the person, so that a name tells in all its entries. `is_expired` if the object only was
    deleted long ago, so that its entries need not tell by what the person was known.
    """

    kind: str
    prefix: str
    object_id: UUID
    seq: int
    is_kept: bool = False
    is_linked: bool = False
    is_expired: bool = False

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
    found: Found | None = None
    chains: tuple[Chain, ...] = ()
    commented: tuple[UUID, ...] = ()
    step: int = 0
    after: str = ""


def keyed_hash(key: str, workspace_id: UUID, value: str) -> str:
    """Return the hash of a contact's id or address under which an erasure is kept."""
    return hmac.new(key.encode(), workspace_id.bytes + value.encode(), hashlib.sha256).hexdigest()
