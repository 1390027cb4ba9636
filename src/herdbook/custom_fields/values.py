"""The values of fields: their forms by kind, and the texts by which indexes and unique fields know them."""

import contextlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Final, TypeAlias, TypeVar, cast
from unicodedata import normalize
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids
from herdbook.addresses import comparable_address
from herdbook.addresses import forms as address_forms
from herdbook.custom_fields.model import LISTS, MAX_DEFINITIONS, MAX_OPTIONS, REFERENCES, Field, FieldKind, ValueExample
from herdbook.errors import FieldError, Invalid, quoted
from herdbook.phone_numbers import (
    comparable_number,
    extension_of,
    international_number,
    national_spellings,
    number_with,
    read_number,
)
from herdbook.search_text import folded
from herdbook.shared_schemas import shown_time

# The values of an object by the keys of their fields, each in the form of its kind.
Values: TypeAlias = Annotated[
    dict[str, Any],
    Meta(
        max_length=MAX_DEFINITIONS,
        description="The values of the workspace's own fields, by their keys, each in the form of its field's kind.",
        extra_json_schema={"examples": [{"job_title": "Countess", "birthday": "1815-12-10"}]},
    ),
]
UniqueValues: TypeAlias = Annotated[
    tuple[str, ...],
    Meta(description="The values of unique fields, each behind the key of its field, in the form in which they are compared."),
]

EntryT = TypeVar("EntryT", bound=msgspec.Struct)
MAX_LONG_TEXT: Final = 10_000
MAX_TEXT: Final = 255
MAX_LINK: Final = 2000
MAX_INTEGER: Final = 2**53 - 1
# Digits before and after the point of a decimal number.
_INTEGER_DIGITS: Final = 15
_FRACTION_DIGITS: Final = 10
DECIMAL_PATTERN: Final = rf"-?[0-9]{{1,{_INTEGER_DIGITS}}}(?:\.[0-9]{{1,{_FRACTION_DIGITS}}})?"
_DECIMAL: Final = re.compile(DECIMAL_PATTERN).fullmatch
_WHOLE: Final = re.compile(r"-?[0-9]{1,16}").fullmatch
_BETWEEN: Final = re.compile(r"([,;\n])").split
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
CURRENCY_PATTERN: Final = "[A-Z]{3}"
_CURRENCY: Final = re.compile(CURRENCY_PATTERN).fullmatch
ADDRESS_PARTS: Final = ("street", "city", "region", "postal_code", "country")
PARTS: Final[Mapping[FieldKind, Sequence[str]]] = {FieldKind.ADDRESS: ADDRESS_PARTS, FieldKind.MONEY: ("amount", "currency")}
"""The parts of values that have some, each of which has a column in a table."""
# Numbers are offset by this, so that all have the same number of digits, and their texts are in the order of the numbers.
_OFFSET: Final = 10 ** (_INTEGER_DIGITS + 1 + _FRACTION_DIGITS)
# Limits how many of the lists that a field was are remembered.
_MAX_FORMER: Final = 10
# Limits the bytes of all values of an object, because each change of it is kept with all of them.
MAX_BYTES: Final = 262_144
# An index entry holds 2,704 bytes.
MAX_INDEXED: Final = 100


