"""The commands that erase persons and objects, slice by slice."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.cards.store import forget_cards
from herdbook.companies.store import COMPANY
from herdbook.contacts.store import ADDRESSES, CONTACT, CONTACTS, ContactRow
from herdbook.duplicates.store import FORGOTTEN_DUPLICATES, ForgottenDuplicate
from herdbook.erasure.model import Chain, ErasureState, Found, FoundLater, Subject, erased_address, keyed_hash, task_of_address
from herdbook.erasure.steps import STEPS, empty_entries, ended, erase_contact, range_of, remove_some_imports, with_held
from herdbook.erasure.store import (
    CHAIN_RANGES,
    EMPTIED_ENTRIES,
    ERASE,
    ERASURE_TASKS,
    ERASURES,
    IMPORTS,
    KEY,
    MERGED_CONTACTS,
    OTHER,
    SETTINGS,
    EmptiedEntry,
    Erasure,
    ErasureTask,
)
from herdbook.errors import NotFound, Stale
from herdbook.ledger.changes import Erased
from herdbook.ledger.object_types import ObjectType, remove_traces
from herdbook.ledger.unfinished import SliceDone, note
from herdbook.ledger.unit_of_work import Need, Result, UnitOfWork
from herdbook.notes.store import NOTE, NoteRow, place_of


class EraseContact(msgspec.Struct, frozen=True, kw_only=True):
    """Erase a contact, deleted or not, with those merged into it. `EraseSlice` removes what else there is of the person.

    `subject` is what was known of the person before, and `found` the rows that were found. Both are shown alone: the rows at
    hand and their entries tell who the person is, because a merge may be taken back meanwhile. `at` is the time of an erasure
    that is carried out again; it is not kept as one of this contact if it meant an address, or another contact that was merged
    into this one. Refusals: NotFound, also for a contact that was merged into another one; Stale.
    """

    contact_id: UUID
    subject: Subject
    with_engagements: bool
    found: Found
    if_version: frozenset[int] | None = None
    at: datetime | None = None
    is_kept: bool = True

    def needs(self) -> Iterator[Need]:
        yield Need(SETTINGS, KEY)
        yield from ADDRESSES.needs(self.subject.addresses)
        for contact_id in {self.contact_id, *self.subject.contact_ids}:
            yield Need(CONTACTS, contact_id)
            yield Need(MERGED_CONTACTS, contact_id)

    def apply(self, work: UnitOfWork) -> Result:
        row = work.get(CONTACTS, self.contact_id)
        if row is None or _is_replaced(work, row):
            raise NotFound("contact", object_id=self.contact_id)
        if self.if_version is not None and row.version not in self.if_version:
            raise Stale(row.version)
        subject, chains = erase_contact(work, row, Subject(region=self.subject.region))
        # Others may have got an address since, by the undo of a merge, too.
        subject = with_held(work, msgspec.structs.replace(subject, held=self.subject.held))
        state = ErasureState(
            subject=subject,
            with_engagements=self.with_engagements,
            chains=tuple(chains),
            at=self.at,
            is_kept=self.is_kept,
        )
        work.put(ERASURE_TASKS, ErasureTask(work.workspace_id, self.contact_id, work.seq, state))
        note(work, ERASE, self.contact_id, is_finished=False)
        _keep(work, self.contact_id, state, self.found)
        return Result(work.seq, Erased(id=ids.encoded(CONTACT.prefix, self.contact_id)))


def _is_replaced(work: UnitOfWork, row: ContactRow) -> bool:
    """Whether an active contact replaces a merged one. Undoing can turn a chain of merges into a circle, without such a one."""
    passed: set[UUID] = set()
    end: ContactRow | None = row
    while end is not None and end.merged_into is not None and end.id not in passed:
        passed.add(end.id)
        end = work.get(CONTACTS, end.merged_into)
    return end is not None and bool(passed) and end.deleted_at is None


class EraseAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Begin to erase the participants with an address that no contact has. `EraseSlice` erases them.

    `subject` is the person who has the address, and `found` the rows that were found. `at` is the time of an erasure that is
    carried out again. `is_of_contact` if that was the erasure of a contact with the address: it is no erasure of everybody who
    had the address, and must not be kept as one.
    """

    address: str
    subject: Subject
    found: Found
    at: datetime | None = None
    is_of_contact: bool = False

    def needs(self) -> Iterator[Need]:
        yield Need(SETTINGS, KEY)

    def apply(self, work: UnitOfWork) -> Result:
        key = work.get(SETTINGS, KEY)
        assert key is not None, "a migration has written it"
        kept_as = self.address if self.is_of_contact else erased_address(self.address)
        hashed = keyed_hash(key.value, work.workspace_id, kept_as)
        task_id = task_of_address(hashed)
        state = ErasureState(subject=msgspec.structs.replace(self.subject, engagement_ids=frozenset()), at=self.at)
        # No entry tells it, so that a later round records the rest under a request of its own.
        work.put(ERASURE_TASKS, ErasureTask(work.workspace_id, task_id, 0, state))
        note(work, ERASE, task_id, is_finished=False)
        _keep_hash(work, hashed, self.found, state)
        return Result(work.seq, AddressErased(task_id=task_id))


