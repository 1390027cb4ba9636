"""The operations of /herdbook/invitations, and the role of a user."""

from typing import Any, Final

import asyncpg
import httpx
import pytest

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key
from herdbook.users.model import InvitationCreate, NewUser, UserRole
from tests.cast import Json, Person, Team, Thing, faults
from tests.console.conftest import people
from tests.console.people import People

__all__ = ["people"]

URL: Final = "/api/herdbook/invitations"
BODY: Final[Json] = InvitationCreate.example


async def _invited(person: Person, **members: Any) -> Json:
    answer = await person.post(URL, json=BODY | members)
    assert answer.status_code == 201, answer.text
    return answer.json()


def _link(invitation: Json) -> str:
    """Return the path of an invitation's link in the console."""
    return invitation["url"].partition("/console")[2]


async def acting_for(pool: "asyncpg.Pool[asyncpg.Record]", frank: Person, user: Thing) -> Person:
    """Return somebody whose key of all scopes was made for a user."""
    key = await create_key(pool, frank.workspace_id, "Own", [ADMIN], user_id=user.uuid)
    return Person(frank.client, frank.workspace_id, key)


async def test_anonymous_is_refused(client: httpx.AsyncClient, frank: Person) -> None:
    """The operations require a credential."""
    invitation = await _invited(frank)
    user = f"/api/herdbook/users/{invitation['user_id']}"

    answers = [await client.get(URL), await client.post(URL, json=BODY), await client.delete(f"{URL}/{invitation['id']}")]
    answers += [await client.post(f"{user}/invitations"), await client.patch(user, json={"role": "VIEWER"})]

    assert [each.status_code for each in answers] == [401] * 5


async def test_charlie_is_refused(charlie: Person, frank: Person) -> None:
    """Users and invitations of another workspace are not there."""
    invitation = await _invited(frank)
    user = f"/api/herdbook/users/{invitation['user_id']}"

    answers = [await charlie.delete(f"{URL}/{invitation['id']}"), await charlie.post(f"{user}/invitations")]
    answers.append(await charlie.patch(user, json={"role": "VIEWER"}))

    assert [each.status_code for each in answers] == [404] * 3
    assert (await charlie.get(URL)).json()["data"] == []
    assert invitation["id"] in [each["id"] for each in (await frank.get(URL)).json()["data"]]


async def test_invitation_lets_its_user_in_once(frank: Person, people: People) -> None:
    """The link signs its user in with the role; used, it is no invitation any more. The list has no link."""
    invitation = await _invited(frank, email="ivo@team.test", role="VIEWER")
    listed = next(each for each in (await frank.get(URL)).json()["data"] if each["id"] == invitation["id"])
    visitor = people.visitor()

    opened = await visitor.post(_link(invitation), token="")

    assert opened.status_code == 303
    assert "Charles Babbage" in (await visitor.get("/account")).text
    assert listed == {name: value for name, value in invitation.items() if name != "url"}
    assert (await frank.get(f"/api/v2/users/{invitation['user_id']}")).json()["role"] == "VIEWER"
    assert invitation["id"] not in [each["id"] for each in (await frank.get(URL)).json()["data"]]
    refused = await frank.post(f"/api/herdbook/users/{invitation['user_id']}/invitations")
    assert (refused.status_code, faults(refused)) == (422, [("user_id", "not_allowed")])


async def test_revoked_invitation_lets_nobody_in(frank: Person, people: People) -> None:
    """The user stays, and another link can be made."""
    invitation = await _invited(frank, email="ina@team.test")
    path = f"{URL}/{invitation['id']}"

    revoked = await frank.delete(path)
    again = await frank.post(f"/api/herdbook/users/{invitation['user_id']}/invitations")

    assert (revoked.status_code, revoked.json()["object"]) == (200, "invitation")
    assert (await frank.delete(path)).status_code == 404
    assert (await people.visitor().post(_link(invitation), token="")).status_code == 404
    assert again.status_code == 201
    assert (await people.visitor().post(_link(again.json()), token="")).status_code == 303


