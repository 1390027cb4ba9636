"""Many writes of objects of one type in one request: each independently and in order, or all or none.

Independent operations are a command each. They go to the ledger in waves, so that another request's write waits for one wave
and not for all. An atomic write is one command, and so one batch.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Final, Literal, NamedTuple, Protocol
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.bulk.commands import Begin, BulkType, WriteAll, WriteItem, in_place
from herdbook.bulk.model import MAX_BULK_ITEMS, MAX_RESULT_BYTES, BulkEnvelope, BulkItem, BulkOutcome
from herdbook.custom_fields.api import asked_values
from herdbook.custom_fields.commands import value_errors
from herdbook.custom_fields.model import Field
from herdbook.custom_fields.store import all_definitions
from herdbook.db.pool import CONNECTION_ERRORS
from herdbook.errors import MAX_ERRORS, Busy, FieldError, Invalid, Refusal, Stale, Unavailable, first_errors
from herdbook.fields import Rule
from herdbook.http.body import LONG_BODY, MAX_OBJECT_BYTES, BodyReader
from herdbook.http.call import Call
from herdbook.http.operation import Answer
from herdbook.ledger.idempotency import IdempotencyKey
from herdbook.ledger.ledger import Written
from herdbook.ledger.unit_of_work import Command
from herdbook.tags.api import with_existing_tags
from herdbook.turns import MAX_TRIES, pause

# Limits the operations of a wave, and its items of lists, unless a single operation has more.
WAVE: Final = 50
_WAVE_ITEMS: Final = 500
# Reading waits for another slice of the event loop's time after this many operations and items of lists.
_TURN: Final = 100
# Counting the items of lists does so after this many bytes of operations.
_COUNTED_BYTES: Final = 1_048_576

_log: Final = logging.getLogger("herdbook.bulk")


class Commands(Protocol):
    """Makes the commands of a request's operations; `asked` is the request for an object."""

    def create(self, asked: Any) -> Command:
        """Return the command that creates an object."""
        ...

    def update(self, object_id: UUID, asked: Any) -> Command:
        """Return the command that changes an object."""
        ...

    def delete(self, object_id: UUID) -> Command:
        """Return the command that deletes an object."""
        ...

    def upsert(self, asked: Any, path: str) -> Command:
        """Return the command that changes an object or creates one. Refusal: Invalid; `path` is that of the request."""
        ...


class _Readers(NamedTuple):
    """The readers of one kind of operation, and of the request for its object."""

    operation: BodyReader
    asked: BodyReader | None = None


class _Formats(NamedTuple):
    """The forms of the operations of one type: their readers, and the decoders of the parts that decide how they are read."""

    readers: Mapping[str, _Readers]
    other: _Readers
    glance: msgspec.json.Decoder[Any]
    sized: msgspec.json.Decoder[Any]


@cache
def _formats(bulk_type: BulkType) -> _Formats:
    name, text, raw = bulk_type.name, ("id", str), (bulk_type.name, msgspec.Raw)
    some_raw = (name, msgspec.Raw, msgspec.Raw())
    actions: Any = Literal["create", "update", "delete", "upsert"]
    counted = msgspec.defstruct("Counted", [(each, tuple[msgspec.Raw, ...], ()) for each in bulk_type.counted], frozen=True)
    return _Formats(
        readers={
            "create": _Readers(_operation(Literal["create"], raw), BodyReader(bulk_type.create)),
            "update": _Readers(_operation(Literal["update"], text, raw), BodyReader(bulk_type.update)),
            "delete": _Readers(_operation(Literal["delete"], text)),
            "upsert": _Readers(_operation(Literal["upsert"], raw), BodyReader(bulk_type.upsert)),
        },
        other=_Readers(_operation(actions, ("id", msgspec.Raw, msgspec.Raw()), some_raw)),
        glance=msgspec.json.Decoder(msgspec.defstruct("Glance", [("action", str, ""), some_raw])),
        sized=msgspec.json.Decoder(msgspec.defstruct("Sized", [(name, counted, counted())])),
    )