class _Unfit(Exception):
    """A value does not have the form of its kind."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__(errors)
        self.errors = errors


def normal_value(field: Field, value: Any, path: str, errors: list[FieldError]) -> Any:
    """Return a value in the form in which it is kept, or add the errors of one that does not fit the field.

    The value is not null. Whether the object of a reference exists is checked elsewhere. An empty list counts as not set: None.
    """
    try:
        return _NORMAL[field.kind](field, value, path)
    except _Unfit as unfit:
        errors += unfit.errors
        return None


def _wrong(path: str, code: str, fault: str) -> _Unfit:
    return _Unfit([FieldError(path, code, f"`{path}` {fault}")])


def _required_type(value: Any, type_: type, what: str, path: str) -> None:
    if not isinstance(value, type_) or (type_ is int and isinstance(value, bool)):
        raise _wrong(path, "invalid_type", f"must be {what}.")


def _text_of(value: Any, path: str, most: int, what: str = "a string") -> str:
    _required_type(value, str, what, path)
    if len(value) > most:
        raise _wrong(path, "too_long", f"has {len(value)} characters. Send at most {most}.")
    if not value:
        raise _wrong(path, "too_short", "is empty. Send some text, or null to clear it.")
    if errors := [*fields.text(value, path)]:
        raise _Unfit(errors)
    return value


def _text(_: Field, value: Any, path: str) -> str:
    return _text_of(value, path, MAX_TEXT)


def _long_text(_: Field, value: Any, path: str) -> str:
    return _text_of(value, path, MAX_LONG_TEXT)


def _integer(_: Field, value: Any, path: str) -> int:
    _required_type(value, int, "a whole number", path)
    if abs(value) > MAX_INTEGER:
        raise _wrong(path, "invalid_range", f"must be from -{MAX_INTEGER} to {MAX_INTEGER}.")
    return value


def _decimal(_: Field, value: Any, path: str) -> str:
    return _number(value, path)


def _number(value: Any, path: str) -> str:
    _required_type(value, str, 'a number as a string, such as "12.50"', path)
    if _DECIMAL(value) is None:
        raise _wrong(
            path,
            "invalid_format",
            f"is not a number of at most {_INTEGER_DIGITS} digits, a point and {_FRACTION_DIGITS} digits, such as `12.50`.",
        )
    number = Decimal(value)
    return format(abs(number) if number == 0 else number, "f")


def _date(_: Field, value: Any, path: str) -> str:
    _required_type(value, str, "a day as a string, such as `2026-03-01`", path)
    if _DATE(value) is not None:
        with contextlib.suppress(ValueError):
            return date.fromisoformat(value).isoformat()
    raise _wrong(path, "invalid_format", "is not a day. Give the year, the month and the day, such as `2026-03-01`.")


def _date_time(_: Field, value: Any, path: str) -> str:
    _required_type(value, str, "a time as a string, such as `2026-03-01T12:00:00Z`", path)
    time = fields.parsed_time(value)
    if time is None:
        raise _Unfit([*fields.time(value, path)])
    return shown_time(time.astimezone(UTC))


def _yes_no(_: Field, value: Any, path: str) -> bool:
    _required_type(value, bool, "true or false", path)
    return value


def with_options_of(field: Field, held: Any) -> Field:
    """Return a list as an object with this value may choose from it: with the archived options that the value has."""
    if field.kind not in LISTS or not isinstance(held, str | list):
        return field
    had = {held} if isinstance(held, str) else {*cast("list[Any]", held)}
    options = (
        msgspec.structs.replace(option, archived=False) if option.archived and option.id in had else option
        for option in field.options
    )
    return msgspec.structs.replace(field, options=tuple(options))


def _one_of(field: Field, value: Any, path: str) -> str:
    _required_type(value, str, "the id of an option", path)
    options = field.active_options
    if value not in options:
        is_archived = any(option.id == value for option in field.options)
        fault = "is an archived option, which only values that have it keep" if is_archived else "is no option of this field"
        listed = ", ".join(f"`{option}`" for option in options[:20])
        raise _wrong(path, "invalid_choice", f"{fault}. Send one of {listed}.")
    return value


def _several_of(field: Field, value: Any, path: str) -> list[str] | None:
    _required_type(value, list, "an array of the ids of options", path)
    if len(value) > MAX_OPTIONS:
        raise _wrong(path, "too_long", f"has {len(value)} items. Send at most {MAX_OPTIONS}.")
    errors: list[FieldError] = []
    for index, item in enumerate(value):
        place = f"{path}[{index}]"
        try:
            _one_of(field, item, place)
        except _Unfit as unfit:
            errors += unfit.errors
            continue
        if (first := value.index(item)) != index:
            message = f"`{place}` is the same option as `{path}[{first}]`. Send each option once."
            errors.append(FieldError(place, "duplicate", message))
    if errors:
        raise _Unfit(errors)
    return value or None


def _link(_: Field, value: Any, path: str) -> str:
    text = _text_of(value, path, MAX_LINK).strip()
    try:
        parts = urlsplit(text)
        is_link = parts.scheme in ("http", "https") and bool(parts.hostname) and not any(map(str.isspace, text))
    except ValueError:
        is_link = False
    if not is_link:
        raise _wrong(path, "invalid_format", "is not the address of a web page. Send one that begins with `https://`.")
    return text


def _email(_: Field, value: Any, path: str) -> str:
    text = _text_of(value, path, MAX_LINK).strip()
    try:
        comparable_address(text)
    except ValueError as error:
        raise _wrong(path, "invalid_format", f"is not an e-mail address: {str(error).removesuffix('.')}.") from None
    return text


def _phone(_: Field, value: Any, path: str) -> str:
    text = _text_of(value, path, MAX_TEXT).strip()
    if read_number(text) is None:
        raise _wrong(path, "invalid_format", "is not a phone number. Send one with digits, such as `+44 20 7946 0958`.")
    return international_number(text)


def _address(_: Field, value: Any, path: str) -> dict[str, str]:
    parts = _members(value, path, dict.fromkeys(ADDRESS_PARTS, _address_part))
    if not parts:
        raise _wrong(path, "too_short", "has no part. Send one at least, or null to clear it.")
    return parts


def _address_part(value: Any, path: str) -> str:
    return _text_of(value, path, MAX_TEXT)


def _money(_: Field, value: Any, path: str) -> dict[str, str]:
    money = _members(value, path, {"amount": _number, "currency": _currency})
    missing = [
        FieldError(f"{path}.{name}", "required", f"`{path}.{name}` is missing. Send it.")
        for name in ("amount", "currency")
        if name not in money
    ]
    if missing:
        raise _Unfit(missing)
    return money


def _currency(value: Any, path: str) -> str:
    _required_type(value, str, "a currency as a string, such as `EUR`", path)
    if _CURRENCY(value) is None:
        raise _wrong(path, "invalid_format", "is not a currency. Send three capital letters, such as `EUR`.")
    return value


def _members(value: Any, path: str, known: Mapping[str, Callable[[Any, str], str]]) -> dict[str, str]:
    """Return the members of an object in their order here, without those that are null."""
    _required_type(value, dict, "an object", path)
    errors: list[FieldError] = []
    found: dict[str, str] = {}
    for name, member in value.items():
        place = f"{path}.{quoted(name)}"
        if name not in known:
            takes = ", ".join(f"`{each}`" for each in known)
            errors.append(FieldError(place, "unknown_field", f"There is no field `{place}`. `{path}` takes {takes}."))
        elif member is not None:
            try:
                found[name] = known[name](member, place)
            except _Unfit as unfit:
                errors += unfit.errors
    if errors:
        raise _Unfit(errors)
    return {name: found[name] for name in known if name in found}


def _reference(field: Field, value: Any, path: str) -> str:
    prefix = REFERENCES[field.kind]
    _required_type(value, str, f"the id of a {field.kind.value}", path)
    if ids.decoded(prefix, value) is None:
        raise _wrong(path, "invalid_format", f"is not the id of a {field.kind.value}. Send {ids.form(prefix)}.")
    return value


_NORMAL: Final[Mapping[FieldKind, Callable[[Field, Any, str], Any]]] = {
    FieldKind.TEXT: _text,
    FieldKind.LONG_TEXT: _long_text,
    FieldKind.INTEGER: _integer,
    FieldKind.DECIMAL: _decimal,
    FieldKind.DATE: _date,
    FieldKind.DATE_TIME: _date_time,
    FieldKind.YES_NO: _yes_no,
    FieldKind.ONE_OF: _one_of,
    FieldKind.SEVERAL_OF: _several_of,
    FieldKind.LINK: _link,
    FieldKind.EMAIL: _email,
    FieldKind.PHONE: _phone,
    FieldKind.ADDRESS: _address,
    FieldKind.USER: _reference,
    FieldKind.CONTACT: _reference,
    FieldKind.COMPANY: _reference,
    FieldKind.MONEY: _money,
}


class FormerList(msgspec.Struct, frozen=True):
    """A time in which a field was a list: the entries from which and before which, and the labels of its options at the end.

    `until` is None while the field still is the list.
    """

    since: int
    until: int | None
    labels: dict[str, str]

    def has(self, version: int) -> bool:
        """Whether the field was a list at the time of an entry."""
        return self.since <= version and (self.until is None or version < self.until)


def former_lists(former: Sequence[FormerList], before: Field | None, after: Field, version: int) -> tuple[FormerList, ...]:
    """Return the lists that a field was or is after a change of its definition, which has this entry. The last few are kept."""
    was_list, is_list = before is not None and before.kind in LISTS, after.kind in LISTS
    if was_list == is_list:
        return tuple(former)
    if is_list:
        return (*former, FormerList(version, None, {}))[-_MAX_FORMER:]
    assert before is not None, "it was a list"
    # An earlier release has not noted when the field became a list.
    ended = former[-1] if former and former[-1].until is None else FormerList(0, None, {})
    others = [each for each in former if each.until is not None]
    return (*others, FormerList(ended.since, version, labels_of(before)))[-_MAX_FORMER:]


def labels_of(field: Field) -> dict[str, str]:
    """Return the labels of a list's options by their ids."""
    return {option.id: option.label for option in field.options}


