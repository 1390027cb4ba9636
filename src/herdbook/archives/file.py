"""The file of an archive.

- `tables/TABLE.tsv`: the rows of the workspace in a table, as PostgreSQL copies them as text, in the order of their keys
- `media/ENGAGEMENT`: the recordings, as they are
- `archive.json`: the manifest, written last

Nothing in it tells when it was written, so the same workspace makes the same file. With secrets, all of it is sealed.
"""

import contextlib
import io
import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import msgspec

from herdbook.archives.sealing import PassphraseWrong, Sealed, Unsealed, is_sealed
from herdbook.parts_file import FileRefused, Kind, Manifest, Reader, Writer, opened, writing
from herdbook.replacement import RECORDINGS

_BUFFER: Final = 1 << 20


class TableRows(msgspec.Struct, frozen=True):
    """The rows of a table: their columns, and how many there are."""

    columns: tuple[str, ...]
    rows: int


class ArchiveManifest(Manifest, frozen=True, kw_only=True):
    """The content of an archive: the workspace and its last change, the migrations of its database, tables and recordings.

    `erasure_key` is the key of the hashes that tell who was erased; only an archive with secrets has it.
    """

    workspace: str
    name: str
    seq: int
    migrations: tuple[str, ...]
    has_secrets: bool
    tables: dict[str, TableRows]
    erasure_key: str | None = None

    @property
    def recordings(self) -> list[str]:
        """The names of the recordings."""
        return [name for name in self.parts if name.startswith(RECORDINGS)]

    @property
    def rows(self) -> int:
        """The number of rows in all tables."""
        return sum(table.rows for table in self.tables.values())


def part_of(table: str) -> str:
    """Return the name of the part with the rows of a table."""
    return f"tables/{table}.tsv"


ARCHIVE: Final = Kind(
    noun="archive",
    remedy="Name a file that `herdbook archive` wrote.",
    undone="Nothing was brought in.",
    format=1,
    begins_with=part_of("workspace"),
    manifest="archive.json",
    manifest_type=ArchiveManifest,
    parts=re.compile(rf"tables/[a-z_]+\.tsv|{RECORDINGS}/[0-9a-f]{{32}}"),
)


@contextlib.contextmanager
def writing_archive(file: BinaryIO, passphrase: str | None) -> Generator[Writer]:
    """Yield a writer. A passphrase seals the file."""
    if passphrase is None:
        with writing(file) as writer:
            yield writer
        return
    sealed = Sealed(file, passphrase)
    with writing(cast("BinaryIO", sealed)) as writer:
        yield writer
    sealed.finish()


@contextlib.contextmanager
def opened_archive(path: Path, passphrase: Callable[[], str]) -> Generator[Reader[ArchiveManifest]]:
    """Yield a reader of an archive; `passphrase` is called if it is sealed. Refusal: FileRefused."""
    with contextlib.ExitStack() as closing:
        file = closing.enter_context(path.open("rb"))
        if is_sealed(file):
            file = _unsealed(file, path, passphrase)
        reader = closing.enter_context(opened(ARCHIVE, path, file))
        _require_tables(reader)
        yield reader


def _unsealed(file: BinaryIO, path: Path, passphrase: Callable[[], str]) -> BinaryIO:
    def damage() -> Exception:
        return ARCHIVE.damaged(path, "a part of it was altered, or its end is missing")

    try:
        raw: Any = Unsealed(file, passphrase(), damage)
    except PassphraseWrong:
        raise FileRefused(
            f"The passphrase does not open the archive `{path}`. Use the one that it was written with. {ARCHIVE.undone}"
        ) from None
    return io.BufferedReader(raw, _BUFFER)


def _require_tables(reader: Reader[ArchiveManifest]) -> None:
    """Refuse a manifest whose tables are not those of the parts."""
    manifest = reader.manifest
    if {part_of(table) for table in manifest.tables} != manifest.parts.keys() - set(manifest.recordings):
        raise reader.damaged("its tables are not those of its manifest")
