"""Every SQL statement about tags."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.db.database import Database, Found, find_in
from herdbook.db.paging import Conditions, Listed, PageQuery
from herdbook.db.pool import Pool
from herdbook.ledger.claims import Claimants, claim_shelf
from herdbook.ledger.objects import object_shelf
from herdbook.tags.model import Tag


class TagRow(msgspec.Struct, frozen=True, kw_only=True):
    """A tag's row."""

    workspace_id: UUID
    id: UUID
    version: int
    updated_at: datetime
    deleted_at: datetime | None
    object: Tag


TAGS: Final = object_shelf(TagRow, "tag", {})
TAG_NAMES: Final = Claimants(claim_shelf("tag_name", "name", "tag_id"), "tag", ids.TAG, "tags:read")


async def find(database: Database, workspace_id: UUID, tag_id: UUID) -> Found | None:
    """Return an active tag as the API shows it, with its version."""
    return await database.find(find_in("tag"), workspace_id, tag_id)


async def page(pool: Pool, workspace_id: UUID, query: PageQuery) -> list[Listed]:
    """Return the tags of a page, and one more if there is a next page."""
    return await Conditions(workspace_id, query).fetch(pool, "tag")
