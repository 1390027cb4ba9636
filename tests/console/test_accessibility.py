"""No page has a fault that axe or a look at its layout finds: in both themes, on wide and narrow screens, and at 400 %."""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import urlencode, urlsplit

from playwright._impl._api_structures import SetCookieParam, ViewportSize
from playwright.async_api import Browser, Page

from herdbook.console_pages import PAGES
from tests.console.conftest import Demo, axe_faults
from tests.console.faults import BROKEN, CUT, CUT_OFF, MOVING
from tests.console.imports import PEOPLE, check, run, send
from tests.waiting import until_so

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
# The pages that are looked at as answers to forms, or by somebody who has not signed in.
ELSEWHERE: Final = {"show-key", "show-request", "show-link"}
# Lists with filters, with the form of another one, with one that is refused, and a selection.
LISTS = (
    "/contacts?filter=last_name:contains:a&filter=or:first_name:is_set:&add=company_id",
    "/contacts?filter=emails:eq:nonsense@&add=tag_ids",
    "/companies?filter=name:contains:a&add=updated_at",
    "/contacts/selected?all=1&search=a",
)
# The dark theme changes colours alone.
OPTIONS_BY_THEME: Final[dict[Literal["light", "dark"], dict[str, Any]]] = {
    "light": {},
    "dark": {"runOnly": ["color-contrast", "link-in-text-block"]},
}
# On a narrow screen, some texts are hidden and parts are elsewhere. Nothing but the menu has other colours, the same on all
# pages.
OF_LAYOUT: Final = {
    "runOnly": [
        *(
            "button-name",
            "link-name",
            "summary-name",
            "label",
            "select-name",
            "input-button-name",
            "form-field-multiple-labels",
        ),
        *(
            "aria-hidden-focus",
            "scrollable-region-focusable",
            "target-size",
            "region",
            "bypass",
            "heading-order",
            "empty-heading",
        ),
        *("landmark-one-main", "page-has-heading-one", "duplicate-id-aria", "empty-table-header", "nested-interactive"),
    ]
}
HEIGHT: Final = 844
WIDE, NARROW = 1280, 390
# A screen of 1280 by 1024 pixels at 400 %.
ZOOMED: Final[ViewportSize] = {"width": 320, "height": 256}


async def _of_webhook(page: Page) -> list[str]:
    """Return the pages of a webhook, which is disabled so that its page has all its parts, and of a delivery to it."""
    await page.goto("/console/webhooks/new")
    await page.get_by_label("Address").fill("http://127.0.0.1:9000/webhooks")
    await page.get_by_role("button", name="Create webhook").click()
    webhook = await page.get_by_role("link", name="Open the webhook").get_attribute("href")
    assert webhook is not None, "the webhook was created"
    await page.goto("/console/contacts/new")
    await page.get_by_label("First name").fill("Told")
    await page.get_by_role("button", name="Create contact").click()
    await page.wait_for_url("**/contacts/cnt_*")
    delivery = page.locator(".row-link")

    async def is_sent() -> bool:
        await page.goto(webhook)
        return await delivery.count() > 0

    await until_so(is_sent)
    sent = await delivery.first.get_attribute("href")
    assert sent is not None, "it is a link"
    await page.get_by_role("button", name="Disable").click()
    await page.get_by_role("heading", name="This webhook is disabled").wait_for()
    return [webhook, *(f"{webhook}/{each}" for each in ("edit", "secret", "history")), f"{webhook}?state=failed", sent]


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
    of_client = [f"/console/clients/{client_id}{each}" for each in ("", "/history", "/secret")]
    return [*of_client, f"/oauth/authorize?{urlencode(asked)}"]


async def _of_key(page: Page) -> list[str]:
    """Return the page of what was done to a key."""
    await page.goto("/console/keys")
    history = await page.get_by_role("link", name="History").first.get_attribute("href")
    assert history is not None, "the demo has a key"
    return [history]


async def _of_imports(page: Page) -> list[str]:
    """Return the pages of imports at each step: columns, a dry run, and a result with problems."""
    paths: list[str] = []
    for number, act in enumerate((None, check, run)):
        await send(page, PEOPLE.format(f"Zoe{number}"))
        paths.append(page.url)
        if act is not None:
            await check(page)
        if act is run:
            await run(page)
    return [*paths, f"{paths[1]}?step=columns", f"{paths[2]}?verdict=problem"]


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


def _others(paths: list[str]) -> set[str]:
    """Return the ids of the pages to which none of these paths leads."""
    opened = {urlsplit(path).path for path in paths}
    shown = [page for page in PAGES if page.template and page.method == "GET"]
    of_objects = opened - {page.address for page in shown}
    patterns = {page.id: re.sub(r"{\w+}", "[^/]+", page.address) for page in shown if "{" in page.address}
    without = {page.id for page in shown if "{" not in page.address and page.address not in opened}
    return without | {each for each, address in patterns.items() if not any(re.fullmatch(address, path) for path in of_objects)}


