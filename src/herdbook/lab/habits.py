"""Habits of clients that cost them in production, as the journal shows them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, Meta

from herdbook.fields import parsed_time
from herdbook.lab.journal import JournalEntry
from herdbook.shared_schemas import shown_time

HabitName = Literal[
    "retries_401", "ignores_retry_after", "writes_again_without_key", "sync_without_overlap", "answers_before_signature"
]
INBOX_PATH: Final = "/herdbook/lab/inboxes/"
_REMEDIES: Final[Mapping[HabitName, str]] = {
    "retries_401": "Renew the credential before you try again, or stop and tell somebody. It does not become valid by itself.",
    "ignores_retry_after": "Wait at least as many seconds as `Retry-After` says.",
    "writes_again_without_key": "Send the same `Idempotency-Key` with each attempt at one write, or the `ETag` that you have "
    "read as `If-Match`.",
    "sync_without_overlap": "Ask for `filter[updated_at][gte]` with the newest `updated_at` that you have, and drop the "
    "objects that you already have by their `id`.",
    "answers_before_signature": "Verify `webhook-signature`, and that `webhook-timestamp` is at most five minutes old, before "
    "you answer. Answer with 400 if it is not so.",
}
_SPOILT: Final = ("truncate", "not_json")
_FORGED: Final = {
    "webhook_wrong_signature": "its signature was made with another secret",
    "webhook_wrong_time": "it was signed an hour before",
}
_UPDATED_AT: Final = "filter[updated_at]"
# A client that counts on from the newest time which it has seen adds at most this to it.
_COUNTED_ON: Final = timedelta(seconds=1)


class Habit(msgspec.Struct, frozen=True, kw_only=True):
    """A habit, once for each time that it was seen."""

    schema_name: ClassVar[str] = "lab_habit"
    example: ClassVar[dict[str, Any]] = {
        "habit": "ignores_retry_after",
        "numbers": [3, 4],
        "message": "Request 3 (GET /v2/contacts) was answered with 429 and `Retry-After: 2`, and request 4 came after 0.1 "
        "seconds.",
        "remedy": _REMEDIES["ignores_retry_after"],
    }

    habit: HabitName
    numbers: Annotated[tuple[int, ...], Meta(description="The numbers of its entries in the journal.")]
    message: Annotated[str, Meta(description="What was seen.")]
    remedy: Annotated[str, Meta(description="What to do instead.")]


def habits_of(entries: Sequence[JournalEntry], writes: Collection[str]) -> list[Habit]:
    """Return the habits that entries show, which are in the order in which they began.

    `writes` are the ids of operations that accept an `Idempotency-Key`.
    """
    requests = [entry for entry in entries if entry.kind == "request"]
    found: list[Habit] = []
    for first, again in _repeats(requests):
        found += _of_repeat(first, again, writes)
    found += _of_syncs(requests)
    found += _of_receivers(entries)
    return found


def _habit(name: HabitName, message: str, *entries: JournalEntry) -> Habit:
    return Habit(habit=name, numbers=tuple(entry.number for entry in entries), message=message, remedy=_REMEDIES[name])


def _called(entry: JournalEntry) -> str:
    return f"{entry.number} ({entry.method} {entry.path})"


def _credential(entry: JournalEntry) -> tuple[str | None, ...]:
    headers = entry.request.headers
    return headers.get("authorization"), headers.get("x-api-key")


def _repeats(requests: Sequence[JournalEntry]) -> Iterator[tuple[JournalEntry, JournalEntry]]:
    """Yield each request that was made again, by the same credential, after its answer was sent, and the next such one."""
    same: dict[tuple[object, ...], list[JournalEntry]] = {}
    for entry in requests:
        key = (_credential(entry), entry.method, entry.path, entry.query, entry.request.body)
        same.setdefault(key, []).append(entry)
    for group in same.values():
        for place, first in enumerate(group):
            again = next((each for each in group[place + 1 :] if each.began_seconds >= first.ended_seconds), None)
            if again is not None:
                yield first, again


def _of_repeat(first: JournalEntry, again: JournalEntry, writes: Collection[str]) -> Iterator[Habit]:
    if first.status == 401:
        message = f"Request {_called(first)} was refused with 401, and request {again.number} sent the same credential again."
        yield _habit("retries_401", message, first, again)
    waits, waited = _retry_after(first), _seconds_between(first, again)
    if waits is not None and waited < waits:
        message = (
            f"Request {_called(first)} was answered with {first.status} and `Retry-After: {waits}`, and request {again.number} "
            f"came after {waited:.1f} seconds."
        )
        yield _habit("ignores_retry_after", message, first, again)
    # A repeated DELETE finds nothing to delete.
    is_write = first.operation in writes and first.method != "DELETE"
    if is_write and _is_lost(first) and not _is_safe(first, again):
        how = "with another `Idempotency-Key`" if "idempotency-key" in again.request.headers else "without `Idempotency-Key`"
        message = f"The answer to request {_called(first)} was lost, and request {again.number} sent the same body again {how}."
        yield _habit("writes_again_without_key", message, first, again)


def _retry_after(entry: JournalEntry) -> int | None:
    """Return the seconds of `Retry-After` that the client had to wait for."""
    text = "" if entry.answer is UNSET else entry.answer.headers.get("retry-after", "")
    return int(text) if entry.status in (429, 503) and text.isdecimal() else None


def _seconds_between(first: JournalEntry, again: JournalEntry) -> float:
    """Return the seconds from an answer to the next request.

    Both clocks count, because a client may have slept while the clock of its workspace stood still.
    """
    by_clock = (_time(again.at) - _time(first.at)).total_seconds()
    return max(by_clock, again.began_seconds - first.ended_seconds)


def _is_lost(entry: JournalEntry) -> bool:
    return entry.outcome != "answered" or entry.fault_kind in _SPOILT


def _is_safe(first: JournalEntry, again: JournalEntry) -> bool:
    """Whether a write that was perhaps done cannot be done twice by this repetition."""
    key = again.request.headers.get("idempotency-key")
    return "if-match" in again.request.headers or (key is not None and key == first.request.headers.get("idempotency-key"))


def _time(text: str) -> datetime:
    found = parsed_time(text)
    assert found is not None, "the journal has times as the API shows them"
    return found


class _Sync:
    """The pages of one reading of a list, from the first on."""

    def __init__(self, first: JournalEntry, *, has_end: bool) -> None:
        self.first = first
        self.has_end = has_end
        self.newest: datetime | None = None
        self.newest_page = first
        # A page that the journal has cut may have a newer object.
        self.is_known = True

    def go_on_from(self, earlier: "_Sync") -> None:
        """Know what an earlier sync knew."""
        self.newest, self.newest_page, self.is_known = earlier.newest, earlier.newest_page, earlier.is_known

    def take(self, entry: JournalEntry, page: "_Page") -> None:
        """Take what a page has."""
        for item in page.data:
            at = parsed_time(item.updated_at)
            if at is not None and (self.newest is None or at > self.newest):
                self.newest, self.newest_page = at, entry


class _Item(msgspec.Struct):
    updated_at: str = ""


class _Page(msgspec.Struct):
    data: list[_Item] = []
    next_cursor: str | None = None


class _Bound(NamedTuple):
    """The lower bound of a list: `gt` or `gte`, and a time."""

    name: str
    at: datetime


def _of_syncs(requests: Sequence[JournalEntry]) -> Iterator[Habit]:
    """Yield the syncs that begin after the newest object that the sync before has got."""
    last: dict[tuple[object, ...], _Sync] = {}
    of_cursor: dict[tuple[object, ...], _Sync] = {}
    for entry in requests:
        if entry.method != "GET" or entry.status != 200 or entry.answer is UNSET:
            continue
        parameters = dict(parse_qsl(entry.query, keep_blank_values=True))
        who = _credential(entry), entry.path
        sync = of_cursor.get((*who, parameters.get("cursor")))
        if sync is None:
            others = frozenset(each for each in parameters.items() if _narrows(each[0]))
            sync = _Sync(entry, has_end=any(f"{_UPDATED_AT}[{name}]" in parameters for name in ("lt", "lte")))
            earlier = last.get((*who, others))
            if earlier is not None:
                yield from _without_overlap(earlier, entry, _bound(parameters))
                sync.go_on_from(earlier)
            last[*who, others] = sync
        page = None if _is_lost(entry) or entry.answer.is_cut else _page(entry.answer.body)
        if page is not None:
            sync.take(entry, page)
            if page.next_cursor is not None:
                of_cursor[*who, page.next_cursor] = sync
        sync.is_known &= not entry.answer.is_cut


def _narrows(parameter: str) -> bool:
    """Whether lists with other values of a parameter have other objects. A time does not: syncs differ by it."""
    return parameter == "search" or (parameter.startswith("filter[") and not parameter.startswith(_UPDATED_AT))


def _page(body: str) -> _Page | None:
    try:
        return msgspec.json.decode(body, type=_Page)
    except (msgspec.DecodeError, RecursionError):
        return None


def _bound(parameters: Mapping[str, str]) -> _Bound | None:
    for name in ("gt", "gte"):
        if (at := parsed_time(parameters.get(f"{_UPDATED_AT}[{name}]", ""))) is not None:
            return _Bound(name, at)
    return None


def _without_overlap(earlier: _Sync, entry: JournalEntry, bound: _Bound | None) -> Iterator[Habit]:
    newest = earlier.newest
    if bound is None or newest is None or earlier.has_end or not earlier.is_known:
        return
    is_behind = bound.at > newest or (bound.at == newest and bound.name == "gt")
    # A good client, too, begins some minutes before the start of the last sync, though nothing has changed for longer.
    overlaps = newest + _COUNTED_ON < bound.at < _time(earlier.first.at)
    if is_behind and not overlaps:
        message = (
            f"The newest object in page {_called(earlier.newest_page)} was updated at {shown_time(newest)}, and the next sync "
            f"begins after it: request {entry.number} asks for `{_UPDATED_AT}[{bound.name}]` {shown_time(bound.at)}. "
            "Objects of the same time, or of one in between, are missed."
        )
        yield _habit("sync_without_overlap", message, earlier.newest_page, entry)


def _of_receivers(entries: Sequence[JournalEntry]) -> Iterator[Habit]:
    for entry in entries:
        # The inbox is the lab's own, and takes everything.
        is_receiver = entry.kind == "delivery" and INBOX_PATH not in entry.path
        if is_receiver and 200 <= entry.status < 300 and (why := _FORGED.get(entry.fault_kind)):
            message = f"The receiver answered delivery {entry.number} ({entry.event_type}) with {entry.status}, although {why}."
            yield _habit("answers_before_signature", message, entry)
