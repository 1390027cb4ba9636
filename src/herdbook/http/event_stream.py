"""Streams of server-sent events (WHATWG HTML, section 9.2), and the limit of streams and waiting requests of a workspace."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Final

from herdbook.errors import Refusal, TooManyFollowers
from herdbook.http.call import Call
from herdbook.http.operation import Answer

# Maximum streams and waiting requests of a workspace in a process: each holds data that its client has not read yet.
MAX_FOLLOWERS: Final = 1000
_HEARTBEAT_SECONDS: Final = 15.0
_RETRY_MILLISECONDS: Final = 2000
_MEDIA_TYPE: Final = b"text/event-stream"
_HEADERS: Final = ((b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"))


def is_wanted(call: Call) -> bool:
    """Whether a client asks for a stream of events instead of an answer."""
    return _MEDIA_TYPE in call.headers.get(b"accept", b"")


def require_room(call: Call) -> None:
    """Refuse a follower of a workspace that has too many. Refusal: TooManyFollowers."""
    if (following := call.services.notifier.followers(call.caller.workspace_id)) >= MAX_FOLLOWERS:
        raise TooManyFollowers(following)


def streamed(call: Call, events: AsyncGenerator[bytes]) -> Answer:
    """Answer with events as they come, in parts. An empty part says that there is none for now. Refusal: TooManyFollowers.

    The stream ends where the events end, or are refused: a client that comes back is told the reason.
    """
    require_room(call)
    return Answer(b"", headers=_HEADERS, stream=_parts(call, events), media_type=_MEDIA_TYPE)


async def _parts(call: Call, events: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    loop = asyncio.get_running_loop()
    yield b"retry: %d\n" % _RETRY_MILLISECONDS
    said_at = loop.time()
    with contextlib.suppress(Refusal):
        async with contextlib.aclosing(events):
            async for part in events:
                if part:
                    await _have_turn(call)
                    yield part
                    said_at = loop.time()
                elif loop.time() - said_at >= _HEARTBEAT_SECONDS:
                    # Without an empty line behind it: some clients take that for the end of an event without data.
                    yield b":\n"
                    said_at = loop.time()


async def _have_turn(call: Call) -> None:
    """Wait until this stream may send a part. All streams together send one in each iteration of the event loop."""
    async with call.services.notifier.turn_to_tell:
        await asyncio.sleep(0)
