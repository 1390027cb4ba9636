"""Parts of pages that are replaced in place, in a browser: they follow the address, and nobody loses the focus."""

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Final

import pytest
import pytest_asyncio
from playwright._impl._api_structures import SetCookieParam
from playwright.async_api import Browser, Page, Route

from tests.console.conftest import Demo

# The links, hidden fields and headings of the content, as the document has them, and as the page of its address has them.
_SAME_AS_ITS_ADDRESS: Final = """
    async () => {
        const all = (root, selector) => [...root.querySelectorAll(selector)].filter((each) => !each.closest("#notice"));
        const told = (root) => [
            ...all(root, "a[href]").map((each) => each.getAttribute("href")),
            ...all(root, "input[type=hidden]:not([name=form_token])").map((each) => `${each.name}=${each.value}`),
            ...all(root, "h1, .chip-text, summary").map((each) => each.textContent.trim()),
        ];
        const answer = await fetch(location.href);
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const [here, there] = [told(document.getElementById("main")), told(page.getElementById("main"))];
        return [here.filter((each) => !there.includes(each)), there.filter((each) => !here.includes(each))];
    }
"""
_FOCUS: Final = "document.activeElement.ariaLabel ?? document.activeElement.id"


@pytest_asyncio.fixture
async def other(browser: Browser, demo: Demo, cookies: list[SetCookieParam]) -> AsyncGenerator[Page]:
    """Another browser, in which somebody changes things."""
    context = await browser.new_context(base_url=demo.url)
    await context.add_cookies(cookies)
    page = await context.new_page()
    page.set_default_timeout(60_000)
    yield page
    await context.close()


async def _open(tab: Page, name: str) -> None:
    await tab.goto(f"/console/contacts?search={name.replace(' ', '+')}")
    await tab.locator(".row-link").first.click()
    await tab.get_by_role("heading", name=name).wait_for()


async def _create(tab: Page, name: str, address: str = "") -> None:
    """Create a contact, and be on its page."""
    await tab.goto("/console/contacts/new")
    await tab.get_by_label("First name").fill(name)
    await tab.get_by_label("E-mail").fill(address)
    await tab.get_by_role("button", name="Create contact").click()
    await tab.get_by_role("heading", name=name).wait_for()


async def test_view_says_that_it_is_changed_while_somebody_types(tab: Page) -> None:
    """A search within a saved view marks the view as changed, and the ways to remove its filters keep the search."""
    await tab.goto("/console/contacts?filter=last_name:is_set:&sort=last_name:asc")
    await tab.get_by_text("Views", exact=True).click()
    await tab.get_by_label("Save this list as a view").fill("With a name")
    await tab.get_by_role("button", name="Save view").click()
    await tab.get_by_role("heading", name="With a name").wait_for()
    assert await tab.get_by_text("changed", exact=True).count() == 0

    await tab.get_by_label("Search contacts").press_sequentially("petr")
    await tab.wait_for_url("**search=petr*")

    await tab.get_by_text("changed", exact=True).wait_for()
    assert "search=petr" in (await tab.locator(".chip-remove").first.get_attribute("href") or "")
    assert await tab.evaluate(_SAME_AS_ITS_ADDRESS) == [[], []]


@pytest.mark.parametrize(
    ("path", "label", "text"),
    [
        ("/console/contacts?filter=last_name:is_set:", "Search contacts", "pe"),
        ("/console/companies?filter=name:is_set:&sort=name:asc", "Search companies", "we"),
        ("/console/engagements", "Search engagements", "re"),
    ],
)
async def test_page_is_that_of_its_address_after_a_search(tab: Page, path: str, label: str, text: str) -> None:
    """All links and hidden fields are those that the page of the new address has."""
    await tab.goto(path)
    await tab.get_by_label(label).press_sequentially(text)
    await tab.wait_for_url(f"**search={text}*")

    assert await tab.evaluate(_SAME_AS_ITS_ADDRESS) == [[], []]


async def test_page_is_that_of_its_address_after_a_sort(tab: Page) -> None:
    """Another order is in all links and forms, and the focus stays on the heading of the column."""
    await tab.goto("/console/contacts?filter=last_name:is_set:")
    await tab.get_by_role("columnheader", name="Name").get_by_role("link").focus()
    await tab.keyboard.press("Enter")
    await tab.wait_for_url("**sort=*")

    assert await tab.evaluate(_SAME_AS_ITS_ADDRESS) == [[], []]
    assert await tab.evaluate("document.activeElement.textContent.trim()") == "Name"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("member", ["E-mail", "Phone"])
