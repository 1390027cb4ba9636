"""The commands of `herdbook`."""

import asyncio
import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from typing import Annotated, Final

import asyncpg
from cyclopts import App, CycloptsError, MissingArgumentError, Parameter
from cyclopts.config import Env

from herdbook.auth.scopes import SCOPES
from herdbook.cli.database import database as open_database
from herdbook.cli.environment import CommandFailed, CommandIncomplete, ExitStatus, environment
from herdbook.cli.serve import announce_server, preparing
from herdbook.cli.serve import serve as run_server
from herdbook.database_upgrade import UpgradeRefused
from herdbook.db.claims_by_case import ClaimedTwice
from herdbook.db.migrate import DatabaseTooOld, SchemaTooNew
from herdbook.db.migrate import migrate as apply_migrations
from herdbook.db.pool import DatabaseAway, DatabaseUrlInvalid
from herdbook.embedded import DataFolderInUse, EmbeddedPostgresFailed
from herdbook.erasure_list import ErasureListInvalid
from herdbook.settings import DatabaseSettings, SettingOutOfRange, Settings

# The form of asyncio's messages.
_REFUSED: Final = re.compile(r"\[Errno (\d+)\] Connect call failed \('([^']+)', (\d+)")
_NUMBER: Final = re.compile(r"\[Errno -?\d+\] ")

app = App(
    name="herdbook",
    help="An open, self-hosted system of record for the people and companies a team deals with.",
    config=Env("HERDBOOK_", command=False),
    default_parameter=Parameter(show_env_var=True, negative=()),
    version=lambda: f"herdbook {installed_version('herdbook')}",
)
# Registered by name, so that each command imports only what it needs.
app.command("herdbook.cli.demo:demo", help="Serve sample data: contacts, companies, engagements, and a key for them.")
app.command("herdbook.cli.erase:erase", help="Erase a person for good.")
app.command("herdbook.cli.erase:app", name="erasures", help="Carry the list of erasures past a backup, and remove bytes.")
app.command("herdbook.cli.subject_access:subject_access", help="Write everything that is kept about a person, for the person.")
app.command("herdbook.cli.keys:app", name="keys", help="Create, list and revoke API keys.")
app.command("herdbook.cli.clients:app", name="clients", help="Create, list and revoke OAuth clients.")
app.command("herdbook.cli.workspaces:app", name="workspaces", help="Create, change and list workspaces.")
app.command(
    "herdbook.cli.upgrade_database:upgrade_database",
    name="upgrade-database",
    help="Upgrade a data folder that an earlier PostgreSQL has written.",
)
app.command("herdbook.cli.users:app", name="users", help="Create and list users: the people of the team.")
app.command("herdbook.cli.backups:backup", help="Write the database and the recordings into one file, while servers write.")
app.command("herdbook.cli.backups:restore", help="Restore a backup into a new data folder, or into an empty database.")


@app.command
def serve(*, settings: Annotated[Settings, Parameter(name="*")] = Settings()) -> None:
    """Serve the API, on an embedded PostgreSQL unless another is given. Every option is also an environment variable."""
    run_server(settings, preparing(settings), announce_server(settings))


@app.command
def migrate(*, database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings()) -> None:
    """Bring the database's schema up to date. `serve` also does this; use the command to migrate beforehand."""
    with open_database(database) as url:
        applied = asyncio.run(apply_migrations(url))
    environment.say(f"Applied {', '.join(applied)}." if applied else "The schema is up to date.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    try:
        app(arguments, exit_on_error=False, result_action="return_value")
    except CycloptsError as error:
        if isinstance(error, MissingArgumentError) and error.argument is not None and error.argument.name == "--scope":
            environment.complain(f"Name at least one scope, as in `--scope contacts:read`. The scopes are {', '.join(SCOPES)}.")
        return ExitStatus.USAGE
    except SettingOutOfRange as error:
        environment.complain(f"herdbook: {error}")
        return ExitStatus.USAGE
    except CommandIncomplete as incomplete:
        environment.complain(f"herdbook: {incomplete}")
        return ExitStatus.INCOMPLETE
    except (
        CommandFailed,
        ClaimedTwice,
        DataFolderInUse,
        DatabaseTooOld,
        DatabaseUrlInvalid,
        EmbeddedPostgresFailed,
        ErasureListInvalid,
        SchemaTooNew,
        UpgradeRefused,
    ) as error:
        environment.complain(f"herdbook: {error}")
        return ExitStatus.FAILED
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        environment.complain(f"herdbook: {_described(error)}")
        return ExitStatus.FAILED
    return ExitStatus.OK


def _described(error: Exception) -> str:
    if isinstance(error, (DatabaseAway, TimeoutError)):
        return f"The database cannot be reached: {_reason(error)}. Start it, or correct --database-url."
    if isinstance(error, (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)):
        return f"The database refuses the connection: {error}. Correct --database-url."
    return f"{type(error).__name__}: {error}"


def _reason(error: OSError) -> str:
    """Return the system's words about a connection, without the form of an exception."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    refused = _REFUSED.search(str(error))
    if refused is not None:
        return f"{os.strerror(int(refused[1]))} at {refused[2]}, port {refused[3]}"
    return _NUMBER.sub("", str(error))


def run() -> None:
    """Run the command given in the shell."""
    sys.exit(main())
