"""/herdbook/changes: the changes of a workspace in order, as pages and as a stream."""

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, Iterator
from typing import Final, NamedTuple

from herdbook.errors import FieldError, InvalidQuery, NoLongerKept, TooManyFollowers
from herdbook.feed import store
from herdbook.feed.model import NOW, ChangeList, ChangesQuery, position_of
from herdbook.feed.store import PAGE_BYTES, View
from herdbook.feed.telling import EncodedChange, encoded_change, view_of
from herdbook.http import event_stream
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Operation

# A credential is cached for 3 seconds, and a revoked one must stop working within 5.
_CHECK_EVERY_SECONDS: Final = 1.5
# A client that waits for rare changes must not scan at every commit of a busy workspace.
_BREATHER_SECONDS: Final = 0.25
# Bytes of JSON that a stream reads at a time, except for its last change. Less than a page, because a slow reader holds it.
_STREAM_BYTES: Final = 250_000
# Bytes of a stream that are sent at a time, unless one event is larger.
_PART_BYTES: Final = 64_000
# Changes that all followers together encode before other requests get a turn.
MAX_AT_ONCE: Final = 50


class _Reach(NamedTuple):
    """The limits of a read: changes, and bytes, which only the last change may exceed."""

    limit: int
    most_bytes: int


class _EncodedPage(NamedTuple):
    """Changes after a position, and how far the feed was scanned."""

    after: int
    changes: tuple[EncodedChange, ...]
    position: int
    head: int

    @property
    def has_more(self) -> bool:
        """Whether some changes were not scanned yet."""
        return self.position < self.head

    @property
    def tells(self) -> bool:
        """Whether it is worth sending on its own."""
        return bool(self.changes) or self.has_more

    @property
    def moves_on_silently(self) -> bool:
        """Whether the position has moved beyond the last change in it."""
        return self.position > (self.changes[-1].position if self.changes else self.after)


async def list_changes(call: Call, query: ChangesQuery) -> Answer:
    """List the changes after a position, wait for them, or stream them."""
    view = view_of(call.caller, call.services.object_types, query.types)
    is_stream = event_stream.is_wanted(call)
    name, after = "after", query.after
    if is_stream and (last := call.headers.get(b"last-event-id")):
        name, after = "Last-Event-ID", last.decode("latin-1")
    reach = _Reach(query.limit, _STREAM_BYTES if is_stream else PAGE_BYTES)
    page = await _first_page(call, view, name, after, reach)
    if is_stream:
        return event_stream.streamed(call, _events(call, view, page, reach))
    if query.wait and not page.tells:
        event_stream.require_room(call)
        until = asyncio.get_running_loop().time() + query.wait
        async with contextlib.aclosing(_following(call, view, page.position, reach, until)) as pages:
            async for page in pages:
                if page.tells:
                    break
    return _answer(page)


async def _first_page(call: Call, view: View, name: str, text: str, reach: _Reach) -> _EncodedPage:
    """Return the changes after a client's position. Refusals: InvalidQuery, NoLongerKept."""
    after = position_of(text)
    if text == NOW:
        after = await store.read_head(call.services.database.pool, call.caller.workspace_id)
    if after is None:
        message = f"`{name}` is not a position. Send the `id` of the last event unchanged."
        raise InvalidQuery([FieldError(name, "invalid_format", message)])
    page = await _read(call, view, after, reach)
    if after > page.head:
        message = (
            f"`{name}` is {after}, but the last change of this workspace is {page.head}: its data were set back to an earlier "
            f"state. Send `after={NOW}`, store the returned position, list all objects again, and follow from there."
        )
        raise InvalidQuery([FieldError(name, "invalid_range", message)])
    return page


async def _read(call: Call, view: View, after: int, reach: _Reach) -> _EncodedPage:
    """Return the changes after a position, sharing one read among equal requests. Refusal: NoLongerKept."""
    database, workspace_id = call.services.database, call.caller.workspace_id

    async def read() -> _EncodedPage:
        found = await store.page(database.pool, workspace_id, after, view, reach.limit, reach.most_bytes)
        if after < found.trimmed:
            message = (
                f"Changes up to {found.trimmed} are no longer kept, so some after {after} are missing. Send `after={NOW}`, "
                "store the returned position, list all objects again, and follow from there."
            )
            raise NoLongerKept(message, found.trimmed, found.head)
        changes: list[EncodedChange] = []
        for start in range(0, len(found.entries), MAX_AT_ONCE):
            async with call.services.notifier.turn_to_tell:
                changes += [encoded_change(entry, view) for entry in found.entries[start : start + MAX_AT_ONCE]]
                await asyncio.sleep(0)
        return _EncodedPage(after, tuple(changes), found.position, found.head)

    return await database.shared(("changes", workspace_id, after, view, reach), read)


