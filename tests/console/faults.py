"""Scripts that find what is wrong with the layout of an open page, each as a list of the elements."""

# Texts around another element are columns of a flex box each, so a sentence there cannot be read on.
CUT = """
() => [...document.querySelectorAll("main *")].filter((element) => {
  const texts = [...element.childNodes].filter((child) => child.nodeType === Node.TEXT_NODE && child.data.trim());
  return texts.length > 1 && getComputedStyle(element).display.endsWith("flex");
}).map((element) => element.outerHTML.slice(0, 160))
"""
# An element whose content is wider than it is, and that neither scrolls nor is meant to be cut off.
CUT_OFF = """
() => [...document.querySelectorAll("main *")].filter((element) => {
  const box = element.getBoundingClientRect();
  if (box.width <= 1 || (box.right <= innerWidth + 1 && box.left >= -1)) return false;
  const isShown = element.checkVisibility() && !element.closest(".visually-hidden, svg");
  const scrolls = [...Array(20)].reduce((at, _) => at && !["auto", "scroll"].includes(getComputedStyle(at).overflowX)
    ? at.parentElement : at, element);
  return isShown && !scrolls && getComputedStyle(element).position !== "absolute";
}).map((element) => element.outerHTML.slice(0, 160))
"""
# Elements that move by themselves although less motion is wished.
MOVING = """
() => [...document.querySelectorAll("*")].filter((element) => {
  const style = getComputedStyle(element);
  const isAtOnce = /^(0s(, 0s)*)$/.test(style.transitionDuration) || style.transitionProperty === "none";
  return !isAtOnce || style.animationName !== "none";
}).map((element) => element.outerHTML.slice(0, 160))
"""
# Badges, times, and buttons that are no choices, of more than one line.
BROKEN = """
() => [...document.querySelectorAll(".badge, main .button:not(.choices *), main time, main kbd")].filter((element) => {
  if (!element.checkVisibility()) return false;
  const range = document.createRange();
  range.selectNodeContents(element);
  const lines = new Set([...range.getClientRects()].filter((box) => box.width > 1).map((box) => Math.round(box.bottom / 8)));
  return lines.size > 1 && !element.querySelector("svg");
}).map((element) => element.outerHTML.slice(0, 160))
"""
