"""The references between objects, which an undo must not break.

A contact refers to its company and its tags, a company to its tags. Once merged, a contact or a company refers to the one that
replaces it. An engagement refers to contacts, companies and tags. A transcript refers to its engagement, and to the fact that
it is completed. A comment refers to its engagement and to its timeline. A note refers to the contact or the company that it is
on. References to users are left out, because users always exist.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias
from uuid import UUID

from msgspec import UNSET, UnsetType

from herdbook import ids
from herdbook.companies.model import CompanyRecord
from herdbook.companies.store import COMPANY
from herdbook.contacts.model import Contact, ContactRecord
from herdbook.contacts.store import CONTACT
from herdbook.engagements.model import EngagementEntry, ProcessingStatus, TranscriptEntry
from herdbook.engagements.store import ENGAGEMENT, TRANSCRIPT
from herdbook.ledger.object_types import ObjectType
from herdbook.notes.model import Note
from herdbook.notes.store import place_of
from herdbook.tags.store import TAG
from herdbook.transcript_comments.model import TranscriptComment

# The target of a reference. A transcript under its timeline's id is the timeline; under its engagement's id, the fact that
# the engagement is completed.
ObjectKey: TypeAlias = tuple[ObjectType[Any, Any], UUID]


def named(  # noqa: PLR0911  # one for each type
    object_type: ObjectType[Any, Any], object_id: UUID, state: Any, merged_into: UUID | None = None
) -> set[ObjectKey]:
    """Return the references of an object. The state None is that of a missing object, which may have been merged."""
    match state:
        case None:
            return _places(object_type, merged_into)
        case ContactRecord() | CompanyRecord():
            return _places(COMPANY, company_of(state)) | _tags(state.tag_ids)
        case EngagementEntry(details=details):
            return {
                *((CONTACT, each) for each in ids.decoded_all(ids.CONTACT, details.contact_ids)),
                *((COMPANY, each) for each in ids.decoded_all(ids.COMPANY, details.company_ids)),
                *_tags(details.tag_ids),
            }
        case TranscriptEntry():
            return {(ENGAGEMENT, object_id), (TRANSCRIPT, object_id)}
        case TranscriptComment():
            timeline_id = ids.decoded(ids.TRANSCRIPT_TIMELINE, state.transcript_timeline_id)
            return _places(ENGAGEMENT, engagement_of(state)) | _places(TRANSCRIPT, timeline_id)
        case Note():
            return {place_of(state)}
        case _:
            return set()


def provided(object_type: ObjectType[Any, Any], object_id: UUID, state: Any) -> set[ObjectKey]:
    """Return the targets that an object offers to references in some state."""
    match state:
        case None:
            return set()
        case TranscriptEntry():
            timeline_id = ids.decoded(ids.TRANSCRIPT_TIMELINE, state.timeline_id or "")
            return set() if state.timeline is None else _places(object_type, timeline_id)
        case EngagementEntry(processing_status=ProcessingStatus.COMPLETED):
            return {(object_type, object_id), (TRANSCRIPT, object_id)}
        case _:
            return {(object_type, object_id)}


def company_of(state: Any) -> UUID | None:
    """Return the company of a contact, or None for another object or a contact without a company."""
    return ids.decoded(ids.COMPANY, state.company.id) if isinstance(state, Contact) and state.company is not UNSET else None


def engagement_of(state: Any) -> UUID | None:
    """Return the engagement of a comment, or None for another object."""
    return ids.decoded(ids.ENGAGEMENT, state.engagement_id) if isinstance(state, TranscriptComment) else None


def _tags(tag_ids: Sequence[str] | UnsetType) -> set[ObjectKey]:
    return {(TAG, each) for each in ids.decoded_all(ids.TAG, tag_ids or ())}


def _places(object_type: ObjectType[Any, Any], object_id: UUID | None) -> set[ObjectKey]:
    return set() if object_id is None else {(object_type, object_id)}