async def _following(call: Call, view: View, after: int, reach: _Reach, until: float) -> AsyncGenerator[_EncodedPage]:
    """Yield the changes after a position as they come, and empty pages at intervals.

    It ends at the event-loop time `until`, and when the server stops. Refusals: NoLongerKept, if a client reads too slowly;
    Unauthenticated, once its credential is no longer valid.
    """
    loop, notifier = asyncio.get_running_loop(), call.services.notifier
    with notifier.subscribed(call.caller.workspace_id) as moved:
        while not notifier.is_closed:
            await call.check_caller()
            page = await _read(call, view, after, reach)
            after = page.position
            yield page
            if page.has_more:
                continue
            if page.moves_on_silently:
                await asyncio.sleep(_BREATHER_SECONDS)
            while not moved.is_set():
                if (left := until - loop.time()) <= 0:
                    return
                await _wait(moved, min(left, _CHECK_EVERY_SECONDS))
                await call.check_caller()
                yield _EncodedPage(after, (), after, after)
            moved.clear()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _events(call: Call, view: View, first: _EncodedPage, reach: _Reach) -> AsyncGenerator[bytes]:
    """Yield changes as events until the server stops. Refusals: those of `_following`."""
    # Send the position first: if the connection breaks before the first change, the client resumes from there.
    yield _position_event(first.after)
    for text in _as_events(first):
        yield text
    async with contextlib.aclosing(_following(call, view, first.position, reach, math.inf)) as pages:
        async for page in pages:
            for text in _as_events(page):
                yield text
            yield b""


def _as_events(page: _EncodedPage) -> Iterator[bytes]:
    """Yield a page as events in small groups, so that a slow client does not cause the whole page to be held twice."""
    part, size = list[bytes](), 0
    for each in page.changes:
        # JSON in the ledger has no line breaks.
        part.append(b"id: %d\nevent: %s\ndata: %s\n\n" % (each.position, each.type.encode(), each.body))
        size += len(part[-1])
        if size >= _PART_BYTES:
            yield b"".join(part)
            part, size = [], 0
    if page.moves_on_silently:
        part.append(_position_event(page.position))
    if part:
        yield b"".join(part)


def _position_event(position: int) -> bytes:
    """Return an event that says only where a client resumes that reconnects.

    The standard also allows an `id` without data, but some clients take it for an event and fail to read its data.
    """
    return b'id: %d\nevent: position\ndata: {"object":"position","type":"position","position":%d}\n\n' % (position, position)


def _answer(page: _EncodedPage) -> Answer:
    more = b"true" if page.has_more else b"false"
    data = b",".join(change.body for change in page.changes)
    return Answer(
        b'{"object":"list","data":[%s],"has_more":%s,"position":%d,"head":%d}' % (data, more, page.position, page.head)
    )


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/herdbook/changes",
        id="list-changes",
        summary="List changes",
        description="Lists the changes of the workspace after a position, including deletions, in the order in which they "
        "happened: none is missing, and none is repeated. To follow the feed, send `position` as `after`, with a `wait` if you "
        "like. With `Accept: text/event-stream`, changes come as server-sent events. Requires the scopes for reading the "
        "objects: of all `types`, or without `types` of any kind. Private engagements and their objects also require "
        "`engagements:private:read`; the `details` of engagements require `contacts:read`.",
        tag="subpackage_changes",
        scopes=(),
        handler=list_changes,
        query=ChangesQuery,
        answer=ChangeList,
        answer_description="Changes, and the position to continue from.",
        event_stream="Each change is an event: its `id` is the position, its `event` the type, its `data` the change as in a "
        "list. Events of the type `position` tell only the position: the first event is one, and others pass over changes that "
        "are left out. The stream lasts for as long as the client reads it.",
        refusals=(NoLongerKept, TooManyFollowers),
    ),
)
