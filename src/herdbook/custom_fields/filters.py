"""The filters of a list in the address of its page, and the condition of a query that they stand for.

A filter is a text such as `last_name:contains:love`. Each must hold; one that begins with `or:` is an alternative to the one
before it. A condition that has no such form is a filter, too, as the JSON that queries take.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import msgspec

from herdbook.custom_fields.forms import Member
from herdbook.custom_fields.model import FieldKind

_OR: Final = "or:"
_WITHOUT_VALUE: Final = frozenset({"is_set", "is_not_set"})
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}").fullmatch
_MONEY: Final = re.compile(r"(\S+) ([A-Za-z]{3})").fullmatch
# One of several values, between quotation marks or up to the next comma.
_ITEM: Final = re.compile(r'\s*(?:"((?:[^"]|"")*)"\s*(?=,|\Z)|([^,]*))(?:,|\Z)').finditer
_PARTS: Final = ("contains", "begins_with")
_SET: Final = ("is_set", "is_not_set")
_EQUAL: Final = ("eq", "not_eq")

# The comparisons that the form offers, by the form of a member's values.
OFFERED: Final[Mapping[str, tuple[str, ...]]] = {
    "text": (*_PARTS, *_EQUAL, "one_of", *_SET),
    "exact": (*_EQUAL, "one_of", *_SET),
    "address": (*_PARTS, *_SET),
    "number": (*_EQUAL, "gt", "gte", "lt", "lte", *_SET),
    "money": (*_EQUAL, "gt", "gte", "lt", "lte", *_SET),
    "yes_no": ("eq", *_SET),
    "options": ("one_of", "not_eq", *_SET),
    "tags": ("one_of", "not_eq", *_SET),
    "reference": (*_EQUAL, *_SET),
    "date": ("eq", "before", "after", "gte", "lte", *_SET),
    "date_time": ("before", "gte", *_SET),
    "time": ("before", "gte"),
}
_LABELS: Final[Mapping[str, str]] = {
    "eq": "is",
    "not_eq": "is not",
    "one_of": "is one of",
    "contains": "contains",
    "begins_with": "begins with",
    "is_set": "is set",
    "is_not_set": "is not set",
    "gt": "is more than",
    "gte": "is at least",
    "lt": "is less than",
    "lte": "is at most",
    "before": "is before",
    "after": "is after",
}
_LABELS_OF_TIMES: Final = {"gt": "is after", "gte": "is on or after", "lt": "is before", "lte": "is on or before"}
_FORMS_OF_FIELDS: Final = {
    FieldKind.INTEGER: "number",
    FieldKind.DECIMAL: "number",
    FieldKind.MONEY: "money",
    FieldKind.YES_NO: "yes_no",
    FieldKind.ONE_OF: "options",
    FieldKind.SEVERAL_OF: "options",
    FieldKind.ADDRESS: "address",
    FieldKind.DATE: "date",
    FieldKind.DATE_TIME: "date_time",
}
# Members that every record has beside those that its page edits.
FURTHER: Final = (
    Member("crm_association", "Id of the CRM record", "exact"),
    Member("created_at", "Created", "time"),
    Member("updated_at", "Changed", "time"),
)


class Filter(NamedTuple):
    """A filter: a comparison with a value, as people type it, or another condition, as JSON."""

    name: str
    op: str = ""
    value: str = ""
    is_alternative: bool = False

    def __str__(self) -> str:
        """Return the text of the filter in an address."""
        beginning = _OR if self.is_alternative else ""
        return beginning + (self.name if self.is_other else f"{self.name}:{self.op}:{self.value}")

    @property
    def is_other(self) -> bool:
        """Whether it is another condition than a comparison with a value."""
        return self.name.startswith("{")

    @property
    def values(self) -> list[str]:
        """The values of a comparison with several: between commas, and between quotation marks if there are commas in it."""
        found = [
            (match[1].replace('""', '"'), True) if match[1] is not None else (match[2].strip(), False)
            for match in _ITEM(self.value)
        ]
        return [value for value, is_quoted in found if value or is_quoted]


def joined(values: Sequence[str]) -> str:
    """Return several values as one text."""

    def quoted(value: str) -> str:
        is_plain = value and value == value.strip() and not any(sign in value for sign in ',"')
        return value if is_plain else '"' + value.replace('"', '""') + '"'

    return ", ".join(quoted(each) for each in values)


def read(texts: Iterable[str]) -> list[Filter]:
    """Return the filters of an address. A query refuses those that make no sense."""
    found: list[Filter] = []
    for text in texts:
        rest = text.removeprefix(_OR)
        # There is nothing to which the first one would be an alternative.
        is_alternative = rest != text and bool(found)
        if rest.startswith("{"):
            found.append(Filter(rest, is_alternative=is_alternative))
        else:
            name, op, value = [*rest.split(":", 2), "", ""][:3]
            found.append(Filter(name, op, value, is_alternative))
    return found


def without(filters: Sequence[Filter], index: int) -> list[Filter]:
    """Return the filters without one. The first alternative to that takes its place."""
    rest = [*filters]
    gone = rest.pop(index)
    if index < len(rest) and not gone.is_alternative:
        rest[index] = rest[index]._replace(is_alternative=False)
    return rest


def condition(filters: Sequence[Filter], members: Mapping[str, Member]) -> list[Any]:
    """Return the conditions that must all hold: one for each filter, or for each group of alternatives."""
    return [found[0] if len(found) == 1 else {"or": found} for found in _grouped(filters, members)]


def paths(filters: Sequence[Filter]) -> dict[str, int]:
    """Return the index of each filter by the beginning of the paths that errors name it by."""
    found: dict[str, int] = {}
    index = 0
    for group_index, many in enumerate(_sizes(filters)):
        for part in range(many):
            found[f"where.and[{group_index}]" + (f".or[{part}]" if many > 1 else "")] = index
            index += 1
    return found


def _sizes(filters: Iterable[Filter]) -> list[int]:
    sizes: list[int] = []
    for each in filters:
        if each.is_alternative:
            sizes[-1] += 1
        else:
            sizes.append(1)
    return sizes


def _grouped(filters: Sequence[Filter], members: Mapping[str, Member]) -> list[list[Any]]:
    found = iter(filters)
    return [[_comparison(next(found), members) for _ in range(many)] for many in _sizes(filters)]


def _comparison(asked: Filter, members: Mapping[str, Member]) -> Any:
    if asked.is_other:
        try:
            return msgspec.json.decode(asked.name)
        except (msgspec.DecodeError, RecursionError):
            # The query says that this is no condition.
            return asked.name
    member = members.get(asked.name)
    found: dict[str, Any] = {"field": asked.name, "op": asked.op}
    if asked.op in _WITHOUT_VALUE:
        return found
    if asked.op == "one_of":
        return found | {"value": [_sent(member, each) for each in asked.values]}
    return found | {"value": asked.value if asked.op in _PARTS else _sent(member, asked.value)}


def _sent(member: Member | None, text: str) -> Any:
    """Return a value as the query takes it. It refuses one that has no such form."""
    match "" if member is None else form_of(member):
        case "number" if member is not None and member.kind == "integer" and re.fullmatch(r"-?\d{1,16}", text.strip()):
            return int(text)
        case "money" if (money := _MONEY(text.strip())) is not None:
            return {"amount": money[1], "currency": money[2].upper()}
        case "yes_no" if text in ("yes", "no"):
            return text == "yes"
        case "time" | "date_time" if _DAY(text):
            return f"{text}T00:00:00Z"
        case _:
            return text


def filters_of(where: Any, members: Mapping[str, Member]) -> list[Filter]:
    """Return the filters that stand for a condition."""
    found: list[Filter] = []
    for group in [] if where is None else _parts(where, "and"):
        alternatives = [_filter(each, members) for each in _parts(group, "or")]
        found += [each._replace(is_alternative=index > 0) for index, each in enumerate(alternatives)]
    return found


def _parts(condition: Any, join: str) -> list[Any]:
    """Return the conditions that one joins, or itself."""
    parts = cast("dict[str, Any]", condition).get(join) if isinstance(condition, dict) else None
    return cast("list[Any]", parts) if isinstance(parts, list) else [condition]


def _filter(given: Any, members: Mapping[str, Member]) -> Filter:
    if isinstance(given, dict) and "field" in given:
        comparison = cast("dict[str, Any]", given)
        value = comparison.get("value", "")
        text = joined([*map(_text, cast("list[Any]", value))]) if isinstance(value, list) else _text(value)
        found = Filter(str(comparison["field"]), str(comparison.get("op", "")), text)
        if not found.is_other and _comparison(found, members) == given:
            return found
    return Filter(msgspec.json.encode(given).decode())


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        money = cast("dict[str, Any]", value)
        return f"{money.get('amount')} {money.get('currency')}"
    return str(value)


def form_of(member: Member) -> str:
    """Return the form of a member's values in filters, which decides the comparisons."""
    if member.refers_to:
        return "reference"
    if member.field is not None:
        return _FORMS_OF_FIELDS.get(member.field.kind, "text")
    if member.kind in ("exact", "time", "tags"):
        return member.kind
    return "exact" if member.kind == "lines" else "text"


def label_of(op: str, member: Member | None) -> str:
    """Return a comparison in words."""
    if member is not None and form_of(member) in ("date", "date_time", "time"):
        return _LABELS_OF_TIMES.get(op, _LABELS.get(op, op))
    return _LABELS.get(op, op)


def needs_value(op: str) -> bool:
    """Whether a comparison is one with a value."""
    return op not in _WITHOUT_VALUE


def added(member: Member, op: str, values: Sequence[str], *, is_alternative: bool) -> list[Filter]:
    """Return the filters that a form asks for: none if it lacks a value."""
    given = [each.strip() for each in values if each.strip()]
    if not needs_value(op):
        return [Filter(member.name, op, "", is_alternative)]
    if not given:
        return []
    if op == "one_of":
        # A field for one text takes several between commas; boxes to check send one each.
        value = given[0] if form_of(member) in ("text", "exact") else joined(given)
        return [Filter(member.name, op, value, is_alternative)]
    return [Filter(member.name, op, each, is_alternative) for each in given]
