"""The ways back: commands that restore what was deleted, and take back what a request did."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.companies.store import COMPANIES
from herdbook.contacts.model import Contact
from herdbook.contacts.store import CONTACTS
from herdbook.engagements.store import ENGAGEMENTS
from herdbook.errors import NotFound, Stale
from herdbook.history.model import KEPT_MESSAGES, Kept, KeptReason, Reverted, RevertedBy, Undo
from herdbook.history.store import COLLEAGUES, MOST_COLLEAGUES
from herdbook.http.problems import Holder
from herdbook.ledger.book import Book, Need, Result
from herdbook.ledger.changes import Kind
from herdbook.ledger.objects import Subject, active, claim, deleted, restored, updated
from herdbook.subjects import SUBJECTS

Place: TypeAlias = tuple[Kind, UUID]


class Unforeseen(Exception):
    """What is to be restored is not as it was looked up; it must be looked up anew, and the command given again."""


class Restore(msgspec.Struct, frozen=True, kw_only=True):
    """Bring back what was deleted, in the state that it had; a contact whose company is gone comes back without one.

    `seen` is its row's version, and `state` what it had, as far as it was looked up. What is there stays as it is. Refusals:
    NotFound, Stale, Taken; Unforeseen, which is no refusal to the caller.
    """

    subject: Subject[Any, Any]
    object_id: UUID
    seen: int | None = None
    state: Any = None
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(self.subject.shelf, self.object_id)
        if self.state is not None:
            yield from _needs_to_be_there(self.subject, self.state)

    def apply(self, book: Book) -> Result:
        subject = self.subject
        row: Any = book.find(subject.shelf, self.object_id)
        if row is None:
            raise NotFound(subject.name)
        if self.if_version is not None and row.version not in self.if_version:
            raise Stale(row.version)
        if row.deleted_at is None:
            return Result(row.version, row.object)
        if row.version != self.seen:
            raise Unforeseen
        after = subject.entered(row)
        if active(book, COMPANIES, company_of(after)) is None and isinstance(after, Contact):
            after = msgspec.structs.replace(after, company=UNSET)
        claim(book, subject, self.object_id, None, after)
        return restored(book, subject, row, after)


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What a request did to an object, as far as it takes to undo it.

    `version` is the number of its last entry. `before` is the object as it was before the first one; None: it was not there,
    but had, perhaps, been merged into another one.
    """

    kind: Kind
    object_id: UUID
    version: int
    before: Any
    merged_into: UUID | None = None

    @property
    def subject(self) -> Subject[Any, Any]:
        """Its kind, as the ledger keeps it."""
        return SUBJECTS[self.kind]

    @property
    def place(self) -> Place:
        """What tells it from others: a transcript has the id of its engagement."""
        return self.kind, self.object_id

    @property
    def shown_id(self) -> str:
        """The object's id."""
        return ids.encoded(self.subject.prefix, self.object_id)

    def kept(self, reason: KeptReason) -> Kept:
        """Say that it stays as it is."""
        return Kept(object=self.subject.name, id=self.shown_id, reason=reason, message=KEPT_MESSAGES[reason])


class Preview(Exception):
    """What would have come of undoing a request, if it had not only been asked what would."""

    def __init__(self, undo: Undo) -> None:
        super().__init__(undo)
        self.undo = undo


class UndoTurns(msgspec.Struct, frozen=True, kw_only=True):
    """Let objects be as they were before a request: all that nobody has changed since, and that can be so together.

    `may_name` are the kinds of objects of which the caller may know that they hold something. `others` are the turns that
    commands of the same request for undoing have been asked to take, or would have been where it is a dry run. There are no
    refusals; but Preview for a dry run, which is no refusal to the caller.
    """

    request_id: str
    turns: tuple[Turn, ...]
    may_name: frozenset[Kind]
    is_dry_run: bool = False
    others: Mapping[Place, bool] = {}

    def needs(self) -> Iterator[Need]:
        for turn in self.turns:
            yield Need(turn.subject.shelf, turn.object_id)
            if turn.before is not None:
                yield from _needs_to_be_there(turn.subject, turn.before)
            elif turn.kind is Kind.COMPANY:
                yield Need(COLLEAGUES, turn.object_id)
            if turn.kind is Kind.TRANSCRIPT:
                yield Need(ENGAGEMENTS, turn.object_id)

    def apply(self, book: Book) -> Result:
        settling = _Settling(book, self)
        settling.settle()
        reverted = _revert(book, settling.going)
        undo = Undo(
            object="undo",
            request_id=self.request_id,
            dry_run=self.is_dry_run,
            reverted=tuple(reverted[turn.place] for turn in self.turns if turn.place in reverted),
            kept=tuple(settling.kept[turn.place] for turn in self.turns if turn.place in settling.kept),
        )
        if self.is_dry_run:
            raise Preview(undo)
        return Result(book.seq, undo)


