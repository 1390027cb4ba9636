"""The commands that change engagements and their transcripts."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from herdbook import fields, ids
from herdbook.addresses import comparable_address, is_of_a_room
from herdbook.contacts.commands import CreateContact, known_contacts
from herdbook.contacts.model import Contact, ContactCreate, ContactRecordUpdateEmail, ContactRecordUpdatePhoneNumber
from herdbook.contacts.store import ADDRESSES, CONTACT, CONTACT_WORDS, CONTACTS, ContactRow
from herdbook.engagements.model import (
    MAX_LINKS,
    Details,
    Engagement,
    EngagementCreate,
    EngagementEntry,
    EngagementObject,
    EngagementType,
    Participant,
    ProcessingStatus,
    Timeline,
    TimelineRequest,
    TranscriptEntry,
    UnknownParticipant,
)
from herdbook.engagements.store import (
    ENGAGEMENT,
    ENGAGEMENTS,
    EXTERNAL_IDS,
    TRANSCRIPT,
    TRANSCRIPTS,
    EngagementRow,
    TranscriptRow,
)
from herdbook.errors import FieldError, Forbidden, Invalid, NotFound, Stale
from herdbook.ledger.object_types import ObjectRow, ObjectType, active, all_active, created, current, deleted, updated
from herdbook.ledger.unfinished import SliceDone, Task, note
from herdbook.ledger.unit_of_work import Need, NotLoaded, Result, UnitOfWork
from herdbook.media import Media
from herdbook.names import person_name
from herdbook.phone_numbers import known_number, number_keys
from herdbook.shared_schemas import shown_time
from herdbook.tags.store import TAG, TAGS
from herdbook.users.commands import active_users
from herdbook.users.store import HANDLES

PRIVATE_READ: Final = "engagements:private:read"
PRIVATE_WRITE: Final = "engagements:private:write"


class ExternalIdKnown(Exception):
    """An engagement with this external id exists already."""

    def __init__(self, engagement: EngagementRow) -> None:
        super().__init__(engagement)
        self.engagement = engagement


class RecordingNeeded(Exception):
    """The engagement can be created, but not before the recording at this URL was fetched."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


