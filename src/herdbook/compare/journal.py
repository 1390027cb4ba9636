"""A scenario made of the journal of a lab: the requests that a client has made there."""

import contextlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from herdbook.compare.model import DOLLAR, Scenario, Step, Unusable, items_of, members_of

_ID: Final = re.compile(r"\b[a-z]+(?:-[a-z]+)*_[0-9A-Z]{26}\b")
# Headers that mean something to the API, and no credential.
_SENT: Final = ("accept", "content-type", "idempotency-key", "if-match", "if-none-match")
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


def journal_in(loaded: Any) -> list[dict[str, Any]] | None:
    """Return the entries of a journal as the lab answers with them, or None if this is no journal."""
    entries = items_of((members_of(loaded) or {}).get("entries"))
    return None if entries is None else [members for each in entries if (members := members_of(each)) is not None]


def scenario_of(entries: list[dict[str, Any]], name: str) -> Scenario:
    """Return the requests of a journal as a scenario.

    An id or ETag that an earlier answer gave is taken from the answer of the server that is compared; others are sent as they
    are. Refusal: Unusable, if the journal has only a part of a request.
    """
    writer = _Writer()
    requests = [each for each in entries if each.get("kind") == "request"]
    return Scenario(name=name, steps=tuple(writer.step(each) for each in requests))


class _Writer:
    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        # An ETag may be the number of any object's version, so it is looked for in headers alone.
        self._versions: dict[str, str] = {}

    def step(self, entry: dict[str, Any]) -> Step:
        """Return the step of a request. Later steps refer to what its answer gave first."""
        sent = members_of(entry.get("request")) or {}
        if sent.get("is_cut"):
            raise Unusable(f"It has only a part of request {entry['number']}, because the body was too long.")
        query = f"?{entry['query']}" if entry.get("query") else ""
        members: dict[str, Any] = {
            "name": f"{entry['number']}. {entry.get('operation') or entry['path']}",
            "method": entry["method"],
            "path": self._with_references(f"/api{entry['path']}{query}"),
            "headers": {
                name: self._with_references(value, self._versions)
                for name, value in (members_of(sent.get("headers")) or {}).items()
                if name in _SENT
            },
        }
        if sent.get("body"):
            members["content"] = self._with_references(sent["body"])
        return msgspec.convert(members | {"keep": self._kept(members_of(entry.get("answer")) or {})}, Step)

    def _with_references(self, text: str, others: Mapping[str, str] = _NONE) -> str:
        text = text.replace("${", f"${{{DOLLAR}}}{{")
        for value, name in (*self._ids.items(), *others.items()):
            text = text.replace(value, f"${{{name}}}")
        return text

    def _kept(self, answer: dict[str, Any]) -> dict[str, str]:
        """Return the places of the ids that an answer gives first, and of its ETag."""
        kept: dict[str, str] = {}
        with contextlib.suppress(msgspec.DecodeError):
            self._note(msgspec.json.decode(answer.get("body") or "null"), "", kept)
        if (etag := (members_of(answer.get("headers")) or {}).get("etag")) is not None:
            name = f"version{len(self._versions)}"
            kept[name] = "header:etag"
            self._versions[etag] = name
        return kept

    def _note(self, value: Any, pointer: str, kept: dict[str, str]) -> None:
        if (members := members_of(value)) is not None:
            for name, each in members.items():
                self._note(each, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}", kept)
        elif (items := items_of(value)) is not None:
            for index, each in enumerate(items):
                self._note(each, f"{pointer}/{index}", kept)
        elif isinstance(value, str) and _ID.fullmatch(value) and value not in self._ids:
            self._ids[value] = name = f"id{len(self._ids)}"
            kept[name] = pointer