async def test_addresses_have_room_to_be_read(tab: Page, width: int, member: str) -> None:
    """The input of an address is wide enough for one of 30 letters, and nothing is wider than the screen."""
    await _open(tab, "Priya Quaye")
    await tab.set_viewport_size({"width": width, "height": 900})
    await tab.get_by_role("link", name=f"Edit {member}").click()
    await tab.locator("#edited").wait_for()

    widths = await tab.locator(".item-row input[name=value]").evaluate_all(
        "(found) => found.map((each) => each.getBoundingClientRect().width)"
    )

    assert widths
    assert min(widths) >= 260
    assert await tab.evaluate("document.documentElement.scrollWidth") <= width


async def test_line_about_an_edit_ends_with_the_edit(tab: Page, other: Page) -> None:
    """The line says that a field is being edited only as long as its form is open."""
    async with tab.expect_request("**/changes?version=*"):
        await _open(tab, "Vikram Dufour")
    await tab.get_by_role("link", name="Edit Time zone").click()
    await tab.locator("#edited").fill("Europe/Oslo")
    await other.goto(tab.url)
    await other.get_by_role("link", name="Edit Time zone").click()
    await other.locator("#edited").fill("Europe/Rome")
    await other.get_by_role("button", name="Save").click()
    await tab.get_by_text("You are editing it").wait_for()

    await tab.keyboard.press("Escape")
    await tab.wait_for_selector("#edit-time_zone:focus")

    assert await tab.get_by_text("You are editing it").count() == 0
    assert await tab.get_by_text("Ada Okonkwo changed Time zone.").is_visible()


async def test_focus_stays_where_parts_are_replaced(tab: Page) -> None:
    """After each step with the keyboard, the focus is at the thing that the step was about."""
    await _create(tab, "Ida Focus")
    await tab.get_by_label("New note").fill("First")
    await tab.get_by_role("button", name="Add note").focus()
    await tab.keyboard.press("Enter")
    await tab.locator(".note").get_by_text("First").wait_for()
    assert await tab.evaluate(_FOCUS) == "New note"
    await tab.get_by_role("button", name="Pin the note").focus()
    await tab.keyboard.press("Enter")
    await tab.get_by_role("button", name="Unpin the note").wait_for()
    assert await tab.evaluate(_FOCUS) == "Unpin the note"
    await tab.get_by_role("button", name="Delete the note").focus()
    await tab.keyboard.press("Enter")
    await tab.locator("#notes").get_by_text("No notes yet.").wait_for()
    assert await tab.evaluate(_FOCUS) == "notes"


async def test_focus_stays_on_a_field_that_is_moved_by_keyboard(tab: Page) -> None:
    """A field is moved up twice by two presses of Enter."""
    await tab.goto("/console/fields")
    keys = await tab.locator("#fields .row code").all_text_contents()
    first = keys.index("birthday")
    await tab.get_by_role("button", name="Move Birthday up").focus()
    for place in (first - 1, first - 2):
        await tab.keyboard.press("Enter")
        await tab.locator("#fields .row").nth(place).get_by_role("link", name="Birthday").wait_for()
        assert await tab.evaluate(_FOCUS) == "Move Birthday up"


async def test_kind_of_a_new_field_changes_the_form_and_keeps_what_was_typed(tab: Page) -> None:
    """The parts that a kind needs come and go as it is chosen."""
    await tab.goto("/console/fields/new")
    await tab.get_by_label("Label").fill("Tier")
    assert await tab.get_by_label("Unique").count() == 1
    await tab.get_by_label("Kind").select_option("one_of")
    await tab.get_by_label("Options, one in each line").fill("Gold\nSilver")
    await tab.get_by_label("Default").fill("Silver")
    assert await tab.get_by_label("Unique").count() == 0

    await tab.get_by_role("button", name="Define field").click()

    await tab.get_by_role("heading", name="Tier").wait_for()
    assert await tab.get_by_role("combobox", name="Default").input_value() == "silver"


