"""An archive brought into a server: all of it or nothing, and compared with what it has."""

import asyncio
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from herdbook import ids
from herdbook.archives.archiving import take_tables
from herdbook.archives.file import ARCHIVE, ArchiveManifest, opened_archive, part_of, writing_archive
from herdbook.archives.places import OF_PEOPLE, PLACES, Place
from herdbook.archives.store import (
    add_people,
    begin_bringing,
    begin_moment,
    copy_in,
    copy_shown,
    end,
    head,
    new_secrets,
    prepare_people,
    show,
    take_erasure_key,
)
from herdbook.backups.backup import Step, told
from herdbook.backups.restoration import require_place
from herdbook.db.migrate import available, migrate
from herdbook.db.pool import OwnConnection, connect
from herdbook.embedded import EmbeddedPostgres
from herdbook.media import path_of_recording
from herdbook.media_sweep import no_sweeps
from herdbook.parts_file import Reader
from herdbook.replacement import sync

_FOR_ITSELF: Final = {"wal_level": "minimal", "max_wal_senders": "0"}


class UnarchiveRefused(Exception):
    """The archive cannot be brought in there. The message says why, and what to do."""


class Brought(NamedTuple):
    """The result: how many people of the archive were on the server already, and how many endpoints are sent nothing."""

    people_there: int
    silent_endpoints: int


@contextlib.contextmanager
def checked_archive(path: Path, passphrase: Callable[[], str], step: Step) -> Generator[Reader[ArchiveManifest]]:
    """Yield a reader of an archive that is whole, and that this release can bring in. Refusal: FileRefused."""
    with opened_archive(path, passphrase) as archive:
        manifest = archive.manifest
        if not available().keys() >= set(manifest.migrations):
            raise ARCHIVE.newer(path, manifest.herdbook)
        if (
            ids.decoded(ids.WORKSPACE, manifest.workspace) is None
            or not {place.table for place in PLACES} >= manifest.tables.keys()
        ):
            raise archive.damaged("its manifest names what no archive has")
        with step("Checking the file", manifest.size) as advance:
            archive.check(advance)
        yield archive


@contextlib.contextmanager
def brought_up_to_date(archive: Reader[ArchiveManifest], step: Step) -> Generator[Reader[ArchiveManifest]]:
    """Yield a reader of the same rows as this release has them; those of an earlier one go through its migrations.

    A database for the purpose carries them out, so that no rule of a migration is written twice. The reader of an earlier
    archive has no recordings.
    """
    if available().keys() == set(archive.manifest.migrations):
        yield archive
        return
    with tempfile.TemporaryDirectory(prefix="herdbook-unarchive-") as name:
        folder = Path(name)
        newer = folder / "newer"
        server = EmbeddedPostgres(folder / "database", settings=_FOR_ITSELF)
        try:
            asyncio.run(_through_migrations(server.start(), archive, newer, step))
        finally:
            server.stop()
        with opened_archive(newer, str) as reader:
            yield reader


async def _through_migrations(url: str, archive: Reader[ArchiveManifest], newer: Path, step: Step) -> None:
    manifest = archive.manifest
    workspace_id = workspace_of(manifest)
    await migrate(url, only=manifest.migrations)
    connection = await connect(url)
    try:
        with _refusing_rows(archive):
            await begin_bringing(connection, workspace_id)
            await _bring_rows(connection, archive, step)
            await end(connection)
        await migrate(url)
        await begin_moment(connection)
        with newer.open("xb") as file, writing_archive(file, None) as writer:
            made = await take_tables(writer, connection, workspace_id, step, with_secrets=manifest.has_secrets)
            writer.finish(ARCHIVE.manifest, made)
    finally:
        await connection.close()


async def bring(
    url: str, data_dir: Path, archive: Reader[ArchiveManifest], rows: Reader[ArchiveManifest], step: Step
) -> Brought:
    """Bring a workspace into a server: `rows` has its rows, and `archive` its recordings.

    Refusals: UnarchiveRefused; FileRefused. Then, and after a crash, the server has nothing of it but recordings, which the
    next sweep removes.
    """
    manifest = archive.manifest
    workspace_id = workspace_of(manifest)
    media = data_dir / "media"
    if manifest.recordings:
        require_place(data_dir, replaces=True)
        media.mkdir(mode=0o700, parents=True, exist_ok=True)
    connection = await connect(url)
    try:
        await begin_bringing(connection, workspace_id)
        if await head(connection, workspace_id) is not None:
            raise UnarchiveRefused(
                f"The workspace `{manifest.workspace}` of the archive is on this server already. Bring it into another server, "
                "with --data-dir or --database-url. Nothing was brought in."
            )
        with no_sweeps(media), _recordings(media, archive, workspace_id, step):
            with _refusing_rows(archive):
                people_there = await _bring_rows(connection, rows, step)
            if manifest.erasure_key is not None:
                await take_erasure_key(connection, manifest.erasure_key, workspace_id)
            silent = 0 if manifest.has_secrets else await new_secrets(connection, workspace_id)
            await end(connection)
    finally:
        await connection.close()
    return Brought(people_there, silent)


