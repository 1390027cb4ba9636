"""The commands that restore deleted objects and undo requests."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.companies.model import CompanyRecord
from herdbook.companies.store import COMPANIES, COMPANY
from herdbook.contacts.model import Contact, ContactRecord
from herdbook.contacts.store import CONTACT
from herdbook.custom_fields.commands import (
    EntryAt,
    LookAgain,
    conversions,
    fitted_entries,
    require_room,
    require_unconverted,
    shown_entry,
    unconverted_holders,
    without_hidden,
)
from herdbook.custom_fields.model import Field, given_back
from herdbook.custom_fields.store import CONVERT_VALUES, FIELD, FIELDS, changes_form, note_undone
from herdbook.custom_fields.values import Conversion, former_lists
from herdbook.engagements.store import ENGAGEMENT, ENGAGEMENTS, TRANSCRIPT, TRANSCRIPTS
from herdbook.errors import NotFound, Stale, Taken, quoted
from herdbook.history.model import KEPT_MESSAGES, Kept, KeptReason, Reverted, RevertedBy, Undo, value_at
from herdbook.history.references import ObjectKey, company_of, engagement_of, named, provided, without
from herdbook.history.store import (
    ENTRY_MARKS,
    MAX_COMPANY_CONTACTS,
    REFERENCES,
    SURVIVORS,
    UNDONE,
    Around,
    EntryMark,
    UndoneRequest,
)
from herdbook.http.problems import Holder
from herdbook.ledger.changes import same
from herdbook.ledger.claims import HeldKey, UniqueKey
from herdbook.ledger.object_types import ObjectType, ObjectTypes, active, deleted, restored, updated
from herdbook.ledger.unfinished import UNFINISHED
from herdbook.ledger.unit_of_work import Need, Result, UnitOfWork
from herdbook.notes.model import Note
from herdbook.notes.store import NOTE, place_of
from herdbook.tags.store import TAG

# The types whose objects have values of fields.
_WITH_VALUES: Final = (CONTACT, COMPANY)


class Restore(msgspec.Struct, frozen=True, kw_only=True):
    """Restore a deleted object in the state that it had. A contact whose company is gone comes back without a company.

    Its values of fields come back in the form, and with the claims, that the definitions of the fields give them now. A note
    comes back only to an object that exists, or to the one that replaces a merged one.

    An object that is not deleted stays unchanged. `tells_values` says that a refusal may tell values that another one has by
    now. Refusals: Invalid for a field past the limit, NotFound, Stale, Taken.
    """

    object_type: ObjectType[Any, Any]
    object_id: UUID
    if_version: frozenset[int] | None = None
    tells_values: bool = False

    def needs(self) -> Iterator[Need]:
        yield Need(self.object_type.table, self.object_id)

    def apply(self, work: UnitOfWork) -> Result:
        object_type = self.object_type
        row: Any = work.get(object_type.table, self.object_id)
        if row is None:
            raise NotFound(object_type.name)
        if self.if_version is not None and row.version not in self.if_version:
            raise Stale(row.version)
        if row.deleted_at is None:
            return Result(row.version, row.entry)
        if object_type is FIELD:
            require_room(work, row.object_type)
        after = self._with_values(work, row) if object_type in _WITH_VALUES else row.entry
        if isinstance(after, Note):
            after = _on_survivor(work, after)
        work.require(_needs_to_be_there(object_type, after))
        if active(work, COMPANIES, company_of(after)) is None and isinstance(after, Contact):
            after = msgspec.structs.replace(after, company=UNSET)
        if isinstance(after, Note):
            place, place_id = place_of(after)
            if active(work, place.table, place_id) is None:
                raise NotFound(place.noun, object_id=place_id)
        self._claim(work, after)
        version, _ = restored(work, object_type, row, after)
        now: Any = work.get(object_type.table, self.object_id)
        return Result(version, _shown(work, now.entry))

    def _claim(self, work: UnitOfWork, after: Any) -> None:
        """Claim the keys that the object had. The caller has not sent them, so a refusal tells them."""
        try:
            self.object_type.claim(work, self.object_id, None, after)
        except Taken as taken:
            errors = [
                error._replace(message=_in_the_way(self.object_type, after, error.field, tells_it=self.tells_values))
                for error in taken.errors
            ]
            raise Taken(errors, taken.holders, taken.read_scope) from None

    def _with_values(self, work: UnitOfWork, row: Any) -> Any:
        """Return the state with the values that the object gets back, and the claims of them. Refusal: Taken."""
        object_type = self.object_type
        (after,) = fitted_entries(work, object_type, [EntryAt(row.id, row.entry, row.version)])
        if after.unique_values is not UNSET:
            defined = conversions(work, object_type.name)
            (after,) = without_hidden(work, object_type, [after], defined, lambda _, holder: holder == self.object_id)
            require_unconverted(work, object_type, after)
        return after


def _in_the_way(object_type: ObjectType[Any, Any], state: Any, path: str, *, tells_it: bool) -> str:
    """Return the sentence that says which value of an earlier state another object has by now."""
    value = value_at(state, path) if tells_it else None
    subject = f"`{path}`" if value is None else f"The value `{quoted(str(value))}` of `{path}`"
    return f"{subject} now belongs to another active {object_type.name}. Free it there first."


def _on_survivor(work: UnitOfWork, note: Note) -> Note:
    """Return a deleted note on the object that replaces a merged one, as the notes that were there when it was merged."""
    place, place_id = place_of(note)
    seen: set[UUID] = set()
    row: Any = work.get(place.table, place_id)
    # An undo can turn a chain of merges into a circle.
    while row is not None and row.deleted_at is not None and row.merged_into is not None and row.id not in seen:
        seen.add(row.id)
        replaced = None if work.has_changed(place.table, row.id) else work.get(SURVIVORS[place.name], row.id)
        row = work.get(place.table, row.merged_into if replaced is None else replaced.survivor_id)
    if row is None or row.id == place_id:
        return note
    return msgspec.structs.replace(note, **{f"{place.name}_id": ids.encoded(place.prefix, row.id)})


def _shown(work: UnitOfWork, entry: Any) -> Any:
    return shown_entry(work, entry.object.value, entry) if isinstance(entry, ContactRecord | CompanyRecord) else entry


# A unique key, and the text of one of its keys.
ClaimedKey: TypeAlias = tuple[UniqueKey[Any], str]


class Reversal(msgspec.Struct, frozen=True, kw_only=True):
    """A request's changes of one object, with the data that is needed to undo them.

    `version` is the number of the request's last entry for the object. `before` is the object as it was before the first one.
    None means that it did not exist; it may have been merged into another one. `read_from` is the mark of the entry that
    `before` was read from, and `had_at` the number of the entry before that one. `is_undone` says that an undo has taken
    the changes back before.
    """

    object_type: ObjectType[Any, Any]
    object_id: UUID
    version: int
    before: Any
    merged_into: UUID | None = None
    read_from: EntryMark | None = None
    had_at: int = 0
    is_undone: bool = False

    @property
    def place(self) -> ObjectKey:
        """The type and id of the object. The id alone is not unique, because a transcript has the id of its engagement."""
        return self.object_type, self.object_id

    @property
    def shown_id(self) -> str:
        """The object's id as the API shows it."""
        return ids.encoded(self.object_type.prefix, self.object_id)

    def kept(self, reason: KeptReason) -> Kept:
        """Report that the object is not undone, and why."""
        return Kept(object=self.object_type.name, id=self.shown_id, reason=reason, message=KEPT_MESSAGES[reason])