class Converting(msgspec.Struct, frozen=True):
    """A conversion of a field's values that is not finished.

    `since` is the entry of the definition that began it, or the first of several such. `undone` is the request that it takes
    back, if it follows from an undo. `kind` is the kind that the field had before. `was_unique` tells whether it was unique, so
    that some claims have the form of that kind. An earlier release has noted neither.
    """

    since: int
    undone: UUID | None = None
    kind: FieldKind | None = None
    was_unique: bool = True

    def reads_numbers(self, field: Field) -> bool:
        """Whether values become numbers, which are those of the workspace's region. An undo gives them back as they were."""
        return self.undone is None and self.kind is not None and becomes_number(self.kind, field)


def becomes_number(before: FieldKind, field: Field) -> bool:
    """Whether values of a kind become phone numbers."""
    return field.kind is FieldKind.PHONE and before is not FieldKind.PHONE


class Conversion:
    """Gives values the form of a field's present kind.

    `former` are the lists that the field was. The id of an option would be a text, too, but people know its label. It is told
    from a text that a person typed by the time of the value. `converting` is the conversion that has not come to all values.
    `region` is the country of numbers without one.
    """

    def __init__(
        self,
        field: Field,
        former: Sequence[FormerList] = (),
        converting: Converting | None = None,
        region: str | None = None,
    ) -> None:
        self.field = field
        self.former = former
        self.converting = converting
        self.region = region

    def had_at(self, version: int) -> int:
        """Return the entry at which an active object had its value, given its last entry.

        It had the value until the conversion began, so a text that became an option without a change is one. A
        conversion that an undo takes back counts as if it had never been, and the text as it was typed.
        """
        began = self.converting
        return version if began is None or began.undone is not None else max(version, began.since - 1)

    def of(self, value: Any, version: int) -> Any:
        """Return a value in the present form, or None if it has no such form.

        `version` is the number of an entry at which the object had the value in its former form.
        """
        was_list = any(each.has(version) for each in self.former)
        if self.field.kind in LISTS and was_list and (known := self._options(value)) is not None:
            return known
        labels = self._labels(value, version)
        is_option = isinstance(value, str) and value in labels
        for candidate in (*(() if is_option else (value,)), *self._readings(_as_text(labels, value))):
            errors: list[FieldError] = []
            if self.region is not None and isinstance(candidate, str):
                candidate = international_number(candidate.strip(), self.region)  # noqa: PLW2901  # it is the same number
            kept = normal_value(self.field, candidate, "", errors)
            if kept is not None and not errors:
                return kept
        return None

    def texts_before(self, value: Any) -> tuple[str, ...]:
        """Return a few texts by which an index knows values that a conversion makes this one, in their usual spellings.

        Those of values that are compared as equal have all `usual_texts` in common.
        """
        return tuple(dict.fromkeys((*index_texts(value), *self.usual_texts(value))))

    def usual_texts(self, value: Any) -> Iterator[str]:
        """Yield the texts by which an index knows the usual spellings of all values that are compared as this one."""
        plain = _plain(self.field, value)
        text = _as_text({}, plain).strip()
        for form in (plain, text, f"{text} ", f" {text}", f" {text} "):
            yield from index_texts(form)
        for form in self._forms_before(plain, text):
            yield from index_texts(form)

    def _forms_before(self, value: Any, text: str) -> Iterator[Any]:
        """Yield a few values of other kinds that a conversion makes this one, whose text is given."""
        if self.field.kind is FieldKind.EMAIL:
            yield from address_forms(value)
        elif self.field.kind is FieldKind.DATE_TIME:
            yield from _times(value)
        elif self.field.kind is FieldKind.PHONE:
            yield from national_spellings(value, self.region)
        elif self.field.kind is FieldKind.TEXT:
            amount, _, currency = text.rpartition(" ")
            if _DECIMAL(amount) is not None:
                yield {"amount": amount, "currency": currency}
            if _WHOLE(text) is not None:
                yield int(text)
            if text in ("yes", "no"):
                yield text == "yes"
        for each in self.former:
            option = next((option for option, label in each.labels.items() if folded(label.strip()) == folded(text)), None)
            if option is not None:
                yield option

    def doubted(self, value: Any, version: int) -> Iterator[int]:
        """Yield the entries since when this value of a later entry must be known to be a typed text or an option.

        That is the entry that ended the last list, and the one that began it if an undo has ended it.
        """
        last = self.former[-1] if self.former else None
        if last is None or last.until is None or version < last.until or not isinstance(value, str) or value not in last.labels:
            return
        yield last.until
        if self.converting is not None and self.converting.undone is not None:
            yield last.since

    def _labels(self, value: Any, version: int) -> Mapping[str, str]:
        """Return the labels by which people know a value that is an option or several, or nothing."""
        if self.field.kind in LISTS:
            return {}
        for each in self.former:
            if each.has(version):
                return each.labels
        # Nobody can have set several options since.
        return self.former[-1].labels if self.former and isinstance(value, list) else {}

    def _options(self, value: Any) -> Any:
        """Return a value of a list in the form of the present list, if that has all its options, archived ones included."""
        items: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
        if not all(isinstance(item, str) and item in self._ids for item in items):
            return None
        if self.field.kind is FieldKind.SEVERAL_OF:
            return items
        return items[0] if len(items) == 1 else None

    @cached_property
    def _ids(self) -> frozenset[str]:
        return frozenset(option.id for option in self.field.options)

    @cached_property
    def _by_name(self) -> dict[str, str]:
        return {folded(option.label.strip()): option.id for option in self.field.options if not option.archived}

    @cached_property
    def _most_parts(self) -> int:
        """The number of parts, and of the signs between them, that the longest label has."""
        return max((len(_BETWEEN(label)) for label in self._by_name), default=1)

    def _named(self, parts: Sequence[str]) -> Iterator[str]:
        """Yield the options that a text names, which may have the signs between options in their labels.

        `parts` has a sign after each part but the last. The longest label counts. A part that names no option is yielded as it
        is.
        """
        start = 0
        while start < len(parts):
            ends = range(start + self._most_parts, start, -2)
            found = ((end, option) for end in ends if (option := self._by_name.get(folded("".join(parts[start:end]).strip()))))
            end, option = next(found, (start + 1, parts[start].strip()))
            if option:
                yield option
            start = end + 1

    def _readings(self, text: str) -> Iterator[Any]:
        """Yield other forms of a value, in the order in which they are tried."""
        yield text
        yield text.strip()
        match self.field.kind:
            case FieldKind.INTEGER if _WHOLE(text.strip()):
                yield int(text.strip())
            case FieldKind.YES_NO:
                yield {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}.get(folded(text.strip()))
            case FieldKind.ONE_OF:
                yield self._by_name.get(folded(text.strip()))
            case FieldKind.SEVERAL_OF:
                yield [*dict.fromkeys(self._named(_BETWEEN(text)))]
            case FieldKind.MONEY:
                amount, _, currency = text.strip().partition(" ")
                yield {"amount": amount, "currency": currency}
            case FieldKind.ADDRESS:
                yield {"street": text}
            case _:
                return


