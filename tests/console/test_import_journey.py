"""Journeys over the pages of imports in a browser: by mouse, by keyboard alone, and without JavaScript."""

import asyncio
from typing import Any

import pytest
from playwright._impl._api_structures import FilePayload, SetCookieParam
from playwright.async_api import Browser, FileChooser, Page

from tests.console.conftest import Demo
from tests.console.imports import PEOPLE, check, run, send
from tests.console.test_contact_pages import NASTY

WORD = "x" * 255
DROPPED = """
([name, content]) => {
  const files = new DataTransfer();
  files.items.add(new File([content], name, { type: "text/csv" }));
  for (const type of ["dragover", "drop"]) {
    document.querySelector("h1").dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: files }));
  }
}
"""


async def test_import_by_mouse(tab: Page) -> None:
    """Choose a file, give a column a meaning, try it, look at the problems, import it, download them, and undo all of it."""
    await send(tab, PEOPLE.format("Mary"))
    await tab.get_by_label("Tier fills").select_option("tags")
    await check(tab)
    assert await tab.get_by_role("heading", name="Nothing is written yet").is_visible()

    await tab.get_by_role("link", name="Problem 1").click()
    await tab.locator("#tab-problem[aria-current]").wait_for()
    rows = tab.locator(".rows-table tbody tr")
    assert await rows.count() == 1
    assert "Mary · Turing · not an address" in await rows.first.inner_text()
    assert tab.url.endswith("verdict=problem")

    await run(tab)
    async with tab.expect_download() as started:
        await tab.get_by_role("link", name="Rows with problems").click()
    download = await started.value
    assert download.suggested_filename == "people-problems.csv"
    await tab.get_by_role("link", name="Undo the whole import").click()
    await tab.get_by_role("button", name="Undo").click()
    await tab.get_by_role("heading", name="The import was undone").wait_for(timeout=120_000)
    await tab.goto("/console/contacts?search=Mary+Murray")
    await tab.get_by_text("Nobody found").wait_for()


async def test_import_by_keyboard_alone(tab: Page) -> None:
    """Go to the page, choose a file, try it, import it and undo it, without a mouse."""
    # Chromium asks for a file itself until it has heard that the test chooses one, which may be later than the next key.
    opened: asyncio.Future[FileChooser] = asyncio.get_running_loop().create_future()

    def choose(chooser: FileChooser) -> None:
        opened.set_result(chooser)

    tab.once("filechooser", choose)
    await tab.goto("/console/contacts")
    # Both letters at once, because the second one counts for a moment only.
    await tab.keyboard.type("gi")
    await tab.get_by_role("heading", name="Import", exact=True).wait_for()
    await _tab_to(tab, "#file")
    await tab.keyboard.press("Enter")
    content: FilePayload = {"name": "keys.csv", "mimeType": "text/csv", "buffer": PEOPLE.format("Kay").encode()}
    async with asyncio.timeout(60):
        await (await opened).set_files(content)
    await tab.keyboard.press("Tab")
    await tab.keyboard.press("Enter")
    await tab.get_by_role("heading", name="What was found").wait_for()
    await tab.wait_for_load_state()

    await _tab_to(tab, "[name=to_3]")
    await tab.keyboard.type("Description")
    await _tab_to(tab, "button.primary")
    await tab.keyboard.press("Enter")
    await tab.get_by_role("heading", name="Nothing is written yet").wait_for(timeout=120_000)
    await tab.locator("button.primary:focus").wait_for()
    await tab.keyboard.press("Enter")
    await tab.get_by_role("heading", name="Imported", exact=True).wait_for(timeout=120_000)
    await tab.keyboard.press("z")
    await tab.get_by_role("heading", name="Undo the whole import?").wait_for()
    await tab.locator("button.primary:focus").wait_for()
    await tab.keyboard.press("Enter")
    await tab.get_by_role("heading", name="The import was undone").wait_for(timeout=120_000)
    await tab.keyboard.press("Escape")
    await tab.get_by_role("heading", name="Import", exact=True).wait_for()


async def _tab_to(tab: Page, selector: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(60):
        await tab.keyboard.press("Tab")
        if await tab.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"no Tab leads to {selector}")