class UndoPreview(Exception):
    """The result that an undo would have, raised by a dry run so that nothing is written."""

    def __init__(self, undo: Undo) -> None:
        super().__init__(undo)
        self.undo = undo


class UndoReversals(msgspec.Struct, frozen=True, kw_only=True):
    """Give objects back their state before a request, if they have not changed since and the states are possible together.

    An object that others need is kept, and no object gets back a reference to one that does not exist. Both rules apply from
    `since` on, the number of the request's first entry: a reference that led nowhere before the request may lead nowhere again.
    `object_types` are all types, and `may_name` those whose holders the caller may see. `others` are the objects that earlier
    commands of the same undo have reverted, or would have in a dry run, and whether each then exists. `defined` are the
    definitions of fields that they would have given back. Values of fields get the form, and the claims, that the definitions
    then give them. `converts` tells whether the undo gives back definitions of fields, so that a conversion follows. There are
    no refusals. A dry run raises UndoPreview, which no caller sees. Nor does one see LookAgain, raised if a field would get
    another kind or other options while its values are converted for another request: a text becomes an option by its label.
    """

    request_id: str
    reversals: tuple[Reversal, ...]
    object_types: ObjectTypes
    may_name: frozenset[ObjectType[Any, Any]]
    since: int = 0
    is_dry_run: bool = False
    others: Mapping[ObjectKey, bool] = {}
    defined: tuple[Field, ...] = ()
    converts: bool = False

    def needs(self) -> Iterator[Need]:
        yield Need(REFERENCES, _around(self))
        yield from _rows_needed(self.reversals)

    def apply(self, work: UnitOfWork) -> Result:
        work.require(_rows_needed(self.reversals))
        plan = _UndoPlan(work, self)
        plan.settle()
        undone = ids.decoded(ids.REQUEST, self.request_id) or ids.NIL
        if any(_awaits_conversion(work, reversal, undone) for reversal in plan.going.values()):
            raise LookAgain
        reverted = plan.given_back | _revert(work, plan.going, undone)
        undo = Undo(
            object="undo",
            request_id=self.request_id,
            dry_run=self.is_dry_run,
            reverted=tuple(reverted[reversal.place] for reversal in self.reversals if reversal.place in reverted),
            kept=tuple(plan.kept[reversal.place] for reversal in self.reversals if reversal.place in plan.kept),
        )
        if self.is_dry_run:
            raise UndoPreview(undo)
        if reverted:
            work.put(UNDONE, UndoneRequest(work.workspace_id, work.origin.request_id, undone))
        return Result(work.seq, undo)


