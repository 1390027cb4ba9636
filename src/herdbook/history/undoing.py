"""The undo of a request: in one command for at most five hundred objects, otherwise in consecutive slices.

Slices keep other writes from waiting for the whole undo. Each slice is atomic, but all of them together are not. A repeated
undo finds the reverted objects changed since, and undoes the rest.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.companies.store import COMPANY
from herdbook.contacts.store import CONTACT
from herdbook.custom_fields.effects import ValueSource, does_not_fit, effect_of
from herdbook.custom_fields.model import Field
from herdbook.custom_fields.store import FIELD, changes_form
from herdbook.db.database import find_in
from herdbook.db.pool import CONNECTION_ERRORS, Pool
from herdbook.engagements.commands import PRIVATE_READ, PRIVATE_WRITE
from herdbook.engagements.store import ENGAGEMENT, TRANSCRIPT
from herdbook.errors import Busy, Forbidden, NoLongerKept, NotFound, Unavailable, quoted
from herdbook.history import store
from herdbook.history.commands import Reversal, UndoPreview, UndoReversals, lacks_merged
from herdbook.history.model import KEPT_MESSAGES, Kept, KeptReason, Reverted, RevertedBy, Undo, state_before
from herdbook.history.references import ObjectKey
from herdbook.history.store import EntryMark, FirstEntry, TouchedObject
from herdbook.http.call import Call
from herdbook.http.operation import Answer
from herdbook.http.problems import Holder
from herdbook.ledger.changes import Action, is_erased
from herdbook.ledger.ledger import Written
from herdbook.ledger.object_types import ObjectType
from herdbook.notes.store import NOTE
from herdbook.transcript_comments.store import TRANSCRIPT_COMMENT
from herdbook.turns import MAX_TRIES, pause

MAX_CHANGES: Final = 500
SLICE: Final = 200
_OF_ENGAGEMENTS: Final = (ENGAGEMENT, TRANSCRIPT)
_PARTLY_UNDONE: Final = (
    "The database cannot be reached, or too many writes are waiting. Only some changes are undone. Send the request again to "
    "undo the rest."
)


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
    undoing = _Undoing(call, request_id, touched[0].first, kept, is_dry_run=is_dry_run)
    await undoing.undo(going)
    return undoing.answer()


async def _touched(call: Call, request_id: str) -> list[TouchedObject]:
    """Return the objects that a request changed. Refusals: NotFound, NoLongerKept."""
    pool, workspace_id = call.services.database.pool, call.caller.workspace_id
    found = ids.decoded(ids.REQUEST, request_id)
    if found is None:
        raise NotFound("request", f"Send {ids.form(ids.REQUEST)}.", fault=f"`{quoted(request_id)}` is not the id of a request.")
    touched = await store.touched(pool, call.services.object_types, workspace_id, found)
    if not touched:
        raise _no_such_request()
    if await store.may_be_cut(pool, workspace_id, found):
        head, trimmed, _ = await store.ledger_range(pool, workspace_id)
        message = f"Entries up to {trimmed} are no longer kept, and some of this request may have been among them."
        raise NoLongerKept(message, trimmed, head)
    return touched


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

    def __init__(self, call: Call, request_id: str, since: int, kept: Sequence[Kept], *, is_dry_run: bool) -> None:
        self._call = call
        self._request_id = request_id
        self._since = since
        self._is_dry_run = is_dry_run
        self._reverted: list[Reverted] = []
        self._kept = [*kept]
        self._key = call.idempotency_key()
        self._written: list[Written] = []
        self._others: dict[ObjectKey, bool] = {}
        self._defined: list[Field] = []

    async def undo(self, touched: Sequence[TouchedObject]) -> None:
        """Undo the changes of these objects, part by part."""
        for number, part in enumerate(_parts(touched)):
            try:
                reversals = await self._reversals(part)
                reversals = await self._without_unfit(reversals, touched)
                undo = await self._slice(number, reversals)
            except (*CONNECTION_ERRORS, Unavailable) as error:
                if not self._written:
                    raise
                raise Unavailable(_PARTLY_UNDONE) from error
            self._reverted += undo.reverted
            self._kept += undo.kept
            if self._is_dry_run:
                reverted = {each.id for each in undo.reverted}
                self._defined += [each.before for each in reversals if each.object_type is FIELD and each.shown_id in reverted]
                self._others |= {self._place(each): each.action is not RevertedBy.DELETED for each in undo.reverted}

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

    async def _reversals(self, part: Sequence[TouchedObject]) -> tuple[Reversal, ...]:
        pool, workspace_id = self._call.services.database.pool, self._call.caller.workspace_id
        entries = await store.first_entries(pool, workspace_id, [each.first for each in part])
        if len(entries) < len(part):
            raise _no_such_request()
        erased = [each for each in part if is_erased(entries[each.first].object)]
        self._kept += [_kept(each, KeptReason.ERASED) for each in erased]
        # An object does not get back what it had from one that was merged into it, if that one is erased.
        restored = [entries[each.first] for each in erased if entries[each.first].action is Action.RESTORED]
        lacking = {each.merged_into for each in restored}
        known = [each for each in part if each not in erased and each.object_id not in lacking]
        self._kept += [_kept(each, lacks_merged(each.object_type)) for each in part if each.object_id in lacking]
        return tuple(reversal_of(workspace_id, each, entries[each.first]) for each in known)

    async def _without_unfit(self, reversals: tuple[Reversal, ...], touched: Sequence[TouchedObject]) -> tuple[Reversal, ...]:
        """Return the turns without those of definitions that would not fit the values that objects have then."""
        fitting: list[Reversal] = []
        for reversal in reversals:
            kept = None if reversal.object_type is not FIELD else await self._unfit(reversal, touched)
            if kept is None:
                fitting.append(reversal)
            else:
                self._kept.append(kept)
        return tuple(fitting)

    async def _unfit(self, reversal: Reversal, touched: Sequence[TouchedObject]) -> Kept | None:
        """Return why the definition of a field is kept whose earlier state does not fit values, or None if it does."""
        database, workspace_id = self._call.services.database, self._call.caller.workspace_id
        found = await database.find(find_in("field"), workspace_id, reversal.object_id)
        now = None if found is None else msgspec.json.decode(found.body, type=Field)
        if now is None or not changes_form(now, reversal.before):
            return None
        object_type = self._call.services.object_types.named(now.object_type.value)
        then = _ValuesThen(database.pool, workspace_id, now.key, [each for each in touched if each.object_type is object_type])
        values = ValueSource(database.pool, self._call.time_slice, object_type, workspace_id)
        effect = await effect_of(values, now, reversal.before, then.of)
        if not effect.refused:
            return None
        holder = Holder(object_type.name, effect.examples[0].id)
        message = f"{does_not_fit(now, effect)} Change these values first."
        return Kept(
            object=FIELD.name,
            id=reversal.shown_id,
            reason=KeptReason.VALUES_IN_USE,
            message=message,
            conflict=holder if self._call.caller.may(object_type.read_scopes[0]) else UNSET,
        )

    async def _slice(self, number: int, reversals: tuple[Reversal, ...]) -> Undo:
        command = UndoReversals(
            request_id=self._request_id,
            reversals=reversals,
            since=self._since,
            object_types=self._call.services.object_types,
            may_name=self._may_name(),
            is_dry_run=self._is_dry_run,
            others=self._others,
            defined=tuple(self._defined),
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
            except Busy:
                if not number:
                    raise
            await pause(tries)
        raise Unavailable(_PARTLY_UNDONE)

    def _may_name(self) -> frozenset[ObjectType[Any, Any]]:
        caller = self._call.caller
        named = {each for each in self._call.services.object_types if each.unique_keys and caller.may(each.read_scopes[0])}
        return frozenset(named if caller.may(PRIVATE_READ) else named - {ENGAGEMENT})

    def _place(self, reverted: Reverted) -> ObjectKey:
        object_type = self._call.services.object_types.named(reverted.object)
        object_id = ids.decoded(object_type.prefix, reverted.id)
        assert object_id is not None, "the server wrote this id"
        return object_type, object_id


class _ValuesThen:
    """The values of a field that objects have again once the same undo has reverted them, too."""

    def __init__(self, pool: Pool, workspace_id: UUID, key: str, touched: Iterable[TouchedObject]) -> None:
        self._pool = pool
        self._workspace_id = workspace_id
        self._key = key
        self._touched = {each.object_id: each for each in touched}

    async def of(self, versions: Mapping[UUID, int]) -> dict[UUID, Any]:
        """Return the values of those of these objects that the undo reverts; None if one then has no value."""
        going = [each for id_, at in versions.items() if (each := self._touched.get(id_)) is not None and each.last == at]
        entries = await store.first_entries(self._pool, self._workspace_id, [each.first for each in going]) if going else {}
        befores = {
            each.object_id: reversal_of(self._workspace_id, each, entries[each.first]).before
            for each in going
            if each.first in entries and not is_erased(entries[each.first].object)
        }
        return {id_: before.fields.get(self._key) if before and before.fields else None for id_, before in befores.items()}


def _parts(touched: Sequence[TouchedObject]) -> Iterator[Sequence[TouchedObject]]:
    """Yield the objects that one command each undoes.

    Definitions of fields come first, because values get the form that these give them. Contacts come after companies that are
    restored, and before companies that are deleted. They come before engagements that refer to them again, and after
    engagements that no longer do. Merged contacts stay together, and so do merged companies.
    """
    if len(touched) <= MAX_CHANGES:
        yield touched
        return
    going = {each.object_type for each in touched if not each.was_there}
    ranks = [_rank(each.object_type, going) for each in touched]
    for rank in sorted(set(ranks)):
        ranked = [each for each, of_it in zip(touched, ranks, strict=True) if of_it == rank]
        for start in range(0, len(ranked), SLICE):
            yield ranked[start : start + SLICE]


def _rank(object_type: ObjectType[Any, Any], going: Collection[ObjectType[Any, Any]]) -> int:
    """Return the place of a type in the order, if objects of the types `going` did not exist before the request."""
    if object_type is FIELD:
        return 0
    if object_type is COMPANY:
        return 5 if COMPANY in going else 1
    if object_type is CONTACT:
        return 4 if CONTACT in going else 2
    return 3


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
    )
