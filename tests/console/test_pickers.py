"""Pickers: the search of what a field refers to has the focus, and letters, arrow keys and Enter do what they say there."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.console.conftest import Demo


async def _make(tab: Page, kind: str, name: str) -> str:
    """Create a contact or a company by its form, and return its address."""
    await tab.goto(f"/console/{kind}/new")
    await tab.locator("[name=first_name], [name=name]").first.fill(name)
    await tab.keyboard.press("Enter")
    await tab.get_by_role("heading", name=name).wait_for()
    return tab.url.partition("?")[0]


@pytest.mark.parametrize(
    ("member", "sought"),
    [("company_id", "company"), ("tag_ids", "tag"), ("fields.owner", "user")],
    ids=["company", "tags", "owner"],
)
async def test_letters_of_a_picker_are_text(tab: Page, member: str, sought: str) -> None:
    """The focus of an open picker is in its search, and no letter undoes the change before it, or leaves the page."""
    path = await _make(tab, "contacts", "Zora Zimmer")
    await tab.locator("#edit-last_name").click()
    await tab.locator("#edited").fill("Zabel")
    await tab.keyboard.press("Enter")
    await tab.get_by_text("Last name saved.").wait_for()
    await tab.locator(f"[id='edit-{member}']").click()
    search = tab.get_by_role("searchbox", name=f"Find a {sought}")
    await expect(search).to_be_focused()

    await tab.keyboard.type("zimmergcz")

    assert await search.input_value() == "zimmergcz"
    await tab.keyboard.press("Tab")
    await tab.keyboard.type("zgc")
    await tab.reload()
    await tab.get_by_role("heading", name="Zora Zimmer Zabel").wait_for()
    assert tab.url.partition("?")[0] == path


@pytest.mark.parametrize("member", ["company_id", "tag_ids"])
async def test_letters_of_a_picker_for_many_are_text(tab: Page, member: str) -> None:
    """A field that is set for many has the focus in its search, too, and letters in its choices are no keys."""
    await tab.goto("/console/contacts/selected?all=1&search=a")
    await tab.get_by_label("Edit a field").select_option(member)
    await tab.get_by_role("button", name="Edit", exact=True).click()
    search = tab.locator("#found").locator("xpath=preceding::input[@type='search'][1]")
    await expect(search).to_be_focused()
    await tab.locator("#found input").first.focus()

    await tab.keyboard.type("gc")

    assert tab.url.endswith("/contacts/selected")
    assert await tab.locator("#found").count() == 1


@pytest.mark.parametrize(
    ("text", "name"), [("Sakura Trading", "Sakura Trading"), ("zakur", "Zakura Trading")], ids=["whole", "a part"]
)
async def test_company_is_chosen_by_enter(tab: Page, text: str, name: str) -> None:
    """Typing, the arrow down and Enter save what was found, and not what stood beside the present one before."""
    await _make(tab, "companies", name)
    await _make(tab, "contacts", "Kenji Key")
    await tab.locator("#edit-company_id").click()
    await expect(tab.get_by_role("searchbox", name="Find a company")).to_be_focused()

    await tab.keyboard.type(text)
    await tab.keyboard.press("ArrowDown")
    await expect(tab.get_by_role("radio", name=name)).to_be_focused()
    await tab.keyboard.press("Enter")

    await tab.locator("#member-company_id a", has_text=name).wait_for()


async def test_enter_takes_the_first_company_found(tab: Page) -> None:
    """Enter in the search takes the first one found, at once or after it is shown, and saves nothing; the next Enter saves."""
    await _make(tab, "companies", "Bluefinch Labs")
    await _make(tab, "contacts", "Erin Enter")
    await tab.locator("#edit-company_id").click()
    search = tab.get_by_role("searchbox", name="Find a company")
    await expect(search).to_be_focused()
    await tab.keyboard.press("Enter")
    await tab.keyboard.press("ArrowDown")
    await expect(tab.get_by_role("radio", name="None")).to_be_focused()
    await tab.keyboard.press("ArrowUp")
    await expect(search).to_be_focused()

    await tab.keyboard.type("bluefinch")
    await tab.keyboard.press("Enter")

    chosen = tab.get_by_role("radio", name="Bluefinch Labs")
    await expect(chosen).to_be_focused()
    await expect(chosen).to_be_checked()
    assert await tab.locator("#member-company_id .unset").count() == 0
    await tab.keyboard.press("Enter")
    await tab.locator("#member-company_id a", has_text="Bluefinch Labs").wait_for()


async def test_enter_takes_nothing_that_was_not_found(tab: Page) -> None:
    """Words that find nothing leave the present company."""
    await _make(tab, "contacts", "Nora Nothing")
    await tab.locator("#edit-company_id").click()
    await expect(tab.get_by_role("searchbox", name="Find a company")).to_be_focused()
    await tab.keyboard.type("nobodyhasthisname")
    await tab.keyboard.press("ArrowDown")
    await tab.keyboard.press("Enter")

    await tab.get_by_text("Nothing found", exact=True).wait_for(state="attached")
    await expect(tab.get_by_role("radio", name="None")).to_be_checked()
    await expect(tab.get_by_role("searchbox", name="Find a company")).to_be_focused()


async def test_tags_are_chosen_one_after_the_other(tab: Page) -> None:
    """Enter checks the first tag found, and the next word may follow at once."""
    await _make(tab, "contacts", "Tina Tags")
    await tab.locator("#edit-tag_ids").click()
    await expect(tab.get_by_role("searchbox", name="Find a tag")).to_be_focused()
    names = [(await each.inner_text()).strip() for each in (await tab.locator("#found .tag").all())[:2]]
    for name in names:
        await tab.keyboard.type(name)
        await tab.keyboard.press("Enter")
        await expect(tab.get_by_role("checkbox", name=name, exact=True)).to_be_checked()
    await tab.keyboard.press("Tab")
    await tab.keyboard.press("Enter")

    await tab.get_by_text("Tags saved.").wait_for()
    assert {each.strip() for each in await tab.locator("#member-tag_ids .tag").all_inner_texts()} == {*names}


async def test_enter_in_the_search_of_a_new_contact_creates_nothing(tab: Page) -> None:
    """It takes the first company found; what was typed before stays, and the contact has the company."""
    await _make(tab, "companies", "Heliotrope")
    await tab.goto("/console/contacts/new")
    await tab.get_by_label("First name").fill("Hanna")
    await tab.get_by_role("searchbox", name="Find a company for Company").focus()

    await tab.keyboard.type("heliotrope")
    await tab.keyboard.press("Enter")

    await expect(tab.get_by_role("radio", name="Heliotrope")).to_be_checked()
    assert tab.url.endswith("/contacts/new")
    assert await tab.get_by_label("First name").input_value() == "Hanna"
    await tab.get_by_role("button", name="Create contact").click()
    await tab.get_by_role("heading", name="Hanna").wait_for()
    await tab.locator("#member-company_id a", has_text="Heliotrope").wait_for()


async def test_empty_contact_is_refused(tab: Page) -> None:
    """A form in which nothing is filled in creates nothing, and says what is missing."""
    await tab.goto("/console/contacts/new")
    await tab.get_by_label("First name").focus()

    await tab.keyboard.press("Enter")

    await tab.get_by_text("Nothing is filled in.").wait_for()
    await expect(tab.get_by_label("First name")).to_be_focused()
    assert await tab.title() == "Error: New contact · herdbook"


async def test_enter_searches_without_javascript(tab: Page, demo: Demo) -> None:
    """Without JavaScript, Enter in the search sends the form, which comes back with what was found."""
    await _make(tab, "companies", "Marigold")
    browser = tab.context.browser
    assert browser is not None
    context = await browser.new_context(java_script_enabled=False, base_url=demo.url)
    await context.add_cookies(await tab.context.cookies())  # pyright: ignore[reportArgumentType]  # the library's types differ
    page = await context.new_page()
    await page.goto("/console/contacts/new")
    await page.get_by_label("First name").fill("Nadia")
    await page.get_by_role("searchbox", name="Find a company for Company").fill("marigold")

    await page.keyboard.press("Enter")
    await page.get_by_role("radio", name="Marigold").check()
    await page.keyboard.press("Enter")

    await page.get_by_role("heading", name="Nadia").wait_for()
    assert await page.locator("#member-company_id a").first.inner_text() == "Marigold"
    await context.close()


async def test_value_of_a_filter_is_chosen_by_arrow_keys(tab: Page) -> None:
    """The arrow keys of the search and of the choices of a filter stay there, and do not go to the rows of the list."""
    await tab.goto("/console/contacts?add=company_id")
    await tab.get_by_role("searchbox", name="Find a company").focus()
    radios = tab.locator("#filter-choices input[type=radio]")

    await tab.keyboard.press("ArrowDown")
    await expect(radios.nth(0)).to_be_focused()
    await tab.keyboard.press("ArrowDown")

    await expect(radios.nth(1)).to_be_focused()
    await expect(radios.nth(1)).to_be_checked()


async def test_found_choices_are_told(tab: Page) -> None:
    """Readers that speak are told how many a search has found, in an element that stays."""
    await _make(tab, "companies", "Quillwort")
    await _make(tab, "contacts", "Tess Told")
    await tab.locator("#edit-company_id").click()
    await expect(tab.get_by_role("searchbox", name="Find a company")).to_be_focused()
    said = tab.locator("#found-said")
    element = await said.element_handle()

    await tab.keyboard.type("quillwort")

    await expect(said).to_have_text("1 found")
    assert element is not None
    assert await element.evaluate("(element) => element.isConnected && element.role === 'status'")


async def test_author_is_chosen_by_a_search(tab: Page, demo: Demo) -> None:
    """The activity is narrowed to a user whom a search finds; the choice is in the address, and other filters stay."""
    await tab.goto("/console/activity?types=contact")
    await tab.locator("#by-button").click()
    await tab.get_by_role("searchbox", name="Find a user").focus()

    await tab.keyboard.type("okonkwo")
    await tab.keyboard.press("Enter")
    await expect(tab.get_by_role("radio", name="Ada Okonkwo")).to_be_checked()
    await tab.keyboard.press("Enter")

    await expect(tab.locator("#by-button")).to_have_text("By Ada Okonkwo")
    await expect(tab.locator("#by-button")).to_be_focused()
    assert re.fullmatch(rf"{demo.url}/console/activity\?types=contact&user_id=usr_\w+", tab.url)
    await tab.get_by_label("Kind").first.select_option("tag")
    await tab.wait_for_url("**user_id=usr_*types=tag*")
