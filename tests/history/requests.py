"""Helpers that read histories, restore and undo."""

from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx

from herdbook import ids
from tests.cast import Json, Person, Thing

CONTACTS: Final = "/api/v2/contacts"
COMPANIES: Final = "/api/v2/companies"
UNDO: Final = "/api/herdbook/undo"
NEVER_MADE: Final = "rid_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"


def beside(thing: Thing, what: str) -> str:
    """Return the URL of an object's history or restoration."""
    return f"{thing.url.replace('/v2/', '/herdbook/')}/{what}"


async def history(person: Person, thing: Thing, **params: Any) -> Json:
    """Return a page of an object's history."""
    response = await person.get(beside(thing, "history"), params=params)
    assert response.status_code == 200, response.text
    return response.json()


async def told(person: Person, thing: Thing) -> list[tuple[str, Json]]:
    """Return an object's actions, each with old and new values, latest first."""
    data = (await history(person, thing))["data"]
    return [
        (entry["action"], {name: (change["from"], change["to"]) for name, change in entry["changes"].items()}) for entry in data
    ]


async def restore(person: Person, thing: Thing, **options: Any) -> httpx.Response:
    """Restore a deleted object."""
    return await person.post(beside(thing, "restore"), **options)


async def ask_to_undo(person: Person, request: httpx.Response | str, **options: Any) -> httpx.Response:
    """Undo a request."""
    request_id = request if isinstance(request, str) else request.headers["X-Request-Id"]
    return await person.post(UNDO, json={"request_id": request_id}, **options)


class Undone:
    """The outcome of an undo."""

    def __init__(self, response: httpx.Response) -> None:
        assert response.status_code == 200, response.text
        self.response = response
        self.json: Json = response.json()
        self.reverted = {each["id"]: each["action"] for each in self.json["reverted"]}
        self.kept = {each["id"]: each["reason"] for each in self.json["kept"]}


async def undo(person: Person, request: httpx.Response | str | Undone, **options: Any) -> Undone:
    """Undo a request and return the outcome."""
    if isinstance(request, Undone):
        request = request.response
    return Undone(await ask_to_undo(person, request, **options))


async def person_named(person: Person, *addresses: str, **members: Any) -> Thing:
    """Create a contact with addresses."""
    return Thing(await person.post(CONTACTS, json={"emails": [{"email": each} for each in addresses], **members}))


async def company_named(person: Person, *domains: str, **members: Any) -> Thing:
    """Create a company with domains."""
    return Thing(await person.post(COMPANIES, json={"domains": [{"domain": each} for each in domains], **members}))


async def now(person: Person, thing: Thing) -> Json:
    """Return an object without its update time, or None if it does not exist."""
    response = await person.get(thing.url)
    if response.status_code != 200:
        return None
    return without_time(response.json())


def without_time(shown: Json) -> Json:
    """Return an object without the time of its last change."""
    return {name: value for name, value in shown.items() if name != "updated_at"}


def request_of(response: httpx.Response) -> UUID:
    """Return the id of a request in the form that the database stores."""
    request_id = ids.decoded(ids.REQUEST, response.headers["X-Request-Id"])
    assert request_id is not None, "each response has a request id"
    return request_id


class Register:
    """The ledger of Alice's workspace, as it is stored."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> None:
        self._pool = pool
        self._workspace_id = workspace_id

    async def trim(self, last: int) -> None:
        """Trim the ledger up to an entry."""
        await self._pool.execute("delete from change where workspace_id = $1 and seq <= $2", self._workspace_id, last)
        await self._pool.execute(
            "insert into change_trimmed values ($1, $2) on conflict (workspace_id) do update set seq = excluded.seq",
            *(self._workspace_id, last),
        )

    async def age(self, last: int, days: int) -> None:
        """Make the entries up to one older by some days, and all contacts created in 2020."""
        await self._pool.execute(
            """
            update change set at = (at at time zone 'UTC' - make_interval(days => $3)) at time zone 'UTC'
            where workspace_id = $1 and seq <= $2
            """,
            *(self._workspace_id, last, days),
        )
        await self._pool.execute(
            """
            update contact set object = jsonb_set(object::jsonb, '{created_at}', '"2020-01-01T00:00:00.000000Z"')::json
            where workspace_id = $1
            """,
            self._workspace_id,
        )

    async def unchain(self) -> None:
        """Store all entries as the last release did: without the number of the previous entry."""
        await self._pool.execute("update change set previous_version = null where workspace_id = $1", self._workspace_id)

    async def attribute(self, seq: int, credential_id: UUID) -> None:
        """Attribute an entry to another credential."""
        await self._pool.execute(
            "update change set credential_id = $3 where workspace_id = $1 and seq = $2", self._workspace_id, seq, credential_id
        )

    async def join(self, response: httpx.Response, other: httpx.Response) -> None:
        """Attribute the changes of one request to another."""
        statement = "update change set request_id = $3 where workspace_id = $1 and request_id = $2"
        await self._pool.execute(statement, self._workspace_id, request_of(response), request_of(other))

    async def entries(self) -> int:
        """Return how many entries there are."""
        return await self._pool.fetchval("select count(*) from change where workspace_id = $1", self._workspace_id)