def _operation(action: Any, *members: Any) -> BodyReader:
    no_rules: dict[str, Any] = {"rules": dict[str, Rule]()}
    return BodyReader(
        msgspec.defstruct("Operation", [("action", action), *members], forbid_unknown_fields=True, namespace=no_rules)
    )


async def bulk_write(call: Call, bulk: BulkEnvelope, bulk_type: BulkType, commands: Commands) -> Answer:
    """Write many objects, each independently or all or none. Refusals: Invalid, Stale, KeyReused, and the ledger's."""
    if call.has_precondition:
        raise Stale(None)
    write = _write_all if bulk.atomic else _write_each
    return await write(call, await _reading(call, bulk.operations, bulk_type, commands))


async def _write_all(call: Call, reading: "_Reading") -> Answer:
    """Apply all operations or none. Refusals: Invalid, and the ledger's."""
    items: list[WriteItem] = []
    refused: list[tuple[int, Sequence[FieldError]]] = []
    for index in range(len(reading.sizes)):
        try:
            items.append(await reading.read(index))
        except Invalid as invalid:
            refused.append((index, invalid.errors))
    bulk_type = reading.bulk_type
    answer = await call.write(WriteAll(bulk_type, tuple(items), tuple(refused)))
    if b'"tag_ids":' in answer.body:
        found = msgspec.json.decode(answer.body, type=_Results).results
        answer = answer._replace(body=_body(await _shown(call, bulk_type, [bytes(each) for each in found]), is_atomic=True))
    return answer._replace(version=None)


class _Results(msgspec.Struct):
    """The results of a bulk, each as it was encoded."""

    results: list[msgspec.Raw]


async def _write_each(call: Call, reading: "_Reading") -> Answer:
    """Apply each operation independently, in order. Refusals: Invalid, KeyReused, and those of a malformed key."""
    key = call.idempotency_key()
    if key is not None:
        await call.services.ledger.write(call.caller.workspace_id, Begin(), call.origin, key)
    results: list[bytes] = []
    replayed: list[bool] = []
    for start, end in _waves(reading.sizes):
        if sum(map(len, results)) > MAX_RESULT_BYTES:
            results += [await _failed(call, index, _no_room(index)) for index in range(start, end)]
            continue
        outcomes = await _wave(call, key, reading, range(start, end))
        for index, outcome in enumerate(outcomes, start):
            results.append(outcome.body if isinstance(outcome, Written) else await _failed(call, index, outcome))
        replayed += [outcome.replayed for outcome in outcomes if isinstance(outcome, Written)]
    call.has_written = bool(replayed)
    body = _body(await _shown(call, reading.bulk_type, results), is_atomic=False)
    return Answer(body, replayed=bool(replayed) and all(replayed))


def _no_room(index: int) -> Invalid:
    path = f"operations[{index}]"
    message = f"`{path}` was not applied, because the results of those before it are too large. Send it in another request."
    return Invalid([FieldError(path, "too_long", message)])


def _body(results: Sequence[bytes], *, is_atomic: bool) -> bytes:
    atomic = b"true" if is_atomic else b"false"
    return b'{"object":"bulk_result","atomic":' + atomic + b',"results":[' + b",".join(results) + b"]}"


async def _shown(call: Call, bulk_type: BulkType, results: Sequence[bytes]) -> list[bytes]:
    """Return results as reads show their objects: without tags that are deleted."""
    shown = list(results)
    places = [place for place, result in enumerate(shown) if b'"tag_ids":' in result]
    items: list[BulkItem] = []
    for number, place in enumerate(places, start=1):
        if number % _TURN == 0:
            await call.time_slice()
        items.append(msgspec.json.decode(shown[place], type=bulk_type.item))
    records = await with_existing_tags(call, [getattr(item, bulk_type.name) for item in items])
    for place, item, record in zip(places, items, records, strict=True):
        if record is not getattr(item, bulk_type.name):
            shown[place] = msgspec.json.encode(msgspec.structs.replace(item, **{bulk_type.name: record}))
    return shown


