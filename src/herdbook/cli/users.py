"""`herdbook users`: the people of the team, and the links that let them into the console."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from herdbook import ids
from herdbook.addresses import NotAnAddress, comparable_address
from herdbook.auth.keys import Token
from herdbook.cli.database import carry_out, with_connection, workspace_called
from herdbook.cli.environment import CommandFailed, environment, require_name
from herdbook.cli.tables import new_table, show
from herdbook.console.model import link_address
from herdbook.console.store import create_link
from herdbook.db.pool import Connection
from herdbook.ledger.commands import Update
from herdbook.phone_numbers import e164
from herdbook.settings import DatabaseSettings
from herdbook.time_zones import not_a_time_zone, time_zones
from herdbook.users.commands import CreateUser
from herdbook.users.model import NewUser, RoleUpdate, User, UserRole
from herdbook.users.store import USER, all_users


def _spelled(name: str) -> str:
    return name.upper().replace("-", "_")


# Roles are shown as the API spells them; lower case and hyphens work, too.
_Role = Annotated[UserRole, Parameter(name="--role", name_transform=_spelled)]

app = App(
    name="users",
    help="Create and list users: the people of the team, who own engagements and write comments.",
    version_flags=[],
)


@app.command
def create(  # noqa: PLR0913  # one argument per field of a user
    first_name: str,
    last_name: str | None = None,
    *,
    email: Annotated[Sequence[str], Parameter(negative=())] = (),
    role: _Role = UserRole.MEMBER,
    job_title: str | None = None,
    time_zone: str | None = None,
    phone: str | None = None,
    workspace: str | None = None,
    database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings(),
) -> None:
    """Create a user, and print its id.

    Parameters
    ----------
    first_name
        The given name.
    last_name
        The family name.
    email
        An e-mail address; repeat the option for more. The first is the primary one.
    role
        The user's role in the team.
    job_title
        The user's job title.
    time_zone
        A name in IANA's database, such as Europe/London.
    phone
        A phone number with its country code; engagements find their owner by it.
    workspace
        The workspace's id; not needed if there is only one.

    """
    require_name(first_name, "A user needs a first name, so that others can recognise them.")
    if last_name is not None:
        require_name(last_name, "A last name must be readable; leave it out if there is none.")
    if job_title is not None:
        require_name(job_title, "A job title must be readable; leave it out if there is none.")
    if time_zone is not None and time_zone not in time_zones():
        raise CommandFailed(f"`{time_zone}` {not_a_time_zone(time_zone)}")
    if phone is not None and e164(phone) is None:
        raise CommandFailed(f"`{phone}` is not a phone number with its country code. Use one such as +44 20 7946 0018.")
    addresses = dict.fromkeys(email)
    new = NewUser(first_name, last_name, tuple(addresses), role, job_title, time_zone, phone)
    try:
        written = carry_out(database, workspace, CreateUser(new))
    except NotAnAddress as error:
        raise CommandFailed(f"--email is not an e-mail address: {error}") from None
    environment.say(msgspec.json.decode(written.body, type=User).id)


@app.command
def set_role(
    user: str,
    role: _Role,
    *,
    workspace: str | None = None,
    database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings(),
) -> None:
    """Change the role of a user. INACTIVE is for people who have left: they own nothing new.

    Parameters
    ----------
    user
        The user's id.
    role
        The user's new role in the team.
    workspace
        The workspace's id; not needed if there is only one.

    """
    carry_out(database, workspace, Update(USER, ids.decoded(ids.USER, user) or ids.NIL, RoleUpdate(role)))
    environment.say(f"{user} is now {role.value}.")


@app.command
def link(
    email: str,
    *,
    public_url: str = "http://localhost:8080",
    workspace: str | None = None,
    database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings(),
) -> None:
    """Print a link that signs a user in to the console, once, within 10 minutes: to begin, or after a lost password.

    Parameters
    ----------
    email
        An e-mail address of the user, or the user's id.
    public_url
        The address of the server, as the user reaches it.
    workspace
        The workspace's id; not needed if there is only one.

    """

    async def work(connection: Connection) -> Token | None:
        workspace_id = await workspace_called(connection, workspace)
        for user in await all_users(connection, workspace_id):
            if user.role.is_active and (user.id == email or any(_is_same(item.email, email) for item in user.emails)):
                user_id = ids.decoded(ids.USER, user.id)
                assert user_id is not None, "the database has it"
                return await create_link(connection, workspace_id, user_id)
        return None

    made = with_connection(database, work)
    if made is None:
        raise CommandFailed(f"There is no active user with `{email}`. `herdbook users list` shows all; `create` adds one.")
    environment.say(link_address(public_url.rstrip("/"), made))


def _is_same(address: str, other: str) -> bool:
    try:
        return comparable_address(address) == comparable_address(other.strip())
    except NotAnAddress:
        return False


@app.command(name="list")
def list_users(
    *, workspace: str | None = None, database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings()
) -> None:
    """List the users of a workspace.

    Parameters
    ----------
    workspace
        The workspace's id; not needed if there is only one.

    """

    async def work(connection: Connection) -> list[User]:
        return await all_users(connection, await workspace_called(connection, workspace))

    table = new_table("User", "Name", "Role", "E-mail")
    for user in with_connection(database, work):
        name = " ".join(part for part in (user.first_name, user.last_name) if part)
        table.add_row(user.id, name, user.role.value, ", ".join(item.email for item in user.emails))
    show(table)
