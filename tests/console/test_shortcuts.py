"""The keys: the script, the page that shows them, the templates and the documentation have those of one table."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from herdbook.console import static_files
from herdbook.console.shortcuts import JUMP, SHORTCUTS
from herdbook.console_pages import PAGES

ROOT = Path(__file__).parents[2]
JUMPS = [((JUMP, page.menu.jump), f"goes to {page.menu.label}") for page in PAGES if page.menu and page.menu.jump]
ROWS = [*((each.keys, each.does) for each in SHORTCUTS), *JUMPS]


def test_documentation_has_all_keys() -> None:
    """The table in the documentation is that of the program."""
    _, _, part = (ROOT / "docs/console.md").read_text().partition("\n## Keys\n")
    table = [line for line in part.partition("\n## ")[0].splitlines() if line.startswith("| `")]

    assert table == [f"| {' '.join(f'`{key}`' for key in keys)} | {does} |" for keys, does in ROWS]


def test_elements_name_the_keys_of_the_table() -> None:
    """Each key that uses an element has one on some page, and no element waits for another key."""
    named = {
        key
        for template in (ROOT / "src/herdbook").rglob("templates/*.html")
        for key in re.findall(r'data-key="([^"]+)"', template.read_text())
    }

    assert named == {key for each in SHORTCUTS for key, act in each.acts.items() if act == "use"}
    assert len({jump for (_, jump), _ in JUMPS}) == len(JUMPS)


async def test_script_knows_each_act(tab: Page) -> None:
    """The script has an act for each key, and none that no key has. The help shows each key."""
    await tab.goto("/console/help")

    known = await tab.evaluate(f"import('{static_files.address_of('keys.js')}').then((module) => Object.keys(module.acts))")

    assert {*known} == {"jump", *(act for each in SHORTCUTS for act in each.acts.values())}
    for keys, does in ROWS:
        row = tab.locator(".keys > div", has=tab.get_by_text(does, exact=True))
        assert await row.locator("kbd").all_text_contents() == [*keys]


async def test_keys_of_a_list_do_what_they_say(tab: Page) -> None:
    """Rows are reached and selected, and filters, views and the change of what is selected are opened, by a letter each."""
    await tab.goto("/console/contacts")
    boxes = tab.locator('#list input[name="id"]')

    await tab.keyboard.type("jjk")
    await tab.keyboard.press("x")
    assert await boxes.nth(0).is_checked()
    await tab.keyboard.type("jjk")
    await tab.keyboard.press("Shift+X")
    assert [await boxes.nth(place).is_checked() for place in range(3)] == [True, True, False]
    for key, summary in (("f", "#filters-button"), ("v", "#views-button")):
        await tab.keyboard.press(key)
        assert await tab.locator(f"details[open] > {summary}").count() == 1
        await tab.keyboard.press("Escape")
        assert await tab.locator("details[open]").count() == 0
    await tab.keyboard.press("e")
    await tab.get_by_role("heading", name="2 contacts").wait_for()


@pytest.mark.parametrize(
    ("path", "key", "field"),
    [
        ("/console/tags", "c", "[name=name]"),
        ("/console/contacts", "f", "#filter-member"),
        ("/console/contacts", "v", "[name=name]"),
    ],
)
async def test_key_leads_to_the_first_field(tab: Page, path: str, key: str, field: str) -> None:
    """A key that opens a form leads into it, so that what is typed next is text."""
    await tab.goto(path)
    await tab.keyboard.press(key)

    await expect(tab.locator(f"details[open] {field}").first).to_be_focused()
    await tab.keyboard.type("zebra gc")
    assert tab.url.endswith(path)
    await tab.keyboard.press("Escape")
    await expect(tab.locator(f"[data-key={key}]")).to_be_focused()


async def test_letters_in_a_form_are_no_keys(tab: Page) -> None:
    """No letter leaves a form that is half filled in: neither in its boxes, nor on its buttons."""
    await tab.goto("/console/keys/new")
    for place in (tab.get_by_role("checkbox").first, tab.get_by_role("button", name="Create key")):
        await place.focus()
        await tab.keyboard.type("gc?")
        assert await tab.locator("dialog").count() == 0
    await tab.get_by_role("radio").first.focus()
    await tab.keyboard.type("gc")

    assert tab.url.endswith("/keys/new")


async def test_letters_are_keys_of_a_selected_row(tab: Page) -> None:
    """The box of a row is a part of the list, and not of a form."""
    await tab.goto("/console/contacts")
    await tab.locator("#list input[name=id]").first.click()

    await tab.keyboard.press("e")

    await tab.get_by_role("heading", name="1 contact selected").wait_for()


async def test_letters_are_turned_off(tab: Page) -> None:
    """Single letters do nothing once they are turned off, on other pages and after a reload, too; other keys stay."""
    await tab.goto("/console/contacts")
    await tab.keyboard.press("?")
    box = tab.get_by_role("dialog").get_by_role("checkbox", name="Single letters are keys")
    await box.uncheck()
    await tab.get_by_role("button", name="Close").click()
    await tab.keyboard.type("?gofc/")
    await tab.reload()
    await tab.keyboard.type("?gofc/")
    await tab.keyboard.press("Control+k")
    await tab.get_by_role("combobox", name="A page, an action, or a record").wait_for()
    await tab.keyboard.press("Escape")
    await expect(tab.locator("dialog")).to_have_count(0)
    assert tab.url.endswith("/contacts")
    assert await tab.locator("details[open]").count() == 0
    await tab.keyboard.press("ArrowDown")
    await expect(tab.locator(".row-link").first).to_be_focused()

    await tab.goto("/console/help")
    await expect(tab.get_by_role("checkbox", name="Single letters are keys")).not_to_be_checked()
    await tab.get_by_role("checkbox", name="Single letters are keys").check()
    await tab.goto("/console/contacts")
    await tab.keyboard.press("f")
    await expect(tab.locator("#filter-member")).to_be_focused()
