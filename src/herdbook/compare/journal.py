"""A scenario made of the journal of a lab: the requests that a client has made there."""

import contextlib
import itertools
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from herdbook.compare.model import DOLLAR, UNIQUE, Scenario, Step, Unusable, items_of, members_of

_ID: Final = r"\b[a-z]+(?:-[a-z]+)*_[0-9A-Z]{26}\b"
_COLON: Final = "(?::|%3[Aa])"
_TIME: Final = rf"\b\d{{4}}-\d\d-\d\dT\d\d{_COLON}\d\d{_COLON}\d\d(?:\.\d+)?Z"
_CURSOR: Final = r"(?<=[?&]cursor=)[^&]+"
_IDS: Final = re.compile(_ID)
_IN_PATHS: Final = re.compile(f"{_ID}|{_TIME}|{_CURSOR}")
_IN_HEADERS: Final = re.compile(rf'{_ID}|(?:W/)?"\d+"')
_GIVEN: Final = re.compile(f"{_ID}|{_TIME}")
_OF_CLIENTS: Final = ("/v1/oauth/token", "/herdbook/oauth/revoke", "/herdbook/oauth/introspect")
# Headers that mean something to the API, and no credential.
_SENT: Final = ("accept", "content-type", "idempotency-key", "if-match", "if-none-match")


def journal_in(loaded: Any) -> list[dict[str, Any]] | None:
    """Return the entries of a journal as the lab answers with them, or None if this is no journal.

    Refusal: Unusable, if it has only a part of the entries.
    """
    journal = members_of(loaded) or {}
    entries = items_of(journal.get("entries"))
    if entries is None:
        return None
    if (count := journal.get("count", 0)) > len(entries):
        raise Unusable(f"It has {len(entries)} of {count} entries. Read the journal with `limit=2000`.")
    if dropped := journal.get("dropped", 0):
        raise Unusable(f"Its first {dropped} entries are gone, because the journal was full. Record fewer requests.")
    return [members for each in entries if (members := members_of(each)) is not None]


def scenario_of(entries: list[dict[str, Any]], name: str) -> Scenario:
    """Return the requests of a journal as a scenario, without those for tokens, in whose place there are keys.

    An id, cursor, ETag or time that an earlier answer gave is taken from the answer of the server that is compared; others are
    sent as they are. A key for idempotency gets the word of the run. Refusal: Unusable, if the journal has only a part of a
    request.
    """
    writer = _Writer()
    steps = [writer.step(each) for each in entries if each.get("kind") == "request" and each.get("path") not in _OF_CLIENTS]
    return Scenario(name=name, steps=tuple(msgspec.convert(each | {"keep": writer.used(each["keep"])}, Step) for each in steps))


class _Writer:
    def __init__(self) -> None:
        # The texts that answers gave, with the names by which later requests refer to them.
        self._names: dict[str, str] = {}
        self._used: set[str] = set()
        self._numbers = itertools.count(1)

    def step(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Return the members of a request's step. Later steps refer to what its answer gave first."""
        sent = members_of(entry.get("request")) or {}
        if sent.get("is_cut"):
            raise Unusable(f"It has only a part of request {entry['number']}, because the body was too long.")
        query = f"?{entry['query']}" if entry.get("query") else ""
        headers = {
            name: self._with_references(value, _IN_HEADERS)
            for name, value in (members_of(sent.get("headers")) or {}).items()
            if name in _SENT
        }
        if "idempotency-key" in headers:
            # A server would otherwise repeat its answer to the run before, about objects that are gone.
            headers["idempotency-key"] += f"-${{{UNIQUE}}}"
        members: dict[str, Any] = {
            "name": f"{entry['number']}. {entry.get('operation') or entry['path']}",
            "method": entry["method"],
            "path": self._with_references(f"/api{entry['path']}{query}", _IN_PATHS),
            "headers": headers,
        }
        if sent.get("body"):
            members["content"] = self._with_references(sent["body"], _IDS)
        return members | {"keep": self._kept(members_of(entry.get("answer")) or {})}

    def used(self, kept: Mapping[str, str]) -> dict[str, str]:
        """Return the places of the texts that a later request refers to."""
        return {name: place for name, place in kept.items() if name in self._used}

    def _with_references(self, text: str, tokens: re.Pattern[str]) -> str:
        def reference(found: re.Match[str]) -> str:
            if (name := self._names.get(unquote(found[0]))) is None:
                return found[0]
            self._used.add(name)
            return f"${{{name}}}"

        return tokens.sub(reference, text.replace("${", f"${{{DOLLAR}}}{{"))

    def _kept(self, answer: dict[str, Any]) -> dict[str, str]:
        """Return the places of the texts that an answer gives first."""
        kept: dict[str, str] = {}
        with contextlib.suppress(msgspec.DecodeError):
            self._note(msgspec.json.decode(answer.get("body") or "null"), "", kept)
        if (etag := (members_of(answer.get("headers")) or {}).get("etag")) is not None:
            # The number of a version may be that of another object, too: the latest is meant.
            self._names.pop(etag, None)
            self._name(etag, "header:etag", kept)
        return kept

    def _note(self, value: Any, pointer: str, kept: dict[str, str]) -> None:
        if (members := members_of(value)) is not None:
            for name, each in members.items():
                self._note(each, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}", kept)
        elif (items := items_of(value)) is not None:
            for index, each in enumerate(items):
                self._note(each, f"{pointer}/{index}", kept)
        elif isinstance(value, str) and (_GIVEN.fullmatch(value) or pointer.endswith("/next_cursor")):
            self._name(value, pointer, kept)

    def _name(self, value: str, place: str, kept: dict[str, str]) -> None:
        if value not in self._names:
            self._names[value] = name = f"given{next(self._numbers)}"
            kept[name] = place
