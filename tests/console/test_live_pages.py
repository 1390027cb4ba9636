"""Open pages learn of the changes of others."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager
from uuid import UUID

import pytest
import pytest_asyncio
from playwright._impl._api_structures import SetCookieParam
from playwright.async_api import Browser, Page

from herdbook.feed import pages
from herdbook.ledger.notifier import ChangeNotifier
from herdbook.users.model import NewUser, UserRole
from tests.cast import Person, Team, Thing
from tests.console.conftest import Demo
from tests.console.people import Member, People, Visitor


@pytest.fixture
def following(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """An event that is set once a request follows a workspace."""
    begun, subscribed = asyncio.Event(), ChangeNotifier.subscribed

    def noted(notifier: ChangeNotifier, workspace_id: UUID) -> AbstractContextManager[asyncio.Event]:
        begun.set()
        return subscribed(notifier, workspace_id)

    monkeypatch.setattr(ChangeNotifier, "subscribed", noted)
    return begun


async def test_change_of_somebody_else_is_told_with_the_name(olga: Visitor, alice: Person, ada: Thing) -> None:
    """A request that waits for a contact is answered when somebody changes it, and says who did."""
    version = int(ada.etag.strip('"'))
    waiting = asyncio.create_task(olga.get(f"/contacts/{ada.id}/changes?version={version}"))
    await alice.patch(ada.url, json={"first_name": "Augusta"})

    told = (await waiting).json()

    assert told["version"] > version
    assert len(told["by"]) == 1


async def test_request_without_a_version_is_answered_at_once(olga: Visitor, ada: Thing) -> None:
    """A page learns the present version, and one that is told already is not told again."""
    told = (await olga.get(f"/contacts/{ada.id}/changes")).json()

    assert told == {"version": int(ada.etag.strip('"')), "by": []}


async def test_list_hears_only_of_its_type(olga: Visitor, alice: Person, ada: Thing) -> None:
    """A list of contacts is told of a contact, but not of a company that was changed before."""
    position = (await olga.get("/changes?type=contact")).json()["position"]
    waiting = asyncio.create_task(olga.get(f"/changes?type=contact&position={position}"))
    made = await alice.post("/api/v2/companies", json={"name": "Looms", "domains": [{"domain": "looms.test"}]})
    assert made.status_code == 201, made.text
    await alice.patch(ada.url, json={"first_name": "Augusta"})

    told = (await waiting).json()

    assert told["has_changed"]
    assert told["position"] >= position + 2
    assert (await olga.get("/changes?type=nothing")).status_code == 400


async def test_session_that_ends_meanwhile_is_told_nothing(
    people: People, workspace_id: UUID, alice: Person, ada: Thing, following: asyncio.Event
) -> None:
    """A request that waits while the session ends is answered with the sign-in."""
    member = await people.member(workspace_id, "Olga")
    olga, other = await people.visiting(member), await people.visiting(member)
    waiting = asyncio.create_task(olga.get(f"/contacts/{ada.id}/changes?version={ada.etag.strip(chr(34))}"))
    await following.wait()
    await other.post("/account/sessions")
    await alice.patch(ada.url, json={"first_name": "Augusta"})

    answer = await waiting

    assert answer.status_code == 303
    assert "Augusta" not in answer.text


async def test_role_that_changes_meanwhile_counts(
    people: People, workspace_id: UUID, team: Team, alice: Person, ada: Thing, following: asyncio.Event
) -> None:
    """A user who leaves while a request waits is told nothing."""
    edith = await team.join(NewUser("Edith", role=UserRole.MEMBER))
    visitor = await people.visiting(Member(workspace_id, edith.uuid))
    waiting = asyncio.create_task(visitor.get(f"/contacts/{ada.id}/changes?version={ada.etag.strip(chr(34))}"))
    await following.wait()
    await team.set_role(edith, UserRole.INACTIVE)
    await alice.patch(ada.url, json={"first_name": "Augusta"})

    assert (await waiting).status_code == 303


async def test_pages_leave_room_for_programs(olga: Visitor, ada: Thing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that follow a workspace are limited, and told to come back."""
    monkeypatch.setattr(pages, "_MAX_PAGES", 0)

    answer = await olga.get(f"/contacts/{ada.id}/changes?version=1")

    assert answer.status_code == 429
    assert answer.headers["Retry-After"]


