"""The commands that change tags."""

from collections.abc import Iterator
from typing import Final
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.errors import Stale
from herdbook.ledger.book import Book, Need, Result
from herdbook.ledger.changes import Kind
from herdbook.ledger.objects import Subject, claim, created, current, deleted, updated
from herdbook.tags.model import Tag, TagCreate, TagObject, TagUpdate, comparable_name, patched
from herdbook.tags.store import TAG_NAMES, TAGS, TagRow


class CreateTag(msgspec.Struct, frozen=True):
    """Create a tag. Refusals: Stale if a version is required, Taken."""

    fields: TagCreate
    has_precondition: bool = False

    def needs(self) -> Iterator[Need]:
        yield from TAG_NAMES.needs([comparable_name(self.fields.name)])

    def apply(self, book: Book) -> Result:
        if self.has_precondition:
            raise Stale(None)
        tag_id = ids.new_id()
        blank = Tag(object=TagObject.TAG, id=ids.encoded(ids.TAG, tag_id), name="", created_at=book.time, updated_at=book.time)
        tag = patched(blank, self.fields)
        claim(book, TAG, tag_id, None, tag)
        return created(book, TAG, tag_id, tag)


class UpdateTag(msgspec.Struct, frozen=True):
    """Change some fields of a tag. Refusals: NotFound, Stale, Taken."""

    tag_id: UUID
    patch: TagUpdate
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(TAGS, self.tag_id)
        if self.patch.name is not UNSET:
            yield from TAG_NAMES.needs([comparable_name(self.patch.name)])

    def apply(self, book: Book) -> Result:
        before = current(book, TAGS, self.tag_id, self.if_version, "tag")
        after = patched(before.object, self.patch)
        claim(book, TAG, self.tag_id, before.object, after)
        return updated(book, TAG, before, after)


class DeleteTag(msgspec.Struct, frozen=True):
    """Delete a tag, and free its name. Refusals: NotFound, Stale."""

    tag_id: UUID
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(TAGS, self.tag_id)

    def apply(self, book: Book) -> Result:
        return deleted(book, TAG, current(book, TAGS, self.tag_id, self.if_version, "tag"))


def _row(book: Book, tag_id: UUID, version: int, _: TagRow | None, after: Tag) -> TagRow:
    return TagRow(workspace_id=book.workspace_id, id=tag_id, version=version, updated_at=book.at, deleted_at=None, object=after)


TAG: Final = Subject(
    kind=Kind.TAG,
    name="tag",
    prefix=ids.TAG,
    table="tag",
    shelf=TAGS,
    entry=Tag,
    row=_row,
    entered=lambda row: row.object,
    read_scopes=Tag.read_scopes,
    write_scope="tags:write",
    claimants=TAG_NAMES,
    claimed=lambda tag: [comparable_name(tag.name)],
    place=lambda _: "name",
)
