"""Request bodies: JSON to a struct, or a refusal that lists everything that is wrong with it.

The typed decoder is the judge of what is well formed. Only when it refuses, or a rule does, is the body looked at again, field
by field, to say what is wrong with each.
"""

import difflib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast, get_type_hints

import msgspec
from msgspec import UNSET, inspect

from herdbook.errors import FieldError, Invalid, UnsupportedMediaType
from herdbook.fields import HasRules, Rule

_KINDS: Final[tuple[tuple[type, str], ...]] = (
    (inspect.StrType, "a string"),
    (inspect.BoolType, "true or false"),
    (inspect.IntType, "a whole number"),
    (inspect.FloatType, "a number"),
    (inspect.VarTupleType, "an array"),
    (inspect.ListType, "an array"),
    (inspect.StructType, "an object"),
    (inspect.NoneType, "null"),
)

# A body of nothing but mistakes must not keep the server busy with naming them.
_MOST_ERRORS: Final = 100


class BodyReader:
    """Reads the bodies of one operation, or a part of them that is judged on its own."""

    def __init__(self, struct: type[msgspec.Struct]) -> None:
        self._decoder: msgspec.json.Decoder[msgspec.Struct] = msgspec.json.Decoder(struct)
        self._rules: Mapping[str, Rule] = cast("type[HasRules]", struct).rules
        self._type = cast("inspect.StructType", inspect.type_info(struct))
        self._attributes = {field.encode_name: field.name for field in self._type.fields}
        self._hints = get_type_hints(struct, include_extras=True)

    def read(self, body: bytes, path: str = "") -> Any:
        """Return the struct; `path` is the place of a part in the whole body. Refusal: Invalid."""
        try:
            struct = self._decoder.decode(body or b"{}")
        except (msgspec.DecodeError, RecursionError):
            raise Invalid(list(itertools.islice(self._explained(body, path), _MOST_ERRORS))) from None
        except UnicodeDecodeError:
            raise _not_json("it is not UTF-8", path) from None
        errors = [
            error
            for name, rule in self._rules.items()
            if (value := getattr(struct, self._attributes[name])) is not UNSET
            for error in rule(value, _member_of(path, name))
        ]
        if errors:
            raise Invalid(errors)
        return struct

    def _explained(self, body: bytes, path: str) -> Iterator[FieldError]:
        try:
            value: object = msgspec.json.decode(body or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _not_json(str(error), path) from None
        except RecursionError:
            raise _not_json("it is nested too deeply", path) from None
        if not isinstance(value, dict):
            message = f"{_called(path)} must be a JSON object, not {_kind_of(value)}."
            yield FieldError(path, "invalid_type", message)
            return
        members = cast("dict[str, Any]", value)
        explained = False
        for error in itertools.chain(self._member_errors(members, path), _missing(self._type, members, path)):
            explained = True
            yield error
        if not explained:
            # The decoder judges each of several members with the same name; of them, only the last is left here.
            message = f"{_called(path)} has a field twice, and once with a value that it cannot have. Send each field once."
            yield FieldError(path, "duplicate", message)

    def _member_errors(self, members: Mapping[str, Any], path: str) -> Iterator[FieldError]:
        for name, item in members.items():
            found = list(itertools.islice(_struct_member_errors(self._type, name, item, path), _MOST_ERRORS))
            yield from found
            rule = self._rules.get(name)
            if rule is None or item is None:
                continue
            place = _member_of(path, name)
            field = next(field for field in self._type.fields if field.encode_name == name)
            if not found:
                yield from rule(msgspec.convert(item, self._hints[field.name]), place)
            elif isinstance(item, list) and (item_type := _item_type(field.type)) is not None:
                yield from rule([_item_or_none(one, item_type) for one in cast("list[Any]", item)[:_MOST_ERRORS]], place)


def require_json(content_type: bytes | None) -> None:
    """Refuse a body that is declared as something else than JSON in UTF-8 (RFC 8259); none declared is taken as JSON."""
    if content_type is None or content_type == b"application/json":
        return
    declared = content_type.decode("latin-1")
    media_type, *parameters = (part.strip().lower() for part in declared.split(";"))
    is_json = media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))
    charsets = [part.partition("=")[2].strip('"') for part in parameters if part.startswith("charset=")]
    if not is_json or any(charset not in ("utf-8", "utf8") for charset in charsets):
        raise UnsupportedMediaType(declared)


def _not_json(why: str, path: str) -> Invalid:
    message = f"{_called(path)} is not JSON: {why.rstrip('.')}. Send one JSON object."
    return Invalid([FieldError(path, "invalid_json", message)])


