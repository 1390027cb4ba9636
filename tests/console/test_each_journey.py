"""Each journey that the console is for, in a browser: once by mouse, and once by keyboard alone."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page
from requests_oauthlib import OAuth2Session

from tests.console.conftest import Demo
from tests.console.hands import Hands, Keyboard, Mouse, searched
from tests.console.listener import Listener, token_of
from tests.webhooks.receiver import TAKEN, answer, receiving

PASSWORD = "correct horse battery"  # noqa: S105  # it is for tests alone


@pytest.fixture(params=[Mouse, Keyboard], ids=["mouse", "keyboard"])
def hands(request: pytest.FixtureRequest, tab: Page) -> Hands:
    """Ada's hands: each test of this file runs with a mouse, and again with a keyboard alone."""
    return request.param(tab)


@pytest.fixture
def mark() -> str:
    """A word that only this run has in its names."""
    return "Q" + uuid4().hex[:8]


@pytest_asyncio.fixture
async def guest(hands: Hands, browser: Browser, demo: Demo) -> AsyncGenerator[Hands]:
    """The same kind of hands in the browser of somebody who has not signed in."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800}, base_url=demo.url)
    page = await context.new_page()
    page.set_default_timeout(60_000)
    yield type(hands)(page)
    await context.close()


def _link(hands: Hands, name: str) -> Locator:
    return hands.tab.get_by_role("link", name=name)


def _button(hands: Hands, name: str) -> Locator:
    return hands.tab.get_by_role("button", name=name, exact=True)


def _opener(hands: Hands, text: str) -> Locator:
    return hands.tab.locator("summary", has_text=text)


async def _go(hands: Hands, page: str) -> None:
    """Go to a page by the menu."""
    await hands.press(hands.tab.get_by_role("navigation", name="Pages").get_by_role("link", name=page, exact=True))
    await hands.tab.get_by_role("heading", name=page, level=1).wait_for()


async def _make(hands: Hands, demo: Demo, first_name: str, last_name: str) -> str:
    """Create a contact without the console, open its page, and return the address of that."""
    headers, contact = {"Authorization": demo.key}, {"first_name": first_name, "last_name": last_name}
    made = await hands.tab.request.post(f"{demo.url}/api/v2/contacts", headers=headers, data=contact)
    await hands.tab.goto(f"/console/contacts/{(await made.json())['id']}")
    return hands.tab.url


async def _find(hands: Hands, name: str) -> None:
    """Find a contact as one types, and open it."""
    await _go(hands, "Contacts")
    await hands.write(hands.tab.get_by_role("searchbox", name="Search contacts"), name)
    await searched(hands.tab, name)
    await hands.press(_link(hands, name))
    await hands.tab.get_by_role("heading", name=name).wait_for()


async def _edit_last_name(hands: Hands, text: str) -> None:
    await hands.press(_link(hands, "Edit Last name"))
    await hands.write(hands.tab.get_by_role("textbox", name="Last name"), text)
    await hands.press(hands.tab.locator("#member-last_name").get_by_role("button", name="Save"))


async def _said(hands: Hands, text: str) -> None:
    await hands.tab.locator("#notice").get_by_text(text).wait_for()


async def _undo(hands: Hands) -> None:
    """Take back what was done last, by the button of the line that says it."""
    await hands.press(hands.tab.locator("#notice").get_by_role("button", name="Undo"))
    await _said(hands, "Undone.")


async def _until(condition: Callable[[], Awaitable[bool]], tab: Page | None = None) -> None:
    """Wait for something that another process does, and load the page again that shows it."""
    async with asyncio.timeout(90):
        while not await condition():
            # To load a page again and again would leave no processor to that process.
            await asyncio.sleep(0.5)
            if tab is not None:
                await tab.reload()


async def _is_refused(hands: Hands, demo: Demo, sent: dict[str, str]) -> bool:
    return (await hands.tab.request.get(f"{demo.url}/api/v2/contacts", headers=sent)).status == 401


@pytest_asyncio.fixture(autouse=True)
async def _begin(tab: Page) -> None:
    await tab.goto("/console/account")


async def test_sign_in(hands: Hands, guest: Hands, mark: str) -> None:
    """Somebody is invited, sets a password, signs out, and signs in with it."""
    address = f"{mark.lower()}@team.test"
    await _go(hands, "Roles and invitations")
    await hands.press(_link(hands, "Invite"))
    await hands.write(hands.tab.get_by_label("First name"), mark)
    await hands.write(hands.tab.get_by_label("E-mail"), address)
    await hands.press(_button(hands, "Make a link"))
    link = await hands.tab.get_by_label("Link", exact=True).input_value()

    await guest.tab.goto(link)
    await guest.press(_button(guest, "Open herdbook"))
    await guest.tab.get_by_role("heading", level=1).wait_for()
    await guest.tab.goto("/console/account")
    await guest.write(guest.tab.get_by_label("New password"), PASSWORD)
    await guest.press(_button(guest, "Save password"))
    await guest.tab.locator("#notice div").wait_for()
    await guest.press(_button(guest, "Sign out"))
    await guest.write(guest.tab.get_by_label("E-mail"), address)
    await guest.write(guest.tab.get_by_label("Password"), PASSWORD)
    await guest.press(_button(guest, "Sign in"))

    await guest.tab.get_by_role("heading", name="Contacts", level=1).wait_for()
    assert await guest.tab.locator(".me-name").inner_text() == mark


async def test_create(hands: Hands, mark: str) -> None:
    """A contact is created by its form, and its page says so."""
    await _go(hands, "Contacts")
    await hands.press(_link(hands, "New contact"))
    await hands.write(hands.tab.get_by_label("First name"), "Mary")
    await hands.write(hands.tab.get_by_label("Last name"), mark)
    await hands.press(_button(hands, "Create contact"))

    await hands.tab.get_by_role("heading", name=f"Mary {mark}").wait_for()
    await _said(hands, "Created.")


async def test_find(hands: Hands) -> None:
    """A contact among many is found as one types, and opened."""
    await _find(hands, "Priya Quaye")


async def test_edit_in_place(hands: Hands, mark: str, demo: Demo) -> None:
    """A name is changed on the page, the history has both, and an undo brings the first one back."""
    await _make(hands, demo, "Edith", mark)

    await _edit_last_name(hands, f"{mark}-Place")
    await hands.tab.get_by_role("heading", name=f"Edith {mark}-Place").wait_for()
    assert await hands.tab.locator("#history ins").first.inner_text() == f"{mark}-Place"
    await _undo(hands)

    await hands.tab.get_by_role("heading", name=f"Edith {mark}", exact=True).wait_for()


async def test_conflict_of_two_editors(hands: Hands, mark: str, demo: Demo) -> None:
    """The second of two editors sees the first value, theirs and the own one, and keeps the own one."""
    path = await _make(hands, demo, "Connie", f"{mark}-First")
    other = type(hands)(await hands.tab.context.new_page())
    await other.tab.goto(path)
    await hands.press(_link(hands, "Edit Last name"))
    await hands.write(hands.tab.get_by_role("textbox", name="Last name"), f"{mark}-Mine")
    await _edit_last_name(other, f"{mark}-Theirs")
    await other.tab.get_by_role("heading", name=f"Connie {mark}-Theirs").wait_for()

    await hands.press(hands.tab.locator("#member-last_name").get_by_role("button", name="Save"))
    told = await hands.tab.get_by_role("alert").inner_text()
    assert [part in told for part in (f"{mark}-Theirs", f"{mark}-First")] == [True, True]
    assert await hands.tab.get_by_role("textbox", name="Last name").input_value() == f"{mark}-Mine"
    await hands.press(_button(hands, "Keep mine"))

    await hands.tab.get_by_role("heading", name=f"Connie {mark}-Mine").wait_for()
    await other.tab.close()


async def test_merge_and_unmerge(hands: Hands, mark: str, demo: Demo) -> None:
    """Two contacts are merged after a look at the result, and an undo separates them again."""
    gone = await _make(hands, demo, "Mergan", mark)
    kept = await _make(hands, demo, "Unita", mark)

    await hands.press(_link(hands, "Merge"))
    await hands.write(hands.tab.get_by_role("searchbox", name="Find a contact"), f"Mergan {mark}")
    await hands.press(_link(hands, f"Mergan {mark}"))
    await hands.tab.get_by_role("heading", name="Merge two contacts").wait_for()
    await hands.press(_button(hands, "Merge"))
    await hands.tab.get_by_role("heading", name=f"Unita {mark}").wait_for()
    led_to = await hands.tab.request.get(gone)
    await _undo(hands)

    assert led_to.url.partition("?")[0] == kept.partition("?")[0]
    await hands.tab.goto(gone)
    await hands.tab.get_by_role("heading", name=f"Mergan {mark}").wait_for()


async def test_delete_and_restore(hands: Hands, mark: str, demo: Demo) -> None:
    """A contact is deleted, found in the bin, and restored."""
    await _make(hands, demo, "Binnie", mark)

    await hands.press(_opener(hands, "Delete"))
    await hands.press(_button(hands, "Delete this contact"))
    await _said(hands, "The contact was deleted.")
    await _go(hands, "Bin")
    await hands.press(_button(hands, f"Restore Binnie {mark}"))

    await hands.tab.get_by_role("heading", name=f"Binnie {mark}").wait_for()
    await _said(hands, "The contact was restored.")


async def test_undo_of_a_bulk_edit(hands: Hands, mark: str, demo: Demo) -> None:
    """Two contacts get the same value at once, after a look at the change, and one undo takes it from both."""
    first, second = [await _make(hands, demo, name, mark) for name in ("Bulka", "Bulkina")]
    await _go(hands, "Contacts")
    await hands.write(hands.tab.get_by_role("searchbox", name="Search contacts"), mark)
    await searched(hands.tab, mark)
    for name in ("Bulka", "Bulkina"):
        await hands.press(hands.tab.get_by_role("checkbox", name=f"Select {name} {mark}"))
    await hands.press(_button(hands, "Change selected"))
    await hands.choose(hands.tab.get_by_role("combobox", name="Edit a field"), "Description")
    await hands.press(_button(hands, "Edit"))
    await hands.write(hands.tab.get_by_role("textbox", name="Description"), f"Met at {mark}.")
    await hands.press(_button(hands, "See what changes"))
    await hands.press(_button(hands, "Change 2 contacts"))
    await _said(hands, "2 contacts changed.")
    told = [f"Met at {mark}." in await (await hands.tab.request.get(path)).text() for path in (first, second)]

    await _undo(hands)

    after = [await (await hands.tab.request.get(path)).text() for path in (first, second)]
    assert told == [True, True]
    assert all(f'<div class="member-value"><span class="prose">Met at {mark}.' not in text for text in after)


async def test_key_calls_the_api(hands: Hands, mark: str, demo: Demo) -> None:
    """A key is made, calls the API within its scopes, and is revoked."""
    await _go(hands, "API keys")
    await hands.press(_link(hands, "New key").first)
    await hands.write(hands.tab.get_by_label("Name"), mark)
    await hands.press(hands.tab.get_by_role("checkbox", name="List and read contacts."))
    await hands.press(_button(hands, "Create key"))
    key = await hands.tab.get_by_label("API key", exact=True).input_value()
    sent = {"Authorization": f"Bearer {key}"}
    assert (await hands.tab.request.get(f"{demo.url}/api/v2/contacts", headers=sent)).status == 200

    await hands.press(_link(hands, "Done"))
    await hands.press(hands.tab.get_by_label(f"Revoke {mark}"))
    await hands.press(hands.tab.locator("details[open]").get_by_role("button", name="Revoke the key"))

    await _said(hands, "The key was revoked.")
    await _until(partial(_is_refused, hands, demo, sent))


async def test_program_is_let_in_and_revoked(hands: Hands, mark: str, demo: Demo, listener: Listener) -> None:
    """A client is made, let in with its token from `oauthlib`, and revoked, which ends its token."""
    await _go(hands, "OAuth clients")
    await hands.press(_link(hands, "New client").first)
    await hands.write(hands.tab.get_by_label("Name"), mark)
    await hands.write(hands.tab.get_by_label("Redirect addresses"), "http://127.0.0.1/callback")
    await hands.press(hands.tab.get_by_role("checkbox", name="List and read contacts."))
    await hands.press(_button(hands, "Create client"))
    client_id = await hands.tab.get_by_label("Client id").input_value()
    secret = await hands.tab.get_by_label("Client secret").input_value()
    session: Any = OAuth2Session(client_id, redirect_uri=f"{listener.address}/callback", scope=["contacts:read"], pkce="S256")
    address, _ = session.authorization_url(f"{demo.url}/oauth/authorize")

    await hands.tab.goto(address)
    assert "List and read contacts." in await hands.tab.get_by_role("main").inner_text()
    await hands.press(_button(hands, "Allow"))
    await hands.tab.get_by_role("heading", name="Done").wait_for()
    token = await token_of(session, demo.url, listener, secret)
    sent = {"Authorization": f"Bearer {token['access_token']}"}
    assert (await hands.tab.request.get(f"{demo.url}/api/v2/contacts", headers=sent)).status == 200
    await hands.tab.goto("/console/account")
    await _go(hands, "OAuth clients")
    await hands.press(hands.tab.get_by_role("link", name=mark, exact=True))
    await hands.press(_opener(hands, "Revoke"))
    await hands.press(_button(hands, "Revoke the client"))
    await _said(hands, "The client was revoked.")
    await _until(partial(_is_refused, hands, demo, sent))


async def test_failed_delivery_is_resent(hands: Hands, mark: str, demo: Demo) -> None:
    """A webhook is made and tested, a delivery fails, its page says why, and it is sent again."""
    async with receiving() as receiver:
        receiver.answering = lambda _: answer(500, b"<b>no room</b>")
        await _go(hands, "Webhooks")
        await hands.press(_link(hands, "New webhook"))
        await hands.write(hands.tab.get_by_label("Address"), receiver.url)
        await hands.press(_button(hands, "Create webhook"))
        await hands.press(_link(hands, "Open the webhook"))
        await hands.tab.get_by_role("heading", name=receiver.url).wait_for()
        webhook = hands.tab.url
        await hands.press(_opener(hands, "Test"))
        await hands.press(_button(hands, "Send it now"))
        await hands.tab.get_by_role("heading", name="Answer 500").wait_for()
        assert await hands.tab.get_by_text("<b>no room</b>").is_visible()

        await _make(hands, demo, "Hedy", mark)
        # The example of the test was the first.
        await receiver.wait_for(2)
        await hands.tab.goto(webhook)
        failed = _link(hands, "v1.contact.created")

        async def is_waiting() -> bool:
            return await hands.tab.locator("tr", has_text="v1.contact.created").get_by_text("waiting").count() > 0

        await _until(is_waiting, hands.tab)
        await hands.press(failed)
        await hands.tab.get_by_role("heading", name="Answer 500").wait_for()
        receiver.answering = lambda _: TAKEN
        await hands.press(_button(hands, "Resend"))
        await receiver.wait_for(3)
        await hands.tab.locator("h1 + .badge", has_text="delivered").wait_for()

        assert receiver.requests[1].headers["webhook-id"] == receiver.requests[2].headers["webhook-id"]
        await hands.tab.goto(webhook)
        await hands.press(hands.tab.get_by_label("Delete this webhook"))
        await hands.press(_button(hands, "Delete the webhook"))
        await hands.tab.get_by_role("heading", name="Webhooks", level=1).wait_for()


async def test_request_id_leads_to_deliveries(hands: Hands, mark: str, demo: Demo) -> None:
    """The id of a refused request leads to what the same key changed before, its event, its delivery, and back."""
    address = f"http://127.0.0.1:9000/{mark}"
    await _go(hands, "Webhooks")
    await hands.press(_link(hands, "New webhook"))
    await hands.write(hands.tab.get_by_label("Address"), address)
    await hands.press(_button(hands, "Create webhook"))
    await hands.tab.get_by_role("heading", name="The webhook is ready").wait_for()
    await _go(hands, "API keys")
    await hands.press(_link(hands, "New key").first)
    await hands.write(hands.tab.get_by_label("Name"), mark)
    await hands.press(hands.tab.get_by_role("checkbox", name="Create, update and delete contacts"))
    await hands.press(_button(hands, "Create key"))
    key = await hands.tab.get_by_label("API key", exact=True).input_value()
    sent = {"Authorization": f"Bearer {key}"}
    created = await (
        await hands.tab.request.post(f"{demo.url}/api/v2/contacts", headers=sent, data={"first_name": mark})
    ).json()
    path = f"{demo.url}/api/v2/contacts/{created['id']}"
    changed = await hands.tab.request.patch(path, headers=sent, data={"last_name": "Lovelace"})
    refused = await hands.tab.request.patch(path, headers=sent, data={"last_nam": "Byron"})
    assert (changed.status, refused.status) == (200, 422)

    await _go(hands, "Requests")
    requests = hands.tab.get_by_text(f"/api/v2/contacts/{created['id']}")

    async def are_listed() -> bool:
        return await requests.count() == 2

    await _until(are_listed, hands.tab)
    await hands.write(hands.tab.get_by_role("searchbox", name="Find by path"), refused.headers["x-request-id"])
    await hands.press(_button(hands, "Find"))
    await hands.tab.wait_for_url(f"**/requests/{refused.headers['x-request-id']}")
    assert "It changed no record." in await hands.tab.get_by_role("main").inner_text()
    await hands.press(_link(hands, "all of this key"))
    await hands.tab.wait_for_url("**/requests?key=*")
    await hands.press(hands.tab.locator(f"a[href$='{changed.headers['x-request-id']}']"))
    await hands.tab.get_by_text("Contact updated").wait_for()
    delivery = _link(hands, address)

    async def has_failed() -> bool:
        return await delivery.count() > 0 and await hands.tab.get_by_text("waiting", exact=True).count() > 0

    await _until(has_failed, hands.tab)
    await hands.press(delivery)
    await hands.tab.get_by_role("heading", name="v1.contact.updated").wait_for()
    await hands.press(_link(hands, "the request that made the change"))
    await hands.tab.wait_for_url(f"**/requests/{changed.headers['x-request-id']}")
    await hands.press(_link(hands, created["id"]))

    await hands.tab.get_by_role("heading", name=f"{mark} Lovelace").wait_for()
