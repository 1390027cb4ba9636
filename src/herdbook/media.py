"""Recordings: files in the data folder, which are served under signed URLs for a limited time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple
from uuid import UUID

import msgspec
from itsdangerous import BadData, TimestampSigner, URLSafeTimedSerializer

from herdbook import sources
from herdbook.errors import OutcomeUnknown

if TYPE_CHECKING:
    from herdbook.media_fetch import Fetcher

PATH: Final = "/api/herdbook/media/"
VALID_SECONDS: Final = 900
# A statement whose connection broke may still be running in the database, but not for longer than this.
_DECIDED_AFTER_SECONDS: Final = 60.0


class _Signer(TimestampSigner):
    def get_timestamp(self) -> int:
        return int(sources.now().timestamp())


class Media(msgspec.Struct, frozen=True):
    """A recording in the data folder: its type, and its size in bytes."""

    content_type: str
    size: int


class Recording:
    """A recording in the data folder: its duration, if its format states one, and whether the file is kept."""

    def __init__(self, media: Media, duration_seconds: float | None) -> None:
        self.media = media
        self.duration_seconds = duration_seconds
        self.stays = False


class Address(NamedTuple):
    """The target of a recording's URL: its workspace, its id, its file and its type."""

    workspace_id: UUID
    recording_id: UUID
    path: Path
    content_type: str


class Recordings:
    """The recordings in a folder. `allowed_targets` are hosts and networks beside public ones that may be fetched from."""

    def __init__(self, folder: Path, secret: str, allowed_targets: tuple[str, ...], most_bytes: int) -> None:
        self._folder = folder
        self._serializer = URLSafeTimedSerializer(secret, salt="media", signer=_Signer)
        self._allowed_targets = allowed_targets
        self._most_bytes = most_bytes
        self._fetcher: Fetcher | None = None
        self._making = asyncio.Lock()
        self._undecided: set[BinaryIO] = set()

    @property
    def folder(self) -> Path:
        """The folder of the recordings."""
        return self._folder

    @asynccontextmanager
    async def fetched(self, url: str, workspace_id: UUID, recording_id: UUID) -> AsyncGenerator[Recording]:
        """Fetch a complete recording for an object that is created within the `with`.

        The file is removed again unless `stays` is set there. If the outcome of the write is unknown, the file stays locked
        until the outcome is decided, and is left to the next sweep. Refusals: Invalid, Busy, Unavailable.
        """
        async with self._making:
            if self._fetcher is None:
                # Make it for the first recording, because most servers need no HTTP client, and in a thread, because its import
                # takes a third of a second.
                self._fetcher = await asyncio.to_thread(self._new_fetcher)
        path = self._path(workspace_id, recording_id)
        fetched = await self._fetcher.fetch(url, workspace_id, path)
        recording = Recording(Media(fetched.content_type, fetched.size), fetched.duration_seconds)
        self._undecided.add(fetched.file)
        locked_for_seconds = 0.0
        try:
            yield recording
        except (OutcomeUnknown, asyncio.CancelledError):
            recording.stays, locked_for_seconds = True, _DECIDED_AFTER_SECONDS
            raise
        finally:
            if not recording.stays:
                await asyncio.to_thread(path.unlink, missing_ok=True)
            asyncio.get_running_loop().call_later(locked_for_seconds, self._let_go, fetched.file)

    def _new_fetcher(self) -> "Fetcher":
        from herdbook.media_fetch import Fetcher  # noqa: PLC0415  # see `fetched`
        from herdbook.outgoing import Targets  # noqa: PLC0415

        return Fetcher(Targets(self._allowed_targets), self._most_bytes)

    def address(self, workspace_id: UUID, recording_id: UUID, media: Media) -> str:
        """Return the path of a URL under which a recording is served for the next `VALID_SECONDS`."""
        token: str | bytes = self._serializer.dumps([workspace_id.hex, recording_id.hex, media.content_type])
        return PATH + (token.decode() if isinstance(token, bytes) else token)

    def find(self, token: str) -> Address | None:
        """Return the target of a URL, or None if it is invalid or has expired, or the file is gone."""
        try:
            workspace, recording, content_type = self._serializer.loads(token, max_age=VALID_SECONDS)
        except BadData:
            return None
        workspace_id, recording_id = UUID(hex=workspace), UUID(hex=recording)
        path = self._path(workspace_id, recording_id)
        return Address(workspace_id, recording_id, path, str(content_type)) if path.is_file() else None

    async def close(self) -> None:
        """Close the connections and all files."""
        for file in [*self._undecided]:
            self._let_go(file)
        if self._fetcher is not None:
            await self._fetcher.close()

    def _let_go(self, file: BinaryIO) -> None:
        self._undecided.discard(file)
        file.close()

    def _path(self, workspace_id: UUID, recording_id: UUID) -> Path:
        return path_of_recording(self._folder, workspace_id, recording_id)


def path_of_recording(folder: Path, workspace_id: UUID, recording_id: UUID) -> Path:
    """Return the path of a recording in the folder of all recordings."""
    return folder / workspace_id.hex / recording_id.hex