class _Settling:
    """Which turns can be undone together: those are `going`. What stands in one's way may stand there because of another one.

    So each that cannot go is kept, and the rest is looked at again, until there is nothing in anybody's way.
    """

    def __init__(self, book: Book, command: UndoTurns) -> None:
        self._book = book
        self._command = command
        self._claimed = {turn.place: _claimed(turn) for turn in command.turns}
        self.going: dict[Place, Turn] = {}
        self.kept: dict[Place, Kept] = {}

    def settle(self) -> None:
        """Find out."""
        for turn in self._command.turns:
            row: Any = self._book.find(turn.subject.shelf, turn.object_id)
            if row is None or row.version != turn.version:
                self.kept[turn.place] = turn.kept(KeptReason.CHANGED_SINCE)
            elif _differs(turn, row):
                self.going[turn.place] = turn
        is_settled = False
        while not is_settled:
            claimed = self._claimed_first()
            in_the_way = {place: self._obstacle(turn, claimed) for place, turn in self.going.items()}
            kept = {place: kept for place, kept in in_the_way.items() if kept is not None}
            for place in kept:
                del self.going[place]
            self.kept |= kept
            is_settled = not kept

    def _claimed_first(self) -> dict[tuple[Kind, str], UUID]:
        """Return which of those that go had something: two may have had it, one after the other, while the request went on."""
        claimed: dict[tuple[Kind, str], UUID] = {}
        for turn in self.going.values():
            for key in self._claimed[turn.place]:
                claimed.setdefault((turn.kind, key), turn.object_id)
        return claimed

    def _obstacle(self, turn: Turn, claimed: Mapping[tuple[Kind, str], UUID]) -> Kept | None:
        if turn.before is None:
            return turn.kept(KeptReason.IN_USE) if turn.kind is Kind.COMPANY and self._is_in_use(turn.object_id) else None
        company_id = company_of(turn.before)
        if company_id is not None and not self._will_be_there(company_id):
            return turn.kept(KeptReason.COMPANY_NOT_FOUND)
        return self._conflict(turn, claimed)

    def _conflict(self, turn: Turn, claimed: Mapping[tuple[Kind, str], UUID]) -> Kept | None:
        subject = turn.subject
        for index, key in enumerate(self._claimed[turn.place]):
            assert subject.claimants is not None, "there is something to hold"
            holder = subject.claimants.holder(self._book, key)
            if holder is None or (turn.kind, holder) in self.going:
                holder = claimed[turn.kind, key]
            if holder != turn.object_id:
                return self._taken(turn, index, holder)
        return None

    def _taken(self, turn: Turn, index: int, holder: UUID) -> Kept:
        subject, field = turn.subject, turn.subject.place(index)
        may_name = turn.kind in self._command.may_name
        return Kept(
            object=subject.name,
            id=turn.shown_id,
            reason=KeptReason.CONFLICT,
            message=f"`{field}` belongs to another active {subject.name} by now. Free it there first.",
            conflict=Holder(subject.name, ids.encoded(subject.prefix, holder)) if may_name else UNSET,
        )

    def _will_be_there(self, company_id: UUID) -> bool:
        place = (Kind.COMPANY, company_id)
        if (turn := self.going.get(place)) is not None:
            return turn.before is not None
        return active(self._book, COMPANIES, company_id) is not None or self._command.others.get(place, False)

    def _is_in_use(self, company_id: UUID) -> bool:
        """Whether a company that is to go has contacts that stay with it, or more than can be looked at."""
        colleagues = self._book.find(COLLEAGUES, company_id)
        assert colleagues is not None, "the command needs it"
        staff = set(colleagues.contact_ids)
        # What the batch has changed by now counts, not what it loaded.
        for row in self._book.put_on(CONTACTS):
            staff.discard(row.id)
            if row.deleted_at is None and row.company_id == company_id:
                staff.add(row.id)
        others = self._command.others
        staying = [contact_id for contact_id in staff if not self._leaves(contact_id, company_id)]
        return bool(staying) or (not others and len(colleagues.contact_ids) == MOST_COLLEAGUES)

    def _leaves(self, contact_id: UUID, company_id: UUID) -> bool:
        place = (Kind.CONTACT, contact_id)
        turn = self.going.get(place)
        return place in self._command.others if turn is None else company_of(turn.before) != company_id


