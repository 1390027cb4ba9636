"""Imports in a browser: a file is sent, tried and imported by the buttons of the pages."""

from playwright.async_api import Page

PEOPLE = (
    "First name;Last name;E-mail;Tier\n"
    "{0};Byron;{0}@engine.test;gold\n"
    "{0};Murray;{0}.m@engine.test;silver\n"
    "{0};Turing;not an address;gold\n"
    "{0};Byron;{0}@engine.test;gold\n"
)


async def send(page: Page, content: str, name: str = "people.csv") -> None:
    """Send a file by the form."""
    await page.goto("/console/imports")
    await page.get_by_label("File").set_input_files({"name": name, "mimeType": "text/csv", "buffer": content.encode()})
    await page.get_by_role("button", name="Look into it").click()
    await page.get_by_role("heading", name="What was found").wait_for()


async def check(page: Page) -> None:
    """Try the import, and wait for what would come of it."""
    await page.get_by_role("button", name="Try it, write nothing").click()
    await page.get_by_role("heading", name="Rows", exact=True).wait_for(timeout=120_000)


async def run(page: Page) -> None:
    """Import the rows, and wait for what came of them."""
    await page.get_by_role("button", name="Import", exact=False).and_(page.locator(".primary")).click()
    await page.get_by_role("heading", name="Imported", exact=True).wait_for(timeout=120_000)
