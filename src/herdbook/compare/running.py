"""Running a scenario against a server, and removing what it made."""

import itertools
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import httpx
import msgspec
from msgspec import UNSET

from herdbook.compare.model import (
    DOLLAR,
    REFERENCE,
    UNIQUE,
    Answer,
    Recording,
    Scenario,
    Step,
    answers_of,
    items_of,
    members_of,
    word_of,
)

# The headers that the contract names. Others say nothing of it.
_HEADERS: Final = (
    *("allow", "content-type", "etag", "last-modified", "location", "retry-after", "www-authenticate"),
    *("x-api-version", "idempotency-replayed"),
)
_UNKNOWN_KEY: Final = "sk-apik_00000000000000000000000000.no-server-knows-this-key"
# The operation that deletes an object of each type, which not every server has.
_REMOVALS: Final = {
    "contact": "/api/v2/contacts/{}",
    "company": "/api/v2/companies/{}",
    "tag": "/api/v2/tags/{}",
    "transcript_comment": "/api/v2/transcript_comments/{}",
    "engagement": "/api/herdbook/engagements/{}",
    "note": "/api/herdbook/notes/{}",
    "view": "/api/herdbook/views/{}",
    "webhook_endpoint": "/api/herdbook/webhooks/{}",
    "invitation": "/api/herdbook/invitations/{}",
}
_CREATES: Final = re.compile(r"/api/v2/(?!engagements)\w+").fullmatch
_SEARCHED: Final = re.compile(r"/api/(?:v2|herdbook)/(?:contacts|companies|tags)(?:/bulk)?").fullmatch


# The lists in which an object is found by a word of its texts, and whether they have a search.
_SEARCHES: Final = (("/api/v2/contacts", True), ("/api/v2/companies", True), ("/api/v2/tags", False))
_MAX_PAGES: Final = 100


class Interrupted(Exception):
    """A comparison was interrupted, and the objects that it had made were removed."""


class BrokenOff(Exception):
    """A side does not go on with a scenario, so that nothing can be said. The text names the side, the request, and why."""


class Side(Protocol):
    """One of two servers that are compared, or a recording of one."""

    base: str
    unique: str

    def answers(self, scenario: Scenario) -> Generator[Answer | None]:
        """Yield the answer to each step; None where a step refers to what no answer gave."""
        ...


class RecordedSide:
    """A recording in place of a server."""

    def __init__(self, name: str, recording: Recording) -> None:
        self.base = recording.base
        self.unique = recording.unique
        self._name = name
        self._recording = recording

    def answers(self, scenario: Scenario) -> Generator[Answer | None]:
        """Yield the recorded answers; None where there is none. Refusal: BrokenOff, if the key was refused."""
        found = answers_of(self._recording, scenario)
        for step in scenario.steps:
            answer = found.get(step.name)
            _require_let_in(self._name, scenario, step, answer)
            yield answer