def _as_text(labels: Mapping[str, str], value: Any) -> str:
    """Return a value as people read it. An option is told by its label."""
    match value:
        case bool():
            return "yes" if value else "no"
        case {"amount": amount, "currency": currency}:
            return f"{amount} {currency}"
        case dict():
            return ", ".join(cast("dict[str, str]", value).values())
        case list():
            return ", ".join(labels.get(item, item) for item in cast("list[str]", value))
        case _:
            return labels.get(str(value), str(value))


def conversion_between(before: Field, after: Field, region: str | None = None) -> Conversion:
    """Return the conversion of the values that objects have, when the definition of their field changes.

    `region` is the country of numbers without one, for values of another kind that become numbers.
    """
    former = (FormerList(0, None, labels_of(before)),) if before.kind in LISTS else ()
    return Conversion(after, former, region=region if becomes_number(before.kind, after) else None)


def unique_value(field: Field, value: Any) -> str:
    """Return the text by which a unique field compares a value, behind the key of the field."""
    match field.kind:
        case FieldKind.PHONE:
            # Telephones with other extensions are others, though one number leads to all of them.
            extension = extension_of(value)
            compared = number_with(comparable_number(value)) + (f";ext={extension}" if extension else "")
        case FieldKind.DECIMAL:
            compared = _ordered(value)
        case _:
            compared = str(_plain(field, value))
    return f"{field.key}={compared}"


