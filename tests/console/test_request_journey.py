"""From an error to the deliveries of the change that went before it, in a browser."""

import re

from playwright.async_api import Page

from tests.console.conftest import Demo


async def test_request_id_leads_from_an_error_to_its_delivery_and_back(tab: Page, demo: Demo) -> None:
    """By keyboard: find the id of a refused request, then the change of the same key, its event and its failed delivery."""
    await tab.goto("/console/webhooks/new")
    await tab.get_by_label("Address").fill("http://127.0.0.1:9000/webhooks")
    await tab.get_by_role("button", name="Create webhook").click()
    await tab.get_by_role("link", name="Open the webhook").wait_for()
    await tab.goto("/console/keys/new")
    await tab.get_by_label("Name").fill("Importer")
    await tab.get_by_role("checkbox", name="Create, update and delete contacts").check()
    await tab.get_by_role("button", name="Create key").click()
    key = await tab.get_by_label("API key", exact=True).input_value()
    sent = {"Authorization": f"Bearer {key}"}
    created = await tab.request.post(f"{demo.url}/api/v2/contacts", headers=sent, data={"first_name": "Ada"})
    assert created.status == 201
    contact_id = (await created.json())["id"]
    path = f"{demo.url}/api/v2/contacts/{contact_id}"
    changed = await tab.request.patch(path, headers=sent, data={"last_name": "Lovelace"})
    refused = await tab.request.patch(path, headers=sent, data={"last_nam": "Byron"})
    assert (changed.status, refused.status) == (200, 422)

    await tab.goto("/console/requests")
    # A request is there a second after its answer.
    while await tab.get_by_text(f"/api/v2/contacts/{contact_id}").count() != 2:
        await tab.reload()
    await tab.keyboard.press("/")
    await tab.keyboard.type(refused.headers["x-request-id"])
    await tab.keyboard.press("Enter")
    await tab.wait_for_url(f"**/requests/{refused.headers['x-request-id']}")
    assert "It changed nothing." in await tab.get_by_role("main").inner_text()
    await tab.get_by_role("link", name="all of this key").focus()
    await tab.keyboard.press("Enter")
    await tab.wait_for_url("**/requests?key=*")
    assert await tab.get_by_role("listitem").filter(has_text="/api/v2/").count() == 3
    await tab.locator(f"a[href$='{changed.headers['x-request-id']}']").focus()
    await tab.keyboard.press("Enter")
    await tab.get_by_text("Contact updated").wait_for()
    delivery = tab.get_by_role("link", name="http://127.0.0.1:9000/webhooks")
    while not await delivery.count() or not await tab.get_by_text("waiting", exact=True).count():
        await tab.reload()
    await delivery.focus()
    await tab.keyboard.press("Enter")
    await tab.get_by_role("heading", name="v1.contact.updated").wait_for()
    await tab.get_by_role("link", name="the request that made the change").focus()
    await tab.keyboard.press("Enter")

    await tab.wait_for_url(f"**/requests/{changed.headers['x-request-id']}")
    await tab.get_by_role("link", name=contact_id).click()
    await tab.get_by_role("heading", name="Ada Lovelace").wait_for()


async def test_status_shows_the_room_on_the_disk(tab: Page) -> None:
    """A server with its own database shows how much room the disk has."""
    await tab.goto("/console/status")

    assert re.search(r"has room\s+[\d.]+ [MGT]iB free", await tab.get_by_role("main").inner_text())
