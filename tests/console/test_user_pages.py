"""The pages of the team: invitations, roles, the end of a membership, one's own name."""

import asyncio
import re
from html import unescape
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from herdbook import ids
from herdbook.users import team_pages
from herdbook.users.model import NewUser, UserRole
from tests.cast import Person, Team, Thing
from tests.console.people import Member, People, Visitor

INVITED = {"first_name": "Ivy", "last_name": "Ito", "email": "ivy@team.test", "role": "MEMBER"}
PASSWORD = "correct horse battery"  # noqa: S105  # it is for tests alone
HOSTILE = ['"><img src=x onerror=alert(1)>', "{{7*7}}", "\u202eevil", "x" * 255]


def _link(page: str) -> str:
    """Return the path of the link that a page shows."""
    found = re.search(r'value="http://[^/"]+/console(/link/[^"]+)"', page)
    assert found is not None, page
    return found[1]


async def _invited(anna: Visitor, **fields: str) -> str:
    return _link((await anna.post("/users/new", INVITED | fields)).text)


def _user_id(page: str, name: str) -> str:
    """Return the id of a user in the list."""
    found = re.search(rf"<strong>{re.escape(name)}</strong>.*?/users/(usr_\w+)/", page, re.DOTALL)
    assert found is not None, page
    return found[1]


async def test_roles_are_listed_in_pages_and_found_by_name(
    anna: Visitor, people: People, workspace_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many users there are, a page has some of them, and leads to the others; a search finds each."""
    monkeypatch.setattr(team_pages, "LIMIT", 2)
    for number in range(4):
        await people.member(workspace_id, f"Number {number}", UserRole.MEMBER)

    seen: list[str] = []
    path: str | None = "/users/roles"
    while path is not None:
        page = (await anna.get(path)).text
        shown = re.findall(r"<li class=\"card-row.*?<strong>([^<]+)</strong>", page, re.DOTALL)
        assert len(shown) <= 2
        seen += shown
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = following and unescape(following[1])
    assert sorted(seen) == sorted({*seen})
    assert {f"Number {number}" for number in range(4)} < {*seen}
    found = (await anna.get("/users/roles?search=number+3")).text
    assert re.findall(r"<strong>(Number \d)</strong>", found) == ["Number 3"]


async def test_refused_role_is_shown_at_its_user(
    anna: Visitor, people: People, workspace_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that is refused is told where it was chosen, also if the user is not on the first page."""
    monkeypatch.setattr(team_pages, "LIMIT", 1)
    late = await people.member(workspace_id, "Oldest", UserRole.MEMBER)
    await people.member(workspace_id, "Newest", UserRole.MEMBER)

    answer = await anna.post(f"/users/{ids.encoded(ids.USER, late.user_id)}/role", {"role": "EMPEROR"})

    assert answer.status_code == 422
    assert re.findall(r"<li class=\"card-row.*?<strong>([^<]+)</strong>", answer.text, re.DOTALL) == ["Oldest"]
    assert 'role="alert"' in answer.text


async def test_invited_person_comes_in_and_sets_a_password(anna: Visitor, people: People) -> None:
    """An invitation is a link that works once; the user it was made for is then in the workspace, with the role."""
    link = await _invited(anna)
    assert "has not signed in yet" in (await anna.get("/users/roles")).text
    ivy, thief = people.visitor(), people.visitor()
    assert "for 7 days" in (await ivy.get(link)).text

    assert (await ivy.post(link, token="")).status_code == 303
    assert (await thief.post(link, token="")).status_code == 404
    page = (await ivy.get("/account")).text
    assert "Ivy Ito" in page
    assert (await ivy.get("/users/roles")).status_code == 403
    assert (await ivy.post("/account/password", {"password": "correct horse battery"})).status_code == 303


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"first_name": " "}, "This is missing. Send it."),
        ({"first_name": "x" * 256}, "Send at most 255."),
        ({"last_name": "\u0000"}, "NUL character"),
        ({"email": ""}, "This is missing. Send it."),
        ({"email": "ivy"}, "This is not an e-mail address"),
        ({"email": "OLGA@team.test"}, "Another user of this workspace has this address"),
        ({"role": "INACTIVE"}, "This must be"),
        ({"role": "OWNER"}, "Only an owner makes somebody an owner"),
    ],
)
async def test_bad_invitation_is_refused(anna: Visitor, olga: Visitor, fields: dict[str, str], said: str) -> None:
    """Each refusal stands at its field, what was typed stays, and nobody is invited."""
    assert olga is not None

    answer = await anna.post("/users/new", INVITED | fields)

    assert answer.status_code == 422
    assert said in answer.text
    assert "Ito" in answer.text or "last_name" in fields
    assert "ivy@team.test" not in (await anna.get("/users/roles")).text


