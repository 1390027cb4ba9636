"""Pages on a narrow screen: the menu has all its entries, and nothing is out of place."""

from typing import Any

import pytest
from playwright._impl._api_structures import SetCookieParam
from playwright.async_api import Browser, Page

from herdbook.console_pages import PAGES
from tests.console.conftest import Demo
from tests.console.faults import BROKEN

WIDTH = 390
ENTRIES = sum(page.menu is not None for page in PAGES)


@pytest.mark.parametrize("has_script", [False, True], ids=["without a script", "with scripts"])
async def test_menu_shows_all_entries(
    browser: Browser, demo: Demo, cookies: list[SetCookieParam], axe: str, *, has_script: bool
) -> None:
    """A button opens the menu, without a script too and by keyboard: all entries are on the screen, and Escape closes it."""
    viewport: Any = {"width": WIDTH, "height": 844}
    context = await browser.new_context(
        viewport=viewport, base_url=demo.url, java_script_enabled=has_script, bypass_csp=True, reduced_motion="reduce"
    )
    await context.add_cookies(cookies)
    page = await context.new_page()
    await page.goto("/console/webhooks/new")
    menu, button = page.get_by_role("navigation", name="Pages", exact=True), page.get_by_role("button", name="Menu")
    assert await menu.count() == 0

    for _ in range(10):
        await page.keyboard.press("Shift+Tab")
        if await button.evaluate("element => element === document.activeElement"):
            break
    await page.keyboard.press("Enter")

    links = await menu.get_by_role("link").all()
    assert len(links) == ENTRIES
    for link in links:
        box = await link.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= WIDTH
        assert box["y"] + box["height"] <= 844
    if has_script:
        await page.evaluate(axe)
        assert (await page.evaluate("axe.run()"))["violations"] == []
    await page.keyboard.press("Escape")
    assert await menu.count() == 0
    assert page.url.endswith("/console/webhooks/new")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/console/companies")
    await context.close()


async def test_menu_of_a_wide_screen_is_open(tab: Page) -> None:
    """Beside the content, the menu needs no button."""
    await tab.goto("/console/contacts")

    assert await tab.get_by_role("navigation", name="Pages", exact=True).get_by_role("link").count() == ENTRIES
    assert await tab.get_by_role("button", name="Menu").count() == 0


async def test_status_of_a_request_is_one_line(tab: Page) -> None:
    """The status beside a long path keeps its form."""
    await tab.set_viewport_size({"width": WIDTH, "height": 844})
    await tab.goto("/console/contacts/cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T")
    await tab.goto("/console/requests")
    while not await tab.locator(".badge", has_text="404").count():
        await tab.reload()

    assert await tab.evaluate(BROKEN) == []


async def test_wide_table_shows_on_which_side_it_goes_on(tab: Page) -> None:
    """A shadow is at the edge behind which a table goes on, and at no other one."""
    await tab.set_viewport_size({"width": WIDTH, "height": 844})
    await tab.goto("/console/_kit")
    table = tab.get_by_role("region", name="A wide table")
    await table.scroll_into_view_if_needed()
    box = await table.bounding_box()
    assert box is not None

    async def edges() -> list[bytes]:
        """Return what is at the left and the right end of the header, above its words."""
        places = (box["x"] + 2, box["x"] + box["width"] - 6)
        return [await tab.screenshot(clip={"x": x, "y": box["y"] + 3, "width": 4, "height": 4}) for x in places]

    left, shaded_right = await edges()
    await table.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
    shaded_left, right = await edges()

    assert shaded_left != left
    assert shaded_right != right


async def test_rows_with_buttons_are_even(tab: Page) -> None:
    """The buttons of a row are beneath its text, all of one width; the search of requests has the whole width for itself."""
    await tab.set_viewport_size({"width": WIDTH, "height": 844})
    await tab.goto("/console/users/new")
    await tab.get_by_label("First name").fill("Ivy")
    await tab.get_by_label("E-mail").fill("ivy@team.example")
    await tab.get_by_role("button", name="Make a link").click()
    await tab.goto("/console/users/roles")
    row = tab.locator(".card-row", has_text="Ivy")
    widths = [
        round((await each.bounding_box() or {"width": 0})["width"])
        for each in await row.locator(".actions .button:visible").all()
    ]

    assert len(widths) == 3
    assert max(widths) - min(widths) <= 2
    await tab.goto("/console/requests")
    key, find = tab.get_by_label("Id of a key"), tab.get_by_role("button", name="Find", exact=True)
    [of_key, of_find] = [await each.bounding_box() or {"y": 0} for each in (key, find)]
    assert abs(of_key["y"] - of_find["y"]) < 4


async def test_touched_screen_names_no_key(browser: Browser, demo: Demo, cookies: list[SetCookieParam]) -> None:
    """On a screen that is touched, a list does not speak of one."""
    context = await browser.new_context(base_url=demo.url, has_touch=True, is_mobile=True)
    await context.add_cookies(cookies)
    page = await context.new_page()
    await page.goto("/console/contacts")
    await page.wait_for_function("document.documentElement.classList.contains('has-script')")

    assert await page.locator("#selected-count").inner_text() == "Check some to change them."
    await context.close()
