"""Who has no business in a workspace learns nothing of what is there: this walks all operations, so that none is forgotten."""

from collections.abc import Mapping
from typing import Final

import httpx
import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.app import OPERATIONS
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key
from herdbook.db.pool import connect
from herdbook.first_start import create_owned_workspace
from herdbook.http.operation import Operation
from tests.auth.test_scopes import GUARDED, UNKNOWN, every_operation
from tests.cast import Json, Person

about_an_object = pytest.mark.parametrize(
    "operation", [each for each in GUARDED if "{" in each.path], ids=lambda operation: operation.id
)
of_the_workspace = pytest.mark.parametrize(
    "operation",
    [each for each in GUARDED if each.list_of is not None and "{" not in each.path],
    ids=lambda operation: operation.id,
)
PUBLIC: Final = {"oauth-token"}


class House:
    """A workspace with one object of each kind, and its administrator."""

    def __init__(self, owner: Person, ids_by_parameter: Mapping[str, str]) -> None:
        self.owner = owner
        self.ids = ids_by_parameter

    async def everything(self) -> list[Json]:
        """Return all that its administrator can read there."""
        found: list[Json] = []
        for operation in GUARDED:
            if operation.method == "GET":
                response = await self.owner.get("/api" + operation.path.format(**self.ids))
                assert response.status_code == 200, response.text
                found.append(response.json())
        return found


@pytest_asyncio.fixture
async def house(client: httpx.AsyncClient, database_url: str) -> House:
    """A house of the test's own."""
    connection = await connect(database_url)
    workspace_id = await create_owned_workspace(connection, "House")
    owner = Person(client, workspace_id, await create_key(connection, workspace_id, "Owner", [ADMIN]))
    await connection.close()
    created: dict[str, str] = {"user_id": (await owner.get("/api/v2/users")).json()["data"][0]["id"]}
    for operation in OPERATIONS:
        if operation.status == 201 and operation.body is not None:
            body: Json = getattr(operation.body, "example")  # noqa: B009  # each body has one, by convention
            response = await owner.post("/api" + operation.path.format(**created), json=body)
            assert response.status_code == 201, response.text
            created[f"{response.json()['object']}_id"] = response.json()["id"]
    await owner.patch(f"/api/v2/contacts/{created['contact_id']}", json={"first_name": "Augusta"})
    deliveries = await owner.get(f"/api/herdbook/webhooks/{created['webhook_endpoint_id']}/deliveries")
    created["event_id"] = deliveries.json()["data"][0]["id"]
    return House(owner, created)


async def ask(person: Person, operation: Operation, named: Mapping[str, str]) -> httpx.Response:
    """Make a request that its owner could make."""
    body: Json = None if operation.body is None else getattr(operation.body, "example", None)
    return await person.request(operation.method, "/api" + operation.path.format(**named), json=body)


def without_request(response: httpx.Response) -> Json:
    """Return a problem without what is each request's own."""
    return {name: value for name, value in response.json().items() if name != "request_id"}


def test_what_is_public_is_public_on_purpose() -> None:
    """Whatever needs no credential stands here by name."""
    assert {operation.id for operation in OPERATIONS} - {operation.id for operation in GUARDED} == PUBLIC


@every_operation
async def test_nobody_gets_in(client: httpx.AsyncClient, house: House, operation: Operation) -> None:
    """Without a credential, nothing is said but that one is needed, and nothing is done."""
    before = await house.everything()
    body: Json = None if operation.body is None else getattr(operation.body, "example", None)
    response = await client.request(operation.method, "/api" + operation.path.format(**house.ids), json=body)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="herdbook"'
    assert not any(object_id in response.text for object_id in house.ids.values())
    assert await house.everything() == before


@about_an_object
async def test_a_stranger_finds_nothing(house: House, charlie: Person, operation: Operation) -> None:
    """To the administrator of another workspace, an object is as one that there never was, and it stays as it is."""
    before = await house.everything()
    response = await ask(charlie, operation, house.ids)
    never = await ask(charlie, operation, UNKNOWN)

    assert response.status_code == never.status_code == 404
    assert without_request(response) == without_request(never)
    assert response.headers.keys() == never.headers.keys()
    assert await house.everything() == before


@of_the_workspace
async def test_a_strangers_lists_are_empty(house: House, charlie: Person, operation: Operation) -> None:
    """A list has the objects of its workspace alone."""
    assert house.ids
    response = await ask(charlie, operation, {})

    assert response.json() == {"object": "list", "data": [], "has_more": False, "next_cursor": None}


def test_each_kind_of_path_is_walked() -> None:
    """A new kind of object must be among those that a house has."""
    parameters = {part[1:-1] for operation in OPERATIONS for part in operation.path.split("/") if part.startswith("{")}

    assert parameters == UNKNOWN.keys()
    assert all(ids.decoded(value.partition("_")[0] + "_", value) for value in UNKNOWN.values())
