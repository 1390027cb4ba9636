"""Many writes of contacts in one request: each independently and in order, or all or none.

Independent operations are a command each. They go to the ledger in waves, so that another request's write waits for one wave
and not for all. An atomic write is one command, and so one batch.
"""

import asyncio
import logging
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import ClassVar, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.contacts.commands import CreateContact, UpdateContactRecord, UpsertContact, record
from herdbook.contacts.model import (
    MAX_BULK_ITEMS,
    BulkItem,
    BulkOutcome,
    BulkResult,
    Contact,
    ContactCreate,
    ContactRecordUpdate,
    ContactUpsert,
    read_numbers,
)
from herdbook.contacts.store import CONTACT
from herdbook.db.pool import CONNECTION_ERRORS
from herdbook.errors import MAX_ERRORS, Busy, FieldError, FieldsRefusal, Invalid, NotFound, Refusal, Taken, Unavailable
from herdbook.fields import Rule
from herdbook.http.body import LONG_BODY, MAX_OBJECT_BYTES, BodyReader
from herdbook.http.call import Call
from herdbook.http.operation import Answer
from herdbook.ledger.commands import Delete
from herdbook.ledger.idempotency import IdempotencyKey
from herdbook.ledger.ledger import Written
from herdbook.ledger.unit_of_work import LongCommand, Need, NotLoaded, Result, UnitOfWork
from herdbook.shared_schemas import Deleted
from herdbook.turns import MAX_TRIES, pause
from herdbook.workspaces.store import region_of

_Command: TypeAlias = CreateContact | UpdateContactRecord | Delete | UpsertContact
# Limits the operations of a wave, and its addresses and numbers, unless a single operation has more.
WAVE: Final = 50
_WAVE_ITEMS: Final = 500
# An atomic write yields to other tasks after this many operations.
_STEP: Final = 10
# Reading waits for another slice of the event loop's time after this many operations, addresses and numbers.
_TURN: Final = 100
# Counting addresses and numbers does so after this many bytes of operations.
_COUNTED_BYTES: Final = 1_048_576

_MEMBER_END: Final = re.compile(r"[.\[]")
_log: Final = logging.getLogger("herdbook.contacts")


class _Part(msgspec.Struct, forbid_unknown_fields=True):
    rules: ClassVar[dict[str, Rule]] = {}


class _Create(_Part):
    action: Literal["create"]
    contact: msgspec.Raw


class _Update(_Part):
    action: Literal["update"]
    id: str
    contact: msgspec.Raw


class _Delete(_Part):
    action: Literal["delete"]
    id: str


class _Upsert(_Part):
    action: Literal["upsert"]
    contact: msgspec.Raw


class _Other(_Part):
    action: Literal["create", "update", "delete", "upsert"]
    id: msgspec.Raw = msgspec.Raw()
    contact: msgspec.Raw = msgspec.Raw()


class _Glance(msgspec.Struct, frozen=True):
    """The parts of an operation that decide how it is read."""

    action: str = ""
    contact: msgspec.Raw = msgspec.Raw()


class _Size(msgspec.Struct, frozen=True):
    """The parts of a contact that count towards its size: addresses, numbers and external ids."""

    emails: tuple[msgspec.Raw, ...] = ()
    phone_numbers: tuple[msgspec.Raw, ...] = ()
    external_ids: tuple[msgspec.Raw, ...] = ()


class _Sized(msgspec.Struct, frozen=True):
    contact: _Size = _Size()


class _Readers(NamedTuple):
    """The readers of one kind of operation, and of its contact."""

    operation: BodyReader
    contact: BodyReader | None = None


_READERS: Final = {
    "create": _Readers(BodyReader(_Create), BodyReader(ContactCreate)),
    "update": _Readers(BodyReader(_Update), BodyReader(ContactRecordUpdate)),
    "delete": _Readers(BodyReader(_Delete)),
    "upsert": _Readers(BodyReader(_Upsert), BodyReader(ContactUpsert)),
}
_OTHER: Final = _Readers(BodyReader(_Other))
_glance: Final = msgspec.json.Decoder(_Glance).decode
_sized: Final = msgspec.json.Decoder(_Sized).decode


