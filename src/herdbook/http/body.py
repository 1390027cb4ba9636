"""Request bodies: JSON decoded to a struct, or a refusal that lists all errors.

The typed decoder decides whether a body is valid. Only if it or a rule refuses the body, the body is read again, field by
field, to explain each error.
"""

import difflib
import functools
import itertools
import re
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple, cast, get_type_hints

import msgspec
from msgspec import UNSET, inspect

from herdbook.errors import MAX_ERRORS, MAX_QUOTE, FieldError, Invalid, UnsupportedMediaType, first_errors, quoted
from herdbook.fields import HasRules, Rule
from herdbook.turns import finished

_KINDS: Final[tuple[tuple[type, str], ...]] = (
    (inspect.StrType, "a string"),
    (inspect.BoolType, "true or false"),
    (inspect.IntType, "a whole number"),
    (inspect.FloatType, "a number"),
    (inspect.VarTupleType, "an array"),
    (inspect.ListType, "an array"),
    (inspect.StructType, "an object"),
    (inspect.DictType, "an object"),
    (inspect.NoneType, "null"),
)

# A JSON body up to this size is checked completely, which does not block the event loop. A longer body is checked in part, and
# in steps: each is one pass over the body at most.
LONG_BODY: Final = 65_536
# The largest body of an operation on one object, and the largest such part of a larger body.
MAX_OBJECT_BYTES: Final = 1_048_576
# Arrays with a higher limit than this have large items, so a body holds few of them.
_MAX_COUNTED_ITEMS: Final = 4096
# Arrays that a long body may have as values of members: those of a name that comes again and again are counted again and again.
MAX_ARRAYS: Final = 5000
_ARRAY: Final = re.compile(rb'"\s*:\s*\[')
# Colons that a body may have of which all names are looked at: it has no more names than these.
MAX_COLONS: Final = 20_000
# How the decoder tells where a value is that it refuses, where a text is not JSON, and that an array has too many items.
_PLACE: Final = re.compile(r" - at `\$\.?(.*)`$")
_MALFORMED: Final = re.compile(r"JSON is malformed: (.*) \(byte (\d+)\)")
_TOO_LONG: Final = re.compile(r"Expected `\w+` of length <= ")
_UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
# The first escape of half a surrogate pair, behind other escapes and whole pairs.
_HALF_PAIR: Final = re.compile(
    rb"(?:[^\\]++|\\[^u]|\\u(?:[0-9a-ce-f].{3}|d[0-7]..|d[89ab]..\\ud[c-f]..))*+(\\ud[89a-f][0-9a-f]{2})",
    re.DOTALL | re.IGNORECASE,
)
# The decoder stops at most this far behind the beginning of half a pair: two escapes, and what it looks ahead.
_FAULT_BYTES: Final = 24
_TOO_MANY: Final = re.compile("Expected `array` of at most length")


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body, or the query, of an operation that takes none."""

    rules: ClassVar[dict[str, Rule]] = {}


class BodyReader:
    """Reads the bodies of one operation, or a part of them that is checked on its own.

    `parameters` are the operation's query parameters, which a refusal of a field of the same name points to.
    """

    def __init__(self, struct: type[msgspec.Struct], parameters: Collection[str] = ()) -> None:
        self._parameters = parameters
        self._struct = struct
        self._rules: Mapping[str, Rule] = cast("type[HasRules]", struct).rules

    # The following are made for the first body: for all operations together they would take a tenth of a start.

    @functools.cached_property
    def _decoder(self) -> msgspec.json.Decoder[msgspec.Struct]:
        return msgspec.json.Decoder(self._struct)

    @functools.cached_property
    def _type(self) -> inspect.StructType:
        return cast("inspect.StructType", inspect.type_info(self._struct))

    @functools.cached_property
    def _checks(self) -> list[tuple[str, str, Rule]]:
        attributes = {field.encode_name: field.name for field in msgspec.structs.fields(self._struct)}
        return [(name, attributes[name], rule) for name, rule in self._rules.items()]

    @functools.cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self._struct, include_extras=True)

    @functools.cached_property
    def _outline(self) -> msgspec.json.Decoder[Any]:
        return msgspec.json.Decoder(_outline_of(self._type) or msgspec.Raw)

    @functools.cached_property
    def _known(self) -> msgspec.json.Decoder[msgspec.Struct]:
        fields = [(field.encode_name, msgspec.Raw, msgspec.Raw()) for field in self._type.fields]
        return msgspec.json.Decoder(msgspec.defstruct("Known", fields))

    def read(self, body: bytes, path: str = "", most_errors: int = MAX_ERRORS) -> Any:
        """Return the struct; `path` is the part's path in the body. Refusal: Invalid, with at most `most_errors` errors."""
        return finished(self.steps(body, path, most_errors))

    def steps(self, body: bytes, path: str = "", most_errors: int = MAX_ERRORS) -> Generator[None, None, Any]:
        """Read a body as `read` does, in steps. A short valid body takes a single one."""
        if len(body) > LONG_BODY and (why := self._error_of_arrays(body)):
            yield
            raise (yield from self._invalid(why, body, path, most_errors))
        if len(body) > LONG_BODY:
            yield
        try:
            struct = self._decoder.decode(body or b"{}")
        except (msgspec.DecodeError, RecursionError) as error:
            # The error itself would keep this frame, and so the body.
            why = str(error)
            if fault := _fault_of_text(body, why):
                raise _not_json(fault, path) from None
        except UnicodeDecodeError:
            raise _not_json(_NOT_UTF_8, path) from None
        else:
            if found := first_errors(self._faults(struct, path), path, most_errors):
                raise Invalid(found)
            return struct
        yield
        raise (yield from self._invalid(why, body, path, most_errors))

    def _faults(self, struct: msgspec.Struct, path: str) -> Iterator[FieldError]:
        for name, attribute, rule in self._checks:
            if (value := getattr(struct, attribute)) is not UNSET:
                yield from rule(value, _member_of(path, name) if path else name)

    def _error_of_arrays(self, body: bytes) -> str | None:
        """Return the error if an array is too long, before anything is made of its items. Refusal: Invalid for many arrays."""
        if body.count(b"[") > MAX_ARRAYS and next(itertools.islice(_ARRAY.finditer(body), MAX_ARRAYS, None), None):
            message = f"The body has more than {MAX_ARRAYS} arrays. Send fewer, in several requests, and each field once."
            raise Invalid([FieldError("", "too_long", message)])
        try:
            self._outline.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            # All other errors are found when the body is decoded.
            return str(error) if _TOO_MANY.match(str(error)) else None
        return None

    def _invalid(self, why: str, body: bytes, path: str, most_errors: int) -> Generator[None, None, Invalid]:
        """Return the refusal of a body that the decoder refused, with all errors, not only the first."""
        if errors := (yield from self._explained(body, path, most_errors)):
            return Invalid(errors)
        if len(body) > LONG_BODY:
            return Invalid([_first_error(why, path)])
        # The decoder checks every member of the same name, but only the last is left here.
        message = f"{_called(path)} has a field twice, once with an invalid value. Send each field once."
        return Invalid([FieldError(path, "duplicate", message)])

    def _explained(self, body: bytes, path: str, most_errors: int) -> Generator[None, None, list[FieldError]]:
        value: object
        try:
            if len(body) > LONG_BODY:
                value = yield from self._members(body)
            else:
                value = msgspec.json.decode(body or b"{}")
        except UnicodeDecodeError:
            raise _not_json(_NOT_UTF_8, path) from None
        except msgspec.DecodeError as error:
            raise _not_json(_fault_of_json(body, str(error)), path) from None
        except RecursionError:
            raise _not_json(_Fault("it is nested too deeply", "Send fewer levels."), path) from None
        if not isinstance(value, dict):
            message = f"{_called(path)} must be a JSON object, not {_kind_of(value)}."
            return [FieldError(path, "invalid_type", message)]
        members = cast("dict[str, Any]", value)
        errors = itertools.chain(self._member_errors(members, path), _missing(self._type, members, path))
        return first_errors(errors, path, most_errors)

    def _members(self, body: bytes) -> Generator[None, None, object]:
        """Return the members of a long body; values too long to check become `_UNSEEN`."""
        if body.lstrip()[:1] != b"{":
            return _of_kind(body)
        members: dict[str, Any]
        if body.count(b":") > MAX_COLONS:
            known = self._known.decode(body)
            members = {name: raw for name, raw in msgspec.structs.asdict(known).items() if bytes(raw)}
        else:
            members = {**_raw_members(body)}
        yield
        types = {field.encode_name: unwrapped(field.type)[0] for field in self._type.fields}
        left = LONG_BODY
        for name, raw in members.items():
            declared = types.get(name)
            members[name] = _UNSEEN
            if declared is None:
                continue
            if isinstance(declared, inspect.VarTupleType) and bytes(raw)[:1] == b"[" and (most := declared.max_length):
                seen: list[Any] = []
                for item in msgspec.structs.astuple(_first_items(most + 1).decode(raw)):
                    if not bytes(item):
                        break
                    left -= len(bytes(item))
                    seen.append(msgspec.json.decode(item) if left > 0 else _UNSEEN)
                members[name] = _Beginning(seen)
                yield
            elif isinstance(declared, inspect.StrType) and bytes(raw)[:1] == b'"':
                # A text is one value, however long it is.
                members[name] = msgspec.json.decode(raw)
                yield
            elif len(bytes(raw)) < left:
                left -= len(bytes(raw))
                members[name] = msgspec.json.decode(raw)
        return members

    def _member_errors(self, members: Mapping[str, Any], path: str) -> Iterator[FieldError]:
        for name, item in members.items():
            if not path and name in self._parameters:
                message = f"There is no field `{name}`. Send it as a query parameter, as in `?{name}=...`."
                yield FieldError(name, "unknown_field", message)
                continue
            found = list(itertools.islice(_struct_member_errors(self._type, name, item, path), MAX_ERRORS + 1))
            yield from found
            rule = self._rules.get(name)
            if rule is None or item is None or item is _UNSEEN:
                continue
            place = _member_of(path, name)
            field = next(field for field in self._type.fields if field.encode_name == name)
            if not found and not isinstance(item, _Beginning):
                yield from rule(msgspec.convert(item, self._hints[field.name]), place)
            elif isinstance(item, list) and (item_type := _item_type(field.type)) is not None:
                yield from rule([_item_or_none(one, item_type) for one in cast("list[Any]", item)[:MAX_ERRORS]], place)
            elif (
                isinstance(item, list)
                and (text := _text_type(field.type)) is not None
                and all(each.field != place for each in found)
            ):
                # A rule passes over items that have an error already, and over those that were too long to be looked at.
                texts = cast("list[Any]", item)[:MAX_ERRORS]
                yield from rule([None if one is _UNSEEN or any(value_errors(text, one, "")) else one for one in texts], place)


