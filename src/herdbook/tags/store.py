"""The type of tags, with its tables, and every SQL statement about them."""

from typing import Final
from uuid import UUID

from herdbook import ids
from herdbook.db.paging import ListQuery, ListRow, PageQuery
from herdbook.db.pool import Pool
from herdbook.ledger.claims import UniqueKey, claim_table
from herdbook.ledger.object_types import Events, HistoryNotes, ObjectRow, ObjectType, object_table
from herdbook.tags.model import Tag, TagObject, comparable_name


class TagRow(ObjectRow, frozen=True, kw_only=True):
    """A tag's row."""

    object: Tag


TAGS: Final = object_table(TagRow, "tag", {})
TAG_NAMES: Final = UniqueKey[Tag](
    claim_table("tag_name", "name", "tag_id"),
    # Only a blank tag has no name.
    keys=lambda tag: [comparable_name(tag.name)] if tag.name else [],
    field_path=lambda _, __: "name",
)
TAG: Final = ObjectType(
    kind="t",
    name="tag",
    plural="tags",
    prefix=ids.TAG,
    table=TAGS,
    entry=Tag,
    example=Tag.example,
    unique_keys=(TAG_NAMES,),
    read_scopes=Tag.read_scopes,
    write_scopes=("tags:write",),
    events=Events.of_changes("tag", example_previous={"hex_color": None}),
    blank=lambda tag_id, time: Tag(object=TagObject.TAG, id=tag_id, name="", created_at=time, updated_at=time),
    history=HistoryNotes(restoring="Engagements that had the tag have it again."),
)


async def page(pool: Pool, workspace_id: UUID, query: PageQuery) -> list[ListRow]:
    """Return the tags of a page, and one more if there is a next page."""
    return await ListQuery(workspace_id, query).fetch(pool, "tag")
