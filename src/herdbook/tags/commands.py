"""The commands that change tags."""

from collections.abc import Iterator
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.errors import Stale
from herdbook.ledger.object_types import created, current, deleted, updated
from herdbook.ledger.unit_of_work import Need, Result, UnitOfWork
from herdbook.shared_schemas import patched
from herdbook.tags.model import Tag, TagCreate, TagObject, TagUpdate, comparable_name
from herdbook.tags.store import TAG, TAG_NAMES, TAGS


class CreateTag(msgspec.Struct, frozen=True):
    """Create a tag. Refusals: Stale if a version is required, Taken."""

    fields: TagCreate
    has_precondition: bool = False

    def needs(self) -> Iterator[Need]:
        yield from TAG_NAMES.needs([comparable_name(self.fields.name)])

    def apply(self, work: UnitOfWork) -> Result:
        if self.has_precondition:
            raise Stale(None)
        tag_id = ids.new_id()
        blank = Tag(object=TagObject.TAG, id=ids.encoded(ids.TAG, tag_id), name="", created_at=work.time, updated_at=work.time)
        tag = patched(blank, self.fields)
        TAG.claim(work, tag_id, None, tag)
        return created(work, TAG, tag_id, tag)


class UpdateTag(msgspec.Struct, frozen=True):
    """Change some fields of a tag. Refusals: NotFound, Stale, Taken."""

    tag_id: UUID
    patch: TagUpdate
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(TAGS, self.tag_id)
        if self.patch.name is not UNSET:
            yield from TAG_NAMES.needs([comparable_name(self.patch.name)])

    def apply(self, work: UnitOfWork) -> Result:
        before = current(work, TAGS, self.tag_id, self.if_version, "tag")
        after = patched(before.object, self.patch)
        TAG.claim(work, self.tag_id, before.object, after)
        return updated(work, TAG, before, after)


class DeleteTag(msgspec.Struct, frozen=True):
    """Delete a tag, and free its name. Refusals: NotFound, Stale."""

    tag_id: UUID
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(TAGS, self.tag_id)

    def apply(self, work: UnitOfWork) -> Result:
        return deleted(work, TAG, current(work, TAGS, self.tag_id, self.if_version, "tag"))
