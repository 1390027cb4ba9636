"""Fetching recordings from URLs that callers send.

A caller who chooses a recording also chooses its server. Every resource of a fetch is therefore limited: each workspace has few
turns, and a fetch has an open file only during its turn; the sender must keep up a rate; bytes are written as they come, and
are counted before they are buffered.
"""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, ParamSpec, TypeVar
from uuid import UUID

import httpx

from herdbook.errors import FieldError, Invalid, Unavailable
from herdbook.outgoing import GuardedTransport, TargetRefused, Targets
from herdbook.replacement import sync
from herdbook.turns import Turns

_CHUNK: Final = 1 << 18
_MAX_REDIRECTS: Final = 5
# A fetch may take the first number of seconds, one more for each `_MIN_BYTES_PER_SECOND` received, and at most the last number.
_FIRST_SECONDS: Final = 20
_MIN_BYTES_PER_SECOND: Final = 1 << 16
_MAX_SECONDS: Final = 300
_MAX_AT_ONCE: Final = 32
_MAX_AT_ONCE_EACH: Final = 4
_MAX_WAITING: Final = 256
_MAX_WAITING_EACH: Final = 32
_MAX_WAITING_SECONDS: Final = 60
_MAX_DURATIONS_AT_ONCE: Final = 2
_MAX_DURATION_READING_SECONDS: Final = 10
# The syntax of media types (RFC 6838, section 4.2). Check it, because the type from a stranger's server becomes our header.
_RECORDING: Final = re.compile(r"(audio|video)/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")

_log: Final = logging.getLogger("herdbook.media")
P = ParamSpec("P")
T = TypeVar("T")


class Fetched(NamedTuple):
    """A fetched recording: its type, its size in bytes, and its duration, if its format states one.

    `file` is open and locked. The lock keeps a sweep from removing the recording as unneeded.
    """

    content_type: str
    size: int
    duration_seconds: float | None
    file: BinaryIO


