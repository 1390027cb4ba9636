"""GET /v2/users/{user_id}. The ledger creates the users, as the command line does."""

import re

import httpx
import pytest

from herdbook.addresses import NotAnAddress
from herdbook.errors import NotFound, Taken
from herdbook.users.model import NewUser, UserRole
from tests.cast import Person, Stored, Team, Thing


async def test_anonymous_is_refused(client: httpx.AsyncClient, edith: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.get(edith.url)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, edith: Thing) -> None:
    """A user of another workspace is not found."""
    response = await charlie.get(edith.url)

    assert response.status_code == 404
    assert "Edith" not in response.text


async def test_dave_is_refused(dave: Person, edith: Thing) -> None:
    """A credential without the scope cannot read users."""
    response = await dave.get(edith.url)

    assert response.status_code == 403
    assert "users:read" in response.json()["detail"]


async def test_bob_reads(bob: Person, edith: Thing) -> None:
    """The read scope is enough. Addresses are shown as given, the first as primary."""
    response = await bob.get(edith.url)

    user = response.json()
    assert response.status_code == 200
    assert response.headers["ETag"] == edith.etag == '"1"'
    assert re.fullmatch("usr_[0-9A-HJKMNP-TV-Z]{26}", user.pop("id"))
    assert user.pop("created_at") == user.pop("updated_at")
    assert user == {
        "object": "user",
        "role": "MEMBER",
        "first_name": "Edith",
        "last_name": "Clarke",
        "job_title": "Engineer",
        "emails": [{"email": "Edith@Grid.test", "is_primary": True}, {"email": "clarke@home.test", "is_primary": False}],
        "time_zone": "America/New_York",
    }


async def test_what_is_empty_is_null_or_left_out(team: Team) -> None:
    """Empty names are null, empty addresses are shown as such, other empty members are left out. Phone numbers are hidden."""
    user = await team.join(NewUser(phone_number="+44 20 7946 0018"))

    assert set(user.json) == {"object", "id", "role", "first_name", "last_name", "emails", "created_at", "updated_at"}
    assert (user.json["first_name"], user.json["last_name"], user.json["emails"]) == (None, None, [])


async def test_another_role_is_another_version(alice: Person, team: Team, edith: Thing) -> None:
    """A new role changes nothing else except `updated_at`."""
    await team.set_role(edith, UserRole.INACTIVE)
    response = await alice.get(edith.url)

    user = response.json()
    assert user == {**edith.json, "role": "INACTIVE", "updated_at": user["updated_at"]}
    assert user["updated_at"] > edith.json["updated_at"]
    assert response.headers["ETag"] == '"2"'


async def test_what_the_client_has_is_not_sent_again(alice: Person, team: Team, edith: Thing) -> None:
    """If-None-Match gets 304 with the current version, but not with an older one."""
    unchanged = await alice.get(edith.url, headers={"If-None-Match": edith.etag})
    await team.set_role(edith, UserRole.OWNER)
    changed = await alice.get(edith.url, headers={"If-None-Match": edith.etag})

    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", edith.etag)
    assert (changed.status_code, changed.json()["role"]) == (200, "OWNER")


@pytest.mark.parametrize("user_id", ["edith", "usr_", "usr_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_is_not_there_is_not_found(alice: Person, user_id: str) -> None:
    """Unknown ids and malformed ids get the same answer."""
    response = await alice.get(f"/api/v2/users/{user_id}")

    assert response.status_code == 404


async def test_a_contact_is_no_user(alice: Person, ada: Thing) -> None:
    """A contact's id does not find a user, even with the other prefix."""
    response = await alice.get(f"/api/v2/users/usr_{ada.id[4:]}")

    assert response.status_code == 404


async def test_the_ledger_tells_of_users(alice: Person, team: Team, edith: Thing, stored: Stored) -> None:
    """Each new user and each new role is a ledger entry, although no request made it."""
    await team.set_role(edith, UserRole.ADMIN)
    created, updated = await stored.changes()

    assert (created.kind, created.action, created.previous, created.object) == ("u", "c", None, edith.json)
    assert (updated.kind, updated.action, updated.previous) == ("u", "u", {"role": "MEMBER"})
    assert updated.object == (await alice.get(edith.url)).json()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_users_are_only_read(alice: Person, edith: Thing, stored: Stored, method: str) -> None:
    """No request creates, changes or deletes a user."""
    answers = [
        await alice.request(method, edith.url, json={"role": "OWNER"}),
        await alice.request(method, "/api/v2/users", json={"first_name": "Eve"}),
    ]

    assert [(answer.status_code, answer.headers["Allow"].split(", ")[0]) for answer in answers] == [(405, "GET")] * 2
    assert len(await stored.changes()) == 1


@pytest.mark.parametrize(
    ("new", "taken"),
    [
        (NewUser("Eve", emails=("eve@grid.test", "EDITH@grid.test")), "edith@grid.test"),
        (NewUser("Eve", emails=(" clarke@HOME.test",)), "clarke@home.test"),
        (NewUser("Eve", phone_number="+442079460018"), "+442079460018"),
    ],
)
@pytest.mark.usefixtures("edith")
async def test_an_address_and_a_number_are_one_users(team: Team, stored: Stored, new: NewUser, taken: str) -> None:
    """An address or number, in any spelling, belongs to one user, even one who left. A refusal stores nothing."""
    mary = await team.join(NewUser("Mary", phone_number="+44 (20) 7946-0018"))
    await team.set_role(mary, UserRole.INACTIVE)
    with pytest.raises(Taken) as refused:
        await team.join(new)

    assert [error.field for error in refused.value.errors] == [taken]
    assert len(await stored.changes()) == 3


async def test_a_contact_may_have_a_users_address(alice: Person, edith: Thing) -> None:
    """Users and contacts do not compete for addresses."""
    response = await alice.post("/api/v2/contacts", json={"emails": [{"email": edith.json["emails"][0]["email"]}]})

    assert response.status_code == 201


async def test_what_is_no_address_is_refused(team: Team, stored: Stored) -> None:
    """A user cannot have an invalid address, because nobody could be found by it."""
    with pytest.raises(NotAnAddress):
        await team.join(NewUser("Eve", emails=("eve",)))

    assert await stored.changes() == []


async def test_a_role_is_for_those_who_are_there(team: Team, ada: Thing) -> None:
    """A contact cannot have a role."""
    with pytest.raises(NotFound):
        await team.set_role(ada, UserRole.OWNER)


async def test_a_name_of_symbols_is_stored(team: Team) -> None:
    """A name needs no letter."""
    user = await team.join(NewUser("👍", "🔥"))

    assert (user.json["first_name"], user.json["last_name"]) == ("👍", "🔥")
