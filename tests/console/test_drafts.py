"""Text that is not saved yet: kept through a reload and an expired session, and forgotten when it is saved."""

from collections.abc import AsyncGenerator

import pytest_asyncio
import requests
from playwright._impl._api_structures import SetCookieParam
from playwright.async_api import Browser, Page, expect

from tests.console.conftest import Demo
from tests.console.people import FORM_TOKEN_FIELD

ADDRESS = "ada@team.example"
PASSWORD = "correct horse battery"  # noqa: S105  # it is for tests alone
DRAFTS = "Object.keys(localStorage).filter(key => key.startsWith('herdbook-draft')).length"


@pytest_asyncio.fixture
async def with_password(browser: Browser, demo: Demo, cookies: list[SetCookieParam]) -> AsyncGenerator[Page]:
    """A tab in which Ada Okonkwo has signed in by her password, in a session of its own."""
    with requests.Session() as session:
        session.headers["Cookie"] = "; ".join(f"{each.get('name')}={each.get('value')}" for each in cookies)
        page = session.get(f"{demo.url}/console/account", timeout=90).text
        token = FORM_TOKEN_FIELD.search(page)
        assert token is not None
        form = {"form_token": token[1], "password": PASSWORD}
        session.post(f"{demo.url}/console/account/password", form, headers={"Origin": demo.url}, timeout=90)
    context = await browser.new_context(base_url=demo.url)
    tab = await context.new_page()
    tab.set_default_timeout(60_000)
    await tab.goto("/console/sign-in")
    await _sign_in(tab)
    await tab.wait_for_url("**/contacts")
    yield tab
    await context.close()


async def _sign_in(tab: Page) -> None:
    await tab.get_by_label("E-mail").fill(ADDRESS)
    await tab.get_by_label("Password").fill(PASSWORD)
    await tab.get_by_role("button", name="Sign in", exact=True).click()


async def _end_session(tab: Page, demo: Demo) -> None:
    """End the session of a tab on the server, as its expiry does: the tab does not notice."""
    [cookie] = await tab.context.cookies()
    with requests.Session() as session:
        session.headers["Cookie"] = f"{cookie.get('name')}={cookie.get('value')}"
        token = FORM_TOKEN_FIELD.search(session.get(f"{demo.url}/console/account", timeout=90).text)
        assert token is not None
        session.post(f"{demo.url}/console/sign-out", {"form_token": token[1]}, headers={"Origin": demo.url}, timeout=90)


async def open_contact(tab: Page, name: str) -> None:
    """Open the page of a contact."""
    await tab.goto(f"/console/contacts?search={name.replace(' ', '+')}")
    await tab.locator(".row-link").first.click()
    await tab.get_by_role("heading", name=name).wait_for()


async def test_note_survives_a_reload(tab: Page) -> None:
    """The text of a note is offered after a reload, used, and forgotten once it is saved."""
    await open_contact(tab, "Priya Quaye")
    await tab.get_by_label("New note").fill("Calls back on Monday.")
    await tab.reload()
    assert await tab.get_by_label("New note").input_value() == ""

    await tab.get_by_role("button", name="Use").click()

    assert await tab.get_by_label("New note").input_value() == "Calls back on Monday."
    await tab.get_by_role("button", name="Add note").click()
    await tab.locator(".note").get_by_text("Calls back on Monday.").wait_for()
    assert await tab.evaluate(DRAFTS) == 0
    await tab.reload()
    assert await tab.locator(".draft").count() == 0


async def test_field_survives_a_reload_by_keyboard(tab: Page) -> None:
    """The text of a field that was open is offered on the page, which opens the field again with it."""
    await open_contact(tab, "Vikram Dufour")
    await tab.get_by_role("link", name="Edit Time zone").click()
    await tab.wait_for_selector("#edited:focus")
    await tab.keyboard.type("Europe/Paris")
    await tab.reload()

    await tab.get_by_text("Unsaved text in Time zone").wait_for()
    await tab.get_by_role("button", name="Go on").focus()
    await tab.keyboard.press("Enter")
    await tab.wait_for_selector("#edited:focus")

    assert await tab.locator("#edited").input_value() == "Europe/Paris"
    await tab.keyboard.press("Enter")
    await tab.locator("#member-time_zone").get_by_text("Europe/Paris").wait_for()
    assert await tab.evaluate(DRAFTS) == 0


