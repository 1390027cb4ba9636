"""The engagement and its transcript as clients see them, and the rules that need nothing else."""

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids
from herdbook.addresses import NotAnAddress, comparable_address
from herdbook.companies.model import Company
from herdbook.contacts.model import Contact
from herdbook.errors import FieldError, Invalid
from herdbook.media import Media
from herdbook.shared_schemas import CrmAssociation, Time
from herdbook.tags.model import Tag
from herdbook.users.model import User

# These limits come from the vendor's page on create-engagement.
MAX_TRANSCRIPT_BYTES: Final = 950_000
_MAX_TRANSCRIPT_CHARACTERS: Final = 900_000
# These limits are herdbook's own, so that no write delays others for long.
_MAX_SPEAKERS: Final = 100
MAX_ENTRIES: Final = 5000
MAX_LINKS: Final = 1000

_Title: TypeAlias = Annotated[str, Meta(min_length=1, max_length=500, extra_json_schema=fields.TEXT_SCHEMA)]
_SourceSystem: TypeAlias = Annotated[str, Meta(min_length=1, max_length=100, extra_json_schema=fields.TEXT_SCHEMA)]
_Uri: TypeAlias = Annotated[str, Meta(min_length=1, max_length=2048, extra_json_schema={"format": "uri"})]
_Email: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "email"})]
_Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=31_536_000)]
_UserId: TypeAlias = Annotated[str, fields.id_schema(ids.USER)]
_LINK: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x1f]+")
# A browser would run links with these schemes.
_RUN_BY_BROWSERS: Final = ("javascript", "data", "vbscript", "blob", "file")


def _https(value: str, path: str) -> Iterator[FieldError]:
    try:
        parts = urlsplit(value)
        is_address = parts.scheme == "https" and bool(parts.hostname) and not re.search(r"[\s\x00-\x1f]", value)
        is_address = is_address and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        yield FieldError(path, "invalid_format", f"`{path}` is not the address of a file on the web. Send one with `https://`.")


def _link(value: str, path: str) -> Iterator[FieldError]:
    if _LINK.fullmatch(value) is None or value.partition(":")[0].lower() in _RUN_BY_BROWSERS:
        yield FieldError(
            path, "invalid_format", f"`{path}` is not a link. Send one such as `https://...` or `wavv://call/123`."
        )


class TimelineSpeaker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A speaker in a transcript. Entries refer to speakers by their position, counted from 0."""

    schema_name: ClassVar[str] = "transcript_timeline_speaker"

    name: fields.Name | None = None
    email: str | None = None
    sentiment: Annotated[float, Meta(ge=-1, le=1, description="The mood of the speaker, from -1 (bad) to 1 (good).")] | None = (
        None
    )


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An uninterrupted passage by one speaker. Seconds count from the start of the engagement."""

    schema_name: ClassVar[str] = "transcript_timeline_entry"

    speaker_index: Annotated[int, Meta(ge=0)]
    start_seconds: _Seconds
    end_seconds: _Seconds
    text: Annotated[str, Meta(min_length=1, max_length=50_000, extra_json_schema=fields.TEXT_SCHEMA)]


class TimelineRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for setting a transcript timeline: the speakers, and their words with times."""

    schema_name: ClassVar[str] = "transcript_timeline_request"
    rules: ClassVar[dict[str, fields.Rule]] = {}
    example: ClassVar[dict[str, Any]] = {
        "speakers": [{"name": "Ada Lovelace"}, {"name": "Charles Babbage"}],
        "entries": [
            {"speaker_index": 0, "start_seconds": 0, "end_seconds": 2.5, "text": "Shall we begin?"},
            {"speaker_index": 1, "start_seconds": 2.8, "end_seconds": 4, "text": "The engine is ready."},
        ],
    }

    speakers: Annotated[tuple[TimelineSpeaker, ...], Meta(min_length=1, max_length=_MAX_SPEAKERS)]
    entries: Annotated[tuple[TimelineEntry, ...], Meta(max_length=MAX_ENTRIES)]

    @property
    def duration_seconds(self) -> float | None:
        """The end of the last entry, or None without entries."""
        return max((entry.end_seconds for entry in self.entries), default=None)

    def as_text(self) -> str:
        """Return the timeline as plain text, with a line `speaker: text` for each entry."""
        names = [speaker.name or f"Speaker {place}" for place, speaker in enumerate(self.speakers, start=1)]
        return "\n".join(f"{names[entry.speaker_index]}: {entry.text}" for entry in self.entries)


def _timeline(value: TimelineRequest, path: str) -> Iterator[FieldError]:
    # The path is empty if the timeline is the whole body.
    within = f"{path}." if path else ""
    yield from _speakers(value.speakers, f"{within}speakers")
    said = "".join([entry.text for entry in value.entries])
    if (size := len(said.encode())) > MAX_TRANSCRIPT_BYTES:
        message = (
            f"The texts of `{within}entries` have {size} bytes in UTF-8 together. Send {MAX_TRANSCRIPT_BYTES} at most: "
            "shorten them, or leave some out."
        )
        yield FieldError(f"{within}entries", "too_long", message)
    if "\x00" not in said and all(_is_sound(entry, len(value.speakers)) for entry in value.entries):
        return
    for index, entry in enumerate(value.entries):
        place = f"{within}entries[{index}]"
        if entry.speaker_index >= len(value.speakers):
            message = f"`{place}.speaker_index` is none of the {len(value.speakers)} speakers, which count from 0."
            yield FieldError(f"{place}.speaker_index", "invalid_range", message)
        if entry.end_seconds < entry.start_seconds:
            message = f"`{place}.end_seconds` is before `{place}.start_seconds`."
            yield FieldError(f"{place}.end_seconds", "invalid_range", message)
        yield from fields.text(entry.text, f"{place}.text")


def _is_sound(entry: TimelineEntry, speakers: int) -> bool:
    """Whether nothing is wrong with an entry, but for characters that text may not hold."""
    is_said = (entry.text[0].isascii() and entry.text[0].isalnum()) or fields.shows(entry.text) is not None
    return is_said and entry.speaker_index < speakers and entry.start_seconds <= entry.end_seconds


def _speakers(speakers: Sequence[TimelineSpeaker], path: str) -> Iterator[FieldError]:
    for index, speaker in enumerate(speakers):
        yield from fields.text(speaker.name, f"{path}[{index}].name")
        yield from _address(speaker.email, f"{path}[{index}].email")


def _address(email: str | None | UnsetType, path: str) -> Iterator[FieldError]:
    if isinstance(email, str):
        try:
            comparable_address(email.strip())
        except NotAnAddress as error:
            yield FieldError(path, "invalid_format", f"`{path}` is not an e-mail address: {error}")


def timeline_errors(timeline: TimelineRequest) -> list[FieldError]:
    """Return the errors of a timeline that is the whole body."""
    return list(_timeline(timeline, ""))


class Participant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A participant: a user or a contact, recognised by an e-mail address or a phone number."""

    schema_name: ClassVar[str] = "engagement_create_participant"

    name: fields.Name | None = None
    email: _Email | None = None
    phone: fields.Name | None = None
    is_owner: bool = False


def _participants(items: Sequence[Participant | None], path: str) -> Iterator[FieldError]:
    owners = [index for index, item in enumerate(items) if item is not None and item.is_owner]
    for index in owners[1:]:
        message = f"`{path}` has more than one owner. Mark at most one."
        yield FieldError(f"{path}[{index}].is_owner", "multiple_owners", message)
    for index, item in enumerate(items):
        if item is None:
            continue
        place = f"{path}[{index}]"
        yield from fields.text(item.name, f"{place}.name")
        yield from _address(item.email, f"{place}.email")
        yield from fields.text(item.phone, f"{place}.phone")
        if item.name is item.email is item.phone is None:
            yield FieldError(place, "required", f"`{place}` is empty. Send a `name`, an `email` or a `phone`.")


def _transcript(value: str, path: str) -> Iterator[FieldError]:
    yield from fields.text(value, path)
    if (size := len(value.encode())) > MAX_TRANSCRIPT_BYTES:
        yield FieldError(path, "too_long", f"`{path}` has {size} bytes in UTF-8. Send at most {MAX_TRANSCRIPT_BYTES}.")


class EngagementCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for creating an engagement."""

    schema_name: ClassVar[str] = "engagement_create_request"
    rules: ClassVar[dict[str, fields.Rule]] = {
        "title": fields.text,
        "source_system": fields.text,
        "external_id": fields.text,
        "media_url": _https,
        "transcript_timeline": _timeline,
        "transcript": _transcript,
        "start_at": fields.time,
        "external_url": _link,
        "participants": _participants,
    }
    example: ClassVar[dict[str, Any]] = {
        "type": "CALL",
        "title": "The engine's next step",
        "source_system": "dialer",
        "external_id": "call-1842",
        "start_at": "2026-03-01T12:00:00Z",
        "participants": [{"name": "Ada Lovelace", "email": "ada@example.com"}],
        "transcript_timeline": TimelineRequest.example,
    }

    type: Literal["CALL", "MEETING"]
    title: _Title
    source_system: _SourceSystem
    external_id: _Title
    media_url: _Uri | UnsetType = UNSET
    transcript_timeline: TimelineRequest | UnsetType = UNSET
    transcript: (
        Annotated[str, Meta(min_length=1, max_length=_MAX_TRANSCRIPT_CHARACTERS, extra_json_schema=fields.TEXT_SCHEMA)]
        | UnsetType
    ) = UNSET
    run_workflows: bool | UnsetType = UNSET
    is_private: bool | UnsetType = UNSET
    start_at: Time | UnsetType = UNSET
    external_url: _Uri | UnsetType = UNSET
    participants: Annotated[tuple[Participant, ...], Meta(max_length=fields.MAX_ITEMS)] | UnsetType = UNSET

    @property
    def has_transcript(self) -> bool:
        """Whether the request contains a transcript."""
        return self.transcript_timeline is not UNSET or self.transcript is not UNSET

    def require_content(self) -> None:
        """Refuse an engagement with neither media nor a transcript. Refusal: Invalid."""
        if self.media_url is UNSET and not self.has_transcript:
            message = "The engagement has no content. Send `media_url`, `transcript_timeline` or `transcript`."
            raise Invalid([FieldError("media_url", "required", message)])


def _link_rule(prefix: str, kind: str) -> fields.Rule:
    one = fields.id_of(prefix, kind)

    def rule(values: Sequence[str | None], path: str) -> Iterator[FieldError]:
        for index, value in enumerate(values):
            yield from one(value, f"{path}[{index}]")

    return rule


class EngagementContacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for replacing the contacts of an engagement."""

    schema_name: ClassVar[str] = "engagement_contacts_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"contact_ids": _link_rule(ids.CONTACT, "contact")}
    example: ClassVar[dict[str, Any]] = {"contact_ids": []}

    contact_ids: Annotated[tuple[Annotated[str, fields.id_schema(ids.CONTACT)], ...], Meta(max_length=MAX_LINKS)]


