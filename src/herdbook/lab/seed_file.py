"""Seeds as text: YAML or NDJSON, with names by which objects refer to each other."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeGuard

import msgspec

from herdbook import fields
from herdbook.lab.clock import LAST_MOMENT
from herdbook.shared_schemas import shown_time

if TYPE_CHECKING:
    from yaml import Node

KINDS: Final[Mapping[str, str]] = {
    "field": "POST /herdbook/fields",
    "tag": "POST /v2/tags",
    "company": "POST /herdbook/companies",
    "contact": "POST /herdbook/contacts",
    "engagement": "POST /v2/engagements",
    "transcript_comment": "POST /v2/engagements/$of/transcript_comments",
    "contact_note": "POST /herdbook/contacts/$of/notes",
    "company_note": "POST /herdbook/companies/$of/notes",
    "view": "POST /herdbook/views",
}
USER: Final = "user"
# The time of a seed that does not say its own. Whole answers can be compared only if it is the same each time.
FIRST_MOMENT: Final = datetime(2025, 12, 1, 9, tzinfo=UTC)
# How much later each object is than the one before it.
STEP: Final = timedelta(seconds=1)
_EARLIEST: Final = datetime(1970, 1, 2, tzinfo=UTC)
# How deep values may be nested, and how many of them aliases may repeat: a few lines of aliases can stand for billions.
_MOST_DEPTH: Final = 50
_MOST_REPEATED: Final = 10_000
_TEXT_TAG: Final = "tag:yaml.org,2002:str"
_MERGE_TAG: Final = "tag:yaml.org,2002:merge"
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")
_REQUEST: Final = re.compile(r"(POST|PUT|PATCH|DELETE) (/(?:v2|herdbook)/\S*)")
_KNOWN: Final = frozenset({*KINDS, USER, "request", "of", "body"})


class SeedInvalid(Exception):
    """A seed cannot be read, or the API refuses an object of it; the message says why, and `line` where (0: nowhere)."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message

    def __str__(self) -> str:
        """Return the message behind its line."""
        return f"Line {self.line}: {self.message}" if self.line else self.message


class Step(NamedTuple):
    """A step in which a seed is built: a request, or the kind `user`. `name` is the name of what it creates, or empty."""

    line: int
    kind: str
    name: str
    request: str
    of: str
    body: Any


class Seed(NamedTuple):
    """A seed: the time of its first step, and its steps."""

    at: datetime
    steps: Sequence[Step]


def from_ndjson(text: str) -> Seed:
    """Read a seed whose lines are its objects; the first may be its head. Refusal: SeedInvalid."""
    at = FIRST_MOMENT
    steps: list[Step] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry: object = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            raise SeedInvalid(number, f"The line is not JSON: {error}. Write one object on each line.") from None
        except RecursionError:
            raise _too_deep(number) from None
        # The decoder takes the last of two members with one name.
        json.loads(line, object_pairs_hook=partial(_require_each_once, number))
        if not steps and _is_mapping(entry) and list(entry) == ["clock"]:
            at = _moment(number, entry["clock"])
        else:
            steps.append(_step(number, entry))
    return _checked(at, steps)


def from_yaml(text: str) -> Seed:
    """Read a seed from a mapping with `objects` and perhaps `clock`. Refusal: SeedInvalid."""
    # Few servers read a seed, and the library takes as long to import as a part of the start.
    import yaml  # noqa: PLC0415

    root = _composed(text)
    loader: Any = yaml.SafeLoader("")

    def value(node: yaml.Node) -> Any:
        line = node.start_mark.line + 1
        try:
            # As JSON has it, so that a date is a text.
            return msgspec.json.decode(msgspec.json.encode(loader.construct_document(node)))
        except yaml.MarkedYAMLError as error:
            raise SeedInvalid(line, f"This value cannot be read: {error.problem}.") from None
        except (ValueError, ArithmeticError, LookupError, AttributeError) as error:
            # Some of its constructors raise these for a text that is none of their type.
            message = f"A value cannot be read: {error}. Put it in quotes if it is a text."
            raise SeedInvalid(line, message) from None

    if not isinstance(root, yaml.MappingNode):
        raise SeedInvalid(1, "A seed is a mapping with `objects`, a list, and perhaps `clock`.")
    _Nodes().check(root)
    at = FIRST_MOMENT
    steps: list[Step] = []
    for key, node in root.value:
        line = key.start_mark.line + 1
        if key.value == "clock":
            at = _moment(line, value(node))
        elif key.value == "objects" and isinstance(node, yaml.SequenceNode):
            steps = [_step(each.start_mark.line + 1, value(each)) for each in node.value]
        else:
            raise SeedInvalid(line, f"`{key.value}` is not known here. A seed has `objects`, a list, and perhaps `clock`.")
    return _checked(at, steps)