class RemoveImports(msgspec.Struct, frozen=True):
    """Remove all imports of a workspace, because any row of their files may be about somebody who was erased.

    Outcomes of their rows go in slices, from the second command on.
    """

    def needs(self) -> Iterator[Need]:
        yield Need(IMPORTS, "imports")

    def apply(self, work: UnitOfWork) -> Result:
        _, has_more = remove_some_imports(work, ())
        return Result(work.seq, SliceDone(all=not has_more))


class AddressErased(msgspec.Struct, frozen=True):
    """The answer to the command that begins to erase an address: the id of the task."""

    task_id: UUID


class EraseSlice(msgspec.Struct, frozen=True):
    """Do the next slice of an erasure."""

    object_id: UUID

    def needs(self) -> Iterator[Need]:
        yield Need(ERASURE_TASKS, self.object_id)
        yield Need(SETTINGS, KEY)

    def apply(self, work: UnitOfWork) -> Result:
        task = work.get(ERASURE_TASKS, self.object_id)
        if task is None:
            note(work, ERASE, self.object_id, is_finished=True)
            return Result(work.seq, SliceDone(all=True))
        # Two slices of one erasure, by a request and a later round, would do the same.
        if work.has_changed(ERASURE_TASKS, self.object_id):
            return Result(work.seq, SliceDone(all=False))
        # Others may have got an address or a number since.
        state = _after_slice(work, msgspec.structs.replace(task.state, subject=with_held(work, task.state.subject)))
        if state is not None:
            work.put(ERASURE_TASKS, msgspec.structs.replace(task, state=state))
            return Result(work.seq, SliceDone(all=False))
        work.remove(ERASURE_TASKS, self.object_id)
        note(work, ERASE, self.object_id, is_finished=True)
        # The chains of a deleted object are no erasure of a person.
        subject, later = task.state.subject, _found_later(task.state)
        if subject.contact_ids:
            _keep(work, self.object_id, task.state, later)
        elif later is not None:
            key = work.get(SETTINGS, KEY)
            assert key is not None, "a migration has written it"
            kept_as = [value for each in subject.addresses for value in (erased_address(each), each)]
            hashes = (keyed_hash(key.value, work.workspace_id, each) for each in kept_as)
            # The id of the task tells which of the two the erasure is kept as.
            (hashed,) = (each for each in hashes if task_of_address(each) == self.object_id)
            _keep_hash(work, hashed, later, task.state)
        return Result(work.seq, SliceDone(all=True))


def _after_slice(work: UnitOfWork, state: ErasureState) -> ErasureState | None:
    """Do a slice. Return the state after it, or None once the erasure is finished."""
    pending = empty_entries(work, state)
    if pending is not None or state.step == len(STEPS):
        return pending
    return STEPS[state.step](work, state) or ended(state)


def _found_later(state: ErasureState) -> FoundLater | None:
    rows = {OTHER + "change": state.emptied} if state.emptied else {}
    return FoundLater(rows, state.imports) if rows or state.imports else None


