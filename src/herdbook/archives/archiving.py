"""An archive of one moment of a workspace, taken while servers write."""

from collections.abc import Awaitable, Callable
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from herdbook import ids
from herdbook.archives.file import ARCHIVE, ArchiveManifest, TableRows, part_of
from herdbook.archives.places import PLACES
from herdbook.archives.store import begin_moment, copy_shown, end, head, show, tables
from herdbook.backups.backup import Step, add_recordings, needed
from herdbook.backups.store import recordings
from herdbook.db.distribution import placement_of
from herdbook.db.migrate import applied
from herdbook.db.pool import OwnConnection
from herdbook.erasure.store import read_key
from herdbook.media_sweep import Kept, files_of_workspace, no_sweeps
from herdbook.parts_file import Writer
from herdbook.replacement import RECORDINGS


class ArchiveRefused(Exception):
    """The workspace cannot be archived now. The message says why, and what to do."""


class Taken(NamedTuple):
    """The manifest of an archive, and the number of recordings that engagements show and that are missing in the folder."""

    manifest: ArchiveManifest
    missing: int


async def take(
    writer: Writer, connection: OwnConnection, workspace_id: UUID, media: Path, step: Step, *, with_secrets: bool
) -> Taken:
    """Write an archive of a workspace that exists.

    No file that the moment needs is removed meanwhile, except by hand or because a person is erased.

    Refusal: ArchiveRefused if the workspace has moved to another node meanwhile.
    """
    with no_sweeps(media):
        await begin_moment(connection)
        place = await placement_of(connection, workspace_id)
        files = await needed(connection, files_of_workspace(media, workspace_id))
        found = {(file.workspace_id, file.engagement_id) for file in files}
        missing = len(await recordings(connection, workspace_id) - found)
        manifest = await take_tables(writer, connection, workspace_id, step, with_secrets=with_secrets)
        # Statements follow a workspace that moves, and read another moment at its new place.
        if await placement_of(connection, workspace_id) != place:
            raise ArchiveRefused("The workspace has moved to another node meanwhile. Nothing was written. Try again.")
        missing += add_recordings(writer, _named(files), step)
    writer.finish(ARCHIVE.manifest, manifest)
    return Taken(manifest, missing)


async def take_tables(
    writer: Writer, connection: OwnConnection, workspace_id: UUID, step: Step, *, with_secrets: bool
) -> ArchiveManifest:
    """Write the rows of the moment, and end it. Return the manifest, which knows of the parts that are added later, too."""
    written: dict[str, TableRows] = {}
    named = await head(connection, workspace_id)
    assert named is not None, "the workspace exists"
    there = await tables(connection)
    with step("Writing the tables", None) as advance:
        for place in PLACES:
            if place.table not in there or (place.is_secret and not with_secrets):
                continue
            columns = await show(connection, workspace_id, place, with_secrets=with_secrets)
            with writer.adding(part_of(place.table), packs=True) as write:
                written[place.table] = TableRows(tuple(columns), await copy_shown(connection, _told(write, advance)))
    manifest = ArchiveManifest(
        format=ARCHIVE.format,
        herdbook=installed_version("herdbook"),
        parts=writer.parts,
        workspace=ids.encoded(ids.WORKSPACE, workspace_id),
        name=named.name,
        seq=named.seq,
        migrations=tuple(sorted(await applied(connection))),
        has_secrets=with_secrets,
        tables=written,
        erasure_key=await read_key(connection) if with_secrets else None,
    )
    await end(connection)
    return manifest


def _told(write: Callable[[bytes], None], advance: Callable[[int], None]) -> Callable[[bytes], Awaitable[None]]:
    async def write_and_tell(chunk: bytes) -> None:
        write(chunk)
        advance(len(chunk))

    return write_and_tell


def _named(files: list[Kept]) -> dict[str, Kept]:
    ordered = sorted(files, key=lambda file: file.engagement_id)
    return {f"{RECORDINGS}/{file.engagement_id.hex}": file for file in ordered}
