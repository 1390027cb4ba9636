"""The commands of a bulk: one for each operation, or one that attempts all of them."""

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.bulk.model import MAX_RESULT_BYTES, BulkItem, BulkOutcome, BulkResult
from herdbook.errors import MAX_ERRORS, FieldError, FieldsRefusal, Invalid, NotFound, Refusal, Taken, first_errors
from herdbook.ledger.object_types import TOGETHER_BYTES, ObjectType
from herdbook.ledger.unit_of_work import Command, LongCommand, Need, NotLoaded, Result, UnitOfWork
from herdbook.shared_schemas import Deleted

# An atomic write yields to other tasks after this many operations.
_STEP: Final = 10
_MEMBER_END: Final = re.compile(r"[.\[]")


@dataclass(frozen=True, eq=False, kw_only=True)
class BulkType:
    """How objects of a type are written in bulk.

    `create`, `update` and `upsert` are the requests for an object. Operations have them in a member that is called as the type.
    `counted` names the lists whose items are counted together, and `items` calls these. `item` and `result` are the forms of
    the answer. `record` returns the whole of an object.
    """

    object_type: ObjectType[Any, Any]
    create: type[msgspec.Struct]
    update: type[msgspec.Struct]
    upsert: type[msgspec.Struct]
    counted: tuple[str, ...]
    items: str
    item: type[BulkItem]
    result: type[BulkResult]
    record: Callable[[UnitOfWork, UUID], msgspec.Struct]

    @property
    def name(self) -> str:
        """The name of the type, and of the member of an operation that has the object."""
        return self.object_type.name

    def object_id(self, text: str) -> UUID:
        """Return the id of an object; that of none if it is malformed."""
        return ids.decoded(self.object_type.prefix, text) or ids.NIL


class WriteItem(msgspec.Struct, frozen=True):
    """Apply one operation of several. Refusals: the command's, with fields named by their path in the whole body."""

    index: int
    command: Command
    bulk_type: BulkType

    def needs(self) -> Iterator[Need]:
        yield from self.command.needs()

    def apply(self, work: UnitOfWork) -> Result:
        entries = len(work.changes)
        try:
            version, answer = work.attempt(self.command)
        except FieldsRefusal as refusal:
            raise self._in_place(refusal) from None
        written: Any = answer
        object_id = self.bulk_type.object_id(written.id)
        # The entry in the ledger says what the command did to its object; without an entry, nothing changed.
        actions = [each.action for each in work.changes[entries:] if each.object_id == object_id]
        outcome = BulkOutcome[actions[-1].name] if actions else BulkOutcome.UNCHANGED
        shown: dict[str, Any] = (
            {"id": written.id} if isinstance(answer, Deleted) else {self.bulk_type.name: self.bulk_type.record(work, object_id)}
        )
        return Result(version, self.bulk_type.item(index=self.index, result=outcome, version=version, **shown))

    @property
    def path(self) -> str:
        """The path of the operation in the body."""
        return f"operations[{self.index}]"

    def faults(self, refusal: Refusal) -> Sequence[FieldError]:
        """Return the errors of this operation, to be reported together with those of others."""
        if isinstance(refusal, FieldsRefusal):
            return refusal.errors
        object_type = self.bulk_type.object_type
        message = f"`{self.path}.id` names no {object_type.noun} of this workspace. Leave the operation out."
        object_id = refusal.object_id if isinstance(refusal, NotFound) else None
        missing = "" if object_id is None else ids.encoded(object_type.prefix, object_id)
        return [FieldError(f"{self.path}.id", "not_found", message, missing)]

    def _in_place(self, refusal: FieldsRefusal) -> FieldsRefusal:
        errors = in_place(f"{self.path}.{self.bulk_type.name}", refusal.errors)
        if isinstance(refusal, Taken):
            return Taken(errors, refusal.holders, refusal.read_scope)
        return Invalid(errors)


def in_place(place: str, errors: Iterable[FieldError]) -> list[FieldError]:
    """Return errors of an object with the paths that their fields have below a place in the body."""
    placed: list[FieldError] = []
    for error in errors:
        # A message may name another item of the same member, too.
        named = re.compile(rf"`(?={re.escape(_MEMBER_END.split(error.field)[0])}[.\[`])")
        placed.append(error._replace(field=f"{place}.{error.field}", message=named.sub(f"`{place}.", error.message)))
    return placed