class Fetcher:
    """Fetches recordings."""

    def __init__(self, targets: Targets, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._turns = Turns(
            "recordings",
            at_once=_MAX_AT_ONCE,
            at_once_each=_MAX_AT_ONCE_EACH,
            waiting=_MAX_WAITING,
            waiting_each=_MAX_WAITING_EACH,
            seconds=_MAX_WAITING_SECONDS,
        )
        self._durations = asyncio.Semaphore(_MAX_DURATIONS_AT_ONCE)
        self._client = httpx.AsyncClient(
            transport=GuardedTransport(targets),
            timeout=_FIRST_SECONDS,
            # Keep no cookies: the next fetch may be for another workspace.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            # Accept no content coding: a few coded bytes may expand to gigabytes, and recordings hardly compress.
            headers={"User-Agent": "herdbook", "Accept": "audio/*, video/*", "Accept-Encoding": "identity"},
        )

    async def fetch(self, url: str, workspace_id: UUID, path: Path) -> Fetched:
        """Fetch a complete recording to a path. Refusals: Invalid, Busy; Unavailable if the disk fails."""
        async with self._turns.turn(workspace_id):
            part = path.with_suffix(".part")
            file = await _on_disk(part, _created, part)
            try:
                content_type, size = await self._downloaded(url, workspace_id, part, file)
                await _on_disk(part, _synced, file)
                duration = await self._duration(part)
                await _on_disk(path, _put, part, path)
            except BaseException:
                await asyncio.to_thread(_discard, file, part, path)
                raise
            return Fetched(content_type, size, duration, file)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _downloaded(self, url: str, workspace_id: UUID, part: Path, file: BinaryIO) -> tuple[str, int]:
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(began + _FIRST_SECONDS) as limit:
                response = await self._opened(url, workspace_id)
                try:
                    content_type = _type_of(response)
                    self._require_small(int(response.headers.get("content-length", 0)))
                    size, held = 0, bytearray()
                    async for piece in response.aiter_raw():
                        size += len(piece)
                        self._require_small(size)
                        limit.reschedule(began + min(_FIRST_SECONDS + size / _MIN_BYTES_PER_SECOND, _MAX_SECONDS))
                        held += piece
                        if len(held) >= _CHUNK:
                            await _on_disk(part, file.write, bytes(held))
                            held.clear()
                    await _on_disk(part, file.write, bytes(held))
                finally:
                    await response.aclose()
        except TimeoutError:
            raise _refusal("unreachable", _TOO_SLOW) from None
        except TargetRefused as error:
            raise _refusal("forbidden_target", str(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # UnicodeError: the host is no valid name
            raise _refusal("unreachable", str(error) or type(error).__name__) from None
        if not size:
            raise _refusal("unreachable", "the answer was empty")
        return content_type, size

    async def _opened(self, url: str, workspace_id: UUID) -> httpx.Response:
        """Return the response after all redirects; only its head has been read."""
        request = self._client.build_request("GET", url, extensions={"workspace_id": workspace_id})
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self._client.send(request, stream=True)
            if response.next_request is None:
                return response
            await response.aclose()
            request = response.next_request
        raise _refusal("unreachable", f"it is redirected more than {_MAX_REDIRECTS} times")

    def _require_small(self, size: int) -> None:
        if size > self._most_bytes:
            raise _refusal("too_large", f"it has more than {self._most_bytes} bytes")

    async def _duration(self, path: Path) -> float | None:
        async with self._durations:
            return await asyncio.to_thread(_duration_in, path)


_TOO_SLOW: Final = (
    f"it came too slowly: a recording may take {_FIRST_SECONDS} s, and one more for each {_MIN_BYTES_PER_SECOND} bytes "
    f"received, but at most {_MAX_SECONDS} s"
)


def _type_of(response: httpx.Response) -> str:
    """Return the type of the recording that a response holds, without a content coding. Refusal: Invalid."""
    if not response.is_success:
        raise _refusal("unreachable", f"the answer was {response.status_code}")
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise _refusal("unreachable", f"it came with the content coding `{coding[:100]}`, though none was accepted")
    content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if _RECORDING.fullmatch(content_type) is None:
        raise _refusal("unsupported_media_type", f"it is `{content_type[:100]}`, not `audio/*` or `video/*`")
    return content_type


def _duration_in(path: Path) -> float | None:
    """Return the duration of a recording, which a separate process reads, or None."""
    command = [sys.executable, "-m", "herdbook.media_duration", str(path)]
    try:
        told = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_MAX_DURATION_READING_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        _log.warning("the duration of a recording cannot be read", extra={"error": repr(error)})
        return None
    duration: float | None = json.loads(told.stdout)
    return duration


async def _on_disk(path: Path, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a file operation in a thread. Refusal: Unavailable if the disk fails."""
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except OSError as error:
        _log.error("a recording cannot be written", extra={"path": str(path), "errno": error.errno, "error": error.strerror})
        message = (
            f"The server's disk cannot store the recording: {error.strerror}. Nothing was done. Tell the server's operator."
        )
        raise Unavailable(message) from None


def _created(path: Path) -> BinaryIO:
    """Return a new file that is locked as long as it is open."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        # A sweep has removed the file before the lock.
        file.close()


def _synced(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _discard(file: BinaryIO, *paths: Path) -> None:
    """Remove a file under each of its possible names. If the disk refuses, the next sweep removes it."""
    with contextlib.suppress(OSError):
        for path in paths:
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        file.close()


def _put(part: Path, path: Path) -> None:
    """Give a file its final name, and sync the folder so that the name survives a power cut."""
    part.replace(path)
    sync(path.parent)


def _refusal(code: str, why: str) -> Invalid:
    return Invalid([FieldError("media_url", code, f"`media_url` cannot be fetched: {why.rstrip('.')}.")])