class CreateEngagement(msgspec.Struct, frozen=True, kw_only=True):
    """Create an engagement, and a contact for each participant who is neither a user nor a contact yet.

    `owner_user_id` is the owner where no participant is marked as one. `region` is the workspace's default region for phone
    numbers. The answer names participants whose number is nobody's and lacks its country. Refusals: Stale where a version is
    asked for, Invalid (participants); ExternalIdKnown and RecordingNeeded, which are no refusals to the caller.
    """

    engagement_id: UUID
    fields: EngagementCreate
    created_by: UUID
    owner_user_id: UUID | None
    media: Media | None = None
    duration_seconds: float | None = None
    has_precondition: bool = False
    region: str | None = None

    def needs(self) -> Iterator[Need]:
        yield from EXTERNAL_IDS.needs([self.fields.external_id])
        addresses, numbers = handles_of(self.fields, self.region)
        yield from HANDLES.needs([*addresses, *numbers])
        yield from ADDRESSES.needs(addresses)
        yield from CONTACT_WORDS.needs(numbers)

    def apply(self, work: UnitOfWork) -> Result:
        asked = self.fields
        if (existing := EXTERNAL_IDS.holder(work, asked.external_id)) is not None:
            raise ExternalIdKnown(current(work, ENGAGEMENTS, existing, None, "engagement"))
        known: dict[str, ContactRow] = {}
        # Go on without contacts that were not loaded, so that missing users are loaded together with them.
        with contextlib.suppress(NotLoaded):
            known = known_contacts(work, *handles_of(asked, self.region))
        users = active_users(work, [handle for some in handles_of(asked, self.region) for handle in some])
        owner_id = owner_among(asked.participants or (), users, self.region) or self.owner_user_id
        if isinstance(asked.media_url, str) and self.media is None:
            raise RecordingNeeded(asked.media_url)
        if self.has_precondition:
            raise Stale(None)
        contacts, unknown = self._contacts(work, users, known)
        owner = UNSET if owner_id is None else ids.encoded(ids.USER, owner_id)
        start_at = work.at if asked.start_at is UNSET else fields.parsed_time(asked.start_at)
        assert start_at is not None, "the body's rules refuse a malformed time"
        engagement = Engagement(
            object=EngagementObject.ENGAGEMENT,
            id=ids.encoded(ids.ENGAGEMENT, self.engagement_id),
            title=asked.title,
            engagement_type=EngagementType(asked.type),
            processing_status=ProcessingStatus.COMPLETED if asked.has_transcript else ProcessingStatus.PENDING,
            is_private=asked.is_private is True,
            created_at=work.time,
            updated_at=work.time,
            data_source=asked.source_system,
            engagement_at=shown_time(start_at),
            start_at=shown_time(start_at),
            external_url=asked.external_url,
            owner_user_id=owner,
            host_user_id=owner,
        )
        company_ids = dict.fromkeys(contact.company_id for contact in contacts if contact.company_id is not None)
        details = Details(
            source_system=asked.source_system,
            external_id=asked.external_id,
            created_by=str(self.created_by),
            run_workflows=None if asked.run_workflows is UNSET else asked.run_workflows,
            participants=() if asked.participants is UNSET else asked.participants,
            media=self.media,
            contact_ids=tuple(ids.encoded(ids.CONTACT, contact.id) for contact in contacts),
            company_ids=tuple(ids.encoded(ids.COMPANY, company_id) for company_id in company_ids),
        )
        timeline = None if asked.transcript_timeline is UNSET else asked.transcript_timeline
        duration = self.duration_seconds if self.duration_seconds is not None else timeline and timeline.duration_seconds
        engagement = _lasting(engagement, start_at, duration)
        entry = EngagementEntry.of(engagement, details)
        ENGAGEMENT.claim(work, self.engagement_id, None, entry)
        result = created(work, ENGAGEMENT, self.engagement_id, entry)
        if asked.has_transcript:
            _put_transcript(work, engagement, self.engagement_id, None, timeline, asked.transcript)
        if unknown:
            return Result(result.version, msgspec.structs.replace(engagement, unknown_participants=tuple(unknown)))
        return result

    def _contacts(
        self, work: UnitOfWork, users: Mapping[str, UUID], known: Mapping[str, ContactRow]
    ) -> tuple[list[ContactRow], list[UnknownParticipant]]:
        """Return the contacts of the participants who are not users, each once, and the unknown participants."""
        found: dict[str, ContactRow] = {}
        unknown: list[UnknownParticipant] = []
        for index, participant in enumerate(self.fields.participants or ()):
            known_by = handles(participant, self.region)
            if not users.keys().isdisjoint(known_by):
                continue
            if (contact := _contact_of(work, participant, self.region, found, known)) is not None:
                found |= dict.fromkeys(known_by, contact)
            elif participant.phone is not None and participant.email is None:
                unknown.append(UnknownParticipant(index, participant.phone))
        return list({contact.id: contact for contact in found.values()}.values()), unknown


def _contact_of(
    work: UnitOfWork,
    participant: Participant,
    region: str | None,
    found: Mapping[str, ContactRow],
    known: Mapping[str, ContactRow],
) -> ContactRow | None:
    """Return the contact of a participant, new if need be. None for rooms and for numbers without a country."""
    known_by = handles(participant, region)
    holder = known.get(_address(participant) or "")
    holder = holder or next((found[handle] for handle in known_by if handle in found), None)
    holder = holder or next((known[handle] for handle in known_by if handle in known), None)
    if holder is not None:
        return holder
    address = _address(participant)
    if address is not None and is_of_a_room(address):
        return None
    number = None if participant.phone is None else known_number(participant.phone, region)
    if participant.email is None and number is None:
        return None
    # A number that only this workspace's region or a telephone system makes complete is kept in its complete form.
    phone = participant.phone if number is None or (participant.phone or "").startswith("+") else number
    name = person_name(participant.name or "")
    new = ContactCreate(
        first_name=name.first or UNSET,
        last_name=name.last or UNSET,
        emails=UNSET if participant.email is None else (ContactRecordUpdateEmail(participant.email),),
        phone_numbers=UNSET if phone is None else (ContactRecordUpdatePhoneNumber(phone),),
    )
    created = CreateContact(new).apply(work).answer
    assert isinstance(created, Contact), "the command creates a contact"
    contact = work.get(CONTACTS, ids.decoded(ids.CONTACT, created.id))
    assert contact is not None, "the command has just written it"
    return contact