async def test_import_without_javascript(browser: Browser, demo: Demo, cookies: list[SetCookieParam]) -> None:
    """The same forms import a file without JavaScript; the page of the work is loaded again by a link."""
    context = await browser.new_context(java_script_enabled=False, base_url=demo.url)
    await context.add_cookies(cookies)
    page = await context.new_page()
    await send(page, PEOPLE.format("Nora"))
    await page.get_by_label("A row means one with the same").select_option("name_and_company")
    await page.get_by_role("button", name="Try it, write nothing").click()
    await _look_again(page)
    await page.get_by_role("heading", name="Nothing is written yet").wait_for()
    await page.get_by_role("link", name="Create").click()
    assert await page.locator(".rows-table tbody tr").count() == 2
    await page.get_by_role("button", name="Import 3 rows").click()
    await _look_again(page)
    await page.get_by_role("heading", name="Imported", exact=True).wait_for()
    await page.get_by_role("link", name="Undo the whole import").click()
    await page.get_by_role("button", name="Undo").click()
    await _look_again(page)
    await page.get_by_role("heading", name="The import was undone").wait_for()
    await context.close()


async def _look_again(page: Page) -> None:
    while await page.get_by_role("link", name="Look again").count():
        await page.get_by_role("link", name="Look again").click()


async def test_file_is_dropped(tab: Page) -> None:
    """A file that is dropped on the page is sent at once. Two are not."""
    await tab.goto("/console/imports")
    await tab.evaluate(
        """() => {
          const files = new DataTransfer();
          for (const name of ["one.csv", "two.csv"]) files.items.add(new File(["E-mail"], name));
          const sent = { bubbles: true, cancelable: true, dataTransfer: files };
          document.querySelector("h1").dispatchEvent(new DragEvent("drop", sent));
        }"""
    )
    await tab.get_by_role("alert").get_by_text("Drop one file at a time.").wait_for()

    await tab.evaluate(DROPPED, ["dropped.csv", "E-mail\ndropped@x.test\n"])

    await tab.get_by_role("heading", name="dropped.csv").wait_for()


async def test_file_that_is_too_large_is_not_sent(tab: Page) -> None:
    """The limit of the form is told before anything is sent; another file is."""
    await tab.goto("/console/imports")
    assert await tab.locator("form[data-drops='1073741824']").count() == 1
    sent: list[str] = []
    tab.on("request", lambda request: sent.append(request.method))
    await tab.locator("form[data-drops]").evaluate("form => (form.dataset.drops = 20)")

    large: FilePayload = {"name": "large.csv", "mimeType": "text/csv", "buffer": b"E-mail\n" + b"a@x.test\n" * 9}
    await tab.get_by_label("File").set_input_files(large)
    await tab.get_by_role("button", name="Look into it").click()
    await tab.evaluate(DROPPED, ["larger.csv", "E-mail\n" * 9])

    await tab.get_by_role("alert").get_by_text("larger.csv is larger than that.").wait_for()
    assert "POST" not in sent
    await tab.evaluate(DROPPED, ["small.csv", "E-mail\na@x.test\n"])
    await tab.get_by_role("heading", name="small.csv").wait_for()


async def test_page_says_how_much_of_a_file_is_sent(tab: Page) -> None:
    """The page tells how much has arrived, and that the server looks into it; a bad file is refused in place."""
    await tab.goto("/console/imports")
    await tab.evaluate(
        """() => {
          sessionStorage.told = "";
          const place = document.getElementById("file-limit");
          new MutationObserver(() => (sessionStorage.told += place.textContent)).observe(place, {
            childList: true, characterData: true, subtree: true,
          });
        }"""
    )
    large: FilePayload = {"name": "large.csv", "mimeType": "text/csv", "buffer": b"E-mail\n" + b"a@x.test\n" * 50_000}
    await tab.get_by_label("File").set_input_files(large)
    await tab.get_by_role("button", name="Look into it").click()
    await tab.get_by_role("heading", name="What was found").wait_for()
    told = await tab.evaluate("sessionStorage.told")
    assert "large.csv: 100 % is sent." in told
    assert told.endswith("large.csv is sent. The server looks into it.")

    await tab.goto("/console/imports")
    await tab.evaluate("window.isThisPage = true")
    await tab.evaluate(DROPPED, ["bad.xlsx", "PK\x03\x04 and so on"])
    await tab.get_by_role("alert").get_by_text("cannot be read as one").wait_for()
    assert await tab.evaluate("window.isThisPage")