async def test_invitation_of_an_address_with_an_account_needs_its_sign_in(
    anna: Visitor, people: People, charlie: Person, olga: Visitor
) -> None:
    """An administrator does not become a person of another workspace by inviting her address; she accepts by signing in."""
    theirs = await people.join(charlie.workspace_id, "Wanda", UserRole.MEMBER, "wanda@team.test")
    link = await _invited(anna, email="wanda@team.test")

    for visitor in (anna, olga, people.visitor()):
        refused = await visitor.post(link, token="")
        assert refused.status_code == 409
        assert "Sign in first" in refused.text
    accepted = await theirs.post(link, token="")

    assert accepted.status_code == 303
    page = (await theirs.get("/account")).text
    assert "Alice&#39;s workspace" in page
    assert "Charlie&#39;s workspace" in page


async def test_operators_link_takes_an_address_back(anna: Visitor, people: People, charlie: Person) -> None:
    """An administrator who opens an invitation of somebody else's address neither keeps its owner out nor gets in by it."""
    puppet = people.visitor()
    assert (await puppet.post(await _invited(anna, email="chief1@team.test"), token="")).status_code == 303
    await puppet.post("/account/password", {"password": PASSWORD})
    member = await people.member(charlie.workspace_id, "Boss", UserRole.ADMIN, "chief1@team.test")

    boss = people.visitor()
    assert (await boss.open(await people.link(member))).status_code == 303

    assert "Charlie&#39;s workspace" in (await boss.get("/account")).text
    assert (await puppet.get("/account")).status_code == 303
    form = {"address": "chief1@team.test", "password": PASSWORD, "next": ""}
    assert (await people.visitor().post("/sign-in", form, token="")).status_code == 422


async def test_operators_link_takes_back_an_address_that_was_typed(people: People, workspace_id: UUID) -> None:
    """A person who has typed an address before its owner came loses it, and stays another user than the owner."""
    squatter = await people.member(workspace_id, "Squatter", UserRole.VIEWER)
    visitor = await people.visiting(squatter)
    await visitor.post("/account/password", {"address": "chief2@team.test", "password": PASSWORD})
    boss = await people.visiting(await people.member(workspace_id, "Boss", UserRole.OWNER, "chief2@team.test"))

    assert (await visitor.get("/account")).status_code == 303
    again = await people.visiting(squatter)
    page = (await again.get("/account")).text
    assert "Squatter" in page
    assert "chief2@team.test" not in page
    assert "chief2@team.test" in (await boss.get("/account")).text


async def test_operators_link_ends_what_an_administrator_has_set(anna: Visitor, people: People, workspace_id: UUID) -> None:
    """A link that proves the address of a person of one's own ends the password that an administrator may have set."""
    puppet = people.visitor()
    assert (await puppet.post(await _invited(anna, email="chief3@team.test"), token="")).status_code == 303
    await puppet.post("/account/password", {"password": PASSWORD})
    user_id = ids.decoded(ids.USER, _user_id((await anna.get("/users/roles")).text, "Ivy Ito"))
    assert user_id is not None
    boss = await people.visiting(Member(workspace_id, user_id))

    assert (await puppet.get("/account")).status_code == 303
    assert "Set a password" in (await boss.get("/account")).text


