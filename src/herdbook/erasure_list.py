"""The list of erasures beside the database: a database that is restored from a backup learns from it who was erased since."""

import fcntl
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, BinaryIO, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from herdbook.faults import OperatorFault
from herdbook.replacement import sync

NAME: Final = "erasures.jsonl"
_encoder: Final = msgspec.json.Encoder()


class ListedErasure(msgspec.Struct, frozen=True):
    """An erasure: the hash of a contact's id or address with a key, when, and on whose request."""

    key: Annotated[str, Meta(min_length=1)]
    workspace_id: UUID
    hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
    at: datetime
    request_id: UUID
    credential_id: UUID
    with_engagements: bool


class ErasureListInvalid(OperatorFault):
    """A line of a file is no erasure."""

    def __init__(self, path: Path, line: int) -> None:
        super().__init__(
            f"Line {line} of `{path}` is no erasure. Replace the file by a copy that `herdbook erasures export` wrote, or "
            "remove the line: whom it meant is not erased again after a restore."
        )


class ErasureListCut(Exception):
    """A copy of a list ends within a line."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"`{path}` ends within a line, so it is not whole. Copy the list again. Nothing was done.")


class ErasureList:
    """A file with one erasure on each line, which only its owner may read, because its keys make the hashes readable.

    It grows at its end alone, so that each line is read once. `makes_folder` is for the server: a command that is given a wrong
    data folder must not make it.
    """

    def __init__(self, path: Path, *, makes_folder: bool = False) -> None:
        self._path = path
        self._makes_folder = makes_folder
        self._lock = threading.Lock()
        self._file_id, self._read_to, self._lines = (0, 0), 0, 0
        self._known: set[tuple[str, UUID, str, datetime]] = set()

    def read(self) -> list[ListedErasure]:
        """Return the erasures; none if there is no file. Refusal: ErasureListInvalid."""
        try:
            return self._decoded(self._path.read_bytes(), 0)
        except FileNotFoundError:
            return []

    def read_copy(self) -> list[ListedErasure]:
        """Return the erasures of a copy, which nobody is writing. Refusals: ErasureListCut, ErasureListInvalid, OSError."""
        text = self._path.read_bytes()
        if text and not text.endswith(b"\n"):
            raise ErasureListCut(self._path)
        return self._decoded(text, 0)

    def check(self) -> None:
        """Find out whether erasures can be added, before anybody is erased. Refusals: OSError, ErasureListInvalid."""
        self.add(())

    def add(self, erasures: Sequence[ListedErasure]) -> None:
        """Append those erasures that the file lacks, and return once they are on the disk.

        Refusals: OSError, ErasureListInvalid.
        """
        # With an external database, nothing else makes the folder.
        if self._makes_folder:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock, os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "ab+") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                # A copy may have come with another mode. The file may be another account's, which is its matter.
                with suppress(PermissionError):
                    os.fchmod(file.fileno(), 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
            end = self._read_on(file)
            new = [each for each in erasures if _key(each) not in self._known]
            if new:
                # Others, and crashes, may have left the last line incomplete.
                file.truncate(end)
                file.write(b"".join(_encoder.encode(each) + b"\n" for each in new))
                file.flush()
                os.fsync(file.fileno())
                sync(self._path.parent)

    def _read_on(self, file: BinaryIO) -> int:
        """Learn the lines that were added since the last time. Return the end of the last complete one."""
        status = os.fstat(file.fileno())
        file_id = (status.st_dev, status.st_ino)
        if file_id != self._file_id or status.st_size < self._read_to:
            self._file_id, self._read_to, self._lines = file_id, 0, 0
            self._known.clear()
        file.seek(self._read_to)
        text = file.read()
        text = text[: text.rfind(b"\n") + 1]
        added = self._decoded(text, self._lines)
        self._known.update(map(_key, added))
        self._read_to, self._lines = self._read_to + len(text), self._lines + len(added)
        return self._read_to

    def _decoded(self, text: bytes, lines_before: int) -> list[ListedErasure]:
        """Return the erasures of complete lines. The database has that of an incomplete last one, which was not answered."""
        found: list[ListedErasure] = []
        for line in text.split(b"\n")[:-1]:
            try:
                found.append(msgspec.json.decode(line, type=ListedErasure))
            except msgspec.MsgspecError:
                raise ErasureListInvalid(self._path, lines_before + len(found) + 1) from None
        return found


def _key(erasure: ListedErasure) -> tuple[str, UUID, str, datetime]:
    return erasure.key, erasure.workspace_id, erasure.hash, erasure.at
