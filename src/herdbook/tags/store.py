"""The type of tags, with its tables, and every SQL statement about them."""

from collections.abc import Sequence
from typing import Any, Final, TypeVar, cast
from uuid import UUID

import msgspec
from msgspec import UnsetType

from herdbook import ids
from herdbook.db.database import Database, ObjectRead, find_in
from herdbook.db.paging import ListQuery, ListRow, PageQuery
from herdbook.db.pool import Executor, PagePool
from herdbook.errors import FieldError, Invalid
from herdbook.fields import require_few
from herdbook.ledger.claims import UniqueKey, claim_table
from herdbook.ledger.object_types import Events, HistoryNotes, ObjectRow, ObjectType, all_active, object_table
from herdbook.ledger.unit_of_work import Need, UnitOfWork
from herdbook.search_text import folded
from herdbook.tags.model import Tag, TagObject, comparable_name

EntryT = TypeVar("EntryT", bound=msgspec.Struct)


class TagRow(ObjectRow, frozen=True, kw_only=True):
    """A tag's row."""

    object: Tag


TAGS: Final = object_table(TagRow, "tag", {})
_FIND: Final = find_in("tag")
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
    history=HistoryNotes(restoring="Engagements, contacts and companies that had the tag have it again."),
)


def tags_of(row: Any) -> tuple[str, ...]:
    """Return the tags of a row whose own members may name some."""
    return () if row.own is None else row.own.tag_ids or ()


def tag_needs(tag_ids: Sequence[str] | UnsetType | None) -> list[Need]:
    """Return the rows that a command must see to give an object these tags."""
    return [Need(TAGS, tag_id) for tag_id in ids.decoded_all(ids.TAG, tag_ids or ())]


def require_tags(work: UnitOfWork, tag_ids: Sequence[str] | UnsetType | None) -> None:
    """Refuse tags that do not exist. Refusal: Invalid (tag_ids)."""
    if not tag_ids:
        return
    asked = tag_ids
    found = all_active(work, TAGS, [ids.decoded(ids.TAG, text) for text in asked])
    errors = [
        FieldError(f"tag_ids[{index}]", "not_found", f"`tag_ids[{index}]` names no tag of this workspace. Leave it out.", text)
        for index, (text, row) in enumerate(zip(asked, found, strict=True))
        if row is None
    ]
    if errors:
        raise Invalid(errors)


def with_hidden_tags(work: UnitOfWork, before: EntryT, after: EntryT) -> EntryT:
    """Return an object whose tags a request has replaced, with the deleted ones that it had.

    No answer shows these, so the request cannot have meant to take them away; the object has them again once they are restored.
    The limit counts them. Refusal: Invalid (tag_ids).
    """
    had, asked = (cast("Any", each).tag_ids or () for each in (before, after))
    others = [each for each in had if each not in asked]
    found = all_active(work, TAGS, [ids.decoded(ids.TAG, each) for each in others])
    hidden = [each for each, row in zip(others, found, strict=True) if row is None]
    if not hidden:
        return after
    is_as_shown = asked == tuple(each for each in had if each not in hidden)
    tagged = msgspec.structs.replace(after, tag_ids=had if is_as_shown else (*asked, *hidden))
    require_few(tagged, ("tag_ids",), "object, deleted ones included,")
    return tagged


async def find_each(database: Database, workspace_id: UUID, tag_ids: Sequence[str]) -> list[ObjectRead | None]:
    """Return the tags with these ids, and None for those that do not exist."""
    return await database.find_each(_FIND, workspace_id, [ids.decoded(ids.TAG, each) or ids.NIL for each in tag_ids])


async def existing(statements: Executor, workspace_id: UUID, tag_ids: Sequence[str]) -> list[str]:
    """Return those of the tags that exist, in their order."""
    records = await statements.fetch(
        """
        select t.id from tag t
        where t.workspace_id = $1 and t.id = any($2) and coalesce(t.deleted_at, 'infinity') = 'infinity'
        """,
        workspace_id,
        ids.decoded_all(ids.TAG, tag_ids),
    )
    found = {ids.encoded(ids.TAG, record["id"]) for record in records}
    return [each for each in tag_ids if each in found]


async def found(statements: Executor, workspace_id: UUID, search: str, limit: int) -> list[Tag]:
    """Return the first tags by name that have each word of a search anywhere in their names, without case and accents."""
    words = search.split()
    records = await statements.fetch(
        """
        select t.object
        from tag_name n
        join tag t on t.workspace_id = n.workspace_id and t.id = n.tag_id
        where n.workspace_id = $1 and not exists (
            select from unnest($2::text[], $3::text[]) w (folded, comparable)
            where strpos(regexp_replace(normalize(n.name, nfkd), '[\\u0300-\\u036f]', '', 'g'), w.folded) = 0
                and strpos(n.name, w.comparable) = 0
        )
        order by n.name
        limit $4
        """,
        workspace_id,
        [folded(each) for each in words],
        [comparable_name(each) for each in words],
        limit,
    )
    return [msgspec.json.decode(record["object"], type=Tag) for record in records]


async def is_named(statements: Executor, workspace_id: UUID, name: str) -> bool:
    """Whether a tag has a name."""
    return await statements.fetchval(
        "select exists (select from tag_name n where n.workspace_id = $1 and n.name = $2)", workspace_id, comparable_name(name)
    )


async def page(pool: PagePool, workspace_id: UUID, query: PageQuery) -> list[ListRow]:
    """Return the tags of a page, and one more if there is a next page."""
    return await ListQuery(workspace_id, query).fetch(pool, "tag")
