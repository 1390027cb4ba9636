"""The files of a lab's workspaces: uploads of imports, and recordings. They are apart from the server's, and have a bound."""

import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

from itsdangerous import BadData

from herdbook.errors import FieldError, Invalid
from herdbook.lab.clock import Surroundings, within
from herdbook.media import Address, Recording, Recordings
from herdbook.settings import TargetRules
from herdbook.uploads import Uploads

if TYPE_CHECKING:
    from herdbook.media_fetch import Fetcher

# The most bytes of one file. A test needs no recording of an hour.
MOST_FILE_BYTES: Final = 67_108_864
_UPLOADS: Final = "imports"
_RECORDINGS: Final = "media"


class FileRoom:
    """The room for all files of a lab below one folder, in bytes."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder = folder
        self._most_bytes = most_bytes
        self._under_way = 0

    @contextmanager
    def reserved(self, field: str) -> Generator[None]:
        """Keep room for one more file during the block. Refusal: Invalid, if there is not so much."""
        used = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        if used + (self._under_way + 1) * MOST_FILE_BYTES > self._most_bytes:
            message = (
                f"This lab has {self._most_bytes:,} bytes for files, and too little of that is free. Delete or reset "
                "workspaces, or raise --lab-limit."
            )
            raise Invalid([FieldError(field, "not_allowed", message)])
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def remove(self, workspace_id: UUID) -> None:
        """Remove the files of a workspace."""
        for kind in (_UPLOADS, _RECORDINGS):
            shutil.rmtree(self.folder / kind / workspace_id.hex, ignore_errors=True)


class LabUploads(Uploads):
    """The uploads of a lab."""

    def __init__(self, room: FileRoom, most_bytes: int, days: int) -> None:
        super().__init__(room.folder / _UPLOADS, min(most_bytes, MOST_FILE_BYTES), days)
        self._room = room

    @asynccontextmanager
    async def received(self, workspace_id: UUID, upload_id: UUID, pieces: AsyncIterator[bytes]) -> AsyncGenerator[Path]:
        """Write a file as it comes. Refusals: those of uploads; Invalid, if the lab has no room for it."""
        with self._room.reserved("file"):
            async with super().received(workspace_id, upload_id, pieces) as path:
                yield path


class LabRecordings(Recordings):
    """The recordings of a lab. They may come from this machine, and their addresses expire by the clocks of the workspaces."""

    def __init__(
        self, room: FileRoom, most_bytes: int, targets: TargetRules, surroundings_of: Callable[[UUID], Surroundings | None]
    ) -> None:
        # Addresses are the same on each run, and protect nothing here.
        super().__init__(room.folder / _RECORDINGS, "lab", targets.allowed, min(most_bytes, MOST_FILE_BYTES))
        self._room = room
        self._targets = targets
        self._surroundings_of = surroundings_of

    @asynccontextmanager
    async def fetched(self, url: str, workspace_id: UUID, recording_id: UUID) -> AsyncGenerator[Recording]:
        """Fetch a recording. Refusals: those of recordings; Invalid, if the lab has no room for it."""
        with self._room.reserved("media_url"):
            async with super().fetched(url, workspace_id, recording_id) as recording:
                yield recording

    def find(self, token: str) -> Address | None:
        """Return the target of a URL, or None if it is invalid or has expired by the clock of its workspace."""
        try:
            workspace = UUID(hex=self._serializer.loads(token)[0])
        except (BadData, ValueError):
            return None
        surroundings = self._surroundings_of(workspace)
        with nullcontext() if surroundings is None else within(surroundings):
            return super().find(token)

    def _new_fetcher(self) -> "Fetcher":
        from herdbook.media_fetch import Fetcher  # noqa: PLC0415  # as for other recordings
        from herdbook.outgoing import Targets  # noqa: PLC0415

        return Fetcher(Targets(self._targets.allowed, allows_loopback=True, allows_private=True), self._most_bytes)
