"""Rules for fields of request bodies that several kinds of objects share."""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from herdbook.errors import FieldError

# A rule gets a value of the declared type, and its path, such as `emails`. In an array, None stands for an item of another
# type, for which an error is already reported.
Rule: TypeAlias = Callable[[Any, str], Iterator[FieldError]]

_NUL: Final = "\x00"
# A visible character: no white space by the definitions of Unicode, Python and ECMAScript together, so that all validators of
# the schema agree.
_SHOWING: Final = r"[^\s\u0000\u001c-\u001f\u0085\ufeff]"
shows: Final = re.compile(_SHOWING).search
# Patterns that show in schemas which texts are refused.
NO_NUL_SCHEMA: Final = {"pattern": r"^[^\u0000]*$"}
TEXT_SCHEMA: Final = {"pattern": rf"^[^\u0000]*{_SHOWING}[^\u0000]*$"}

# The lengths come from the vendor's pages.
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255, extra_json_schema=TEXT_SCHEMA)]
Description: TypeAlias = Annotated[str, Meta(min_length=1, max_length=2000, extra_json_schema=TEXT_SCHEMA)]
# The maximum length of a list in a body, if the vendor does not state one.
MAX_ITEMS: Final = 100


class HasRules(Protocol):
    """A struct whose fields have rules that their types do not express."""

    rules: ClassVar[dict[str, Rule]]


def text(value: str | None, path: str) -> Iterator[FieldError]:
    """Refuse text that PostgreSQL cannot store, and text without a visible character."""
    if value is None:
        return
    if _NUL in value:
        yield FieldError(path, "invalid_characters", f"`{path}` holds a NUL character. Leave it out.")
    elif not shows(value):
        yield FieldError(path, "blank", f"`{path}` holds nothing but white space. Send some text.")


def matching(pattern: str, what: str) -> Rule:
    """Refuse text that does not match a pattern; `what` describes the expected text."""
    matches = re.compile(pattern).fullmatch

    def rule(value: str | None, path: str) -> Iterator[FieldError]:
        if value is not None and matches(value) is None:
            yield FieldError(path, "invalid_format", f"`{path}` is not {what}.")

    return rule


def id_schema(prefix: str, description: str | None = None) -> Meta:
    """Return the part of a type that describes identifiers of a kind."""
    return Meta(description=description, extra_json_schema={"pattern": f"^{prefix}[A-Za-z0-9]+$"})


def id_of(prefix: str, kind: str) -> Rule:
    """Refuse text that does not look like an identifier of this kind; whether the object exists is checked later."""
    looks_right = re.compile(re.escape(prefix) + "[A-Za-z0-9]+")

    def rule(value: str | None, path: str) -> Iterator[FieldError]:
        if value is not None and looks_right.fullmatch(value) is None:
            message = f"`{path}` is not the id of a {kind}. Send `{prefix}` and letters and digits, as the API returned it."
            yield FieldError(path, "invalid_format", message)

    return rule


def parsed_time(text: str) -> datetime | None:
    """Return the time of an ISO 8601 text in UTC, or None if it is no time. Without a zone, the text is taken as UTC."""
    # An unencoded plus sign in a query arrives as a space.
    try:
        time = msgspec.convert(text.replace(" ", "+"), datetime)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        return None


def time(value: str | None, path: str) -> Iterator[FieldError]:
    """Refuse text that is not a time."""
    if value is not None and parsed_time(value) is None:
        message = f"`{path}` is not a time. Send ISO 8601 in UTC, such as `2026-03-01T12:00:00Z`."
        yield FieldError(path, "invalid_format", message)


class MaybePrimary(Protocol):
    """An item of a list in which one item may be primary."""

    @property
    def is_primary(self) -> Any: ...


ItemT = TypeVar("ItemT", bound=MaybePrimary)


def one_primary(items: Sequence[MaybePrimary | None], path: str) -> Iterator[FieldError]:
    """Refuse more than one primary item."""
    marked = [index for index, item in enumerate(items) if item is not None and item.is_primary is True]
    for index in marked[1:]:
        message = f"`{path}` has more than one primary item. Mark one at most."
        yield FieldError(f"{path}[{index}].is_primary", "multiple_primary", message)


def each_once(member: str, noun: str, what: str, comparable: Callable[[str], str]) -> Rule:
    """Refuse more than one primary item, and items whose member is malformed or given twice.

    `comparable` returns the form in which members are compared, or raises a ValueError that says what is wrong. `noun` names a
    member in messages, and `what` describes a sound one.
    """

    def rule(items: Sequence[MaybePrimary | None] | None, path: str) -> Iterator[FieldError]:
        yield from one_primary(items or (), path)
        seen: dict[str, int] = {}
        for index, item in enumerate(items or ()):
            if item is None:
                continue
            place = f"{path}[{index}].{member}"
            try:
                first = seen.setdefault(comparable(getattr(item, member)), index)
            except ValueError as error:
                yield FieldError(place, "invalid_format", f"`{place}` is not {what}: {str(error).removesuffix('.')}.")
                continue
            if first != index:
                message = f"`{place}` is the same {noun} as `{path}[{first}].{member}`. Send each {noun} once."
                yield FieldError(place, "duplicate", message)

    return rule


def primary_index(items: Sequence[ItemT], was_primary: Callable[[ItemT], bool]) -> int:
    """Return the index of the primary item: the marked one, otherwise the previous one, otherwise the first."""
    for index, item in enumerate(items):
        if item.is_primary is True:
            return index
    return next((index for index, item in enumerate(items) if was_primary(item)), 0)