async def test_file_that_does_not_arrive_can_be_sent_again(tab: Page) -> None:
    """The page says that the server cannot be reached, and its form still works."""
    await tab.goto("/console/imports")
    await tab.get_by_label("File").set_input_files({"name": "a.csv", "mimeType": "text/csv", "buffer": b"E-mail\na@x.test\n"})
    await tab.context.set_offline(True)
    await tab.get_by_role("button", name="Look into it").click()
    await tab.get_by_role("alert").get_by_text("The server cannot be reached.").wait_for()
    await tab.get_by_text("At most 1.0 GiB").wait_for()

    await tab.context.set_offline(False)
    await tab.get_by_role("button", name="Look into it").click()

    await tab.get_by_role("heading", name="What was found").wait_for()


async def test_run_is_paused_and_goes_on_in_place(tab: Page) -> None:
    """The focus stays on the button while a run is paused and goes on, and the result comes in place."""
    await send(tab, "E-mail\n" + "".join(f"row{number}@many.test\n" for number in range(6_000)), "many.csv")
    await check(tab)
    await tab.get_by_role("button", name="Import 6,000 rows").click()
    await tab.evaluate("window.isThisPage = true")
    await tab.get_by_role("button", name="Pause").click()
    await tab.get_by_role("heading", name="The import is paused").wait_for()
    assert await tab.evaluate("document.activeElement.id") == "pause"

    await tab.keyboard.press("Enter")

    await tab.get_by_role("heading", name="Rows are imported").wait_for()
    assert await tab.evaluate("document.activeElement.id") == "pause"
    await tab.get_by_role("heading", name="Imported", exact=True).wait_for(timeout=120_000)
    assert await tab.get_by_text("6,000 new here").is_visible()
    assert await tab.evaluate("window.isThisPage")


@pytest.mark.parametrize("width", [1280, 390])
async def test_long_words_and_markup_stay_in_their_boxes(tab: Page, width: int) -> None:
    """Names of files and columns, and values, are text that breaks out of nothing, at each step."""
    await tab.set_viewport_size({"width": width, "height": 844})
    cells = ",".join('"' + each.replace('"', '""') + '"' for each in NASTY)
    found: dict[str, Any] = {}
    await send(
        tab, f"First name,E-mail,{cells}\n{WORD},a{width}@x.test,{cells}\n{WORD},bad,{cells}\n", f"{NASTY[0]}{WORD[:200]}.csv"
    )
    found["columns"] = await tab.evaluate("document.documentElement.scrollWidth")
    for place in (3, 5):
        await tab.locator(f"[name=to_{place}]").select_option("note")
    await check(tab)
    found["dry run"] = await tab.evaluate("document.documentElement.scrollWidth")
    await run(tab)
    found["result"] = await tab.evaluate("document.documentElement.scrollWidth")
    await tab.goto("/console/imports")
    found["list"] = await tab.evaluate("document.documentElement.scrollWidth")

    assert found == dict.fromkeys(found, width)
    assert await tab.locator("img").count() == 0


async def test_list_and_selection_are_exported(tab: Page) -> None:
    """A list downloads what its search finds, and a selection what is checked."""
    await tab.goto("/console/contacts?search=Priya")
    await tab.locator("#export summary").click()
    await tab.locator("#export").get_by_label("Format").select_option("vcard-4.0")
    async with tab.expect_download() as listed:
        await tab.locator("#export").get_by_role("button", name="Export").click()
    cards = await listed.value
    assert cards.suggested_filename == "contacts.vcf"
    assert (await cards.path()).read_text().count("BEGIN:VCARD") == await tab.locator("#list input[name=id]").count()

    await tab.keyboard.press("Escape")
    await tab.locator("#list input[name=id]").first.check()
    await tab.get_by_role("button", name="Change selected").click()
    await tab.get_by_role("heading", name="1 contact selected").wait_for()
    async with tab.expect_download() as selected:
        await tab.get_by_role("button", name="Export").click()
    assert len((await (await selected.value).path()).read_text().splitlines()) == 2
