"""Uploaded files: they are in the data folder while an import needs them, and readable by the server's user alone."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

from herdbook.errors import DISK_IS_FULL, TooLarge, Unavailable

# Bytes that are written at once, so that few threads are needed.
_PIECE_BYTES: Final = 1_048_576


class Uploads:
    """The uploaded files in a folder. `days` is how long they are kept."""

    def __init__(self, folder: Path, most_bytes: int, days: int) -> None:
        self.folder = folder
        self.days = days
        self.most_bytes = most_bytes

    def path(self, workspace_id: UUID, upload_id: UUID) -> Path:
        """Return the path of a file."""
        return self.folder / workspace_id.hex / upload_id.hex

    def table(self, workspace_id: UUID, upload_id: UUID, sheet: int | None) -> Path:
        """Return the path of the table that is read: the file itself, or that of one sheet of a workbook, counted from 0."""
        path = self.path(workspace_id, upload_id)
        return path if sheet is None else path.with_suffix(f".sheet{sheet}")

    @asynccontextmanager
    async def received(self, workspace_id: UUID, upload_id: UUID, pieces: AsyncIterator[bytes]) -> AsyncGenerator[Path]:
        """Write a file as it comes. It is locked in the block, and stays unless the block fails.

        Refusals: TooLarge, Unavailable.
        """
        path = self.path(workspace_id, upload_id)
        try:
            file = await asyncio.to_thread(_new_file, path)
            with file:
                fcntl.flock(file, fcntl.LOCK_EX)
                await self._write(file, pieces)
                yield path
        except OSError as error:
            await self.remove(workspace_id, upload_id)
            raise Unavailable(DISK_IS_FULL) from error
        except BaseException:
            await self.remove(workspace_id, upload_id)
            raise

    async def remove(self, workspace_id: UUID, upload_id: UUID) -> None:
        """Remove a file with the tables of its sheets, if it is there."""
        await asyncio.to_thread(_remove, self.path(workspace_id, upload_id))

    async def _write(self, file: BinaryIO, pieces: AsyncIterator[bytes]) -> None:
        waiting: list[bytes] = []
        size = written = 0
        async for piece in pieces:
            size += len(piece)
            if size > self.most_bytes:
                raise TooLarge(self.most_bytes)
            waiting.append(piece)
            if size - written >= _PIECE_BYTES:
                await asyncio.to_thread(file.writelines, waiting)
                waiting, written = [], size
        await asyncio.to_thread(file.writelines, waiting)
        await asyncio.to_thread(file.flush)


@contextlib.contextmanager
def locked_table(path: Path) -> Generator[Path]:
    """Make a file beside an upload for the table of the same content, and hold it during the block: nobody sweeps it away."""
    table = path.with_suffix(".table")
    with _new_file(table) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield table


@contextlib.contextmanager
def locked(path: Path) -> Generator[bool]:
    """Hold a file for this process during the block. Yield whether that is possible: it is there, and nobody holds it."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
            return
    except (FileNotFoundError, BlockingIOError):
        pass
    yield False


def _remove(path: Path) -> None:
    for each in (path, *path.parent.glob(f"{path.name}.sheet*")):
        each.unlink(missing_ok=True)


def _new_file(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
