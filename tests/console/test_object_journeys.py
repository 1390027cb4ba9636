"""Journeys over the pages of objects in a browser, by mouse and by keyboard alone."""

import re
from typing import Final, NamedTuple

import pytest
from playwright._impl._api_structures import SetCookieParam
from playwright.async_api import Browser, Page

from tests.console.conftest import Demo

NASTY = ['"><img src=x onerror=alert(1)>', "{{7*7}}", "\u202egnp.exe \u200f\u200e", "x" * 255]
# The elements that reach beyond the right edge of a page that is wider than the screen.
_TOO_WIDE = """document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("main *")]
    .filter((each) => each.getBoundingClientRect().right > innerWidth + 1).map((each) => each.outerHTML.slice(0, 100))"""


async def _open(tab: Page, name: str) -> None:
    """Open the page of a contact."""
    await tab.goto(f"/console/contacts?search={name.replace(' ', '+')}")
    await tab.get_by_role("link", name=name).click()
    await tab.get_by_role("heading", name=name).wait_for()


async def _tab_to(tab: Page, label: str) -> None:
    """Press Tab until the focus is on the element with a label or a text."""
    for _ in range(80):
        await tab.keyboard.press("Tab")
        focused = await tab.evaluate("[document.activeElement.ariaLabel, document.activeElement.textContent.trim()]")
        if label in focused:
            return
    raise AssertionError(f"no Tab leads to {label}")


async def _make(tab: Page, name: str, address: str) -> None:
    """Create a contact by its form."""
    await tab.goto("/console/contacts/new")
    await tab.get_by_label("First name").fill(name)
    await tab.get_by_label("E-mail").fill(address)
    await tab.get_by_role("button", name="Create contact").click()
    await tab.get_by_role("heading", name=name).wait_for()


async def test_rows_labels_and_tags_are_edited_by_keyboard(tab: Page) -> None:
    """Add a second address with a label of one's own, move it up, save with Enter; then create a tag on the contact."""
    await _make(tab, "Keyla Board", "keyla@board.test")
    await _tab_to(tab, "Edit E-mail")
    await tab.keyboard.press("Enter")
    await tab.wait_for_selector("#edited:focus")
    await _tab_to(tab, "E-mail address 2")
    await tab.keyboard.type("second@board.test")
    await tab.keyboard.press("Tab")
    await tab.keyboard.type("weekends")
    await _tab_to(tab, "Move e-mail address 2 up")
    await tab.keyboard.press("Enter")
    await tab.locator("#edited[value='second@board.test']").wait_for()
    await tab.locator("#edited").focus()
    await tab.keyboard.press("Enter")
    await tab.get_by_text("E-mail saved.").wait_for()
    shown = await tab.locator("#member-emails a[href^=mailto]").all_inner_texts()
    assert shown == ["second@board.test", "keyla@board.test"]
    assert await tab.locator("#member-emails .badge", has_text="weekends").count() == 1

    await _tab_to(tab, "Edit Tags")
    await tab.keyboard.press("Enter")
    await tab.get_by_role("searchbox", name="Find a tag").fill("Keyboardist")
    await tab.get_by_role("button", name="Create the tag").focus()
    await tab.keyboard.press("Enter")
    await tab.locator("#member-tag_ids .tag", has_text="Keyboardist").wait_for()


async def test_choice_of_tags_survives_another_search(tab: Page) -> None:
    """A tag that was chosen before another search is still chosen after it."""
    await _make(tab, "Tara Search", "tara@search.test")
    await tab.get_by_role("link", name="Edit Tags").click()
    boxes = tab.locator("#member-tag_ids input[type=checkbox]")
    await boxes.first.check()
    name = await tab.locator("#member-tag_ids label.check").first.inner_text()
    await tab.get_by_role("searchbox", name="Find a tag").fill("zzz")
    await tab.get_by_role("button", name="Create the tag").wait_for()
    await tab.get_by_role("button", name="Save", exact=True).click()

    await tab.locator("#member-tag_ids .tag", has_text=name.strip()).wait_for()