async def test_invited_person_may_go_on_without_an_account_of_somebody_else(
    anna: Visitor, people: People, carla: Visitor
) -> None:
    """Two administrators invite an address. The owner of one link gets in by it, and sees nothing of the other workspace."""
    assert (await people.visitor().post(await _invited(carla, email="chief4@team.test"), token="")).status_code == 303
    link, boss = await _invited(anna, email="chief4@team.test"), people.visitor()

    asked = await boss.post(link, token="")
    assert "I have no account here" in asked.text
    assert (await boss.post(link, {"apart": "yes"}, token="")).status_code == 303

    page = (await boss.get("/account")).text
    assert "Alice&#39;s workspace" in page
    assert "Charlie" not in page
    refused = await boss.post("/account/password", {"address": "chief4@team.test", "password": PASSWORD})
    assert "somebody else&#39;s on this server" in refused.text


async def test_invitation_of_a_proven_address_is_for_its_person_alone(anna: Visitor, people: People, charlie: Person) -> None:
    """Nobody goes on beside an account whose address an operator has vouched for."""
    await people.join(charlie.workspace_id, "Xena", UserRole.MEMBER, "xena@team.test")
    link, other = await _invited(anna, email="xena@team.test"), people.visitor()

    refused = await other.post(link, {"apart": "yes"}, token="")

    assert refused.status_code == 409
    assert "I have no account here" not in refused.text


async def test_invitation_lets_nobody_in_who_has_signed_in_before(anna: Visitor, people: People) -> None:
    """A second link that an administrator has kept is worth nothing once the person is there."""
    kept = await _invited(anna, email="iris@team.test")
    user_id = _user_id((await anna.get("/users/roles")).text, "Ivy Ito")
    again = _link((await anna.post(f"/users/{user_id}/invitation")).text)
    assert (await people.visitor().post(again, token="")).status_code == 303

    assert (await people.visitor().post(kept, token="")).status_code == 404
    refused = await anna.post(f"/users/{user_id}/invitation")
    assert refused.status_code == 422
    assert "operator makes a link" in refused.text


async def test_accepted_invitation_does_not_allow_a_new_password(anna: Visitor, people: People, charlie: Person) -> None:
    """Somebody who finds an open browser cannot set its password by an invitation."""
    theirs = await people.join(charlie.workspace_id, "Xena", UserRole.MEMBER, "xena@team.test")
    await theirs.post("/account/password", {"password": "correct horse battery"})
    assert (await theirs.post(await _invited(anna, email="xena@team.test"), token="")).status_code == 303

    assert (await theirs.post("/account/password", {"password": "another password"})).status_code == 422


