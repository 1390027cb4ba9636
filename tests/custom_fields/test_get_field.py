"""GET /herdbook/fields/{field_id}."""

import asyncpg
import httpx
import pytest

from herdbook.auth.store import create_key
from tests.cast import Person
from tests.custom_fields.definitions import URL, define


async def test_anonymous_is_refused(client: httpx.AsyncClient, frank: Person) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.get((await define(frank, "tier")).url)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, frank: Person) -> None:
    """A field of another workspace is not found."""
    assert (await charlie.get((await define(frank, "tier")).url)).status_code == 404


async def test_bob_reads_it(bob: Person, frank: Person) -> None:
    """A credential that may read contacts reads the definition."""
    field = await define(frank, "tier", "one_of")

    assert (await bob.get(field.url)).json() == field.json


async def test_an_id_of_nothing_is_not_found(bob: Person) -> None:
    """An id that no field has, or that is none, is not found."""
    assert [(await bob.get(f"{URL}/{each}")).status_code for each in ("fld_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "x")] == [404, 404]


@pytest.mark.parametrize(("scope", "status"), [("companies:read", 200), ("contacts:read", 200), ("tags:read", 403)])
@pytest.mark.parametrize(
    "path",
    [
        *(URL, "{field}", "{field}/conversion", "{field}/history", f"{URL}/deleted", "/api/herdbook/openapi.json"),
        *("/api/herdbook/changes?types=field", "/api/herdbook/activity?types=field"),
    ],
)
async def test_readers_of_contacts_or_companies_read_definitions(
    client: httpx.AsyncClient, frank: Person, pool: "asyncpg.Pool[asyncpg.Record]", scope: str, status: int, path: str
) -> None:
    """Each scope to read objects that have fields is enough for definitions, their changes, conversions and the document."""
    field = await define(frank, "tier", object_type="company")
    reader = Person(client, frank.workspace_id, await create_key(pool, frank.workspace_id, "Reader", [scope]))
    response = await reader.get(path.format(field=field.url))

    assert response.status_code == status, response.text
    assert status == 200 or "`contacts:read`" in response.json()["detail"]


@pytest.mark.parametrize(("scope", "shown"), [("companies:read", ["field"]), ("tags:read", [])])
async def test_the_feed_shows_definitions_to_readers_of_companies(
    client: httpx.AsyncClient, frank: Person, pool: "asyncpg.Pool[asyncpg.Record]", scope: str, shown: list[str]
) -> None:
    """The feed of a caller who may read companies has the changes of definitions, without being asked for."""
    start = (await frank.get("/api/herdbook/changes?after=now")).json()["position"]
    await define(frank, "tier", object_type="company")
    reader = Person(client, frank.workspace_id, await create_key(pool, frank.workspace_id, "Reader", [scope]))
    changes = (await reader.get(f"/api/herdbook/changes?after={start}")).json()["data"]

    assert [each["data"]["object"]["object"] for each in changes] == shown
