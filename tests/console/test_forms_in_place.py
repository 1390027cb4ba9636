"""Forms that replace parts of their page: none is lost while another one runs, and each says what becomes of it."""

from collections.abc import Callable
from typing import Final

import pytest
from playwright.async_api import Page, Request, Route, expect

from tests.console.test_drafts import DRAFTS, open_contact

_LIVE: Final = "[...document.querySelectorAll('[aria-live], [role=status]')].map(each => [each.id, each.textContent.length])"


class Held:
    """Requests that are held back until they are let go."""

    def __init__(self, tab: Page) -> None:
        self._tab = tab
        self._routes: list[Route] = []
        self.sent: list[str] = []

    async def hold(self, ending: str) -> None:
        """Hold the requests to paths with an ending."""
        await self._tab.route(f"**{ending}", self._keep)

    async def _keep(self, route: Route) -> None:
        self._routes.append(route)

    async def let_go(self) -> None:
        """Let all of them go on."""
        for route in self._routes:
            await route.continue_()
        self._routes.clear()

    def watch(self, is_wanted: Callable[[Request], bool]) -> None:
        """Note the paths of the requests of a kind."""
        self._tab.on("request", lambda each: self.sent.append(each.url) if is_wanted(each) else None)


@pytest.fixture
def held(tab: Page) -> Held:
    """Requests of the tab that are held back."""
    return Held(tab)


async def _edit(tab: Page, member: str, text: str) -> None:
    """Open a field, and type a text in it."""
    await tab.locator(f"#edit-{member}").click()
    await tab.locator(f"#member-{member} :is(input.input, textarea)").fill(text)


async def _save(tab: Page, member: str) -> None:
    await tab.locator(f"#member-{member}").get_by_role("button", name="Save").last.click()


async def test_second_save_waits_for_the_first(tab: Page, held: Held) -> None:
    """Two forms that are sent one after the other are both saved, in their order; a second click sends nothing twice."""
    await open_contact(tab, "Priya Quaye")
    held.watch(lambda each: each.method == "POST")
    await held.hold("/edit/time_zone")
    await _edit(tab, "time_zone", "Europe/Berlin")
    await _edit(tab, "description", "Second.")
    await _save(tab, "time_zone")
    await _save(tab, "time_zone")
    await _save(tab, "description")
    await held.let_go()

    await tab.locator("#member-time_zone .member-value", has_text="Europe/Berlin").wait_for()
    await tab.locator("#member-description .member-value", has_text="Second.").wait_for()
    await tab.reload()
    assert await tab.locator("#member-description .member-value").inner_text() == "Second."
    assert await tab.locator("#member-time_zone .member-value").inner_text() == "Europe/Berlin"
    assert [each.rpartition("/")[2] for each in held.sent] == ["time_zone", "description"]
    assert await tab.evaluate(DRAFTS) == 0


async def test_save_that_takes_long_says_so(tab: Page, held: Held) -> None:
    """A line says that a save is under way, and the form is busy until it has an answer."""
    await open_contact(tab, "Priya Petrov")
    await held.hold("/edit/time_zone")
    await _edit(tab, "time_zone", "Europe/Madrid")
    await _save(tab, "time_zone")

    await tab.locator("#notice[role=status]").get_by_text("Saving…").wait_for()
    assert await tab.locator("form[aria-busy=true]").count() == 1
    await held.let_go()
    await tab.locator("#notice").get_by_text("Time zone saved.").wait_for()
    assert await tab.get_by_text("Saving…").count() == 0
    assert await tab.locator("[aria-busy]").count() == 0


async def test_form_with_a_page_of_its_own_says_so(tab: Page, held: Held) -> None:
    """A form whose answer is another page says so, too."""
    await tab.goto("/console/contacts/new")
    await held.hold("/contacts/new")
    await tab.get_by_label("First name").fill("Slow")
    # A locator would wait for the next page, so this one tells what it shows.
    await tab.evaluate(
        """() => {
            const notice = document.getElementById("notice");
            new MutationObserver(() => console.log(notice.textContent)).observe(notice, { childList: true });
        }"""
    )
    async with tab.expect_console_message(lambda line: line.text == "Saving…"):
        await tab.get_by_role("button", name="Create contact").click(no_wait_after=True)
    await held.let_go()
    await tab.get_by_role("heading", name="Slow").wait_for()