def _plain(field: Field, value: Any) -> Any:
    """Return the usual spelling of the values that a unique field compares as equal to this one."""
    match field.kind:
        case FieldKind.EMAIL:
            return comparable_address(value)
        case FieldKind.PHONE:
            number, extension = number_with(comparable_number(value)), extension_of(value)
            return f"{number} ext. {extension}" if extension else number
        case FieldKind.TEXT:
            return normalize("NFC", value).strip()
        case FieldKind.DECIMAL:
            return format(Decimal(value).normalize(), "f")
        case _:
            return value


def _times(value: str) -> Iterator[str]:
    """Yield the usual spellings of a time that is kept with microseconds: with milliseconds, and without needless zeros."""
    seconds, _, microseconds = value.removesuffix("Z").partition(".")
    if microseconds.endswith("000"):
        yield f"{seconds}.{microseconds[:3]}Z"
    digits = microseconds.rstrip("0")
    yield f"{seconds}.{digits}Z" if digits else f"{seconds}Z"


def unique_value_path(_: int, claimed: str) -> str:
    """Return the path of the field whose unique value this is."""
    return f"fields.{claimed.partition('=')[0]}"


def without_values(entry: EntryT, keys: Collection[str]) -> EntryT:
    """Return an entry without its values of these fields."""
    whole: Any = entry
    if not keys:
        return entry
    old: dict[str, Any] = whole.fields or {}
    values = {key: value for key, value in old.items() if key not in keys}
    claimed = tuple(each for each in whole.unique_values or () if each.partition("=")[0] not in keys)
    return msgspec.structs.replace(entry, fields=values or UNSET, unique_values=claimed or UNSET)


