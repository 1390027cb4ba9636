"""The effect that a change of a definition has on the values that are there."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from msgspec import UNSET

from herdbook import ids
from herdbook.custom_fields import store
from herdbook.custom_fields.model import Field, FieldChange, ValueExample
from herdbook.custom_fields.store import MAX_CLAIMED_AT_ONCE, MAX_HOLDERS, changes_form
from herdbook.custom_fields.values import Conversion, FormerList, conversion_between, index_texts, unique_value
from herdbook.db.pool import Executor
from herdbook.ledger.changes import same
from herdbook.ledger.object_types import ObjectType

# The values that objects of a slice would have beside the change, by their ids and versions.
ValuesThen: TypeAlias = Callable[[Mapping[UUID, int]], Awaitable[Mapping[UUID, Any]]]
_MAX_EXAMPLES: Final = 20
# Limits the unique values that are compared in one pass over all values. With their objects, they take some 25 MB.
MAX_COMPARED: Final = 125_000
# As many values are looked at in one slice of time.
_LOOKED_AT: Final = 100
# Half of those that an index finds: others may get such values between the look and the change.
MAX_ALIKE: Final = MAX_HOLDERS // 2 + 1
# The counters of a look, of a byte each.
_PLACES: Final = 1 << 22


class ValueSource(NamedTuple):
    """The objects that may have values of a field, and how to read them beside other work."""

    statements: Executor
    time_slice: Callable[[], Awaitable[None]]
    object_type: ObjectType[Any, Any]
    workspace_id: UUID


class Effect(NamedTuple):
    """The effect of a change of a definition, and the first objects with a value of a unique field that no look-up finds.

    A write beside the conversion looks for the holders of a value in its usual spellings. These have it in another one.
    """

    change: FieldChange
    unfound: Sequence[UUID]


async def effect_of(source: ValueSource, before: Field, after: Field, then: ValuesThen | None = None) -> Effect:
    """Return what a change of a field's definition does to its values. If it leaves all of them as they are, they are counted.

    `then` returns other values for objects that change together with the definition.
    """
    # An undo gives numbers back as they were.
    region = await store.region_of(source.statements, source.workspace_id) if then is None else None
    tally = _Tally(conversion_between(before, after, region), source.object_type.prefix)
    is_exact = True
    if changes_form(before, after):
        await _look(source, before.key, tally, then)
    else:
        found = await store.value_count(source.statements, source.object_type.name, source.workspace_id, before.key)
        tally.kept, is_exact = found
    change = FieldChange(
        object="field_change",
        dry_run=True,
        field=after,
        kept=tally.kept,
        exact=is_exact,
        converted=tally.converted,
        refused=tally.refused,
        examples=tuple(tally.examples),
    )
    return Effect(change, tally.unfound)


async def _look(source: ValueSource, key: str, tally: "_Tally", then: ValuesThen | None) -> None:
    """Look at all values of a field, in slices.

    If there are too many unique values to compare at once, each pass over all values compares a part of them.
    """
    while tally.begin_pass():
        last_id = ids.NIL
        while not tally.is_full:
            found = await store.values_after(source.statements, source.object_type.name, source.workspace_id, key, last_id)
            if not found:
                break
            last_id = found[-1].id
            others: Mapping[UUID, Any] = {} if then is None else await then({each.id: each.version for each in found})
            for first in range(0, len(found), _LOOKED_AT):
                await source.time_slice()
                for each in found[first : first + _LOOKED_AT]:
                    value = others.get(each.id, each.value)
                    if value is not None:
                        tally.add(each.id, value, is_former=each.id in others)


class _Tally:
    """The numbers of values that stay as they are, get another form, or do not fit a definition.

    Each pass counts a part of the values. There is one part, unless a pass finds too many unique values to compare.
    """

    def __init__(self, conversion: Conversion, prefix: str) -> None:
        self.kept = self.converted = self.refused = 0
        self.examples: list[ValueExample] = []
        self.unfound: list[UUID] = []
        # How many objects an index finds by a text, of those with the same place. Two texts seldom share one, and then count
        # as one, so that an object is taken for one that nobody finds, and never the other way round.
        self._found_by = bytearray(_PLACES if conversion.field.unique else 0)
        self._conversion = conversion
        # A value from a time when the field was a list may have an option that is archived.
        self._of_former = Conversion(conversion.field, (FormerList(0, None, {}),))
        self._prefix = prefix
        # The bytes of the ids of objects, by the values that they have.
        self._seen: dict[bytes, bytes] = {}
        self._part, self._parts = -1, 1

    @property
    def is_full(self) -> bool:
        """Whether this pass has found too many values to compare. All values are counted anew, in more parts."""
        return len(self._seen) > MAX_COMPARED

    def begin_pass(self) -> bool:
        """Whether another pass is needed. It counts the next part of the values."""
        if self.is_full:
            self._part, self._parts = -1, 2 * self._parts
            self.kept = self.converted = self.refused = 0
            self.examples.clear()
            self.unfound.clear()
            self._found_by = bytearray(_PLACES)
        self._part += 1
        self._seen.clear()
        return self._part < self._parts

    def add(self, object_id: UUID, value: Any, *, is_former: bool = False) -> None:
        """Count a value, if it is in the part that this pass counts. A former one is from a time with the definition."""
        new = (self._of_former if is_former else self._conversion).of(value, 0)
        after = self._conversion.field
        compared = b"" if new is None or not after.unique else _digest(unique_value(after, new))
        if compared and self._part == 0 and not self._is_found(value, new) and len(self.unfound) < MAX_CLAIMED_AT_ONCE:
            self.unfound.append(object_id)
        if int.from_bytes(compared[:4]) % self._parts != self._part:
            return
        if new is None or compared in self._seen:
            self.refused += 1
            if len(self.examples) < _MAX_EXAMPLES:
                same_as = UNSET if new is None else ids.encoded(self._prefix, UUID(bytes=self._seen[compared]))
                self.examples.append(ValueExample(id=ids.encoded(self._prefix, object_id), value=value, same_as=same_as))
            return
        if compared:
            self._seen[compared] = object_id.bytes
        if same(new, value):
            self.kept += 1
        else:
            self.converted += 1

    def _is_found(self, value: Any, new: Any) -> bool:
        """Whether an index finds the object by a usual spelling of its new value. Objects come in the order of their ids."""
        own = [*index_texts(value)]
        crowded: set[str] = set()
        for text in own:
            place = int.from_bytes(_digest(text)[:4]) % _PLACES
            self._found_by[place] = min(self._found_by[place] + 1, MAX_ALIKE)
            if self._found_by[place] == MAX_ALIKE:
                crowded.add(text)
        return any(text in own and text not in crowded for text in self._conversion.usual_texts(new))


def _digest(compared: str) -> bytes:
    """Return 16 bytes that stand for a value of any length."""
    return blake2b(compared.encode("utf-8", "surrogatepass"), digest_size=16).digest()
