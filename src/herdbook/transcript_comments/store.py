"""The type of transcript comments, with its table, and every SQL statement about them."""

from typing import Any, Final, Self
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.db.database import Database, ObjectRead, find_in
from herdbook.db.paging import ListQuery, ListRow, PageQuery
from herdbook.db.pool import PagePool
from herdbook.engagements.store import ENGAGEMENT, TRANSCRIPT
from herdbook.ledger.object_types import ObjectRow, ObjectType, object_table
from herdbook.ledger.unit_of_work import Table
from herdbook.transcript_comments.model import TranscriptComment


class TranscriptCommentRow(ObjectRow, frozen=True, kw_only=True):
    """A comment's row."""

    engagement_id: UUID
    object: TranscriptComment

    @classmethod
    def columns(cls, before: Self | None, after: TranscriptComment) -> dict[str, Any]:  # noqa: ARG003  # all is in the comment
        return {"engagement_id": ids.decoded(ids.ENGAGEMENT, after.engagement_id) or ids.NIL}


TRANSCRIPT_COMMENTS: Final = object_table(TranscriptCommentRow, "transcript_comment", {"engagement_id": "uuid"})
TRANSCRIPT_COMMENT: Final = ObjectType(
    kind="n",
    name="transcript_comment",
    plural="transcript_comments",
    prefix=ids.TRANSCRIPT_COMMENT,
    table=TRANSCRIPT_COMMENTS,
    entry=TranscriptComment,
    example=TranscriptComment.example,
    refers_to=(ENGAGEMENT, TRANSCRIPT),
    read_scopes=TranscriptComment.read_scopes,
    write_scopes=("transcript_comments:write",),
    is_public="""coalesce((
        select not e.is_private
        from transcript_comment n join engagement e on e.workspace_id = n.workspace_id and e.id = n.engagement_id
        where n.workspace_id = change.workspace_id and n.id = change.object_id
    ), object ->> 'erased' = 'true')""",
)


# Limits how many comments a batch deletes with their engagement.
MAX_DELETED_COMMENTS: Final = 500


class FirstComments(msgspec.Struct, frozen=True):
    """The first comments on an engagement; as many as a batch deletes if there are more."""

    workspace_id: UUID
    engagement_id: UUID
    comment_ids: tuple[UUID, ...]


FIRST_COMMENTS: Final = Table(
    row=FirstComments,
    key=lambda found: found.engagement_id,
    load="""
        select asked.workspace_id, asked.key as engagement_id, array(
            select n.id from transcript_comment n
            where n.workspace_id = asked.workspace_id and n.engagement_id = asked.key and n.deleted_at is null
            limit 500
        ) as comment_ids
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
    """,
    save=None,
)


async def find(database: Database, workspace_id: UUID, comment_id: UUID) -> ObjectRead | None:
    """Return an active comment as the API shows it, with its version, and with its engagement's id in `more`."""
    return await database.find(find_in("transcript_comment", ", c.engagement_id"), workspace_id, comment_id)


async def page(pool: PagePool, workspace_id: UUID, query: PageQuery, engagement_id: UUID) -> list[ListRow]:
    """Return the comments of a page about one engagement, and one more if there is a next page."""
    conditions = ListQuery(workspace_id, query)
    conditions.add("c.engagement_id = $value", engagement_id)
    return await conditions.fetch(pool, "transcript_comment")
