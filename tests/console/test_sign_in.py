"""Passwords: setting one, and signing in by it."""

import re
from uuid import UUID

import pytest

from herdbook import ids
from herdbook.console.attempts import Attempts
from herdbook.errors import RateLimited
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


async def test_new_password_ends_all_other_sessions(people: People, workspace_id: UUID) -> None:
    """A session that somebody else has ends with the old password."""
    nelly = await people.join(workspace_id, "Nelly", UserRole.MEMBER, "nelly@team.test")
    await nelly.post("/account/password", {"password": PASSWORD})
    other = people.visitor()
    await _sign_in(other, "nelly@team.test")

    await nelly.post("/account/password", {"password": "another password", "current": PASSWORD})

    assert (await other.get("/contacts")).status_code == 303
    assert (await nelly.get("/contacts")).status_code == 200


async def test_address_of_another_person_is_refused(people: People, workspace_id: UUID, olga: Visitor) -> None:
    """Two persons do not sign in with the same address."""
    nameless = await people.join(workspace_id, "Nameless")

    answer = await nameless.post("/account/password", {"address": "olga@team.test", "password": PASSWORD})

    assert olga is not None
    assert "somebody else&#39;s on this server" in answer.text


async def test_address_of_a_user_who_has_not_come_yet_is_refused(people: People, workspace_id: UUID) -> None:
    """Nobody signs in with the address of another user, who may follow a link to it later."""
    await people.member(workspace_id, "Boss", UserRole.OWNER, "boss@team.test")
    nameless = await people.join(workspace_id, "Nameless")

    answer = await nameless.post("/account/password", {"address": "boss@team.test", "password": PASSWORD})

    assert "somebody else&#39;s on this server" in answer.text
    assert await _sign_in(people.visitor(), "boss@team.test") != "/console/contacts"


async def test_new_password_ends_what_a_link_has_begun(people: People, workspace_id: UUID) -> None:
    """Once a password is set, an open browser cannot change it without it, and no link of before lets anybody in."""
    member = await people.member(workspace_id, "Ronja", UserRole.MEMBER, "ronja@team.test")
    kept, rita = await people.link(member), await people.visiting(member)
    await rita.post("/account/password", {"password": PASSWORD})

    changed = await rita.post("/account/password", {"password": "another password"})

    assert "not your present password" in changed.text
    assert (await people.visitor().open(kept)).status_code == 404


async def test_removing_a_passkey_needs_the_password(people: People, workspace_id: UUID) -> None:
    """Somebody at an open browser takes nobody's other way in away."""
    petra = await people.join(workspace_id, "Petra", UserRole.MEMBER, "petra@team.test")
    await petra.post("/account/password", {"password": PASSWORD})

    refused = await petra.post("/account/passkeys/remove", {"passkey": "pkey_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"})
    removed = await petra.post("/account/passkeys/remove", {"passkey": "pkey_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "current": PASSWORD})

    assert (refused.status_code, removed.status_code) == (422, 303)


def test_address_that_may_try_no_more_blocks_no_account() -> None:
    """An address from which too much has failed cannot use up the attempts of an account."""
    attempts = Attempts(clock=lambda: 0.0)
    for number in range(40):
        attempts.take(f"nobody{number}@team.test", "192.0.2.1")
    for _ in range(30):
        with pytest.raises(RateLimited):
            attempts.take("olga@team.test", "192.0.2.1")

    attempts.take("olga@team.test", "198.51.100.7")


async def test_sign_in_goes_on_in_the_workspace_that_was_chosen_last(people: People, olga: Visitor, charlie: Person) -> None:
    """A person whose session is over finds the page and the text of before, in either of two workspaces."""
    there = await people.join(charlie.workspace_id, "Olga", UserRole.MEMBER, "olga@team.test")
    await there.post("/account/password", {"password": PASSWORD})
    assert olga is not there

    for _ in range(2):
        other = (await there.get("/account")).text.split('name="workspace" value="')[1].split('"')[0]
        await there.post("/workspace", {"workspace": other})
        chosen = _workspace_in((await there.get("/account")).text)
        await there.post("/sign-out")
        await _sign_in(there, "olga@team.test")

        assert _workspace_in((await there.get("/account")).text) == chosen


async def test_workspace_that_was_left_is_not_chosen(people: People, olga: Visitor, charlie: Person) -> None:
    """An open page that still offers a workspace that the person has left does not end the session."""
    member = await people.member(charlie.workspace_id, "Olga", UserRole.MEMBER, "olga@team.test")
    there = await people.visiting(member)
    assert olga is not there
    back = (await there.get("/account")).text.split('name="workspace" value="')[1].split('"')[0]
    await there.post("/workspace", {"workspace": back})
    await people.set_role(member, UserRole.INACTIVE)

    await there.post("/workspace", {"workspace": ids.encoded(ids.WORKSPACE, charlie.workspace_id)})

    assert "Alice" in _workspace_in((await there.get("/account")).text)


def _workspace_in(page: str) -> str:
    found = re.search(r'workspace-name" [^>]*>([^<]+)<', page)
    assert found is not None, "the page names its workspace"
    return found[1]


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

    assert _workspace_in((await there.get("/contacts")).text) == "Alice&#39;s workspace"
    assert olga is not there
    await there.post("/workspace", {"workspace": "wrks_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"})
    assert _workspace_in((await there.get("/contacts")).text) == "Alice&#39;s workspace"
