"""Links that sign a user in, once."""

from uuid import UUID

import asyncpg
import httpx

from herdbook.users.model import NewUser, UserRole
from tests.cast import Team
from tests.console.people import Member, People, Visitor
from tests.oauth.locks import while_locked


async def test_looking_at_a_link_does_not_use_it(people: People, workspace_id: UUID) -> None:
    """A program that looks at links in messages leaves the link to its reader."""
    link = await people.link(await people.member(workspace_id, "Olga"))
    previewer, olga = people.visitor(), people.visitor()

    for _ in range(3):
        assert "Welcome, Olga" in (await previewer.get(f"/link/{link}")).text

    assert "Set-Cookie" not in (await previewer.get(f"/link/{link}")).headers
    assert (await olga.open(link)).headers["Location"] == "/console/contacts"


async def test_link_works_once(people: People, workspace_id: UUID) -> None:
    """The second one who presses the button of a link is not let in."""
    link = await people.link(await people.member(workspace_id, "Olga"))
    await people.visitor().open(link)
    thief = people.visitor()

    answer = await thief.open(link)

    assert answer.status_code == 404
    assert "no longer works" in answer.text
    assert (await thief.get("/account")).status_code == 303


async def test_link_that_is_too_old_is_refused(
    people: People, workspace_id: UUID, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A link works for ten minutes."""
    link = await people.link(await people.member(workspace_id, "Olga"))
    left = await pool.fetchval("select expires_at - now() from sign_in_link where id = $1", link.id)
    await pool.execute("update sign_in_link set expires_at = now() where id = $1", link.id)

    assert 590 < left.total_seconds() <= 600
    assert (await people.visitor().open(link)).status_code == 404


async def test_link_with_another_secret_is_refused(people: People, workspace_id: UUID) -> None:
    """The id of a link alone lets nobody in."""
    member = await people.member(workspace_id, "Olga")
    link, other = await people.link(member), await people.link(member)

    assert (await people.visitor().open(link._replace(secret=other.secret))).status_code == 404


async def test_link_of_a_user_who_has_left_is_refused(people: People, workspace_id: UUID, team: Team) -> None:
    """A user who is not active any more is not let in, and neither is the link nor its session used again."""
    edith = await team.join(NewUser("Edith"))
    member = Member(workspace_id, edith.uuid)
    link, session = await people.link(member), await people.visiting(member)
    await team.set_role(edith, UserRole.INACTIVE)

    assert (await people.visitor().open(link)).status_code == 404
    assert (await session.get("/contacts")).status_code == 303


async def test_link_ends_the_session_that_the_browser_had(people: People, workspace_id: UUID) -> None:
    """A session that somebody has put into a browser does not become that of the person who opens a link there."""
    mallory = await people.join(workspace_id, "Mallory")
    olga = people.visitor()
    olga.client.cookies = httpx.Cookies(mallory.client.cookies)

    await olga.open(await people.link(await people.member(workspace_id, "Olga")))

    assert "Olga" in (await olga.get("/account")).text
    assert dict(olga.client.cookies) != dict(mallory.client.cookies)
    assert (await mallory.get("/account")).status_code == 303


async def test_links_of_one_user_are_of_one_person(people: People, workspace_id: UUID) -> None:
    """A second link shows the sessions that the first one began."""
    member = await people.member(workspace_id, "Olga")
    await people.visiting(member)

    page = await (await people.visiting(member)).get("/account")

    assert page.text.count("this one") == 1
    assert "End all others" in page.text


async def test_links_of_a_new_user_that_are_used_at_once_are_of_one_person(
    people: People, workspace_id: UUID, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """Nobody is refused, and there is one person."""
    member = await people.member(workspace_id, "Twin", UserRole.MEMBER, "twin@team.test")
    visitors = [people.visitor() for _ in range(2)]
    opened = iter([(visitor, await people.link(member)) for visitor in visitors])

    async def request() -> httpx.Response:
        visitor, link = next(opened)
        return await visitor.open(link)

    # A new credential waits for this.
    locking = ("lock table credential in share mode",)
    answers = await while_locked(pool, locking, "", request)

    assert [each.status_code for each in answers] == [303, 303]
    assert (await visitors[0].get("/account")).text.count('name="session"') == 1


async def test_link_says_whose_session_ends(people: People, workspace_id: UUID, olga: Visitor) -> None:
    """Somebody who is signed in as another person is told before the link is used."""
    link = await people.link(await people.member(workspace_id, "Twin"))

    assert "You are signed in as <strong>Olga</strong>" in (await olga.get(f"/link/{link}")).text
