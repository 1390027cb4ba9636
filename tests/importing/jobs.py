"""Imports in tests: a file is uploaded, mapped, and run to its end."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from herdbook import ids
from tests.cast import Json, Person

URL: Final = "/api/herdbook/imports"
_SECONDS: Final = 30.0


class Job:
    """An import of a person's file."""

    def __init__(self, person: Person, shown: Json) -> None:
        self.person = person
        self.shown = shown
        self.id: str = shown["id"]
        self.url = f"{URL}/{self.id}"
        (self.uuid,) = ids.decoded_all(ids.IMPORT, [self.id])

    @property
    def targets(self) -> list[str]:
        """The members that the columns fill."""
        return [column["to"] for column in self.shown["mapping"]["columns"]]

    async def map(self, targets: Sequence[str | Json] | None = None, **members: Any) -> None:
        """Change the mapping."""
        mapping = {**self.shown["mapping"], **members}
        if targets is not None:
            mapping["columns"] = [{"to": each} if isinstance(each, str) else each for each in targets]
        response = await self.person.patch(self.url, json={"mapping": mapping})
        assert response.status_code == 200, response.text
        self.shown = response.json()

    async def check(self) -> Json:
        """Make a dry run; return how many rows had each outcome."""
        return (await self.finished("check", "checked"))["checked"]

    async def run(self) -> Json:
        """Run to the end; return how many rows had each outcome."""
        return (await self.finished("run", "finished"))["result"]

    async def rows(self, of: str = "run", **params: Any) -> Json:
        """Return what came of the rows."""
        response = await self.person.get(f"{self.url}/rows", params={"of": of, **params})
        assert response.status_code == 200, response.text
        return response.json()["data"]

    async def read(self) -> Json:
        """Read the import."""
        self.shown = (await self.person.get(self.url)).json()
        return self.shown

    async def finished(self, name: str, state: str) -> Json:
        """Begin some work on the import; return the import once that is done."""
        response = await self.person.post(f"{self.url}/{name}")
        assert response.status_code == 200, response.text
        async with asyncio.timeout(_SECONDS):
            while (await self.read())["state"] in ("checking", "running", "undoing"):  # noqa: ASYNC110  # the server sets no event
                await asyncio.sleep(0.02)
        assert self.shown["state"] == state, self.shown.get("error")
        return self.shown


async def upload(person: Person, content: str | bytes, name: str = "people.csv", sheet: str = "") -> Job:
    """Upload a file."""
    body = content.encode() if isinstance(content, str) else content
    response = await person.post(URL, params={"name": name, "sheet": sheet}, content=body)
    assert response.status_code == 201, response.text
    return Job(person, response.json())


def counts(**expected: int) -> Json:
    """Return the counts of outcomes, the others being none."""
    return dict.fromkeys(("create", "update", "unchanged", "restore", "skip", "duplicate", "problem"), 0) | expected
