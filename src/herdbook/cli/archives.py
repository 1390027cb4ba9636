"""`herdbook archive` and `herdbook unarchive`: one workspace in one file, and into another server."""

import asyncio
import getpass
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter
from rich.filesize import decimal

from herdbook.archives.archiving import Taken, take
from herdbook.archives.file import ArchiveManifest, writing_archive
from herdbook.archives.unarchiving import Brought, bring, brought_up_to_date, checked_archive
from herdbook.cli.database import database as open_database
from herdbook.cli.database import with_connection, workspace_called
from herdbook.cli.environment import CommandFailed, CommandIncomplete, environment
from herdbook.cli.progress import step
from herdbook.cli.whole_files import ending_whole, refusals, require_new
from herdbook.counts import number_of
from herdbook.db.migrate import SchemaTooNew, migrate, unknown
from herdbook.db.pool import OwnConnection
from herdbook.embedded import EmbeddedPostgres, has_data
from herdbook.parts_file import new_file, to_disk
from herdbook.settings import DatabaseSettings

_VARIABLE: Final = "HERDBOOK_PASSPHRASE"
_SHORTEST: Final = 12


def archive(
    file: Path,
    *,
    workspace: str | None = None,
    with_secrets: bool = False,
    database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings(),
) -> None:
    """Write one workspace into one file, while servers go on writing. Status 3: recordings are missing.

    Parameters
    ----------
    file
        The file to write. Only its owner may read it.
    workspace
        The workspace's id; not needed if there is only one.
    with_secrets
        Whether to write the secrets of keys, programs, webhooks and people, too, and to encrypt the file with the passphrase in
        HERDBOOK_PASSPHRASE. If that is not set, the command asks for it.

    """
    require_new(file, "archive")
    passphrase = _new_passphrase() if with_secrets else None
    with ending_whole(), refusals(f"The archive `{file}` was not written"):
        with new_file(file) as (_, opened), open_database(database) as url:

            async def work(connection: OwnConnection) -> Taken:
                await _require_known(connection)
                workspace_id = await workspace_called(connection, workspace)
                with writing_archive(opened, passphrase) as writer:
                    media = database.data_dir / "media"
                    return await take(writer, connection, workspace_id, media, step, with_secrets=with_secrets)

            taken = with_connection(DatabaseSettings(database_url=url), work)
            to_disk(opened)
            require_new(file, "archive")
        environment.say(f"Wrote {file} ({decimal(file.stat().st_size)}). {_summary(taken.manifest)}")
        if taken.missing:
            raise CommandIncomplete(
                f"{number_of(taken.missing, 'recording of an engagement is', 'recordings of engagements are')} not in the "
                "archive, because the data folder does not have such a file. All else is. With an external database, name the "
                "folder of the server that fetched them with --data-dir."
            )


def unarchive(file: Path, *, database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings()) -> None:
    """Bring an archived workspace into a server that has it not, all of it or nothing. A data folder is made if it is missing.

    Parameters
    ----------
    file
        A file that `herdbook archive` wrote. If it has secrets, HERDBOOK_PASSPHRASE has its passphrase, or the command asks for
        it.

    """
    if not file.is_file():
        raise CommandFailed(f"There is no file `{file}`. Name one that `herdbook archive` wrote.")
    with (
        ending_whole("Nothing was brought in."),
        refusals(f"The archive `{file}` was not brought in"),
        checked_archive(file, _passphrase, step) as whole,
        brought_up_to_date(whole, step) as rows,
        _server(database) as url,
    ):
        brought = asyncio.run(bring(url, database.data_dir, whole, rows, step))
        _tell(whole.manifest, brought)


def _summary(manifest: ArchiveManifest) -> str:
    return f"Changes: {manifest.seq}, rows: {manifest.rows}, recordings: {len(manifest.recordings)}."


def _tell(manifest: ArchiveManifest, brought: Brought) -> None:
    environment.say(f"Brought in the workspace `{manifest.workspace}`, {manifest.name}. {_summary(manifest)}")
    if not manifest.has_secrets:
        environment.say(
            "The archive has no secrets. Keys and programs of the workspace need new ones: `herdbook keys create` and "
            "`herdbook clients` make them, and `herdbook users link` lets people in."
        )
    if brought.silent_endpoints:
        one = "webhook endpoint has new secrets, and is sent nothing until you enable it"
        several = "webhook endpoints have new secrets, and are sent nothing until you enable them"
        environment.say(f"{number_of(brought.silent_endpoints, one, several)}.")
    if brought.people_there:
        environment.say(
            f"{number_of(brought.people_there, 'person has', 'people have')} an account on this server already. "
            "`herdbook users link` makes a link into the workspace for each."
        )


@contextmanager
def _server(settings: DatabaseSettings) -> Generator[str]:
    """Yield the address of a database that is up to date. A data folder without one gets one."""
    if settings.database_url is None and not has_data(settings.data_dir):
        server = EmbeddedPostgres(settings.data_dir)
        try:
            url = server.start()
            asyncio.run(migrate(url))
            yield url
        finally:
            server.stop()
        return
    with open_database(settings) as url:
        with_connection(DatabaseSettings(database_url=url), _require_known)
        yield url


async def _require_known(connection: OwnConnection) -> None:
    """Refuse a schema that a newer herdbook has migrated: it may have tables that this one does not know."""
    if newer := await unknown(connection):
        raise SchemaTooNew(newer)


def _new_passphrase() -> str:
    given = os.environ.get(_VARIABLE)
    passphrase = _passphrase() if given is None else given
    if len(passphrase) < _SHORTEST:
        raise CommandFailed(f"A passphrase needs {_SHORTEST} characters, because the archive has secrets.")
    if given is None and getpass.getpass("The same again: ") != passphrase:
        raise CommandFailed("The passphrases differ. Nothing was written.")
    return passphrase


def _passphrase() -> str:
    given = os.environ.get(_VARIABLE)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise CommandFailed(f"An archive with secrets needs a passphrase. Set {_VARIABLE}, or run the command in a terminal.")
    return getpass.getpass("Passphrase: ")