class _Move(NamedTuple):
    """The effect of an undo on references: those an object has, those it gets back, and the targets it creates and removes.

    `keeps` are the links that an engagement has kept while it is deleted.
    """

    names: set[ObjectKey]
    renames: set[ObjectKey]
    gives: set[ObjectKey]
    takes: set[ObjectKey]
    keeps: set[ObjectKey]


def _provides(object_type: ObjectType[Any, Any], row: Any) -> set[ObjectKey]:
    """Return the targets that an object offers to references now."""
    if row is None or row.deleted_at is not None:
        return set()
    return provided(object_type, row.id, row.entry)


def _names(object_type: ObjectType[Any, Any], row: Any) -> set[ObjectKey]:
    """Return the references that an object has now."""
    if row.deleted_at is None:
        return named(object_type, row.id, row.entry)
    return named(object_type, row.id, None, getattr(row, "merged_into", None))


def _rows_needed(reversals: Iterable[Reversal]) -> Iterator[Need]:
    """Yield the needs of undoing objects, without their references."""
    for reversal in reversals:
        object_type = reversal.object_type
        yield Need(object_type.table, reversal.object_id)
        if object_type is FIELD:
            yield Need(UNFINISHED, (CONVERT_VALUES.name, reversal.object_id))
        if reversal.read_from is not None:
            yield Need(ENTRY_MARKS, reversal.read_from.seq)
        yield from (held.need for held in object_type.held(reversal.before))
        for engagement_id in _with_transcript(reversal):
            yield Need(ENGAGEMENTS, engagement_id)
            yield Need(TRANSCRIPTS, engagement_id)