async def test_notice_is_said_once(tab: Page) -> None:
    """The line about what was done stays one element whose text changes, and is gone after a reload."""
    await tab.goto("/console/contacts/new")
    await tab.get_by_label("First name").fill("Once")
    await tab.get_by_role("button", name="Create contact").click()
    await tab.locator("#notice").get_by_text("Created.").wait_for()
    assert "notice" not in tab.url
    notice = await tab.locator("#notice").element_handle()
    await _edit(tab, "time_zone", "Europe/Rome")
    await _save(tab, "time_zone")
    await tab.locator("#notice").get_by_text("Time zone saved.").wait_for()
    await tab.keyboard.press("z")
    await tab.locator("#notice").get_by_text("Undone.").wait_for()

    assert notice is not None
    assert await notice.evaluate("(element) => element.isConnected")
    assert "notice" not in tab.url
    await tab.reload()
    assert await tab.locator("#notice").inner_text() == ""


@pytest.mark.parametrize("path", ["contacts", "companies", "engagements", "users", "activity", "requests", "find?search=a"])
async def test_number_of_found_is_told(tab: Page, path: str) -> None:
    """Readers that speak hear how many a list has, and not all its rows."""
    await tab.goto(f"/console/{path}")

    assert all(length < 100 for _, length in await tab.evaluate(_LIVE))
    assert "found" in await tab.locator("[role=status].visually-hidden:not(details *)").first.inner_text()


async def test_number_of_found_changes_with_the_search(tab: Page) -> None:
    """The number is that of the list, in the same element."""
    await tab.goto("/console/contacts")
    said = await tab.locator("#list-said").element_handle()
    await tab.keyboard.press("/")
    await tab.keyboard.type("nobodyhasthisname")

    await expect(tab.locator("#list-said")).to_have_text("Nothing found")
    assert said is not None
    assert await said.evaluate("(element) => element.isConnected")


async def test_refused_forms_lead_to_their_fault(tab: Page) -> None:
    """The focus is where something is wrong, which says what, and the title says that something is."""
    await tab.goto("/console/contacts/new")
    await tab.get_by_label("First name").fill("Fay")
    await tab.get_by_label("E-mail").fill("no address@@")
    await tab.locator("form.panel").evaluate("(form) => { form.noValidate = true; }")
    await tab.keyboard.press("Enter")
    await tab.get_by_role("alert").wait_for()

    await expect(tab.get_by_label("E-mail")).to_be_focused()
    await expect(tab.get_by_label("E-mail")).to_have_accessible_description(" ".join((await _alert(tab)).split()))
    assert (await tab.title()).startswith("Error: ")

    await open_contact(tab, "Vikram Dufour")
    await tab.locator("#edit-emails").click()
    fields = tab.locator("#member-emails input[name=value]")
    await fields.last.fill("no address@@")
    await tab.keyboard.press("Enter")
    await tab.get_by_role("alert").wait_for()
    fault = tab.locator("#member-emails [aria-invalid=true]")
    await expect(fault).to_be_focused()
    assert await fault.input_value() == "no address@@"
    assert (await tab.title()).startswith("Error: ")


async def _alert(tab: Page) -> str:
    return await tab.get_by_role("alert").inner_text()


async def test_fault_of_no_field_is_gone_to(tab: Page) -> None:
    """If no field has the fault, the focus is on the line that says it."""
    await tab.goto("/console/fields/new")
    await tab.get_by_label("Label").fill("Bad key")
    await tab.get_by_label("Key in the API").fill("no key!")
    await tab.get_by_role("button", name="Define field").click()

    await expect(tab.get_by_role("alert")).to_be_focused()
    assert (await tab.title()).startswith("Error: ")


async def test_keys_are_copied(tab: Page) -> None:
    """A button copies a key that is shown once, and its command."""
    await tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await tab.goto("/console/keys/new")
    await tab.get_by_label("Name").fill("A program")
    await tab.get_by_role("checkbox", name="companies:read").check()
    await tab.get_by_role("button", name="Create key").click()
    key = await tab.get_by_label("API key", exact=True).input_value()

    await tab.get_by_role("button", name="Copy the key").click()
    await tab.get_by_text("Copied", exact=True).wait_for()
    assert await tab.evaluate("navigator.clipboard.readText()") == key
    await tab.get_by_role("button", name="Copy the command").click()
    await expect(tab.get_by_text("Copied", exact=True)).to_have_count(2)
    assert await tab.evaluate("navigator.clipboard.readText()") == await tab.locator("#created-command").inner_text()
