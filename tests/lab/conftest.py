"""Labs: one in the process of the tests, on a database server that it shares with others, and one that listens."""

import json
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from herdbook.settings import Settings
from tests.cli import programs
from tests.serving import serving

TOKEN: Final = "the-token-of-the-lab"  # noqa: S105  # of a server that lives as long as the tests
LAB: Final = "/api/herdbook/lab"
NEW_YEAR: Final = "2026-01-01T00:00:00Z"


@dataclass
class Desk:
    """A workspace of the lab, and the client of its key."""

    lab: "Bench"
    made: dict[str, Any]

    @property
    def inbox_url(self) -> str:
        """The address of the inbox, at a host that has one."""
        return self.made["inbox_url"].replace("herdbook.test", "127.0.0.1:9000")

    @property
    def path(self) -> str:
        """The path of the workspace in the lab."""
        return f"{LAB}/workspaces/{self.made['id']}"

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Make a request with the key of the workspace."""
        headers = {"Authorization": self.made["api_key"], **options.pop("headers", {})}
        return await self.lab.client.request(method, path, headers=headers, **options)

    async def command(self, method: str, path: str = "", **options: Any) -> Any:
        """Command the workspace, and return the answer."""
        return await self.lab.command(method, f"{self.path}{path}", **options)


@dataclass
class Bench:
    """The lab, and a client of its server."""

    client: httpx.AsyncClient

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Make a request with the lab's token."""
        return await self.client.request(method, path, headers={"Authorization": f"Bearer {TOKEN}"}, **options)

    async def command(self, method: str, path: str, **options: Any) -> Any:
        """Command the lab, and return the answer, which is no refusal."""
        response = await self.ask(method, path, **options)
        assert response.is_success, response.text
        return response.json()

    async def workspace(self, seed: str = "empty", **members: Any) -> Desk:
        """Create a workspace."""
        return Desk(self, await self.command("POST", f"{LAB}/workspaces", json={"seed": seed, **members}))


@pytest_asyncio.fixture(scope="module")
async def bench(embedded_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Bench]:
    """The lab of the tests of a file, which may have 40 workspaces."""
    folder = tmp_path_factory.mktemp("lab")
    async with serving(Settings(lab=True, lab_token=TOKEN, lab_workspaces=40, data_dir=folder), embedded_url) as client:
        yield Bench(client)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[str, str]]:
    """A lab that listens: its address and its token."""
    with programs.serving(tmp_path_factory.mktemp("lab"), command="lab") as server:
        yield server.url, json.loads((server.folder / "ready.json").read_text())["lab_token"]