def _with_transcript(reversal: Reversal) -> Iterator[UUID]:
    """Yield the engagements that must be loaded to undo a turn, each with its transcript."""
    if reversal.object_type is TRANSCRIPT or (reversal.object_type is ENGAGEMENT and reversal.before is None):
        yield reversal.object_id
    if (engagement_id := engagement_of(reversal.before)) is not None:
        yield engagement_id


def _move(reversal: Reversal, row: Any) -> _Move:
    names = _names(reversal.object_type, row)
    renames = _renamed(reversal)
    strict = {place for place in renames if _is_strict(reversal, place[0])}
    renames = strict | (renames - names)
    before, after = _provides(reversal.object_type, row), provided(reversal.object_type, reversal.object_id, reversal.before)
    keeps = set[ObjectKey]() if reversal.object_type is not ENGAGEMENT else named(ENGAGEMENT, row.id, row.entry) - names
    return _Move(names, renames, after - before, before - after, keeps)


def _is_strict(reversal: Reversal, target: ObjectType[Any, Any]) -> bool:
    """Whether a reference to this type must not lead nowhere, even if it did before: only that of a contact to its company."""
    return reversal.object_type is CONTACT and reversal.before is not None and target is COMPANY


def _renamed(reversal: Reversal) -> set[ObjectKey]:
    """Return the references that an object had before the request."""
    return named(reversal.object_type, reversal.object_id, reversal.before, reversal.merged_into)


def lacks_merged(object_type: ObjectType[Any, Any]) -> KeptReason:
    """Return why an object is kept if another one, which was merged into it before the request, is erased."""
    return KeptReason[f"{object_type.name.upper()}_NOT_FOUND"]


