"""A scenario, its steps, and the answers that a server gave to them."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, cast
from zlib import crc32

import msgspec
from msgspec import UNSET, Meta, UnsetType

READING: Final = ("GET", "HEAD", "OPTIONS")
# The texts that scenarios can refer to and no answer gives: a word of this run, and the sign that begins a reference.
UNIQUE: Final = "unique"
DOLLAR: Final = "dollar"


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
