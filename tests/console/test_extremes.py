"""Pages whose every text is extreme: a long word stays in its box, and its mark that turns the direction ends with it."""

from typing import Any, Final

from playwright._impl._api_structures import SetCookieParam
from playwright.async_api import Browser

from tests.console.conftest import Demo
from tests.console.extremes import Extreme
from tests.console.test_accessibility import PATHS

_MARK: Final = "\u202e"
# A long word that begins with the mark, and one for what must have no marks.
_TEXT: Final = f"{_MARK}{'w' * 254}"
_SHOWN: Final = "W" * 255
# The elements that reach beyond the edge of the screen, unless they are in a box that scrolls, and those whose text is cut off
# without an ellipsis.
_BROKEN: Final = """
() => {
  const scrolls = (element) => {
    for (let at = element; at; at = at.parentElement) {
      if (["auto", "scroll"].includes(getComputedStyle(at).overflowX)) return true;
    }
    return false;
  };
  const isShown = (each) => each.checkVisibility() && !each.closest(".visually-hidden, svg, option, .skip");
  const outside = [...document.querySelectorAll("body *")].filter((each) => {
    const box = each.getBoundingClientRect();
    return box.width > 1 && (box.right > innerWidth + 1 || box.left < -1) && isShown(each) && !scrolls(each);
  });
  const cut = [...document.querySelectorAll("main *")].filter((each) => {
    if (each.scrollWidth <= each.clientWidth + 1) return false;
    const style = getComputedStyle(each);
    const isCut = ["hidden", "clip"].includes(style.overflowX);
    const isMeant = style.textOverflow === "ellipsis" || each.matches("input, select, textarea, audio, .member");
    return isShown(each) && isCut && !isMeant;
  });
  const over = [...document.querySelectorAll("main *")].filter((each) => {
    const parent = each.parentElement.closest("p, li, dd, dt, label, h1, h2, td, th, summary, .tag, .badge, .button, .panel");
    if (!parent || each.getBoundingClientRect().right <= parent.getBoundingClientRect().right + 1) return false;
    return isShown(each) && !scrolls(each) && getComputedStyle(each).position !== "absolute";
  });
  const page = document.documentElement.scrollWidth > innerWidth ? ["the page"] : [];
  return [...new Set([...outside, ...cut, ...over])].slice(0, 4).map((each) => each.outerHTML.slice(0, 200)).concat(page);
}
"""
# The same, also with all lists open.
_BROKEN_WITH_LISTS: Final = f"""
() => {{
  const broken = {_BROKEN.strip()};
  const found = broken();
  const lists = document.querySelectorAll("main details.popover");
  if (!lists.length) return found;
  for (const list of lists) list.open = true;
  found.push(...broken());
  for (const list of lists) list.open = false;
  return [...new Set(found)];
}}
"""
# The texts with a mark that stand beside others in one line of text, so that the mark turns these, too.
_LEAKING: Final = """
(mark) => {
  const leaking = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode;
    // Within a sentence, a value is isolated by characters.
    const bare = node.data.replaceAll(/\\u2068[^\\u2069]*\\u2069/g, "");
    if (!bare.includes(mark) || node.parentElement.closest("script, option, textarea, title")) continue;
    let place = node.parentElement;
    const ends = ({ display, unicodeBidi }) => display !== "inline" || unicodeBidi.includes("isolate");
    while (!ends(getComputedStyle(place))) place = place.parentElement;
    // An isolated value counts as one character within the text around it.
    const isInLine = (each) => {
      if (each.nodeType === Node.TEXT_NODE) return true;
      const style = each instanceof Element ? getComputedStyle(each) : null;
      return style?.display.startsWith("inline") && !["absolute", "fixed"].includes(style.position);
    };
    const beside = [...place.childNodes].some((each) => !each.contains(node) && each.textContent.trim() && isInLine(each));
    const isFlex = /flex|grid/.test(getComputedStyle(place).display);
    const isMixed = bare.replaceAll(/\\u202e[a-z]*/g, "").trim() !== "";
    if ((beside && !isFlex) || isMixed) leaking.add(place.outerHTML.slice(0, 200));
  }
  return [...leaking].slice(0, 4);
}
"""


async def test_extreme_texts_stay_in_their_boxes(still_browser: Browser, demo: Demo, cookies: list[SetCookieParam]) -> None:
    """No page with such a text is wider than a screen or a phone, and no part of one than its place, with lists open too.

    A mark that turns the direction of text turns that of its own value, and of nothing beside it.
    """
    paths = [*PATHS, *Extreme(demo, cookies, _TEXT, _SHOWN, "word").make()]
    found: dict[str, Any] = {}
    context = await still_browser.new_context(base_url=demo.url, reduced_motion="reduce")
    await context.add_cookies(cookies)
    page = await context.new_page()
    for path in paths:
        answer = await page.goto(path)
        assert answer is not None
        # Some pages need more than an address, and say so.
        if not answer.ok and path not in PATHS:
            found[path] = f"answered {answer.status}"
        if leaking := await page.evaluate(_LEAKING, _MARK):
            found[f"turned {path}"] = leaking
        for width in (1280, 390):
            await page.set_viewport_size({"width": width, "height": 844})
            if broken := await page.evaluate(_BROKEN_WITH_LISTS):
                found[f"{width} {path}"] = broken
    await context.close()

    assert found == {}
