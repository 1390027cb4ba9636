"""The list of erasures beside the database: a database that is restored from a backup learns from it who was erased since."""

import contextlib
import fcntl
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

NAME: Final = "erasures.jsonl"
_encoder: Final = msgspec.json.Encoder()


class ListedErasure(msgspec.Struct, frozen=True):
    """An erasure: the hash of a contact's id or address with a key, when, and on whose request."""

    key: str
    workspace_id: UUID
    hash: str
    at: datetime
    request_id: UUID
    credential_id: UUID
    with_engagements: bool


class ErasureListInvalid(Exception):
    """A file is not a list of erasures."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"`{path}` is not a list of erasures. Choose a file that `herdbook erasures export` wrote.")


class ErasureList:
    """A file with one erasure on each line, which only its owner may read, because its keys make the hashes readable."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[ListedErasure]:
        """Return the erasures; none if there is no file. Refusal: ErasureListInvalid."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return []
        try:
            # A crash may have left the last line incomplete. Its erasure was not answered, and the database has it.
            return [msgspec.json.decode(line, type=ListedErasure) for line in text.split(b"\n")[:-1]]
        except msgspec.MsgspecError:
            raise ErasureListInvalid(self._path) from None

    def add(self, erasures: Sequence[ListedErasure]) -> None:
        """Append those erasures that the file lacks, and return once they are on the disk."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            known = {(each.key, each.workspace_id, each.hash, each.at) for each in self.read()}
            new = [each for each in erasures if (each.key, each.workspace_id, each.hash, each.at) not in known]
            if new:
                self._end_line(file)
                os.write(file, b"".join(_encoder.encode(each) + b"\n" for each in new))
                os.fsync(file)
                with contextlib.closing(_Folder(self._path.parent)) as folder:
                    os.fsync(folder.descriptor)
        finally:
            os.close(file)

    def _end_line(self, file: int) -> None:
        """Remove an incomplete last line."""
        text = self._path.read_bytes()
        os.ftruncate(file, text.rfind(b"\n") + 1)


class _Folder:
    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)

    def close(self) -> None:
        os.close(self.descriptor)
