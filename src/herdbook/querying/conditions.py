"""The conditions of a query: their reading, with the refusals, and whether an object meets them.

Texts are compared as a search folds them, without case and accents. Every value is compared as a text whose order is that of
the values. The conditions are checked here and not in SQL, because no function of the database folds text in this way.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, cast

from herdbook import fields, ids
from herdbook.custom_fields.model import LISTS, Field, FieldKind
from herdbook.custom_fields.value_schemas import condition_value
from herdbook.custom_fields.values import MAX_INDEXED, index_texts, normal_value
from herdbook.errors import FieldError, Invalid, bounded, quoted
from herdbook.http.body import did_you_mean
from herdbook.http.schemas import PLACE, Json
from herdbook.phone_numbers import international_number
from herdbook.querying.model import Sort
from herdbook.search_text import folded
from herdbook.shared_schemas import shown_time

Texts: TypeAlias = Callable[[Any], Iterable[str]]
# Adds the errors of a value to a list, or returns the texts that equal values have.
Read: TypeAlias = Callable[[Any, str, list[FieldError]], Iterable[str]]

MAX_CONDITIONS: Final = 50
MAX_DEPTH: Final = 5
MAX_VALUES: Final = 100
_MAX_TEXT: Final = 255
_SET: Final = ("is_set", "is_not_set")
_EQUAL: Final = ("eq", "not_eq", "one_of")
_PART: Final = ("contains", "begins_with")
_ORDER: Final = ("gt", "gte", "lt", "lte", "before", "after")
OPS: Final = (*_SET, *_EQUAL, *_PART, *_ORDER)
_OPPOSITES: Final[Mapping[str, str]] = {"is_not_set": "is_set", "not_eq": "eq"}
_POSITIVE: Final[Mapping[str, str]] = {"before": "lt", "after": "gt", **_OPPOSITES}
_PREFIX: Final = "fields."
_BRING_BACK: Final = 'Bring it back first, by a `PATCH` of the field with `"archived": false`, or leave it out.'
# The last character, so that a text with it behind is after all texts that begin with that text.
_LAST: Final = "\U0010ffff"
# The first character that a text may hold. A text with it behind is the next one after that text.
_FIRST: Final = "\x01"


# A text in a condition.
TEXT_VALUE: Final[Json] = {"type": "string", "minLength": 1, "maxLength": _MAX_TEXT}


class Member(NamedTuple):
    """A member of a type of objects, as conditions and sorts compare it.

    `exact` are the texts that are compared as a whole, and `texts` those in which parts are found. `read` returns the texts of
    a value in a condition. `scope` is the length of the beginning that two values must share to be in an order. `keys` are
    those of the index `lookup`, which finds objects by values, for texts of `exact`. `field_key` is the key of an own field.
    `type` names the members that take the same operators and values, and `value` is the schema of these values.
    Parts of phone numbers (`has_numbers`) are also found without the signs between digits.
    `walk` is the index in the order of the member, if there is one, and `sort_form` turns a text of `exact` into its key there.
    """

    name: str
    ops: tuple[str, ...]
    read: Read
    exact: Texts
    texts: Texts
    type: str = "text"
    value: Json = TEXT_VALUE
    lookup: str | None = None
    keys: Callable[[str], str | None] = str
    field_key: str = ""
    scope: int = 0
    sign: str = ""
    sorts: bool = True
    walk: str | None = None
    sort_form: Callable[[str], str | None] = str
    has_numbers: bool = False

    def sort_text(self, record: Any) -> str | None:
        """Return the text by which an object is sorted, or None if it has no value."""
        if self.name == "created_at":
            # Ids are in the order of creation.
            return record.id
        found = next((text for text in self.exact(record) if text.startswith(self.sign)), None)
        if found is None or not self.field_key:
            return None if found is None else self.sort_form(found)
        return self.field_key + found[: MAX_INDEXED + 1]


class Comparison(NamedTuple):
    """A condition on one member. `values` are the texts to compare with.

    No request has the op `sorts_as`: the objects that a sort has under one key, or, without a value, those that have no key.
    """

    member: Member
    op: str
    values: tuple[str, ...]

    def holds(self, record: Any) -> bool:
        """Whether an object meets it: one of several values is enough."""
        member, first = self.member, self.values[0] if self.values else ""
        match self.op:
            case "sorts_as":
                return member.sort_text(record) == (self.values[0] if self.values else None)
            case "is_set":
                return any(True for _ in member.exact(record))
            case "contains":
                return any(value in text for text in member.texts(record) for value in self.values)
            case "begins_with":
                return any(text.startswith(self.values) for text in member.texts(record))
            case "eq" | "one_of":
                return not set(self.values).isdisjoint(member.exact(record))
            case _:
                return any(_is_in_order(text, self.op, first) for text in member.exact(record) if self._compares(text))

    def _compares(self, text: str) -> bool:
        return text[: self.member.scope] == self.values[0][: self.member.scope]

    @property
    def ranges(self) -> list[tuple[str, str]] | None:
        """The ranges of keys of fields that hold all matches, each without its end; None if there are none such."""
        key, member = self.member.field_key, self.member
        if not key or self.op == "contains" or (self.op == "sorts_as" and not self.values):
            return None
        if self.op == "is_set":
            return [(f"{key}=", f"{key}>"), (f"{key}#", f"{key}$")]
        cut = self.entries
        if self.op == "begins_with":
            begun = [key + ("=" + value)[: MAX_INDEXED + 1] for value in self.values]
            return [(each, each + _LAST) for each in begun]
        if self.op in ("eq", "one_of", "sorts_as"):
            return [(text, text + _FIRST) for text in cut]
        scope = key + self.values[0][: member.scope]
        return [(cut[0], scope + _LAST)] if self.op in ("gt", "gte") else [(scope, cut[0] + _FIRST)]

    @property
    def entries(self) -> list[str]:
        """The keys of the index of fields that equal values have."""
        if self.op == "sorts_as":
            return [*self.values]
        # An entry has the beginning of a long text alone.
        return [self.member.field_key + text[: MAX_INDEXED + 1] for text in self.values]

    @property
    def keys(self) -> list[str] | None:
        """The keys of the member's index that hold all matches, or None if there are none such."""
        if self.member.lookup is None or self.op not in ("eq", "one_of", "sorts_as") or not self.values:
            return None
        if self.op == "sorts_as":
            return [*self.values]
        found = [self.member.keys(text) for text in self.values]
        return None if None in found else [key for key in found if key is not None]

    @property
    def ends(self) -> tuple[str | None, str | None]:
        """The range of the keys of the member's walk that hold all matches, without its end; None for an end that is open."""
        if (ranges := self.ranges) is not None:
            signed = [each for each in ranges if each[0].startswith(self.member.field_key + self.member.sign)]
            return min(least for least, _ in signed), max(most for _, most in signed)
        if (keys := self.keys) is not None and self.member.walk in ("first_name", "last_name"):
            return min(keys), max(keys) + _FIRST
        if self.member.walk == "updated_at":
            return (self.values[0], None) if self.op in ("gt", "gte") else (None, None)
        return None, None


