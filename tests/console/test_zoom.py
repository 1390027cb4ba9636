"""Pages at 400 % and with reduced motion: nothing is cut off, nothing moves, and the focus is visible."""

from typing import Any

import pytest
from playwright._impl._api_structures import SetCookieParam
from playwright.async_api import Browser, Page

from tests.console.conftest import Demo
from tests.console.test_accessibility import every_path

# A screen of 1280 by 1024 pixels at 400 %.
# An element whose content is wider than it is, and that neither scrolls nor is meant to be cut off.
CUT_OFF = """
() => [...document.querySelectorAll("main *")].filter((element) => {
  const style = getComputedStyle(element);
  const isShown = element.checkVisibility() && !element.closest(".visually-hidden, svg");
  const scrolls = [...Array(20)].reduce((at, _) => at && !["auto", "scroll"].includes(getComputedStyle(at).overflowX)
    ? at.parentElement : at, element);
  const box = element.getBoundingClientRect();
  return isShown && !scrolls && style.position !== "absolute" && box.width > 1 && (box.right > innerWidth + 1 || box.left < -1);
}).map((element) => element.outerHTML.slice(0, 160))
"""
MOVING = """
() => [...document.querySelectorAll("*")].filter((element) => {
  const style = getComputedStyle(element);
  const isAtOnce = /^(0s(, 0s)*)$/.test(style.transitionDuration) || style.transitionProperty === "none";
  return !isAtOnce || style.animationName !== "none";
}).map((element) => element.outerHTML.slice(0, 160))
"""
UNSEEN = """
() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const outlines = [element, ...(element.matches(".row-link") ? [[element, "::after"]] : [])].map((each) =>
    getComputedStyle(...[each].flat()));
  const isSeen = outlines.some((style) => style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2);
  return { isSeen, html: element.outerHTML.slice(0, 160) };
}
"""


async def test_pages_are_whole_at_400_percent(browser: Browser, demo: Demo, cookies: list[SetCookieParam]) -> None:
    """At 320 pixels, no page is wider than the screen, nothing stands beyond its edge, and nothing moves by itself."""
    context = await browser.new_context(viewport={"width": 320, "height": 256}, base_url=demo.url, reduced_motion="reduce")
    await context.add_cookies(cookies)
    page = await context.new_page()
    found: dict[str, Any] = {}

    for path in [*await every_path(page), "/console/sign-in"]:
        await page.goto(path)
        faults = await page.evaluate(CUT_OFF) + await page.evaluate(MOVING)
        if await page.evaluate("document.documentElement.scrollWidth") > 320:
            faults.append("wider than the screen")
        if faults:
            found[path] = faults

    assert found == {}
    await context.close()


@pytest.mark.parametrize("path", ["/console/contacts", "/console/account", "/console/find", "/console/users/new"])
async def test_focus_is_visible(tab: Page, path: str) -> None:
    """Each element that Tab leads to has an outline of two pixels or more."""
    await tab.goto(path)
    unseen: list[str] = []

    for _ in range(40):
        await tab.keyboard.press("Tab")
        if (focused := await tab.evaluate(UNSEEN)) is None:
            break
        if not focused["isSeen"]:
            unseen.append(focused["html"])

    assert unseen == []
