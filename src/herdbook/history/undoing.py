"""The undo of a request: in one command for at most 500 objects that are not large, otherwise in consecutive slices.

Slices keep other writes from waiting for the whole undo. Each slice is atomic, but all of them together are not. A repeated
undo finds the reverted objects undone already, and undoes the rest.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.companies.store import COMPANY
from herdbook.contacts.store import CONTACT
from herdbook.custom_fields.commands import ConvertValues, LookAgain
from herdbook.custom_fields.effects import ValueSource, effect_of
from herdbook.custom_fields.model import Field
from herdbook.custom_fields.store import CONVERT_VALUES, FIELD, changes_form, converted_for_others
from herdbook.custom_fields.values import misfits
from herdbook.db.database import Database, find_in
from herdbook.db.pool import CONNECTION_ERRORS, Pool
from herdbook.engagements.commands import PRIVATE_READ, PRIVATE_WRITE
from herdbook.engagements.store import ENGAGEMENT, TRANSCRIPT
from herdbook.errors import Busy, Forbidden, NoLongerKept, NotFound, Unavailable, quoted
from herdbook.history import store
from herdbook.history.commands import Reversal, UndoPreview, UndoReversals, lacks_merged, with_options
from herdbook.history.model import KEPT_MESSAGES, Kept, KeptReason, Reverted, RevertedBy, Undo, state_before
from herdbook.history.references import ObjectKey
from herdbook.history.store import EntryMark, FirstEntry, TouchedObject
from herdbook.http.call import Call
from herdbook.http.operation import Answer
from herdbook.http.problems import Holder
from herdbook.ledger.batch import MANY_ROWS
from herdbook.ledger.changes import Action, is_erased
from herdbook.ledger.ledger import Written
from herdbook.ledger.object_types import TOGETHER_BYTES, ObjectType, ObjectTypes
from herdbook.notes.store import NOTE
from herdbook.tags.store import TAG
from herdbook.transcript_comments.store import TRANSCRIPT_COMMENT
from herdbook.turns import MAX_TRIES, pause

MAX_CHANGES: Final = 500
SLICE: Final = 200
_OF_ENGAGEMENTS: Final = (ENGAGEMENT, TRANSCRIPT)
_CONVERT: Final = partial(ConvertValues, holders={each.name: each for each in (CONTACT, COMPANY)})
_PARTLY_UNDONE: Final = (
    "The database cannot be reached, or too many writes are waiting. Only some changes are undone. Send the request again to "
    "undo the rest."
)
_NOT_UNDONE: Final = "Values of a field are still converted. Nothing is undone. Send the request again when they are."


async def undo(call: Call, request_id: str, *, is_dry_run: bool) -> Answer:
    """Undo a request, and answer with the result. Refusals: Forbidden, NotFound, NoLongerKept, and the ledger's."""
    needed = [each.write_scopes for each in call.services.object_types if each.write_scopes]
    if not any(all(map(call.caller.may, scopes)) for scopes in needed):
        raise Forbidden(needed[0][0])
    touched = await _touched(call, request_id)
    hidden = await _hidden(call, touched)
    await _require_scopes(call, [each for each in touched if each not in hidden])
    may_see = call.caller.may(PRIVATE_READ)
    if not may_see and len(hidden) == len(touched):
        raise _no_such_request()
    kept = [_kept(each, KeptReason.PRIVATE, names_it=may_see) for each in touched if each in hidden]
    kept += [_kept(each, KeptReason.NOT_SUPPORTED) for each in touched if not each.object_type.write_scopes]
    going = [each for each in touched if each not in hidden and each.object_type.write_scopes]
    undone_id = ids.decoded(ids.REQUEST, request_id)
    assert undone_id is not None, "it has changes"
    await _finish_conversions(call, undone_id, [each.object_id for each in going if each.object_type is FIELD])
    going = await effective(call.services.database.pool, call.caller.workspace_id, undone_id, going)
    undoing = _Undoing(call, request_id, touched, kept, is_dry_run=is_dry_run)
    await undoing.undo(going)
    return undoing.answer()


async def _finish_conversions(call: Call, undone_id: UUID, field_ids: Sequence[UUID]) -> None:
    """Finish the conversions of values of some fields, except those that the undone request has begun itself.

    An earlier definition does not tell the form of values that a conversion has not come to, nor their labels.
    """
    if field_ids:
        pool, workspace_id = call.services.database.pool, call.caller.workspace_id
        others = await converted_for_others(pool, workspace_id, field_ids, undone_id)
        await call.finish(CONVERT_VALUES, _CONVERT, others)


