"""The effect that a change of a definition has on the values that are there."""

from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from herdbook import ids
from herdbook.custom_fields import store
from herdbook.custom_fields.model import LISTS, Field, FieldChange, ValueExample
from herdbook.custom_fields.store import changes_form
from herdbook.custom_fields.values import Conversion, FormerList, labels_of, unique_value
from herdbook.db.pool import Executor
from herdbook.errors import quoted
from herdbook.ledger.object_types import ObjectType

# The values that objects of a slice would have beside the change, by their ids and versions.
ValuesThen: TypeAlias = Callable[[Mapping[UUID, int]], Awaitable[Mapping[UUID, Any]]]
_MAX_EXAMPLES: Final = 20
# Limits the unique values that are compared in one pass over all values. They take some 20 MB.
MAX_COMPARED: Final = 250_000


class ValueSource(NamedTuple):
    """The objects that may have values of a field, and how to read them beside other work."""

    statements: Executor
    time_slice: Callable[[], Awaitable[None]]
    object_type: ObjectType[Any, Any]
    workspace_id: UUID


async def effect_of(source: ValueSource, before: Field, after: Field, then: ValuesThen | None = None) -> FieldChange:
    """Look at all values of a field, in slices, and return what a change of its definition does to them.

    If there are too many unique values to compare at once, each pass over all values compares a part of them. `then` returns
    other values for objects that change together with the definition.
    """
    was_list = (FormerList(0, None, labels_of(before)),) if before.kind in LISTS else ()
    tally = _Tally(Conversion(after, was_list), changes_form=changes_form(before, after))
    while tally.begin_pass():
        last_id = ids.NIL
        while not tally.is_full:
            await source.time_slice()
            found = await store.values_after(
                source.statements, source.object_type.name, source.workspace_id, before.key, last_id
            )
            if not found:
                break
            last_id = found[-1].id
            others: Mapping[UUID, Any] = {} if then is None else await then({each.id: each.version for each in found})
            for each in found:
                value = others.get(each.id, each.value)
                if value is not None:
                    tally.add(ids.encoded(source.object_type.prefix, each.id), value)
    return FieldChange(
        object="field_change",
        dry_run=True,
        field=after,
        kept=tally.kept,
        converted=tally.converted,
        refused=tally.refused,
        examples=tuple(tally.examples),
    )


class _Tally:
    """The numbers of values that stay as they are, get another form, or do not fit a definition.

    Each pass counts a part of the values. There is one part, unless a pass finds too many unique values to compare.
    """

    def __init__(self, conversion: Conversion, *, changes_form: bool) -> None:
        self.kept = self.converted = self.refused = 0
        self.examples: list[ValueExample] = []
        self._conversion = conversion
        self._changes_form = changes_form
        self._seen: set[bytes] = set()
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
        self._part += 1
        self._seen.clear()
        return self._part < self._parts

    def add(self, object_id: str, value: Any) -> None:
        """Count a value, if it is in the part that this pass counts."""
        new = self._conversion.of(value, 0) if self._changes_form else value
        after = self._conversion.field
        compared = b"" if new is None or not after.unique else _digest(unique_value(after, new))
        if int.from_bytes(compared[:4]) % self._parts != self._part:
            return
        if new is None or compared in self._seen:
            self.refused += 1
            if len(self.examples) < _MAX_EXAMPLES:
                self.examples.append(ValueExample(id=object_id, value=value))
            return
        if compared:
            self._seen.add(compared)
        if new == value and type(new) is type(value):
            self.kept += 1
        else:
            self.converted += 1


def _digest(compared: str) -> bytes:
    """Return 16 bytes that stand for a value of any length."""
    return blake2b(compared.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def does_not_fit(before: Field, found: FieldChange) -> str:
    """Return a sentence that says which values a change of a definition does not fit."""
    member = "unique" if found.field.kind is before.kind else "kind"
    some = ", ".join(f"`{quoted(str(example.value))}`" for example in found.examples[:3])
    return f"`{member}` does not fit {found.refused} of the values that `fields.{before.key}` has, such as {some}."