class _UndoPlan:
    """The choice of the turns that can be undone together: `going`.

    Keeping one turn may block another. After some are kept, the rest is checked again, until none is blocked.
    """

    def __init__(self, work: UnitOfWork, command: UndoReversals) -> None:
        self._work = work
        self._command = command
        references = work.get(REFERENCES, _around(command))
        assert references is not None, "the command lists it as a need"
        self._gone = {each.id: each for each in references.gone}
        self._reversals = self._possible_reversals()
        self._claimed: dict[ObjectKey, list[HeldKey]] = {}
        self._unconverted: dict[ObjectKey, dict[str, UUID]] = {}
        self._moves: dict[ObjectKey, _Move] = {}
        self._needed = {*references.needed, *ids.decoded_all(ids.TAG, references.needed_tags)}
        self._named_beside = self._named_in_batch()
        self.going: dict[ObjectKey, Reversal] = {}
        self.kept: dict[ObjectKey, Kept] = {}
        self.given_back: dict[ObjectKey, Reverted] = {}

    def settle(self) -> None:
        """Sort all turns into `going` and `kept`."""
        self._keep_changed()
        is_settled = False
        while not is_settled:
            self._fit()
            claimed = self._claimed_first()
            given = {place for going in self.going for place in self._moves[going].gives}
            taken = {place for going in self.going for place in self._moves[going].takes}
            staying = {place for each, move in self._moves.items() if each not in self.going for place in move.names}
            kept: dict[ObjectKey, Kept] = {}
            for place, reversal in self.going.items():
                obstacle = (
                    self._need(reversal, staying) or self._missing(reversal, given, taken) or self._conflict(reversal, claimed)
                )
                if obstacle is not None:
                    kept[place] = obstacle
            for place in kept:
                del self.going[place]
            self.kept |= kept
            is_settled = not kept

    def _keep_changed(self) -> None:
        """Sort out the turns of objects that are gone, lack one that was merged into them, or were changed since."""
        rows: dict[ObjectKey, Any] = {
            each.place: self._work.get(each.object_type.table, each.object_id) for each in self._reversals
        }
        lacking = {each.merged_into for each in self._reversals if rows[each.place] is None}
        self.given_back = self._given_back(self._reversals, rows)
        for reversal in self._reversals:
            row = rows[reversal.place]
            if row is not None:
                self._moves[reversal.place] = _move(reversal, row)
            if row is None:
                self.kept[reversal.place] = reversal.kept(KeptReason.ERASED)
            elif reversal.object_id in lacking:
                self.kept[reversal.place] = reversal.kept(lacks_merged(reversal.object_type))
            elif reversal.place in self.given_back:
                continue
            elif row.version != reversal.version or self._is_emptied(reversal):
                reason = KeptReason.ALREADY_UNDONE if reversal.is_undone else KeptReason.CHANGED_SINCE
                self.kept[reversal.place] = reversal.kept(reason)
            else:
                self.going[reversal.place] = reversal

    def _fit(self) -> None:
        """Give values the form that they would have, and leave out the turns that would then change nothing."""
        going = [each for each in self._reversals if each.place in self.going]
        fitted = self._fitted(going)
        self.going = {
            each.place: reversal
            for each in going
            if _differs(
                reversal := msgspec.structs.replace(each, before=fitted.get(each.place, each.before)),
                self._work.get(each.object_type.table, each.object_id),
            )
        }
        self._claimed = {place: reversal.object_type.held(reversal.before) for place, reversal in self.going.items()}
        for object_type in _WITH_VALUES:
            states = [
                each.before for (type_, _), each in self.going.items() if type_ is object_type and each.before is not None
            ]
            found = unconverted_holders(self._work, object_type, states)
            self._unconverted |= {(object_type, object_id): holders for object_id, holders in found.items()}
        held = [each for claimed in self._claimed.values() for each in claimed]
        self._work.require(each.need for each in held)
        for unique_key in {each.unique_key for each in held}:
            # The rows that this misses are loaded together.
            unique_key.holders(self._work, [each.key for each in held if each.unique_key is unique_key])

    def _given_back(self, reversals: Sequence[Reversal], rows: Mapping[ObjectKey, Any]) -> dict[ObjectKey, Reverted]:
        """Return objects whose values the conversion that follows from this undo has given back before it came to them."""
        changed = [
            each
            for each in reversals
            if self._command.converts
            and each.object_type in _WITH_VALUES
            and each.before is not None
            and (row := rows[each.place]) is not None
            and row.deleted_at is None
            and row.version != each.version
        ]
        fitted = self._fitted(changed)
        return {
            each.place: Reverted(object=each.object_type.name, id=each.shown_id, action=RevertedBy.UPDATED)
            for each in changed
            if not _differs(msgspec.structs.replace(each, before=fitted.get(each.place, each.before)), rows[each.place])
        }

    def _fitted(self, reversals: Sequence[Reversal]) -> dict[ObjectKey, Any]:
        """Return the states with values that objects would get back, without claims that nobody can free for them."""
        fitted: dict[ObjectKey, Any] = {}
        for object_type in _WITH_VALUES:
            those = [each for each in reversals if each.object_type is object_type and each.before and each.before.fields]
            befores = [EntryAt(each.object_id, each.before, each.had_at) for each in those]
            if not those:
                continue
            defined = self._defined(object_type.name)

            def may_hold(state: Any, holder: UUID, object_type: ObjectType[Any, Any] = object_type) -> bool:
                place = object_type, holder
                is_own = ids.encoded(object_type.prefix, holder) == state.id
                return is_own or place in self.going or place in self._command.others

            found = fitted_entries(self._work, object_type, befores, defined)
            found = without_hidden(self._work, object_type, found, defined, may_hold)
            fitted |= {each.place: before for each, before in zip(those, found, strict=True)}
        return fitted

    def _defined(self, object_type: str) -> Mapping[str, Conversion]:
        """Return the conversions of values to the definitions of the fields of a type as they would be."""
        found = conversions(self._work, object_type)
        going = [each.before for (type_, _), each in self.going.items() if type_ is FIELD]
        for field in (*self._command.defined, *going):
            if field.object_type.value == object_type:
                now = found.get(field.key)
                former = () if now is None else former_lists(now.former, now.field, field, self._work.seq + 1)
                found[field.key] = Conversion(field, former)
        return found

    def _is_emptied(self, reversal: Reversal) -> bool:
        """Whether an erasure has taken a person out of the object since its state was read. A deleted one keeps its version."""
        if self._work.has_changed(reversal.object_type.table, reversal.object_id):
            return True
        read_from = reversal.read_from
        return read_from is not None and self._work.get(ENTRY_MARKS, read_from.seq) != read_from

    def _possible_reversals(self) -> Sequence[Reversal]:
        """Return the turns without references to objects that are removed for good: no later undo could bring these back.

        Those of lists keep the options that values may have.
        """
        removed = {each.id for each in self._gone.values() if each.version is None}
        replace = msgspec.structs.replace
        reversals = [with_options(each, self._field(each)) for each in self._command.reversals]
        return [replace(each, before=without(each.before, removed)) for each in reversals] if removed else reversals

    def _field(self, reversal: Reversal) -> Field | None:
        """Return the present definition, if the turn is that of a field."""
        row = self._work.get(FIELDS, reversal.object_id) if reversal.object_type is FIELD else None
        return None if row is None else row.entry

    def _named_in_batch(self) -> set[ObjectKey]:
        """Return the references of objects outside this undo: those that the batch has changed, and transcripts."""
        rows: list[tuple[ObjectType[Any, Any], Any]] = [
            (object_type, row)
            for object_type in self._command.object_types
            if object_type.refers_to
            for row in self._work.changed_in(object_type.table)
        ]
        for engagement_id in {each for reversal in self._command.reversals for each in _with_transcript(reversal)}:
            transcript = self._work.get(TRANSCRIPTS, engagement_id)
            rows += [] if transcript is None else [(TRANSCRIPT, transcript)]
        reversals = {reversal.place for reversal in self._command.reversals}
        return {place for each, row in rows if (each, row.id) not in reversals for place in _names(each, row)}

    def _claimed_first(self) -> dict[ClaimedKey, UUID]:
        """Return the object that gets each unique key. During one request, two objects may have had a key in succession."""
        claimed: dict[ClaimedKey, UUID] = {}
        for reversal in self.going.values():
            for held in self._claimed[reversal.place]:
                claimed.setdefault((held.unique_key, held.key), reversal.object_id)
        return claimed

    def _missing(self, reversal: Reversal, given: AbstractSet[ObjectKey], taken: AbstractSet[ObjectKey]) -> Kept | None:
        """Return why an object is kept that would refer to a missing object, or None if it would not."""
        for place in sorted(self._moves[reversal.place].renames, key=lambda each: each[0].undo_order):
            if place not in given and (place in taken or not self._is_there(reversal, place)):
                # A type that others refer to has such a reason.
                return reversal.kept(KeptReason[f"{place[0].name.upper()}_NOT_FOUND"])
        return None

    def _is_there(self, reversal: Reversal, place: ObjectKey) -> bool:
        """Whether a target exists, or may be missing.

        It may be if it did not exist before the request either, so that the reference led nowhere then, too, or if a deleted
        engagement has kept its link to it.
        """
        object_type, object_id = place
        if place in self._command.others:
            return self._command.others[place]
        if object_type in (ENGAGEMENT, TRANSCRIPT):
            engagement_id = engagement_of(reversal.before) or reversal.object_id
            rows: list[tuple[ObjectType[Any, Any], Any]] = [
                (ENGAGEMENT, active(self._work, ENGAGEMENTS, engagement_id)),
                (TRANSCRIPT, active(self._work, TRANSCRIPTS, engagement_id)),
            ]
            return any(place in _provides(each, row) for each, row in rows)
        # `REFERENCES` says of an object that is not loaded whether it is gone.
        row: Any = self._work.get_if_loaded(object_type.table, object_id)
        if row is None:
            gone = self._gone.get(object_id)
            is_there, version, is_merged = gone is None, gone and gone.version, gone is not None and gone.is_merged
        else:
            is_there, version = row.deleted_at is None, row.version
            is_merged = getattr(row, "merged_into", None) is not None
        if is_there or _is_strict(reversal, object_type):
            return is_there
        # Engagements and notes of a merged contact or company would be moved to the one that replaces it.
        is_followed = is_merged and reversal.object_type in (ENGAGEMENT, NOTE)
        is_old = version is not None and version < self._command.since
        return (is_old or place in self._moves[reversal.place].keeps) and not is_followed

    def _need(self, reversal: Reversal, staying: AbstractSet[ObjectKey]) -> Kept | None:
        """Return why an object is kept that objects outside the undo need, or None if they do not."""
        takes = self._moves[reversal.place].takes
        is_needed = bool(takes) and reversal.object_id in self._needed
        if is_needed or not takes.isdisjoint(staying) or not takes.isdisjoint(self._named_beside):
            return reversal.kept(KeptReason.IN_USE)
        return None

    def _conflict(self, reversal: Reversal, claimed: Mapping[ClaimedKey, UUID]) -> Kept | None:
        object_type = reversal.object_type
        for held in self._claimed[reversal.place]:
            holder = held.unique_key.holder(self._work, held.key)
            if holder is None or (object_type, holder) in self.going or (object_type, holder) in self._command.others:
                holder = claimed[held.unique_key, held.key]
            if holder != reversal.object_id:
                return self._taken(reversal, held.field_path, holder)
        for key, holder in self._unconverted.get(reversal.place, {}).items():
            if (object_type, holder) not in self.going and (object_type, holder) not in self._command.others:
                return self._taken(reversal, f"fields.{key}", holder)
        return None

    def _taken(self, reversal: Reversal, path: str, holder: UUID) -> Kept:
        object_type = reversal.object_type
        may_name = object_type in self._command.may_name
        return Kept(
            object=object_type.name,
            id=reversal.shown_id,
            reason=KeptReason.CONFLICT,
            field=path,
            message=_in_the_way(object_type, reversal.before, path, tells_it=may_name),
            conflict=Holder(object_type.name, ids.encoded(object_type.prefix, holder)) if may_name else UNSET,
        )