async def _touched(call: Call, request_id: str) -> list[TouchedObject]:
    """Return the objects that a request changed. Refusals: NotFound, NoLongerKept."""
    pool, workspace_id = call.services.database.pool, call.caller.workspace_id
    found = ids.decoded(ids.REQUEST, request_id)
    if found is None:
        raise NotFound("request", f"Send {ids.form(ids.REQUEST)}.", fault=f"`{quoted(request_id)}` is not the id of a request.")
    touched = await store.touched(pool, call.services.object_types, workspace_id, found)
    if not touched:
        raise _no_such_request()
    await require_whole(pool, workspace_id, found)
    return touched


async def require_whole(pool: Pool, workspace_id: UUID, request_id: UUID) -> None:
    """Require that all entries of a request are still kept. Refusal: NoLongerKept."""
    if await store.may_be_cut(pool, workspace_id, request_id):
        head, trimmed, _ = await store.ledger_range(pool, workspace_id)
        message = f"Entries up to {trimmed} are no longer kept, and some of this request may have been among them."
        raise NoLongerKept(message, trimmed, head)


async def effective(pool: Pool, workspace_id: UUID, request_id: UUID, touched: Sequence[TouchedObject]) -> list[TouchedObject]:
    """Return objects that a request changed without the later changes that undos have taken back.

    The last entry of such an object is the present one. Objects that are undone already stay in their place, so that a retry of
    an undo in slices finds the same slices.
    """
    states: dict[ObjectKey, store.Effective] = {}
    for object_type in {each.object_type for each in touched}:
        some = [each.object_id for each in touched if each.object_type is object_type]
        of_type = await store.effective(pool, object_type, workspace_id, some, request_id)
        states |= {(object_type, object_id): state for object_id, state in of_type.items()}
    known = [(each, states.get((each.object_type, each.object_id))) for each in touched]
    return [
        each if state is None else each._replace(last=state.version if state.is_same else each.last, is_undone=state.is_undone)
        for each, state in known
    ]


def _no_such_request() -> NotFound:
    return NotFound("request", "Check the id. The request may have changed nothing, or its entries are no longer kept.")


async def _hidden(call: Call, touched: Sequence[TouchedObject]) -> set[TouchedObject]:
    """Return the objects of private engagements that the caller may not change."""
    if call.caller.may(PRIVATE_WRITE):
        return set()
    engagement_ids = [each.object_id for each in touched if each.object_type in _OF_ENGAGEMENTS]
    comment_ids = [each.object_id for each in touched if each.object_type is TRANSCRIPT_COMMENT]
    if not engagement_ids and not comment_ids:
        return set()
    pool, workspace_id = call.services.database.pool, call.caller.workspace_id
    private = await store.private_ones(pool, workspace_id, engagement_ids, comment_ids)
    return {each for each in touched if each.object_id in private}


async def _require_scopes(call: Call, touched: Sequence[TouchedObject]) -> None:
    """Require the write scopes of each type, or the read scopes of a type that has none. Refusal: Forbidden.

    A note takes the scopes that write notes on the object that it is on.
    """
    note_ids = [each.object_id for each in touched if each.object_type is NOTE]
    places = await store.places_of_notes(call.services.database.pool, call.caller.workspace_id, note_ids) if note_ids else {}
    for each in touched:
        plural = places.get(each.object_id) if each.object_type is NOTE else None
        scopes = each.object_type.write_scopes or each.object_type.read_scopes
        for scope in scopes if plural is None else (f"{plural}:read", f"{plural}:write"):
            call.caller.require(scope)


def _kept(each: TouchedObject, reason: KeptReason, *, names_it: bool = True) -> Kept:
    object_type = each.object_type
    shown_id = ids.encoded(object_type.prefix, each.object_id) if names_it else UNSET
    return Kept(object=object_type.name, id=shown_id, reason=reason, message=KEPT_MESSAGES[reason])


