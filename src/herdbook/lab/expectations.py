"""Expectations of the journal of a workspace, and what did not hold."""

from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Any, ClassVar, Final, TypeAlias, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields
from herdbook.errors import FieldError
from herdbook.http.operation import Operation
from herdbook.lab.faults import FAULT_PREFIX, FaultKind
from herdbook.lab.habits import Habit, HabitName, habits_of
from herdbook.lab.hiding import shown_header
from herdbook.lab.journal import MOST_ENTRIES, Conditions, Journal, JournalEntry
from herdbook.lab.names import name_errors, unknown

_MOST_EXPECTATIONS: Final = 200
_MOST_SHOWN: Final = 20
_TIMES: Final = ("not at all", "once", "twice")
_FAULTS: Final = frozenset(get_args(FaultKind))
_LEAST_STATUS: Final = 100
_COUNTS: Final = ("times", "at_least", "at_most")
# A header that equals a value, that must be there, or that must not.
_Wanted: TypeAlias = bool | str
_Count = Annotated[int, Meta(ge=0, le=MOST_ENTRIES)]


class Condition(Conditions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions that an entry of the journal meets, as the journal's parameters have them, and its headers."""

    schema_name: ClassVar[str] = "lab_condition"

    headers: Annotated[
        dict[str, _Wanted],
        Meta(
            description="Headers of the request, such as `If-Match` or `Idempotency-Key`: a value that one equals, true if it "
            "must be there, or false if it must not."
        ),
    ] = msgspec.field(default_factory=dict[str, _Wanted])

    def is_met(self, entry: JournalEntry) -> bool:
        """Whether an entry meets the conditions."""
        return super().is_met(entry) and all(
            _has(entry.request.headers.get(name.lower()), _as_kept(name, wanted)) for name, wanted in self.headers.items()
        )

    @property
    def described(self) -> str:
        """The conditions in words."""
        named = [(name, getattr(self, name)) for name in Conditions.__struct_fields__]
        parts = [f"{name} `{value}`" for name, value in named if value]
        parts += [_described(name, wanted) for name, wanted in self.headers.items()]
        return "An entry with " + ", ".join(parts) if parts else "An entry"


def _has(value: str | None, wanted: _Wanted) -> bool:
    return (value is not None) is wanted if isinstance(wanted, bool) else value == wanted


def _as_kept(name: str, wanted: _Wanted) -> _Wanted:
    """Return a wanted value as the journal has it, which keeps no secrets."""
    return wanted if isinstance(wanted, bool) else shown_header(name.lower(), wanted)


def _described(header: str, wanted: _Wanted) -> str:
    if isinstance(wanted, bool):
        return f"{'a' if wanted else 'no'} header `{header}`"
    return f"header `{header}` `{wanted}`"


class Expectation(Condition, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An expectation: conditions with how often entries meet them, or conditions that entries meet in an order."""

    schema_name: ClassVar[str] = "lab_expectation"

    times: Annotated[_Count, Meta(description="Exactly so many entries.")] | UnsetType = UNSET
    at_least: Annotated[_Count, Meta(description="So many entries, or more.")] | UnsetType = UNSET
    at_most: Annotated[_Count, Meta(description="So many entries, or fewer.")] | UnsetType = UNSET
    never: Annotated[bool, Meta(description="No entry.")] = False
    in_order: (
        Annotated[
            tuple[Condition, ...],
            Meta(
                min_length=1,
                max_length=_MOST_EXPECTATIONS,
                description="Conditions that entries meet in this order of their beginnings. Others may be in between.",
            ),
        ]
        | UnsetType
    ) = UNSET

    @property
    def named(self) -> Sequence[tuple[str, Condition]]:
        """Its conditions, each with its place."""
        if self.in_order is UNSET:
            return [("", self)]
        return [(f".in_order[{place}]", each) for place, each in enumerate(self.in_order)]


def _expectations(value: Sequence[Expectation | None], path: str) -> Iterator[FieldError]:
    for place, each in enumerate(value):
        if each is not None:
            yield from _errors(each, f"{path}[{place}]")


def _errors(asked: Expectation, path: str) -> Iterator[FieldError]:
    counts = [name for name in _COUNTS if getattr(asked, name) is not UNSET]
    said = [*counts, *(["never"] if asked.never else []), *(["in_order"] if asked.in_order is not UNSET else [])]
    if not said:
        message = f"`{path}` does not say how often. Send `times`, `at_least`, `at_most`, `never` or `in_order`."
        yield FieldError(path, "required", message)
    if len(said) > 1 and said != ["at_least", "at_most"]:
        message = f"`{said[0]}` and `{said[1]}` do not go together. Send two expectations."
        yield FieldError(f"{path}.{said[1]}", "not_allowed", message)
    if asked.at_least is not UNSET and asked.at_most is not UNSET and asked.at_least > asked.at_most:
        yield FieldError(f"{path}.at_most", "invalid_range", "`at_most` is less than `at_least`. Send at least as many.")
    if asked.in_order is not UNSET and asked.described != Condition().described:
        message = "`in_order` has conditions of its own. Send these in each of them."
        yield FieldError(f"{path}.in_order", "not_allowed", message)


class LabVerify(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for verifying what a client did."""

    schema_name: ClassVar[str] = "lab_verify_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"expectations": _expectations}
    example: ClassVar[dict[str, Any]] = {
        "expectations": [
            {"operation": "update-contact", "headers": {"If-Match": True}, "times": 1},
            {"operation": "create-contact", "headers": {"Idempotency-Key": False}, "never": True},
            {"in_order": [{"operation": "create-company"}, {"operation": "create-contact"}]},
        ],
        "no_habits": True,
    }

    expectations: Annotated[tuple[Expectation, ...], Meta(max_length=_MOST_EXPECTATIONS)] = ()
    no_habits: Annotated[bool, Meta(description="Whether each habit that is seen is a failure.")] = False
    allowed_habits: (
        Annotated[tuple[HabitName, ...], Meta(description="Habits that are no failures, while each other one is.")] | UnsetType
    ) = UNSET
    after: Annotated[int, Meta(ge=0, description="Only entries after this number.")] = 0

    def allows(self, habit: Habit) -> bool:
        """Whether a habit is no failure."""
        if self.allowed_habits is UNSET:
            return not self.no_habits
        return habit.habit in self.allowed_habits


class LabFailure(msgspec.Struct, frozen=True, kw_only=True):
    """An expectation that did not hold."""

    schema_name: ClassVar[str] = "lab_failure"
    example: ClassVar[dict[str, Any]] = {
        "expectation": "expectations[0]",
        "message": "An entry with operation `update-contact`, a header `If-Match` was expected once, and is there not at all.",
        "numbers": [],
    }

    expectation: Annotated[
        str, Meta(description="The place of the expectation in the request, `no_habits`, or `after` if entries are gone.")
    ]
    message: str
    numbers: Annotated[tuple[int, ...], Meta(description="The numbers of the entries that it is about.")] = ()


class LabVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The expectations that did not hold, and the habits that were seen."""

    schema_name: ClassVar[str] = "lab_verdict"
    example: ClassVar[dict[str, Any]] = {
        "holds": False,
        "failures": [LabFailure.example],
        "habits": [Habit.example],
        "last": 4,
        "dropped": 0,
    }

    holds: Annotated[bool, Meta(description="Whether there are no failures.")]
    failures: tuple[LabFailure, ...]
    habits: Annotated[tuple[Habit, ...], Meta(description="All habits that were seen, also those that are no failures.")]
    last: Annotated[int, Meta(description="The number of the last entry of the journal.")]
    dropped: Annotated[int, Meta(description="How many entries were dropped, the oldest, because the journal was full.")]


def condition_errors(
    condition: Conditions, operations: Sequence[Operation], rules: Collection[str], place: str = ""
) -> Iterator[FieldError]:
    """Yield an error for each condition that no entry can meet. `rules` are the ids of rules that are or were there."""
    yield from name_errors(condition, operations, place, schemes=("http://", "https://"))
    if condition.fault and condition.fault not in _FAULTS and condition.fault not in rules:
        kind = "rule" if condition.fault.startswith(FAULT_PREFIX) else "fault"
        remedy = "`GET .../faults` lists those of the workspace." if kind == "rule" else ""
        yield unknown(f"{place}fault", kind, condition.fault, _FAULTS, remedy)
    if 0 < condition.status < _LEAST_STATUS:
        yield FieldError(f"{place}status", "invalid_range", f"A status is {_LEAST_STATUS} or more. Leave it out for any.")
    for name, kind in (("operation", "request"), ("event_type", "delivery")):
        if getattr(condition, name) and condition.kind not in (UNSET, kind):
            message = f"Only an entry of the kind `{kind}` has `{name}`. Leave out one of both."
            yield FieldError(f"{place}kind", "invalid_choice", message)
    if condition.operation and condition.event_type:
        message = "No entry has both an operation and a type of event. Leave out one of both."
        yield FieldError(f"{place}event_type", "not_allowed", message)


def impossible(asked: LabVerify, operations: Sequence[Operation], rules: Collection[str]) -> Iterator[FieldError]:
    """Yield an error for each condition that no entry can meet, because `never` would hold whatever a client did."""
    for place, expectation in enumerate(asked.expectations):
        for below, condition in expectation.named:
            yield from condition_errors(condition, operations, rules, f"expectations[{place}]{below}.")


def verdict(asked: LabVerify, journal: Journal, writes: Collection[str]) -> LabVerdict:
    """Return what did not hold in a journal. `writes` are the ids of operations that accept an `Idempotency-Key`."""
    entries = sorted(journal.entries(asked.after), key=lambda entry: entry.began_seconds)
    habits = habits_of(entries, writes)
    failures = [*_gone(asked, journal)]
    for place, expectation in enumerate(asked.expectations):
        failures += _failures(expectation, f"expectations[{place}]", entries)
    failures += [
        LabFailure(expectation="no_habits", message=f"{each.habit}: {each.message} {each.remedy}", numbers=each.numbers)
        for each in habits
        if not asked.allows(each)
    ]
    return LabVerdict(
        holds=not failures, failures=tuple(failures), habits=tuple(habits), last=journal.last, dropped=journal.dropped
    )


def _gone(asked: LabVerify, journal: Journal) -> Iterator[LabFailure]:
    if asked.after < journal.dropped:
        message = (
            f"The journal was full and has dropped its first {journal.dropped} entries, which nothing is known of. Verify "
            f"earlier, or send {journal.dropped} or more as `after`."
        )
        yield LabFailure(expectation="after", message=message)


def _failures(asked: Expectation, path: str, entries: Sequence[JournalEntry]) -> Iterator[LabFailure]:
    if asked.in_order is not UNSET:
        yield from _disorder(asked.named, path, entries)
        return
    numbers = tuple(entry.number for entry in entries if asked.is_met(entry))
    times = 0 if asked.never else asked.times
    least = asked.at_least if times is UNSET else times
    most = asked.at_most if times is UNSET else times
    if (least is UNSET or len(numbers) >= least) and (most is UNSET or len(numbers) <= most):
        return
    if times is not UNSET:
        wanted = _shown_times(times)
    else:
        bounds = [("at least", asked.at_least), ("at most", asked.at_most)]
        wanted = " and ".join(f"{name} {_shown_times(bound)}" for name, bound in bounds if bound is not UNSET)
    seen = f"{_shown_times(len(numbers))}{_listed(numbers)}"
    yield LabFailure(
        expectation=path, message=f"{asked.described} was expected {wanted}, and is there {seen}.", numbers=numbers
    )


def _disorder(named: Sequence[tuple[str, Condition]], path: str, entries: Sequence[JournalEntry]) -> Iterator[LabFailure]:
    left = iter(entries)
    numbers: list[int] = []
    for below, condition in named:
        met = next((entry for entry in left if condition.is_met(entry)), None)
        if met is None:
            after = f" after entry {numbers[-1]}" if numbers else ""
            message = f"{condition.described} was expected{after}, and is not there."
            yield LabFailure(expectation=path + below, message=message, numbers=tuple(numbers))
            return
        numbers.append(met.number)


def _shown_times(count: int) -> str:
    return _TIMES[count] if count < len(_TIMES) else f"{count} times"


def _listed(numbers: Sequence[int]) -> str:
    if not numbers:
        return ""
    more = ", ..." if len(numbers) > _MOST_SHOWN else ""
    return ": " + ", ".join(map(str, numbers[:_MOST_SHOWN])) + more
