"""The names in conditions of rules, expectations and queries: one that nothing can meet is refused, not silently never met."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final, Protocol

from herdbook.errors import FieldError
from herdbook.http.body import did_you_mean
from herdbook.http.operation import Operation
from herdbook.webhook_endpoints.model import EventType

_METHODS: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


class Named(Protocol):
    """Conditions, as far as they have names."""

    @property
    def operation(self) -> str: ...

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def event_type(self) -> str: ...


def name_errors(
    asked: Named, operations: Sequence[Operation], place: str = "", schemes: tuple[str, ...] = ()
) -> Iterator[FieldError]:
    """Yield an error for each name that nothing has. `place` is before each field; `schemes` begin a path, too."""
    by_id = {each.id: each for each in operations}
    method = asked.method.upper()
    if asked.operation and asked.operation not in by_id:
        yield unknown(f"{place}operation", "operation", asked.operation, by_id, "The API's document has them as `operationId`.")
    if method and method not in _METHODS:
        yield unknown(f"{place}method", "method", method, _METHODS)
    elif method and asked.operation in by_id and by_id[asked.operation].method != method.replace("HEAD", "GET"):
        message = f"`{asked.operation}` has the method `{by_id[asked.operation].method}`. Leave out one of both."
        yield FieldError(f"{place}method", "invalid_choice", message)
    if asked.path and not asked.path.startswith(("/", "*", *schemes)):
        message = f"The path `{asked.path}` is none. It begins with `/`, or with `*`, which stands for anything."
        yield FieldError(f"{place}path", "invalid_format", message)
    elif "?" in asked.path:
        message = "A path has no query. Leave out the `?` and what is behind it."
        yield FieldError(f"{place}path", "invalid_format", message)
    if asked.event_type and asked.event_type not in tuple(EventType):
        yield unknown(f"{place}event_type", "type of event", asked.event_type, tuple(EventType))


def unknown(field: str, kind: str, name: str, known: Collection[str], remedy: str = "") -> FieldError:
    """Return the error for a name that is not known, with the name that resembles it most, or else with all."""
    near = did_you_mean(name, known) or remedy or f"There are {', '.join(sorted(known))}."
    return FieldError(field, "invalid_choice", f"There is no {kind} `{name}`. {near}")