def require_json(content_type: bytes | None) -> None:
    """Refuse a body declared as anything but JSON in UTF-8 (RFC 8259). No declaration counts as JSON."""
    if content_type is None or content_type == b"application/json":
        return
    declared = content_type.decode("latin-1")
    media_type, *parameters = (part.strip().lower() for part in declared.split(";"))
    is_json = media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))
    charsets = [part.partition("=")[2].strip('"') for part in parameters if part.startswith("charset=")]
    if not is_json or any(charset not in ("utf-8", "utf8") for charset in charsets):
        raise UnsupportedMediaType(declared)


class _Fault(NamedTuple):
    """The fault of a text that is not JSON, and the remedy as a sentence."""

    fault: str
    remedy: str


_NOT_UTF_8: Final = _Fault("it is not UTF-8", "Send it in UTF-8.")


def _fault_of_text(body: bytes, why: str) -> _Fault | None:
    """Return the fault of a text that the decoder finds malformed, if it is one of its encoding."""
    if body.startswith(_UTF_16_MARKS) or b"\0" in body[:2]:
        return _NOT_UTF_8
    if ("malformed" in why or "truncated" in why) and (half := _half_pair(body, why)):
        fault = f"`{half[1].decode()}` at byte {half.start(1)} is half of a surrogate pair, which is no character"
        return _Fault(fault, "Send both halves, or leave it out.")
    return None


