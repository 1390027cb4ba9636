"""What can be done to tags: commands, applied to a book."""

from collections.abc import Iterator
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.errors import Stale
from herdbook.ledger.book import Book, Need, Result
from herdbook.ledger.changes import Action, Kind
from herdbook.ledger.objects import current, deleted, updated
from herdbook.tags.model import Tag, TagCreate, TagObject, TagUpdate, comparable_name, patched
from herdbook.tags.store import TAG_NAMES, TAGS, TagRow


class CreateTag(msgspec.Struct, frozen=True):
    """Create a tag. Refusals: Stale where a version is asked for, Taken."""

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
        _claim_name(book, tag_id, None, tag)
        version = book.enter(Kind.TAG, tag_id, Action.CREATED, None, tag)
        _put(book, tag_id, version, None, tag)
        return Result(version, tag)


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
        _claim_name(book, self.tag_id, before.object, after)
        return updated(book, Kind.TAG, before, after, _put)


class DeleteTag(msgspec.Struct, frozen=True):
    """Delete a tag, and free its name. Refusals: NotFound, Stale."""

    tag_id: UUID
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(TAGS, self.tag_id)

    def apply(self, book: Book) -> Result:
        before = current(book, TAGS, self.tag_id, self.if_version, "tag")
        TAG_NAMES.free(book, self.tag_id, [comparable_name(before.object.name)])
        return deleted(book, Kind.TAG, TAGS, before)


def _claim_name(book: Book, tag_id: UUID, before: Tag | None, after: Tag) -> None:
    old = [] if before is None else [comparable_name(before.name)]
    TAG_NAMES.claim(book, tag_id, old, [comparable_name(after.name)], lambda _: "name")


def _put(book: Book, tag_id: UUID, version: int, _: TagRow | None, after: Tag) -> None:
    book.put(
        TAGS,
        TagRow(workspace_id=book.workspace_id, id=tag_id, version=version, updated_at=book.at, deleted_at=None, object=after),
    )
