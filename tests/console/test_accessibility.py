"""axe finds nothing on any page, in both themes, on wide and narrow screens."""

from typing import Any, Final, Literal
from urllib.parse import urlencode

import pytest
from playwright._impl._api_structures import SetCookieParam
from playwright.async_api import Browser, Page

from herdbook.app import PAGES
from tests.console.conftest import Demo

# The pages that a person opens by an address. Those of an object are opened from the list.
PATHS = [page.address for page in PAGES if page.template and page.method == "GET" and "{" not in page.path]
OF_OBJECTS = {
    each: [page.path for page in PAGES if page.template and page.method == "GET" and page.path.startswith(each)]
    for each in (
        "/contacts/{contact_id}",
        "/companies/{company_id}",
        "/engagements/{engagement_id}",
        "/tags/{tag_id}",
        "/users/{user_id}",
        "/fields/{field_id}",
    )
}
FORMS = {
    "/contacts/{contact_id}": (
        *(
            "edit=first_name",
            "edit=emails",
            "edit=company_id",
            "edit=tag_ids",
            "edit=tag_ids&find=Brand+new",
            "edit=description",
        ),
        *("edit=crm_association", "edit=fields.address", "edit=fields.owner"),
    ),
    "/companies/{company_id}": ("edit=name", "edit=domains"),
    "/engagements/{engagement_id}": ("line=0",),
}
# Lists with filters, with the form of another one, with one that is refused, and a selection.
LISTS = (
    "/contacts?filter=last_name:contains:a&filter=or:first_name:is_set:&add=company_id",
    "/contacts?filter=emails:eq:nonsense@&add=tag_ids",
    "/companies?filter=name:contains:a&add=updated_at",
    "/contacts/selected?all=1&search=a",
)
# The dark theme changes colours alone.
RULES_BY_THEME: Final[dict[Literal["light", "dark"], str]] = {
    "light": "",
    "dark": '{runOnly: ["color-contrast", "link-in-text-block"]}',
}
WIDTHS = pytest.mark.parametrize("width", [1280, 390])


async def _of_webhook(page: Page) -> list[str]:
    """Return the pages of a webhook, which is disabled so that its page has all its parts."""
    await page.goto("/console/webhooks/new")
    await page.get_by_label("Address").fill("http://127.0.0.1:9000/webhooks")
    await page.get_by_role("button", name="Create webhook").click()
    webhook = await page.get_by_role("link", name="Open the webhook").get_attribute("href")
    assert webhook is not None, "the webhook was created"
    await page.goto(webhook)
    await page.get_by_role("button", name="Disable").click()
    await page.get_by_role("heading", name="This webhook is disabled").wait_for()
    return [webhook, f"{webhook}/edit", f"{webhook}/secret", f"{webhook}?state=failed"]


async def _of_client(page: Page) -> list[str]:
    """Return the pages of an OAuth client, and what it asks a person for: with its scopes, and with an unknown address."""
    await page.goto("/console/clients/new")
    await page.get_by_label("Name").fill("A long name of a program that people let in")
    await page.get_by_label("Redirect addresses").fill("https://app.example/callback")
    for label in ("List and read contacts.", "Create, update and delete contacts"):
        await page.get_by_role("checkbox", name=label).check()
    await page.get_by_role("button", name="Create client").click()
    client_id = await page.get_by_label("Client id").input_value()
    asked = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": "https://app.example/callback",
        "code_challenge": "x" * 43,
        "code_challenge_method": "S256",
    }
    return [f"/console/clients/{client_id}", f"/oauth/authorize?{urlencode(asked)}"]


async def _emptied(page: Page) -> list[str]:
    """Delete the first tag of the demo and an engagement, and return the parts of the bin that they are in."""
    kinds = ["tags", "engagements"]
    for plural in kinds:
        await page.goto(f"/console/{plural}")
        await page.locator("main .rows a").last.click()
        await page.locator("summary", has_text="Delete").click()
        await page.get_by_role("button", name=f"Delete this {plural[:-1]}").click()
        await page.get_by_text("was deleted.").wait_for()
    return kinds


@WIDTHS
async def test_axe_finds_nothing(browser: Browser, demo: Demo, cookies: list[SetCookieParam], axe: str, width: int) -> None:
    """No page has an element that axe objects to, in either theme, and none is wider than the screen."""
    context = await browser.new_context(
        viewport={"width": width, "height": 844},
        base_url=demo.url,
        bypass_csp=True,
        reduced_motion="reduce",
    )
    await context.add_cookies(cookies)
    await context.add_init_script(axe)
    page = await context.new_page()
    paths = [*PATHS]
    for start, of_object in OF_OBJECTS.items():
        await page.goto("/console" + start.rpartition("/")[0])
        opened = await page.locator(".row-link, main .rows a").first.get_attribute("href")
        assert opened is not None, "the demo has some"
        paths += [f"/console{path}".replace("/console" + start, opened) for path in of_object]
        paths += [f"{opened}?{query}" for query in FORMS.get(start, ())]
    paths += [f"/console{path}" for path in LISTS]
    paths += await _of_webhook(page)
    paths += await _of_client(page)
    paths += [f"/console/bin?type={plural}" for plural in await _emptied(page)]
    found: dict[str, Any] = {}

    for path in paths:
        await page.goto(path)
        found[path] = []
        for theme, rules in RULES_BY_THEME.items():
            await page.emulate_media(color_scheme=theme)
            faults = (await page.evaluate(f"axe.run({rules})"))["violations"]
            found[path] += [(theme, each["id"], [node["html"][:200] for node in each["nodes"]]) for each in faults]
        if await page.evaluate("document.documentElement.scrollWidth") > width:
            found[path].append(("both", "wider than the screen", []))

    assert {path: faults for path, faults in found.items() if faults} == {}
    await context.close()


async def test_signed_out_pages_have_no_faults(browser: Browser, demo: Demo, axe: str) -> None:
    """Nor has the sign-in, or the page of a link."""
    context = await browser.new_context(base_url=demo.url, bypass_csp=True)
    await context.add_init_script(axe)
    page = await context.new_page()

    for path in ("/console/sign-in", "/console/link/nothing"):
        await page.goto(path)
        assert (await page.evaluate("axe.run()"))["violations"] == []
    await context.close()