def fitted(entry: EntryT, defined: Mapping[str, Conversion], had_at: Mapping[str, int]) -> EntryT:
    """Return an entry of another time with its values in the form that the definitions give them now, and claimed as they say.

    `defined` has the conversions to all fields of the type by their keys. `had_at` has the number of an entry at which the
    object had each value. A value that has no such form stays as it is, and is not claimed.
    """
    whole: Any = entry
    if whole.fields is UNSET and whole.unique_values is UNSET:
        return entry
    known = [conversion for key in whole.fields or () if (conversion := defined.get(key)) is not None]
    claimed = tuple(each for each in whole.unique_values or () if each.partition("=")[0] in (whole.fields or ()))
    return fitted_to(msgspec.structs.replace(entry, unique_values=claimed or UNSET), known, had_at)


def fitted_to(entry: EntryT, conversions: Iterable[Conversion], had_at: Mapping[str, int]) -> EntryT:
    """Return an entry with its values of some fields in the form of their definitions, and claimed as they say."""
    whole: Any = entry
    values: dict[str, Any] = {**(whole.fields or {})}
    claimed = {each.partition("=")[0]: each for each in whole.unique_values or ()}
    for conversion in conversions:
        field = conversion.field
        value = conversion.of(values[field.key], had_at[field.key]) if field.key in values else None
        if value is not None:
            values[field.key] = value
        if value is not None and field.unique:
            claimed[field.key] = unique_value(field, value)
        else:
            claimed.pop(field.key, None)
    return msgspec.structs.replace(entry, fields=values or UNSET, unique_values=tuple(claimed.values()) or UNSET)