class WriteAll(LongCommand, frozen=True):
    """Apply all operations or none. Refusal: Invalid, with the errors of each that is refused, or if the objects are too large.

    Each operation is judged on the result of those before it. `refused` are the operations whose content is invalid.
    """

    bulk_type: BulkType
    items: tuple[WriteItem, ...]
    refused: tuple[tuple[int, Sequence[FieldError]], ...] = ()

    def needs(self) -> Iterator[Need]:
        for item in self.items:
            yield from item.needs()

    def steps(self, work: UnitOfWork) -> Generator[None, None, Result]:
        results: list[BulkItem] = []
        refused = dict(self.refused)
        # The objects that operations have written so far. Nothing of it stays if one is refused.
        written: dict[str, BulkItem] = {}
        size = 0
        for number, item in enumerate(self.items, start=1):
            if number % _STEP == 0:
                yield
            try:
                answer = work.attempt(item).answer
            except NotLoaded:
                # All operations will be applied again. Go on, so that the rows that the others miss are loaded, too.
                continue
            except Refusal as refusal:
                refused[item.index] = [_among_operations(error, written) for error in item.faults(refusal)]
            else:
                assert isinstance(answer, BulkItem), "it is the result of the item"
                results.append(answer)
                if answer.result in _WRITTEN:
                    object_id: str = getattr(answer, self.bulk_type.name).id
                    before = written.get(object_id)
                    # One that an operation has brought is not there without it, whatever others change in it.
                    written[object_id] = answer if before is None or before.result is BulkOutcome.UPDATED else before
                size += len(msgspec.json.encode(answer))
                if size > MAX_RESULT_BYTES:
                    work.miss_nothing()
                    raise _too_large(self.bulk_type)
        if work.misses_left_out and work.bytes_loaded > TOGETHER_BYTES:
            work.miss_nothing()
            raise _too_large(self.bulk_type)
        if refused:
            raise Invalid(_of_each(refused))
        members: dict[str, Any] = {"results": tuple(results)}
        return Result(work.seq, self.bulk_type.result(object="bulk_result", atomic=True, **members))


_WRITTEN: Final = (BulkOutcome.CREATED, BulkOutcome.RESTORED, BulkOutcome.UPDATED)


def _among_operations(error: FieldError, written: Mapping[str, BulkItem]) -> FieldError:
    """Return an error of an operation as the ones before it explain it, which are taken back, too.

    An object that is then not there is not named, but the operation that would make it.
    """
    if error.holder is None or (before := written.get(error.holder.id)) is None:
        return error
    path, kind = f"operations[{before.index}]", error.holder.object
    if before.result is BulkOutcome.UPDATED:
        message = f"`{error.field}` belongs to another active {kind} of this workspace, as `{path}` leaves it. "
        return error._replace(message=message + "Use that one, or choose another.")
    message = f"`{error.field}` belongs to the {kind} that `{path}` would bring. Leave it out of one of the two."
    return error._replace(message=message, holder=None)


def _too_large(bulk_type: BulkType) -> Invalid:
    plural = bulk_type.object_type.plural
    message = f"The {plural} of `operations` are too large to be written all or none: they have more than 16 MiB together. "
    message += "Send fewer operations in one request, or leave `atomic` out."
    return Invalid([FieldError("operations", "too_long", message)])


def _of_each(refused: Mapping[int, Sequence[FieldError]]) -> list[FieldError]:
    told: list[FieldError] = []
    for index in sorted(refused):
        told += first_errors(refused[index], f"operations[{index}]", max(1, MAX_ERRORS - len(told)))
    return told


class Begun(msgspec.Struct, frozen=True):
    """The answer to `Begin`, which says only that the request has begun."""


class Begin(msgspec.Struct, frozen=True):
    """Do nothing. This binds an Idempotency-Key to its request before the first operation is applied."""

    def needs(self) -> Iterator[Need]:
        yield from ()

    def apply(self, work: UnitOfWork) -> Result:
        return Result(work.seq, Begun())
