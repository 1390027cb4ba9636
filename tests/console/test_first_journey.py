"""From the address that the demo prints to an undone change, in a browser."""

from playwright.async_api import Browser

from tests.console.conftest import Demo


async def test_demo_link_opens_the_list_and_a_change_is_undone(browser: Browser, demo: Demo) -> None:
    """By mouse: open the link, find a contact, change the name, see it in the history, take it back."""
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(60_000)

    await page.goto(demo.link)
    await page.get_by_role("button", name="Open herdbook").click()
    await page.get_by_role("searchbox", name="Search contacts").fill("greta ivanov")
    await page.wait_for_url("**search=greta+ivanov*")
    await page.get_by_role("link", name="Greta Ivanov").click()
    await page.get_by_role("link", name="Edit First name").click()
    await page.get_by_role("textbox", name="First name").fill("Margareta")
    await page.get_by_role("button", name="Save").click()

    await page.get_by_role("heading", name="Margareta Ivanov").wait_for()
    entry = page.locator("#history .entry").first
    assert "Ada Okonkwo changed First name" in " ".join((await entry.inner_text()).split())
    assert await entry.locator("del").inner_text() == "Greta"
    await page.locator("#notice").get_by_role("button", name="Undo").click()
    await page.get_by_role("heading", name="Greta Ivanov").wait_for()
    assert "Undone." in await page.locator("#notice").inner_text()
    await page.close()


async def test_link_of_the_demo_is_used_up(browser: Browser, demo: Demo) -> None:
    """The link of the first test lets in nobody else."""
    page = await browser.new_page()

    await page.goto(demo.link)

    assert await page.get_by_role("heading").inner_text() == "This link no longer works"
    await page.close()
