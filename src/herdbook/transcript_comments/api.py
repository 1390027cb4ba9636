"""The operations of /v2/transcript_comments, and of the comments of an engagement."""

from typing import Final
from uuid import UUID

from herdbook.engagements.api import visible
from herdbook.engagements.commands import PRIVATE_READ
from herdbook.errors import NotFound
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


async def list_comments(call: Call, engagement_id: UUID) -> Answer:
    """List the comments on the transcript of one engagement."""
    query = call.page_query()
    await visible(call, engagement_id)
    rows = await store.page(call.services.database.pages, call.caller.workspace_id, query, engagement_id)
    return call.answer_page(rows, query)


async def create_comment(call: Call, engagement_id: UUID, comment: TranscriptCommentCreate) -> Answer:
    """Comment on the transcript of one engagement."""
    command = CreateTranscriptComment(
        engagement_id=engagement_id,
        fields=comment,
        user_id=call.caller.user_id,
        sees_private=call.caller.may(PRIVATE_READ),
        has_precondition=call.has_precondition,
    )
    return await call.write(command)


async def get_comment(call: Call, transcript_comment_id: UUID) -> Answer:
    """Read one comment."""
    found = await store.find(call.services.database, call.caller.workspace_id, transcript_comment_id)
    if found is None:
        raise NotFound("transcript comment")
    try:
        await visible(call, found.more[0])
    except NotFound:
        raise NotFound("transcript comment") from None
    return answer_found(found, "transcript comment")


async def update_comment(call: Call, transcript_comment_id: UUID, patch: TranscriptCommentUpdate) -> Answer:
    """Change the text of one comment, or resolve it."""
    command = UpdateTranscriptComment(
        comment_id=transcript_comment_id,
        sees_private=call.caller.may(PRIVATE_READ),
        patch=patch,
        user_id=call.caller.user_id,
        if_version=call.if_version,
    )
    return await call.write(command)


async def delete_comment(call: Call, transcript_comment_id: UUID) -> Answer:
    """Delete one comment."""
    command = DeleteTranscriptComment(
        comment_id=transcript_comment_id, sees_private=call.caller.may(PRIVATE_READ), if_version=call.if_version
    )
    return await call.write(command)


_TAG: Final = "subpackage_transcriptComments"
_READ: Final = ("engagements:read", "transcript_comments:read")
_WRITE: Final = ("engagements:read", "transcript_comments:write")

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v2/engagements/{engagement_id}/transcript_comments",
        id="list-engagement-transcript-comments",
        summary="List engagement transcript comments",
        description="Lists the comments on the transcript of an engagement.",
        tag=_TAG,
        scopes=_READ,
        handler=list_comments,
        answer=TranscriptComment,
        answer_description="Transcript comment list response.",
        list_of=ListOf(),
    ),
    Operation(
        method="POST",
        path="/v2/engagements/{engagement_id}/transcript_comments",
        id="create-engagement-transcript-comment",
        summary="Create engagement transcript comment",
        description="Comments on the transcript timeline of an engagement.",
        tag=_TAG,
        scopes=_WRITE,
        handler=create_comment,
        body=TranscriptCommentCreate,
        answer=TranscriptComment,
        answer_description="Created transcript comment response.",
        status=201,
    ),
    Operation(
        method="GET",
        path="/v2/transcript_comments/{transcript_comment_id}",
        id="get-transcript-comment",
        summary="Get transcript comment",
        description="Reads a single transcript comment.",
        tag=_TAG,
        scopes=_READ,
        handler=get_comment,
        answer=TranscriptComment,
        answer_description="Transcript comment response.",
    ),
    Operation(
        method="PATCH",
        path="/v2/transcript_comments/{transcript_comment_id}",
        id="update-transcript-comment",
        summary="Update transcript comment",
        description="Changes the text of a transcript comment, or resolves it.",
        tag=_TAG,
        scopes=_WRITE,
        handler=update_comment,
        body=TranscriptCommentUpdate,
        answer=TranscriptComment,
        answer_description="Updated transcript comment response.",
    ),
    Operation(
        method="DELETE",
        path="/v2/transcript_comments/{transcript_comment_id}",
        id="delete-transcript-comment",
        summary="Delete transcript comment",
        description="Deletes a single transcript comment.",
        tag=_TAG,
        scopes=_WRITE,
        handler=delete_comment,
        answer=Deleted,
        answer_description="Deleted transcript comment response.",
    ),
)
