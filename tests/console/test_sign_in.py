"""Passwords: setting one, and signing in by it."""

from uuid import UUID

import pytest

from herdbook.users.model import UserRole
from tests.cast import Person
from tests.console.people import People, Visitor

PASSWORD = "correct horse battery"  # noqa: S105  # it is for tests alone


async def _sign_in(visitor: Visitor, address: str, password: str = PASSWORD, following: str = "/console/contacts") -> str:
    """Sign in; return where it leads, or the text of the form that is shown again."""
    answer = await visitor.post("/sign-in", {"address": address, "password": password, "next": following}, token="")
    return answer.headers["Location"] if answer.status_code == 303 else answer.text


async def test_password_signs_in(people: People, olga: Visitor) -> None:
    """A person who has set a password signs in with it, in any spelling of the address."""
    await olga.post("/account/password", {"password": PASSWORD})
    visitor = people.visitor()

    assert await _sign_in(visitor, " OLGA@team.test ") == "/console/contacts"
    assert "Olga" in (await visitor.get("/account")).text


@pytest.mark.parametrize(
    ("address", "password"),
    [("olga@team.test", "correct horse"), ("nobody@team.test", PASSWORD), ("olga", PASSWORD), ("olga@team.test", "")],
)
async def test_wrong_password_is_refused_without_saying_why(people: People, olga: Visitor, address: str, password: str) -> None:
    """Whether the address or the password is wrong stays unknown."""
    await olga.post("/account/password", {"password": PASSWORD})
    visitor = people.visitor()

    assert "The e-mail address or the password is wrong" in await _sign_in(visitor, address, password)
    assert "herdbook" not in visitor.client.cookies


async def test_account_without_password_is_refused(people: People, workspace_id: UUID) -> None:
    """Nobody signs in to an account that has no password yet."""
    await people.join(workspace_id, "Nora", UserRole.MEMBER, "nora@team.test")

    assert "has no password yet" in await _sign_in(people.visitor(), "nora@team.test", "")


async def test_many_failures_are_limited(people: People, workspace_id: UUID) -> None:
    """An account takes twenty wrong passwords at once, and then none for a while, not even the right one."""
    rita = await people.join(workspace_id, "Rita", UserRole.MEMBER, "rita@team.test")
    await rita.post("/account/password", {"password": PASSWORD})
    visitor = people.visitor()

    said = [await _sign_in(visitor, "rita@team.test", "wrong") for _ in range(20)]

    assert all("password is wrong" in text for text in said)
    assert "Too many failed sign-ins" in await _sign_in(visitor, "rita@team.test")


async def test_too_short_password_is_refused(olga: Visitor) -> None:
    """A password has ten characters."""
    answer = await olga.post("/account/password", {"password": "too short"})

    assert answer.status_code == 422
    assert "10 to 200 characters" in answer.text


async def test_changing_a_password_needs_the_present_one(people: People, olga: Visitor) -> None:
    """Somebody at an open browser cannot take the account over; a person who came in by a link can, because it was lost."""
    await olga.post("/account/password", {"password": PASSWORD})
    visitor = people.visitor()
    await _sign_in(visitor, "olga@team.test")

    refused = await visitor.post("/account/password", {"password": "another password", "current": "a guess"})
    changed = await visitor.post("/account/password", {"password": "another password", "current": PASSWORD})

    assert "not your present password" in refused.text
    assert changed.status_code == 303
    assert await _sign_in(people.visitor(), "olga@team.test", "another password") == "/console/contacts"


async def test_new_password_ends_all_other_sessions(people: People, olga: Visitor) -> None:
    """A session that somebody else has ends with the old password."""
    await olga.post("/account/password", {"password": PASSWORD})
    other = people.visitor()
    await _sign_in(other, "olga@team.test")

    await olga.post("/account/password", {"password": "another password"})

    assert (await other.get("/contacts")).status_code == 303
    assert (await olga.get("/contacts")).status_code == 200


async def test_address_of_another_person_is_refused(people: People, workspace_id: UUID, olga: Visitor) -> None:
    """Two persons do not sign in with the same address."""
    nameless = await people.join(workspace_id, "Nameless")

    answer = await nameless.post("/account/password", {"address": "olga@team.test", "password": PASSWORD})

    assert olga is not None
    assert "Another person signs in with this address" in answer.text


@pytest.mark.parametrize(
    "following",
    [
        *("https://evil.test/", "//evil.test/console", "/\\evil.test", "/console\\..\\..\\evil", "javascript:alert(1)"),
        *("/consoles", "/api/v2/contacts", "/console/\n//evil.test", "http:///console"),
    ],
)
async def test_redirects_stay_in_the_console(people: People, olga: Visitor, following: str) -> None:
    """A link to the sign-in that somebody has prepared does not lead elsewhere afterwards."""
    await olga.post("/account/password", {"password": PASSWORD})

    assert await _sign_in(people.visitor(), "olga@team.test", following=following) == "/console"
    assert (await olga.get("/sign-in", params={"next": following})).headers["Location"] == "/console"


async def test_sign_in_leads_back(people: People, olga: Visitor) -> None:
    """The sign-in leads back to the page that led to it, with its query."""
    await olga.post("/account/password", {"password": PASSWORD})
    visitor = people.visitor()
    sent = (await visitor.get("/contacts?search=ada&sort=created_at%3Aasc")).headers["Location"]
    assert sent == "/console/sign-in?next=%2Fconsole%2Fcontacts%3Fsearch%3Dada%26sort%3Dcreated_at%253Aasc"

    back = await _sign_in(visitor, "olga@team.test", following="/console/contacts?search=ada&sort=created_at%3Aasc")

    assert back == "/console/contacts?search=ada&sort=created_at%3Aasc"


async def test_person_of_two_workspaces_switches(people: People, olga: Visitor, charlie: Person) -> None:
    """A person with the same address in two workspaces goes from one to the other, and to no third one."""
    there = await people.join(charlie.workspace_id, "Olga", UserRole.VIEWER, "olga@team.test")
    page = (await there.get("/account")).text
    assert "Alice&#39;s workspace" in page
    assert "Charlie&#39;s workspace" in page
    other = page.split('name="workspace" value="')[1].split('"')[0]

    await there.post("/workspace", {"workspace": other})

    assert '<span class="workspace-name">Alice&#39;s workspace</span>' in (await there.get("/contacts")).text
    assert olga is not there
    await there.post("/workspace", {"workspace": "wrks_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"})
    assert '<span class="workspace-name">Alice&#39;s workspace</span>' in (await there.get("/contacts")).text
