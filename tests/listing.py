"""Helpers that page through lists."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from tests.cast import Json, Person

_MAX_PAGES: Final = 200
Params: TypeAlias = Mapping[str, Any]


class Listing(NamedTuple):
    """A list: its path, and the member by which a test identifies its objects."""

    url: str
    member: str

    async def listed(self, person: Person, params: Params | None = None) -> list[str]:
        """Return the names on a page."""
        response = await person.get(self.url, params=params)
        assert response.status_code == 200, response.text
        return self._names(response.json()["data"])

    async def pages(self, person: Person, params: Params) -> AsyncGenerator[list[Json]]:
        """Follow the cursors of a list to its end."""
        response = await person.get(self.url, params=params)
        assert response.status_code == 200, response.text
        page = response.json()
        yield page["data"]
        for _ in range(_MAX_PAGES):
            if not page["has_more"]:
                break
            page = (await person.get(self.url, params={"cursor": page["next_cursor"]})).json()
            yield page["data"]
        assert page["next_cursor"] is None, "the walk has an end"

    async def walked(self, person: Person, params: Params) -> list[str]:
        """Return the names on all pages."""
        return [name async for page in self.pages(person, params) for name in self._names(page)]

    async def walked_while(
        self, person: Person, params: Params, disturbances: Sequence[Callable[[], Awaitable[object]]]
    ) -> list[str]:
        """Return the names on all pages, running the next disturbance after each page."""
        met: list[str] = []
        left = list(disturbances)
        async for page in self.pages(person, params):
            met += self._names(page)
            if left:
                await left.pop(0)()
        return met

    def _names(self, page: Sequence[Json]) -> list[str]:
        return [thing[self.member] for thing in page]
