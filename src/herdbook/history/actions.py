"""The commands that restore deleted objects and undo requests."""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.companies.store import COMPANIES
from herdbook.contacts.model import Contact
from herdbook.engagements.store import ENGAGEMENTS, TRANSCRIPTS
from herdbook.errors import NotFound, Stale
from herdbook.history.model import KEPT_MESSAGES, Kept, KeptReason, Reverted, RevertedBy, Undo
from herdbook.history.references import Place, company_of, engagement_of, named, provided
from herdbook.history.store import MOST_COLLEAGUES, REFERENCES, Around
from herdbook.http.problems import Holder
from herdbook.ledger.book import Book, Need, Result
from herdbook.ledger.changes import Kind
from herdbook.ledger.objects import Subject, active, claim, deleted, restored, updated
from herdbook.subjects import SUBJECTS


class Unforeseen(Exception):
    """The object to restore has changed since it was looked up. It must be looked up again, and the command repeated."""


class Restore(msgspec.Struct, frozen=True, kw_only=True):
    """Restore a deleted object in the state that it had. A contact whose company is gone comes back without a company.

    `seen` is the version and `state` the content of the deleted row, if it was looked up. An object that is not deleted stays
    unchanged. Refusals: NotFound, Stale, Taken. Also raises Unforeseen, which no caller sees.
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
    """A request's changes of one object, with the data that is needed to undo them.

    `version` is the number of the request's last entry for the object. `before` is the object as it was before the first one.
    None means that it did not exist; it may have been merged into another one.
    """

    kind: Kind
    object_id: UUID
    version: int
    before: Any
    merged_into: UUID | None = None

    @property
    def subject(self) -> Subject[Any, Any]:
        """The descriptor of the object's kind."""
        return SUBJECTS[self.kind]

    @property
    def place(self) -> Place:
        """The kind and id of the object. The id alone is not unique, because a transcript has the id of its engagement."""
        return self.kind, self.object_id

    @property
    def shown_id(self) -> str:
        """The object's id as the API shows it."""
        return ids.encoded(self.subject.prefix, self.object_id)

    def kept(self, reason: KeptReason) -> Kept:
        """Report that the object is not undone, and why."""
        return Kept(object=self.subject.name, id=self.shown_id, reason=reason, message=KEPT_MESSAGES[reason])


class Preview(Exception):
    """The result that an undo would have, raised by a dry run so that nothing is written."""

    def __init__(self, undo: Undo) -> None:
        super().__init__(undo)
        self.undo = undo


class UndoTurns(msgspec.Struct, frozen=True, kw_only=True):
    """Give objects back their state before a request, if they have not changed since and the states are possible together.

    An object that others need is kept, and no object gets back a reference to one that does not exist. Both rules apply from
    `since` on, the number of the request's first entry: a reference that led nowhere before the request may lead nowhere again.
    `may_name` are the kinds whose holders the caller may see. `others` are the objects that earlier commands of the same undo
    have reverted, or would have in a dry run, and whether each then exists. There are no refusals. A dry run raises Preview,
    which no caller sees.
    """

    request_id: str
    turns: tuple[Turn, ...]
    may_name: frozenset[Kind]
    since: int = 0
    is_dry_run: bool = False
    others: Mapping[Place, bool] = {}

    def needs(self) -> Iterator[Need]:
        yield Need(REFERENCES, _around(self))
        for turn in self.turns:
            yield Need(turn.subject.shelf, turn.object_id)
            if turn.before is not None and turn.subject.claimants is not None:
                yield from turn.subject.claimants.needs(turn.subject.claimed(turn.before))
            for engagement_id in _with_transcript(turn):
                yield Need(ENGAGEMENTS, engagement_id)
                yield Need(TRANSCRIPTS, engagement_id)

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