async def test_text_does_not_overwrite_what_others_saved_meanwhile(
    browser: Browser, tab: Page, cookies: list[SetCookieParam]
) -> None:
    """A text that is used again began with the version of its time, so it meets a change of somebody else, and may win."""
    await open_contact(tab, "Callum Petrov")
    await tab.get_by_role("link", name="Edit Last name").click()
    await tab.locator("#edited").fill("Peters")
    elsewhere = await browser.new_context()
    await elsewhere.add_cookies(cookies)
    other = await elsewhere.new_page()
    await other.goto(tab.url)
    await other.get_by_role("link", name="Edit Last name").click()
    await other.locator("#edited").fill("Petrenko")
    await other.keyboard.press("Enter")
    await other.get_by_role("heading", name="Callum Petrenko").wait_for()
    await elsewhere.close()
    await tab.reload()

    await tab.get_by_role("button", name="Go on").click()
    await tab.wait_for_selector("#edited:focus")
    await tab.keyboard.press("Enter")

    conflict = await tab.get_by_role("alert").inner_text()
    assert "Petrenko" in conflict
    assert await tab.locator("#edited").input_value() == "Peters"
    await tab.get_by_role("button", name="Keep mine").click()
    await tab.get_by_role("heading", name="Callum Peters").wait_for()
    assert await tab.evaluate(DRAFTS) == 0


async def test_discarded_text_is_gone(tab: Page) -> None:
    """A text that is discarded, given up by Escape, or typed back to what it was, is not offered again."""
    await open_contact(tab, "Priya Petrov")
    await tab.get_by_label("New note").fill("Nothing important")
    await tab.reload()
    await tab.get_by_role("button", name="Discard").click()
    assert await tab.evaluate(DRAFTS) == 0

    await tab.get_by_role("link", name="Edit Description").click()
    await tab.locator("#edited").fill("Something")
    assert await tab.evaluate(DRAFTS) == 1
    await tab.keyboard.press("Escape")
    await tab.wait_for_selector("#edit-description:focus")
    assert await tab.evaluate(DRAFTS) == 0

    await tab.get_by_label("New note").fill("Nothing")
    await tab.get_by_label("New note").fill("")
    assert await tab.evaluate(DRAFTS) == 0


async def test_refused_form_keeps_its_text(tab: Page) -> None:
    """A form that loads its page keeps the text while it is refused, and forgets it when it is taken."""
    await tab.goto("/console/contacts/new")
    await tab.get_by_label("First name").fill("Hedy")
    await tab.get_by_label("E-mail").fill("hedy@")
    await tab.get_by_label("E-mail").evaluate("element => element.type = 'text'")
    await tab.keyboard.press("Enter")
    await tab.get_by_role("alert").wait_for()
    assert await tab.evaluate(DRAFTS) == 1

    await tab.get_by_label("E-mail").fill("hedy@example.com")
    await tab.keyboard.press("Enter")

    await tab.get_by_role("heading", name="Hedy").wait_for()
    assert await tab.evaluate(DRAFTS) == 0


async def test_text_survives_an_expired_session(with_password: Page, demo: Demo) -> None:
    """A form that finds the session over leads to the sign-in and back, where the text is offered again."""
    tab = with_password
    await open_contact(tab, "Vikram Dufour")
    page = tab.url
    await tab.get_by_label("New note").fill("Met in Lagos.")
    await _end_session(tab, demo)

    await tab.get_by_role("button", name="Add note").click()
    await tab.locator("#notice").get_by_role("link", name="Sign in").click()
    await _sign_in(tab)
    await tab.wait_for_url(page)
    await tab.get_by_role("button", name="Use").click()
    await tab.get_by_role("button", name="Add note").click()

    await tab.locator(".note").get_by_text("Met in Lagos.").wait_for()


async def test_sign_out_forgets_all_texts(with_password: Page) -> None:
    """Nothing stays in the browser of a user who signs out; a text of another user stays, and nobody else sees it."""
    tab = with_password
    await open_contact(tab, "Vikram Dufour")
    await tab.evaluate(
        """() => {
            const draft = { label: "New note", at: location.pathname, time: Date.now(), fields: [["text", "A secret"]] };
            localStorage.setItem(`herdbook-draft usr_other ${location.pathname}/notes`, JSON.stringify(draft));
        }"""
    )
    await tab.reload()
    assert await tab.locator(".draft").count() == 0
    await tab.get_by_label("New note").fill("A thought")
    assert await tab.evaluate(DRAFTS) == 2

    await tab.get_by_role("button", name="Sign out").click()
    await tab.get_by_role("heading", name="Sign in").wait_for()

    assert await tab.evaluate("Object.keys(localStorage).map(key => key.split(' ')[1])") == ["usr_other"]


async def test_preview_is_no_save(tab: Page) -> None:
    """A text that was looked at in a preview is offered after a reload, also if it was changed and changed back after that."""
    await open_contact(tab, "Priya Quaye")
    note = tab.get_by_label("New note")
    await note.fill("Calls on Monday.")
    await tab.get_by_role("button", name="Preview").click()
    await tab.locator(".preview").wait_for()
    await note.fill("Calls on Tuesday.")
    await note.fill("Calls on Monday.")
    await tab.reload()

    await tab.get_by_role("button", name="Use").click()
    assert await note.input_value() == "Calls on Monday."


