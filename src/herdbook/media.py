"""Recordings: kept in the data folder, and given out under signed addresses for a while."""

import asyncio
import importlib
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from itsdangerous import BadData, URLSafeTimedSerializer

PATH: Final = "/api/herdbook/media/"
VALID_SECONDS: Final = 900


class Media(msgspec.Struct, frozen=True):
    """A recording in the data folder: its type, and its size in bytes."""

    content_type: str
    size: int


class Recording(NamedTuple):
    """A recording that lies in the data folder now; how long it lasts, where its format says so."""

    media: Media
    duration_seconds: float | None


class Recordings:
    """The recordings in a folder. `allowed_targets` are hosts and networks that they may come from beside public ones."""

    def __init__(self, folder: Path, secret: str, allowed_targets: tuple[str, ...], most_bytes: int) -> None:
        self._folder = folder
        self._serializer = URLSafeTimedSerializer(secret, salt="media")
        self._allowed_targets = allowed_targets
        self._most_bytes = most_bytes
        self._fetcher: Any = None

    async def fetch(self, url: str, workspace_id: UUID, recording_id: UUID) -> Recording:
        """Fetch a recording, whole. Refusal: Invalid."""
        if self._fetcher is None:
            # By name, for the first recording: an HTTP client is a third of a second of a start, and most servers need none.
            outgoing = importlib.import_module("herdbook.outgoing")
            fetcher = importlib.import_module("herdbook.media_fetch").Fetcher
            self._fetcher = fetcher(outgoing.Targets(self._allowed_targets), self._most_bytes)
        fetched = await self._fetcher.fetch(url, self._path(workspace_id, recording_id))
        return Recording(Media(fetched.content_type, fetched.size), fetched.duration_seconds)

    async def forget(self, workspace_id: UUID, recording_id: UUID) -> None:
        """Remove a recording of something that did not come to be."""
        await asyncio.to_thread(self._path(workspace_id, recording_id).unlink, missing_ok=True)

    def address(self, workspace_id: UUID, recording_id: UUID, media: Media) -> str:
        """Return the path of the address under which a recording is given out from now on, for `VALID_SECONDS`."""
        token: str | bytes = self._serializer.dumps([workspace_id.hex, recording_id.hex, media.content_type])
        return PATH + (token.decode() if isinstance(token, bytes) else token)

    def find(self, token: str) -> tuple[Path, str] | None:
        """Return where a recording lies, and its type; None for an address that is not valid, or not any more."""
        try:
            workspace, recording, content_type = self._serializer.loads(token, max_age=VALID_SECONDS)
        except BadData:
            return None
        path = self._path(UUID(hex=workspace), UUID(hex=recording))
        return (path, str(content_type)) if path.is_file() else None

    async def close(self) -> None:
        """Close the connections."""
        if self._fetcher is not None:
            await self._fetcher.close()

    def _path(self, workspace_id: UUID, recording_id: UUID) -> Path:
        return self._folder / workspace_id.hex / recording_id.hex