def _is_in_order(text: str, op: str, value: str) -> bool:
    match op:
        case "gt":
            return text > value
        case "gte":
            return text >= value
        case "lt":
            return text < value
        case _:
            return text <= value


class Negation(NamedTuple):
    """A condition that holds if another does not."""

    part: "Condition"

    def holds(self, record: Any) -> bool:
        """Whether an object meets it."""
        return not self.part.holds(record)


class Group(NamedTuple):
    """Conditions of which all must hold, or one."""

    parts: tuple["Condition", ...]
    is_any: bool

    def holds(self, record: Any) -> bool:
        """Whether an object meets it."""
        held = (part.holds(record) for part in self.parts)
        return any(held) if self.is_any else all(held)


Condition: TypeAlias = Comparison | Negation | Group


def required(condition: Condition | None) -> list[Comparison]:
    """Return the comparisons that every match of a condition meets."""
    match condition:
        case Comparison():
            return [condition]
        case Group(parts, is_any=False):
            return [each for part in parts for each in required(part)]
        case _:
            return []


class SortKey(NamedTuple):
    """A member to sort by."""

    member: Member
    is_descending: bool


class ConditionReader:
    """Reads the conditions and the sort of a query in one workspace, and collects their errors.

    `plural` names the objects. `members` are those that all of them may have. `definitions` are of the workspace's fields,
    and `region` is its default region for numbers.
    """

    def __init__(self, plural: str, members: Iterable[Member], definitions: Iterable[Field], region: str | None = None) -> None:
        self._plural = plural
        self._region = region
        self._members: dict[str, Member | Field] = {member.name: member for member in members}
        self._archived: set[str] = set()
        for field in definitions:
            if field.archived:
                self._archived.add(_PREFIX + field.key)
            else:
                self._members[_PREFIX + field.key] = field
        self._count = 0
        self.errors: list[FieldError] = []

    def where(self, where: Any) -> Condition | None:
        """Return the condition, if it has no errors."""
        return self._condition(where, "where", 1)

    def sort(self, asked: Iterable[Sort]) -> tuple[SortKey, ...]:
        """Return the members to sort by, those without errors."""
        keys: list[SortKey] = []
        for index, each in enumerate(asked):
            path = f"sort[{index}].field"
            member = self._member(each.field, path)
            if member is None:
                continue
            if not member.sorts:
                self._add(path, "not_sortable", f"`{path}` cannot be `{each.field}`, which has several values. Choose another.")
            elif any(key.member.name == each.field for key in keys):
                self._add(path, "duplicate", f"`{path}` is `{each.field}` again. Sort by each field once.")
            else:
                keys.append(SortKey(member, each.direction == "desc"))
        # No two objects have the same age, so keys behind it order nothing.
        return tuple(keys[: next((index + 1 for index, key in enumerate(keys) if key.member is BY_AGE), None)])

    def refuse(self) -> None:
        """Refuse what was read if it has errors. Refusal: Invalid."""
        if self.errors:
            raise Invalid(bounded(self.errors, "where"))

    @property
    def sortable(self) -> list[str]:
        """The names of the members that a query can sort by."""
        return [member.name for member in self._all() if member.sorts]

    def schemas(self, object_type: str) -> dict[str, Json]:
        """Return the JSON Schemas of conditions by their names, which begin with that of the type of objects."""
        name = f"{object_type}_condition"
        by_type: dict[str, list[Member]] = {}
        for member in self._all():
            by_type.setdefault(member.type, []).append(member)
        whole: Json = {"$ref": PLACE + name}
        several = {"type": "array", "items": whole, "minItems": 1, "maxItems": MAX_CONDITIONS}
        schemas = {
            **{f"{name}_on_{type_}": _comparison_schema(members) for type_, members in by_type.items()},
            **{f"{name}_{group}": _closed({group: several}, [group]) for group in ("and", "or")},
            f"{name}_not": _closed({"not": whole}, ["not"]),
        }
        about = "One comparison, or conditions of which all must hold, or one, or one that must not hold."
        schemas[name] = {"description": about, "anyOf": [{"$ref": PLACE + each} for each in schemas]}
        return {each: {"title": each, **schema} for each, schema in schemas.items()}

    def _all(self) -> list[Member]:
        return [_field_member(each, self._region) if isinstance(each, Field) else each for each in self._members.values()]

    def _add(self, path: str, code: str, message: str) -> None:
        self.errors.append(FieldError(path, code, message))

    def _condition(self, given: Any, path: str, depth: int) -> Condition | None:
        condition = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
        if condition is not given:
            self._add(path, "invalid_type", f"`{path}` must be a condition: an object.")
        elif not condition:
            self._add(path, "required", f"`{path}` is empty. Send `field` and `op`, or one of `and`, `or` and `not`.")
        if not condition or not self._is_within_bounds(path, depth):
            return None
        group = next((name for name in ("and", "or", "not") if name in condition), None)
        if group is None:
            return self._comparison(condition, path)
        if len(condition) > 1:
            other = next(name for name in condition if name != group)
            message = f"`{path}` has both `{group}` and `{quoted(other)}`. Put each into a condition of its own."
            self._add(path, "not_allowed", message)
            return None
        place = f"{path}.{group}"
        if group == "not":
            part = self._condition(condition[group], place, depth + 1)
            return None if part is None else Negation(part)
        return self._group(condition[group], place, depth, is_any=group == "or")

    def _is_within_bounds(self, path: str, depth: int) -> bool:
        self._count += 1
        if depth > MAX_DEPTH:
            self._add(path, "too_deep", f"`{path}` is nested too deeply. Nest at most {MAX_DEPTH} conditions.")
        elif self._count == MAX_CONDITIONS + 1:
            self._add("where", "too_long", f"`where` has too many conditions. Send at most {MAX_CONDITIONS}.")
        return depth <= MAX_DEPTH and self._count <= MAX_CONDITIONS

    def _group(self, given: Any, path: str, depth: int, *, is_any: bool) -> Condition | None:
        if not isinstance(given, list):
            self._add(path, "invalid_type", f"`{path}` must be an array of conditions.")
            return None
        items = cast("list[Any]", given)
        if not items:
            self._add(path, "too_short", f"`{path}` is empty. Send at least one condition.")
        # Further ones are too many anyway.
        items = items[: MAX_CONDITIONS + 1]
        parts = [self._condition(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(items)]
        return Group(tuple(part for part in parts if part is not None), is_any)

    def _comparison(self, given: Mapping[str, Any], path: str) -> Condition | None:
        unknown = next((name for name in given if name not in ("field", "op", "value")), None)
        if unknown is not None:
            place = f"{path}.{quoted(unknown)}"
            message = f"There is no field `{place}`. A condition takes `field`, `op` and `value`, or `and`, `or` or `not`."
            self._add(place, "unknown_field", message)
            return None
        bad = [name for name in ("field", "op") if not isinstance(given.get(name), str)]
        for name in bad:
            code = "invalid_type" if name in given else "required"
            self._add(f"{path}.{name}", code, f"`{path}.{name}` must be a string. Send it.")
        if bad:
            return None
        op: str = given["op"]
        member = self._member(given["field"], f"{path}.field")
        if member is None:
            return None
        if op not in member.ops:
            takes = ", ".join(f"`{each}`" for each in member.ops)
            self._add(f"{path}.op", "invalid_choice", f"`{path}.op` must be one of {takes} for `{member.name}`.")
            return None
        values = self._values(member, op, given, f"{path}.value")
        if values is None:
            return None
        found = Comparison(member, _POSITIVE.get(op, op), values)
        return Negation(found) if op in _OPPOSITES else found

    def _values(self, member: Member, op: str, given: Mapping[str, Any], path: str) -> tuple[str, ...] | None:
        """Return the texts to compare with, or None after an error."""
        if op in _SET:
            if "value" in given:
                self._add(path, "not_allowed", f"`{path}` is not for `{op}`. Leave it out.")
                return None
            return ()
        if given.get("value") is None:
            self._add(path, "required", f"`{path}` is missing. Send it; `is_not_set` finds {self._plural} without a value.")
            return None
        value, before = given["value"], len(self.errors)
        if op in _PART:
            found = [*_folded_text(value, path, self.errors)]
            found += [without_separators(text) for text in found] if member.has_numbers else []
        elif op != "one_of":
            found = [*member.read(value, path, self.errors)]
        elif not isinstance(value, list) or not 1 <= len(items := cast("list[Any]", value)) <= MAX_VALUES:
            self._add(path, "invalid_type", f"`{path}` must be an array of 1 to {MAX_VALUES} values for `one_of`.")
            return None
        else:
            found = [text for index, item in enumerate(items) for text in member.read(item, f"{path}[{index}]", self.errors)]
        return tuple(dict.fromkeys(found)) if len(self.errors) == before else None

    def _member(self, name: str, path: str) -> Member | None:
        if name in self._archived:
            self._add(path, "archived", f"`{path}` names the archived field `{name}`. {_BRING_BACK}")
            return None
        member = self._members.get(name)
        if isinstance(member, Field):
            # Most queries name few of the fields.
            return _field_member(member, self._region)
        if member is None:
            others = ", ".join(f"`{each}`" for each in self._members if not each.startswith(_PREFIX))
            hint = self._similar(name) or f"Choose {others}, or `fields.` and the key of a field."
            self._add(path, "unknown_field", f"`{path}` names no field of {self._plural}: `{quoted(name)}`. {hint}")
        return member

    def _similar(self, name: str) -> str | None:
        """Return a question for the member that is most similar to an unknown one. Keys are compared with keys alone."""
        if _PREFIX + name in self._members:
            return f"Did you mean `{_PREFIX}{name}`?"
        keys = [each.removeprefix(_PREFIX) for each in self._members if each.startswith(_PREFIX)]
        if not name.startswith(_PREFIX):
            return did_you_mean(name, self._members)
        return did_you_mean(name.removeprefix(_PREFIX), keys, _PREFIX)


def _comparison_schema(members: Sequence[Member]) -> Json:
    """Return the schema of a comparison with one of these members, which are of one type."""
    value = members[0].value
    described: Json = {
        "field": {"type": "string", "enum": [member.name for member in members]},
        "op": {"type": "string", "enum": list(members[0].ops)},
    }
    if set(members[0].ops) == set(_SET):
        return _closed(described, ["field", "op"])
    several = {"type": "array", "items": value, "minItems": 1, "maxItems": MAX_VALUES}
    about = "An array for `one_of`, and nothing for `is_set` and `is_not_set`."
    return _closed(described | {"value": {"description": about, "anyOf": [value, several]}}, ["field", "op"])


def _closed(properties: Json, required: Sequence[str]) -> Json:
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}