async def test_arranged_rows_survive_a_reload(tab: Page) -> None:
    """The rows of a form are offered as they were: those that were typed, moved and removed."""
    await open_contact(tab, "Vikram Dufour")
    await tab.get_by_role("link", name="Edit E-mail").click()
    fields = tab.locator("#member-emails input[name=value]")
    await fields.last.wait_for()
    former = [await each.input_value() for each in await fields.all()][:-1]
    await fields.last.fill("a@team.example")
    for address in ("b@team.example", "c@team.example"):
        many = await fields.count()
        await tab.get_by_role("button", name="Add another").click()
        await fields.nth(many).wait_for()
        await fields.last.fill(address)
    many = len(former) + 2
    await tab.get_by_role("button", name=f"Remove e-mail address {len(former) + 1}").click()
    await expect(fields).to_have_count(many)
    await tab.get_by_role("button", name=f"Move e-mail address {many} up").click()
    await expect(fields.last).to_have_value("b@team.example")
    await tab.reload()

    await tab.get_by_role("button", name="Go on").click()

    await expect(fields).to_have_count(many)
    assert [await each.input_value() for each in await fields.all()] == [*former, "c@team.example", "b@team.example"]
    await tab.keyboard.press("Escape")
    assert await tab.evaluate(DRAFTS) == 0


async def test_search_in_a_form_is_no_save(tab: Page) -> None:
    """The text of a new contact is offered after its page was shown again by a search."""
    await tab.goto("/console/contacts/new")
    await tab.get_by_label("First name").fill("Hedwig")
    await tab.locator("button[name=find][value=company_id]").click()
    await expect(tab.get_by_role("radio").first).to_be_visible()
    await tab.goto("/console/contacts/new")

    await tab.get_by_role("button", name="Use").click()

    assert await tab.get_by_label("First name").input_value() == "Hedwig"
    await tab.get_by_role("link", name="Cancel").click()
    await tab.wait_for_url("**/contacts")
    assert await tab.evaluate(DRAFTS) == 0


async def test_link_beside_the_buttons_keeps_the_text(tab: Page) -> None:
    """A cancelled form is given up, but not one that somebody leaves to look at another way."""
    await tab.goto("/console/contacts/new")
    await tab.get_by_label("First name").fill("Holder")
    await tab.get_by_label("E-mail").fill("held@team.example")
    await tab.keyboard.press("Enter")
    await tab.get_by_role("heading", name="Holder").wait_for()
    await open_contact(tab, "Priya Quaye")
    await tab.get_by_role("link", name="Edit E-mail").click()
    await tab.locator("#member-emails input[name=value]").last.fill("held@team.example")
    await tab.keyboard.press("Enter")
    await tab.get_by_role("link", name="Merge the two contacts").click()
    await tab.wait_for_url("**/merge?**")

    assert await tab.evaluate(DRAFTS) == 1


async def test_comment_stays_on_its_line(tab: Page) -> None:
    """The text of a comment on a line is offered for that line after a reload."""
    await tab.goto("/console/engagements")
    await tab.locator("main .rows a").first.click()
    await tab.locator(".line-comment").nth(1).click()
    await tab.get_by_text("On the line at").wait_for()
    await tab.get_by_label("New comment").fill("About this line.")
    await tab.reload()

    await tab.get_by_role("button", name="Go on").click()

    await tab.get_by_text("On the line at").wait_for()
    assert await tab.get_by_label("New comment").input_value() == "About this line."
    assert await tab.locator("#comments input[name=line]").input_value() == "1"
    await tab.get_by_role("button", name="Add comment").click()
    await tab.locator(".note", has_text="About this line.").wait_for()
    assert await tab.evaluate(DRAFTS) == 0


async def test_escape_leaves_the_field_in_focus(tab: Page) -> None:
    """Escape gives up the field that somebody is in; another open one stays, with its text."""
    await open_contact(tab, "Priya Quaye")
    await tab.get_by_role("link", name="Edit Time zone").click()
    await tab.locator("#member-time_zone #edited").fill("Pacific/Auckland")
    await tab.get_by_role("link", name="Edit Description").click()
    await tab.locator("#member-description textarea").fill("Second.")

    await tab.keyboard.press("Escape")

    await expect(tab.locator("#member-description textarea")).to_have_count(0)
    assert await tab.locator("#member-time_zone #edited").input_value() == "Pacific/Auckland"
    assert await tab.evaluate("Object.keys(localStorage).map(key => key.split('/').at(-1))") == ["time_zone"]


async def test_passwords_are_never_kept(tab: Page) -> None:
    """A form with a password leaves nothing in the browser, and neither does an old text after a week."""
    await tab.goto("/console/account")
    await tab.get_by_label("New password").fill("correct horse")
    assert await tab.evaluate("localStorage.length") == 0

    await tab.evaluate("localStorage.setItem('herdbook-draft usr_a x', JSON.stringify({time: Date.now() - 8 * 86400000}))")
    await tab.reload()
    assert await tab.evaluate("localStorage.length") == 0
