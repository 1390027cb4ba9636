"""The file of a backup.

- `database.dump`: the database, in PostgreSQL's custom format
- `media/WORKSPACE/ENGAGEMENT`: the recordings, as they are
- `backup.json`: the manifest, written last
"""

import contextlib
import re
from collections.abc import Generator
from datetime import datetime
from pathlib import Path
from typing import Final

from herdbook.backups.store import Content
from herdbook.parts_file import Kind, Manifest, Reader, opened
from herdbook.replacement import RECORDINGS

DUMP: Final = "database.dump"


class BackupManifest(Manifest, frozen=True, kw_only=True):
    """The content of a backup: its moment, the database, and all files."""

    created_at: datetime
    postgres: int
    content: Content

    @property
    def recordings(self) -> list[str]:
        """The names of the recordings."""
        return [name for name in self.parts if name != DUMP]


BACKUP: Final = Kind(
    noun="backup",
    remedy="Name a file that `herdbook backup` wrote; `pg_restore` reads dumps of `pg_dump`.",
    undone="Nothing was restored.",
    format=1,
    begins_with=DUMP,
    manifest="backup.json",
    manifest_type=BackupManifest,
    parts=re.compile(rf"{re.escape(DUMP)}|{RECORDINGS}/[0-9a-f]{{32}}/[0-9a-f]{{32}}"),
)


@contextlib.contextmanager
def opened_backup(path: Path) -> Generator[Reader[BackupManifest]]:
    """Yield a reader of a backup. Refusal: FileRefused."""
    with path.open("rb") as file, opened(BACKUP, path, file) as reader:
        yield reader