def text_value(value: Any, path: str, errors: list[FieldError]) -> str | None:
    """Return a value that is a text, or add its error."""
    if not isinstance(value, str):
        errors.append(FieldError(path, "invalid_type", f"`{path}` must be a string."))
    elif not 1 <= len(value) <= _MAX_TEXT:
        message = f"`{path}` has {len(value)} characters. Send 1 to {_MAX_TEXT}."
        errors.append(FieldError(path, "too_long" if value else "too_short", message))
    elif "\0" in value:
        errors.append(FieldError(path, "invalid_characters", f"`{path}` holds a NUL character. Leave it out."))
    else:
        return value
    return None


def exact_member(name: str, texts: Texts, *, lookup: str, sorts: bool = True) -> Member:
    """Return a member of texts that are compared exactly."""
    return Member(name, (*_SET, *_EQUAL), _plain_text, texts, texts, "external_id", lookup=lookup, sorts=sorts)


_SEPARATORS: Final = re.compile(r"[\s().\-\u2010-\u2015/]")


def without_separators(text: str) -> str:
    """Return a part of a phone number without the signs between digits."""
    return _SEPARATORS.sub("", text) or text


def number_texts(numbers: Iterable[str]) -> list[str]:
    """Return the texts in which parts of phone numbers are found: as they are, and without the signs between digits."""
    return [text for number in numbers for text in (number, without_separators(number))]