class ServerSide:
    """A running server.

    After a scenario, `left_behind` are the objects that it did not let go, and `perhaps_left` are the requests that may have
    made one of which nobody knows, because their answers were lost.
    Once `is_interrupted`, it makes no further request but those that remove what it made.
    """

    def __init__(self, name: str, client: httpx.Client, key: str, unique: str, is_interrupted: Callable[[], bool]) -> None:
        self.base = str(client.base_url).rstrip("/")
        self.unique = unique
        self.name = name
        self.left_behind: list[str] = []
        self.perhaps_left: list[str] = []
        self._client = client
        self._key = key
        self._is_interrupted = is_interrupted

    def answers(self, scenario: Scenario) -> Generator[Answer | None]:
        """Make the requests of a scenario, one for each answer that is asked for; then remove what they made.

        Refusals: Interrupted; BrokenOff, if the server gives no answer, or refuses the key.
        """
        kept = {UNIQUE: word_of(self.unique, scenario), DOLLAR: "$"}
        made: dict[str, str] = {}
        lost: list[Step] = []
        try:
            for step in scenario.steps:
                if self._is_interrupted():
                    raise Interrupted
                request = self._request(step, kept)
                answer = None
                if request is not None:
                    if step.method == "POST":
                        lost.append(step)
                    answer = self._sent(scenario, step, request)
                    kept |= _kept(step, answer)
                    if step.method == "POST":
                        made |= _made(step, answer)
                        if _is_told(answer):
                            lost.remove(step)
                    _require_let_in(self.name, scenario, step, answer)
                yield answer
        finally:
            self._remove(made | (self._found(kept[UNIQUE], lost) if lost else {}))

    def _sent(self, scenario: Scenario, step: Step, request: httpx.Request) -> Answer:
        """Return the answer to a request. Refusal: BrokenOff."""
        try:
            return _answer(self._client.send(request))
        except httpx.ConnectError as error:
            raise BrokenOff(
                f"The {self.name} server at {self.base} cannot be reached: {error}. Start it, or correct its address."
            ) from None
        except httpx.TransportError as error:
            said = str(error) or type(error).__name__
            raise BrokenOff(
                f"The {self.name} server gave no answer to {_place(scenario, step)}: {said}. Nothing more was compared."
            ) from None

    def _found(self, word: str, lost: Sequence[Step]) -> dict[str, str]:
        """Return the objects that have the word of the run, with their types: requests without an answer may have made them.

        Those that may have made an object without the word, or one that cannot be searched, are noted.
        """
        found: dict[str, str] = {}
        is_complete = True
        for path, has_search in _SEARCHES:
            try:
                found |= self._with_word(path, {"search": word} if has_search else {}, word)
            except (httpx.TransportError, msgspec.DecodeError, LookupError):
                is_complete = False
        for step in lost:
            has_word = f"${{{UNIQUE}}}" in msgspec.json.encode(step).decode()
            if not (is_complete and has_word and _SEARCHED(step.path)):
                self.perhaps_left.append(f"{step.method} {step.path}")
        return found

    def _with_word(self, path: str, search: dict[str, str], word: str) -> dict[str, str]:
        """Return the objects of a list that have a word. Refusal: LookupError, if the list does not tell all of them."""
        found: dict[str, str] = {}
        parameters = {"limit": "100"} | search
        for _ in range(_MAX_PAGES):
            answer = self._client.get(path, params=parameters, headers={"Authorization": self._key})
            page = msgspec.json.decode(answer.content)
            found |= {each["id"]: each["object"] for each in page["data"] if word in msgspec.json.encode(each).decode()}
            if (cursor := page.get("next_cursor")) is None:
                return found
            parameters["cursor"] = cursor
        raise LookupError(path)

    def _request(self, step: Step, kept: Mapping[str, str]) -> httpx.Request | None:
        """Return the request of a step, or None if it refers to what no answer gave."""
        try:
            path = _filled(step.path, kept)
            headers = {name: _filled(value, kept) for name, value in step.headers.items()}
            content = None
            if step.body is not UNSET:
                content = msgspec.json.encode(_filled_in(step.body, kept))
                headers = {"Content-Type": "application/json"} | headers
            elif step.content is not UNSET:
                content = _filled(step.content, kept).encode()
        except KeyError:
            return None
        if step.credential != "none":
            headers["Authorization"] = self._key if step.credential == "key" else _UNKNOWN_KEY
        return self._client.build_request(step.method, path, headers=headers, content=content)

    def _remove(self, made: Mapping[str, str]) -> None:
        """Delete objects, the latest first. One that is gone already is as good as deleted."""
        for object_id, object_type in reversed([*made.items()]):
            if object_type not in _REMOVALS or not self._is_removed(_REMOVALS[object_type].format(object_id)):
                self.left_behind.append(object_id)

    def _is_removed(self, path: str) -> bool:
        headers = {"Authorization": self._key}
        try:
            removed = self._client.delete(path, headers=headers)
            return removed.is_success or self._client.get(path, headers=headers).status_code == 404
        except httpx.TransportError:
            return False


