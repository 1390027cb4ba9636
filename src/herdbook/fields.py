"""Rules for fields of request bodies that several kinds of objects share."""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Protocol, TypeAlias, TypeVar

from msgspec import Meta

from herdbook.errors import FieldError, Invalid

# A rule gets a value of the declared type, and its path, such as `emails`. In an array, None stands for an item of another
# type, for which an error is already reported.
Rule: TypeAlias = Callable[[Any, str], Iterator[FieldError]]

_NUL: Final = "\x00"
# Characters that nothing shows of, beside white space: formats such as a zero-width space, and letters and symbols that are
# blank, such as the Hangul fillers. Those beyond the Basic Multilingual Plane are not in the schema: validators disagree
# about them.
_INVISIBLE: Final = (
    r"\u0000\u001c-\u001f\u0085\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
)
_INVISIBLE_BEYOND: Final = r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
# White space is that by the definitions of Unicode, Python and ECMAScript together, so that all validators of the schema agree.
_SHOWING: Final = rf"[^\s{_INVISIBLE}]"
shows: Final = re.compile(rf"[^\s{_INVISIBLE}{_INVISIBLE_BEYOND}]").search
# Patterns that show in schemas which texts are refused.
NO_NUL_SCHEMA: Final = {"pattern": r"^[^\u0000]*$"}
TEXT_SCHEMA: Final = {"pattern": rf"^[^\u0000]*{_SHOWING}[^\u0000]*$"}

# The lengths come from the vendor's pages.
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255, extra_json_schema=TEXT_SCHEMA)]
Description: TypeAlias = Annotated[str, Meta(min_length=1, max_length=2000, extra_json_schema=TEXT_SCHEMA)]
# The maximum length of a list in a body, if the vendor does not state one.
MAX_ITEMS: Final = 100


def require_few(after: Any, names: Sequence[str], noun: str) -> None:
    """Refuse an object to whose lists a request has added too many items. `noun` is its name in messages. Refusal: Invalid."""
    for name in names:
        items = getattr(after, name) or ()
        if len(items) > MAX_ITEMS:
            message = f"`{name}` would have {len(items)} items, with those that the {noun} has. Send fewer: "
            raise Invalid([FieldError(name, "too_long", f"{message}{MAX_ITEMS} is the limit.")])


class HasRules(Protocol):
    """A struct whose fields have rules that their types do not express."""

    rules: ClassVar[dict[str, Rule]]


def text(value: str | None, path: str) -> Iterator[FieldError]:
    """Refuse text that PostgreSQL cannot store, and text of which nothing shows."""
    if value is None:
        return
    if _NUL in value:
        yield FieldError(path, "invalid_characters", f"`{path}` holds a NUL character. Leave it out.")
    elif not shows(value):
        yield FieldError(path, "blank", f"`{path}` holds nothing that shows. Send some text.")


def matching(pattern: str, what: str) -> Rule:
    """Refuse text that does not match a pattern; `what` describes the expected text."""
    matches = re.compile(pattern).fullmatch

    def rule(value: str | None, path: str) -> Iterator[FieldError]:
        if value is not None and matches(value) is None:
            yield FieldError(path, "invalid_format", f"`{path}` is not {what}.")

    return rule


def id_schema(prefix: str, description: str | None = None) -> Meta:
    """Return the part of a type that describes identifiers of a kind."""
    return Meta(description=description, extra_json_schema={"pattern": id_pattern(prefix)})


def id_pattern(prefix: str) -> str:
    """Return the regular expression of identifiers of a kind."""
    return f"^{prefix}[A-Za-z0-9]+$"


def id_of(prefix: str, kind: str) -> Rule:
    """Refuse text that does not look like an identifier of this kind; whether the object exists is checked later."""
    looks_right = re.compile(re.escape(prefix) + "[A-Za-z0-9]+")

    def rule(value: str | None, path: str) -> Iterator[FieldError]:
        if value is not None and looks_right.fullmatch(value) is None:
            message = f"`{path}` is not the id of a {kind}. Send `{prefix}` and letters and digits, as the API returned it."
            yield FieldError(path, "invalid_format", message)

    return rule