def company_of(state: Any) -> UUID | None:
    """Return the company of a contact, if it is one, and has one."""
    return ids.decoded(ids.COMPANY, state.company.id) if isinstance(state, Contact) and state.company is not UNSET else None


def _needs_to_be_there(subject: Subject[Any, Any], state: Any) -> Iterator[Need]:
    """Name what an object must see to be there in some state."""
    if subject.claimants is not None:
        yield from subject.claimants.needs(subject.claimed(state))
    if (company_id := company_of(state)) is not None:
        yield Need(COMPANIES, company_id)


def _claimed(turn: Turn) -> list[str]:
    return [] if turn.before is None else turn.subject.claimed(turn.before)


def _differs(turn: Turn, row: Any) -> bool:
    """Whether an object is not as it was before."""
    if turn.before is None or row.deleted_at is not None:
        return (turn.before is None) != (row.deleted_at is not None)
    now = turn.subject.entered(row)
    aside = turn.subject.beside | {"updated_at"}
    return any(getattr(now, name) != getattr(turn.before, name) for name in now.__struct_fields__ if name not in aside)


# In which order objects come back, so that each finds what it refers to; they go the other way round.
_ORDER: Final = (Kind.COMPANY, Kind.TAG, Kind.CONTACT, Kind.ENGAGEMENT, Kind.TRANSCRIPT, Kind.TRANSCRIPT_COMMENT)


class _Rank(NamedTuple):
    """When it is an object's turn: first come those that are there, or are again, and of a kind those first that are."""

    goes: bool
    order: int
    comes_back: bool


def _revert(book: Book, going: Mapping[Place, Turn]) -> dict[Place, Reverted]:
    """Let objects be as they were."""
    rows: dict[Place, Any] = {place: book.find(turn.subject.shelf, turn.object_id) for place, turn in going.items()}
    # What they hold is free before anybody claims what they held.
    for place, turn in going.items():
        subject = turn.subject
        if subject.claimants is not None and rows[place].deleted_at is None:
            subject.claimants.free(book, turn.object_id, subject.claimed(subject.entered(rows[place])))

    def rank(turn: Turn) -> _Rank:
        goes, order = turn.before is None, _ORDER.index(turn.kind)
        return _Rank(goes, -order if goes else order, rows[turn.place].deleted_at is not None)

    return {
        turn.place: Reverted(object=turn.subject.name, id=turn.shown_id, action=_reverted(book, turn, rows[turn.place]))
        for turn in sorted(going.values(), key=rank)
    }


def _reverted(book: Book, turn: Turn, row: Any) -> RevertedBy:
    subject = turn.subject
    if turn.before is None:
        deleted(book, subject, row, turn.merged_into, _as_entered(book, turn, subject.entered(row)))
        return RevertedBy.DELETED
    after = _as_entered(book, turn, turn.before)
    if subject.claimants is not None:
        claim(book, subject, turn.object_id, None, after)
    if row.deleted_at is not None:
        restored(book, subject, row, after)
        return RevertedBy.RESTORED
    updated(book, subject, row, after)
    return RevertedBy.UPDATED


def _as_entered(book: Book, turn: Turn, state: Any) -> Any:
    """Return a state as the ledger enters it: that of a transcript with its engagement."""
    if turn.kind is not Kind.TRANSCRIPT:
        return state
    engagement = book.find(ENGAGEMENTS, turn.object_id)
    return state if engagement is None else msgspec.structs.replace(state, engagement=engagement.object)
