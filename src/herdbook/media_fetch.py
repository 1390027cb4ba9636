"""Fetching recordings from where a caller says they are."""

import asyncio
import os
import re
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import httpx
from tinytag import TinyTag, TinyTagException

from herdbook.errors import FieldError, Invalid
from herdbook.outgoing import GuardedTransport, TargetRefused, Targets

_LONGEST_FETCH_SECONDS: Final = 300
_CHUNK: Final = 1 << 18
_MOST_REDIRECTS: Final = 5
_AT_ONCE: Final = 8
_LONGEST_SECONDS: Final = 31_536_000
# As types are named (RFC 6838, section 4.2): what a stranger's server sends becomes a header of ours.
_RECORDING: Final = re.compile(r"(audio|video)/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")


class Fetched(NamedTuple):
    """A recording that was fetched: its type, its size in bytes, and how long it lasts, where its format says so."""

    content_type: str
    size: int
    duration_seconds: float | None


class Fetcher:
    """Fetches recordings."""

    def __init__(self, targets: Targets, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._client = httpx.AsyncClient(
            transport=GuardedTransport(targets),
            follow_redirects=True,
            max_redirects=_MOST_REDIRECTS,
            timeout=30,
            # What one fetch is told to remember is no matter of the next, which may be for somebody else.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"User-Agent": "herdbook", "Accept": "audio/*, video/*"},
        )

    async def fetch(self, url: str, path: Path) -> Fetched:
        """Fetch a recording to a path, whole. Refusal: Invalid."""
        part = path.with_suffix(".part")
        try:
            file = await asyncio.to_thread(_created, part)
            try:
                async with self._turns, asyncio.timeout(_LONGEST_FETCH_SECONDS):
                    content_type, size = await self._download(url, file)
                await asyncio.to_thread(os.fsync, file.fileno())
            finally:
                await asyncio.to_thread(file.close)
            duration = await asyncio.to_thread(_duration, part)
            await asyncio.to_thread(_put, part, path)
        except TimeoutError:
            raise _refusal("unreachable", f"it took longer than {_LONGEST_FETCH_SECONDS} s") from None
        except TargetRefused as error:
            raise _refusal("forbidden_target", str(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # the last for a host that can be no name
            raise _refusal("unreachable", str(error) or type(error).__name__) from None
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)
        return Fetched(content_type, size, duration)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _download(self, url: str, file: BinaryIO) -> tuple[str, int]:
        async with self._client.stream("GET", url) as response:
            if not response.is_success:
                raise _refusal("unreachable", f"the answer was {response.status_code}")
            content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if _RECORDING.fullmatch(content_type) is None:
                raise _refusal("unsupported_media_type", f"it is `{content_type[:100]}`, and neither `audio/*` nor `video/*`")
            size = 0
            async for chunk in response.aiter_bytes(_CHUNK):
                size += len(chunk)
                if size > self._most_bytes:
                    raise _refusal("too_large", f"it has more than {self._most_bytes} bytes")
                await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(file.flush)
        if not size:
            raise _refusal("unreachable", "the answer was empty")
        return content_type, size


def _created(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path.open("xb")


def _put(part: Path, path: Path) -> None:
    """Give a file its name, so that a power cut does not take it away again."""
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _duration(path: Path) -> float | None:
    # The library chooses a reader by the file's beginning.
    try:
        with path.open("rb") as file:
            duration = TinyTag.get(file_obj=file, tags=False).duration
    except (TinyTagException, ValueError, OSError, KeyError, IndexError, ArithmeticError):
        return None
    # What a damaged header says is no duration.
    return duration if duration is not None and 0 <= duration <= _LONGEST_SECONDS else None


def _refusal(code: str, why: str) -> Invalid:
    return Invalid([FieldError("media_url", code, f"`media_url` cannot be fetched: {why.rstrip('.')}.")])