def _called(path: str) -> str:
    return f"`{path}`" if path else "The body"


def _member_of(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _item_type(declared: inspect.Type) -> type[msgspec.Struct] | None:
    array, _ = unwrapped(declared)
    if isinstance(array, inspect.VarTupleType) and isinstance(array.item_type, inspect.StructType):
        return array.item_type.cls
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
        yield unknown_field(struct, name, place, "field", "unknown_field")
        return
    yield from value_errors(field.type, value, place)


def unknown_field(struct: inspect.StructType, name: str, place: str, what: str, code: str) -> FieldError:
    """Return the error that a struct has no such field, with the nearest that it has."""
    near = difflib.get_close_matches(name, [field.encode_name for field in struct.fields], n=1)
    hint = f"Did you mean `{near[0]}`?" if near else f"It takes {_listed(struct)}."
    return FieldError(place, code, f"There is no {what} `{place}`. {hint}")


def _missing(struct: inspect.StructType, value: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    for field in struct.fields:
        if field.required and field.encode_name not in value:
            place = _member_of(path, field.encode_name)
            yield FieldError(place, "required", f"`{place}` is missing. Send it.")


def _listed(struct: inspect.StructType) -> str:
    return ", ".join(f"`{field.encode_name}`" for field in struct.fields)


def value_errors(declared: inspect.Type, value: Any, path: str) -> Iterator[FieldError]:
    """Explain what is wrong with a value where a type is expected."""
    expected, may_be_null = unwrapped(declared)
    if value is None and may_be_null:
        return
    match expected, value:
        case ((inspect.LiteralType() | inspect.EnumType()), _):
            yield from _choice_errors(expected, value, path)
        case inspect.StrType(), str():
            yield from _length_errors(expected.min_length, expected.max_length, len(value), path, "characters")
        case inspect.VarTupleType(), list():
            items = cast("list[Any]", value)
            yield from _length_errors(expected.min_length, expected.max_length, len(items), path, "items")
            for index, item in enumerate(items):
                yield from value_errors(expected.item_type, item, f"{path}[{index}]")
        case inspect.StructType(), dict():
            members = cast("dict[str, Any]", value)
            for name, item in members.items():
                yield from _struct_member_errors(expected, name, item, path)
            yield from _missing(expected, members, path)
        case (inspect.BoolType(), bool()) | (inspect.RawType(), _):
            pass
        case (inspect.IntType(), int()) | (inspect.FloatType(), int() | float()) if not isinstance(value, bool):
            yield from _range_errors(expected.ge, expected.le, value, path)
        case _:
            wanted = next(words for kind, words in _KINDS if isinstance(expected, kind))
            yield FieldError(path, "invalid_type", f"`{path}` must be {wanted}, not {_kind_of(value)}.")


def unwrapped(declared: inspect.Type) -> tuple[inspect.Type, bool]:
    """Return what a type is without what is only said about it, and whether null will do, too."""
    if isinstance(declared, inspect.Metadata):
        return unwrapped(declared.type)
    if isinstance(declared, inspect.UnionType):
        options = [option for option in declared.types if not isinstance(option, inspect.NoneType)]
        assert len(options) == 1, "no field here takes one of several types"
        return unwrapped(options[0])[0], len(options) < len(declared.types)
    return declared, isinstance(declared, inspect.NoneType)


def _choice_errors(expected: inspect.LiteralType | inspect.EnumType, value: Any, path: str) -> Iterator[FieldError]:
    choices = expected.values if isinstance(expected, inspect.LiteralType) else [member.value for member in expected.cls]
    if value not in choices:
        listed = " or ".join(f'"{choice}"' for choice in choices)
        yield FieldError(path, "invalid_choice", f"`{path}` must be {listed}.")


def _length_errors(least: int | None, most: int | None, length: int, path: str, unit: str) -> Iterator[FieldError]:
    if least is not None and length < least:
        yield FieldError(path, "too_short", f"`{path}` has {length} {unit}. Send {least} at least, or leave the field out.")
    elif most is not None and length > most:
        yield FieldError(path, "too_long", f"`{path}` has {length} {unit}. Send {most} at most.")


def _range_errors(least: float | None, most: float | None, value: float, path: str) -> Iterator[FieldError]:
    if least is not None and value < least:
        yield FieldError(path, "invalid_range", f"`{path}` must be {least:g} at least.")
    elif most is not None and value > most:
        yield FieldError(path, "invalid_range", f"`{path}` must be {most:g} at most.")


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
