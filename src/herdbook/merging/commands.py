"""The commands that merge contacts."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.contacts.model import Contact
from herdbook.contacts.store import CONTACT, CONTACTS, ContactRow
from herdbook.engagements.store import ENGAGEMENT, ENGAGEMENT_CONTACTS, ENGAGEMENTS
from herdbook.errors import FieldError, Invalid, NotFound
from herdbook.fields import MAX_ITEMS
from herdbook.ledger.index_entries import IndexReader
from herdbook.ledger.object_types import active, all_active, current, deleted, updated
from herdbook.ledger.unfinished import SliceDone, Task, note
from herdbook.ledger.unit_of_work import Need, Result, UnitOfWork
from herdbook.merging.model import Merge, merged
from herdbook.merging.store import COUNTED, MAX_MOVED_ENGAGEMENTS

MOVE_ENGAGEMENTS: Final = Task("move", CONTACTS.name)


class MergePreview(Exception):
    """The result that a merge would have, raised by a dry run so that nothing is written."""

    def __init__(self, merge: Merge) -> None:
        super().__init__(merge)
        self.merge = merge


class MergeContacts(msgspec.Struct, frozen=True, kw_only=True):
    """Merge contacts into a target contact, and move their engagements to it.

    If there are more engagements than a batch should change, `MoveEngagements` moves the rest. Refusals: NotFound,
    Invalid (from), Stale. A dry run raises Preview, which no caller sees.
    """

    target_id: UUID
    sources: tuple[str, ...]
    is_dry_run: bool = False
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(CONTACTS, self.target_id)
        for source_id in self.source_ids:
            yield Need(CONTACTS, source_id)
        yield from ENGAGEMENT_CONTACTS.needs(self.source_ids)

    def apply(self, work: UnitOfWork) -> Result:
        if active(work, CONTACTS, self.target_id) is None:
            raise NotFound("contact")
        sources = self._found(work)
        target = current(work, CONTACTS, self.target_id, self.if_version, "contact")
        after = merged(target.object, [source.object for source in sources])
        _require_few(after)
        # Deleting the sources first frees their addresses before the target claims them.
        for source in sources:
            deleted(work, CONTACT, source, merged_into=target.id)
        CONTACT.claim(work, target.id, target.object, after)
        version, contact = updated(work, CONTACT, target, after)
        assert isinstance(contact, Contact), "it is the contact"
        merge = Merge(
            object="merge",
            dry_run=self.is_dry_run,
            contact=contact,
            merged=self.sources,
            engagements_moved=self._move(work),
        )
        if self.is_dry_run:
            raise MergePreview(merge)
        return Result(version, merge)

    @property
    def source_ids(self) -> tuple[UUID, ...]:
        """The ids of the contacts to merge, without malformed ones."""
        return tuple(ids.decoded_all(ids.CONTACT, self.sources))

    def _found(self, work: UnitOfWork) -> list[ContactRow]:
        rows = all_active(work, CONTACTS, [ids.decoded(ids.CONTACT, source) for source in self.sources])
        errors: list[FieldError] = []
        for index, row in enumerate(rows):
            if row is None:
                message = f"`from[{index}]` names no contact of this workspace. Leave it out."
                errors.append(FieldError(f"from[{index}]", "not_found", message))
        if errors:
            raise Invalid(errors)
        return [row for row in rows if row is not None]

    def _move(self, work: UnitOfWork) -> int:
        """Move as many engagements as one batch may. Return how many will have moved in the end."""
        moved = _moved(work, dict.fromkeys(self.source_ids, self.target_id))
        if moved < MAX_MOVED_ENGAGEMENTS:
            return moved
        counted = work.get(COUNTED, self.source_ids)
        assert counted is not None, "a count of none has a row, too"
        for source_id in self.source_ids:
            note(work, MOVE_ENGAGEMENTS, source_id, is_finished=False)
        return counted.many


class MoveEngagements(msgspec.Struct, frozen=True):
    """Move some of the engagements of a merged contact to the contact that replaces it."""

    contact_id: UUID

    def needs(self) -> Iterator[Need]:
        yield Need(CONTACTS, self.contact_id)
        yield from ENGAGEMENT_CONTACTS.needs([self.contact_id])

    def apply(self, work: UnitOfWork) -> Result:
        contact = work.get(CONTACTS, self.contact_id)
        moved = 0
        # The contact may have been restored since.
        if contact is not None and contact.merged_into is not None:
            moved = _moved(work, {contact.id: contact.merged_into})
            if moved:
                # The replacing contact may have been merged since, too.
                note(work, MOVE_ENGAGEMENTS, contact.merged_into, is_finished=False)
        is_finished = moved < MAX_MOVED_ENGAGEMENTS
        if is_finished:
            note(work, MOVE_ENGAGEMENTS, self.contact_id, is_finished=True)
        return Result(work.seq, SliceDone(all=is_finished))


def _moved(work: UnitOfWork, places: Mapping[UUID, UUID]) -> int:
    """Replace contacts in engagements, without listing any twice. Return how many engagements changed, at most a batch's."""
    work.require(ENGAGEMENT_CONTACTS.needs(places))
    reader = IndexReader(work, ENGAGEMENT_CONTACTS)
    found = {each for contact_id in places for each in islice(reader.find(contact_id), MAX_MOVED_ENGAGEMENTS)}
    for row in (moving := work.get_all(ENGAGEMENTS, sorted(found)[:MAX_MOVED_ENGAGEMENTS])):
        assert row is not None, "an index names rows that exist"
        contact_ids = dict.fromkeys(places.get(contact_id, contact_id) for contact_id in row.contact_ids)
        before = row.entry
        details = msgspec.structs.replace(
            before.details, contact_ids=tuple(ids.encoded(ids.CONTACT, contact_id) for contact_id in contact_ids)
        )
        updated(work, ENGAGEMENT, row, msgspec.structs.replace(before, details=details))
    return len(moving)


def _require_few(contact: Contact) -> None:
    for name, items in (("e-mail addresses", contact.emails), ("phone numbers", contact.phone_numbers)):
        if len(items) > MAX_ITEMS:
            message = f"Together, the contacts have {len(items)} {name}. {MAX_ITEMS} is the limit. Leave some of them out."
            raise Invalid([FieldError("from", "too_long", message)])