class WriteItem(msgspec.Struct, frozen=True):
    """Apply one operation of several. Refusals: the command's, with fields named by their path in the whole body."""

    index: int
    command: _Command

    def needs(self) -> Iterator[Need]:
        yield from self.command.needs()

    def apply(self, work: UnitOfWork) -> Result:
        seq = work.seq
        try:
            version, answer = work.attempt(self.command)
        except FieldsRefusal as refusal:
            raise self._in_place(refusal) from None
        # The entry in the ledger says what the command did; without an entry, nothing changed.
        outcome = BulkOutcome[work.changes[-1].action.name] if work.seq > seq else BulkOutcome.UNCHANGED
        item = BulkItem(index=self.index, result=outcome, version=version)
        if isinstance(answer, Deleted):
            return Result(version, msgspec.structs.replace(item, id=answer.id))
        assert isinstance(answer, Contact), "all other commands answer with the contact"
        return Result(version, msgspec.structs.replace(item, contact=record(work, _contact_id(answer.id))))

    @property
    def path(self) -> str:
        """The path of the operation in the body."""
        return f"operations[{self.index}]"

    def faults(self, refusal: Refusal) -> Sequence[FieldError]:
        """Return the errors of this operation, to be reported together with those of others."""
        if isinstance(refusal, FieldsRefusal):
            return refusal.errors
        message = f"`{self.path}.id` names no contact of this workspace. Leave the operation out."
        object_id = refusal.object_id if isinstance(refusal, NotFound) else None
        missing = "" if object_id is None else ids.encoded(ids.CONTACT, object_id)
        return [FieldError(f"{self.path}.id", "not_found", message, missing)]

    def _in_place(self, refusal: FieldsRefusal) -> FieldsRefusal:
        errors: list[FieldError] = []
        for error in refusal.errors:
            # A message may name another item of the same member, too.
            named = re.compile(rf"`(?={re.escape(_MEMBER_END.split(error.field)[0])}[.\[`])")
            message = named.sub(f"`{self.path}.contact.", error.message)
            errors.append(error._replace(field=f"{self.path}.contact.{error.field}", message=message))
        if isinstance(refusal, Taken):
            return Taken(errors, refusal.holders, refusal.read_scope)
        return Invalid(errors)


class WriteAll(LongCommand, frozen=True):
    """Apply all operations or none. Refusal: Invalid, with the errors of each that is refused.

    Each operation is judged on the result of those before it. `refused` are the operations whose content is invalid.
    """

    items: tuple[WriteItem, ...]
    refused: tuple[tuple[int, Sequence[FieldError]], ...] = ()

    def needs(self) -> Iterator[Need]:
        for item in self.items:
            yield from item.needs()

    def steps(self, work: UnitOfWork) -> Generator[None, None, Result]:
        results: list[BulkItem] = []
        refused = dict(self.refused)
        for number, item in enumerate(self.items, start=1):
            if number % _STEP == 0:
                yield
            try:
                answer = work.attempt(item).answer
            except NotLoaded:
                # All operations will be applied again. Go on, so that the rows that the others miss are loaded, too.
                continue
            except Refusal as refusal:
                refused[item.index] = item.faults(refusal)
            else:
                assert isinstance(answer, BulkItem), "it is the result of the item"
                results.append(answer)
        if refused:
            raise Invalid(_of_each(refused[index] for index in sorted(refused)))
        return Result(work.seq, BulkResult(object="bulk_result", atomic=True, results=tuple(results)))


class Begun(msgspec.Struct, frozen=True):
    """The answer to `Begin`, which says only that the request has begun."""


class Begin(msgspec.Struct, frozen=True):
    """Do nothing. This binds an Idempotency-Key to its request before the first operation is applied."""

    def needs(self) -> Iterator[Need]:
        yield from ()

    def apply(self, work: UnitOfWork) -> Result:
        return Result(work.seq, Begun())


