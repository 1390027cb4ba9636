"""The commands that change transcript comments."""

from collections.abc import Iterator
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.engagements.store import ENGAGEMENTS, TRANSCRIPTS
from herdbook.errors import FieldError, Invalid, NotFound, Stale
from herdbook.ledger.object_types import active, all_active, created, current, deleted, updated
from herdbook.ledger.unit_of_work import Need, Result, UnitOfWork
from herdbook.transcript_comments.model import (
    TranscriptComment,
    TranscriptCommentCreate,
    TranscriptCommentObject,
    TranscriptCommentStatus,
    TranscriptCommentUpdate,
    patched,
)
from herdbook.transcript_comments.store import (
    FIRST_COMMENTS,
    MAX_DELETED_COMMENTS,
    TRANSCRIPT_COMMENT,
    TRANSCRIPT_COMMENTS,
    TranscriptCommentRow,
)


class CommentsOfEngagement:
    """The comments on engagements, for the deletion of an engagement."""

    def needs(self, engagement_id: UUID) -> Iterator[Need]:
        """Yield the need for the comments on an engagement."""
        yield Need(FIRST_COMMENTS, engagement_id)

    def delete(self, work: UnitOfWork, engagement_id: UUID) -> bool:
        """Delete the comments on an engagement, each by a change of its own. Return whether these were all of them."""
        found = work.get(FIRST_COMMENTS, engagement_id)
        assert found is not None, "an engagement without comments has a row, too"
        added = {row.id for row in work.changed_in(TRANSCRIPT_COMMENTS) if row.engagement_id == engagement_id}
        for row in all_active(work, TRANSCRIPT_COMMENTS, sorted(added.union(found.comment_ids))):
            if row is not None:
                deleted(work, TRANSCRIPT_COMMENT, row)
        return len(found.comment_ids) < MAX_DELETED_COMMENTS


class CreateTranscriptComment(msgspec.Struct, frozen=True, kw_only=True):
    """Comment on the timeline of an engagement.

    Refusals: NotFound, also for a private engagement that is hidden; Stale if a version is required; Invalid.
    """

    engagement_id: UUID
    fields: TranscriptCommentCreate
    user_id: UUID | None
    sees_private: bool
    has_precondition: bool = False

    def needs(self) -> Iterator[Need]:
        yield Need(ENGAGEMENTS, self.engagement_id)
        yield Need(TRANSCRIPTS, self.engagement_id)

    def apply(self, work: UnitOfWork) -> Result:
        engagement = active(work, ENGAGEMENTS, self.engagement_id)
        if engagement is None or (engagement.is_private and not self.sees_private):
            raise NotFound("engagement")
        timeline_id = self._timeline_id(work)
        if self.has_precondition:
            raise Stale(None)
        comment_id = ids.new_id()
        comment = TranscriptComment(
            object=TranscriptCommentObject.TRANSCRIPT_COMMENT,
            id=ids.encoded(ids.TRANSCRIPT_COMMENT, comment_id),
            engagement_id=engagement.object.id,
            transcript_timeline_id=timeline_id,
            body=self.fields.body.strip(),
            status=TranscriptCommentStatus.OPEN,
            created_at=work.time,
            updated_at=work.time,
            anchor=self.fields.anchor,
            created_by=UNSET if self.user_id is None else ids.encoded(ids.USER, self.user_id),
        )
        return created(work, TRANSCRIPT_COMMENT, comment_id, comment)

    def _timeline_id(self, work: UnitOfWork) -> str:
        transcript = active(work, TRANSCRIPTS, self.engagement_id)
        timeline = None if transcript is None else transcript.object
        timeline_id = None if transcript is None else transcript.timeline_id
        if timeline is None or timeline_id is None:
            message = "The engagement has no transcript timeline to comment on. Set its transcript timeline first."
            raise Invalid([FieldError("transcript_timeline_id", "not_found", message)])
        shown = ids.encoded(ids.TRANSCRIPT_TIMELINE, timeline_id)
        errors: list[FieldError] = []
        if self.fields.transcript_timeline_id not in (UNSET, shown):
            message = "`transcript_timeline_id` is not the timeline of this engagement. Leave it out to comment on that one."
            errors.append(FieldError("transcript_timeline_id", "not_found", message))
        anchor = self.fields.anchor
        if anchor is not UNSET and anchor.entry_index is not UNSET and anchor.entry_index >= len(timeline.entries):
            message = f"`anchor.entry_index` is none of the {len(timeline.entries)} entries, which count from 0."
            errors.append(FieldError("anchor.entry_index", "invalid_range", message))
        if errors:
            raise Invalid(errors)
        return shown


class _OfOne(msgspec.Struct, frozen=True, kw_only=True):
    """A command on an existing comment."""

    comment_id: UUID
    sees_private: bool
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(TRANSCRIPT_COMMENTS, self.comment_id)

    def current(self, work: UnitOfWork) -> TranscriptCommentRow:
        """Return an active comment on an active engagement that the caller may see. Refusals: NotFound, Stale."""
        row = active(work, TRANSCRIPT_COMMENTS, self.comment_id)
        engagement = None if row is None else active(work, ENGAGEMENTS, row.engagement_id)
        if engagement is None or (engagement.is_private and not self.sees_private):
            raise NotFound("transcript comment")
        return current(work, TRANSCRIPT_COMMENTS, self.comment_id, self.if_version, "transcript comment")


class UpdateTranscriptComment(_OfOne, frozen=True, kw_only=True):
    """Change the text of a comment, or resolve it. Refusals: NotFound, also on a private engagement that is hidden; Stale."""

    patch: TranscriptCommentUpdate
    user_id: UUID | None

    def apply(self, work: UnitOfWork) -> Result:
        before = self.current(work)
        user_id = None if self.user_id is None else ids.encoded(ids.USER, self.user_id)
        after = patched(before.object, self.patch, user_id, work.time)
        return updated(work, TRANSCRIPT_COMMENT, before, after)


class DeleteTranscriptComment(_OfOne, frozen=True, kw_only=True):
    """Delete a comment. Refusals: NotFound, also on a private engagement that is hidden; Stale."""

    def apply(self, work: UnitOfWork) -> Result:
        return deleted(work, TRANSCRIPT_COMMENT, self.current(work))