def _half_pair(body: bytes, why: str) -> re.Match[bytes] | None:
    """Return the escape of half a surrogate pair at which the decoder stopped, if it did at one."""
    found = _MALFORMED.fullmatch(why)
    stopped = len(body) if found is None else int(found[2])
    place = max(0, stopped - 2 * _FAULT_BYTES)
    before = body[:place]
    # An odd number of backslashes escapes the character here.
    place += (len(before) - len(before.rstrip(b"\\"))) % 2
    while half := _HALF_PAIR.match(body, place, stopped + _FAULT_BYTES):
        if half.start(1) >= stopped - _FAULT_BYTES:
            return half
        # The first half of this pair lies before the place.
        place = half.end(1)
    return None


def _fault_of_json(body: bytes, why: str) -> _Fault:
    """Return the fault of a text for which the decoder gives this reason."""
    if found := _MALFORMED.fullmatch(why):
        return _Fault(f"{found[1]} at byte {found[2]}", "Correct it there.")
    if "truncated" in why:
        return _Fault(f"it ends too early, at byte {len(body)}", "Send all of it.")
    return _Fault(_PLACE.sub("", why), "Correct it.")


def _not_json(fault: _Fault, path: str) -> Invalid:
    return Invalid([FieldError(path, "invalid_json", f"{_called(path)} is not JSON: {fault.fault}. {fault.remedy}")])