def recorded(side: Side, scenarios: Sequence[Scenario]) -> Recording:
    """Return the answers of a server to scenarios, to be compared later. Refusals: Interrupted, BrokenOff."""
    answers: dict[str, dict[str, Answer]] = {}
    for scenario in scenarios:
        with closing(side.answers(scenario)) as found:
            steps = zip(scenario.steps, found, strict=True)
            answers[scenario.name] = {step.name: answer for step, answer in steps if answer is not None}
    return Recording(base=side.base, unique=side.unique, answers=answers)


def together(scenario: Scenario, left: Side, right: Side) -> Iterator[tuple[Answer | None, Answer | None]]:
    """Yield the answers of both sides to each step, so that both make a request before any makes the next.

    Refusals: Interrupted, BrokenOff.
    """
    with closing(left.answers(scenario)) as lefts, closing(right.answers(scenario)) as rights:
        yield from itertools.zip_longest(lefts, rights)


def _require_let_in(name: str, scenario: Scenario, step: Step, answer: Answer | None) -> None:
    """Require that a side has let the key in: two servers that refuse it answer alike, which says nothing.

    Refusal: BrokenOff.
    """
    if answer is None or step.credential != "key" or answer.status not in (401, 403):
        return
    remedy = "Use a key of this server that is valid" if answer.status == 401 else "Use a key with all scopes"
    raise BrokenOff(f"The {name} key was refused: {_place(scenario, step)} was answered with {answer.status}. {remedy}.")


def _place(scenario: Scenario, step: Step) -> str:
    return f"{step.method} {step.path} (in {scenario.name}: {step.name})"


def _is_told(answer: Answer) -> bool:
    """Whether an answer tells what its request has made."""
    return answer.status < 500 and (answer.status >= 300 or members_of(answer.body) is not None)


def _filled(text: str, kept: Mapping[str, str]) -> str:
    return REFERENCE.sub(lambda found: kept[found[1]], text)


def _filled_in(value: Any, kept: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _filled(value, kept)
    if (members := members_of(value)) is not None:
        return {name: _filled_in(each, kept) for name, each in members.items()}
    if (items := items_of(value)) is not None:
        return [_filled_in(each, kept) for each in items]
    return value


def _answer(response: httpx.Response) -> Answer:
    headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
    if not response.content:
        return Answer(status=response.status_code, headers=headers)
    try:
        body = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        body = response.text
    return Answer(status=response.status_code, headers=headers, body=body)


def _kept(step: Step, answer: Answer) -> dict[str, str]:
    """Return the texts that later steps refer to; those that the answer lacks are left out."""
    found: dict[str, str] = {}
    for name, place in step.keep.items():
        header = place.removeprefix("header:")
        value = answer.headers.get(header.lower()) if header != place else _at(answer.body, place)
        if isinstance(value, str):
            found[name] = value
    return found


def _at(value: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if (members := members_of(value)) is not None:
            value = members.get(name)
        elif (items := items_of(value)) is not None and name.isdecimal() and int(name) < len(items):
            value = items[int(name)]
        else:
            return None
    return value


def _made(step: Step, answer: Answer) -> dict[str, str]:
    """Return the objects that a request has made: their ids, with their types.

    A server may answer 200 to a creation, but that of an engagement answers so if there is one already.
    """
    members = members_of(answer.body) or {}
    if members.get("object") == "bulk_result":
        results = [members_of(each) or {} for each in items_of(members.get("results")) or ()]
        objects = [members_of(value) for each in results if each.get("result") == "created" for value in each.values()]
    else:
        is_new = answer.status == 201 or (answer.status == 200 and _CREATES(step.path) is not None)
        objects = [members] if is_new else []
    return {
        each["id"]: each["object"]
        for each in objects
        if each is not None and isinstance(each.get("id"), str) and isinstance(each.get("object"), str)
    }


def is_address(text: str) -> bool:
    """Whether a text is the address of a server, and not the name of a file."""
    return urlsplit(text).scheme in ("http", "https")
