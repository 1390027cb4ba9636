"""The commands that change notes."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.errors import NotFound, Stale
from herdbook.ledger.object_types import ObjectType, active, created, current, deleted, updated
from herdbook.ledger.unit_of_work import Need, Result, UnitOfWork
from herdbook.notes.model import Note, NoteCreate, NoteObject, NoteUpdate
from herdbook.notes.store import NOTE, NOTES, NoteRow, place_of
from herdbook.shared_schemas import patched


class CreateNote(msgspec.Struct, frozen=True, kw_only=True):
    """Write a note on a contact or a company. Refusals: NotFound; Stale if a version is required.

    `note_id` is the id of the note, if its place among others matters.
    """

    object_type: ObjectType[Any, Any]
    object_id: UUID
    fields: NoteCreate
    user_id: UUID | None
    has_precondition: bool = False
    note_id: UUID | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(self.object_type.table, self.object_id)

    def apply(self, work: UnitOfWork) -> Result:
        if active(work, self.object_type.table, self.object_id) is None:
            raise NotFound(self.object_type.noun, object_id=self.object_id)
        if self.has_precondition:
            raise Stale(None)
        note_id = self.note_id or ids.new_id()
        place: dict[str, Any] = {f"{self.object_type.name}_id": ids.encoded(self.object_type.prefix, self.object_id)}
        note = Note(
            object=NoteObject.NOTE,
            id=ids.encoded(ids.NOTE, note_id),
            text=self.fields.text,
            is_pinned=self.fields.is_pinned,
            created_by=UNSET if self.user_id is None else ids.encoded(ids.USER, self.user_id),
            created_at=work.time,
            updated_at=work.time,
            **place,
        )
        return created(work, NOTE, note_id, note)


class _OfOne(msgspec.Struct, frozen=True, kw_only=True):
    """A command on an existing note."""

    note_id: UUID
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(NOTES, self.note_id)

    def current(self, work: UnitOfWork) -> NoteRow:
        """Return an active note on an active object. Refusals: NotFound, Stale."""
        row = active(work, NOTES, self.note_id)
        if row is not None:
            object_type, object_id = place_of(row.object)
            if active(work, object_type.table, object_id) is None:
                raise NotFound(NOTE.noun)
        return current(work, NOTES, self.note_id, self.if_version, NOTE.noun)


class UpdateNote(_OfOne, frozen=True, kw_only=True):
    """Change the text of a note, or pin it. Refusals: NotFound, also if the object that it is on is deleted; Stale."""

    patch: NoteUpdate

    def apply(self, work: UnitOfWork) -> Result:
        before = self.current(work)
        return updated(work, NOTE, before, patched(before.object, self.patch))


class DeleteNote(_OfOne, frozen=True, kw_only=True):
    """Delete a note. Refusals: NotFound, also if the object that it is on is deleted; Stale."""

    def apply(self, work: UnitOfWork) -> Result:
        return deleted(work, NOTE, self.current(work))
