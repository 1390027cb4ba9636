"""The commands of `herdbook`."""

import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Final

from cyclopts import App, Argument, ArgumentCollection, CycloptsError, MissingArgumentError, Parameter
from cyclopts.config import Env

from herdbook.auth.scopes import SCOPES
from herdbook.cli.environment import CommandIncomplete, ExitStatus, environment
from herdbook.faults import OperatorFault
from herdbook.settings import SettingOutOfRange, Settings

# Settings are the same from command to command. A variable that was left behind must not force, replace or erase anything.
_STANDING: Final = {field.name.upper() for field in fields(Settings)} | {
    *("API_KEY", "LEFT_KEY", "RIGHT_KEY", "SERVER", "WORKSPACE"),
}


class _StandingVariables(Env):
    """The environment variables that stand for options: settings, and where a command finds the data."""

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Read the variables."""
        standing = [each for each in arguments if each.children or _is_standing(each)]
        super().__call__(app, commands, ArgumentCollection(standing))

    def _convert_argument(self, commands: tuple[str, ...], argument: Argument) -> str:
        # Cyclopts asks for the name of the variable that the help shows, and has no way to say that there is none.
        if not _is_standing(argument):
            argument.parameter = Parameter.combine(argument.parameter, Parameter(show_env_var=False))
        return super()._convert_argument(commands, argument)


def _is_standing(argument: Argument) -> bool:
    return argument.name.removeprefix("--").replace("-", "_").upper() in _STANDING


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415  # it takes longer to import than all of this module

    return f"herdbook {version('herdbook')}"


app = App(
    name="herdbook",
    help="An open, self-hosted system of record for the people and companies a team deals with.",
    config=_StandingVariables("HERDBOOK_", command=False),
    default_parameter=Parameter(show_env_var=True, negative=()),
    version=_version,
)
# Registered by name, so that each command imports only what it needs.
app.command(
    "herdbook.cli.serve:serve",
    help="Serve the API, on an embedded PostgreSQL unless another is given. Every option is also an environment variable.",
)
app.command("herdbook.cli.demo:demo", help="Serve sample data: contacts, companies, engagements, and a key for them.")
app.command("herdbook.cli.lab:lab", help="Serve a lab for tests, on a folder that is removed at the end.")
app.command("herdbook.cli.erase:erase", help="Erase a person for good.")
app.command("herdbook.cli.erase:app", name="erasures", help="Carry the list of erasures past a backup, and remove bytes.")
app.command("herdbook.cli.subject_access:subject_access", help="Write everything that is kept about a person, for the person.")
app.command("herdbook.cli.duplicates:duplicates", help="List who is there twice, or merge all who surely are.")
app.command("herdbook.cli.keys:app", name="keys", help="Create, list and revoke API keys.")
app.command("herdbook.cli.clients:app", name="clients", help="Create, list and revoke OAuth clients.")
app.command("herdbook.cli.workspaces:app", name="workspaces", help="Create, change and list workspaces.")
app.command(
    "herdbook.cli.upgrade_database:upgrade_database",
    name="upgrade-database",
    help="Upgrade a data folder that an earlier PostgreSQL has written.",
)
app.command("herdbook.cli.users:app", name="users", help="Create and list users: the people of the team.")
app.command("herdbook.cli.import_file:import_file", name="import", help="Import contacts or companies from a file.")
app.command(
    "herdbook.cli.export_file:export_file", name="export", help="Export contacts, companies, engagements or changes to a file."
)
app.command("herdbook.cli.backups:backup", help="Write the database and the recordings into one file, while servers write.")
app.command("herdbook.cli.archives:archive", help="Write one workspace into one file, for another server.")
app.command("herdbook.cli.archives:unarchive", help="Bring an archived workspace into a server.")
app.command("herdbook.cli.compare:compare", help="Compare the answers of two servers to the same requests.")
app.command(
    "herdbook.cli.migrate:migrate",
    help="Bring the database's schema up to date. `serve` also does this; use the command to migrate beforehand.",
)
app.command("herdbook.cli.backups:restore", help="Restore a backup into a new data folder, or into an empty database.")


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
    except OperatorFault as error:
        environment.complain(f"herdbook: {error}")
        return ExitStatus.FAILED
    except Exception as error:
        # The driver of the database takes long to import, and few commands end here.
        from herdbook.operator_faults import described  # noqa: PLC0415

        if (said := described(error)) is None:
            raise
        environment.complain(f"herdbook: {said}")
        return ExitStatus.FAILED
    return ExitStatus.OK


def run() -> None:
    """Run the command given in the shell."""
    sys.exit(main())