def _keep(work: UnitOfWork, contact_id: UUID, state: ErasureState, found: Found | FoundLater | None) -> None:
    """Keep the erasure as keyed hashes: of the contacts' ids, and of all their addresses. Rows found before stay.

    One that is carried out again is kept as it was before. The restored contact may have had addresses, or have been merged
    with contacts, that were somebody else's by the time of the erasure.
    """
    if not state.is_kept:
        return
    key = work.get(SETTINGS, KEY)
    assert key is not None, "a migration has written it"
    asked_for = ids.encoded(CONTACT.prefix, contact_id)
    shown = {ids.encoded(CONTACT.prefix, each) for each in state.subject.contact_ids}
    kept_as = shown | state.subject.addresses - state.subject.held if state.at is None else {asked_for}
    for value in sorted(kept_as):
        hashed = keyed_hash(key.value, work.workspace_id, value)
        _keep_hash(work, hashed, found if value == asked_for else None, state)


def _keep_hash(work: UnitOfWork, hashed: str, found: Found | FoundLater | None, state: ErasureState) -> None:
    erasure = Erasure(
        workspace_id=work.workspace_id,
        hash=hashed,
        at=state.at or work.at,
        request_id=work.origin.request_id,
        credential_id=work.origin.credential_id,
        with_engagements=state.with_engagements,
        found=found,
    )
    work.put(ERASURES, erasure)


# Limits how many entries of each removed object go with it. The others follow in slices.
MAX_EXPIRED_ENTRIES: Final = 20
# Duplicates are searched among objects of these types.
_COMPARED: Final = (CONTACT, COMPANY)


class Expirable(NamedTuple):
    """A deleted object that is old enough to go: its id, and its version when that was found."""

    id: UUID
    version: int


class ExpireObjects(msgspec.Struct, frozen=True):
    """Remove deleted objects, and notes on objects that are gone, and empty the entries that are still kept of them.

    Objects that changed since stay. It is no change of theirs: no event tells it, and no certificate.
    """

    object_type: ObjectType[Any, Any]
    objects: tuple[Expirable, ...]

    def needs(self) -> Iterator[Need]:
        for each in self.objects:
            yield Need(self._table, each.id)
            yield Need(CHAIN_RANGES, range_of(self._chain_of(each.id, each.version), MAX_EXPIRED_ENTRIES))

    def _chain_of(self, object_id: UUID, version: int) -> Chain:
        return Chain(self.object_type.kind, self.object_type.prefix, object_id, version, is_expired=True)

    @property
    def _table(self) -> Any:
        """The table of whole rows, if a deleted object has index entries."""
        # A note may go that is not deleted itself.
        has_entries = self.object_type is NOTE or any(index.is_of_deleted for index in self.object_type.indexes)
        return self.object_type.table if has_entries else self.object_type.table.versions

    def apply(self, work: UnitOfWork) -> Result:
        for each in self.objects:
            row = None if work.has_changed(self.object_type.table, each.id) else work.get(self._table, each.id)
            if row is not None and row.version == each.version and _may_go(work, row):
                self._expire(work, row)
        return Result(work.seq, SliceDone(all=True))

    def _expire(self, work: UnitOfWork, row: Any) -> None:
        if self._table is self.object_type.table:
            remove_traces(work, self.object_type, row)
        work.remove(self.object_type.table, row.id)
        if self.object_type in _COMPARED:
            work.put(FORGOTTEN_DUPLICATES, ForgottenDuplicate(work.workspace_id, row.id))
        if self.object_type is CONTACT:
            forget_cards(work, row.id)
        chain = self._chain_of(row.id, row.version)
        found = work.get(CHAIN_RANGES, range_of(chain, MAX_EXPIRED_ENTRIES))
        assert found is not None, "an object without entries has a range, too"
        empty = Erased(id=ids.encoded(self.object_type.prefix, row.id))
        for entry in found.entries:
            work.put(EMPTIED_ENTRIES, EmptiedEntry(work.workspace_id, entry.seq, empty))
        if found.is_cut:
            rest = msgspec.structs.replace(chain, seq=found.entries[-1].seq)
            state = ErasureState(subject=Subject(), chains=(rest,), step=len(STEPS))
            work.put(ERASURE_TASKS, ErasureTask(work.workspace_id, row.id, row.version, state))
            note(work, ERASE, row.id, is_finished=False)


def _may_go(work: UnitOfWork, row: Any) -> bool:
    """Whether an object is deleted, or is a note on an object that is gone."""
    if row.deleted_at is not None or not isinstance(row, NoteRow):
        return row.deleted_at is not None
    object_type, object_id = place_of(row.object)
    return work.get(object_type.table, object_id) is None