# Every form of RFC 3339, and those of ISO 8601 with a day (of the calendar, of a week or of a year) and a time of that day.
_TIME: Final = re.compile(
    r"""
    (?P<year>\d{4}) (?: (?P<dash>-?) (?:
        (?P<month>\d\d) (?P=dash) (?P<day>\d\d) | (?P<day_of_year>\d{3}) | [Ww] (?P<week>\d\d) (?P=dash) (?P<weekday>[1-7])
    ))
    [Tt ] (?P<hour>\d\d) (?: (?P<colon>:?) (?P<minute>\d\d) (?: (?P=colon) (?P<second>\d\d) )? )?
    (?: [.,] (?P<fraction>\d{1,30}) )?
    (?: [Zz] | (?P<sign>\ ?[-+\u2212]|\ {1,2}) (?P<off_hours>[01]\d|2[0-3]) (?: :? (?P<off_minutes>[0-5]\d) )? )?
    """,
    re.VERBOSE | re.ASCII,
)


def parsed_time(text: str) -> datetime | None:
    """Return the time of a text in UTC, or None if it is no time. Without a zone it is UTC.

    24:00 is the next midnight, and so is a leap second, which a `datetime` cannot hold.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    lowest = 1 if found["second"] else 60 if found["minute"] else 3600
    fraction = found["fraction"] or "0"
    # A fraction belongs to the last unit that is given.
    rest = timedelta(microseconds=round(int(fraction) * lowest * 10**6 / 10 ** len(fraction)))
    offset = timedelta(hours=int(found["off_hours"] or 0), minutes=int(found["off_minutes"] or 0))
    # An unencoded plus sign in a query arrives as a space.
    offset = -offset if (found["sign"] or "").strip() in ("-", "\u2212") else offset
    is_midnight = hour == 24 and not (minute or second or rest)
    if not (is_midnight or (hour < 24 and minute < 60 and second <= 60)):
        return None
    try:
        time = _day(found) + timedelta(hours=hour, minutes=minute, seconds=second) + rest - offset
        # Leap seconds are the last of a month in UTC.
        return None if second == 60 and (time - rest - timedelta(seconds=1)).month == (time - rest).month else time
    except (ValueError, OverflowError):
        return None


def _day(found: re.Match[str]) -> datetime:
    """Return the first moment of a day. Raise ValueError or OverflowError if there is no such day."""
    year = int(found["year"])
    if found["week"]:
        return datetime.fromisocalendar(year, int(found["week"]), int(found["weekday"])).replace(tzinfo=UTC)
    if found["day_of_year"]:
        day = datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=int(found["day_of_year"]) - 1)
        if day.year != year:
            raise ValueError
        return day
    return datetime(year, int(found["month"]), int(found["day"]), tzinfo=UTC)


def time(value: str | None, path: str) -> Iterator[FieldError]:
    """Refuse text that is not a time."""
    if value is not None and parsed_time(value) is None:
        message = (
            f"`{path}` is not a time of RFC 3339 or ISO 8601 in the years 1 to 9999. Send a day and a time of day as "
            "`YYYY-MM-DDThh:mm:ssZ`, such as `2026-03-01T12:00:00Z`."
        )
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
                why = str(error).removesuffix(".") if getattr(item, member).strip() else "it is empty. Leave the item out"
                yield FieldError(place, "invalid_format", f"`{place}` is not {what}: {why}.")
                continue
            if first != index:
                message = f"`{place}` is the same {noun} as `{path}[{first}].{member}`. Send each {noun} once."
                yield FieldError(place, "duplicate", message)

    return rule


def primary_index(items: Sequence[ItemT], was_primary: Callable[[ItemT], bool] | None) -> int:
    """Return the index of the primary item: the marked one, otherwise the previous one, if any, otherwise the first."""
    for index, item in enumerate(items):
        if item.is_primary is True:
            return index
    return 0 if was_primary is None else next((index for index, item in enumerate(items) if was_primary(item)), 0)
