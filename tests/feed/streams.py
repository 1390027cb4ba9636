"""A client of event streams that reads them as the standard says (WHATWG HTML, section 9.2.6)."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

from tests.cast import Json, Person
from tests.cli.programs import PATIENCE
from tests.feed.feed import URL


class Event(NamedTuple):
    """An event: the last id received so far, the type, and the decoded data."""

    id: str
    type: str
    data: Json


class Stream:
    """An open stream."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.last_id = ""
        self.ids = 0
        self.retry: int | None = None
        self._lines: AsyncIterator[str] = response.aiter_lines()
        self._fields: dict[str, str] = {}

    async def next(self) -> Event | None:
        """Return the next event that tells more than a position, or None at the end of the stream."""
        async for line in self._lines:
            if not line:
                event = self._dispatched()
                assert event is not None, "each block has data"
                if event.type != "position":
                    return event
                continue
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match name:
                case "retry":
                    self.retry = int(value)
                case "id" | "event" | "data":
                    self._fields[name] = value
                case _:
                    assert name == "", "the line is a comment"
        return None

    async def comment(self) -> str | None:
        """Return the next comment."""
        return await anext((line async for line in self._lines if line.startswith(":")), None)

    async def until(self, last_id: int) -> list[str]:
        """Return the types of the events up to a position."""
        types: list[str] = []
        async for line in self._lines:
            name, _, value = line.partition(": ")
            if name == "event" and value != "position":
                types.append(value)
            if name == "id":
                self.last_id = value
                self.ids += 1
            if not line and self.last_id == str(last_id):
                break
        return types

    def _dispatched(self) -> Event | None:
        fields, self._fields = self._fields, {}
        self.last_id = fields.get("id", self.last_id)
        if "data" not in fields:
            return None
        return Event(self.last_id, fields["event"], json.loads(fields["data"]))


@asynccontextmanager
async def opened(
    server: str, person: Person, last_id: str | None = None, url: str = URL, **params: Any
) -> AsyncGenerator[Stream]:
    """Open a stream on a server for as long as the block lasts."""
    headers = {"Authorization": str(person.key), "Accept": "text/event-stream"}
    if last_id is not None:
        headers["Last-Event-ID"] = last_id
    async with (
        httpx.AsyncClient(base_url=server, timeout=PATIENCE) as client,
        client.stream("GET", url, params=params, headers=headers) as response,
    ):
        if response.status_code != 200:
            await response.aread()
        yield Stream(response)