def parts_member(name: str, type_: str, read: Read, exact: Texts, texts: Texts, *, lookup: str) -> Member:
    """Return a member of several texts, which are also found by a part."""
    return Member(name, (*_SET, *_EQUAL, *_PART), read, exact, texts, type_, lookup=lookup, sorts=False)


def _plain_text(value: Any, path: str, errors: list[FieldError]) -> Iterable[str]:
    text = text_value(value, path, errors)
    return () if text is None else (text,)


def _folded_text(value: Any, path: str, errors: list[FieldError]) -> Iterable[str]:
    text = text_value(value, path, errors)
    return () if text is None else (folded(text),)


def _id_reader(prefix: str, kind: str) -> Read:
    rule = fields.id_of(prefix, kind)

    def read(value: Any, path: str, errors: list[FieldError]) -> Iterable[str]:
        text = text_value(value, path, errors)
        errors += () if text is None else rule(text, path)
        return () if text is None else (text,)

    return read


def _time(value: Any, path: str, errors: list[FieldError]) -> Iterable[str]:
    text = text_value(value, path, errors)
    if text is None:
        return ()
    time = fields.parsed_time(text)
    errors += fields.time(text, path)
    return () if time is None else (shown_time(time),)


def text_member(name: str) -> Member:
    """Return a member that is a text, or absent."""

    def texts(record: Any) -> Iterable[str]:
        text: str | None = getattr(record, name) or None
        return () if text is None else (folded(text),)

    return Member(name, OPS, _folded_text, texts, texts)