async def _reading(call: Call, operations: Sequence[msgspec.Raw], bulk_type: BulkType, commands: Commands) -> "_Reading":
    """Return a reader of operations. Refusal: Invalid, if the counted lists of all together have too many items."""
    sizes: list[int] = []
    counted = 0
    for operation in operations:
        if counted > _COUNTED_BYTES:
            counted = 0
            await call.time_slice()
        counted += len(memoryview(operation))
        sizes.append(_size_of(bulk_type, operation))
    if sum(sizes) > MAX_BULK_ITEMS:
        message = f"`operations` has {sum(sizes)} {bulk_type.items} in total. {MAX_BULK_ITEMS} is the limit. "
        raise Invalid([FieldError("operations", "too_long", message + "Send them in several requests.")])
    return _Reading(call, operations, sizes, bulk_type, commands)


def _size_of(bulk_type: BulkType, operation: msgspec.Raw) -> int:
    try:
        asked = getattr(_formats(bulk_type).sized.decode(operation), bulk_type.name)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    return sum(len(getattr(asked, name)) for name in bulk_type.counted)


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


class _Reading:
    """The reader of a request's operations, in slices of the event loop's time. `sizes` are the counted items of each.

    All errors of an operation are reported, but only one once `MAX_ERRORS` were reported.
    """

    def __init__(
        self, call: Call, operations: Sequence[msgspec.Raw], sizes: Sequence[int], bulk_type: BulkType, commands: Commands
    ) -> None:
        self.sizes = sizes
        self.bulk_type = bulk_type
        self._call = call
        self._commands = commands
        self._operations = operations
        self._most_errors = MAX_ERRORS
        self._since_turn = 0
        self._definitions: list[Field] | None = None

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
            return WriteItem(index, self._read(f"operations[{index}]", operation), self.bulk_type)
        except Invalid as invalid:
            errors = [*invalid.errors]
        errors += await self._further_errors(f"operations[{index}]", operation)
        refused = first_errors(errors, f"operations[{index}]", self._most_errors)
        self._most_errors = max(1, self._most_errors - len(refused))
        raise Invalid(refused)

    async def _further_errors(self, path: str, operation: bytes) -> list[FieldError]:
        """Return the errors of values in an operation that was refused for other members."""
        action, sent = self._glance(operation)
        asked = asked_values(sent) if action in ("create", "update", "upsert") else None
        if asked is None:
            return []
        if self._definitions is None:
            found = await all_definitions(self._call.services.database.pool, self._call.caller.workspace_id)
            self._definitions = [each for each in found if each.object_type.value == self.bulk_type.name]
        found = value_errors(self._definitions, asked, is_new=action == "create")
        return in_place(f"{path}.{self.bulk_type.name}", found)

    def _glance(self, operation: bytes) -> tuple[str, bytes]:
        """Return the action of an operation and the request for its object, or nothing if it has no such form."""
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            glance = _formats(self.bulk_type).glance.decode(operation)
            return glance.action, bytes(getattr(glance, self.bulk_type.name))
        return "", b""

    def _read(self, path: str, operation: bytes) -> Command:
        """Return an operation as a command. Refusal: Invalid, with at most `most_errors` errors."""
        formats, place = _formats(self.bulk_type), f"{path}.{self.bulk_type.name}"
        action, sent = self._glance(operation)
        readers = formats.readers.get(action, formats.other)
        errors: list[FieldError] = []
        parts: Any = None
        asked: Any = None
        try:
            parts = readers.operation.read(operation, path, self._most_errors)
        except Invalid as invalid:
            errors += invalid.errors
        try:
            if readers.asked is not None and sent:
                asked = readers.asked.read(sent, place, self._most_errors)
        except Invalid as invalid:
            errors += invalid.errors
        if errors:
            raise Invalid(first_errors(errors, path, self._most_errors))
        match parts.action:
            case "create":
                return self._commands.create(asked)
            case "update":
                return self._commands.update(self.bulk_type.object_id(parts.id), asked)
            case "delete":
                return self._commands.delete(self.bulk_type.object_id(parts.id))
            case _:
                return self._commands.upsert(asked, place)
