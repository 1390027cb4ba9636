"""A journey over the pages of duplicates in a browser: by keyboard alone, and without JavaScript."""

from typing import Any

import pytest
from playwright._impl._api_structures import SetCookieParam
from playwright.async_api import Browser, Page

from tests.console.conftest import Demo
from tests.console.test_accessibility import NARROW, WIDE


async def _make(tab: Page, first: str, last: str, number: str) -> None:
    """Create a contact by the form."""
    await tab.goto("/console/contacts/new")
    await tab.locator("[name='first_name']").fill(first)
    await tab.locator("[name='last_name']").fill(last)
    await tab.locator("[name='phone_number']").fill(number)
    await tab.get_by_role("button", name="Create contact").click()
    await tab.get_by_role("heading", name=f"{first} {last}").wait_for()


async def test_decide_by_keyboard_alone(tab: Page) -> None:
    """Go to the list, open a group, say that they are not the same, take it back, merge, and undo that, without a mouse."""
    await _make(tab, "Florence", "Nightingale", "+44 20 7946 0111")
    await _make(tab, "Flo", "Nightingale", "+44 20 7946 0111")
    group = tab.get_by_role("link", name="Nightingale")
    # Both letters at once, because the second one counts for a moment only.
    await tab.keyboard.type("gd")
    await tab.get_by_role("heading", name="Duplicates").wait_for()
    await group.focus()
    await tab.keyboard.press("Enter")
    await tab.get_by_role("heading", name="The same?").wait_for()
    await tab.wait_for_load_state()
    assert await tab.get_by_text("same phone +44 20 7946 0111").count() == 1

    await tab.keyboard.press("n")
    await tab.locator("#notice").get_by_text("they are not the same").wait_for()
    assert await tab.locator(".row-link", has_text="Nightingale").count() == 0
    await tab.get_by_role("button", name="Take back").focus()
    await tab.keyboard.press("Enter")
    await tab.locator("#notice").get_by_text("they may be the same").wait_for()

    await tab.locator(".row-link", has_text="Nightingale").focus()
    await tab.keyboard.press("Enter")
    await tab.get_by_role("heading", name="The same?").wait_for()
    await tab.wait_for_load_state()
    await tab.keyboard.press("m")
    await tab.locator("#notice").get_by_text("Merged.").wait_for()
    assert await tab.locator(".row-link", has_text="Nightingale").count() == 0
    await tab.keyboard.press("z")
    await tab.locator("#notice").get_by_text("Undone.").wait_for()
    await tab.goto("/console/duplicates")
    assert await tab.locator(".row-link", has_text="Nightingale").count() == 1


async def test_without_javascript(browser: Browser, demo: Demo, cookies: list[SetCookieParam], tab: Page) -> None:
    """The same forms merge all without JavaScript, after a preview."""
    await _make(tab, "Hypatia", "Alexandria", "+30 21 0123 4567")
    await _make(tab, "Hypatia", "Alexandria", "+30 21 0123 4567")
    context = await browser.new_context(java_script_enabled=False, base_url=demo.url)
    await context.add_cookies(cookies)
    page = await context.new_page()
    await page.goto("/console/duplicates")
    await page.get_by_label("From which score on").select_option("0.95")
    await page.get_by_role("button", name="Merge all").click()
    await page.get_by_text("Hypatia Alexandria").first.wait_for()
    await page.get_by_role("button", name="Merge all").click()
    await page.locator("#notice").get_by_text("Merged").wait_for()
    assert await page.locator(".row-link", has_text="Hypatia").count() == 0
    await context.close()


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing(tab: Page, axe: str, width: int, scheme: Any) -> None:
    """A list with groups and pairs that are not the same, two side by side, and the preview of a merge of all have no fault."""
    await _make(tab, "Rosalind", f"Franklin{width}{scheme}", "+44 20 7946 0222")
    await _make(tab, "Rosalind", f"Franklin{width}{scheme}", "+44 20 7946 0222")
    await tab.set_viewport_size({"width": width, "height": 800})
    await tab.emulate_media(color_scheme=scheme)
    await tab.goto("/console/duplicates")
    compare = await tab.locator(".row-link", has_text=f"{width}{scheme}").get_attribute("href")
    assert compare is not None
    for path in ("/console/duplicates", compare, "/console/duplicates/all?min_score=0.5"):
        await tab.goto(path)
        await tab.evaluate(axe)
        found = await tab.evaluate("axe.run()")
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]] == []
        assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