def hidden_claims(entry: Any, defined: Mapping[str, Conversion]) -> list[str]:
    """Return the unique values of archived fields that an entry claims. Nobody can free these while the fields are archived."""
    archived = {key for key, conversion in defined.items() if conversion.field.archived}
    return [each for each in entry.unique_values or () if each.partition("=")[0] in archived]


def without_claims(entry: EntryT, taken: Collection[str]) -> EntryT:
    """Return an entry that does not claim these unique values."""
    if not taken:
        return entry
    whole: Any = entry
    claimed = tuple(each for each in whole.unique_values or () if each not in taken)
    return msgspec.structs.replace(entry, unique_values=claimed or UNSET)


def merged_values(target: EntryT, sources: Sequence[EntryT]) -> EntryT:
    """Return the target with the values that it lacks taken from the first source that has them. Lists are united."""
    entries: list[Any] = [target, *sources]
    values: dict[str, Any] = {}
    claimed: list[str] = []
    for entry in entries:
        of_unique = {each.partition("=")[0]: each for each in entry.unique_values or ()}
        own: dict[str, Any] = entry.fields or {}
        for key, value in own.items():
            if key not in values:
                values[key] = value
                claimed += [of_unique[key]] if key in of_unique else []
            elif isinstance(value, list) and isinstance(values[key], list):
                options: list[str] = [*values[key], *value]
                values[key] = [*dict.fromkeys(options)]
    return msgspec.structs.replace(target, fields=values or UNSET, unique_values=tuple(claimed) or UNSET)


def too_many_bytes(before: Mapping[str, Any] | UnsetType, after: Mapping[str, Any] | UnsetType) -> int | None:
    """Return the bytes of the values of an object after a change if they are too many, and more than before."""
    size = _size(after)
    return size if size > MAX_BYTES and size > _size(before) else None


def _size(values: Mapping[str, Any] | UnsetType) -> int:
    return len(msgspec.json.encode(values)) if values else 0