async def write_all(call: Call, operations: Sequence[msgspec.Raw]) -> Answer:
    """Apply all operations or none. Refusals: Invalid, and the ledger's."""
    items: list[WriteItem] = []
    refused: list[tuple[int, Sequence[FieldError]]] = []
    reading = await _reading(call, operations)
    for index in range(len(operations)):
        try:
            items.append(await reading.read(index))
        except Invalid as invalid:
            refused.append((index, invalid.errors))
    answer = await call.write(WriteAll(tuple(items), tuple(refused)))
    return answer._replace(version=None)


async def write_each(call: Call, operations: Sequence[msgspec.Raw]) -> Answer:
    """Apply each operation independently, in order. Refusals: Invalid, KeyReused, and those of a malformed key."""
    reading = await _reading(call, operations)
    key = call.idempotency_key()
    if key is not None:
        await call.services.ledger.write(call.caller.workspace_id, Begin(), call.origin, key)
    results: list[bytes] = []
    replayed: list[bool] = []
    for start, end in _waves(reading.sizes):
        outcomes = await _wave(call, key, reading, range(start, end))
        for index, outcome in enumerate(outcomes, start):
            results.append(outcome.body if isinstance(outcome, Written) else await _failed(call, index, outcome))
        replayed += [outcome.replayed for outcome in outcomes if isinstance(outcome, Written)]
    body = b'{"object":"bulk_result","atomic":false,"results":[' + b",".join(results) + b"]}"
    return Answer(body, replayed=bool(replayed) and all(replayed))


async def _reading(call: Call, operations: Sequence[msgspec.Raw]) -> "_Reading":
    """Return a reader of operations. Refusal: Invalid, if all together have too many addresses and numbers."""
    sizes: list[int] = []
    counted = 0
    for operation in operations:
        if counted > _COUNTED_BYTES:
            counted = 0
            await call.time_slice()
        counted += len(memoryview(operation))
        sizes.append(_size_of(operation))
    if sum(sizes) > MAX_BULK_ITEMS:
        message = (
            f"`operations` has {sum(sizes)} e-mail addresses, phone numbers and external ids in total. {MAX_BULK_ITEMS} is the "
            "limit. Send them in several requests."
        )
        raise Invalid([FieldError("operations", "too_long", message)])
    region = await region_of(call.services.database.pool, call.caller.workspace_id)
    return _Reading(call, operations, sizes, region)


def _size_of(operation: msgspec.Raw) -> int:
    try:
        contact = _sized(operation).contact
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    return len(contact.emails) + len(contact.phone_numbers) + len(contact.external_ids)