async def _open(tab: Page, name: str) -> str:
    """Open the page of a contact, and return its path once it follows the contact."""
    await tab.goto(f"/console/contacts?search={name.replace(' ', '+')}")
    async with tab.expect_request("**/changes?version=*"):
        await tab.locator(".row-link").first.click()
    await tab.get_by_role("heading", name=name).wait_for()
    return tab.url


async def _change(other: Page, url: str, label: str, text: str) -> None:
    """Change a member of a contact in another tab."""
    await other.goto(url)
    await other.get_by_role("link", name=f"Edit {label}").click()
    await other.locator("#edited").fill(text)
    await other.get_by_role("button", name="Save").click()
    await other.locator("#notice").get_by_text(f"{label} saved.").wait_for()


@pytest_asyncio.fixture
async def other(browser: Browser, demo: Demo, cookies: list[SetCookieParam]) -> AsyncGenerator[Page]:
    """Another browser, in which somebody changes things."""
    context = await browser.new_context(base_url=demo.url)
    await context.add_cookies(cookies)
    page = await context.new_page()
    page.set_default_timeout(60_000)
    yield page
    await context.close()


async def test_open_contact_shows_the_change_of_somebody_else(tab: Page, other: Page) -> None:
    """The new value is there, a line says who changed it, and its button goes to it."""
    url = await _open(tab, "Priya Quaye")
    await _change(other, url, "Time zone", "Europe/Rome")

    line = tab.get_by_text("Ada Okonkwo changed Time zone.")
    await line.wait_for()
    assert "Europe/Rome" in await tab.locator("#member-time_zone").inner_text()
    await tab.get_by_role("button", name="Show").focus()
    await tab.keyboard.press("Enter")

    assert await tab.evaluate("document.activeElement.id") == "edit-time_zone"
    assert await line.count() == 0


async def test_field_that_is_edited_stays_as_it_is(tab: Page, other: Page) -> None:
    """The text that somebody types is not replaced; the line says that it was changed, and saving shows both."""
    url = await _open(tab, "Vikram Dufour")
    await tab.get_by_role("link", name="Edit Last name").click()
    await tab.locator("#edited").fill("Dubois")
    await _change(other, url, "Last name", "Dupont")

    await tab.get_by_text("You are editing it").wait_for()
    assert await tab.locator("#edited").input_value() == "Dubois"
    await tab.locator("#edited").press("Enter")
    await tab.get_by_role("alert").get_by_text("has changed this contact since you opened it").wait_for()
    assert "Dupont" in await tab.get_by_role("alert").inner_text()


async def test_own_change_is_not_told(tab: Page) -> None:
    """A change of this tab is there already, so nothing is said of it when the request for changes is answered."""
    await _open(tab, "Callum Petrov")
    async with tab.expect_response(lambda answer: "/changes?version=" in answer.url):
        await _change_here(tab, "Europe/Madrid")
    async with tab.expect_request("**/changes?version=*"):
        pass

    assert await tab.locator("#changed").inner_text() == ""


async def _change_here(tab: Page, text: str) -> None:
    await tab.get_by_role("link", name="Edit Time zone").click()
    await tab.locator("#edited").fill(text)
    await tab.get_by_role("button", name="Save").click()


async def test_list_says_that_it_is_no_longer_the_newest(tab: Page, other: Page) -> None:
    """A list stays as it is while somebody reads it, and a button shows the newest."""
    async with tab.expect_request("**/changes?type=contact&position=*"):
        await tab.goto("/console/contacts")
    await tab.evaluate("window.isTheSame = true")
    link = await tab.locator(".row-link").last.get_attribute("href")
    assert link is not None
    await _change(other, link, "Time zone", "Europe/Vienna")

    await tab.get_by_text("There are changes that this list does not show yet.").wait_for()
    assert await tab.evaluate("window.isTheSame")
    await tab.get_by_role("button", name="Show").click()
    await tab.wait_for_function("() => !window.isTheSame")

    assert await tab.locator(".row-link").first.get_attribute("href") == link


async def test_hidden_page_asks_for_nothing(tab: Page) -> None:
    """A page that nobody sees breaks its request off, and asks again once it is seen."""
    await _open(tab, "Priya Petrov")
    see = """value => {
        Object.defineProperty(document, "hidden", { value: value === "hidden", configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""

    async with tab.expect_event("requestfailed", lambda request: "/changes?" in request.url):
        await tab.evaluate(see, "hidden")
    async with tab.expect_request("**/changes?version=*"):
        await tab.evaluate(see, "visible")
