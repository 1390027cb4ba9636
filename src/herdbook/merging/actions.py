"""What merging contacts does: commands, applied to a book."""

from collections.abc import Iterator, Mapping
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.contacts.actions import CONTACT
from herdbook.contacts.model import Contact
from herdbook.contacts.store import CONTACTS, ContactRow
from herdbook.engagements.actions import ENGAGEMENT
from herdbook.engagements.store import ENGAGEMENTS
from herdbook.errors import FieldError, Invalid, NotFound
from herdbook.fields import MOST_ITEMS
from herdbook.ledger.book import Book, Need, Result
from herdbook.ledger.objects import active, claim, current, deleted, updated
from herdbook.ledger.unfinished import Task, note
from herdbook.merging.model import Merge, merged
from herdbook.merging.store import COUNTED, INVOLVED, MOST_INVOLVED, Involved


class Preview(Exception):
    """What would have come of merging contacts, if it had not only been asked what would."""

    def __init__(self, merge: Merge) -> None:
        super().__init__(merge)
        self.merge = merge


class MergeContacts(msgspec.Struct, frozen=True, kw_only=True):
    """Merge contacts into another one, and let engagements name that one in their place.

    Where more engagements name them than a batch should change, the rest are left to `MoveEngagements`. Refusals: NotFound,
    Invalid (from), Stale; Preview for a dry run, which is no refusal to the caller.
    """

    target_id: UUID
    sources: tuple[str, ...]
    is_dry_run: bool = False
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(CONTACTS, self.target_id)
        for source_id in self.source_ids:
            yield Need(CONTACTS, source_id)
        yield Need(INVOLVED, self.source_ids)
        yield Need(COUNTED, self.source_ids)

    def apply(self, book: Book) -> Result:
        if active(book, CONTACTS, self.target_id) is None:
            raise NotFound("contact")
        sources = self._found(book)
        target = current(book, CONTACTS, self.target_id, self.if_version, "contact")
        after = merged(target.object, [source.object for source in sources])
        _require_few(after)
        # What they hold is free before the target claims it.
        for source in sources:
            deleted(book, CONTACT, source, merged_into=target.id)
        claim(book, CONTACT, target.id, target.object, after)
        version, contact = updated(book, CONTACT, target, after)
        assert isinstance(contact, Contact), "it is the contact"
        merge = Merge(
            object="merge",
            dry_run=self.is_dry_run,
            contact=contact,
            merged=self.sources,
            engagements_moved=self._move(book),
        )
        if self.is_dry_run:
            raise Preview(merge)
        return Result(version, merge)

    @property
    def source_ids(self) -> tuple[UUID, ...]:
        """The contacts that are merged, without what is no id."""
        return tuple(ids.decoded_all(ids.CONTACT, self.sources))

    def _found(self, book: Book) -> list[ContactRow]:
        rows = [active(book, CONTACTS, ids.decoded(ids.CONTACT, source)) for source in self.sources]
        errors: list[FieldError] = []
        for index, row in enumerate(rows):
            if row is None:
                message = f"`from[{index}]` names no contact of this workspace. Leave it out."
                errors.append(FieldError(f"from[{index}]", "not_found", message))
        if errors:
            raise Invalid(errors)
        return [row for row in rows if row is not None]

    def _move(self, book: Book) -> int:
        """Let as many engagements as can be now name the target; return how many will in the end."""
        involved, counted = book.find(INVOLVED, self.source_ids), book.find(COUNTED, self.source_ids)
        assert involved is not None, "the command needs it"
        assert counted is not None, "the command needs it"
        moved = _moved(book, involved, dict.fromkeys(self.source_ids, self.target_id))
        if len(involved.engagements) == MOST_INVOLVED:
            for source_id in self.source_ids:
                note(book, Task.MOVE_ENGAGEMENTS, source_id, is_finished=False)
        return counted.many - len(involved.engagements) + moved


class Moved(msgspec.Struct, frozen=True):
    """Whether no engagement names a contact that was merged any more."""

    all: bool


class MoveEngagements(msgspec.Struct, frozen=True):
    """Let some of the engagements that still name a contact that was merged name the one that goes on in its place."""

    contact_id: UUID

    def needs(self) -> Iterator[Need]:
        yield Need(CONTACTS, self.contact_id)
        yield Need(INVOLVED, (self.contact_id,))

    def apply(self, book: Book) -> Result:
        contact, involved = book.find(CONTACTS, self.contact_id), book.find(INVOLVED, (self.contact_id,))
        assert involved is not None, "the command needs it"
        # It may be back by now.
        is_merged = contact is not None and contact.merged_into is not None
        is_finished = not is_merged or len(involved.engagements) < MOST_INVOLVED
        if contact is not None and contact.merged_into is not None and involved.engagements:
            _moved(book, involved, {contact.id: contact.merged_into})
            # The contact that goes on may have been merged meanwhile, too.
            note(book, Task.MOVE_ENGAGEMENTS, contact.merged_into, is_finished=False)
        if is_finished:
            note(book, Task.MOVE_ENGAGEMENTS, self.contact_id, is_finished=True)
        return Result(book.seq, Moved(all=is_finished))


def _moved(book: Book, involved: Involved, places: Mapping[UUID, UUID]) -> int:
    """Let engagements name other contacts in place of some, each once; return how many did name them."""
    # What the batch has changed by now counts, not what it loaded.
    known = {row.id: row for row in (*involved.engagements, *book.put_on(ENGAGEMENTS))}
    moving = [row for row in known.values() if row.deleted_at is None and not places.keys().isdisjoint(row.contact_ids)]
    for row in moving:
        contact_ids = dict.fromkeys(places.get(contact_id, contact_id) for contact_id in row.contact_ids)
        before = ENGAGEMENT.entered(row)
        details = msgspec.structs.replace(
            before.details, contact_ids=tuple(ids.encoded(ids.CONTACT, contact_id) for contact_id in contact_ids)
        )
        updated(book, ENGAGEMENT, row, msgspec.structs.replace(before, details=details))
    return len(moving)


def _require_few(contact: Contact) -> None:
    for name, items in (("e-mail addresses", contact.emails), ("phone numbers", contact.phone_numbers)):
        if len(items) > MOST_ITEMS:
            message = f"Together, the contacts have {len(items)} {name}, and {MOST_ITEMS} are the most. Leave some of them out."
            raise Invalid([FieldError("from", "too_long", message)])
