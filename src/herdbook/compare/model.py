"""A scenario, its steps, and the answers that a server gave to them."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, cast
from zlib import crc32

import msgspec
from msgspec import UNSET, Meta, UnsetType

READING: Final = ("GET", "HEAD", "OPTIONS")
# The texts that scenarios can refer to and no answer gives: a word of this run, and the sign that begins a reference.
UNIQUE: Final = "unique"
DOLLAR: Final = "dollar"
REFERENCE: Final = re.compile(r"\$\{(\w+)\}")
_BRACES: Final = re.compile(r"\$\{[^}]*\}?")
_NAME: Final = re.compile(r"\w+").fullmatch
_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)*").fullmatch
_HEADER: Final = re.compile(r"header:\s*[A-Za-z0-9-]+").fullmatch


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One request of a scenario, and what later steps take from its answer.

    Texts may refer to what earlier steps have kept as `${name}`, and to `${unique}`, a word that no earlier run has used.
    `${dollar}` is a dollar sign. `keep` maps a name to the JSON pointer (RFC 6901) of a text in the answer's body, or to
    `header:` and the name of a header.
    `unordered` are the JSON pointers of lists in the answer whose order the contract leaves open; `*` stands for any index.
    `credential` is the one that is sent: the key, none, or one that no server knows.
    """

    name: Annotated[str, Meta(min_length=1)]
    path: Annotated[str, Meta(pattern="^/")]
    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    headers: dict[str, str] = {}
    body: Any | UnsetType = UNSET
    content: str | UnsetType = UNSET
    keep: dict[str, str] = {}
    unordered: tuple[str, ...] = ()
    credential: Literal["key", "none", "unknown"] = "key"


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Requests that are made one after another, on each of two servers."""

    name: Annotated[str, Meta(min_length=1)]
    about: str = ""
    steps: Annotated[tuple[Step, ...], Meta(min_length=1)]

    @property
    def writes(self) -> bool:
        """Whether a step may change what a server keeps."""
        return any(step.method not in READING for step in self.steps)


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An answer of a server. `body` is JSON, or a text if it has another type; it is UNSET if there is none."""

    status: int
    headers: dict[str, str] = {}
    body: Any | UnsetType = UNSET


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """The answers of one server to the steps of scenarios, by the names of both.

    `base` is the address that texts of the answers may have, and `unique` is the word of the run.
    """

    version: Literal[1] = 1
    base: str
    unique: str
    answers: dict[str, dict[str, Answer]]


class Unusable(Exception):
    """A file of scenarios or a recording cannot be used. The text says where and why."""


def members_of(value: Any) -> dict[str, Any] | None:
    """Return a value of an answer as a JSON object, or None if it is something else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def items_of(value: Any) -> list[Any] | None:
    """Return a value of an answer as a JSON array, or None if it is something else."""
    return cast("list[Any]", value) if isinstance(value, list) else None


def word_of(unique: str, scenario: Scenario) -> str:
    """Return the text of `${unique}` in a scenario, so that none finds what another one has left."""
    return f"{unique}{crc32(scenario.name.encode()):08x}"


def answers_of(recording: Recording, scenario: Scenario) -> Mapping[str, Answer]:
    """Return the answers to a scenario's steps by their names. Those that were not recorded are missing."""
    return recording.answers.get(scenario.name, {})


def unusable_parts(scenario: Scenario) -> Iterator[str]:
    """Yield why steps of a scenario cannot be taken as they are written, each with its step."""
    known = {UNIQUE, DOLLAR}
    for step in scenario.steps:
        for told in _unusable(step, known):
            yield f"step `{step.name}`: {told}"
        known |= step.keep.keys()


def _unusable(step: Step, known: Collection[str]) -> Iterator[str]:
    if step.body is not UNSET and step.content is not UNSET:
        yield "`body` and `content` do not go together. Send one of them."
    for found in _texts([step.path, step.headers, step.body, step.content]):
        for shown in _BRACES.findall(found):
            name = REFERENCE.fullmatch(shown)
            if name is None or name[1] not in known:
                yield (
                    f"`{shown}` is not known here. There are {', '.join(f'`${{{each}}}`' for each in sorted(known))}. A step "
                    "before this one must `keep` it; `${dollar}` stands for a dollar sign."
                )
    for name, place in step.keep.items():
        if _NAME(name) is None or name in (UNIQUE, DOLLAR):
            yield f"`keep` cannot give the name `{name}`. Use other letters, digits and `_`."
        if _HEADER(place) is None and _POINTER(place) is None:
            yield f"`keep` of `{name}` has `{place}`. Write a JSON pointer, as `/data/0/id`, or `header:` and a name."
    for place in step.unordered:
        if _POINTER(place) is None:
            yield f"`unordered` has `{place}`, which is no JSON pointer. Begin it with `/`, as in `/data`."


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in (members_of(value) or {}).values():
        yield from _texts(each)
    for each in items_of(value) or ():
        yield from _texts(each)