def _composed(text: str) -> "Node | None":
    """Return the root of a YAML text. Refusal: SeedInvalid."""
    import yaml  # noqa: PLC0415

    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = 0 if error.problem_mark is None else error.problem_mark.line + 1
        raise SeedInvalid(line, f"This is not YAML: {error.problem}.") from None
    except yaml.YAMLError as error:
        raise SeedInvalid(0, f"This is not YAML: {error}.") from None
    except RecursionError:
        raise _too_deep(_deep_line(text)) from None


class _Nodes:
    """Checks the nodes of a YAML text before values are made of them."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._repeated = 0

    def check(self, node: "Node", depth: int = 0) -> None:
        """Require that a node has names for keys, each once, and is not too large. Refusal: SeedInvalid."""
        import yaml  # noqa: PLC0415

        line = node.start_mark.line + 1
        if depth > _MOST_DEPTH:
            raise _too_deep(line)
        if id(node) in self._seen:
            self._repeated += 1
            if self._repeated > _MOST_REPEATED:
                raise SeedInvalid(line, f"Aliases repeat more than {_MOST_REPEATED:,} values. Use fewer of them.")
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            names = set[str]()
            for key, each in node.value:
                if key.tag not in (_TEXT_TAG, _MERGE_TAG):
                    shown = f"`{key.value}`" if isinstance(key, yaml.ScalarNode) else "A list or a mapping"
                    raise SeedInvalid(key.start_mark.line + 1, f"{shown} is no name. Put it in quotes if it is one.")
                if key.value in names:
                    raise _twice(key.start_mark.line + 1, key.value)
                names.add(key.value)
                self.check(each, depth + 1)
        elif isinstance(node, yaml.SequenceNode):
            for each in node.value:
                self.check(each, depth + 1)


def _require_each_once(line: int, members: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of an object as a mapping. Refusal: SeedInvalid."""
    found = dict[str, Any]()
    for name, value in members:
        if name in found:
            raise _twice(line, name)
        found[name] = value
    return found


def _twice(line: int, name: str) -> SeedInvalid:
    return SeedInvalid(line, f"`{name}` is there twice. Remove one of both.")


def _too_deep(line: int) -> SeedInvalid:
    message = f"Values are nested more than {_MOST_DEPTH} deep here, perhaps by an alias of a value in itself. Nest fewer."
    return SeedInvalid(line, message)


def _deep_line(text: str) -> int:
    """Return the line where a YAML text is nested too deep."""
    import yaml  # noqa: PLC0415

    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MOST_DEPTH and event.start_mark is not None:
            return event.start_mark.line + 1
    return 0


def _is_deeper(value: object, most: int) -> bool:
    below = value.values() if _is_mapping(value) else value if _is_list(value) else ()
    return most < 0 or any(_is_deeper(each, most - 1) for each in below)


def of_entries(entries: Iterable[Any]) -> Seed:
    """Read a seed from its objects, decoded; each counts as a line. Refusal: SeedInvalid."""
    return _checked(FIRST_MOMENT, [_step(number, entry) for number, entry in enumerate(entries, 1)])