async def test_note_is_previewed_edited_pinned_and_deleted(tab: Page) -> None:
    """A note is written with a preview, edited, pinned, deleted, and comes back by an undo."""
    await _make(tab, "Nora Note", "nora@note.test")
    await tab.get_by_label("New note").fill("Likes **tea**.")
    await tab.get_by_role("button", name="Preview").click()
    await tab.locator(".preview strong", has_text="tea").wait_for()
    await tab.get_by_role("button", name="Add note").click()
    await tab.locator(".note strong", has_text="tea").wait_for()
    await tab.get_by_role("link", name="Edit the note").click()
    await tab.get_by_label("Text of the note").fill("Likes **coffee**.")
    await tab.keyboard.press("Control+Enter")
    await tab.locator(".note strong", has_text="coffee").wait_for()
    await tab.get_by_role("button", name="Pin the note").click()
    await tab.locator(".note .badge", has_text="pinned").wait_for()
    await tab.get_by_role("button", name="Delete the note").click()
    await tab.get_by_text("Note deleted.").wait_for()
    assert await tab.locator(".note").count() == 0

    await tab.keyboard.press("z")

    await tab.locator(".note strong", has_text="coffee").wait_for()


async def test_address_moves_over_and_back(tab: Page) -> None:
    """A taken address names its contact; it moves over at once, and one undo takes both changes back."""
    await _make(tab, "Harriet Holder", "taken@holder.test")
    await _make(tab, "Wanda Wants", "wanda@wants.test")
    await tab.get_by_role("link", name="Edit E-mail").click()
    await tab.get_by_role("textbox", name="E-mail address 2").fill("taken@holder.test")
    await tab.keyboard.press("Enter")
    await tab.get_by_role("alert").get_by_role("link", name="Harriet Holder").wait_for()

    await tab.get_by_role("button", name="Move it here").click()
    await tab.locator("#member-emails a", has_text="taken@holder.test").wait_for()
    await tab.get_by_role("button", name="Undo", exact=True).first.click()
    await tab.get_by_text("Undone.").wait_for()

    assert await tab.locator("#member-emails a", has_text="taken@holder.test").count() == 0
    await _open(tab, "Harriet Holder")
    assert await tab.locator("#member-emails a", has_text="taken@holder.test").count() == 1


async def test_deleted_contact_comes_back_from_the_bin_by_keyboard(tab: Page) -> None:
    """Delete a contact, go to the bin, and restore it, without a mouse."""
    await _make(tab, "Bina Gone", "bina@gone.test")
    await _tab_to(tab, "Delete")
    await tab.keyboard.press("Enter")
    await _tab_to(tab, "Delete this contact")
    await tab.keyboard.press("Enter")
    await tab.get_by_text("The contact was deleted.").wait_for()
    await tab.goto("/console/bin")
    await _tab_to(tab, "Restore Bina Gone")
    await tab.keyboard.press("Enter")

    await tab.get_by_text("The contact was restored.").wait_for()
    assert await tab.get_by_role("heading", name="Bina Gone").is_visible()


async def test_moment_is_looked_at_and_brought_back(tab: Page) -> None:
    """The time of an entry of the history leads to the contact as it was then, which is brought back."""
    await _make(tab, "Mona Ment", "mona@ment.test")
    await tab.get_by_role("link", name="Edit Last name").click()
    await tab.wait_for_selector("#edited:focus")
    await tab.keyboard.type("Changed")
    await tab.keyboard.press("Enter")
    await tab.get_by_role("heading", name="Changed").wait_for()
    await tab.locator("#history a[href*='/then']").last.click()
    await tab.get_by_text("Now:").wait_for()

    await tab.get_by_role("button", name="Bring this state back").click()

    await tab.get_by_text("Brought back.").wait_for()
    assert await tab.get_by_role("heading", name="Mona Ment").is_visible()


