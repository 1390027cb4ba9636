"""`herdbook users`, and keys that act for a user."""

import asyncio
import re
from collections.abc import Generator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import requests

from herdbook import ids
from herdbook.auth.keys import read_key
from herdbook.embedded import running
from tests.cli.programs import PATIENCE, Finished, Running, herdbook, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """A server on a new folder."""
    with serving(tmp_path_factory.mktemp("users")) as server:
        yield server


def users(server: Running, *arguments: str) -> Finished:
    """Run a command about users."""
    return herdbook("users", *arguments, folder=server.folder)


def created(server: Running, *arguments: str) -> str:
    """Create a user; return the id."""
    done = users(server, "create", *arguments)
    assert done.status == 0, done.complained
    return done.said.strip()


def names(server: Running) -> list[str]:
    """Return the first names of all users from the API."""
    return [user["first_name"] for user in server.get("/api/v2/users", params={"limit": 100}).json()["data"]]


def acts_for(server: Running, key: str) -> UUID | None:
    """Return the stored user for whom a key acts."""
    stored = read_key(key)
    assert stored is not None, "it was printed"
    url = running(server.folder / "herdbook-data")
    assert url is not None, "the server is running"

    async def looked_up(url: str, key_id: UUID) -> UUID | None:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval("select user_id from credential where id = $1", key_id)
        finally:
            await connection.close()

    return asyncio.run(looked_up(url, stored.id))


def test_a_user_is_there_at_once(server: Running) -> None:
    """The output is only the id, so that a script can read it, and the running server knows the user."""
    user_id = created(
        server,
        *("Edith", "Clarke", "--email=Edith@grid.test", "--email=clarke@home.test", "--role=ADMIN"),
        *("--job-title=Engineer", "--time-zone=America/New_York", "--phone=+1 512 555 0100"),
    )
    user = server.get(f"/api/v2/users/{user_id}").json()

    assert re.fullmatch("usr_[0-9A-HJKMNP-TV-Z]{26}", user_id)
    assert user.pop("created_at") == user.pop("updated_at")
    assert user == {
        "object": "user",
        "id": user_id,
        "role": "ADMIN",
        "first_name": "Edith",
        "last_name": "Clarke",
        "job_title": "Engineer",
        "emails": [{"email": "Edith@grid.test", "is_primary": True}, {"email": "clarke@home.test", "is_primary": False}],
        "time_zone": "America/New_York",
    }


def test_a_first_name_is_enough(server: Running) -> None:
    """A user with only a first name is a member."""
    user = server.get(f"/api/v2/users/{created(server, 'Mary')}").json()

    assert (user["first_name"], user["last_name"], user["emails"], user["role"]) == ("Mary", None, [], "MEMBER")


@pytest.mark.parametrize("option", ["--email=ADA@taken.test", "--phone=+44 (0)20 7946 0018"])
def test_what_is_taken_is_refused(server: Running, option: str) -> None:
    """Each address and number belongs to one user. The message names the duplicate, and no user is created."""
    if "Ada" not in names(server):
        created(server, "Ada", "--email=ada@taken.test", "--phone=+442079460018")
    refused = users(server, "create", "Eve", option)

    assert (refused.status, refused.said) == (1, "")
    assert "ada@taken.test" in refused.complained or "+442079460018" in refused.complained
    assert "Traceback" not in refused.complained
    assert "Eve" not in names(server)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["Eve", "--email=eve"], 1, "--email is not an e-mail address"),
        (["Eve", "--email=eve@x.test", "--email="], 1, "e-mail address"),
        (["Eve", "--time-zone=Nowhere/Land"], 1, "Nowhere/Land"),
        (["Eve", "--phone=0800 1234"], 1, "country code"),
        ([" "], 1, "first name"),
        (["Eve", "--role=KING"], 2, "KING"),
        (["Eve", "--role=KING"], 2, '"NOT_INVITED"'),
        ([], 2, "requires an argument"),
        (["Eve", "--workspace=wrks_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"], 1, "workspaces list"),
    ],
)
def test_what_is_no_user_is_refused(server: Running, arguments: list[str], status: int, said: str) -> None:
    """The message says what is wrong, and no user is created."""
    refused = users(server, "create", *arguments)

    assert refused.status == status
    assert said in refused.complained
    assert "Traceback" not in refused.complained
    assert {"Eve", " "}.isdisjoint(names(server))


