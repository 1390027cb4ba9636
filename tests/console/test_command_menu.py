"""The command menu: pages, actions and records by a few letters."""

from playwright._impl._api_structures import SetCookieParam
from playwright.async_api import Browser, Page

from tests.cast import Person, Thing
from tests.console.conftest import Demo, axe_faults
from tests.console.people import Visitor


async def test_page_finds_pages_actions_and_records(olga: Visitor, ada: Thing, engine: Thing) -> None:
    """Without a script, the same link leads to a page that finds the same things."""
    assert (await olga.get("/account")).text.count('href="/console/find"') == 1

    assert f'href="/console/contacts/{ada.id}"' in (await olga.get("/find?search=lovel")).text
    assert 'href="/console/companies/new"' in (await olga.get("/find?search=new+comp")).text
    assert 'href="/console/account"' in (await olga.get("/find?search=acc")).text.split('id="found"')[1]
    assert "Nothing has all these words" in (await olga.get("/find?search=xyzzy")).text
    assert engine.id not in (await olga.get("/find?search=xyzzy")).text


async def test_nobody_is_led_to_a_page_that_is_refused(victor: Visitor, anna: Visitor) -> None:
    """Pages and actions that the role does not allow are not found."""
    of_viewer = (await victor.get("/find")).text.split('id="found"')[1]
    of_admin = (await anna.get("/find")).text.split('id="found"')[1]

    for path in ("/console/keys", "/console/contacts/new", "/console/webhooks"):
        assert f'href="{path}"' in of_admin
        assert f'href="{path}"' not in of_viewer


async def test_text_that_is_no_search_finds_nothing(olga: Visitor) -> None:
    """A text that the API refuses to search for finds no record."""
    answer = await olga.get("/find", params={"search": "\u0000" + "x" * 3000})

    assert answer.status_code == 200
    assert "Nothing has all these words" in answer.text


async def test_record_is_opened_by_keyboard_alone(tab: Page) -> None:
    """Ctrl-K, some letters and Enter lead to a contact, though Enter comes before the answer."""
    await tab.goto("/console/account")

    await tab.keyboard.press("Control+k")
    await tab.keyboard.type("priya qu")
    await tab.keyboard.press("Enter")

    await tab.get_by_role("heading", name="Priya Quaye").wait_for()


async def test_arrows_choose_and_escape_closes(tab: Page) -> None:
    """The focus stays in the field while arrows choose, round the end; Escape gives it back to where it was."""
    await tab.goto("/console/contacts")
    await tab.locator("#search").focus()
    await tab.keyboard.press("Control+k")
    await tab.get_by_role("option", name="New contact").wait_for()
    first = await tab.locator("[role=option][aria-selected=true]").inner_text()

    await tab.keyboard.press("ArrowUp")
    last = await tab.locator("[role=option][aria-selected=true]").inner_text()
    active = await tab.evaluate("document.activeElement.getAttribute('aria-activedescendant')")

    assert (first, last) == ("Contacts", "Keyboard shortcuts")
    assert await tab.locator(f"#{active}").inner_text() == last
    await tab.keyboard.press("ArrowDown")
    assert await tab.locator("[role=option][aria-selected=true]").inner_text() == first
    await tab.keyboard.press("Escape")
    assert await tab.get_by_role("dialog").count() == 0
    assert await tab.evaluate("document.activeElement.id") == "search"


async def test_menu_is_used_by_mouse(tab: Page) -> None:
    """The link opens the menu, and an option is clicked."""
    await tab.goto("/console/contacts")
    await tab.get_by_role("link", name="Find").click()
    await tab.get_by_role("combobox").fill("comp")
    await tab.get_by_role("option", name="Companies", exact=True).click()

    await tab.get_by_role("heading", name="Companies").wait_for()


async def test_axe_finds_nothing_in_the_dialogs(browser: Browser, demo: Demo, cookies: list[SetCookieParam], axe: str) -> None:
    """The menu and the help are dialogs whose parts have their roles."""
    context = await browser.new_context(base_url=demo.url, bypass_csp=True, reduced_motion="reduce")
    await context.add_cookies(cookies)
    await context.add_init_script(axe)
    page = await context.new_page()
    await page.goto("/console/contacts")

    for key, shown in (("Control+k", "New contact"), ("?", "undoes the last change")):
        await page.keyboard.press(key)
        await page.get_by_role("dialog").get_by_text(shown).wait_for()
        assert await axe_faults(page) == []
        await page.keyboard.press("Escape")
        await page.get_by_role("dialog").wait_for(state="detached")
    await context.close()


async def test_keys_are_shown_and_jump(tab: Page) -> None:
    """A question mark shows the keys; g and a letter go to a page. In a field, all of them are text."""
    await tab.goto("/console/contacts")
    await tab.keyboard.press("?")
    await tab.get_by_role("dialog", name="Keyboard").get_by_text("undoes the last change").wait_for()
    await tab.keyboard.press("Escape")
    await tab.get_by_role("dialog").wait_for(state="hidden")

    await tab.keyboard.press("/")
    await tab.locator("#search:focus").wait_for()
    await tab.keyboard.type("?go")
    assert await tab.locator("#search").input_value() == "?go"
    assert await tab.get_by_role("dialog").count() == 0
    await tab.keyboard.press("Escape")
    await tab.keyboard.type("go")

    await tab.get_by_role("heading", name="Companies").wait_for()


async def test_names_come_before_addresses(olga: Visitor, alice: Person) -> None:
    """Records whose names have the words come before those that have them in an address alone, also other kinds of records."""
    company = await alice.post("/api/v2/companies", json={"name": "Sakura Robotics", "domains": [{"domain": "robots.test"}]})
    person = await alice.post("/api/v2/contacts", json={"first_name": "Mika", "last_name": "Sakura"})
    for number in range(7):
        contact = {
            "first_name": "Rosa",
            "last_name": "Ivanov",
            "emails": [{"email": f"rosa{number}@sakura.test", "is_primary": True}],
        }
        assert (await alice.post("/api/v2/contacts", json=contact)).status_code == 201

    found = (await olga.get("/find?search=sakura")).text.split('id="found"')[1]
    assert found.index(person.json()["id"]) < found.index("Rosa Ivanov")

    await alice.delete(f"/api/v2/contacts/{person.json()['id']}")
    found = (await olga.get("/find?search=sakura")).text.split('id="found"')[1]
    assert found.index(company.json()["id"]) < found.index("Rosa Ivanov")