class _Undoing:
    """An undo in progress, with the results so far."""

    def __init__(
        self, call: Call, request_id: str, touched: Sequence[TouchedObject], kept: Sequence[Kept], *, is_dry_run: bool
    ) -> None:
        self._call = call
        self._request_id = request_id
        self._is_dry_run = is_dry_run
        self._reverted: list[Reverted] = []
        self._kept = [*kept]
        self._key = call.idempotency_key()
        self._written: list[Written] = []
        self._others: dict[ObjectKey, bool] = {}
        self._defined: list[Field] = []
        workspace_id, object_types = call.caller.workspace_id, call.services.object_types
        self._undone = UndoneHere(
            workspace_id=workspace_id,
            request_id=request_id,
            since=touched[0].first,
            object_types=object_types,
            may_name=may_name(object_types, call.caller.may),
        )

    async def undo(self, touched: Sequence[TouchedObject]) -> None:
        """Undo the changes of these objects, part by part."""
        by_place = {(each.object_type, each.object_id): each for each in touched}

        async def among(object_type: ObjectType[Any, Any], object_ids: Collection[UUID]) -> dict[UUID, TouchedObject]:
            found = {each: by_place.get((object_type, each)) for each in object_ids}
            return {object_id: each for object_id, each in found.items() if each is not None}

        undone = msgspec.structs.replace(self._undone, converts=any(each.object_type is FIELD for each in touched))
        commands = UndoCommands(self._call.services.database, undone, among, self._call.time_slice)
        number = -1
        async for part in self._parts(commands, touched):
            number += 1
            try:
                command, kept = await commands.of(part)
                self._kept += kept
                undo = await self._slice(number, command)
            except (*CONNECTION_ERRORS, Unavailable) as error:
                if not self._written:
                    raise
                raise Unavailable(_PARTLY_UNDONE) from error
            self._reverted += undo.reverted
            self._kept += undo.kept
            if self._is_dry_run:
                reverted = {each.id for each in undo.reverted}
                self._defined += [
                    each.before for each in command.reversals if each.object_type is FIELD and each.shown_id in reverted
                ]
                self._others |= {self._place(each): each.action is not RevertedBy.DELETED for each in undo.reverted}

    async def _parts(
        self, commands: "UndoCommands", touched: Sequence[TouchedObject]
    ) -> AsyncIterator[Sequence[TouchedObject]]:
        """Yield the objects that one command each undoes."""
        if len(touched) <= MAX_CHANGES and await commands.fitting(touched) == len(touched):
            yield touched
            return
        for ranked in _in_order(touched):
            left = ranked
            while left:
                many = await commands.fitting(left[:SLICE])
                yield left[:many]
                left = left[many:]

    def answer(self) -> Answer:
        """Return the answer with all results."""
        undo = Undo(
            object="undo",
            request_id=self._request_id,
            dry_run=self._is_dry_run,
            reverted=tuple(self._reverted),
            kept=tuple(self._kept),
        )
        replayed = bool(self._written) and all(written.replayed for written in self._written)
        return Answer(msgspec.json.encode(undo), replayed=replayed)

    async def _slice(self, number: int, command: UndoReversals) -> Undo:
        command = msgspec.structs.replace(
            command, is_dry_run=self._is_dry_run, others=self._others, defined=tuple(self._defined)
        )
        try:
            written = await self._write(number, command)
        except UndoPreview as preview:
            return preview.undo
        self._written.append(written)
        return msgspec.json.decode(written.body, type=Undo)

    async def _write(self, number: int, command: UndoReversals) -> Written:
        call, key = self._call, self._key
        if number and key is not None:
            key = key.part(number)
        for tries in range(1, MAX_TRIES + 1):
            try:
                return await call.services.ledger.write(call.caller.workspace_id, command, call.origin, key)
            except LookAgain:
                # It has begun since the others were finished.
                field_ids = [each.object_id for each in command.reversals if each.object_type is FIELD]
                await call.finish(CONVERT_VALUES, _CONVERT, field_ids)
            except Busy:
                if not number:
                    raise
            await pause(tries)
        raise Unavailable(_PARTLY_UNDONE if self._written else _NOT_UNDONE)

    def _place(self, reverted: Reverted) -> ObjectKey:
        object_type = self._call.services.object_types.named(reverted.object)
        object_id = ids.decoded(object_type.prefix, reverted.id)
        assert object_id is not None, "the server wrote this id"
        return object_type, object_id


