"""The file of a backup: a zip archive, so that ordinary tools can open it, too.

- `database.dump`: the database, in PostgreSQL's custom format
- `media/WORKSPACE/ENGAGEMENT`: the recordings, as they are
- `backup.json`: the manifest, written last
"""

import contextlib
import errno
import hashlib
import os
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from herdbook.backups.store import Content
from herdbook.replacement import RECORDINGS, sync

DUMP: Final = "database.dump"
CHUNK: Final = 1 << 20
_MANIFEST: Final = "backup.json"
_FORMAT: Final = 1
_RECORDING: Final = re.compile(rf"{RECORDINGS}/[0-9a-f]{{32}}/[0-9a-f]{{32}}")
# A file that was cut off begins like this and has no end.
_BEGINNING: Final = re.compile(rb"PK\x03\x04.{26}" + re.escape(DUMP.encode()), re.DOTALL)
# The last record of an archive without a comment.
_END: Final = re.compile(rb"PK\x05\x06.{16}\x00\x00", re.DOTALL)
_END_SIZE: Final = 22
# The standard library raises these for archives that are damaged.
_DAMAGE: Final = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, RuntimeError, ValueError)


class BackupRefused(Exception):
    """The file is not a whole backup that this release can read. The message says why, and what to do."""


class Part(msgspec.Struct, frozen=True):
    """A file in the archive: its size in bytes, and its SHA-256."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """The content of a backup: its moment, the program that made it, the database, and all files."""

    format: int
    created_at: datetime
    herdbook: str
    postgres: int
    content: Content
    parts: dict[str, Part]

    @property
    def recordings(self) -> list[str]:
        """The names of the recordings."""
        return [name for name in self.parts if name != DUMP]

    @property
    def size(self) -> int:
        """The size of all files, in bytes."""
        return sum(part.size for part in self.parts.values())


class _Format(msgspec.Struct, frozen=True):
    """The members that every format has."""

    format: int
    herdbook: str


@contextlib.contextmanager
def new_file(path: Path) -> Generator[tuple[Path, BinaryIO]]:
    """Yield a file beside `path` that only we may read. It gets this name when the block ends, and is removed if that fails."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield draft, file
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync(path.parent)


class Writer:
    """Writes the files of an archive, one after the other, in constant memory."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._parts: dict[str, Part] = {}

    def add(self, name: str, chunks: Iterable[bytes]) -> None:
        """Write a file from chunks."""
        digest, size = hashlib.sha256(), 0
        with self._archive.open(name, "w", force_zip64=True) as member:
            for chunk in chunks:
                member.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        self._parts[name] = Part(size, digest.hexdigest())

    def finish(self, created_at: datetime, herdbook: str, postgres: int, content: Content) -> Manifest:
        """Write the manifest, and return it."""
        manifest = Manifest(_FORMAT, created_at, herdbook, postgres, content, self._parts)
        self._archive.writestr(_MANIFEST, msgspec.json.encode(manifest))
        return manifest


@contextlib.contextmanager
def writing(file: BinaryIO) -> Generator[Writer]:
    """Yield a writer; when the block ends, all that it wrote is on the disk."""
    with zipfile.ZipFile(file, "w") as archive:
        yield Writer(archive)
    file.flush()
    os.fsync(file.fileno())


class Reader:
    """Reads the files of a backup. Each read compares with the manifest."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        self.manifest = self._read_manifest()

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a file in chunks. Refusal: BackupRefused if it differs from the manifest, perhaps after its last chunk."""
        part = self.manifest.parts[name]
        digest, size = hashlib.sha256(), 0
        with self._refusing_damage(f"`{name}` in it cannot be read"), self._archive.open(name) as member:
            while chunk := member.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
                yield chunk
        if (size, digest.hexdigest()) != (part.size, part.sha256):
            raise self.damaged(f"`{name}` in it differs from its checksum")

    def check(self, advance: Callable[[int], None]) -> None:
        """Read all files, and call `advance` with the number of bytes. Refusal: BackupRefused if one differs."""
        for name in self.manifest.parts:
            for chunk in self.chunks(name):
                advance(len(chunk))

    def _read_manifest(self) -> Manifest:
        if _MANIFEST not in self._archive.namelist():
            raise _foreign(self._path)
        with self._refusing_damage("its manifest cannot be read"):
            encoded = self._archive.read(_MANIFEST)
        try:
            made = msgspec.json.decode(encoded, type=_Format)
        except msgspec.DecodeError:
            raise _foreign(self._path) from None
        if made.format > _FORMAT:
            raise newer(self._path, made.herdbook)
        try:
            manifest = msgspec.json.decode(encoded, type=Manifest)
        except msgspec.DecodeError:
            raise self.damaged("its manifest cannot be read") from None
        if sorted(self._archive.namelist()) != sorted([*manifest.parts, _MANIFEST]) or DUMP not in manifest.parts:
            raise self.damaged("its files are not those of its manifest")
        if not all(_RECORDING.fullmatch(name) for name in manifest.recordings):
            raise self.damaged("it has files that no backup has")
        return manifest

    @contextlib.contextmanager
    def _refusing_damage(self, why: str) -> Generator[None]:
        try:
            yield
        except _DAMAGE:
            raise self.damaged(why) from None
        except OSError as error:
            # A damaged archive names places before the beginning of the file.
            if error.errno != errno.EINVAL:
                raise
            raise self.damaged(why) from None

    def damaged(self, why: str) -> BackupRefused:
        """Return the refusal of the backup as damaged."""
        return BackupRefused(
            f"The backup `{self._path}` is damaged: {why}. Copy the file again, or use another backup. Nothing was restored."
        )


@contextlib.contextmanager
def opened(path: Path) -> Generator[Reader]:
    """Yield a reader of a backup. Refusal: BackupRefused if the file is foreign, cut off, damaged, or of a newer release."""
    with path.open("rb") as file, contextlib.ExitStack() as closing:
        try:
            archive = closing.enter_context(zipfile.ZipFile(file))
        except (*_DAMAGE, OSError):
            if _BEGINNING.match(_read_at(file, 0)):
                raise BackupRefused(
                    f"The backup `{path}` is cut off: its end is missing. Copy the file again, or use another backup. "
                    "Nothing was restored."
                ) from None
            raise _foreign(path) from None
        reader = Reader(path, archive)
        # The standard library looks for the beginning and the end of an archive, whatever is around them.
        begins_at = min(member.header_offset for member in archive.infolist())
        if begins_at or not _END.fullmatch(_read_at(file, path.stat().st_size - _END_SIZE)):
            raise reader.damaged("it has bytes before its beginning or after its end")
        yield reader


def _read_at(file: BinaryIO, place: int) -> bytes:
    file.seek(place)
    return file.read(100)


def newer(path: Path, version: str) -> BackupRefused:
    """Return the refusal of a backup that a newer release made."""
    return BackupRefused(
        f"The backup `{path}` was made by herdbook {version}, which is newer than this one. Install that release, or a later "
        "one, and restore with it. Nothing was restored."
    )


def _foreign(path: Path) -> BackupRefused:
    return BackupRefused(
        f"`{path}` is not a backup of herdbook. Name a file that `herdbook backup` wrote; `pg_restore` reads dumps of "
        "`pg_dump`. Nothing was restored."
    )