class ReplaceContacts(msgspec.Struct, frozen=True, kw_only=True):
    """Replace the contacts of an engagement. Refusals: NotFound, Forbidden, Stale, Invalid (contact_ids)."""

    engagement_id: UUID
    contact_ids: tuple[str, ...]
    private_scopes: frozenset[str]
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(ENGAGEMENTS, self.engagement_id)
        for contact_id in ids.decoded_all(ids.CONTACT, self.contact_ids):
            yield Need(CONTACTS, contact_id)

    def apply(self, work: UnitOfWork) -> Result:
        found = [ids.decoded(ids.CONTACT, text) for text in self.contact_ids]
        rows = all_active(work, CONTACTS, found)
        _refuse_unknown("contact_ids", "contact", self.contact_ids, rows)
        before = writable(work, self.engagement_id, self.private_scopes, self.if_version)
        companies = dict.fromkeys(row.object.company.id for row in rows if row is not None and row.object.company is not UNSET)
        details = msgspec.structs.replace(
            before.details,
            contact_ids=_with_deleted(work, CONTACT, before.details.contact_ids, self.contact_ids),
            company_ids=tuple(companies),
        )
        return updated(work, ENGAGEMENT, before, EngagementEntry.of(before.object, details))


class ReplaceTags(msgspec.Struct, frozen=True, kw_only=True):
    """Replace the tags of an engagement. Refusals: NotFound, Forbidden, Stale, Invalid (tag_ids)."""

    engagement_id: UUID
    tag_ids: tuple[str, ...]
    private_scopes: frozenset[str]
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(ENGAGEMENTS, self.engagement_id)
        for tag_id in ids.decoded_all(ids.TAG, self.tag_ids):
            yield Need(TAGS, tag_id)

    def apply(self, work: UnitOfWork) -> Result:
        found = all_active(work, TAGS, [ids.decoded(ids.TAG, text) for text in self.tag_ids])
        _refuse_unknown("tag_ids", "tag", self.tag_ids, found)
        before = writable(work, self.engagement_id, self.private_scopes, self.if_version)
        tag_ids = _with_deleted(work, TAG, before.details.tag_ids, self.tag_ids)
        details = msgspec.structs.replace(before.details, tag_ids=tag_ids)
        return updated(work, ENGAGEMENT, before, EngagementEntry.of(before.object, details))


def _with_deleted(work: UnitOfWork, linked: ObjectType[Any, Any], had: Sequence[str], asked: Sequence[str]) -> tuple[str, ...]:
    """Return the links that a request asks for, each once, with those of an engagement to deleted objects.

    No answer shows the latter, so the request cannot have meant to take them away; the engagement has them again once the
    objects are restored. The limit counts them. Refusal: Invalid (`contact_ids` or `tag_ids`).
    """
    wanted = tuple(dict.fromkeys(asked))
    others = [each for each in had if each not in wanted]
    rows = work.get_all(
        linked.table, [object_id for each in others if (object_id := ids.decoded(linked.prefix, each)) is not None]
    )
    deleted = {ids.encoded(linked.prefix, row.id) for row in rows if row is not None and _comes_back(row)}
    if wanted == tuple(each for each in had if each not in deleted):
        return tuple(had)
    links = (*wanted, *(each for each in others if each in deleted))
    if len(links) > MAX_LINKS:
        name = f"{linked.name}_ids"
        message = f"`{name}` would have {len(links)} items, with those of deleted {linked.plural}. "
        message += f"Send fewer: {MAX_LINKS} is the limit."
        raise Invalid([FieldError(name, "too_long", message)])
    return links


def _comes_back(row: ObjectRow) -> bool:
    """Whether a restoration can bring an object back; one that was merged passes its links to the one that replaces it."""
    return row.deleted_at is not None and getattr(row, "merged_into", None) is None


