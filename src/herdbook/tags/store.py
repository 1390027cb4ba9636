"""Every SQL statement about tags."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.db.database import Database, ObjectRead, find_in
from herdbook.db.paging import ListQuery, ListRow, PageQuery
from herdbook.db.pool import Pool
from herdbook.ledger.claims import UniqueKey, claim_table
from herdbook.ledger.object_types import object_table
from herdbook.tags.model import Tag


class TagRow(msgspec.Struct, frozen=True, kw_only=True):
    """A tag's row."""

    workspace_id: UUID
    id: UUID
    version: int
    updated_at: datetime
    deleted_at: datetime | None
    object: Tag


TAGS: Final = object_table(TagRow, "tag", {})
TAG_NAMES: Final = UniqueKey(claim_table("tag_name", "name", "tag_id"), "tag", ids.TAG, "tags:read")


async def find(database: Database, workspace_id: UUID, tag_id: UUID) -> ObjectRead | None:
    """Return an active tag as the API shows it, with its version."""
    return await database.find(find_in("tag"), workspace_id, tag_id)


async def page(pool: Pool, workspace_id: UUID, query: PageQuery) -> list[ListRow]:
    """Return the tags of a page, and one more if there is a next page."""
    return await ListQuery(workspace_id, query).fetch(pool, "tag")