def field_values(row: Any) -> dict[str, Any] | UnsetType:
    """Return the values of fields in a row, if any."""
    return UNSET if row.own is None else row.own.fields


def claims_value(row: Any, compared: str) -> bool:
    """Whether a row, if there is one, claims a unique value."""
    return row is not None and compared in (row.entry.unique_values or ())


def index_keys(values: Mapping[str, Any] | UnsetType) -> set[str]:
    """Return the keys under which an index has an object with these values.

    Each begins with the key of a field. Then `=` and a text follow, or `#` and a number. They are made of the values alone, so
    that no write needs the definitions for its index entries: a text that looks like a number has both.
    """
    if values is UNSET:
        return set()
    return {key + text for key, value in values.items() for text in index_texts(value)}


def index_texts(value: Any, most: int | None = MAX_INDEXED) -> Iterator[str]:
    """Yield the texts by which an index knows a value, the text of a number with `#`, and that of all others with `=`.

    In the order of their bytes (the collation "C"), the texts of numbers are in the order of these, and those of days and
    times, too. A text is without case and accents, and is cut after `most` characters. Each option of a list has a text.
    """
    match value:
        case bool():
            yield "=1" if value else "=0"
        case int():
            yield "#" + _ordered(str(value))
        case {"amount": amount, "currency": currency}:
            yield f"#{currency}{_ordered(amount)}"
        case dict():
            yield from index_texts("\n".join(cast("dict[str, str]", value).values()), most)
        case list():
            for item in cast("list[str]", value):
                yield from index_texts(item, most)
        case _:
            yield "=" + folded(value)[:most]
            if _DECIMAL(value) is not None:
                yield "#" + _ordered(value)


def _ordered(number: str) -> str:
    """Return a text of a number whose order is that of the numbers. Numbers beyond those of fields are cut to their range."""
    scaled = int(Decimal(number).scaleb(_FRACTION_DIGITS))
    return str(min(max(scaled, 1 - _OFFSET), _OFFSET - 1) + 2 * _OFFSET)


def quoted_value(value: Any) -> str:
    """Return a value as messages quote it: a text as it is, and any other value as JSON."""
    return f"`{quoted(value if isinstance(value, str) else msgspec.json.encode(value).decode())}`"


def misfits(before: Field, after: Field, refused: int, examples: Sequence[ValueExample]) -> list[FieldError]:
    """Return the errors of a change of a definition that does not fit so many values.

    They name some values that have no form of the kind, and some that two objects have. `refused` counts both.
    """
    unfit = [each for each in examples if each.same_as is UNSET]
    alike = [each for each in examples if each.same_as is not UNSET]
    many = f"{refused} of the values" if not unfit or not alike else "some of the values"
    errors: list[FieldError] = []
    if unfit:
        member = "unique" if after.kind is before.kind else "kind"
        some = ", ".join(quoted_value(each.value) for each in unfit[:3])
        message = f"`{member}` does not fit {many} that `fields.{before.key}` has, such as {some}."
        errors.append(FieldError(member, "values_in_use", message))
    if alike:
        some = ", ".join(f"{quoted_value(each.value)} (`{each.same_as}` and `{each.id}`)" for each in alike[:3])
        # A field that is unique already was asked for another kind alone.
        member = "kind" if before.unique else "unique"
        message = f"`{member}` does not fit {many} that `fields.{before.key}` has, because two objects have the same: {some}."
        errors.append(FieldError(member, "values_in_use", message))
    return errors


def refusal_of(before: Field, after: Field, refused: int, examples: Sequence[ValueExample]) -> Invalid:
    """Return the refusal of a change of a definition that does not fit values."""
    remedy = "Change these values first; `dry_run=true` shows more of them."
    if before.unique and any(each.same_as is not UNSET for each in examples):
        remedy = remedy.replace("first;", "first, or send `unique` as false, too;")
    found = misfits(before, after, refused, examples)
    return Invalid([error._replace(message=f"{error.message} {remedy}") for error in found])