class SetTimeline(msgspec.Struct, frozen=True, kw_only=True):
    """Set the transcript timeline of an engagement, which completes it. Refusals: NotFound, Forbidden, Stale."""

    engagement_id: UUID
    timeline: TimelineRequest
    private_scopes: frozenset[str]
    if_version: frozenset[int] | None = None
    has_precondition: bool = False

    def needs(self) -> Iterator[Need]:
        yield Need(ENGAGEMENTS, self.engagement_id)
        yield Need(TRANSCRIPTS, self.engagement_id)

    def apply(self, work: UnitOfWork) -> Result:
        before = writable(work, self.engagement_id, self.private_scopes, None)
        shown = before.object
        transcript = active(work, TRANSCRIPTS, self.engagement_id)
        current_version = None if transcript is None or transcript.object is None else transcript.version
        if self.if_version is not None and current_version not in self.if_version:
            raise Stale(current_version)
        if self.has_precondition and current_version is None:
            raise Stale(None)
        after = msgspec.structs.replace(shown, processing_status=ProcessingStatus.COMPLETED)
        if shown.duration_seconds is UNSET:
            after = _lasting(after, before.start_at, self.timeline.duration_seconds)
        completed = updated(work, ENGAGEMENT, before, EngagementEntry.of(after, before.details)).answer
        assert isinstance(completed, Engagement), "the command updates an engagement"
        version = _put_transcript(work, completed, self.engagement_id, transcript, self.timeline, UNSET)
        return Result(version, Timeline.of(shown.id, self.timeline))


REMOVE_COMMENTS: Final = Task("uncomment", ENGAGEMENTS.name)


class EngagementComments(Protocol):
    """The comments on engagements. This package must not import comments, so they implement this protocol."""

    def needs(self, engagement_id: UUID) -> Iterator[Need]:
        """Yield the need for an engagement's comments, at most as many as a batch should change."""
        ...

    def delete(self, work: UnitOfWork, engagement_id: UUID) -> bool:
        """Delete these comments, each by a change of its own. Return whether these were all of them."""
        ...


class DeleteEngagement(msgspec.Struct, frozen=True, kw_only=True):
    """Delete an engagement with its transcript and its comments. Refusals: NotFound, Forbidden, Stale.

    If the engagement has more comments than a batch should change, `DeleteComments` deletes the rest. The recording stays as
    long as the deletion can be undone.
    """

    engagement_id: UUID
    comments: EngagementComments
    private_scopes: frozenset[str]
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(ENGAGEMENTS, self.engagement_id)
        yield Need(TRANSCRIPTS, self.engagement_id)
        yield from self.comments.needs(self.engagement_id)

    def apply(self, work: UnitOfWork) -> Result:
        before = writable(work, self.engagement_id, self.private_scopes, self.if_version)
        if not self.comments.delete(work, self.engagement_id):
            note(work, REMOVE_COMMENTS, self.engagement_id, is_finished=False)
        transcript = active(work, TRANSCRIPTS, self.engagement_id)
        if transcript is not None:
            last = msgspec.structs.replace(transcript.entry, engagement=before.object)
            deleted(work, TRANSCRIPT, transcript, last=last)
        return deleted(work, ENGAGEMENT, before)


class DeleteComments(msgspec.Struct, frozen=True):
    """Delete some of the comments that a deleted engagement still has."""

    engagement_id: UUID
    comments: EngagementComments

    def needs(self) -> Iterator[Need]:
        yield Need(ENGAGEMENTS, self.engagement_id)
        yield from self.comments.needs(self.engagement_id)

    def apply(self, work: UnitOfWork) -> Result:
        # The deletion may have been undone since.
        engagement = work.get(ENGAGEMENTS, self.engagement_id)
        is_deleted = engagement is not None and engagement.deleted_at is not None
        is_finished = not is_deleted or self.comments.delete(work, self.engagement_id)
        if is_finished:
            note(work, REMOVE_COMMENTS, self.engagement_id, is_finished=True)
        return Result(work.seq, SliceDone(all=is_finished))


