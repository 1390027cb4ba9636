"""The people in the tests.

Alice owns a workspace and may do everything with contacts and companies there. Bob is in her workspace, and may only read.
Charlie has a workspace of his own, where he is the administrator: he must never get into Alice's.
"""

from typing import Any
from uuid import UUID

import httpx

from herdbook.auth.keys import ApiKey

Json = Any


class Person:
    """Somebody with an API key."""

    def __init__(self, client: httpx.AsyncClient, workspace_id: UUID, key: ApiKey) -> None:
        self.client = client
        self.workspace_id = workspace_id
        self.key = key

    async def request(
        self, method: str, path: str, json: Json = None, headers: dict[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        """Make a request with the person's key."""
        if json is not None:
            options["json"] = json
        return await self.client.request(method, path, headers={"Authorization": str(self.key), **(headers or {})}, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """GET a path."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> httpx.Response:
        """POST to a path."""
        return await self.request("POST", path, **options)

    async def patch(self, path: str, **options: Any) -> httpx.Response:
        """PATCH a path."""
        return await self.request("PATCH", path, **options)

    async def put(self, path: str, **options: Any) -> httpx.Response:
        """PUT to a path."""
        return await self.request("PUT", path, **options)

    async def delete(self, path: str, **options: Any) -> httpx.Response:
        """DELETE a path."""
        return await self.request("DELETE", path, **options)


class Thing:
    """An object that a test has created: its members, its path, its ETag when it was created."""

    def __init__(self, response: httpx.Response) -> None:
        assert response.status_code == 201, response.text
        self.json: Json = response.json()
        self.id: str = self.json["id"]
        self.etag = response.headers["ETag"]
        plural = {"contact": "contacts", "company": "companies"}[self.json["object"]]
        self.url = f"/api/v2/{plural}/{self.id}"