def test_the_list_shows_everybody(server: Running) -> None:
    """The first user of a new workspace is its owner; the others follow in order of creation."""
    user_id = created(server, "Grace", "Hopper", "--email=grace@navy.test", "--email=hopper@home.test")
    said = users(server, "list").said

    (line,) = [line for line in said.splitlines() if user_id in line]
    assert re.search(r"usr_\w{26} +Workspace Owner +OWNER", said)
    assert re.split(" {2,}", line.strip())[1:] == ["Grace Hopper", "MEMBER", "grace@navy.test, hopper@home.test"]
    assert said.index("Workspace Owner") < said.index(user_id)


def test_a_role_is_given(server: Running) -> None:
    """A user who has left is INACTIVE. The same role again changes nothing."""
    user_id = created(server, "Leaver", "--role=OWNER")
    done = users(server, "set-role", user_id, "INACTIVE")
    first = server.get(f"/api/v2/users/{user_id}")
    users(server, "set-role", user_id, "INACTIVE")
    second = server.get(f"/api/v2/users/{user_id}")

    assert (done.status, done.said, first.json()["role"]) == (0, f"{user_id} is now INACTIVE.\n", "INACTIVE")
    assert (second.json(), second.headers["ETag"]) == (first.json(), first.headers["ETag"])


@pytest.mark.parametrize("user", ["usr_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "Edith"])
def test_nobody_gets_no_role(server: Running, user: str) -> None:
    """Unknown and malformed ids are refused."""
    refused = users(server, "set-role", user, "ADMIN")

    assert refused.status == 1
    assert "no such user" in refused.complained


def test_a_key_acts_for_a_user(server: Running) -> None:
    """A key acts for the user that it names; without one the user is left open."""
    user_id = created(server, "Author")
    scope = "--scope=contacts:read"
    named = herdbook("keys", "create", "Named", scope, f"--user={user_id}", folder=server.folder).said.strip()
    unnamed = herdbook("keys", "create", "Unnamed", scope, folder=server.folder).said.strip()

    assert acts_for(server, named) == ids.decoded(ids.USER, user_id)
    assert acts_for(server, unnamed) is None


def test_no_key_acts_for_who_has_left(server: Running) -> None:
    """A key for an inactive user is not created, because it could not be used."""
    user_id = created(server, "Retired", "--role=INACTIVE")
    refused = herdbook("keys", "create", "Late", "--scope=contacts:read", f"--user={user_id}", folder=server.folder)

    assert (refused.status, refused.said) == (1, "")
    assert "no active user" in refused.complained


def test_users_belong_to_a_workspace(tmp_path: Path) -> None:
    """A second workspace has its own owner, and neither keys nor roles there are for users of the first."""
    with serving(tmp_path) as server:
        user_id = created(server, "First")
        workspace = "--workspace=" + herdbook("workspaces", "create", "Sales", folder=tmp_path).said.strip()
        second_id = created(server, "Second", workspace)
        listed = users(server, "list", workspace).said
        refused = [
            herdbook("keys", "create", "K", "--scope=tags:read", workspace, f"--user={user_id}", folder=tmp_path),
            users(server, "set-role", user_id, "ADMIN", workspace),
            users(server, "create", "Nobody"),
        ]

        assert [user_id in listed, second_id in listed, "Workspace Owner" in listed] == [False, True, True]
        assert [(one.status, one.said) for one in refused] == [(1, "")] * 3
        assert ["users list" in refused[0].complained, "--workspace" in refused[2].complained] == [True, True]
        assert sorted(names(server)) == ["First", "Workspace"]
        assert server.get(f"/api/v2/users/{user_id}").json()["role"] == "MEMBER"


def test_a_link_opens_the_console(server: Running) -> None:
    """The link that the command prints signs its user in, at the address that was named."""
    created(server, "Olga", "--email=Olga@Team.test")
    done = users(server, "link", "olga@team.test", f"--public-url={server.url}/")
    link = done.said.strip()
    assert link.startswith(f"{server.url}/console/link/link_")

    with requests.Session() as browser:
        opened = browser.post(link, headers={"Origin": server.url}, timeout=PATIENCE)

    assert opened.url == f"{server.url}/console/contacts"
    assert "Olga" in opened.text
    assert "Console" not in herdbook("keys", "list", folder=server.folder).said


@pytest.mark.parametrize("email", ["nobody@team.test", "no address", "usr_01M86DHVTNSHP41QCFZ4JDK9GM"])
def test_a_link_for_nobody_is_refused(server: Running, email: str) -> None:
    """The refusal names what was asked for, and how to find the users."""
    done = users(server, "link", email)

    assert done.status == 1
    assert f"There is no active user with `{email}`." in done.complained
