"""Erasures as clients see them, and the state of one that is under way."""

import functools
import hashlib
import hmac
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Literal, Self, cast
from unicodedata import normalize
from urllib.parse import unquote
from uuid import UUID

import msgspec
from msgspec import Meta

from herdbook import fields, ids
from herdbook.addresses import NotAnAddress, comparable_address, forms
from herdbook.contacts.model import Contact, ContactRecord
from herdbook.contacts.store import CONTACT
from herdbook.custom_fields.model import FieldKind
from herdbook.engagements.model import Details, Participant, TimelineSpeaker
from herdbook.errors import FieldError
from herdbook.ledger.object_types import ObjectType
from herdbook.phone_numbers import comparable_number, extension_of, is_number, number_keys, read_number
from herdbook.search_text import searchable, words
from herdbook.shared_schemas import Time
from herdbook.views.model import ViewContent

_TAIL: Final = 6
# A member for numbers has no longer text.
_LONGEST_NUMBER: Final = 255


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


class ErasedImport(msgspec.Struct, frozen=True, kw_only=True):
    """An import that goes with an erasure, and how far it was."""

    schema_name: ClassVar[str] = "erased_import"
    example: ClassVar[dict[str, Any]] = {"id": ids.example(ids.IMPORT), "state": "paused"}

    id: Annotated[str, fields.id_schema(ids.IMPORT)]
    state: Annotated[str, Meta(description="The state that the import had. Rows that were done stay.")]

    @classmethod
    def of(cls, import_id: UUID, state: str) -> Self:
        """Return an import by its id and its state."""
        return cls(id=ids.encoded(ids.IMPORT, import_id), state=state)


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
        "credential_name": "Operations",
        "finished": True,
        "engagements": False,
        "engagement_ids": [],
        "kept_engagement_ids": [ids.example(ids.ENGAGEMENT)],
        "imports": [ErasedImport.example],
        "others": [],
        "rows": {"contact": 1, "contact_email": 2, "change": 7, "engagement": 3},
        "kept": {"engagement": 3, "transcript": 3, "recording": 2},
        "in_words": {
            "contact": "Contacts",
            "contact_email": "E-mail addresses",
            "change": "Entries of the history",
            "engagement": "Calls and meetings",
            "transcript": "Transcripts",
            "recording": "Recordings",
        },
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
    credential_name: Annotated[
        str | None,
        Meta(description="The name of the key or program, or of the person who asked for the erasure in the console."),
    ]
    finished: Annotated[
        bool,
        Meta(description="False if some of it is still being erased, or added to the list of erasures, in the background."),
    ]
    engagements: Annotated[bool, Meta(description="Whether the engagements that are linked to the person are erased, too.")]
    engagement_ids: Annotated[list[str], Meta(description="The engagements that are erased.")]
    kept_engagement_ids: Annotated[
        list[str],
        Meta(description="The engagements that lose the person, and stay. Read them: free text may still name the person."),
    ]
    imports: Annotated[
        list[ErasedImport],
        Meta(
            description="The imports of the workspace. All go, with their files, because any row may be about the person: "
            "upload a file again whose rows are not done. Those that were uploaded while the erasure was under way are there "
            "once it is finished."
        ),
    ]
    others: Annotated[
        list[str],
        Meta(
            description="Other contacts and companies whose fields hold an address, a number or the id of the person, and "
            "fields that have it as default. These values are erased."
        ),
    ]
    rows: Annotated[
        dict[str, int],
        Meta(description="The rows with data of the person, or of imports, by table, and files of recordings."),
    ]
    kept: Annotated[
        dict[str, int],
        Meta(
            description="What stays of the person's engagements, by table, and recordings. Free text in it may name the person."
        ),
    ]
    in_words: Annotated[
        dict[str, str], Meta(description="The tables of `rows` and `kept` in plain words, by the names that they have there.")
    ]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows an erasure found, by table: those that lose the person, and those of kept engagements.

    `engagement_ids` are the engagements that go, and `kept_engagement_ids` those that only lose the person. `others` are the
    ids of other contacts and companies that lose values of fields, and of fields that lose a default, as the API shows them.
    """

    rows: dict[str, int]
    kept: dict[str, int]
    engagement_ids: tuple[UUID, ...] = ()
    kept_engagement_ids: tuple[UUID, ...] = ()
    imports: tuple[ErasedImport, ...] = ()
    others: tuple[str, ...] = ()


class FoundLater(msgspec.Struct, frozen=True):
    """The rows that an erasure has found while it was carried out, by table, and the imports that it has removed.

    They are added to those that were found before.
    """

    rows: dict[str, int]
    imports: tuple[ErasedImport, ...] = ()


# The tables of certificates in plain words.
WORDS: Final = {
    "contact": "Contacts",
    "contact_email": "E-mail addresses",
    "contact_former_email": "E-mail addresses of deleted contacts",
    "contact_external_id": "Ids in other systems",
    "contact_former_external_id": "Ids of deleted contacts in other systems",
    "contact_field": "Values of your own fields, by which lists are filtered",
    "contact_field_value": "Values that only one contact has",
    "contact_word": "Search words",
    "contact_tag": "Tags on the contact",
    "company_contact": "Links to a company",
    "card": "vCards that are kept beside the contact",
    "note": "Notes",
    "contact_note": "Links of notes to the contact",
    "engagement_contact": "Links of calls and meetings to the contact",
    "engagement": "Calls and meetings",
    "change": "Entries of the history",
    "webhook_delivery": "Deliveries to webhooks",
    "idempotency_record": "Answers to programs, kept for a day in case they ask again",
    "saved_view": "Saved views",
    "import_job": "Imported files",
    "import_slice": "Outcomes of imported rows, up to a hundred in each",
    "import_mapping": "Remembered columns of imports",
    "duplicate_object": "Contacts that were compared to find duplicates",
    "duplicate_key": "Values that were compared to find duplicates",
    "duplicate_pair": "Pairs of contacts that may be the same",
    "distinct_pair": "Pairs of contacts that are not the same",
    "erasure_task": "Erasures under way",
    "transcript": "Transcripts",
    "transcript_comment": "Comments on transcripts",
    "engagement_word": "Search words of calls and meetings",
    "engagement_company": "Links of calls and meetings to companies",
    "engagement_tag": "Tags on calls and meetings",
    "engagement_external_id": "Ids of calls and meetings in other systems",
    "recording": "Recordings",
    "other_contact": "Other contacts that name the person in a field of your own",
    "other_company": "Companies that name the person in a field of your own",
    "other_field": "Fields of your own that have the person as default",
    "other_change": "Entries of the history of others",
}


# The members of contacts by which a filter finds an id in another system.
_FOREIGN: Final = ("external_ids", "crm_association")
# Nobody writes a number in more parts.
_MOST_PARTS: Final = 12
_WRITTEN_NUMBER: Final = re.compile(r"\+?\(?\d[\d\s().\-\u2010-\u2015/]{4,}\d")


def unread_files(import_ids: Iterable[str]) -> str:
    """Return the sentence that tells a person that the files of imports are not searched."""
    shown = ", ".join(import_ids)
    return (
        f"The files of these imports are not searched, and any row may be about the person: {shown}. Look into them, or delete "
        "them."
    )


def in_words(found: Found) -> dict[str, str]:
    """Return the names of the tables that were found in plain words."""
    tables = {**found.rows, **found.kept}
    # Preview and certificate have one order. An earlier release may have counted other tables.
    ordered = [*(each for each in WORDS if each in tables), *(each for each in tables if each not in WORDS)]
    return {table: WORDS.get(table, table.replace("_", " ")) for table in ordered}


class Subject(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The person to erase: the contacts, with those merged into them, and what they are recognised by.

    `foreign_ids` are its ids in other systems. `held` are addresses, and keys of numbers, that another active contact has. They
    identify nobody. `engagement_ids` are the engagements that were found before the erasure began, and `linked_ids` those of
    them that are linked to the contacts. An erasure looks for them anew.
    """

    contact_ids: frozenset[UUID] = frozenset()
    addresses: frozenset[str] = frozenset()
    phone_numbers: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    foreign_ids: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    engagement_ids: frozenset[UUID] = frozenset()
    linked_ids: frozenset[UUID] = frozenset()
    region: str | None = None

    def having(self, contact: ContactRecord) -> "Subject":
        """Return the person, who also is or was this contact."""
        emails = [item.email for item in contact.emails]
        foreign_ids = {*(contact.external_ids or ())}
        if contact.crm_association:
            foreign_ids.add(contact.crm_association.crm_object_id)
        return msgspec.structs.replace(
            self,
            addresses=self.addresses.union(map(str.lower, emails), map(comparable_address, emails)),
            phone_numbers=self.phone_numbers.union(item.phone_number for item in contact.phone_numbers),
            names=self.names.union(_names(contact)),
            foreign_ids=self.foreign_ids | foreign_ids,
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
        has_number = phone is not None and self._has_number(phone, is_linked=is_linked)
        # Programs that know no name send the address, or the number, as one.
        if email is None and participant.name is not None and self.is_external_id(participant.name, is_linked=is_linked):
            return True
        if not is_linked:
            return has_number if email is None else has_address
        # Somebody with the same name and another address is another person.
        has_name = email is None and _name_key(participant.name or "") in self.names
        return has_address or has_number or has_name

    def without_speaker(self, speakers: tuple[TimelineSpeaker, ...], *, is_linked: bool) -> tuple[TimelineSpeaker, ...]:
        """Return the speakers, of whom the person has neither name nor address. The same rule tells it as for participants."""
        return tuple(
            TimelineSpeaker(sentiment=each.sentiment)
            if (each.name or each.email) and self._is(Participant(name=each.name, email=each.email), is_linked=is_linked)
            else each
            for each in speakers
        )

    def is_in(self, details: Details, link: str | None, *, is_linked: bool) -> bool:
        """Whether the participants, the external id or the link of an engagement name the person."""
        return (
            self.others(details.participants, is_linked=is_linked) != details.participants
            or self.is_external_id(details.external_id, is_linked=is_linked)
            or self.is_in_link(link)
        )

    def is_external_id(self, external_id: str, *, is_linked: bool) -> bool:
        """Whether the external id of an engagement is an address, a number or the id of the person."""
        is_spelled = is_number(external_id) and self._has_number(external_id, is_linked=is_linked)
        return is_spelled or self.is_named(external_id, None)

    def is_in_link(self, link: str | None) -> bool:
        """Whether a link has an address, a number or the id of the person."""
        if not link:
            return False
        said = unquote(link)
        comparable = said.lower().replace("\u03c2", "\u03c3")
        return any(term in comparable for term in self.terms) or self.is_number_in(said)

    def _has_number(self, phone_number: str, *, is_linked: bool) -> bool:
        # A number may be written as it is dialled within its country, though the workspace has no region.
        is_national = is_linked and _national(phone_number) in self._national
        return is_national or not self._keys.isdisjoint(number_keys(phone_number, self.region))

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
        tails = {digits[-_TAIL:] for digits in read if len(digits) >= _TAIL}
        return sorted(pattern for tail in tails for pattern in _patterns(tail))

    @property
    def number_keys(self) -> frozenset[str]:
        """The keys by which contacts with these numbers are found."""
        return frozenset(key for number in self.phone_numbers for key in number_keys(number, self.region))

    def named_in(self, values: Mapping[str, Any], kinds: Mapping[str, FieldKind]) -> list[str]:
        """Return the keys of another object's values that are an address, a number or the id of the person.

        `kinds` are the kinds of the fields. A text of another kind is a number only if it begins with a plus, because digits
        alone may stand for anything else.
        """
        return [key for key, value in values.items() if self.is_named(value, kinds.get(key))]

    def is_named(self, value: Any, kind: FieldKind | None) -> bool:
        """Whether a value of a field of a kind is an address, a number or the id of the person, as `named_in` says."""
        if not isinstance(value, str):
            return False
        value = value.strip()
        if value in self._shown_ids:
            return True
        if kind is FieldKind.PHONE or value.startswith("+"):
            spellings = {_comparable(value, region) for region in (None, self.region)}
            return not spellings.isdisjoint(self._comparable_numbers)
        try:
            return "@" in value and comparable_address(value) in self._addresses
        except NotAnAddress:
            return False

    def is_numbered_in(self, value: Any) -> bool:
        """Whether a text within a JSON value is a number of the person."""
        if isinstance(value, dict):
            return any(self.is_numbered_in(each) for each in cast("dict[str, Any]", value).values())
        if isinstance(value, list):
            return any(self.is_numbered_in(each) for each in cast("list[Any]", value))
        return isinstance(value, str) and len(value) <= _LONGEST_NUMBER and self._has_number(value, is_linked=False)

    def is_number_in(self, text: str) -> bool:
        """Whether a text has a number of the person, in any spelling."""
        return any(self._has_number(each, is_linked=False) for each in _written_numbers(text))

    def is_in_view(self, object_type: str, name: str, content: ViewContent) -> bool:
        """Whether a saved view mentions the person: an address or the id anywhere, or a number, or an id in another system.

        Such an id is meant where a filter compares it. The name and the search are free text.
        """
        said = " ".join((name, content.search or "", msgspec.json.encode(content.where).decode())).lower()
        if any(term in said.replace("\u03c2", "\u03c3") for term in self.terms):
            return True
        texts = (name, content.search or "")
        if any(self._has_number(each, is_linked=True) for text in texts for each in _written_numbers(text)):
            return True
        words_ = {word.strip(",;:()[]<>\"'").lower() for text in texts for word in text.split()}
        long_ids = {each.lower() for each in self.foreign_ids if len(each) >= _TAIL}
        return not words_.isdisjoint(long_ids) or self._is_compared(content.where, object_type)

    def _is_compared(self, where: Any, object_type: str) -> bool:
        """Whether a condition compares something with a number of the person, or with an id in another system."""
        if isinstance(where, list):
            return any(self._is_compared(each, object_type) for each in cast("list[Any]", where))
        if not isinstance(where, dict):
            return False
        condition = cast("dict[str, Any]", where)
        if "field" not in condition:
            return any(self._is_compared(each, object_type) for each in condition.values())
        value = condition.get("value")
        values = [each for each in (cast("list[Any]", value) if isinstance(value, list) else [value]) if isinstance(each, str)]
        if object_type == CONTACT.name and condition["field"] in _FOREIGN:
            return not self.foreign_ids.isdisjoint(values)
        return any(is_number(each) and self._has_number(each, is_linked=True) for each in values)

    @cached_property
    def _shown_ids(self) -> frozenset[str]:
        return frozenset(ids.encoded(ids.CONTACT, each) for each in self.contact_ids)

    @cached_property
    def _comparable_numbers(self) -> frozenset[str]:
        return frozenset(_comparable(number, region) for number in self._numbers for region in (None, self.region))

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


def _written_numbers(text: str) -> Iterator[str]:
    """Yield what may be a number in a text. Other digits may stand before and behind it."""
    for found in _WRITTEN_NUMBER.findall(text):
        parts = found.split()[:_MOST_PARTS]
        for first, last in itertools.combinations(range(len(parts) + 1), 2):
            yield " ".join(parts[first:last])


def lowered(text: str) -> str:
    """Return a text as `searched` has it: in lower case, with one form of the Greek sigma."""
    return text.lower().replace("\u03c2", "\u03c3")


def texts_of(value: Any) -> Iterator[str]:
    """Yield the texts of JSON, the names of members, too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():  # pyright: ignore[reportUnknownVariableType]  # members of JSON
            yield from texts_of(name)
            yield from texts_of(member)
    elif isinstance(value, list):
        for each in value:  # pyright: ignore[reportUnknownVariableType]  # items of JSON
            yield from texts_of(each)


def spellings(address: str) -> set[str]:
    """Return an address as `searched` has it: its domain in both forms, in both Unicode normal forms, bare and within JSON."""
    found = {normalize(form, lowered(each)) for each in forms(address) for form in ("NFC", "NFD")}
    # A quoted local part has marks that JSON escapes.
    return {spelling for each in found for spelling in (each, msgspec.json.encode(each)[1:-1].decode())}


def _comparable(phone_number: str, region: str | None) -> str:
    """Return the form in which values of unique fields compare a number: telephones with other extensions are others."""
    return f"{comparable_number(phone_number, region)} {extension_of(phone_number)}"


# The letters on the keys of a telephone.
_LETTERS: Final = ("", "", "abc", "def", "ghi", "jkl", "mno", "pqrs", "tuv", "wxyz")


@functools.lru_cache(maxsize=1)
def _all_digits() -> list[str]:
    """Return for each digit all characters that Unicode has for it."""
    found = [""] * 10
    # The planes behind these have no digits.
    for char in map(chr, range(0x20000)):
        if char.isdigit():
            found[unicodedata.digit(char)] += char
    return found


def _patterns(digits: str) -> Iterator[str]:
    """Yield the patterns of these digits as people write them: in any script, or some of them as letters without spaces."""
    characters = [(_all_digits()[int(digit)], _LETTERS[int(digit)]) for digit in digits]
    yield "[^0-9]*".join(f"[{written}]" for written, _ in characters)
    spelled = (written + letters + letters.upper() + _full_width(letters) for written, letters in characters)
    yield "[-. ]?".join(f"[{each}]" for each in spelled)


def _full_width(letters: str) -> str:
    return "".join(chr(ord(each) + 0xFEE0) for each in letters + letters.upper())


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

    `commented` are erased engagements that still have comments. `emptied` counts the entries of other contacts and companies
    that have lost something. `imports` are removed. `at` is the time of the erasure, if it is carried out again.
    """

    subject: Subject
    with_engagements: bool = False
    chains: tuple[Chain, ...] = ()
    commented: tuple[UUID, ...] = ()
    step: int = 0
    after: str = ""
    emptied: int = 0
    imports: tuple[ErasedImport, ...] = ()
    at: datetime | None = None
    is_kept: bool = True


def erased_address(address: str) -> str:
    """Return the value that is kept, as a hash, of an erasure that was asked for by address."""
    return f"mailto:{address}"


def task_of_address(hashed: str) -> UUID:
    """Return the id of the task that erases an address, by the hash under which the erasure is kept."""
    return UUID(hashed[:32])


def keyed_hash(key: str, workspace_id: UUID, value: str) -> str:
    """Return the hash of a contact's id or address under which an erasure is kept."""
    return hmac.new(key.encode(), workspace_id.bytes + value.encode(), hashlib.sha256).hexdigest()