class _Beginning(list[Any]):
    """The first items of an array: at most one more than its limit."""


# Placeholder for a value that is too long to check.
_UNSEEN: Final = object()
_raw_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _of_kind(body: bytes) -> object:
    """Return a value of the same JSON type as a long text. Refusal: DecodeError, if it is not JSON."""
    msgspec.json.decode(body, type=msgspec.Raw)
    kinds: dict[bytes, object] = {b"[": [], b'"': ""}
    return kinds.get(body.lstrip()[:1], 0)


def _first_error(why: str, path: str) -> FieldError:
    """Return the decoder's own message, for an error that the second reading did not find."""
    place = _place(why, path)
    why = _PLACE.sub("", why)
    if len(place) > MAX_QUOTE:
        place = quoted(place)
    code = "too_long" if _TOO_LONG.match(why) else "invalid"
    return FieldError(place, code, f"{_called(place)} is refused: {quoted(why)}.")


def _place(why: str, path: str) -> str:
    found = _PLACE.search(why)
    if found is None:
        return path
    return found[1] if not path or found[1].startswith("[") else f"{path}.{found[1]}"


def _outline_of(struct: inspect.StructType) -> type[msgspec.Struct] | None:
    """Return a struct with only the array fields, at any depth. It counts items, up to their limit, without decoding them."""
    fields: list[tuple[str, Any, Any]] = []
    for field in struct.fields:
        declared, _ = unwrapped(field.type)
        inner: Any = None
        if isinstance(declared, inspect.VarTupleType) and (most := _counted(declared)):
            inner = _array_of(most, forbids_more=True)
        elif isinstance(declared, inspect.StructType):
            inner = _outline_of(declared)
        if inner is not None:
            fields.append((field.encode_name, inner | None, None))
    return msgspec.defstruct("Outline", fields) if fields else None


def _counted(declared: inspect.VarTupleType) -> int:
    """Return the maximum length of an array, or 0 if its items need not be counted first."""
    return declared.max_length if declared.max_length is not None and declared.max_length <= _MAX_COUNTED_ITEMS else 0


@functools.cache
def _array_of(most: int, *, forbids_more: bool) -> Any:
    # The decoder refuses or skips items beyond the fields of such a struct. For a tuple, it would decode all items first.
    fields = [(f"item{n}", msgspec.Raw, msgspec.Raw()) for n in range(most)]
    return msgspec.defstruct("Items", fields, array_like=True, forbid_unknown_fields=forbids_more)


@functools.cache
def _first_items(count: int) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_array_of(count, forbids_more=False))


def _called(path: str) -> str:
    return f"`{path}`" if path else "The body"


def _member_of(path: str, name: str) -> str:
    return f"{path}.{quoted(name)}" if path else quoted(name)


def _item_type(declared: inspect.Type) -> type[msgspec.Struct] | None:
    array, _ = unwrapped(declared)
    if isinstance(array, inspect.VarTupleType) and isinstance(array.item_type, inspect.StructType):
        return array.item_type.cls
    return None