# Objects come back in this order, so that each finds the objects it refers to. They are deleted in the reverse order.
_ORDER: Final = (Kind.COMPANY, Kind.TAG, Kind.CONTACT, Kind.ENGAGEMENT, Kind.TRANSCRIPT, Kind.TRANSCRIPT_COMMENT)
# Maps the kind of a missing object to the reason why an object that referred to it is kept.
_NOT_FOUND: Final = {
    Kind.CONTACT: KeptReason.CONTACT_NOT_FOUND,
    Kind.COMPANY: KeptReason.COMPANY_NOT_FOUND,
    Kind.TAG: KeptReason.TAG_NOT_FOUND,
    Kind.ENGAGEMENT: KeptReason.ENGAGEMENT_NOT_FOUND,
    Kind.TRANSCRIPT: KeptReason.TRANSCRIPT_NOT_FOUND,
}


class _Move(NamedTuple):
    """The effect of an undo on references: those an object has, those it gets back, and the targets it creates and removes."""

    names: set[Place]
    renames: set[Place]
    gives: set[Place]
    takes: set[Place]


def _provides(kind: Kind, row: Any) -> set[Place]:
    """Return the targets that an object offers to references now."""
    if row is None or row.deleted_at is not None:
        return set()
    return provided(kind, row.id, SUBJECTS[kind].entered(row))


def _names(subject: Subject[Any, Any], row: Any) -> set[Place]:
    """Return the references that an object has now."""
    if row.deleted_at is None:
        return named(row.id, subject.entered(row))
    return named(row.id, None, getattr(row, "merged_into", None))


def _with_transcript(turn: Turn) -> Iterator[UUID]:
    """Yield the engagements that must be loaded to undo a turn, each with its transcript."""
    if turn.kind is Kind.TRANSCRIPT or (turn.kind is Kind.ENGAGEMENT and turn.before is None):
        yield turn.object_id
    if (engagement_id := engagement_of(turn.before)) is not None:
        yield engagement_id


def _move(turn: Turn, row: Any) -> _Move:
    names = _names(turn.subject, row)
    renames = named(turn.object_id, turn.before, turn.merged_into)
    if turn.kind is not Kind.CONTACT or turn.before is None:
        renames -= names
    before, after = _provides(turn.kind, row), provided(turn.kind, turn.object_id, turn.before)
    return _Move(names, renames, after - before, before - after)