def id_member(name: str, prefix: str, kind: str, texts: Texts, *, sorts: bool = True, walk: str | None = None) -> Member:
    """Return a member that names objects of a kind, whose name is also that of the index which finds them."""
    value = {"type": "string", "pattern": fields.id_pattern(prefix)}
    return Member(name, (*_SET, *_EQUAL), _id_reader(prefix, kind), texts, texts, kind, value, kind, sorts=sorts, walk=walk)


def _time_member(name: str, lookup: str | None = None) -> Member:
    def texts(record: Any) -> Iterable[str]:
        return (getattr(record, name),)

    value = {"type": "string", "format": "date-time"}
    return Member(name, (*_EQUAL, *_ORDER), _time, texts, texts, "time", value, lookup, walk=name)


# The order of creation, in which objects with equal values come.
BY_AGE: Final = _time_member("created_at")
BY_CHANGE: Final = _time_member("updated_at", "updated_at")


def _crm(record: Any) -> Iterable[str]:
    return () if not record.crm_association else (record.crm_association.crm_object_id,)


def _tags(record: Any) -> Iterable[str]:
    return record.tag_ids or ()


BY_CRM: Final = exact_member("crm_association", _crm, lookup="crm")
BY_TAGS: Final = id_member("tag_ids", ids.TAG, "tag", _tags, sorts=False)
_NUMBERS: Final = (FieldKind.INTEGER, FieldKind.DECIMAL, FieldKind.MONEY)
_TEXTS: Final = (FieldKind.TEXT, FieldKind.LONG_TEXT, FieldKind.LINK, FieldKind.EMAIL, FieldKind.PHONE)
_TIMES: Final = (FieldKind.DATE, FieldKind.DATE_TIME)


