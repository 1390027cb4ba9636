"""The commands of `herdbook`."""

import asyncio
import sys
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from typing import Annotated

import asyncpg
from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Env

from herdbook.cli.database import database as open_database
from herdbook.cli.environment import CommandFailed, ExitStatus, environment
from herdbook.cli.serve import announce_server, preparing
from herdbook.cli.serve import serve as run_server
from herdbook.db.claims_by_case import ClaimedTwice
from herdbook.db.migrate import DatabaseTooOld, SchemaTooNew
from herdbook.db.migrate import migrate as apply_migrations
from herdbook.db.pool import DatabaseUrlInvalid
from herdbook.embedded import DataFolderInUse, EmbeddedPostgresFailed
from herdbook.settings import DatabaseSettings, SettingOutOfRange, Settings

app = App(
    name="herdbook",
    help="An open, self-hosted system of record for the people and companies a team deals with.",
    config=Env("HERDBOOK_", command=False),
    default_parameter=Parameter(show_env_var=True, negative=()),
    version_flags=[],
)
# Registered by name, so that each command imports only what it needs.
app.command("herdbook.cli.demo:demo", help="Serve sample data: contacts, companies, engagements, and a key for them.")
app.command("herdbook.cli.keys:app", name="keys", help="Create, list and revoke API keys.")
app.command("herdbook.cli.clients:app", name="clients", help="Create, list and revoke OAuth clients.")
app.command("herdbook.cli.workspaces:app", name="workspaces", help="Create and list workspaces.")
app.command("herdbook.cli.users:app", name="users", help="Create and list users: the people of the team.")


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


@app.command
def version() -> None:
    """Print the version."""
    environment.say(f"herdbook {installed_version('herdbook')}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    try:
        app(arguments, exit_on_error=False, result_action="return_value")
    except CycloptsError:
        return ExitStatus.USAGE
    except SettingOutOfRange as error:
        environment.complain(f"herdbook: {error}")
        return ExitStatus.USAGE
    except (
        CommandFailed,
        ClaimedTwice,
        DataFolderInUse,
        DatabaseTooOld,
        DatabaseUrlInvalid,
        EmbeddedPostgresFailed,
        SchemaTooNew,
    ) as error:
        environment.complain(f"herdbook: {error}")
        return ExitStatus.FAILED
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        environment.complain(f"herdbook: {type(error).__name__}: {error}")
        return ExitStatus.FAILED
    return ExitStatus.OK


def run() -> None:
    """Run the command given in the shell."""
    sys.exit(main())