class _Settling:
    """The choice of the turns that can be undone together: `going`.

    Keeping one turn may block another. After some are kept, the rest is checked again, until none is blocked.
    """

    def __init__(self, book: Book, command: UndoTurns) -> None:
        self._book = book
        self._command = command
        self._claimed = {turn.place: _claimed(turn) for turn in command.turns}
        self._moves: dict[Place, _Move] = {}
        references = book.find(REFERENCES, _around(command))
        assert references is not None, "the command lists it as a need"
        self._gone = {each.id: each for each in references.gone}
        self._needed = {*references.needed, *ids.decoded_all(ids.TAG, references.needed_tags)}
        self._named_beside = self._named_in_batch()
        self.going: dict[Place, Turn] = {}
        self.kept: dict[Place, Kept] = {}

    def settle(self) -> None:
        """Sort all turns into `going` and `kept`."""
        for turn in self._command.turns:
            row: Any = self._book.find(turn.subject.shelf, turn.object_id)
            if row is not None:
                self._moves[turn.place] = _move(turn, row)
            if row is None or row.version != turn.version:
                self.kept[turn.place] = turn.kept(KeptReason.CHANGED_SINCE)
            elif _differs(turn, row):
                self.going[turn.place] = turn
        is_settled = False
        while not is_settled:
            claimed = self._claimed_first()
            given = {place for going in self.going for place in self._moves[going].gives}
            taken = {place for going in self.going for place in self._moves[going].takes}
            staying = {place for each, move in self._moves.items() if each not in self.going for place in move.names}
            kept: dict[Place, Kept] = {}
            for place, turn in self.going.items():
                obstacle = self._need(turn, staying) or self._missing(turn, given, taken) or self._conflict(turn, claimed)
                if obstacle is not None:
                    kept[place] = obstacle
            for place in kept:
                del self.going[place]
            self.kept |= kept
            is_settled = not kept

    def _named_in_batch(self) -> set[Place]:
        """Return the references of objects outside this undo: those that the batch has changed, and transcripts."""
        rows: list[tuple[Kind, Any]] = [
            (kind, row)
            for kind in (Kind.CONTACT, Kind.ENGAGEMENT, Kind.TRANSCRIPT_COMMENT, Kind.TRANSCRIPT)
            for row in self._book.put_on(SUBJECTS[kind].shelf)
        ]
        for engagement_id in {each for turn in self._command.turns for each in _with_transcript(turn)}:
            transcript = self._book.find(TRANSCRIPTS, engagement_id)
            rows += [] if transcript is None else [(Kind.TRANSCRIPT, transcript)]
        turns = {turn.place for turn in self._command.turns}
        return {place for kind, row in rows if (kind, row.id) not in turns for place in _names(SUBJECTS[kind], row)}

    def _claimed_first(self) -> dict[tuple[Kind, str], UUID]:
        """Return the object that gets each unique key. During one request, two objects may have had a key in succession."""
        claimed: dict[tuple[Kind, str], UUID] = {}
        for turn in self.going.values():
            for key in self._claimed[turn.place]:
                claimed.setdefault((turn.kind, key), turn.object_id)
        return claimed

    def _missing(self, turn: Turn, given: AbstractSet[Place], taken: AbstractSet[Place]) -> Kept | None:
        """Return why an object is kept that would refer to a missing object, or None if it would not."""
        for place in sorted(self._moves[turn.place].renames, key=lambda each: _ORDER.index(each[0])):
            if place not in given and (place in taken or not self._is_there(turn, place)):
                return turn.kept(_NOT_FOUND[place[0]])
        return None

    def _is_there(self, turn: Turn, place: Place) -> bool:
        """Whether a target exists, or did not exist before the request either, so that the reference led nowhere then, too."""
        kind, object_id = place
        if place in self._command.others:
            return self._command.others[place]
        if kind in (Kind.ENGAGEMENT, Kind.TRANSCRIPT):
            engagement_id = engagement_of(turn.before) or turn.object_id
            rows: list[tuple[Kind, Any]] = [
                (Kind.ENGAGEMENT, active(self._book, ENGAGEMENTS, engagement_id)),
                (Kind.TRANSCRIPT, active(self._book, TRANSCRIPTS, engagement_id)),
            ]
            return any(place in _provides(of_kind, each) for of_kind, each in rows)
        row: Any = self._book.find(SUBJECTS[kind].shelf, object_id)
        if row is None:
            gone = self._gone.get(object_id)
            is_there, version, is_merged = gone is None, gone and gone.version, gone is not None and gone.is_merged
        else:
            is_there, version = row.deleted_at is None, row.version
            is_merged = getattr(row, "merged_into", None) is not None
        if is_there or (turn.kind is Kind.CONTACT and turn.before is not None):
            return is_there
        # Engagements of a merged contact would be moved to the contact that replaces it.
        is_followed = is_merged and turn.kind is Kind.ENGAGEMENT
        return version is not None and version < self._command.since and not is_followed

    def _need(self, turn: Turn, staying: AbstractSet[Place]) -> Kept | None:
        """Return why an object is kept that objects outside the undo need, or None if they do not."""
        takes = self._moves[turn.place].takes
        is_needed = bool(takes) and turn.object_id in self._needed
        if is_needed or not takes.isdisjoint(staying) or not takes.isdisjoint(self._named_beside):
            return turn.kept(KeptReason.IN_USE)
        return None

    def _conflict(self, turn: Turn, claimed: Mapping[tuple[Kind, str], UUID]) -> Kept | None:
        subject = turn.subject
        for index, key in enumerate(self._claimed[turn.place]):
            assert subject.claimants is not None, "only objects with unique keys claim any"
            holder = subject.claimants.holder(self._book, key)
            if holder is None or (turn.kind, holder) in self.going or (turn.kind, holder) in self._command.others:
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
            message=f"`{field}` now belongs to another active {subject.name}. Free it there first.",
            conflict=Holder(subject.name, ids.encoded(subject.prefix, holder)) if may_name else UNSET,
        )


