"""Files of many parts: a zip archive, so that ordinary tools can open it, with a manifest that is written last.

The manifest has the size and the checksum of each part, and each read compares with it. Nothing in the file tells when it was
written, unless the manifest does: the same parts make the same file.
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
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Generic, TypeVar

import msgspec

from herdbook.replacement import sync

CHUNK: Final = 1 << 20
# The last record of an archive without a comment.
_END: Final = re.compile(rb"PK\x05\x06.{16}\x00\x00", re.DOTALL)
_END_SIZE: Final = 22
# The standard library raises these for archives that are damaged.
_DAMAGE: Final = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, RuntimeError, ValueError)


class FileRefused(Exception):
    """The file is not a whole one that this release can read. The message says why, and what to do."""


class Part(msgspec.Struct, frozen=True):
    """A file in the archive: its size in bytes, and its SHA-256."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a file: its format, the release that made it, and all parts."""

    format: int
    herdbook: str
    parts: dict[str, Part]

    @property
    def size(self) -> int:
        """The size of all parts, in bytes."""
        return sum(part.size for part in self.parts.values())


class _Format(msgspec.Struct, frozen=True):
    """The members that every format has."""

    format: int
    herdbook: str


M = TypeVar("M", bound=Manifest)


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[M]):
    """A kind of such files.

    `noun` and `remedy` are for refusals, and `undone` ends each: it says that nothing was done. `begins_with` is the name of
    the first part, `manifest` that of the manifest, and `parts` has the names of all that there may be.
    """

    noun: str
    remedy: str
    undone: str
    format: int
    begins_with: str
    manifest: str
    manifest_type: type[M]
    parts: "re.Pattern[str]"

    def newer(self, path: Path, version: str) -> FileRefused:
        """Return the refusal of a file that a newer release made."""
        return FileRefused(
            f"The {self.noun} `{path}` was made by herdbook {version}, which is newer than this one. Install that release, or "
            f"a later one, and read it with that. {self.undone}"
        )

    def foreign(self, path: Path) -> FileRefused:
        """Return the refusal of another file."""
        return FileRefused(f"`{path}` is not {_article(self.noun)} {self.noun} of herdbook. {self.remedy} {self.undone}")

    def cut_off(self, path: Path) -> FileRefused:
        """Return the refusal of a file without its end."""
        return FileRefused(
            f"The {self.noun} `{path}` is cut off: its end is missing. Copy the file again, or use another {self.noun}. "
            f"{self.undone}"
        )

    def damaged(self, path: Path, why: str) -> FileRefused:
        """Return the refusal of a damaged file."""
        return FileRefused(
            f"The {self.noun} `{path}` is damaged: {why}. Copy the file again, or use another {self.noun}. {self.undone}"
        )


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


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
    """Writes the parts of a file, one after the other, in constant memory."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.parts: dict[str, Part] = {}

    def add(self, name: str, chunks: Iterable[bytes]) -> None:
        """Write a part from chunks."""
        with self.adding(name) as write:
            for chunk in chunks:
                write(chunk)

    @contextlib.contextmanager
    def adding(self, name: str, *, packs: bool = False) -> Generator[Callable[[bytes], None]]:
        """Write a part from the chunks that the yielded function is called with. `packs` compresses it."""
        digest, size = hashlib.sha256(), 0

        def write(chunk: bytes) -> None:
            nonlocal size
            member.write(chunk)
            digest.update(chunk)
            size += len(chunk)

        with self._archive.open(_entry(name, packs=packs), "w", force_zip64=True) as member:
            yield write
        self.parts[name] = Part(size, digest.hexdigest())

    def finish(self, name: str, manifest: Manifest) -> None:
        """Write the manifest."""
        with self._archive.open(_entry(name), "w") as member:
            member.write(msgspec.json.encode(manifest))


def _entry(name: str, *, packs: bool = False) -> zipfile.ZipInfo:
    """Return the entry of a part. Its time is the first that a zip archive knows."""
    entry = zipfile.ZipInfo(name)
    if packs:
        entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


@contextlib.contextmanager
def writing(file: BinaryIO) -> Generator[Writer]:
    """Yield a writer; when the block ends, all that it wrote is in the file."""
    with zipfile.ZipFile(file, "w") as archive:
        yield Writer(archive)
    file.flush()


def to_disk(file: BinaryIO) -> None:
    """Wait until all that was written is on the disk."""
    file.flush()
    os.fsync(file.fileno())


class Reader(Generic[M]):
    """Reads the parts of a file. Each read compares with the manifest."""

    def __init__(self, kind: Kind[M], path: Path, archive: zipfile.ZipFile) -> None:
        self.kind = kind
        self.path = path
        self._archive = archive
        self.manifest = self._read_manifest()

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a part in chunks. Refusal: FileRefused if it differs from the manifest, perhaps after its last chunk."""
        part = self.manifest.parts[name]
        digest, size = hashlib.sha256(), 0
        with self._refusing_damage(f"`{name}` in it cannot be read"), self._archive.open(name) as member:
            # More than its size is never unpacked.
            while size <= part.size and (chunk := member.read(CHUNK)):
                digest.update(chunk)
                size += len(chunk)
                yield chunk
        if (size, digest.hexdigest()) != (part.size, part.sha256):
            raise self.damaged(f"`{name}` in it differs from its checksum")

    def check(self, advance: Callable[[int], None]) -> None:
        """Read all parts, and call `advance` with the number of bytes. Refusal: FileRefused if one differs."""
        for name in self.manifest.parts:
            for chunk in self.chunks(name):
                advance(len(chunk))

    def _read_manifest(self) -> M:
        kind = self.kind
        if kind.manifest not in self._archive.namelist():
            raise kind.foreign(self.path)
        with self._refusing_damage("its manifest cannot be read"):
            encoded = self._archive.read(kind.manifest)
        try:
            made = msgspec.json.decode(encoded, type=_Format)
        except msgspec.DecodeError:
            raise kind.foreign(self.path) from None
        if made.format > kind.format:
            raise kind.newer(self.path, made.herdbook)
        try:
            manifest = msgspec.json.decode(encoded, type=kind.manifest_type)
        except msgspec.DecodeError:
            raise self.damaged("its manifest cannot be read") from None
        if (
            sorted(self._archive.namelist()) != sorted([*manifest.parts, kind.manifest])
            or kind.begins_with not in manifest.parts
        ):
            raise self.damaged("its files are not those of its manifest")
        if not all(kind.parts.fullmatch(name) for name in manifest.parts):
            raise self.damaged(f"it has files that no {kind.noun} has")
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

    def damaged(self, why: str) -> FileRefused:
        """Return the refusal of the file as damaged."""
        return self.kind.damaged(self.path, why)


@contextlib.contextmanager
def opened(kind: Kind[M], path: Path, file: BinaryIO) -> Generator[Reader[M]]:
    """Yield a reader of an open file. Refusal: FileRefused if it is foreign, cut off, damaged, or of a newer release."""
    with contextlib.ExitStack() as closing:
        try:
            archive = closing.enter_context(zipfile.ZipFile(file))
        except (*_DAMAGE, OSError):
            # A file that was cut off begins like this and has no end.
            beginning = re.compile(rb"PK\x03\x04.{26}" + re.escape(kind.begins_with.encode()), re.DOTALL)
            raise (kind.cut_off if beginning.match(_read_at(file, 0)) else kind.foreign)(path) from None
        reader = Reader(kind, path, archive)
        # The standard library looks for the beginning and the end of an archive, whatever is around them.
        begins_at = min(member.header_offset for member in archive.infolist())
        if begins_at or not _END.fullmatch(_read_at(file, file.seek(0, os.SEEK_END) - _END_SIZE)):
            raise reader.damaged("it has bytes before its beginning or after its end")
        yield reader


def _read_at(file: BinaryIO, place: int) -> bytes:
    file.seek(place)
    return file.read(100)