class EngagementTags(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for replacing the tags of an engagement."""

    schema_name: ClassVar[str] = "engagement_tags_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"tag_ids": _link_rule(ids.TAG, "tag")}
    example: ClassVar[dict[str, Any]] = {"tag_ids": []}

    tag_ids: Annotated[tuple[Annotated[str, fields.id_schema(ids.TAG)], ...], Meta(max_length=MAX_LINKS)]


class EngagementObject(Enum):
    """Resource discriminator for engagement payloads."""

    ENGAGEMENT = "engagement"


class EngagementType(Enum):
    """The kind of an engagement."""

    MEETING = "MEETING"
    CALL = "CALL"
    EMAIL = "EMAIL"
    TASK = "TASK"
    NOTE = "NOTE"
    CALENDAR_EVENT = "CALENDAR_EVENT"
    DOCUMENT = "DOCUMENT"


class ProcessingStatus(Enum):
    """Whether an engagement has a transcript. herdbook transcribes nothing: one with media alone waits for a timeline."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class EngagementCompanyObject(Enum):
    """Resource discriminator for the companies of an engagement."""

    ENGAGEMENT_COMPANY = "engagement_company"


class EngagementCompany(msgspec.Struct, frozen=True, kw_only=True):
    """A company of an engagement."""

    schema_name: ClassVar[str] = "engagement_company"

    object: EngagementCompanyObject
    id: Annotated[str, fields.id_schema(ids.COMPANY)]
    name: str | None
    crm_association: CrmAssociation | UnsetType = UNSET

    @classmethod
    def of(cls, company: Company) -> "EngagementCompany":
        """Return a company as an engagement shows it."""
        return cls(
            object=EngagementCompanyObject.ENGAGEMENT_COMPANY,
            id=company.id,
            name=company.name,
            crm_association=company.crm_association,
        )


class ActionItem(msgspec.Struct, frozen=True, kw_only=True):
    """An agreed task. herdbook derives no action items, so the list is always empty."""

    schema_name: ClassVar[str] = "action_item"

    id: str
    title: str
    owner_user_id: _UserId | None = None
    is_completed: bool = False


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """An annotation by analysis. herdbook derives no signals, so the list is always empty."""

    schema_name: ClassVar[str] = "signal"

    id: str
    name: str
    value: str | None = None


class UnknownParticipant(msgspec.Struct, frozen=True):
    """A participant of whom nobody is known: no user and no contact has the phone number, and it lacks its country."""

    schema_name: ClassVar[str] = "engagement_unknown_participant"

    index: Annotated[int, Meta(description="The position in `participants`, counted from 0.")]
    phone: Annotated[str, Meta(description="The phone number, as it was sent.")]


class Engagement(msgspec.Struct, frozen=True, kw_only=True):
    """Public representation of an engagement. Some fields are present only if `expand` names them."""

    schema_name: ClassVar[str] = "engagement"
    read_scopes: ClassVar[tuple[str, ...]] = ("engagements:read",)
    example: ClassVar[dict[str, Any]] = {
        "object": "engagement",
        "id": ids.example(ids.ENGAGEMENT),
        "title": "The engine's next step",
        "engagement_type": "CALL",
        "processing_status": "COMPLETED",
        "is_private": False,
        "created_at": "2026-03-01T12:00:00.000000Z",
        "updated_at": "2026-03-01T12:00:00.000000Z",
        "data_source": "dialer",
        "start_at": "2026-03-01T12:00:00.000000Z",
    }

    object: EngagementObject
    id: Annotated[str, fields.id_schema(ids.ENGAGEMENT)]
    title: str
    engagement_type: EngagementType
    processing_status: ProcessingStatus
    is_private: bool
    created_at: Time
    updated_at: Time
    description: str | UnsetType = UNSET
    data_source: Annotated[str, Meta(description="The system that the engagement comes from.")] | UnsetType = UNSET
    is_internal: bool | UnsetType = UNSET
    engagement_at: Time | UnsetType = UNSET
    start_at: Time | UnsetType = UNSET
    end_at: Time | UnsetType = UNSET
    duration_seconds: int | UnsetType = UNSET
    meeting_url: str | UnsetType = UNSET
    external_url: (
        Annotated[str, Meta(description="A link back into the system that the engagement comes from.")] | UnsetType
    ) = UNSET
    crm_association: CrmAssociation | UnsetType = UNSET
    owner_user_id: _UserId | UnsetType = UNSET
    host_user_id: _UserId | UnsetType = UNSET
    transcript: str | None | UnsetType = UNSET
    media_url: str | None | UnsetType = UNSET
    companies: tuple[EngagementCompany, ...] | UnsetType = UNSET
    contacts: tuple[Contact, ...] | UnsetType = UNSET
    owner: User | None | UnsetType = UNSET
    action_items: tuple[ActionItem, ...] | UnsetType = UNSET
    signals: tuple[Signal, ...] | UnsetType = UNSET
    tags: tuple[Tag, ...] | UnsetType = UNSET
    unknown_participants: (
        Annotated[
            tuple[UnknownParticipant, ...],
            Meta(
                description="Only in the answer to a creation: participants of whom there is no contact, because nobody has "
                "the phone number, and without its country it makes no contact. Send it with the country code, or set the "
                "workspace's region."
            ),
        ]
        | UnsetType
    ) = UNSET


class Details(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The stored data of an engagement that the API does not always show."""

    source_system: str
    external_id: str
    created_by: str
    run_workflows: bool | None = None
    participants: tuple[Participant, ...] = ()
    media: Media | None = None
    contact_ids: tuple[str, ...] = ()
    company_ids: tuple[str, ...] = ()
    tag_ids: tuple[str, ...] = ()


class EngagementEntry(Engagement, frozen=True, kw_only=True):
    """An engagement as the ledger records it, with its details."""

    details: Details

    @classmethod
    def of(cls, engagement: Engagement, details: Details) -> Self:
        """Return the entry for an engagement and its details."""
        return cls(**{name: getattr(engagement, name) for name in Engagement.__struct_fields__}, details=details)

    @property
    def shown(self) -> Engagement:
        """The engagement as the API always shows it."""
        return Engagement(**{name: getattr(self, name) for name in Engagement.__struct_fields__})


class TimelineObject(Enum):
    """Resource discriminator for transcript timeline payloads."""

    TRANSCRIPT_TIMELINE = "transcript_timeline"


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """The transcript timeline of an engagement: the speakers, and their words with times."""

    schema_name: ClassVar[str] = "transcript_timeline"
    example: ClassVar[dict[str, Any]] = {
        "object": "transcript_timeline",
        "engagement_id": ids.example(ids.ENGAGEMENT),
        "overall_sentiment": None,
    } | TimelineRequest.example

    object: TimelineObject
    engagement_id: Annotated[str, fields.id_schema(ids.ENGAGEMENT)]
    speakers: tuple[TimelineSpeaker, ...]
    entries: tuple[TimelineEntry, ...]
    overall_sentiment: Annotated[float | None, Meta(description="The average sentiment of the speakers who have one.")]

    @classmethod
    def of(cls, engagement_id: str, asked: TimelineRequest) -> "Timeline":
        """Return a timeline as the API shows it."""
        known = [speaker.sentiment for speaker in asked.speakers if speaker.sentiment is not None]
        return cls(
            object=TimelineObject.TRANSCRIPT_TIMELINE,
            engagement_id=engagement_id,
            speakers=asked.speakers,
            entries=asked.entries,
            overall_sentiment=sum(known) / len(known) if known else None,
        )


class TranscriptEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A transcript as the ledger records it, with its engagement at that time."""

    timeline_id: str | None = None
    text: str
    timeline: Timeline | None = None
    engagement: Engagement | UnsetType = UNSET
