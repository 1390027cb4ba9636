"""`make pictures`: the pictures of the console in the documentation, taken of a demo."""

import asyncio
import re
import sys
import tempfile
from pathlib import Path
from typing import Final

from playwright.async_api import Page, async_playwright

from tests.cli.programs import Running, serving, until
from tests.console.conftest import browser_path

_FOLDER: Final = Path(__file__).parents[2] / "docs/pictures"
_PERSON: Final = "Greta Ivanov"


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
        contact = page.url
        for theme in ("light", "dark"):
            await page.emulate_media(color_scheme=theme)
            for name, url in (("contacts", f"{server.url}/console/contacts"), ("contact", contact)):
                await page.goto(url)
                await page.screenshot(path=_FOLDER / f"{name}-{theme}.png")
        await browser.close()


async def _rename(page: Page) -> None:
    """Make a change, so that there is a history to see."""
    await page.get_by_role("link", name="Edit First name").click()
    await page.get_by_role("textbox", name="First name").fill("Margareta")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("heading", name="Margareta Ivanov").wait_for()


if __name__ == "__main__":
    main()
