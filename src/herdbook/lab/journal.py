"""The journal of a workspace: its requests with their answers, its deliveries, and what its inbox got."""

import asyncio
import fnmatch
from collections import deque
from collections.abc import Callable, Iterator
from sys import getsizeof
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

# The most entries of a workspace, and bytes of a body. All journals of a lab together have a limit, too.
MOST_ENTRIES: Final = 2000
MOST_BODY: Final = 65_536
_MOST_OF_ALL: Final = 268_435_456
# Bytes that an entry takes beside its headers and bodies.
_ENTRY_BYTES: Final = 2000

Kind = Literal["request", "delivery", "inbox"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A request or an answer: its headers, in lower case, and its body as text, at most 64 KiB of it."""

    schema_name: ClassVar[str] = "lab_message"

    headers: dict[str, str]
    body: str
    is_cut: Annotated[bool, Meta(description="Whether the body was longer.")] = False


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A request of a client, an attempt to deliver an event, or a message in the inbox."""

    schema_name: ClassVar[str] = "lab_journal_entry"
    example: ClassVar[dict[str, Any]] = {
        "number": 1,
        "kind": "request",
        "at": "2026-01-01T00:00:00Z",
        "operation": "update-contact",
        "method": "PATCH",
        "path": "/v2/contacts/cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
        "request": {"headers": {"content-type": "application/json"}, "body": "{}", "is_cut": False},
        "answer": {"headers": {"etag": '"1842"'}, "body": "{}", "is_cut": False},
        "status": 200,
        "outcome": "answered",
        "seconds": 0.002,
    }

    number: Annotated[int, Meta(description="Its number in the journal, from 1.")]
    kind: Kind
    at: Annotated[str, Meta(description="When it began, by the clock of the workspace.")]
    began_seconds: Annotated[float, Meta(description="When it began, in seconds of the server, which no clock of a lab moves.")]
    operation: Annotated[str, Meta(description="The id of the operation, or empty if there is none.")] = ""
    method: str = ""
    path: Annotated[str, Meta(description="The path without `/api`, or the whole URL of a delivery.")] = ""
    query: str = ""
    api_key: Annotated[str, Meta(description="The id of the API key.")] = ""
    event_id: str = ""
    event_type: str = ""
    request: Message
    answer: Message | UnsetType = UNSET
    status: Annotated[int, Meta(description="The status of the answer, 0 without one.")] = 0
    outcome: Annotated[
        str,
        Meta(
            description="`answered`, `closed` (the client saw no whole answer), `gone` (it did not wait for one), or an error."
        ),
    ] = "answered"
    fault: Annotated[str, Meta(description="The id of the rule that made a fault.")] = ""
    fault_kind: Annotated[str, Meta(description="The kind of that fault, such as `close`.")] = ""
    seconds: Annotated[float, Meta(description="How long it took until the last part of the answer was sent.")] = 0.0

    @property
    def ended_seconds(self) -> float:
        """When the client could react to it, in seconds of the server."""
        # Nobody knows when a client had enough of waiting.
        return self.began_seconds + (0.0 if self.outcome == "gone" else self.seconds)


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions that an entry meets; those that are not named are met by all."""

    kind: Annotated[Kind, Meta(description="`request`, `delivery` or `inbox`.")] | UnsetType = UNSET
    operation: Annotated[str, Meta(description="The id of an operation.")] = ""
    method: str = ""
    path: Annotated[str, Meta(description="A path, in which `*` stands for anything.")] = ""
    status: Annotated[int, Meta(ge=0, le=599, description="The status of the answer; 0: any.")] = 0
    event_type: Annotated[str, Meta(description="The type of a delivered event.")] = ""
    fault: Annotated[str, Meta(description="The id of a rule, or the kind of a fault, such as `close`.")] = ""
    body: Annotated[str, Meta(description="A text that the body of the request has.")] = ""

    def is_met(self, entry: JournalEntry) -> bool:
        """Whether an entry meets the conditions."""
        path = self.path.removeprefix("/api")
        return (
            self.kind in (UNSET, entry.kind)
            and self.operation in ("", entry.operation)
            and self.method.upper() in ("", entry.method)
            and (not path or fnmatch.fnmatchcase(entry.path, path))
            and self.status in (0, entry.status)
            and self.event_type in ("", entry.event_type)
            and self.fault in ("", entry.fault, entry.fault_kind)
            and self.body in entry.request.body
        )


class JournalQuery(Conditions, frozen=True, kw_only=True):
    """Query parameters of the journal: conditions that an entry meets, and how many are waited for."""

    schema_name: ClassVar[str] = "lab_journal_query"
    rules: ClassVar[dict[str, Any]] = {}

    after: Annotated[int, Meta(ge=0, description="Only entries after this number.")] = 0
    limit: Annotated[int, Meta(ge=1, le=MOST_ENTRIES, description="How many entries are listed at most; all are counted.")] = (
        100
    )
    wait: Annotated[int, Meta(ge=0, le=30, description="Seconds to wait until there are `count` of them.")] = 0
    count: Annotated[int, Meta(ge=1, le=MOST_ENTRIES, description="How many are waited for.")] = 1


class JournalPage(msgspec.Struct, frozen=True, kw_only=True):
    """Entries of the journal, the oldest first."""

    schema_name: ClassVar[str] = "lab_journal"
    example: ClassVar[dict[str, Any]] = {"entries": [JournalEntry.example], "count": 1, "last": 1, "dropped": 0}

    entries: tuple[JournalEntry, ...]
    count: Annotated[int, Meta(description="How many entries meet the conditions.")]
    last: Annotated[int, Meta(description="The number of the last entry of the journal.")]
    dropped: Annotated[int, Meta(description="How many entries were dropped, the oldest, because the journal was full.")]


class Room:
    """The bytes of all journals of a lab."""

    def __init__(self, most_bytes: int = _MOST_OF_ALL) -> None:
        self.bytes = 0
        self._most_bytes = most_bytes

    @property
    def is_full(self) -> bool:
        """Whether journals must drop entries."""
        return self.bytes > self._most_bytes


class Journal:
    """The entries of one workspace."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._entries: deque[tuple[JournalEntry, int]] = deque()
        self._last = 0
        self._dropped = 0
        self._added = asyncio.Event()

    def add(self, make: Callable[[int], JournalEntry]) -> JournalEntry:
        """Add an entry, which is made with its number."""
        self._last += 1
        entry = make(self._last)
        size = (
            _ENTRY_BYTES
            + getsizeof(entry.path)
            + getsizeof(entry.query)
            + _size(entry.request)
            + (0 if entry.answer is UNSET else _size(entry.answer))
        )
        self._entries.append((entry, size))
        self._room.bytes += size
        while len(self._entries) > MOST_ENTRIES or (self._room.is_full and len(self._entries) > 1):
            self._dropped += 1
            self._room.bytes -= self._entries.popleft()[1]
        self._added.set()
        self._added = asyncio.Event()
        return entry

    def clear(self) -> None:
        """Begin anew."""
        self._room.bytes -= sum(size for _, size in self._entries)
        self._entries.clear()
        self._last = self._dropped = 0

    async def found(self, query: JournalQuery) -> JournalPage:
        """Return the entries that meet conditions, after a wait for as many as are asked for."""
        loop = asyncio.get_running_loop()
        until = loop.time() + query.wait
        while True:
            met = list(self._met(query))
            left = until - loop.time()
            if len(met) >= query.count or left <= 0:
                return JournalPage(entries=tuple(met[: query.limit]), count=len(met), last=self._last, dropped=self._dropped)
            try:
                async with asyncio.timeout(left):
                    await self._added.wait()
            except TimeoutError:
                continue

    def _met(self, query: JournalQuery) -> Iterator[JournalEntry]:
        return (entry for entry in self.entries(query.after) if query.is_met(entry))

    def entries(self, after: int = 0) -> Iterator[JournalEntry]:
        """Yield the entries after a number, in the order in which they ended."""
        return (entry for entry, _ in self._entries if entry.number > after)

    @property
    def last(self) -> int:
        """The number of the last entry."""
        return self._last

    @property
    def dropped(self) -> int:
        """How many entries were dropped."""
        return self._dropped


def _size(kept: Message) -> int:
    return getsizeof(kept.body) + sum(len(name) + len(value) for name, value in kept.headers.items())


def message(headers: list[tuple[bytes, bytes]], body: bytes, *, is_cut: bool = False) -> Message:
    """Return a request or an answer as the journal keeps it."""
    shown: dict[str, str] = {}
    for name, value in headers:
        text = name.decode("latin-1").lower()
        shown[text] = ", ".join(filter(None, (shown.get(text), value.decode("latin-1"))))
    return Message(headers=shown, body=body[:MOST_BODY].decode("utf-8", "replace"), is_cut=is_cut or len(body) > MOST_BODY)