@pytest.mark.parametrize(
    ("members", "field", "code"),
    [
        ({"first_name": ""}, "first_name", "too_short"),
        ({"first_name": "\u200b"}, "first_name", "blank"),
        ({"last_name": "x" * 256}, "last_name", "too_long"),
        ({"email": "ivy"}, "email", "invalid_format"),
        ({"role": "INACTIVE"}, "role", "invalid_choice"),
        ({"role": "OWNER"}, "role", "invalid_choice"),
        ({"phone": "1"}, "phone", "unknown_field"),
    ],
)
async def test_refused_by_name(frank: Person, members: Json, field: str, code: str) -> None:
    """Nobody is invited by a body with a fault, nor as an owner by a key of nobody."""
    before = (await frank.get(URL)).json()
    refused = await frank.post(URL, json=BODY | members)

    assert (refused.status_code, faults(refused)) == (422, [(field, code)])
    assert (await frank.get(URL)).json() == before


async def test_address_of_another_user_is_refused(frank: Person) -> None:
    """An address belongs to one user of a workspace."""
    await _invited(frank, email="twice@team.test")

    refused = await frank.post(URL, json=BODY | {"email": "TWICE@team.test"})

    assert (refused.status_code, faults(refused)) == (409, [("email", "already_in_use")])


async def test_role_is_changed(frank: Person, team: Team) -> None:
    """The answer is the user with its version, and the change is in the activity."""
    user = await team.join(NewUser("Edith"))
    path = f"/api/herdbook/users/{user.id}"

    changed = await frank.patch(path, json={"role": "VIEWER"})

    assert (changed.status_code, changed.json()["role"]) == (200, "VIEWER")
    assert changed.headers["ETag"] == (await frank.get(user.url)).headers["ETag"]
    latest = (await frank.get("/api/herdbook/activity", params={"types": "user"})).json()["data"][0]
    assert latest["changes"] == {"role": {"from": "MEMBER", "to": "VIEWER"}}
    assert faults(await frank.patch(path, json={"role": "NOT_INVITED"})) == [("role", "invalid_choice")]
    unknown = f"/api/herdbook/users/{ids.example(ids.USER)}"
    assert (await frank.patch(unknown, json={"role": "VIEWER"})).status_code == 404


async def test_owners_are_chosen_by_owners(frank: Person, team: Team, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A key of nobody, or of an administrator, makes no owner; that of an owner does, and that of a member changes no role."""
    owner, admin, member = [
        await team.join(NewUser(name, None, (), role))
        for name, role in (("First", UserRole.OWNER), ("Second", UserRole.ADMIN), ("Third", UserRole.MEMBER))
    ]
    path = f"/api/herdbook/users/{member.id}"

    refused = [await each.patch(path, json={"role": "OWNER"}) for each in (frank, await acting_for(pool, frank, admin))]
    forbidden = await (await acting_for(pool, frank, member)).patch(path, json={"role": "ADMIN"})
    done = await (await acting_for(pool, frank, owner)).patch(path, json={"role": "OWNER"})

    assert [(each.status_code, faults(each)) for each in refused] == [(422, [("role", "invalid_choice")])] * 2
    assert forbidden.status_code == 403
    assert (done.status_code, done.json()["role"]) == (200, "OWNER")
    assert (await _invited(await acting_for(pool, frank, owner), email="o@team.test", role="OWNER"))["url"]


async def test_end_of_a_membership_ends_sessions(frank: Person, people: People) -> None:
    """A user who leaves is signed out at once."""
    invitation = await _invited(frank, email="leaver@team.test")
    visitor = people.visitor()
    await visitor.post(_link(invitation), token="")

    ended = await frank.patch(f"/api/herdbook/users/{invitation['user_id']}", json={"role": "INACTIVE"})

    assert ended.status_code == 200
    assert (await visitor.get("/account")).status_code == 303
