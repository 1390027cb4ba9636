"""Every SQL statement about transcript comments."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from herdbook.db.database import Database, ObjectRead, find_in
from herdbook.db.paging import ListQuery, ListRow, PageQuery
from herdbook.db.pool import Pool
from herdbook.ledger.object_types import object_table
from herdbook.transcript_comments.model import TranscriptComment


class TranscriptCommentRow(msgspec.Struct, frozen=True, kw_only=True):
    """A comment's row."""

    workspace_id: UUID
    id: UUID
    version: int
    updated_at: datetime
    deleted_at: datetime | None
    engagement_id: UUID
    object: TranscriptComment


TRANSCRIPT_COMMENTS: Final = object_table(TranscriptCommentRow, "transcript_comment", {"engagement_id": "uuid"})


async def find(database: Database, workspace_id: UUID, comment_id: UUID) -> ObjectRead | None:
    """Return an active comment as the API shows it, with its version, and with its engagement's id in `more`."""
    return await database.find(find_in("transcript_comment", ", c.engagement_id"), workspace_id, comment_id)


async def page(pool: Pool, workspace_id: UUID, query: PageQuery, engagement_id: UUID) -> list[ListRow]:
    """Return the comments of a page about one engagement, and one more if there is a next page."""
    conditions = ListQuery(workspace_id, query)
    conditions.add("c.engagement_id = $value", engagement_id)
    return await conditions.fetch(pool, "transcript_comment")