def with_options(reversal: Reversal, present: Field | None) -> Reversal:
    """Return the turn of a field in which a list keeps its present options, and any other turn as it is."""
    if present is None or reversal.object_type is not FIELD or reversal.before is None:
        return reversal
    return msgspec.structs.replace(reversal, before=given_back(reversal.before, present))


def _awaits_conversion(work: UnitOfWork, reversal: Reversal, undone: UUID) -> bool:
    """Whether a turn would give a field another form or other options while another request's conversion is unfinished."""
    row = work.get(FIELDS, reversal.object_id) if reversal.object_type is FIELD else None
    if row is None or row.converting is None or reversal.before is None:
        return False
    noted = work.get(UNFINISHED, (CONVERT_VALUES.name, row.id))
    if noted is None or not noted.is_there or noted.request_id == undone:
        return False
    return changes_form(row.entry, reversal.before) or row.entry.options != reversal.before.options


def _around(command: UndoReversals) -> Around:
    """Return the query about other objects that an undo depends on."""
    reversals, others = command.reversals, command.others
    renamed = {place for reversal in reversals for place in _renamed(reversal)}
    # Comments on an engagement need its timeline, so a transcript that loses its timeline counts as going.
    losing = [reversal for reversal in reversals if not provided(reversal.object_type, reversal.object_id, reversal.before)]
    going: dict[ObjectType[Any, Any], list[UUID]] = {}
    for reversal in losing:
        going.setdefault(reversal.object_type, []).append(reversal.object_id)
    return Around(
        since=command.since,
        contacts=_sorted(object_id for each, object_id in renamed if each is CONTACT),
        companies=_sorted(object_id for each, object_id in renamed if each is COMPANY),
        tags=_sorted(object_id for each, object_id in renamed if each is TAG),
        going_contacts=tuple(going.get(CONTACT, ())),
        going_companies=tuple(going.get(COMPANY, ())),
        going_tags=tuple(ids.encoded(ids.TAG, tag_id) for tag_id in going.get(TAG, ())),
        going_engagements=_sorted({*going.get(ENGAGEMENT, ()), *going.get(TRANSCRIPT, ())}),
        merging=tuple(reversal.object_id for reversal in losing if reversal.merged_into is not None),
        aside=_sorted({*(reversal.object_id for reversal in reversals), *(object_id for _, object_id in others)})
        if losing
        else (),
        most=MAX_COMPANY_CONTACTS // max(len(losing), 1),
    )