def _text_type(declared: inspect.Type) -> inspect.Type | None:
    """Return the type of the items of an array of texts, and None for any other type."""
    array, _ = unwrapped(declared)
    if isinstance(array, inspect.VarTupleType) and isinstance(unwrapped(array.item_type)[0], inspect.StrType):
        return array.item_type
    return None


def _item_or_none(item: object, item_type: type[msgspec.Struct]) -> msgspec.Struct | None:
    try:
        return msgspec.convert(item, item_type)
    except msgspec.ValidationError:
        return None


def _struct_member_errors(struct: inspect.StructType, name: str, value: Any, path: str) -> Iterator[FieldError]:
    place = _member_of(path, name)
    field = next((field for field in struct.fields if field.encode_name == name), None)
    if field is None:
        hint = _hint(name, _called(path), [field.encode_name for field in struct.fields])
        yield FieldError(place, "unknown_field", f"There is no field `{place}`. {hint}")
        return
    for error in value_errors(field.type, value, place):
        if error.code == "too_short" and error.field == place and not (field.required and not path.endswith("]")):
            what = "item" if field.required else "field"
            yield error._replace(message=f"{error.message[:-1]}, or leave the {what} out.")
        else:
            yield error


def unknown_parameter(name: str, known: Iterable[str]) -> FieldError:
    """Return the error for an unknown query parameter."""
    hint = _hint(name, "This operation", [*known])
    return FieldError(quoted(name), "unknown_parameter", f"There is no query parameter `{quoted(name)}`. {hint}")


def _hint(name: str, owner: str, known: Sequence[str]) -> str:
    if not known:
        return "This operation takes none."
    return did_you_mean(name, known) or f"{owner} takes {', '.join(f'`{each}`' for each in known)}."


# Names that share less, such as `id` and `kind`, or only `_ids`, are not meant for each other.
_ALIKE: Final = 0.7


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str | None:
    """Return a question for the known name that is most similar to an unknown one, or None if none is similar.

    `prefix` is that of all names in the request.
    """
    if len(name) > MAX_QUOTE:
        return None
    # Names of filters resemble each other in all but the field.
    alike = {each.removeprefix("filter["): each for each in known}
    near = difflib.get_close_matches(name.removeprefix("filter["), alike, n=1, cutoff=_ALIKE)
    return f"Did you mean `{prefix}{alike[near[0]]}`?" if near else None


