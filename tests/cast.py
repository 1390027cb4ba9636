"""The people in the tests.

Alice owns a workspace and may do everything with its contacts, companies and tags. Bob belongs to her workspace and may only
read. Charlie administers another workspace and must never get into Alice's. Dave belongs to Alice's workspace and may only
write.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import httpx

from herdbook import ids
from herdbook.auth.keys import ApiKey
from herdbook.ledger.commands import Update
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Command, Origin
from herdbook.users.commands import CreateUser
from herdbook.users.model import NewUser, RoleUpdate, UserRole
from herdbook.users.store import USER

Json = Any
# Returns the row of an answered request in the request log.
Logged = Callable[[httpx.Response], Awaitable[dict[str, Any]]]


class Person:
    """A person with an API key."""

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
        # Bytes, so that a test can send characters that a client would refuse.
        sent = {name.encode(): value.encode() for name, value in {"Authorization": str(self.key), **(headers or {})}.items()}
        return await self.client.request(method, path, headers=sent, **options)

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


PATHS: Final = {
    "contact": "v2/contacts",
    "company": "v2/companies",
    "user": "v2/users",
    "tag": "v2/tags",
    "note": "herdbook/notes",
    "field": "herdbook/fields",
    "engagement": "v2/engagements",
}


class Thing:
    """An object that a test has created: its members, its path, and its ETag at creation."""

    def __init__(self, response: httpx.Response) -> None:
        assert response.status_code == (201 if response.request.method == "POST" else 200), response.text
        self.json: Json = response.json()
        self.id: str = self.json["id"]
        self.etag = response.headers["ETag"]
        self.url = f"/api/{PATHS[self.json['object']]}/{self.id}"

    @property
    def uuid(self) -> UUID:
        """Return the object's id as the database stores it."""
        uuid = ids.decoded(self.id.partition("_")[0] + "_", self.id)
        assert uuid is not None, "the API gave it"
        return uuid


class Team:
    """The users of Alice's workspace. No request creates users, so they go through the ledger, as on the command line."""

    def __init__(self, ledger: Ledger, alice: Person) -> None:
        self._ledger = ledger
        self._alice = alice

    async def join(self, new: NewUser) -> Thing:
        """Add a user."""
        body = await self._write(CreateUser(new))
        return Thing(await self._alice.get(f"/api/v2/users/{json.loads(body)['id']}"))

    async def set_role(self, user: Thing, role: UserRole) -> None:
        """Set a user's role."""
        await self._write(Update(USER, user.uuid, RoleUpdate(role)))

    async def _write(self, command: Command) -> bytes:
        origin = Origin(request_id=ids.new_id(), credential_id=ids.NIL)
        return (await self._ledger.write(self._alice.workspace_id, command, origin)).body


class StoredChange(NamedTuple):
    """An entry of a workspace's ledger."""

    seq: int
    kind: str
    action: str
    previous: Json
    object: Json


class Stored:
    """The stored data of Alice's workspace."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> None:
        self._pool = pool
        self._workspace_id = workspace_id

    async def changes(self) -> list[StoredChange]:
        """Return the ledger entries in order."""
        records = await self._pool.fetch(
            "select seq, kind::text, action::text, previous, object from change where workspace_id = $1 order by seq",
            self._workspace_id,
        )
        return [
            StoredChange(seq, kind, action, json.loads(previous or "null"), json.loads(changed))
            for seq, kind, action, previous, changed in records
        ]

    async def row(self, contact: Thing) -> asyncpg.Record:
        """Return a contact's row."""
        row = await self._pool.fetchrow(
            "select * from contact where workspace_id = $1 and id = $2", self._workspace_id, contact.uuid
        )
        assert row is not None, "the contact was stored"
        return row

    async def addresses(self, contact: Thing) -> set[str]:
        """Return the e-mail addresses that a contact claims."""
        records = await self._pool.fetch(
            "select address from contact_email where workspace_id = $1 and contact_id = $2", self._workspace_id, contact.uuid
        )
        return {record["address"] for record in records}

    async def words(self, contact: Thing) -> set[str]:
        """Return the indexed words of a contact, without the first word of either name: those are in the contact's row."""
        records = await self._pool.fetch(
            "select word from contact_word where workspace_id = $1 and contact_id = $2", self._workspace_id, contact.uuid
        )
        return {record["word"] for record in records}


def faults(response: httpx.Response) -> list[tuple[str, str]]:
    """Return the fields and codes of a problem's errors, in order."""
    return [(error.get("field", ""), error["code"]) for error in response.json()["errors"]]
