"""The upgrade of a data folder that an earlier major version of PostgreSQL has written, by PostgreSQL's own `pg_upgrade`.

    DATA/postgres.upgrade/*/          the new cluster while it is made, and the folder that pg_upgrade works in
    DATA/postgres.upgrade/upgraded/   the new cluster once it is complete
    DATA/postgres.17/                 the old cluster, unchanged, until the operator removes it

The old cluster is renamed only once the new one is complete and on the disk. If the upgrade is killed before that, the folder
is the old one. If it is killed between the two renames, whatever opens the folder next does the second one (`embedded.held`).
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import asyncpg

from herdbook import embedded
from herdbook.disk import free_room
from herdbook.embedded import EmbeddedPostgres, EmbeddedPostgresFailed, binary, single_user
from herdbook.faults import OperatorFault
from herdbook.replacement import sync

# A new cluster's own files and its write-ahead log; measured: 40 MB and 1,000 files, and 16 MB for each segment of the log.
_OWN_BYTES: Final = 256 * 2**20
_OWN_INODES: Final = 2500

# pg_upgrade wants a database named postgres in the new cluster, although ours has none. It creates the others with the numbers
# that they had, so this one must not have the number of `herdbook`, the database that `initdb` made: nor that of any other.
_SPARE_DATABASE: Final = 4294967294
_PREPARE: Final = f"""\
DROP DATABASE postgres
CREATE DATABASE postgres TEMPLATE template0 OID {_SPARE_DATABASE}
"""

# Relative to the folder in which pg_upgrade works, because its options pass through two shells.
_ACCESS: Final = "-c hba_file=../pg_hba.conf -c ident_file=../pg_ident.conf"


class UpgradeRefused(OperatorFault):
    """The folder was not upgraded, and is unchanged. The message has the reason and the remedy."""


def upgrade(data_dir: Path, old_binaries: Path | None, tell: Callable[[str], None]) -> None:
    """Upgrade the database of a folder to the version of PostgreSQL that herdbook brings, and keep the old one beside it.

    `old_binaries` is a folder with the programs of the version that wrote the data. `tell` is called with each step.

    Refusals: UpgradeRefused, DataFolderInUse, EmbeddedPostgresFailed.
    """
    data_dir = data_dir.resolve()
    with _held(data_dir) as cluster:
        theirs, ours = embedded.major_of(cluster), embedded.our_major()
        if theirs == ours:
            tell(f"The database in {data_dir} is of PostgreSQL {ours} already, and was left as it is.")
            return
        if theirs is None or theirs > ours:
            raise UpgradeRefused(
                f"The database in {data_dir} was not written by an earlier version than PostgreSQL {ours}. "
                "Install the herdbook that wrote it, or restore a backup on a new folder."
            )
        kept = _kept(data_dir, theirs)
        if kept.exists():
            raise UpgradeRefused(
                f"{kept} is there from an earlier upgrade. Run `herdbook upgrade-database --remove-old` if it is not needed "
                "any more, or move it elsewhere."
            )
        programs = _checked(old_binaries, cluster, theirs)
        tell(_require_room(cluster))

        with _draft(data_dir) as draft:
            _make(EmbeddedPostgres(data_dir), cluster, draft, programs, tell)
            complete = draft.with_name(embedded.UPGRADED)
            (draft / "postgres").rename(complete)
            sync(complete.parent)
            cluster.rename(kept)
            sync(data_dir)
            complete.rename(cluster)
            sync(data_dir)
        tell(
            f"The database is of PostgreSQL {ours} now. The one of PostgreSQL {theirs} is kept in {kept}, with "
            f"{_megabytes(_size(kept)[0])}, until `herdbook upgrade-database --remove-old` removes it."
        )


def remove_old(data_dir: Path, tell: Callable[[str], None]) -> None:
    """Remove the databases that earlier upgrades have kept.

    Refusals: UpgradeRefused if the folder's own database is not of herdbook's version; DataFolderInUse.
    """
    data_dir = data_dir.resolve()
    with _held(data_dir) as cluster:
        ours = embedded.our_major()
        if embedded.major_of(cluster) != ours:
            raise UpgradeRefused(f"The database in {data_dir} is not of PostgreSQL {ours}. Upgrade it first.")
        old = [kept for major in range(1, ours) if (kept := _kept(data_dir, major)).exists()]
        if not old:
            tell(f"There is no database of an earlier PostgreSQL in {data_dir}.")
        for kept in old:
            size, _ = _size(kept)
            with _draft(data_dir) as draft:
                # Move it first: a folder that is named like a database must be whole.
                kept.rename(draft / "postgres")
            tell(f"Removed {kept}, with {_megabytes(size)}.")


@contextmanager
def _held(data_dir: Path) -> Generator[Path]:
    """Hold the folder, and yield its cluster."""
    if not embedded.has_data(data_dir):
        raise UpgradeRefused(f"There is no herdbook data in `{data_dir}`. Choose the folder with --data-dir.")
    with embedded.held(data_dir):
        yield data_dir / "postgres"


@contextmanager
def _draft(data_dir: Path) -> Generator[Path]:
    """Yield a new folder, and remove it afterwards with all that is in it."""
    drafts = embedded.upgrade_drafts(data_dir)
    drafts.mkdir(mode=0o700, exist_ok=True)
    try:
        # A new name for each try, because a program of one that was killed may still run for a moment.
        yield Path(tempfile.mkdtemp(dir=drafts))
    finally:
        embedded.settle_upgrade(data_dir)


def _kept(data_dir: Path, major: int) -> Path:
    return data_dir / f"postgres.{major}"


def _checked(old_binaries: Path | None, cluster: Path, theirs: int) -> Path:
    """Return the folder of the old programs. Refuse if there is none, or if they are of another version."""
    commands = embedded.upgrade_commands(cluster.parent, theirs)
    if old_binaries is None:
        raise UpgradeRefused(
            f"The database in {cluster.parent} was written by PostgreSQL {theirs}, whose programs the upgrade needs. "
            f"Run\n\n{commands}"
        )
    postgres = str(old_binaries.resolve() / "postgres")
    try:
        command = [*embedded.as_owner(cluster, postgres), postgres, "--version"]
        said = subprocess.run(command, env=embedded.environment(), capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise UpgradeRefused(
            f"{old_binaries} has no programs of PostgreSQL that run here ({error}). Run\n\n{commands}"
        ) from None
    if re.fullmatch(rf"postgres \(PostgreSQL\) {theirs}\D.*", said) is None:
        raise UpgradeRefused(
            f"The programs in {old_binaries} are of another version ({said}) than the database in {cluster.parent}, "
            f"which is of PostgreSQL {theirs}. Run\n\n{commands}"
        )
    return Path(postgres).parent


def _require_room(cluster: Path) -> str:
    """Refuse if a second cluster does not fit beside the first one; return a line with the figures."""
    free, (size, files) = free_room([cluster.parent]), _size(cluster)
    assert free is not None, "the folder is there"
    size, files = size + _OWN_BYTES, files + _OWN_INODES
    # Some file systems do not count inodes.
    needed, there = (
        (_megabytes(size), _megabytes(free.free_bytes))
        if free.free_inodes is None
        else (f"{_megabytes(size)} and {files:,} inodes", f"{_megabytes(free.free_bytes)} and {free.free_inodes:,} inodes")
    )
    figures = (
        f"The upgrade copies the database. It needs up to {needed} on the disk of {cluster.parent}, where {there} are free."
    )
    if free.free_bytes < size or (free.free_inodes is not None and free.free_inodes < files):
        raise UpgradeRefused(f"{figures} Free some, and run the command again. Nothing was changed.")
    return figures


def _size(cluster: Path) -> tuple[int, int]:
    """Return the bytes and inodes that a cluster takes, without its write-ahead log, which an upgrade does not copy."""
    size, files = 0, 0
    for folder, folders, names in os.walk(cluster):
        if "pg_wal" in folders:
            folders.remove("pg_wal")
        files += len(folders) + len(names)
        size += sum((Path(folder) / name).lstat().st_blocks * 512 for name in names)
    return size, files


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def _make(server: EmbeddedPostgres, cluster: Path, draft: Path, programs: Path, tell: Callable[[str], None]) -> None:
    """Make the new cluster in `draft`, from an old one that stays unchanged."""
    tell("Starting and stopping the old database, so that it has recovered from any crash.")
    failure = "The old database does not start, and was left as it is."
    old = str(programs / "postgres")
    server.run(cluster, single_user(old, cluster), failure=failure)
    try:
        server.run(cluster, single_user(old, cluster, "herdbook"))
    except EmbeddedPostgresFailed:
        raise UpgradeRefused(
            f"The database in {cluster.parent} has no database `herdbook` in it, and was left as it is. Choose a folder that "
            "herdbook has written with --data-dir."
        ) from None

    tell("Creating the new database.")
    new, work = draft / "postgres", draft / "work"
    status = cluster.stat()
    for folder in (new, work):
        folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(folder, status.st_uid, status.st_gid)
    # pg_upgrade refuses two clusters of which one alone has checksums.
    checksums = [] if _has_checksums(programs, cluster) else ["--no-data-checksums"]
    server.run(new, [binary("initdb"), "-D", str(new), *embedded.INITDB, *checksums])
    prepare = draft / "prepare.sql"
    prepare.write_text(_PREPARE)
    server.run(new, single_user(binary("postgres"), new), text=prepare)

    # pg_upgrade and the servers that it starts have the account of the cluster's owner, and so has their only client.
    (draft / "pg_hba.conf").write_text(embedded.HBA)
    (draft / "pg_ident.conf").write_text(embedded.account_map({status.st_uid}))
    with embedded.short_enough(work) as sockets:
        command = [
            *[binary("pg_upgrade"), "--username=postgres", f"--socketdir={sockets}", "--old-port=5432", "--new-port=5432"],
            *[f"--old-bindir={programs}", f"--new-bindir={Path(binary('postgres')).parent}"],
            *[f"--old-datadir={cluster}", f"--new-datadir={new}", f"--old-options={_ACCESS}", f"--new-options={_ACCESS}"],
            *(["--sync-method=syncfs"] if sys.platform == "linux" else []),
        ]
        try:
            tell("Checking with `pg_upgrade --check`.")
            failure = "The check has found something that cannot be upgraded. The old database is as it was."
            server.run(new, [*command, "--check"], folder=work, also=[old], failure=failure)
            tell("Copying the data with `pg_upgrade`.")
            server.run(new, command, folder=work, also=[old], failure="The upgrade failed. The old database is as it was.")
        finally:
            _append_logs(new, server.log)
            for either in (cluster, new):
                embedded.stop_orphan(either)

    tell("Analyzing, so that the planner has statistics.")
    _analyze(draft)


def _has_checksums(programs: Path, cluster: Path) -> bool:
    """Whether the data pages of a cluster have checksums. Those that herdbook creates do."""
    program = str(programs / "pg_controldata")
    command = [*embedded.as_owner(cluster, program), program, "-D", str(cluster)]
    said = subprocess.run(command, env=embedded.environment(), capture_output=True, text=True, check=True).stdout
    return re.search(r"^Data page checksum version: +0$", said, re.MULTILINE) is None


def _append_logs(new: Path, log: Path) -> None:
    """Keep the logs that pg_upgrade leaves if it fails, since their folder goes with the new cluster."""
    with log.open("a") as kept:
        for file in sorted((new / "pg_upgrade_output.d").rglob("*")):
            if file.suffix in {".log", ".txt"}:
                kept.write(f"\n{file.name}:\n")
                with file.open(errors="replace") as text:
                    shutil.copyfileobj(text, kept)


def _analyze(draft: Path) -> None:
    """Make the planner's statistics, all of them before anybody is served, and drop the database that pg_upgrade wanted."""

    async def analyzed(dsn: str) -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute("analyze")
            spare = "select true from pg_database where datname = 'postgres' and oid = $1"
            if await connection.fetchval(spare, _SPARE_DATABASE):
                await connection.execute("drop database postgres")
        finally:
            await connection.close()

    server = EmbeddedPostgres(draft)
    try:
        asyncio.run(analyzed(server.start()))
    finally:
        server.stop()