async def test_field_is_defined_and_filled(tab: Page) -> None:
    """An administrator defines a field of each difficult kind, and fills it on the page of a contact."""
    for label, kind in (("Next call", "date_time"), ("Budget", "money"), ("Home", "address")):
        await tab.goto("/console/fields/new")
        await tab.get_by_label("Label").fill(label)
        await tab.get_by_label("Kind").select_option(kind)
        await tab.get_by_role("button", name="Define field").click()
        await tab.get_by_text("Defined.").wait_for()
    await _make(tab, "Fiona Field", "fiona@field.test")

    await tab.get_by_role("link", name="Edit Budget").click()
    await tab.get_by_label("Amount").fill("12.50")
    await tab.get_by_label("Currency").fill("EUR")
    await tab.keyboard.press("Enter")
    await tab.get_by_text("Budget saved.").wait_for()
    await tab.get_by_role("link", name="Edit Home").click()
    await tab.get_by_label("City").fill("London")
    await tab.keyboard.press("Enter")
    await tab.get_by_text("Home saved.").wait_for()
    assert "12.50" in await tab.locator("#member-fields\\.budget").inner_text()
    assert "London" in await tab.locator("#member-fields\\.home").inner_text()


async def test_time_is_typed_in_the_zone_of_the_reader(browser: Browser, demo: Demo, cookies: list[SetCookieParam]) -> None:
    """A time is shown and typed in the reader's zone, and kept in UTC."""
    context = await browser.new_context(base_url=demo.url, timezone_id="America/New_York", locale="en-US")
    await context.add_cookies(cookies)
    tab = await context.new_page()
    await tab.goto("/console/fields/new")
    await tab.get_by_label("Label").fill("Zone time")
    await tab.get_by_label("Kind").select_option("date_time")
    await tab.get_by_role("button", name="Define field").click()
    await tab.get_by_text("Defined.").wait_for()
    await _make(tab, "Zoe Zone", "zoe@zone.test")
    await tab.get_by_role("link", name="Edit Zone time").click()
    await tab.get_by_text("America/New_York").wait_for()
    await tab.locator("#edited").fill("2026-03-01T12:00")
    await tab.get_by_role("button", name="Save", exact=True).click()
    await tab.get_by_text("Zone time saved.").wait_for()
    kept = await tab.locator("#member-fields\\.zone_time time").get_attribute("datetime")
    await tab.get_by_role("link", name="Edit Zone time").click()
    shown = await tab.locator("#edited").input_value()

    assert kept == "2026-03-01T17:00:00.000000Z"
    assert shown.startswith("2026-03-01T12:00")
    await context.close()


class Reader(NamedTuple):
    """Somebody with a language and a zone, and how this reader writes two days that follow one another, and a time."""

    locale: str
    zone: str
    days: tuple[str, str]
    moment: str


_READERS: Final = (
    Reader("en-US", "America/New_York", ("Dec 9, 1906", "Dec 10, 1906"), "Mar 1, 2026, 7:00 AM"),
    Reader("de-DE", "Asia/Tokyo", ("09.12.1906", "10.12.1906"), "01.03.2026, 21:00"),
)


@pytest.mark.parametrize("reader", _READERS, ids=lambda reader: reader.locale)
async def test_days_and_times_are_shown_as_the_reader_writes_them(
    browser: Browser, demo: Demo, cookies: list[SetCookieParam], reader: Reader
) -> None:
    """A day is the same in all zones; a time is that of the reader's. Fields, histories and conflicts show them alike."""
    locale = reader.locale
    context = await browser.new_context(base_url=demo.url, timezone_id=reader.zone, locale=locale)
    await context.add_cookies(cookies)
    tab = await context.new_page()
    for kind in ("date", "date_time"):
        await tab.goto("/console/fields/new")
        await tab.get_by_label("Label").fill(f"{locale} {kind}")
        await tab.get_by_label("Kind").select_option(kind)
        await tab.get_by_role("button", name="Define field").click()
        await tab.get_by_text("Defined.").wait_for()
    await _make(tab, "Dora Days", f"{locale}@days.test")
    path, key = tab.url.partition("?")[0], locale.lower().replace("-", "_")
    for member, value in ((f"{key}_date", "1906-12-09"), (f"{key}_date_time", "2026-03-01T12:00:00Z")):
        await tab.goto(f"{path}?edit=fields.{member}")
        inputs = tab.locator("form[action*='/edit/'] input[type=hidden]:is([name=form_token], [name=version], [name=seen])")
        form = dict(await inputs.evaluate_all("(all) => all.map((input) => [input.name, input.value])"))
        sent = {**form, "value": value}
        answer = await context.request.post(f"{path}/edit/fields.{member}", form=sent, headers={"Origin": demo.url})
        assert answer.status == 200, await answer.text()
    await tab.goto(path)

    for member, shown in ((f"{key}_date", reader.days[0]), (f"{key}_date_time", reader.moment)):
        field = tab.locator(f"#member-fields\\.{member} time")
        assert " ".join((await field.inner_text()).split()) == shown
    changes = [" ".join(text.split()) for text in await tab.locator("#history ins").all_inner_texts()]
    assert changes[:2] == [reader.moment, reader.days[0]]
    # Somebody else changes the day while this page has its form open.
    await tab.locator(f"#edit-fields\\.{key}_date").click()
    await tab.locator("#edited").fill("1907-01-01")
    other = await context.new_page()
    await other.goto(f"{path}?edit=fields.{key}_date")
    await other.locator("#edited").fill("1906-12-10")
    await other.get_by_role("button", name="Save", exact=True).click()
    await other.get_by_text("saved.").wait_for()
    await tab.get_by_role("button", name="Save", exact=True).click()
    times = tab.get_by_role("alert").locator("time")
    await times.first.wait_for()
    told = [await each.inner_text() for each in await times.all()]
    assert told[1:] == [*reader.days[::-1]]
    await context.close()