def _around(command: UndoTurns) -> Around:
    """Return the query about other objects that an undo depends on."""
    turns, others = command.turns, command.others
    renamed = {place for turn in turns for place in named(turn.object_id, turn.before, turn.merged_into)}
    # Comments on an engagement need its timeline, so a transcript that loses its timeline counts as going.
    losing = [turn for turn in turns if not provided(turn.kind, turn.object_id, turn.before)]
    going = {kind: [turn.object_id for turn in losing if turn.kind is kind] for kind in Kind}
    many = sum(map(len, going.values()))
    return Around(
        since=command.since,
        contacts=_sorted(object_id for kind, object_id in renamed if kind is Kind.CONTACT),
        companies=_sorted(object_id for kind, object_id in renamed if kind is Kind.COMPANY),
        tags=_sorted(object_id for kind, object_id in renamed if kind is Kind.TAG),
        going_contacts=tuple(going[Kind.CONTACT]),
        going_companies=tuple(going[Kind.COMPANY]),
        going_tags=tuple(ids.encoded(ids.TAG, tag_id) for tag_id in going[Kind.TAG]),
        going_engagements=_sorted({*going[Kind.ENGAGEMENT], *going[Kind.TRANSCRIPT]}),
        merging=tuple(turn.object_id for turn in losing if turn.merged_into is not None),
        aside=_sorted({*(turn.object_id for turn in turns), *(object_id for _, object_id in others)}) if many else (),
        most=MOST_COLLEAGUES // max(many, 1),
    )


def _sorted(object_ids: Iterable[UUID]) -> tuple[UUID, ...]:
    return tuple(sorted(object_ids))


def _needs_to_be_there(subject: Subject[Any, Any], state: Any) -> Iterator[Need]:
    """Yield the needs of restoring an object in some state."""
    if subject.claimants is not None:
        yield from subject.claimants.needs(subject.claimed(state))
    if (company_id := company_of(state)) is not None:
        yield Need(COMPANIES, company_id)


def _claimed(turn: Turn) -> list[str]:
    return [] if turn.before is None else turn.subject.claimed(turn.before)


def _differs(turn: Turn, row: Any) -> bool:
    """Whether an object differs from its state before the request."""
    if turn.before is None or row.deleted_at is not None:
        return (turn.before is None) != (row.deleted_at is not None)
    now = turn.subject.entered(row)
    aside = turn.subject.beside | {"updated_at"}
    return any(getattr(now, name) != getattr(turn.before, name) for name in now.__struct_fields__ if name not in aside)


class _Rank(NamedTuple):
    """The sort key for reverting: deletions last, then by kind, then restored objects after updated ones."""

    goes: bool
    order: int
    comes_back: bool


def _revert(book: Book, going: Mapping[Place, Turn]) -> dict[Place, Reverted]:
    """Give objects back their earlier state. Return the result for each."""
    rows: dict[Place, Any] = {place: book.find(turn.subject.shelf, turn.object_id) for place, turn in going.items()}
    # All current unique keys are freed before any object claims its earlier ones.
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
    """Return a state as the ledger records it. A transcript is recorded with its engagement."""
    if turn.kind is not Kind.TRANSCRIPT:
        return state
    engagement = book.find(ENGAGEMENTS, turn.object_id)
    return state if engagement is None else msgspec.structs.replace(state, engagement=engagement.object)
