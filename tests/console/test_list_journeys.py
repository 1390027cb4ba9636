"""Lists in a browser: filters, views and many rows at once, by mouse and by keyboard alone."""

from typing import Final
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright._impl._api_structures import SetCookieParam
from playwright.async_api import Browser, Page

from tests.console.conftest import Demo
from tests.console.test_contact_pages import NASTY

# The elements that are wider than a phone, unless they are in a box that scrolls.
_OUTSIDE: Final = """
    () => [...document.querySelectorAll("main *")]
        .filter((each) => each.getBoundingClientRect().right > 391 && !each.closest(".table-box, .visually-hidden"))
        .map((each) => each.outerHTML.slice(0, 120))
        .concat(document.documentElement.scrollWidth > 390 ? ["the page"] : [])
"""


async def _tab_to(tab: Page, selector: str) -> None:
    """Press Tab until the focus is on an element."""
    for _ in range(80):
        if await tab.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
        await tab.keyboard.press("Tab")
    raise AssertionError(f"no Tab leads to {selector}")


async def _press_on(tab: Page, selector: str, key: str = "Enter") -> None:
    await _tab_to(tab, selector)
    await tab.keyboard.press(key)


async def _names(tab: Page) -> list[str]:
    return await tab.locator(".row-link > span:last-child").all_inner_texts()


async def test_filter_and_view_by_mouse(tab: Page) -> None:
    """Filter a list, save it as a view, leave, and open the view again."""
    await tab.goto("/console/contacts")
    await tab.get_by_text("Filter", exact=True).click()
    await tab.get_by_role("combobox", name="Field").select_option("last_name")
    await tab.get_by_role("combobox", name="Comparison").select_option("begins_with")
    await tab.get_by_label("Value", exact=True).fill("Petrov")
    await tab.get_by_role("button", name="Add filter").click()
    await tab.wait_for_url("**filter=last_name%3Abegins_with%3APetrov*")
    found = await _names(tab)
    await tab.get_by_text("Views", exact=True).click()
    await tab.get_by_label("Save this list as a view").fill("The Petrovs")
    await tab.get_by_role("button", name="Save view").click()
    await tab.get_by_role("heading", name="The Petrovs").wait_for()

    await tab.goto("/console/contacts")
    everybody = await _names(tab)
    await tab.get_by_text("Views", exact=True).click()
    await tab.get_by_role("link", name="The Petrovs").click()
    await tab.get_by_role("heading", name="The Petrovs").wait_for()

    assert len(everybody) > len(found) > 0
    assert all("Petrov" in each for each in found)
    assert await _names(tab) == found


async def test_filter_and_view_by_keyboard_alone(tab: Page) -> None:
    """The same without a mouse: f opens the filters, v the views."""
    await tab.goto("/console/companies")
    await tab.keyboard.press("f")
    await _tab_to(tab, "#filter-member")
    await tab.keyboard.type("Nam")
    await tab.wait_for_selector("#filter-op")
    await _tab_to(tab, "#filter-op")
    await tab.keyboard.type("begins")
    await _tab_to(tab, "#new-filter input[name=value]")
    await tab.keyboard.type("West")
    await tab.keyboard.press("Enter")
    await tab.wait_for_url("**filter=name%3Abegins_with%3AWest*")
    found = await _names(tab)
    await tab.keyboard.press("v")
    await _tab_to(tab, "#views input[placeholder=Name]")
    await tab.keyboard.type("In the west")
    await tab.keyboard.press("Enter")
    await tab.get_by_role("heading", name="In the west").wait_for()
    await _press_on(tab, ".chip-remove")
    await tab.get_by_text("changed", exact=True).wait_for()

    assert all(each.startswith("West") for each in found)
    assert found
    assert "filter" not in parse_qs(urlsplit(tab.url).query)


async def test_many_are_edited_and_undone_by_mouse(tab: Page) -> None:
    """Check two contacts, give both a description, see what changes before, and undo it."""
    await tab.goto("/console/contacts?columns=description&sort=last_name:asc")
    await tab.locator("#list input[name=id]").nth(0).check()
    await tab.locator("#list input[name=id]").nth(2).click(modifiers=["Shift"])
    assert await tab.locator("#selected-count").inner_text() == "3 selected"
    await tab.get_by_role("button", name="Change selected").click()
    await tab.get_by_role("heading", name="3 contacts selected").wait_for()
    await tab.get_by_role("combobox", name="Edit a field").select_option("description")
    await tab.get_by_role("button", name="Edit").click()
    await tab.locator("#edited").fill("Met at the fair.")
    await tab.get_by_role("button", name="See what changes").click()
    assert await tab.locator("ins").all_inner_texts() == ["Met at the fair."] * 3
    await tab.get_by_role("button", name="Change 3 contacts").click()
    await tab.locator("#notice").get_by_text("3 contacts changed.").wait_for()
    assert await tab.get_by_role("cell", name="Met at the fair.").count() == 3

    await tab.locator("#notice").get_by_role("button", name="Undo").click()
    await tab.locator("#notice").get_by_text("Undone.").wait_for()

    assert await tab.get_by_role("cell", name="Met at the fair.").count() == 0


