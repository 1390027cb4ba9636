"""Keys of users who have left."""

from typing import TypeAlias
from uuid import UUID

import asyncpg
import pytest

from herdbook.auth.authenticate import Authenticator
from herdbook.auth.store import create_key
from herdbook.errors import Unauthenticated
from herdbook.users.model import NewUser, UserRole
from tests.cast import Person, Stored, Team, Thing

URL = "/api/v2/contacts"
GONE = pytest.mark.parametrize("role", [UserRole.INACTIVE, UserRole.NOT_INVITED])
Connections: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


async def holder(alice: Person, pool: Connections, user: Thing | None) -> Person:
    """Return a person with a key that acts for a user, or that names none."""
    key = await create_key(pool, alice.workspace_id, "Somebody", ["contacts:write"], user_id=user and user.uuid)
    return Person(alice.client, alice.workspace_id, key)


@GONE
async def test_who_has_left_is_out(
    alice: Person, pool: Connections, team: Team, edith: Thing, stored: Stored, role: UserRole
) -> None:
    """The key of an inactive user is refused, and it never acts as anybody else."""
    eve = await holder(alice, pool, edith)
    await team.join(NewUser("First", role=UserRole.OWNER))
    await team.set_role(edith, role)
    before = await stored.changes()
    response = await eve.post(URL, json={"first_name": "Ada"})

    assert response.status_code == 401
    assert "its user is no longer active" in response.json()["detail"]
    assert await stored.changes() == before


async def test_who_comes_back_is_in_again(alice: Person, pool: Connections, team: Team, edith: Thing) -> None:
    """A key works as long as its user is active."""
    eve = await holder(alice, pool, edith)
    await team.set_role(edith, UserRole.INACTIVE)
    await team.set_role(edith, UserRole.MEMBER)

    assert (await eve.post(URL, json={"first_name": "Ada"})).status_code == 201


async def test_who_leaves_is_out_within_five_seconds(alice: Person, pool: Connections, team: Team, edith: Thing) -> None:
    """A key in use is refused five seconds after its user leaves."""
    eve = await holder(alice, pool, edith)
    now = [1000.0]
    authenticator = Authenticator(pool, lambda: now[0])
    header = str(eve.key).encode()
    caller = await authenticator.caller(header)
    await team.set_role(edith, UserRole.INACTIVE)
    now[0] += 5
    with pytest.raises(Unauthenticated):
        await authenticator.caller(header)

    assert caller.user_id == edith.uuid


async def acting(pool: Connections, person: Person) -> UUID | None:
    """Return the user for whom a key acts now."""
    return (await Authenticator(pool).caller(str(person.key).encode())).user_id


async def test_a_key_of_nobody_belongs_to_the_workspace(alice: Person, pool: Connections, team: Team, edith: Thing) -> None:
    """A key that names no user acts for the first active user. If there is none it acts for nobody, and still works."""
    other = await team.join(NewUser("Other"))
    unnamed = await holder(alice, pool, None)
    found = [await acting(pool, unnamed)]
    for user in (edith, other):
        await team.set_role(user, UserRole.INACTIVE)
        found.append(await acting(pool, unnamed))

    assert found == [edith.uuid, other.uuid, None]
    assert (await unnamed.post(URL, json={"first_name": "Ada"})).status_code == 201


async def test_a_user_of_another_workspace_is_nobody(pool: Connections, charlie: Person, edith: Thing) -> None:
    """A key works only for a user of its own workspace."""
    stranger = await holder(charlie, pool, edith)

    assert (await stranger.post(URL, json={"first_name": "Ada"})).status_code == 401