async def every_path(page: Page) -> list[str]:
    """Return paths to all pages of a demo but those of `ELSEWHERE`: a new page cannot be left out."""
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
    paths += await _of_key(page)
    paths += await _of_imports(page)
    paths += [f"/console/bin?type={plural}" for plural in await _emptied(page)]
    assert _others(paths) == ELSEWHERE
    return paths


async def _objections(page: Page, width: int, themes: Mapping[Literal["light", "dark"], dict[str, Any]]) -> list[Any]:
    """Return what is wrong with the open page on a screen of this width, in these themes with their options of axe."""
    await page.set_viewport_size({"width": width, "height": HEIGHT})
    found: list[Any] = []
    for theme, options in themes.items():
        await page.emulate_media(color_scheme=theme)
        faults = await axe_faults(page, **options)
        found += [(width, theme, each["id"], [node["html"][:200] for node in each["nodes"]]) for each in faults]
    if await _is_too_wide(page):
        found.append((width, "wider than the screen"))
    found += [(width, "a sentence in columns", each) for each in await page.evaluate(CUT)]
    return found


async def _is_too_wide(page: Page) -> bool:
    return await page.evaluate("document.documentElement.scrollWidth > innerWidth")


async def _out_of_place(page: Page) -> list[Any]:
    """Return what breaks in two on a narrow screen, and what is cut off or moves at 400 %."""
    found: list[Any] = [("in two", each) for each in await page.evaluate(BROKEN)]
    await page.set_viewport_size(ZOOMED)
    found += [("cut off at 400 %", each) for each in await page.evaluate(CUT_OFF)]
    found += [("moves", each) for each in await page.evaluate(MOVING)]
    return [*found, "wider than the screen at 400 %"] if await _is_too_wide(page) else found


async def test_no_page_has_a_fault(
    browser: Browser, still_browser: Browser, demo: Demo, cookies: list[SetCookieParam], axe: str
) -> None:
    """No page has an element that axe objects to, in either theme. None is wider than the screen, and nothing is cut off.

    Badges, buttons and times stay on one line each on a narrow screen, and nothing moves where less motion is wished.
    """
    async with await browser.new_context(viewport={"width": WIDE, "height": HEIGHT}, base_url=demo.url) as making:
        await making.add_cookies(cookies)
        paths = await every_path(await making.new_page())
    context = await still_browser.new_context(
        viewport={"width": WIDE, "height": HEIGHT},
        base_url=demo.url,
        bypass_csp=True,
        reduced_motion="reduce",
    )
    await context.add_cookies(cookies)
    await context.add_init_script(axe)
    page = await context.new_page()
    found: dict[str, Any] = {}

    await page.goto(paths[0])
    found["narrow"] = await _objections(page, NARROW, OPTIONS_BY_THEME)
    for path in paths:
        await page.goto(path)
        found[path] = await _objections(page, WIDE, OPTIONS_BY_THEME)
        found[path] += await _objections(page, NARROW, {"light": OF_LAYOUT})
        found[path] += await _out_of_place(page)

    assert {path: faults for path, faults in found.items() if faults} == {}
    await context.close()


async def test_signed_out_pages_have_no_faults(browser: Browser, demo: Demo, axe: str) -> None:
    """Nor has the sign-in, or the page of a link."""
    context = await browser.new_context(base_url=demo.url, bypass_csp=True)
    await context.add_init_script(axe)
    page = await context.new_page()

    for path in ("/console/sign-in", "/console/link/nothing"):
        await page.goto(path)
        assert await axe_faults(page) == []
    await context.close()