def _is_mapping(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _moment(line: int, value: object) -> datetime:
    found = fields.parsed_time(str(value))
    if found is None:
        raise SeedInvalid(line, "`clock` is not a time. Write it as `2026-01-01T00:00:00Z`.")
    if not _EARLIEST <= found <= LAST_MOMENT:
        shown = f"{shown_time(_EARLIEST)} to {shown_time(LAST_MOMENT)}"
        raise SeedInvalid(line, f"`clock` is a time from {shown}. Write one of these.")
    return found


def _step(line: int, entry: object) -> Step:
    if not _is_mapping(entry):
        raise SeedInvalid(line, "An object of a seed is a mapping, such as `contact: ada` with a `body`.")
    if unknown := [key for key in entry if key not in _KNOWN]:
        raise SeedInvalid(
            line, f"`{unknown[0]}` is not known here. An object has a kind ({', '.join(KINDS)}, user), `of`, `body`."
        )
    kinds = [key for key in entry if key in KINDS or key in (USER, "request")]
    if len(kinds) != 1:
        raise SeedInvalid(line, f"An object has exactly one kind: {', '.join(KINDS)}, user, or request.")
    kind, body, of = kinds[0], entry.get("body"), entry.get("of", "")
    if kind == "request":
        request, name = str(entry[kind]), ""
        if _REQUEST.fullmatch(request) is None:
            raise SeedInvalid(
                line, f"`{request}` is not a request. Write a method and a path, as in `PUT /v2/contacts/$ada/...`."
            )
    else:
        request, name = KINDS.get(kind, ""), str(entry[kind])
        if _NAME.fullmatch(name) is None:
            raise SeedInvalid(line, f"`{name}` is not a name. Use a letter, then letters, digits, `_`, `-` and points.")
    if ("$of" in request) != bool(of):
        needed = "needs `of`, the name of what it belongs to" if "$of" in request else "has no `of`"
        raise SeedInvalid(line, f"A {kind} {needed}.")
    return Step(line, kind, name, request, str(of), body)


def _checked(at: datetime, steps: Sequence[Step]) -> Seed:
    """Refuse names that are there twice, and those that nothing before has. Refusal: SeedInvalid."""
    known: dict[str, int] = {}
    for step in steps:
        if _is_deeper(step.body, _MOST_DEPTH):
            raise _too_deep(step.line)
        for name in references(step):
            if name not in known:
                raise SeedInvalid(
                    step.line, f"`${name}` is not the name of an object before this one. Write `$$` for a dollar."
                )
        if step.name:
            if step.name in known:
                raise SeedInvalid(step.line, f"The name `{step.name}` is taken by the object of line {known[step.name]}.")
            known[step.name] = step.line
    if steps and at + len(steps) * STEP > LAST_MOMENT:
        message = f"This object would be later than {shown_time(LAST_MOMENT)}, where clocks end. Write an earlier `clock`."
        raise SeedInvalid(steps[-1].line, message)
    return Seed(at, steps)


def references(step: Step) -> Iterator[str]:
    """Yield the names that a step refers to."""
    if step.of:
        yield step.of.removeprefix("$")
    for part in step.request.partition(" ")[2].split("/"):
        if part.startswith("$") and not part.startswith("$$") and part != "$of":
            yield part[1:]
    yield from _named(step.body)


def _named(value: object) -> Iterator[str]:
    if isinstance(value, str):
        if value.startswith("$") and not value.startswith("$$"):
            yield value[1:]
    elif _is_mapping(value):
        for each in value.values():
            yield from _named(each)
    elif _is_list(value):
        for each in value:
            yield from _named(each)


def resolved(value: object, known: Mapping[str, str]) -> Any:
    """Return a body with ids instead of names."""
    if isinstance(value, str):
        if value.startswith("$$"):
            return value[1:]
        return known[value[1:]] if value.startswith("$") else value
    if _is_mapping(value):
        return {key: resolved(each, known) for key, each in value.items()}
    if _is_list(value):
        return [resolved(each, known) for each in value]
    return value


def resolved_path(step: Step, known: Mapping[str, str]) -> tuple[str, str]:
    """Return the method and the path of a step, with ids instead of names."""
    method, _, path = step.request.partition(" ")
    parts = [known[step.of.removeprefix("$")] if part == "$of" else resolved(part, known) for part in path.split("/")]
    return method, "/".join(parts)