async def test_many_are_edited_and_undone_by_keyboard_alone(tab: Page) -> None:
    """The same without a mouse: j moves down, x selects, z undoes."""
    await tab.goto("/console/contacts?columns=description&sort=last_name:asc")
    for _ in range(2):
        await tab.keyboard.press("j")
        await tab.keyboard.press("x")
    assert await tab.locator("#selected-count").inner_text() == "2 selected"
    assert await tab.evaluate("getComputedStyle(document.activeElement, '::after').outlineStyle") == "solid"
    await tab.keyboard.press("e")
    await tab.wait_for_selector("select[name=member]:focus")
    await tab.keyboard.type("Descr")
    await tab.keyboard.press("Tab")
    await tab.keyboard.press("Enter")
    await tab.wait_for_selector("#edited:focus")
    await tab.keyboard.type("Met at the fair.")
    await tab.keyboard.press("Control+Enter")
    await tab.wait_for_selector("button.primary:focus")
    await tab.keyboard.press("Enter")
    await tab.locator("#notice").get_by_text("2 contacts changed.").wait_for()
    changed = await tab.get_by_role("cell", name="Met at the fair.").count()
    await tab.keyboard.press("z")
    await tab.locator("#notice").get_by_text("Undone.").wait_for()

    assert changed == 2
    assert await tab.get_by_role("cell", name="Met at the fair.").count() == 0


async def test_search_keeps_filters_and_replaces_the_list_alone(tab: Page) -> None:
    """While somebody types, the list is replaced, the search keeps the focus, and the filters stay in the address."""
    await tab.goto("/console/contacts?filter=last_name:is_set:")
    await tab.evaluate("document.getElementById('search').dataset.same = 'yes'")
    await tab.keyboard.press("/")
    await tab.keyboard.type("petr")
    await tab.wait_for_url("**search=petr*")

    assert await tab.evaluate("document.activeElement.dataset.same") == "yes"
    assert parse_qs(urlsplit(tab.url).query)["filter"] == ["last_name:is_set:"]
    assert all("Petr" in each for each in await _names(tab))


async def test_lists_work_without_javascript(browser: Browser, demo: Demo, cookies: list[SetCookieParam]) -> None:
    """Without JavaScript, the same forms add a filter, save a view, and change many."""
    context = await browser.new_context(java_script_enabled=False, base_url=demo.url)
    await context.add_cookies(cookies)
    page = await context.new_page()
    await page.goto("/console/contacts")
    await page.get_by_text("Filter", exact=True).click()
    await page.get_by_role("combobox", name="Field").select_option("last_name")
    await page.get_by_role("button", name="Choose").click()
    await page.get_by_role("combobox", name="Comparison").select_option("contains")
    await page.get_by_label("Value", exact=True).fill("petrov")
    await page.get_by_role("button", name="Add filter").click()
    found = await _names(page)
    await page.get_by_role("button", name="Change all that fit").click()

    assert found
    assert all("Petrov" in each for each in found)
    assert await page.get_by_role("heading", level=1).inner_text() == f"{len(found)} contacts selected"
    await context.close()


@pytest.mark.parametrize("text", NASTY, ids=["markup", "template", "right-to-left", "long"])
async def test_hostile_values_stay_in_their_boxes(tab: Page, text: str) -> None:
    """In every column, filter, and view of a list, such a value is text, runs nothing, and makes no page wider than a phone."""
    await tab.set_viewport_size({"width": 390, "height": 844})
    await tab.goto("/console/contacts/new")
    for name in ("first_name", "last_name", "description", "external_ids", "fields.job_title", "fields.department"):
        await tab.locator(f"[name='{name}']").fill(text)
    await tab.get_by_role("button", name="Create contact").click()
    await tab.wait_for_selector("#title")
    columns = "description,external_ids,fields.job_title,fields.department,emails,updated_at"
    paths = [f"/console/contacts?columns={columns}", "/console/contacts/new"]
    await tab.goto(paths[0])
    await tab.get_by_text("Filter", exact=True).click()
    await tab.get_by_role("combobox", name="Field").select_option("description")
    await tab.get_by_label("Value", exact=True).fill(text)
    await tab.get_by_role("button", name="Add filter").click()
    await tab.locator(".chip-text").wait_for()
    paths.append(tab.url)
    await tab.get_by_text("Views", exact=True).click()
    await tab.get_by_label("Save this list as a view").fill(text)
    await tab.get_by_role("button", name="Save view").click()
    await tab.locator("#notice").get_by_text("was saved").wait_for()
    paths += [
        tab.url,
        tab.url.replace("contacts?", "contacts/selected?all=1&"),
        f"/console/contacts?filter={text}&add=last_name",
    ]

    for path in paths:
        await tab.goto(path)
        assert await tab.locator("img").count() == 0
        assert await tab.evaluate(_OUTSIDE) == [], path
        for popover in await tab.locator("details.popover > summary").all():
            await popover.click()
            assert await tab.evaluate(_OUTSIDE) == [], path


async def test_way_back_leads_to_the_list_as_it_was(tab: Page) -> None:
    """The link from a contact back to its list keeps the search, the order and the page of this tab."""
    await tab.goto("/console/contacts?sort=last_name%3Adesc")
    await tab.get_by_role("link", name="Next page").click()
    await tab.wait_for_url("**cursor=*")
    listed, found = tab.url, await _names(tab)

    await tab.locator(".row-link").first.click()
    await tab.locator("a.back").click()
    await tab.wait_for_url("**/console/contacts?*")

    assert (tab.url, await _names(tab)) == (listed, found)