class Handles(NamedTuple):
    """The comparable addresses and numbers by which people are recognised."""

    addresses: list[str]
    numbers: list[str]


def handles_of(engagement: EngagementCreate, region: str | None) -> Handles:
    """Return the addresses and numbers of all participants."""
    participants = engagement.participants or ()
    return Handles(
        [address for each in participants if (address := _address(each)) is not None],
        [key for each in participants for key in _numbers(each, region)],
    )


def handles(participant: Participant, region: str | None) -> list[str]:
    """Return the address of a participant, and everything that the number may be, as far as they are given."""
    address = _address(participant)
    return [*([] if address is None else [address]), *_numbers(participant, region)]


def owner_among(participants: Sequence[Participant], users: Mapping[str, UUID], region: str | None) -> UUID | None:
    """Return the user of the participant that is marked as owner, by the active users. Refusal: Invalid if it is none."""
    for index, participant in enumerate(participants):
        if participant.is_owner:
            owner = next((users[handle] for handle in handles(participant, region) if handle in users), None)
            if owner is None:
                place = f"participants[{index}]"
                message = (
                    f"`{place}` is marked as owner, but is not an active user. Send the `email` or `phone` of an active user."
                )
                raise Invalid([FieldError(place, "not_found", message)])
            return owner
    return None


def writable(
    work: UnitOfWork, engagement_id: UUID, private_scopes: frozenset[str], if_version: frozenset[int] | None
) -> EngagementRow:
    """Return an engagement that a caller with these private scopes may change.

    Refusals: NotFound, also for a private one that the caller may not read; Forbidden for one that it may only read; Stale.
    """
    row = current(work, ENGAGEMENTS, engagement_id, None, "engagement")
    if row.is_private and PRIVATE_WRITE not in private_scopes:
        raise Forbidden(PRIVATE_WRITE) if PRIVATE_READ in private_scopes else NotFound("engagement")
    return current(work, ENGAGEMENTS, engagement_id, if_version, "engagement")


def _address(participant: Participant) -> str | None:
    return None if participant.email is None else comparable_address(participant.email.strip())


def _numbers(participant: Participant, region: str | None) -> tuple[str, ...]:
    return () if participant.phone is None else number_keys(participant.phone, region)


def _refuse_unknown(path: str, kind: str, shown_ids: Sequence[str], found: list[Any]) -> None:
    errors = [
        FieldError(
            f"{path}[{index}]", "not_found", f"`{path}[{index}]` names no {kind} of this workspace. Leave it out.", shown_id
        )
        for index, (shown_id, row) in enumerate(zip(shown_ids, found, strict=True))
        if row is None
    ]
    if errors:
        raise Invalid(errors)


def _lasting(engagement: Engagement, start_at: datetime, seconds: float | None) -> Engagement:
    if seconds is None:
        return engagement
    end_at = UNSET
    with contextlib.suppress(OverflowError):  # at the end of the calendar
        end_at = shown_time(start_at + timedelta(seconds=seconds))
    return msgspec.structs.replace(engagement, end_at=end_at, duration_seconds=int(seconds + 0.5))


def _put_transcript(
    work: UnitOfWork,
    engagement: Engagement,
    engagement_id: UUID,
    before: TranscriptRow | None,
    timeline: TimelineRequest | None,
    text: str | UnsetType,
) -> int:
    """Set the transcript of an engagement: the timeline, and the plain text, by default made from the timeline."""
    timeline_id = None if before is None else before.timeline_id
    if timeline is not None and timeline_id is None:
        timeline_id = ids.new_id()
    entry = TranscriptEntry(
        timeline_id=None if timeline_id is None else ids.encoded(ids.TRANSCRIPT_TIMELINE, timeline_id),
        text=(timeline.as_text() if timeline is not None else "") if text is UNSET else text,
        timeline=None if timeline is None else Timeline.of(engagement.id, timeline),
        engagement=engagement,
    )
    if before is None:
        return created(work, TRANSCRIPT, engagement_id, entry).version
    if entry == msgspec.structs.replace(before.entry, engagement=engagement):
        return before.version
    return updated(work, TRANSCRIPT, before, entry).version