class _Looks:
    """Looks at pages as they come, in both themes, and keeps what axe objects to."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.found: dict[str, Any] = {}

    async def at(self, name: str) -> None:
        """Look at what the tab shows."""
        faults: list[Any] = []
        for theme, options in OPTIONS_BY_THEME.items():
            await self._page.emulate_media(color_scheme=theme)
            found = await axe_faults(self._page, **options)
            faults += [(theme, each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found]
        faults += [("a sentence in columns", each) for each in await self._page.evaluate(CUT)]
        if faults:
            self.found[name] = faults


async def _conflict_and_refusal(page: Page, other: Page, looks: _Looks) -> None:
    """Look at a conflict of two editors, and at a value that is refused."""
    await page.goto("/console/contacts")
    await page.locator(".row-link").nth(2).click()
    await page.wait_for_url("**/contacts/cnt_*")
    contact = page.url.partition("?")[0]
    for tab in (page, other):
        await tab.goto(f"{contact}?edit=description")
    await other.locator("#member-description textarea").fill("Theirs.")
    await other.locator("#member-description").get_by_role("button", name="Save").last.click()
    await other.locator("#notice .notice").wait_for()
    await page.locator("#member-description textarea").fill("Mine.")
    await page.locator("#member-description").get_by_role("button", name="Save").last.click()
    await page.locator(".conflict").wait_for()
    await looks.at("conflict")
    await page.goto(f"{contact}?edit=time_zone")
    await page.locator("#member-time_zone input.input").fill("Nowhere")
    await page.keyboard.press("Enter")
    await page.locator("#field-error").wait_for()
    await looks.at("refused value")
    await page.goto(f"{contact}/history")
    await looks.at("history")


async def _notes(page: Page, other: Page, looks: _Looks) -> None:
    """Look at the preview of a note, at notes, and at a conflict about one."""
    await page.goto("/console/contacts")
    await page.locator(".row-link").nth(3).click()
    await page.wait_for_url("**/contacts/cnt_*")
    text = "# A title\n\n* one\n* two\n\n[a link](https://example.com) `code`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- [ ] task"
    await page.get_by_label("New note").fill(text)
    await page.get_by_role("button", name="Preview").click()
    await page.locator(".preview").wait_for()
    await looks.at("preview of a note")
    await page.get_by_role("button", name="Add note").click()
    await page.locator(".note").first.wait_for()
    await looks.at("notes")
    address = await page.get_by_role("link", name="Edit the note").first.get_attribute("href")
    assert address is not None, "the note can be edited"
    for tab, text in ((other, "Theirs."), (page, "Mine.")):
        await tab.goto(address)
        await tab.get_by_label("Text of the note").fill(text)
    for tab in (other, page):
        await tab.get_by_role("button", name="Save note").click()
        await tab.locator(".conflict, #notice .notice").first.wait_for()
    await looks.at("conflict about a note")


async def _many(page: Page, looks: _Looks) -> None:
    """Look at a merge, and at each step of a change of many."""
    await page.goto("/console/contacts")
    links = [await each.get_attribute("href") or "" for each in (await page.locator(".row-link").all())[5:8]]
    ids = [link.partition("?")[0].rpartition("/")[2] for link in links]
    await page.goto(f"/console/contacts/{ids[0]}/merge?from={ids[1]}&from={ids[2]}")
    await looks.at("merge")
    await page.goto(f"/console/contacts/selected?id={ids[0]}&id={ids[1]}")
    await page.get_by_label("Edit a field").select_option("tag_ids")
    await page.get_by_role("button", name="Edit", exact=True).click()
    await page.get_by_role("button", name="See what changes").wait_for()
    await looks.at("form of many")
    await page.locator("main input[type=checkbox]").first.check()
    await page.get_by_role("button", name="See what changes").click()
    await page.locator("#preview").wait_for()
    await looks.at("preview of many")


async def _requests(page: Page, looks: _Looks) -> None:
    """Look at a request, and at its undo."""
    await page.goto("/console/activity")
    address = await page.locator("a[href*='/console/requests/']").first.get_attribute("href")
    assert address is not None, "the demo has changes"
    await page.goto(address)
    await looks.at("request")
    await page.goto(f"/console/undo?request_id={address.rpartition('/')[2]}&back=/console")
    await looks.at("undo")


async def _secrets(page: Page, looks: _Looks) -> None:
    """Look at a new key, an invitation, and its link."""
    await page.goto("/console/keys/new")
    await page.get_by_label("Name").fill("Axe")
    await page.locator("main input[type=checkbox]").first.check()
    await page.get_by_role("button", name="Create key").click()
    await page.get_by_role("heading", name="Copy the key now").wait_for()
    await looks.at("key")
    await page.reload()
    await looks.at("key that was shown")
    await page.goto("/console/users/new")
    await page.get_by_label("First name").fill("Zed")
    await page.get_by_label("E-mail").fill("zed@team.example")
    await page.locator("main form button").last.click()
    link = await page.locator("input[readonly]").first.input_value()
    await looks.at("invitation")
    await page.goto(link)
    await looks.at("link")


async def test_axe_finds_nothing_on_answers_to_forms(
    browser: Browser, demo: Demo, cookies: list[SetCookieParam], axe: str
) -> None:
    """The pages that forms show, those of requests, and refusals have no faults either."""
    context = await browser.new_context(
        viewport={"width": 1280, "height": 844}, base_url=demo.url, bypass_csp=True, reduced_motion="reduce"
    )
    await context.add_cookies(cookies)
    await context.add_init_script(axe)
    page, other = await context.new_page(), await context.new_page()
    looks = _Looks(page)

    await _conflict_and_refusal(page, other, looks)
    await _notes(page, other, looks)
    await _many(page, looks)
    await _requests(page, looks)
    await _secrets(page, looks)
    for path in ("/console/nothing", "/console/contacts/cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "/oauth/authorize"):
        await page.goto(path)
        await looks.at(path)

    assert looks.found == {}
    await context.close()
