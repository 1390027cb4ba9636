"""Journeys in a browser, by mouse and by keyboard alone."""

from playwright._impl._api_structures import SetCookieParam
from playwright.async_api import Browser, Page

from tests.console.conftest import Demo
from tests.console.hands import searched


async def _find(tab: Page, name: str) -> None:
    """Open the page of a contact by keyboard: search, go down to it, and enter."""
    await tab.goto("/console/contacts")
    await tab.keyboard.press("/")
    await tab.keyboard.type(name)
    await searched(tab, name)
    await tab.keyboard.press("ArrowDown")
    await tab.keyboard.press("Enter")
    await tab.get_by_role("heading", name=name).wait_for()


async def _tab_to(tab: Page, label: str) -> None:
    """Press Tab until the focus is on the element with a label."""
    for _ in range(60):
        await tab.keyboard.press("Tab")
        if await tab.evaluate("document.activeElement.ariaLabel") == label:
            return
    raise AssertionError(f"no Tab leads to {label}")


async def test_change_is_made_and_undone_by_keyboard_alone(tab: Page) -> None:
    """Find a contact, change the name, see it in the history and undo it, without a mouse."""
    await _find(tab, "Callum Petrov")
    await _tab_to(tab, "Edit Last name")
    await tab.keyboard.press("Enter")
    await tab.wait_for_selector("#edited:focus")

    await tab.keyboard.type("Petrova")
    await tab.keyboard.press("Enter")
    await tab.get_by_role("heading", name="Callum Petrova").wait_for()

    assert await tab.evaluate("document.activeElement.ariaLabel") == "Edit Last name"
    assert await tab.locator("#history ins").first.inner_text() == "Petrova"
    await tab.keyboard.press("z")
    await tab.locator("#notice").get_by_text("Undone.").wait_for()
    assert await tab.get_by_role("heading", name="Callum Petrov", exact=True).is_visible()


async def test_escape_leaves_a_field_as_it_is(tab: Page) -> None:
    """Escape cancels an edit, and the focus is on the field again."""
    await _find(tab, "Priya Quaye")
    await tab.get_by_role("link", name="Edit Description").click()
    await tab.wait_for_selector("#edited:focus")
    await tab.keyboard.type("Something")
    await tab.keyboard.press("Escape")
    await tab.wait_for_selector("#edit-description:focus")

    assert await tab.locator("#edited").count() == 0


async def test_refusal_stands_at_the_field(tab: Page) -> None:
    """A value that the API refuses stays in the field, with the reason beside it. A better one is taken then."""
    await _find(tab, "Vikram Dufour")
    await tab.get_by_role("link", name="Edit E-mail").click()
    first = tab.get_by_role("textbox", name="E-mail address 1")
    kept = await first.input_value()
    await first.fill("nonsense@")
    await tab.keyboard.press("Enter")
    await tab.get_by_role("alert").get_by_text("is not an e-mail address").wait_for()
    assert await first.input_value() == "nonsense@"

    await first.fill("better." + kept)
    await tab.keyboard.press("Enter")

    await tab.get_by_role("link", name="better." + kept).wait_for()


async def test_company_is_found_as_one_types(tab: Page) -> None:
    """A company is searched for beside the field, and chosen."""
    await _find(tab, "Priya Petrov")
    await tab.get_by_role("link", name="Edit Company").click()
    await tab.get_by_role("searchbox", name="Find a company").fill("westray")
    await tab.get_by_role("radio", name="Westray Textiles").check()
    await tab.get_by_role("button", name="Save").click()

    await tab.locator("#member-company_id").get_by_role("link", name="Westray Textiles").click()

    await tab.get_by_role("heading", name="Westray Textiles").wait_for()
    assert await tab.get_by_role("link", name="Priya Petrov").is_visible()


async def test_company_is_edited_by_keyboard_alone(tab: Page) -> None:
    """Create a company, and change its name, without a mouse."""
    await tab.goto("/console/companies")
    await tab.keyboard.press("c")
    await tab.wait_for_url("**/companies/new")
    await tab.keyboard.type("Looms")
    await tab.keyboard.press("Enter")
    await tab.get_by_role("heading", name="Looms").wait_for()
    await _tab_to(tab, "Edit Name")
    await tab.keyboard.press("Enter")
    await tab.wait_for_selector("#edited:focus")
    await tab.keyboard.type("Power Looms")
    await tab.keyboard.press("Enter")

    await tab.get_by_role("heading", name="Power Looms").wait_for()


async def test_two_editors_meet(tab: Page) -> None:
    """The second of two editors sees both values and the first one, and keeps theirs."""
    await _find(tab, "Vikram Dufour")
    await tab.get_by_role("link", name="Edit Last name").click()
    await tab.wait_for_selector("#edited:focus")
    other = await tab.context.new_page()
    await other.goto(tab.url)
    await other.get_by_role("link", name="Edit Last name").click()
    await other.locator("#edited").fill("Dupont")
    await other.keyboard.press("Enter")
    await other.get_by_role("heading", name="Vikram Dupont").wait_for()

    await tab.keyboard.type("Dubois")
    await tab.keyboard.press("Enter")
    conflict = tab.get_by_role("alert")
    await conflict.get_by_text("has changed this contact since you opened it").wait_for()

    assert "Dupont" in await conflict.inner_text()
    assert "Dufour" in await conflict.inner_text()
    assert await tab.locator("#edited").input_value() == "Dubois"
    await tab.keyboard.press("Escape")
    await tab.wait_for_selector("#edit-last_name:focus")
    assert "Dupont" in await tab.locator("#member-last_name").inner_text()


async def test_pages_work_without_javascript(browser: Browser, demo: Demo, cookies: list[SetCookieParam]) -> None:
    """Without JavaScript, the same links and forms search, edit and undo."""
    context = await browser.new_context(java_script_enabled=False, base_url=demo.url)
    await context.add_cookies(cookies)
    page = await context.new_page()
    await page.goto("/console/contacts")
    await page.get_by_role("searchbox", name="Search contacts").fill("wanjiru")
    await page.get_by_role("button", name="Search", exact=True).click()
    await page.locator(".row-link").first.click()
    await page.get_by_role("link", name="Edit Time zone").click()
    await page.get_by_role("combobox", name="Time zone").fill("Africa/Nairobi")
    await page.get_by_role("button", name="Save").click()
    saved = await page.locator("#member-time_zone").inner_text()
    await page.locator("#notice").get_by_role("button", name="Undo").click()

    assert "Africa/Nairobi" in saved
    assert "Undone." in await page.locator("#notice").inner_text()
    assert "Africa/Nairobi" not in await page.locator("#member-time_zone").inner_text()
    await context.close()
