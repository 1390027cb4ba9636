"""The focus is visible."""

import pytest
from playwright.async_api import Page

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