def _waves(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each wave."""
    start = items = 0
    for index, size in enumerate(sizes):
        if index > start and (index - start == WAVE or items + size > _WAVE_ITEMS):
            yield start, index
            start, items = index, 0
        items += size
    yield start, len(sizes)


async def _wave(
    call: Call, key: IdempotencyKey | None, reading: "_Reading", indexes: Iterable[int]
) -> list[Written | BaseException]:
    """Apply some operations and return their outcomes, in order."""
    outcomes: dict[int, Written | BaseException] = {}
    waiting: list[WriteItem] = []
    for index in indexes:
        try:
            waiting.append(await reading.read(index))
        except Invalid as invalid:
            # The traceback would refer to this frame, and so to the outcomes, until the next garbage collection.
            outcomes[index] = invalid.with_traceback(None)
    tries = 0
    while waiting and tries < MAX_TRIES:
        if tries:
            await pause(tries)
        found = await asyncio.gather(*(_write(call, key, item) for item in waiting), return_exceptions=True)
        outcomes |= {item.index: outcome for item, outcome in zip(waiting, found, strict=True)}
        left = [item for item in waiting if isinstance(outcomes[item.index], Busy)]
        tries = tries + 1 if len(left) == len(waiting) else 1
        waiting = left
    return [outcomes[index] for index in sorted(outcomes)]


async def _write(call: Call, key: IdempotencyKey | None, item: WriteItem) -> Written:
    own = key and key.part(item.index)
    return await call.services.ledger.write(call.caller.workspace_id, item, call.origin, own)


async def _failed(call: Call, index: int, error: BaseException) -> bytes:
    if isinstance(error, CONNECTION_ERRORS):
        error = Unavailable("The database cannot be reached. Nothing was written. Try again shortly.")
    elif not isinstance(error, Refusal):
        _log.error("an operation failed", extra={"request_id": ids.encoded(ids.REQUEST, call.request_id)}, exc_info=error)
    assert isinstance(error, Exception), "commands are not cancelled"
    return msgspec.json.encode(BulkItem(index=index, result=BulkOutcome.FAILED, problem=await call.problem_of(error)))


def _of_each(errors: Iterable[Sequence[FieldError]]) -> list[FieldError]:
    told: list[FieldError] = []
    for of_one in errors:
        told += of_one[: max(1, MAX_ERRORS - len(told))]
    return told


class _Reading:
    """The reader of a request's operations, in slices of the event loop's time. `sizes` are their addresses and numbers.

    All errors of an operation are reported, but only one once `MAX_ERRORS` were reported.
    """

    def __init__(self, call: Call, operations: Sequence[msgspec.Raw], sizes: Sequence[int], region: str | None) -> None:
        self.sizes = sizes
        self._call = call
        self._region = region
        self._operations = operations
        self._most_errors = MAX_ERRORS
        self._since_turn = 0

    async def read(self, index: int) -> WriteItem:
        """Return an operation as a command. Refusal: Invalid."""
        operation = bytes(self._operations[index])
        self._since_turn += 1 + self.sizes[index] + len(operation) * _TURN // LONG_BODY
        if self._since_turn > _TURN:
            self._since_turn = 0
            await self._call.time_slice()
        if len(operation) > MAX_OBJECT_BYTES:
            path = f"operations[{index}]"
            message = f"`{path}` has {len(operation)} bytes. Send at most {MAX_OBJECT_BYTES} in one operation."
            raise Invalid([FieldError(path, "too_long", message)])
        try:
            return _read(index, operation, self._most_errors, self._region)
        except Invalid as invalid:
            self._most_errors = max(1, self._most_errors - len(invalid.errors))
            raise


def _read(index: int, operation: bytes, most_errors: int, region: str | None) -> WriteItem:
    """Return an operation as a command. Refusal: Invalid, with at most `most_errors` errors."""
    path = f"operations[{index}]"
    try:
        glance = _glance(operation)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        glance = _Glance()
    readers = _READERS.get(glance.action, _OTHER)
    errors: list[FieldError] = []
    asked: object = None
    contact: object = None
    try:
        asked = readers.operation.read(operation, path, most_errors)
    except Invalid as invalid:
        errors += invalid.errors
    try:
        if readers.contact is not None and bytes(glance.contact):
            contact = readers.contact.read(bytes(glance.contact), f"{path}.contact", most_errors)
    except Invalid as invalid:
        errors += invalid.errors
    if errors:
        raise Invalid(errors[:most_errors])
    if isinstance(contact, ContactUpsert):
        contact.require_match(f"{path}.contact")
    command = _command(asked, contact, region)
    if isinstance(contact, ContactCreate | ContactRecordUpdate | ContactUpsert):
        read_numbers(contact, region)
    return WriteItem(index, command)


def _command(asked: object, contact: object, region: str | None) -> _Command:
    match asked, contact:
        case _Create(), ContactCreate():
            return CreateContact(contact)
        case _Update(), ContactRecordUpdate():
            return UpdateContactRecord(_contact_id(asked.id), contact)
        case _Delete(), None:
            return Delete(CONTACT, _contact_id(asked.id))
        case _:
            assert isinstance(contact, ContactUpsert), "it is the only case left"
            return UpsertContact(contact, region)


def _contact_id(text: str) -> UUID:
    return ids.decoded(ids.CONTACT, text) or ids.NIL
