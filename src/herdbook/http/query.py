"""Query parameters of operations other than lists, declared as a struct like bodies."""

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, inspect

from herdbook.errors import MAX_ERRORS, FieldError, InvalidQuery, first_errors
from herdbook.fields import HasRules, Rule
from herdbook.http.body import unknown_parameter, unwrapped, value_errors

# A fraction may have 17 digits behind its zeros.
_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,30})?").fullmatch
# Negative numbers are out of each range, which the error should say.
_WHOLE: Final = re.compile(r"-?[0-9]{1,19}").fullmatch
_BOOLEANS: Final = {"true": True, "false": False}


class QueryReader:
    """Reads the query parameters of one operation. An array is sent as one value with commas.

    With `beside_filters`, it leaves the filters and the search of a list to the reader of these.
    """

    def __init__(self, struct: type[msgspec.Struct], *, beside_filters: bool = False) -> None:
        self._struct = struct
        self._beside_filters = beside_filters
        self._rules: Mapping[str, Rule] = cast("type[HasRules]", struct).rules

    @functools.cached_property
    def _fields(self) -> dict[str, inspect.Type]:
        # For the first query, as in `BodyReader`.
        return {field.encode_name: field.type for field in self._declared.fields}

    @functools.cached_property
    def _declared(self) -> inspect.StructType:
        return cast("inspect.StructType", inspect.type_info(self._struct))

    def read(self, query_string: bytes) -> Any:
        """Return the struct. Refusal: InvalidQuery, with all errors, or the first of very many."""
        errors: list[FieldError] = []
        given: dict[str, Any] = {}
        for name, text in pairs(query_string, errors):
            if self._beside_filters and is_filter(name):
                continue
            if name in given:
                errors.append(FieldError(name, "duplicate", f"`{name}` is sent twice. Send it once."))
            elif (declared := self._fields.get(name)) is None:
                errors.append(unknown_parameter(name, self._fields))
            else:
                given[name] = value = _value(declared, text)
                errors += itertools.islice(value_errors(declared, value, name), MAX_ERRORS + 1)
            if len(errors) > MAX_ERRORS:
                break
        errors += [
            _missing(field.encode_name) for field in self._declared.fields if field.required and field.encode_name not in given
        ]
        if not errors:
            struct = msgspec.convert(given, self._struct)
            for name, rule in self._rules.items():
                if (value := getattr(struct, name)) not in (UNSET, None):
                    errors += itertools.islice(rule(value, name), MAX_ERRORS + 1)
            if not errors:
                return struct
        raise invalid_query(errors)


def invalid_query(errors: Iterable[FieldError]) -> InvalidQuery:
    """Return the refusal of a query string. If it has very many errors, the last one says that there are more."""
    return InvalidQuery(first_errors(errors, "", whole="The query string"))


def is_filter(name: str) -> bool:
    """Whether a query parameter is a filter or the search of a list."""
    return name == "search" or name.startswith("filter[")


def pairs(query_string: bytes, errors: list[FieldError]) -> Iterator[tuple[str, str]]:
    """Yield the parameters of a query string. An invalid query string adds an error."""
    try:
        yield from parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict")
    except (UnicodeDecodeError, ValueError):
        errors.append(FieldError("", "invalid_encoding", "The query string is not percent-encoded UTF-8 (RFC 3986)."))


def _missing(name: str) -> FieldError:
    return FieldError(name, "required", f"`{name}` is missing. Send it as a query parameter, as in `?{name}=...`.")


def _value(declared: inspect.Type, text: str) -> Any:
    """Return the text converted to the declared type, or the text itself if it cannot be converted."""
    match unwrapped(declared)[0]:
        case inspect.IntType() if _WHOLE(text) is not None:
            return int(text)
        case inspect.FloatType() if _NUMBER(text) is not None:
            return float(text)
        case inspect.BoolType():
            return _BOOLEANS.get(text, text)
        case inspect.VarTupleType():
            return text.split(",")
        case _:
            return text