def workspace_of(manifest: ArchiveManifest) -> UUID:
    """Return the id of the workspace, which `checked_archive` has looked at."""
    workspace_id = ids.decoded(ids.WORKSPACE, manifest.workspace)
    assert workspace_id is not None
    return workspace_id


@contextlib.contextmanager
def _refusing_rows(archive: Reader[ArchiveManifest]) -> Generator[None]:
    """Refuse rows that the database does not take: no archive of herdbook has them, unless its ids are on the server."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise UnarchiveRefused(
            f"Ids of the archive `{archive.path}` are on this server already, in the table `{error.table_name}`. Bring it into "
            "another server, with --data-dir or --database-url. Nothing was brought in."
        ) from None
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.SyntaxOrAccessError) as error:
        raise archive.damaged(f"the database does not take its rows ({error})") from None


async def _bring_rows(connection: OwnConnection, archive: Reader[ArchiveManifest], step: Step) -> int:
    """Add the rows, and compare what is there then. Return how many people of the archive were there already."""
    manifest = archive.manifest
    places = [place for place in PLACES if place.table in manifest.tables]
    people = [place for place in OF_PEOPLE if place in places]
    await prepare_people(connection, people)
    with step("Bringing in the tables", sum(manifest.parts[part_of(place.table)].size for place in places)) as advance:
        for place in places:
            await _copy_in(connection, archive, place, advance)
    people_there = await add_people(connection, workspace_of(manifest), people) if people else 0
    with step("Comparing the rows", None):
        for place in places:
            if place not in OF_PEOPLE:
                await _compare(connection, archive, place)
    return people_there


async def _copy_in(
    connection: OwnConnection, archive: Reader[ArchiveManifest], place: Place, advance: Callable[[int], None]
) -> None:
    columns = list(archive.manifest.tables[place.table].columns)
    chunks: Iterable[bytes] = told(archive.chunks(part_of(place.table)), advance)
    if place.workspace_column is not None:
        columns.insert(0, place.workspace_column)
        chunks = _prefixed(chunks, f"{workspace_of(archive.manifest)}\t".encode())

    async def source() -> AsyncGenerator[bytes]:
        for chunk in chunks:
            yield chunk

    await copy_in(connection, place, columns, source())


def _prefixed(chunks: Iterable[bytes], prefix: bytes) -> Generator[bytes]:
    """Yield the lines with a prefix. A line is a row: within values, line breaks are spelled otherwise."""
    begins = True
    for chunk in chunks:
        ends = chunk.endswith(b"\n")
        inner = chunk[:-1] if ends else chunk
        yield (prefix if begins else b"") + inner.replace(b"\n", b"\n" + prefix) + (b"\n" if ends else b"")
        begins = ends


async def _compare(connection: OwnConnection, archive: Reader[ArchiveManifest], place: Place) -> None:
    """Refuse if an archive of what was brought in had other rows. This also finds rows of other workspaces."""
    digest = hashlib.sha256()

    async def add(chunk: bytes) -> None:
        digest.update(chunk)

    columns = await show(connection, workspace_of(archive.manifest), place, with_secrets=archive.manifest.has_secrets)
    await copy_shown(connection, add)
    if tuple(columns) != archive.manifest.tables[place.table].columns or (
        digest.hexdigest() != archive.manifest.parts[part_of(place.table)].sha256
    ):
        raise archive.damaged(f"its rows of the table `{place.table}` are not those of a workspace")


@contextlib.contextmanager
def _recordings(media: Path, archive: Reader[ArchiveManifest], workspace_id: UUID, step: Step) -> Generator[None]:
    """Write the recordings, and remove them if the block fails."""
    names = archive.manifest.recordings
    folder = media / workspace_id.hex
    if not names:
        yield
        return
    try:
        # A workspace that is not there has no files but those of a try that was killed.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        with step("Bringing in the recordings", sum(archive.manifest.parts[name].size for name in names)) as advance:
            for name in names:
                path = path_of_recording(media, workspace_id, UUID(name.rpartition("/")[2]))
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    for chunk in told(archive.chunks(name), advance):
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
        sync(folder)
        sync(media)
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
