"""`make pictures`: the pictures of the console in the documentation, taken of a demo."""

import asyncio
import re
import sys
import tempfile
from pathlib import Path
from typing import Final

from playwright.async_api import Page, async_playwright

from herdbook.cli.workers import console_url
from tests.cli.programs import Running, serving, until
from tests.console.conftest import browser_path

_FOLDER: Final = Path(__file__).parents[2] / "docs/pictures"
_PERSON: Final = "Greta Ivanov"
_PEOPLE: Final = """Full name;E-mail;Mobile;Company;Loyalty tier;Met at
Hedy Lamarr;hedy@studio.example;+43 1 234567;Studio Vienna;gold;Stand 4
Alan Turing;alan@bletchley.example;+44 1908 640404;Bletchley Park;silver;Stand 4
Priya Petrov;{};+1 202 555 0143;Northwind;gold;Keynote
Edsger Dijkstra;edsger at example;+31 40 247 9111;Eindhoven;bronze;Keynote
Hedy Lamarr;hedy@studio.example;+43 1 234567;Studio Vienna;gold;Keynote
Radia Perlman;radia@bridges.example;+1 617 555 0188;Spanning Trees;silver;Stand 4
"""


def main() -> None:
    """Take all pictures, in both themes."""
    path = browser_path()
    if path is None:
        sys.exit("There is no chromium, and no npm that brings one.")
    with tempfile.TemporaryDirectory() as scratch, serving(Path(scratch), command="demo") as server:
        until(lambda: "Ctrl-C" in (server.folder / "out.txt").read_text())
        asyncio.run(_take_all(server, path))


async def _take_all(server: Running, path: str) -> None:
    link = re.findall(r"http\S+/console/link/\S+", (server.folder / "out.txt").read_text())[0]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        await page.goto(link)
        await page.get_by_role("button", name="Open herdbook").click()
        await page.get_by_role("searchbox", name="Search contacts").fill(_PERSON)
        await page.get_by_role("link", name=_PERSON).click()
        await _rename(page)
        contact, imported = page.url, await _try_an_import(page, f"{console_url(server.url)}/console/imports")
        shown = {
            "contacts": f"{console_url(server.url)}/console/contacts",
            "contact": contact,
            "import-columns": f"{imported}?step=columns",
            "import-rows": imported,
        }
        # Colours that change over time would be those of neither theme.
        await page.emulate_media(reduced_motion="reduce")
        for theme in ("light", "dark"):
            await page.emulate_media(color_scheme=theme)
            for name, url in shown.items():
                await page.goto(url)
                await page.screenshot(path=_FOLDER / f"{name}-{theme}.png")
        await browser.close()


async def _try_an_import(page: Page, path: str) -> str:
    """Make a dry run of a file that has something of everything, and return the address of its page."""
    await page.goto(path.replace("/imports", "/contacts?search=Priya"))
    content = _PEOPLE.format(await _address_of(page)).encode()
    await page.goto(path)
    await page.get_by_label("File").set_input_files({"name": "fair-2026.csv", "mimeType": "text/csv", "buffer": content})
    await page.get_by_role("button", name="Look into it").click()
    await page.get_by_label("Loyalty tier fills").select_option("new")
    await page.get_by_role("button", name="Try it, write nothing").click()
    await page.get_by_role("heading", name="Nothing is written yet").wait_for()
    return page.url.partition("?")[0]


async def _address_of(page: Page) -> str:
    """Return an address on the list, whose contact the file has, too."""
    cell = page.locator("#list tbody td").filter(has_text="@").first
    return (await cell.inner_text()).split()[0]


async def _rename(page: Page) -> None:
    """Make a change, so that there is a history to see."""
    await page.get_by_role("link", name="Edit First name").click()
    await page.get_by_role("textbox", name="First name").fill("Margareta")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("heading", name="Margareta Ivanov").wait_for()


if __name__ == "__main__":
    main()