async def test_request_is_undone_from_the_activity(tab: Page) -> None:
    """The activity leads to the undo of a request, which says before what it takes back."""
    await _make(tab, "Acton Tivity", "acton@tivity.test")
    await tab.get_by_role("link", name="Edit Last name").click()
    await tab.wait_for_selector("#edited:focus")
    await tab.keyboard.type("Wrong")
    await tab.keyboard.press("Enter")
    await tab.get_by_role("heading", name="Wrong").wait_for()
    await tab.goto("/console/activity")
    await tab.get_by_role("link", name="Undo the request: changed a contact").first.click()
    await tab.get_by_text("gets back its former values").wait_for()

    await tab.get_by_role("button", name="Undo", exact=True).click()

    await tab.get_by_text("Undone.").wait_for()
    await _open(tab, "Acton Tivity")


async def test_line_of_a_transcript_is_heard(tab: Page) -> None:
    """A click on the time of a line plays the recording from there and marks the line; a comment is written on it."""
    await tab.goto("/console/engagements")
    # The latest call of the demo has a recording.
    await tab.locator("main .rows a").first.click()
    player = tab.locator("audio[data-player]")
    line = tab.locator(".line").nth(1)
    seconds = float(await line.get_attribute("data-seconds") or 0)
    await line.get_by_role("link", name="Play from").click()
    assert await line.get_attribute("aria-current") == "true"
    await tab.wait_for_function("seconds => document.querySelector('audio').currentTime > seconds + 0.1", arg=seconds)
    assert await player.evaluate("player => [player.error, player.paused, player.seeking]") == [None, False, False]
    assert await player.evaluate("player => player.currentTime") < seconds + 3.5
    assert await player.evaluate("player => player.duration") == pytest.approx(11.5, abs=0.1)
    await player.evaluate("player => player.pause()")
    await line.get_by_role("link", name="Comment on the line").click()
    await tab.get_by_text("On the line at").wait_for()
    await tab.get_by_label("New comment").fill("Ask about this.")
    await tab.keyboard.press("Control+Enter")
    await tab.locator(".note", has_text="Ask about this.").wait_for()
    await tab.get_by_role("button", name="Delete the comment").first.click()
    await tab.get_by_text("Comment deleted.").wait_for()


async def test_times_without_a_recording_are_no_links(tab: Page) -> None:
    """A transcript without a recording has times to read, and none to click."""
    await tab.goto("/console/engagements")
    await tab.locator("main .rows a").nth(1).click()
    await tab.locator(".line").first.wait_for()

    assert await tab.locator(".line-time").first.inner_text() == "0:00"
    assert await tab.locator("a.line-time, [data-seek], [data-player]").count() == 0