async def test_page_offers_one_draft_at_a_time(tab: Page) -> None:
    """The latest of several texts that are not saved is offered, and the next one once that is discarded."""
    await _open(tab, "Callum Petrov")
    for label in ("Description", "Time zone"):
        await tab.get_by_role("link", name=f"Edit {label}").click()
        await tab.locator("#edited").fill("Something")
        await tab.reload()
    await tab.get_by_label("New note").fill("A note")
    await tab.reload()

    lines: list[str] = []
    for more in (" (and 2 more)", " (and 1 more)", ""):
        await tab.locator(".draft").wait_for()
        assert await tab.locator(".draft").count() == 1
        line = await tab.locator(".draft > span").inner_text()
        assert line.endswith("just now" + more)
        lines.append(line)
        await tab.get_by_role("button", name="Discard").focus()
        await tab.keyboard.press("Enter")

    assert [("Time zone" in line, "Description" in line) for line in lines] == [(False, False), (True, False), (False, True)]
    assert await tab.locator(".draft").count() == 0
    assert await tab.evaluate(_FOCUS) == "main"


async def test_confirmation_is_no_draft(tab: Page) -> None:
    """A name that is typed to confirm an erasure is not kept."""
    await _open(tab, "Priya Petrov")
    await tab.get_by_role("link", name="Erase for good").click()
    await tab.get_by_label("To confirm").fill("Somebody else")

    assert await tab.evaluate("Object.keys(localStorage)") == []
    await tab.reload()
    assert await tab.locator(".draft").count() == 0


async def test_progress_is_asked_for_until_it_ends(tab: Page) -> None:
    """The element with the progress of long work is taken anew from its page, and no more once that has none."""
    await tab.goto("/console/fields")
    await tab.get_by_role("link", name="Job title").click()
    await tab.locator("#definition").wait_for()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url) if request.method == "GET" else None)

    async with tab.expect_response(lambda answer: answer.url == tab.url):
        await tab.evaluate(
            """() => {
                const line = document.createElement("div");
                Object.assign(line, { id: "progress" });
                line.dataset.watch = location.pathname;
                document.getElementById("progress").replaceWith(line);
                document.dispatchEvent(new Event("visibilitychange"));
            }"""
        )
    await tab.wait_for_function("() => !('watch' in document.getElementById('progress').dataset)")

    assert asked == [tab.url]


async def test_taken_address_of_a_new_contact_by_keyboard_alone(tab: Page) -> None:
    """All that was typed stays, and a button adds the rest to the contact that has the address."""
    await _create(tab, "Ida Taken", "taken@example.com")
    await tab.goto("/console/contacts/new")
    await tab.get_by_label("First name").fill("Hedy")
    await tab.get_by_label("E-mail").fill("TAKEN@example.com")
    await tab.get_by_label("Description").fill("Met in Vienna.")
    await tab.get_by_label("E-mail").focus()
    await tab.keyboard.press("Enter")
    await tab.get_by_role("group", name="E-mail is taken").wait_for()
    assert await tab.get_by_label("Description").input_value() == "Met in Vienna."

    await tab.get_by_role("button", name="Add the rest to Ida Taken").focus()
    await tab.keyboard.press("Enter")

    await tab.get_by_role("heading", name="Ida Taken").wait_for()
    await tab.locator("#notice").get_by_text("Added to Ida Taken.").wait_for()
    assert "Met in Vienna." in await tab.locator("#member-description").inner_text()
    await tab.keyboard.press("z")
    await tab.locator("#notice").get_by_text("Undone.").wait_for()
    assert "Met in Vienna." not in await tab.locator("#member-description").inner_text()


async def test_form_waits_for_the_choice_that_it_follows_from(tab: Page) -> None:
    """A field has the kind that somebody has chosen, though the button is pressed before the form shows it."""
    is_let_through = asyncio.Event()
    sent: list[str | None] = []

    async def hold(route: Route) -> None:
        if route.request.method == "GET":
            await is_let_through.wait()
        else:
            sent.append(route.request.post_data)
        await route.continue_()

    await tab.goto("/console/fields/new")
    await tab.route(re.compile("/console/fields/new"), hold)
    await tab.get_by_label("Label").fill("Hasty budget")
    async with tab.expect_request(re.compile("kind=money")):
        await tab.get_by_label("Kind").select_option("money")
    async with tab.expect_request(re.compile("kind=money")):
        await tab.get_by_role("button", name="Define field").click()
    assert sent == []
    is_let_through.set()
    await tab.get_by_text("Defined.").wait_for()

    assert len(sent) == 1
    assert "kind=money" in (sent[0] or "")
    assert await tab.locator(".facts", has_text="Kind").get_by_text("Amount of money").count() == 1
