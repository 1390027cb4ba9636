"""Forms of objects that somebody else has changed since the form was shown: both versions are shown, and the person chooses."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from herdbook.console.visit import Visit
from herdbook.errors import Stale
from herdbook.http.problems import Problem, problem_of


class Theirs(NamedTuple):
    """A member of an object that has another value than the form: its label, and the text that is stored."""

    label: str
    text: str


def theirs(members: Iterable[tuple[str, str | None, str]]) -> list[Theirs]:
    """Return the members, given by label, stored text and sent text, in which an object differs from a form."""
    return [Theirs(label, stored or "nothing") for label, stored, sent in members if (stored or "") != sent]


def state_of(value: Any) -> str:
    """Return a short text that is another one once a value has changed, for objects without a version."""
    return sha256(msgspec.json.encode(value)).hexdigest()[:32]


def changed_meanwhile(visit: Visit, detail: str) -> Problem:
    """Return the problem that an object has changed since a form was shown."""
    return msgspec.structs.replace(problem_of(Stale(None), visit.shown_request_id, ""), detail=detail)