def may_name(object_types: ObjectTypes, may: Callable[[str], bool]) -> frozenset[ObjectType[Any, Any]]:
    """Return the types whose objects an undo may name as holders of values. `may` tells whether its caller has a scope."""
    named = {each for each in object_types if each.unique_keys and may(each.read_scopes[0])}
    return frozenset(named if may(PRIVATE_READ) else named - {ENGAGEMENT})


class UndoneHere(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that all commands of an undo share, as `UndoReversals` has them."""

    workspace_id: UUID
    request_id: str
    since: int
    object_types: ObjectTypes
    may_name: frozenset[ObjectType[Any, Any]]
    converts: bool = False


# Finds those of some objects of a type that the request has changed, by their ids.
TouchedAmong: TypeAlias = Callable[[ObjectType[Any, Any], Collection[UUID]], Awaitable[Mapping[UUID, TouchedObject]]]


class UndoCommands:
    """Makes the commands that undo a request, each for some of the objects that it changed."""

    def __init__(
        self, database: Database, undone: UndoneHere, touched_among: TouchedAmong, time_slice: Callable[[], Awaitable[None]]
    ) -> None:
        self._database = database
        self._undone = undone
        self._touched_among = touched_among
        self._time_slice = time_slice

    async def fitting(self, touched: Sequence[TouchedObject]) -> int:
        """Return how many of the first of some objects one command undoes, by their bytes."""
        # These can hardly have more.
        if len(touched) <= MANY_ROWS:
            return len(touched)
        return await store.fitting_entries(
            self._database.pool, self._undone.workspace_id, [each.first for each in touched], TOGETHER_BYTES
        )

    async def of(self, part: Sequence[TouchedObject]) -> tuple[UndoReversals, list[Kept]]:
        """Return the command for some objects, and those that are kept without it. Refusal: NotFound, if entries are gone."""
        undone, kept = self._undone, list[Kept]()
        reversals = await self._reversals(part, kept)
        reversals = await self._without_unfit(reversals, kept)
        command = UndoReversals(
            request_id=undone.request_id,
            reversals=reversals,
            since=undone.since,
            object_types=undone.object_types,
            may_name=undone.may_name,
            converts=undone.converts,
        )
        return command, kept

    async def _reversals(self, part: Sequence[TouchedObject], kept: list[Kept]) -> tuple[Reversal, ...]:
        pool, workspace_id = self._database.pool, self._undone.workspace_id
        entries = await store.first_entries(pool, workspace_id, [each.first for each in part])
        if len(entries) < len(part):
            raise _no_such_request()
        erased = [each for each in part if is_erased(entries[each.first].object)]
        kept += [_kept(each, KeptReason.ERASED) for each in erased]
        # An object does not get back what it had from one that was merged into it, if that one is erased.
        restored = [entries[each.first] for each in erased if entries[each.first].action is Action.RESTORED]
        lacking = {each.merged_into for each in restored}
        known = [each for each in part if each not in erased and each.object_id not in lacking]
        kept += [_kept(each, lacks_merged(each.object_type)) for each in part if each.object_id in lacking]
        return tuple(reversal_of(workspace_id, each, entries[each.first]) for each in known)

    async def _without_unfit(self, reversals: tuple[Reversal, ...], kept: list[Kept]) -> tuple[Reversal, ...]:
        """Return the turns without those of definitions that would not fit the values that objects have then."""
        fitting: list[Reversal] = []
        for reversal in reversals:
            now = await self._present(reversal) if reversal.object_type is FIELD else None
            turn = with_options(reversal, now)
            unfit = None if now is None else await self._unfit(turn, now)
            if unfit is None:
                fitting.append(turn)
            else:
                kept.append(unfit)
        return tuple(fitting)

    async def _present(self, reversal: Reversal) -> Field | None:
        """Return the definition of a field as it is, unless it is deleted."""
        found = await self._database.find(find_in("field"), self._undone.workspace_id, reversal.object_id)
        return None if found is None else msgspec.json.decode(found.body, type=Field)

    async def _unfit(self, reversal: Reversal, now: Field) -> Kept | None:
        """Return why the definition of a field is kept whose earlier state does not fit values, or None if it does."""
        database, workspace_id = self._database, self._undone.workspace_id
        if not changes_form(now, reversal.before):
            return None
        object_type = self._undone.object_types.named(now.object_type.value)
        then = _ValuesThen(database.pool, workspace_id, now.key, partial(self._touched_among, object_type))
        values = ValueSource(database.pool, self._time_slice, object_type, workspace_id)
        effect, _ = await effect_of(values, now, reversal.before, then.of)
        if not effect.refused:
            return None
        holder = Holder(object_type.name, effect.examples[0].id)
        found = misfits(now, effect.field, effect.refused, effect.examples)
        found_unfit = " ".join(error.message for error in found)
        return Kept(
            object=FIELD.name,
            id=reversal.shown_id,
            reason=KeptReason.VALUES_IN_USE,
            message=f"{found_unfit} Change these values first.",
            conflict=holder if object_type in self._undone.may_name else UNSET,
        )


class _ValuesThen:
    """The values of a field that objects have again once the same undo has reverted them, too."""

    def __init__(
        self,
        pool: Pool,
        workspace_id: UUID,
        key: str,
        touched_among: Callable[[Collection[UUID]], Awaitable[Mapping[UUID, TouchedObject]]],
    ) -> None:
        self._pool = pool
        self._workspace_id = workspace_id
        self._key = key
        self._touched_among = touched_among

    async def of(self, versions: Mapping[UUID, int]) -> dict[UUID, Any]:
        """Return the values of those of these objects that the undo reverts; None if one then has no value."""
        touched = await self._touched_among(versions.keys())
        going = [each for id_, at in versions.items() if (each := touched.get(id_)) is not None and each.last == at]
        entries = await store.first_entries(self._pool, self._workspace_id, [each.first for each in going]) if going else {}
        befores = {
            each.object_id: reversal_of(self._workspace_id, each, entries[each.first]).before
            for each in going
            if each.first in entries and not is_erased(entries[each.first].object)
        }
        return {id_: before.fields.get(self._key) if before and before.fields else None for id_, before in befores.items()}


def _in_order(touched: Sequence[TouchedObject]) -> Iterator[Sequence[TouchedObject]]:
    """Yield the objects that are undone after each other."""
    going = {each.object_type for each in touched if not each.was_there}
    for object_types in in_order({each.object_type for each in touched}, going):
        yield [each for each in touched if each.object_type in object_types]


def in_order(
    object_types: Iterable[ObjectType[Any, Any]], going: Collection[ObjectType[Any, Any]]
) -> list[set[ObjectType[Any, Any]]]:
    """Return the types whose objects are undone after each other, if some of the types `going` did not exist before.

    Definitions of fields come first, because values get the form that these give them. Contacts come after companies that are
    restored, and before companies that are deleted. They come before engagements that refer to them again, and after
    engagements that no longer do. Tags come before all that have them again, and after all that no longer do. Merged contacts
    stay together, and so do merged companies.
    """
    ranked: dict[int, set[ObjectType[Any, Any]]] = {}
    for each in object_types:
        ranked.setdefault(_rank(each, going), set()).add(each)
    return [ranked[rank] for rank in sorted(ranked)]


def _rank(object_type: ObjectType[Any, Any], going: Collection[ObjectType[Any, Any]]) -> int:
    """Return the place of a type in the order, if objects of the types `going` did not exist before the request."""
    if object_type is FIELD:
        return 0
    if object_type is TAG:
        return 7 if TAG in going else 1
    if object_type is COMPANY:
        return 6 if COMPANY in going else 2
    if object_type is CONTACT:
        return 5 if CONTACT in going else 3
    return 4


def reversal_of(workspace_id: UUID, each: TouchedObject, entry: FirstEntry) -> Reversal:
    """Return the reversal of a request's changes of an object, by its first entry."""
    type_, before, merged_into = each.object_type.entry, None, None
    match entry.action:
        case Action.UPDATED:
            assert entry.previous is not None, "an update has old values"
            before = state_before(entry.object, entry.previous, type_)
        case Action.DELETED:
            before = msgspec.json.decode(entry.object, type=type_)
        case Action.CREATED | Action.RESTORED:
            merged_into = entry.merged_into
            if each.object_type.retired is not None:
                before = each.object_type.retired(msgspec.json.decode(entry.object, type=type_))
        case Action.ERASED:
            pass
    return Reversal(
        object_type=each.object_type,
        object_id=each.object_id,
        version=each.last,
        before=before,
        merged_into=merged_into,
        read_from=None if before is None else EntryMark(workspace_id, entry.seq, entry.mark),
        # Entries of older releases do not record the previous version.
        had_at=entry.seq - 1 if entry.previous_version is None else entry.previous_version,
        is_undone=each.is_undone,
    )
