"""Commands that create, change and delete objects, for the kinds that have no rules beside those of their fields."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.errors import Stale
from herdbook.ledger.object_types import ObjectType, created, current, deleted, updated
from herdbook.ledger.unit_of_work import Need, Result, UnitOfWork
from herdbook.shared_schemas import CrmRequest, crm_link


class Create(msgspec.Struct, frozen=True):
    """Create an object from a request body. Refusals: Stale if a version is required, Taken."""

    object_type: ObjectType[Any, Any]
    fields: msgspec.Struct
    has_precondition: bool = False

    def needs(self) -> Iterator[Need]:
        yield from self.object_type.key_needs(self.fields)

    def apply(self, work: UnitOfWork) -> Result:
        if self.has_precondition:
            raise Stale(None)
        object_id = ids.new_id()
        after = self.object_type.new(object_id, work.time, self.fields)
        self.object_type.claim(work, object_id, None, after)
        return created(work, self.object_type, object_id, after)


class _OfOne(msgspec.Struct, frozen=True):
    """A command on an existing object."""

    object_type: ObjectType[Any, Any]
    object_id: UUID

    def needs(self) -> Iterator[Need]:
        yield Need(self.object_type.table, self.object_id)


class Update(_OfOne, frozen=True):
    """Change some fields of an object. Refusals: NotFound, Stale, Taken."""

    patch: msgspec.Struct
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(self.object_type.table, self.object_id)
        yield from self.object_type.key_needs(self.patch)

    def apply(self, work: UnitOfWork) -> Result:
        before = current(work, self.object_type.table, self.object_id, self.if_version, self.object_type.noun)
        after = self.object_type.patched(before.entry, self.patch)
        self.object_type.claim(work, self.object_id, before.entry, after)
        return updated(work, self.object_type, before, after)


class Delete(_OfOne, frozen=True):
    """Delete an object, and free its keys. Refusals: NotFound, Stale."""

    if_version: frozenset[int] | None = None

    def apply(self, work: UnitOfWork) -> Result:
        before = current(work, self.object_type.table, self.object_id, self.if_version, self.object_type.noun)
        return deleted(work, self.object_type, before)


class SetCrmAssociation(_OfOne, frozen=True):
    """Replace the link of an object to a CRM record; None removes it. Refusals: NotFound, Stale."""

    association: CrmRequest | None
    if_version: frozenset[int] | None = None

    def apply(self, work: UnitOfWork) -> Result:
        before = current(work, self.object_type.table, self.object_id, self.if_version, self.object_type.noun)
        after = msgspec.structs.replace(before.entry, crm_association=crm_link(self.association))
        return updated(work, self.object_type, before, after)
