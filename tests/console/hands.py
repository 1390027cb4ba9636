"""The two ways in which people use a page in the tests: a mouse and letters, or a keyboard alone."""

from abc import ABC, abstractmethod
from typing import Final
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import Locator, Page

# More stops than any page has.
_MAX_STOPS: Final = 250
# How many stops there are at least from where the focus is to an element.
_STOPS_AHEAD: Final = """
(element) => {
  const isStop = (each) => each.tabIndex >= 0 && !each.disabled && each.checkVisibility({ visibilityProperty: true });
  const all = document.querySelectorAll("a[href], button, input:not([type=radio]), select, textarea, summary");
  const stops = [...all].filter(isStop);
  return stops.indexOf(element) - stops.indexOf(document.activeElement);
}
"""


async def searched(tab: Page, text: str) -> None:
    """Wait until a list shows what was found for a text that was typed; only then, the address has the whole text."""
    await tab.wait_for_url(lambda url: parse_qs(urlsplit(url).query).get("search") == [text])


class Hands(ABC):
    """A way of using the tab of a browser."""

    def __init__(self, tab: Page) -> None:
        self.tab = tab

    @abstractmethod
    async def press(self, element: Locator) -> None:
        """Press a link, a button, a box to check, or the title of what opens."""

    @abstractmethod
    async def write(self, field: Locator, text: str) -> None:
        """Write a text into a field, instead of what it has."""

    @abstractmethod
    async def choose(self, field: Locator, option: str) -> None:
        """Choose an option of a list by its text."""


class Mouse(Hands):
    """Clicks, and types into what was clicked."""

    async def press(self, element: Locator) -> None:
        """Click."""
        await element.click()

    async def write(self, field: Locator, text: str) -> None:
        """Click into a field, select all of it, and type."""
        await field.click()
        await self.tab.keyboard.press("Control+a")
        await self.tab.keyboard.type(text)

    async def choose(self, field: Locator, option: str) -> None:
        """Choose an option in the list, which the browser draws itself."""
        await field.select_option(option)


class Keyboard(Hands):
    """Reaches everything by Tab, and never points at anything."""

    async def press(self, element: Locator) -> None:
        """Go to it, and press the key that it takes."""
        await self._go_to(element)
        is_box = await element.evaluate("element => element.matches('input')")
        await self.tab.keyboard.press("Space" if is_box else "Enter")

    async def write(self, field: Locator, text: str) -> None:
        """Go to a field, select all of it, and type."""
        await self._go_to(field)
        await self.tab.keyboard.press("Control+a")
        await self.tab.keyboard.type(text)

    async def choose(self, field: Locator, option: str) -> None:
        """Go to a list, and type the beginning of an option."""
        await self._go_to(field)
        await self.tab.keyboard.type(option)

    async def _go_to(self, element: Locator) -> None:
        await element.wait_for()
        # To look at each stop on the way would take most of the time.
        for _ in range(await element.evaluate(_STOPS_AHEAD) - 1):
            await self.tab.keyboard.press("Tab")
        for _ in range(_MAX_STOPS):
            if await element.evaluate("element => element === document.activeElement"):
                return
            await self.tab.keyboard.press("Tab")
        raise AssertionError(f"no Tab leads to {element}")