def _missing(struct: inspect.StructType, value: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    for field in struct.fields:
        if field.required and field.encode_name not in value:
            place = _member_of(path, field.encode_name)
            yield FieldError(place, "required", f"`{place}` is missing. Send it.")


_NO_NULL: Final = " Leave it out to change nothing in it. To clear one of its members, send that member as null."


def value_errors(declared: inspect.Type, value: Any, path: str) -> Iterator[FieldError]:
    """Yield the errors of a value against its declared type."""
    if len(options := _options(declared)) > 1:
        yield from _union_errors(options, value, path)
    else:
        yield from _errors_of_one(declared, value, path)


def _errors_of_one(declared: inspect.Type, value: Any, path: str) -> Iterator[FieldError]:
    expected, may_be_null = unwrapped(declared)
    if value is _UNSEEN or (value is None and may_be_null):
        return
    match expected, value:
        case ((inspect.LiteralType() | inspect.EnumType()), _):
            yield from _choice_errors(expected, value, path)
        case inspect.StrType(), str():
            yield from _length_errors(expected.min_length, expected.max_length, len(value), path, "characters")
        case inspect.VarTupleType(), list():
            yield from _array_errors(expected, cast("list[Any]", value), path)
        case inspect.StructType(), dict():
            members = cast("dict[str, Any]", value)
            for name, item in members.items():
                yield from _struct_member_errors(expected, name, item, path)
            yield from _missing(expected, members, path)
        case inspect.DictType(), dict():
            yield from _map_errors(expected, cast("dict[str, Any]", value), path)
        case (inspect.BoolType(), bool()) | ((inspect.RawType() | inspect.AnyType()), _):
            pass
        case (inspect.IntType(), int()) | (inspect.FloatType(), int() | float()) if not isinstance(value, bool):
            yield from _range_errors(expected, value, path)
        case _:
            wanted = _words_for(expected)
            remedy = _NO_NULL if value is None and isinstance(expected, inspect.DictType) else ""
            yield FieldError(path, "invalid_type", f"`{path}` must be {wanted}, not {_kind_of(value)}.{remedy}")


def _map_errors(expected: inspect.DictType, members: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    yield from _length_errors(expected.min_length, expected.max_length, len(members), path, "members")
    for name, item in members.items():
        yield from value_errors(expected.value_type, item, _member_of(path, name))


def _words_for(expected: inspect.Type) -> str:
    return next(words for kind, words in _KINDS if isinstance(expected, kind))


def _options(declared: inspect.Type) -> list[inspect.Type]:
    """Return the types that a value may have, beside null."""
    if isinstance(declared, inspect.Metadata):
        return _options(declared.type)
    types = declared.types if isinstance(declared, inspect.UnionType) else (declared,)
    return [option for option in types if not isinstance(option, inspect.NoneType)]


def _union_errors(options: Sequence[inspect.Type], value: Any, path: str) -> Iterator[FieldError]:
    if all(any(value_errors(option, value, path)) for option in options):
        wanted = " or ".join(_words_for(unwrapped(option)[0]) for option in options)
        yield FieldError(path, "invalid_type", f"`{path}` must be {wanted}, not {_kind_of(value)}.")


def _array_errors(expected: inspect.VarTupleType, items: list[Any], path: str) -> Iterator[FieldError]:
    is_too_long = expected.max_length is not None and len(items) > expected.max_length
    if is_too_long and isinstance(items, _Beginning):
        message = f"`{path}` has more than {expected.max_length} items. Send at most {expected.max_length}."
        yield FieldError(path, "too_long", message)
    else:
        yield from _length_errors(expected.min_length, expected.max_length, len(items), path, "items")
    # Items far beyond the limit are not checked: the error about the length is enough.
    for index, item in enumerate(items[:MAX_ERRORS] if is_too_long else items):
        yield from value_errors(expected.item_type, item, f"{path}[{index}]")


def unwrapped(declared: inspect.Type) -> tuple[inspect.Type, bool]:
    """Return a type without its metadata, and whether it allows null."""
    if isinstance(declared, inspect.Metadata):
        return unwrapped(declared.type)
    if isinstance(declared, inspect.UnionType):
        options = [option for option in declared.types if not isinstance(option, inspect.NoneType)]
        assert len(options) == 1, "no field has a union of several types"
        return unwrapped(options[0])[0], len(options) < len(declared.types)
    return declared, isinstance(declared, inspect.NoneType)


def _choice_errors(expected: inspect.LiteralType | inspect.EnumType, value: Any, path: str) -> Iterator[FieldError]:
    choices = expected.values if isinstance(expected, inspect.LiteralType) else [member.value for member in expected.cls]
    if value not in choices:
        listed = " or ".join(f'"{choice}"' for choice in choices)
        yield FieldError(path, "invalid_choice", f"`{path}` must be {listed}.")


def _length_errors(least: int | None, most: int | None, length: int, path: str, unit: str) -> Iterator[FieldError]:
    if least is not None and length < least:
        yield FieldError(path, "too_short", f"`{path}` has {length} {unit}. Send at least {least}.")
    elif most is not None and length > most:
        yield FieldError(path, "too_long", f"`{path}` has {length} {unit}. Send at most {most}.")


def _range_errors(expected: inspect.IntType | inspect.FloatType, value: float, path: str) -> Iterator[FieldError]:
    form = "" if isinstance(expected, inspect.IntType) else ".15g"
    if expected.ge is not None and value < expected.ge:
        yield FieldError(path, "invalid_range", f"`{path}` must be at least {expected.ge:{form}}.")
    elif expected.le is not None and value > expected.le:
        yield FieldError(path, "invalid_range", f"`{path}` must be at most {expected.le:{form}}.")


def _kind_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "a string"
        case int() | float():
            return "a number"
        case list():
            return "an array"
        case _:
            return "an object"