def _type_of(field: Field) -> tuple[str, Json]:
    """Return the type of a field among members, and the schema of values in conditions."""
    if field.kind in _TEXTS:
        return "text", TEXT_VALUE
    if field.kind is FieldKind.ADDRESS:
        return "address", TEXT_VALUE
    return "option" if field.kind in LISTS else field.kind.value, condition_value(field)


def _spelled(field: Field, value: Any, region: str | None) -> Any:
    """Return a text in a condition as a field of this kind keeps it, and any other value as it is."""
    is_number = field.kind is FieldKind.PHONE and isinstance(value, str)
    return international_number(value.strip(), region) if is_number else value


def _field_member(field: Field, region: str | None) -> Member:
    sign = "#" if field.kind in _NUMBERS else "="
    # Refusals list them in this order.
    options = dict.fromkeys(option.id for option in field.options)

    def read(value: Any, path: str, errors: list[FieldError]) -> Iterable[str]:
        if field.kind in _TEXTS:
            return ["=" + text for text in _folded_text(_spelled(field, value, region), path, errors)]
        if field.kind in LISTS:
            # A value may have an option that is archived by now.
            if not isinstance(value, str) or value not in options:
                listed = ", ".join(f"`{option}`" for option in [*options][:20])
                errors.append(FieldError(path, "invalid_choice", f"`{path}` is no option of this field. Send one of {listed}."))
                return ()
            return ("=" + folded(value),)
        normal = normal_value(field, value, path, errors)
        return () if normal is None else [text for text in index_texts(normal, None) if text.startswith(sign)]

    def exact(record: Any) -> Iterable[str]:
        values: dict[str, Any] = record.fields or {}
        return index_texts(values[field.key], None) if field.key in values else ()

    has_numbers = field.kind is FieldKind.PHONE

    def texts(record: Any) -> Iterable[str]:
        found = [text[1:] for text in exact(record) if text.startswith("=")]
        return number_texts(found) if has_numbers else found

    ops: tuple[str, ...] = _SET
    if field.kind is FieldKind.ADDRESS:
        ops = (*_SET, *_PART)
    elif field.kind in _TEXTS:
        ops = (*_SET, *_EQUAL, *_PART, *_ORDER)
    elif field.kind in _NUMBERS or field.kind in _TIMES:
        ops = (*_SET, *_EQUAL, *_ORDER)
    else:
        ops = (*_SET, *_EQUAL)
    return Member(
        _PREFIX + field.key,
        ops,
        read,
        exact,
        texts,
        *_type_of(field),
        field_key=field.key,
        # An amount is in an order with those of its currency.
        scope=4 if field.kind is FieldKind.MONEY else 1,
        sign=sign,
        sorts=field.kind is not FieldKind.SEVERAL_OF,
        walk="field",
        has_numbers=has_numbers,
    )


def names(condition: Condition | None) -> set[str]:
    """Return the names of the members that a condition compares."""
    match condition:
        case Comparison():
            return {condition.member.name}
        case Negation():
            return names(condition.part)
        case Group():
            return {name for part in condition.parts for name in names(part)}
        case None:
            return set()
