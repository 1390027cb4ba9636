"""Sessions: listed, ended, and over by themselves."""

from uuid import UUID

import asyncpg
import httpx
import pytest

from herdbook.app import Herdbook
from herdbook.settings import Settings
from tests.cast import Person, Thing
from tests.console.people import People, Visitor


async def test_sessions_are_listed_and_ended(people: People, workspace_id: UUID) -> None:
    """A person sees every session, and ends one of them."""
    member = await people.member(workspace_id, "Olga")
    first, second = await people.visiting(member), await people.visiting(member)
    page = (await first.get("/account")).text
    other = page.split('name="session" value="')[1].split('"')[0]

    await first.post("/account/sessions", {"session": other})

    assert (await second.get("/account")).status_code == 303
    assert (await first.get("/account")).status_code == 200


async def test_session_of_another_person_is_not_ended(people: People, workspace_id: UUID, olga: Visitor) -> None:
    """The id of a session lets nobody else end it."""
    member = await people.member(workspace_id, "Mara")
    first, second = await people.visiting(member), await people.visiting(member)
    other = (await first.get("/account")).text.split('name="session" value="')[1].split('"')[0]

    await olga.post("/account/sessions", {"session": other})

    assert (await second.get("/account")).status_code == 200


async def test_all_other_sessions_end_at_once(people: People, workspace_id: UUID) -> None:
    """One button ends all sessions but the present one."""
    member = await people.member(workspace_id, "Olga")
    others = [await people.visiting(member) for _ in range(2)]
    present = await people.visiting(member)

    await present.post("/account/sessions")

    assert [(await each.get("/account")).status_code for each in others] == [303, 303]
    assert (await present.get("/account")).status_code == 200


async def test_sign_out_ends_the_session(people: People, olga: Visitor) -> None:
    """A cookie that somebody has copied is worth nothing after the sign-out."""
    copied = people.visitor()
    copied.client.cookies.update(dict(olga.client.cookies))

    answer = await olga.post("/sign-out")

    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert (await copied.get("/account")).status_code == 303


@pytest.mark.parametrize(
    "ageing",
    [
        "update console_session set seen_at = now() - interval '7 days 1 minute' where workspace_id = $1",
        "update console_session set created_at = now() - interval '30 days 1 minute' where workspace_id = $1",
    ],
    ids=["idle", "old"],
)
async def test_session_is_over_by_itself(
    people: People, workspace_id: UUID, pool: "asyncpg.Pool[asyncpg.Record]", ageing: str
) -> None:
    """A session ends after seven days without a visit, and after thirty days in any case."""
    olga = await people.join(workspace_id, "Olga")
    await pool.execute(ageing, workspace_id)

    assert (await olga.get("/contacts")).status_code == 303


async def test_secret_of_a_session_is_not_stored(olga: Visitor, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """The database has nothing that a browser could use."""
    secret = olga.client.cookies["herdbook"].partition(".")[2]

    rows = await pool.fetch("select console_session::text as row from console_session")

    assert rows
    assert not any(secret in row["row"] for row in rows)


async def test_cookie_cannot_be_read_or_sent_by_others(people: People, workspace_id: UUID) -> None:
    """Scripts do not see the cookie, and forms of other sites do not carry it."""
    answer = await people.visitor().open(await people.link(await people.member(workspace_id, "Olga")))

    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("herdbook=cses_")
    assert "; Path=/; " in cookie
    assert "; HttpOnly; SameSite=Lax" in cookie


async def test_cookie_is_of_the_host_alone_with_tls(
    people: People, workspace_id: UUID, database_url: str, app: Herdbook
) -> None:
    """Behind a proxy with TLS, the cookie is sent by TLS alone, and no neighbour of the host can set it."""
    link = await people.link(await people.member(workspace_id, "Olga"))
    behind = Herdbook(Settings(public_url="https://herdbook.example"), database_url)
    assert behind is not app
    async with (
        behind.running(),
        httpx.AsyncClient(transport=httpx.ASGITransport(behind), base_url="http://herdbook.example") as client,
    ):
        answer = await client.post(f"/console/link/{link}", headers={"Origin": "https://herdbook.example"})

    assert answer.headers["Set-Cookie"].startswith("__Host-herdbook=")
    assert answer.headers["Set-Cookie"].endswith("; Secure")


async def test_changes_are_those_of_the_person(olga: Visitor, ada: Thing, alice: Person) -> None:
    """The history names the user who made a change in the console."""
    version = ada.etag.strip('"')
    await olga.post(f"/contacts/{ada.id}/edit/last_name", {"value": "Byron", "version": version})

    entry = (await alice.get(f"/api/herdbook/contacts/{ada.id}/history")).json()["data"][0]
    user = (await alice.get(f"/api/v2/users/{entry['by']['user_id']}")).json()
    assert entry["by"]["credential_name"] == "Console"
    assert user["first_name"] == "Olga"


async def test_page_that_waits_is_no_visit(olga: Visitor, pool: "asyncpg.Pool[asyncpg.Record]", ada: Thing) -> None:
    """A page that only waits for changes keeps no session alive that nobody uses; one that is opened does."""
    await pool.execute("update console_session set seen_at = now() - interval '3 days'")
    is_idle = "select max(seen_at) < now() - interval '1 day' from console_session"

    assert (await olga.get(f"/contacts/{ada.id}/changes")).status_code == 200
    assert await pool.fetchval(is_idle)
    await olga.get(f"/contacts/{ada.id}")
    assert not await pool.fetchval(is_idle)
