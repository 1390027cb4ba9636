"""The console of the lab's workspaces: by a link that a test makes, at the time of the workspace."""

import re
from urllib.parse import urlsplit

import httpx
import pytest_asyncio

from tests.lab.conftest import NEW_YEAR, Bench, Desk

ORIGIN = {"Origin": "http://herdbook.test"}
DAY = 86_400
FIELD = {"object_type": "contact", "key": "size", "kind": "text"}


class Browser:
    """A browser with cookies of its own."""

    def __init__(self, bench: Bench) -> None:
        self._client = bench.client
        self._cookies = httpx.Cookies()

    async def get(self, path: str) -> httpx.Response:
        """Open a page."""
        return await self._asked("GET", path)

    async def post(self, path: str, **fields: str) -> httpx.Response:
        """Send a form, with the token that the page shows."""
        shown = re.search(r'name="form_token" value="([^"]+)"', (await self.get(path)).text)
        token = {} if shown is None else {"form_token": shown[1]}
        return await self._asked("POST", path, data={**token, **fields}, headers=ORIGIN)

    async def sign_in(self, desk: Desk, **members: str) -> httpx.Response:
        """Use a link of the lab."""
        url: str = (await desk.command("POST", "/sign-ins", json=members))["url"]
        return await self.post(urlsplit(url).path)

    async def _asked(self, method: str, path: str, **options: object) -> httpx.Response:
        self._client.cookies = self._cookies
        response = await self._client.request(method, path, **options)  # pyright: ignore[reportArgumentType]
        self._cookies = self._client.cookies
        self._client.cookies = httpx.Cookies()
        return response


@pytest_asyncio.fixture
async def desk(bench: Bench) -> Desk:
    """A workspace with contacts whose clock stands still."""
    return await bench.workspace("crm-small", clock=NEW_YEAR, random_seed=3)


async def test_a_link_lets_a_user_of_the_workspace_in(desk: Desk) -> None:
    """The browser sees the contacts of the workspace, and its user."""
    browser = Browser(desk.lab)

    entered = await browser.sign_in(desk, user="alice")
    contacts = await browser.get("/console/contacts?search=Lovelace")

    assert (entered.status_code, contacts.status_code) == (303, 200)
    assert desk.made["objects"]["ada"] in contacts.text


async def test_a_form_writes_in_the_workspace_at_its_time(desk: Desk) -> None:
    """A contact of the console is dated by the clock, and no other workspace has it."""
    browser, other = Browser(desk.lab), await desk.lab.workspace("crm-small", clock=NEW_YEAR)
    await browser.sign_in(desk)

    made = await browser.post("/console/contacts/new", first_name="Zoe", last_name="New")
    (found,) = (await desk.ask("GET", "/api/v2/contacts?search=Zoe")).json()["data"]

    assert made.status_code == 303, made.text
    assert found["created_at"].startswith("2026-01-01T00:00:00")
    assert (await other.ask("GET", "/api/v2/contacts?search=Zoe")).json()["data"] == []


async def test_a_session_ends_by_the_clock(desk: Desk) -> None:
    """Long without a visit it ends, and its page leads to the sign-in."""
    browser = Browser(desk.lab)
    await browser.sign_in(desk)

    await desk.command("PATCH", "/clock", json={"advance_seconds": 6 * DAY})
    before = (await browser.get("/console/contacts")).status_code
    await desk.command("PATCH", "/clock", json={"advance_seconds": 100 * DAY})
    after = await browser.get("/console/contacts")

    assert before == 200
    assert after.headers["location"].startswith("/console/sign-in")


async def test_people_of_two_workspaces_are_apart(desk: Desk) -> None:
    """The same user of the same seed is somebody else in another workspace, whose pages stay its own."""
    other = await desk.lab.workspace("crm-small", clock=NEW_YEAR, random_seed=3)
    one, two = Browser(desk.lab), Browser(desk.lab)
    await one.sign_in(desk, user="alice")
    await two.sign_in(other, user="alice")
    await desk.ask("PATCH", f"/api/v2/contacts/{desk.made['objects']['ada']}", json={"last_name": "Changed"})

    pages = [await each.get(f"/console/contacts/{desk.made['objects']['ada']}") for each in (one, two)]

    assert ["Changed" in page.text for page in pages] == [True, False]


async def test_the_end_of_a_workspace_is_that_of_its_sessions(desk: Desk) -> None:
    """Nobody is signed in to what is gone, and the next workspace begins without them."""
    browser = Browser(desk.lab)
    await browser.sign_in(desk)

    await desk.command("DELETE")
    again = await desk.lab.workspace("crm-small", clock=NEW_YEAR, random_seed=3)
    page = await browser.get("/console/contacts")

    assert again.made["objects"] == desk.made["objects"]
    assert page.headers["location"].startswith("/console/sign-in")


async def test_a_reset_keeps_the_session(desk: Desk) -> None:
    """As keys do, it goes on in the state of the beginning."""
    browser = Browser(desk.lab)
    await browser.sign_in(desk)
    await browser.post("/console/contacts/new", first_name="Zoe")

    await desk.command("POST", "/reset")
    page = await browser.get("/console/contacts?search=Zoe")

    assert page.status_code == 200
    assert "/console/contacts/cnt_" not in page.text


async def test_fields_after_a_reset_are_those_of_the_next_test(desk: Desk) -> None:
    """Two tests define different fields in the same state, so their versions are equal; each sees its own alone."""
    browser, pages = Browser(desk.lab), list[str]()
    await browser.sign_in(desk)
    for label in ("Shoe size", "Hat size"):
        await desk.ask("POST", "/api/herdbook/fields", json={**FIELD, "label": label})
        pages.append((await browser.get(f"/console/contacts/{desk.made['objects']['ada']}")).text)
        await desk.command("POST", "/reset")

    assert [("Shoe size" in page, "Hat size" in page) for page in pages] == [(True, False), (False, True)]


async def test_a_browser_of_nobody_sees_the_sign_in_of_the_server(bench: Bench) -> None:
    """A visit that is none of the lab's is answered as without one."""
    page = await Browser(bench).get("/console/sign-in")

    assert page.status_code == 200