async def test_certificate_is_printed_on_white(tab: Page, demo: Demo) -> None:
    """On paper, a certificate is dark on white whatever the theme, without menu and buttons, and as wide as the paper."""
    await _make(tab, "Era Sure", "era@sure.test")
    await tab.goto(f"{tab.url.partition('?')[0]}/erase")
    await tab.get_by_label("To confirm, type").fill("Era Sure")
    await tab.get_by_role("button", name="Erase for good").click()
    await tab.get_by_role("heading", name="Certificate of an erasure").wait_for()
    await tab.emulate_media(media="print", color_scheme="dark")

    shown = await tab.evaluate(
        """() => ({
            ground: getComputedStyle(document.body).backgroundColor,
            text: getComputedStyle(document.querySelector("h1")).color,
            left: document.querySelector("h1").getBoundingClientRect().left,
        })"""
    )

    assert shown == {"ground": "rgb(255, 255, 255)", "text": "rgb(29, 30, 28)", "left": 0}
    for part in (tab.get_by_role("navigation", name="Pages"), tab.get_by_role("button", name="Print"), tab.locator(".notice")):
        assert await part.count() == 0 or not await part.first.is_visible()
    await tab.emulate_media(media="screen")
    assert demo.url in tab.url


async def test_status_shows_the_room_on_the_disk(tab: Page) -> None:
    """A server with its own database shows how much room the disk has."""
    await tab.goto("/console/status")

    assert re.search(r"has room\s+[\d.]+ [MGT]iB free", await tab.get_by_role("main").inner_text())


async def test_hostile_values_stay_in_their_boxes(browser: Browser, demo: Demo, cookies: list[SetCookieParam]) -> None:
    """Values of each kind neither run nor widen a narrow page, and the policy reports nothing."""
    # Markup, a template, marks that turn the direction, and a long word.
    text = "".join(NASTY)[:255]
    context = await browser.new_context(viewport={"width": 390, "height": 844}, base_url=demo.url)
    await context.add_cookies(cookies)
    tab = await context.new_page()
    faults: list[str] = []
    tab.on("dialog", lambda dialog: faults.append(dialog.message))
    tab.on("console", lambda line: faults.append(line.text) if "Security Policy" in line.text else None)
    tab.on("pageerror", lambda error: faults.append(str(error)))
    await tab.goto("/console/contacts/new")
    await tab.get_by_label("First name").fill(text)
    await tab.get_by_role("button", name="Create contact").click()
    await tab.locator("#notice", has_text="Created.").wait_for()
    path = tab.url.partition("?")[0]
    for member, form in (
        ("last_name", {"value": text}),
        ("description", {"value": text}),
        ("external_ids", {"value": text}),
        ("crm_association", {"source": text, "crm_object_id": text}),
        ("phone_numbers", {"value": text, "label": text[:50]}),
        ("fields.job_title", {"value": text}),
        ("fields.profile_links", {"value": text}),
        ("fields.address", {"street": text, "city": text}),
        ("tag_ids", {"new_tag": text}),
    ):
        await tab.goto(f"{path}?edit={member}")
        inputs = tab.locator("form[action*='/edit/'] input[type=hidden]:is([name=form_token], [name=version], [name=seen])")
        hidden = dict(await inputs.evaluate_all("(all) => all.map((input) => [input.name, input.value])"))
        answer = await context.request.post(f"{path}/edit/{member}", form={**hidden, **form}, headers={"Origin": demo.url})
        assert answer.status == 200, (member, await answer.text())
    note = await tab.locator(".note-form [name=form_token]").first.input_value()
    await context.request.post(f"{path}/notes", form={"form_token": note, "text": text}, headers={"Origin": demo.url})
    await tab.goto(path)
    tag = await tab.locator("#member-tag_ids a[href*='/tags/']").first.get_attribute("href")
    edits = ("first_name", "external_ids", "crm_association", "phone_numbers", "fields.address", "tag_ids")

    pages = (path, f"{path}/history", f"{path}/then", f"{path}/erase", f"{demo.url}{tag}", "/console/activity", "/console/tags")
    for place in (*pages, *(f"{path}?edit={each}" for each in edits)):
        await tab.goto(place)
        wide = await tab.evaluate(_TOO_WIDE)
        assert wide == [], place
        assert await tab.locator("main img").count() == 0
    assert faults == []
    await context.close()