async def test_role_is_changed_and_counts_at_once(
    anna: Visitor, people: People, workspace_id: UUID, ada: Thing, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A member who becomes a viewer cannot send the form of an open page; one who leaves is signed out for good."""
    member = await people.member(workspace_id, "Edith")
    edith = await people.visiting(member)
    token, shown_id = await edith.token(), ids.encoded(ids.USER, member.user_id)
    form = {"value": "Byron", "version": ada.etag.strip('"')}

    assert (await anna.post(f"/users/{shown_id}/role", {"role": "VIEWER"})).status_code == 303
    assert (await edith.post(f"/contacts/{ada.id}/edit/last_name", form, token=token)).status_code == 403
    assert (await anna.post(f"/users/{shown_id}/role", {"role": "INACTIVE"})).status_code == 303
    assert (await edith.get("/contacts")).status_code == 303
    # If the user comes back, the old session does not.
    assert not await pool.fetch("select from console_session where user_id = $1", member.user_id)


@pytest.mark.parametrize(
    ("by", "of", "role", "said"),
    [
        ("ADMIN", "OWNER", "MEMBER", "Only an owner"),
        ("ADMIN", "MEMBER", "OWNER", "Only an owner"),
        ("ADMIN", "ADMIN", "OWNER", "Only an owner"),
        ("OWNER", "OWNER", "ADMIN", "last owner"),
        ("OWNER", "OWNER", "INACTIVE", "last owner"),
        ("ADMIN", "MEMBER", "NOT_INVITED", "This must be"),
    ],
)
async def test_role_that_nobody_may_give_is_refused(
    people: People, workspace_id: UUID, by: str, of: str, role: str, said: str
) -> None:
    """Owners are chosen by owners, and one stays."""
    owner = await people.member(workspace_id, "First", UserRole.OWNER)
    await _demote_others(people, owner)
    admin = await people.member(workspace_id, "Second", UserRole.ADMIN)
    other = await people.member(workspace_id, "Third", UserRole.MEMBER)
    visitor = await people.visiting(owner if by == "OWNER" else admin)
    changed = {"OWNER": owner, "ADMIN": admin, "MEMBER": other}[of]

    answer = await visitor.post(f"/users/{ids.encoded(ids.USER, changed.user_id)}/role", {"role": role})

    assert answer.status_code == 422
    assert said in answer.text


async def _demote_others(people: People, owner: Member) -> None:
    """Let a workspace have one owner."""
    visitor = await people.visiting(owner)
    page = (await visitor.get("/users/roles")).text
    for shown_id in dict.fromkeys(re.findall(r"/users/(usr_\w+)/role", page)):
        if shown_id != ids.encoded(ids.USER, owner.user_id):
            await visitor.post(f"/users/{shown_id}/role", {"role": "MEMBER"})


async def test_last_two_owners_do_not_demote_each_other(people: People, workspace_id: UUID) -> None:
    """One of two owners stays who leave at the same time."""
    first = await people.member(workspace_id, "First", UserRole.OWNER)
    await _demote_others(people, first)
    second = await people.member(workspace_id, "Second", UserRole.OWNER)
    visitors = [await people.visiting(first), await people.visiting(second)]

    answers = await asyncio.gather(
        *(
            visitor.post(f"/users/{ids.encoded(ids.USER, member.user_id)}/role", {"role": "MEMBER"})
            for visitor, member in zip(visitors, (first, second), strict=True)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [303, 422]


async def test_user_of_another_workspace_is_not_there(anna: Visitor, people: People, charlie: Person) -> None:
    """The role of a user of another workspace cannot be changed."""
    member = await people.member(charlie.workspace_id, "Wilma")

    for path in ("role", "invitation"):
        answer = await anna.post(f"/users/{ids.encoded(ids.USER, member.user_id)}/{path}", {"role": "VIEWER"})
        assert answer.status_code == 404


async def test_person_changes_the_own_name(olga: Visitor, alice: Person) -> None:
    """The new name is in the page, and in what the API answers."""
    assert (await olga.post("/account/name", {"first_name": " ", "last_name": "Orlova"})).status_code == 422

    assert (await olga.post("/account/name", {"first_name": "Olga", "last_name": "Orlova"})).status_code == 303

    assert "Olga Orlova" in (await olga.get("/account")).text
    names = [(user["first_name"], user["last_name"]) for user in (await alice.get("/api/v2/users")).json()["data"]]
    assert ("Olga", "Orlova") in names


@pytest.mark.parametrize("value", HOSTILE)
async def test_hostile_names_are_shown_as_text(
    anna: Visitor, people: People, workspace_id: UUID, pool: "asyncpg.Pool[asyncpg.Record]", value: str
) -> None:
    """A name of a user, a workspace, a key, and of a browser, is shown as text on each page that has it."""
    visitor = await people.join(workspace_id, value, UserRole.ADMIN)
    visitor.client.headers["User-Agent"] = value.encode("ascii", "replace").decode()
    key: dict[str, Any] = {"name": value if value.isprintable() else "a key", "scope": "contacts:read", "user": ""}
    assert (await visitor.post("/keys/new", key)).status_code == 303
    before = await pool.fetchval("select name from workspace where id = $1", workspace_id)
    await pool.execute("update workspace set name = $2 where id = $1", workspace_id, value)

    pages = [(await visitor.get(path)).text for path in ("/users/roles", "/account", "/account/name", "/keys", "/contacts")]

    await pool.execute("update workspace set name = $2 where id = $1", workspace_id, before)
    assert anna is not None
    for page in pages:
        assert "<img src=x" not in page
        assert ">49<" not in page
        assert ("x" * 255 in page) == (value == "x" * 255)


async def test_link_of_an_invitation_is_of_the_public_address(anna: Visitor, team: Team) -> None:
    """The link leads to where the browser is, and the user is in the history of the workspace."""
    await team.join(NewUser("Edith"))
    page = (await anna.post("/users/new", INVITED)).text

    assert 'value="http://herdbook.test/console/link/link_' in page