def _sorted(object_ids: Iterable[UUID]) -> tuple[UUID, ...]:
    return tuple(sorted(object_ids))


def _needs_to_be_there(object_type: ObjectType[Any, Any], state: Any) -> Iterator[Need]:
    """Yield the needs of restoring an object in some state."""
    yield from (held.need for held in object_type.held(state))
    if (company_id := company_of(state)) is not None:
        yield Need(COMPANIES, company_id)
    if isinstance(state, Note):
        place, place_id = place_of(state)
        yield Need(place.table, place_id)


def _differs(reversal: Reversal, row: Any) -> bool:
    """Whether an object differs from its state before the request."""
    if reversal.before is None or row.deleted_at is not None:
        return (reversal.before is None) != (row.deleted_at is not None)
    now = row.entry
    aside = reversal.object_type.context_fields | {"updated_at"}
    return any(
        not same(getattr(now, name), getattr(reversal.before, name)) for name in now.__struct_fields__ if name not in aside
    )


def _revert(work: UnitOfWork, going: Mapping[ObjectKey, Reversal], undone: UUID) -> dict[ObjectKey, Reverted]:
    """Give objects back their state before a request. Return the result for each."""
    rows: dict[ObjectKey, Any] = {
        place: work.get(reversal.object_type.table, reversal.object_id) for place, reversal in going.items()
    }
    # All current unique keys are freed before any object claims its earlier ones.
    for place, reversal in going.items():
        object_type = reversal.object_type
        if rows[place].deleted_at is None:
            object_type.free(work, reversal.object_id, rows[place].entry)

    # Restored objects come back after those that only change. Objects that go away come last, in the reverse order.
    staying = sorted(
        (each for each in going.values() if each.before is not None),
        key=lambda each: (each.object_type.undo_order, rows[each.place].deleted_at is not None),
    )
    leaving = sorted(
        (each for each in going.values() if each.before is None), key=lambda each: each.object_type.undo_order, reverse=True
    )
    return {
        reversal.place: Reverted(
            object=reversal.object_type.name,
            id=reversal.shown_id,
            action=_reverted(work, reversal, rows[reversal.place], undone),
        )
        for reversal in (*staying, *leaving)
    }


def _reverted(work: UnitOfWork, reversal: Reversal, row: Any, undone: UUID) -> RevertedBy:
    object_type = reversal.object_type
    if reversal.before is None:
        deleted(work, object_type, row, reversal.merged_into, _as_entered(work, reversal, row.entry))
        return RevertedBy.DELETED
    after = _as_entered(work, reversal, reversal.before)
    object_type.claim(work, reversal.object_id, None, after)
    if row.deleted_at is not None:
        restored(work, object_type, row, after)
        return RevertedBy.RESTORED
    updated(work, object_type, row, after)
    if object_type is FIELD and changes_form(row.entry, after):
        note_undone(work, reversal.object_id, undone)
    return RevertedBy.UPDATED


def _as_entered(work: UnitOfWork, reversal: Reversal, state: Any) -> Any:
    """Return a state as the ledger records it. A transcript is recorded with its engagement."""
    if reversal.object_type is not TRANSCRIPT:
        return state
    engagement = work.get(ENGAGEMENTS, reversal.object_id)
    return state if engagement is None else msgspec.structs.replace(state, engagement=engagement.object)
