"""The operations of /v2/transcript_comments, and of the comments of an engagement."""

from typing import Final
from uuid import UUID

from herdbook import ids
from herdbook.engagements.api import visible
from herdbook.errors import Invalid, InvalidQuery, KeyReused, NotFound, Stale
from herdbook.http.call import Call, answer_found
from herdbook.http.operation import Answer, ListOf, Operation
from herdbook.shared_schemas import Deleted
from herdbook.transcript_comments import store
from herdbook.transcript_comments.commands import (
    CreateTranscriptComment,
    DeleteTranscriptComment,
    UpdateTranscriptComment,
)
from herdbook.transcript_comments.model import TranscriptComment, TranscriptCommentCreate, TranscriptCommentUpdate


async def list_comments(call: Call, engagement_id: str) -> Answer:
    """List the comments on the transcript of one engagement."""
    query = call.page_query()
    engagement = await visible(call, ids.decoded(ids.ENGAGEMENT, engagement_id) or ids.NIL)
    rows = await store.page(call.services.database.pages, call.caller.workspace_id, query, engagement.id)
    return call.answer_page(rows, query)


async def create_comment(call: Call, engagement_id: str, comment: TranscriptCommentCreate) -> Answer:
    """Comment on the transcript of one engagement."""
    engagement = await visible(call, ids.decoded(ids.ENGAGEMENT, engagement_id) or ids.NIL)
    command = CreateTranscriptComment(
        engagement_id=engagement.id,
        fields=comment,
        user_id=call.caller.user_id,
        has_precondition=call.has_precondition,
    )
    return await call.write(command)


async def get_comment(call: Call, transcript_comment_id: str) -> Answer:
    """Read one comment."""
    found = await store.find(call.services.database, call.caller.workspace_id, _comment_id(transcript_comment_id))
    if found is None:
        raise NotFound("transcript comment")
    await _require_visible(call, found.more[0])
    return answer_found(found, "transcript comment")


async def update_comment(call: Call, transcript_comment_id: str, patch: TranscriptCommentUpdate) -> Answer:
    """Change the text of one comment, or resolve it."""
    comment_id, engagement_id = await _visible_comment(call, transcript_comment_id)
    command = UpdateTranscriptComment(
        comment_id=comment_id,
        engagement_id=engagement_id,
        patch=patch,
        user_id=call.caller.user_id,
        if_version=call.if_version,
    )
    return await call.write(command)


async def delete_comment(call: Call, transcript_comment_id: str) -> Answer:
    """Delete one comment."""
    comment_id, engagement_id = await _visible_comment(call, transcript_comment_id)
    command = DeleteTranscriptComment(comment_id=comment_id, engagement_id=engagement_id, if_version=call.if_version)
    answer = await call.write(command)
    return answer._replace(version=None)


def _comment_id(text: str) -> UUID:
    return ids.decoded(ids.TRANSCRIPT_COMMENT, text) or ids.NIL


async def _visible_comment(call: Call, transcript_comment_id: str) -> tuple[UUID, UUID | None]:
    """Return the ids of a comment to change, and of its engagement. The latter is None if the comment is not found.

    The ledger decides then, because the comment may have been deleted by the request that this one repeats.
    """
    comment_id = _comment_id(transcript_comment_id)
    found = await store.find(call.services.database, call.caller.workspace_id, comment_id)
    if found is None:
        return comment_id, None
    await _require_visible(call, found.more[0])
    return comment_id, found.more[0]


async def _require_visible(call: Call, engagement_id: UUID) -> None:
    try:
        await visible(call, engagement_id)
    except NotFound:
        raise NotFound("transcript comment") from None


_TAG: Final = "subpackage_transcriptComments"
_READ: Final = ("engagements:read", "transcript_comments:read")
_WRITE: Final = ("engagements:read", "transcript_comments:write")
_READ_NEEDS: Final = "Requires the `engagements:read` and `transcript_comments:read` scopes."
_WRITE_NEEDS: Final = "Requires the `engagements:read` and `transcript_comments:write` scopes."

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v2/engagements/{engagement_id}/transcript_comments",
        id="list-engagement-transcript-comments",
        summary="List engagement transcript comments",
        description=f"Lists the comments on the transcript of an engagement. {_READ_NEEDS}",
        tag=_TAG,
        scopes=_READ,
        handler=list_comments,
        answer=TranscriptComment,
        answer_description="Transcript comment list response.",
        list_of=ListOf(),
        refusals=(InvalidQuery, NotFound),
    ),
    Operation(
        method="POST",
        path="/v2/engagements/{engagement_id}/transcript_comments",
        id="create-engagement-transcript-comment",
        summary="Create engagement transcript comment",
        description=f"Comments on the transcript timeline of an engagement. {_WRITE_NEEDS}",
        tag=_TAG,
        scopes=_WRITE,
        handler=create_comment,
        body=TranscriptCommentCreate,
        answer=TranscriptComment,
        answer_description="Created transcript comment response.",
        status=201,
        refusals=(NotFound, Stale, Invalid, KeyReused),
    ),
    Operation(
        method="GET",
        path="/v2/transcript_comments/{transcript_comment_id}",
        id="get-transcript-comment",
        summary="Get transcript comment",
        description=f"Reads a single transcript comment. {_READ_NEEDS}",
        tag=_TAG,
        scopes=_READ,
        handler=get_comment,
        answer=TranscriptComment,
        answer_description="Transcript comment response.",
        refusals=(NotFound,),
    ),
    Operation(
        method="PATCH",
        path="/v2/transcript_comments/{transcript_comment_id}",
        id="update-transcript-comment",
        summary="Update transcript comment",
        description=f"Changes the text of a transcript comment, or resolves it. {_WRITE_NEEDS}",
        tag=_TAG,
        scopes=_WRITE,
        handler=update_comment,
        body=TranscriptCommentUpdate,
        answer=TranscriptComment,
        answer_description="Updated transcript comment response.",
        refusals=(NotFound, Stale, Invalid, KeyReused),
    ),
    Operation(
        method="DELETE",
        path="/v2/transcript_comments/{transcript_comment_id}",
        id="delete-transcript-comment",
        summary="Delete transcript comment",
        description=f"Deletes a single transcript comment. {_WRITE_NEEDS}",
        tag=_TAG,
        scopes=_WRITE,
        handler=delete_comment,
        answer=Deleted,
        answer_description="Deleted transcript comment response.",
        refusals=(NotFound, Stale, KeyReused),
    ),
)
