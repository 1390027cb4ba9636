"""Strangers learn nothing about a workspace: these tests walk all operations, so that none is forgotten."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any, Final, NamedTuple

import httpx
import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.app import OPERATIONS
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key
from herdbook.db.pool import connect
from herdbook.first_start import create_owned_workspace
from herdbook.http import openapi
from herdbook.http.operation import Operation
from tests.auth.test_scopes import GUARDED, NEVER_GIVEN, UNKNOWN, every_operation
from tests.cast import Json, Person

about_an_object = pytest.mark.parametrize(
    "operation", [each for each in GUARDED if "{" in each.path], ids=lambda operation: operation.id
)
of_the_workspace = pytest.mark.parametrize(
    "operation",
    [each for each in GUARDED if each.list_of is not None and "{" not in each.path],
    ids=lambda operation: operation.id,
)
# The log has the requests of this walk, too, and a second after their answers.
ABOUT_REQUESTS: Final = {"list-requests", "get-request-by-id"}
PUBLIC: Final = {"oauth-token", "revoke-oauth-token", "introspect-oauth-token"}


class OwnedWorkspace:
    """A workspace with one object of each kind, and its administrator."""

    def __init__(self, owner: Person, ids_by_parameter: Mapping[str, str]) -> None:
        self.owner = owner
        self.ids = ids_by_parameter

    async def everything(self) -> list[Json]:
        """Return everything that the administrator can read there."""
        found: list[Json] = []
        for operation in GUARDED:
            if operation.method == "GET" and operation.id not in ABOUT_REQUESTS:
                response = await self.owner.get("/api" + operation.path.format(**self.ids))
                assert response.status_code == 200, response.text
                # An answer that is a file has its own form.
                found.append(response.text if operation.files else response.json())
        return found


@pytest_asyncio.fixture
async def owned(client: httpx.AsyncClient, database_url: str) -> OwnedWorkspace:
    """A workspace with an object of each kind."""
    return await built(client, database_url)


@pytest_asyncio.fixture(scope="module")
async def untouched(client: httpx.AsyncClient, database_url: str) -> AsyncGenerator[OwnedWorkspace]:
    """Such a workspace. All that is in it is read before and after the walk, which must not change it."""
    made = await built(client, database_url)
    before = await made.everything()
    yield made
    assert await made.everything() == before


async def built(client: httpx.AsyncClient, database_url: str) -> OwnedWorkspace:
    """Create a workspace with an object of each kind."""
    connection = await connect(database_url)
    workspace_id = await create_owned_workspace(database_url, connection, "Owned")
    owner = Person(client, workspace_id, await create_key(connection, workspace_id, "Owner", [ADMIN]))
    await connection.close()
    created: dict[str, str] = {"user_id": (await owner.get("/api/v2/users")).json()["data"][0]["id"]}
    sent: set[object] = set()
    for operation in OPERATIONS:
        # A second contact of the same address would be refused.
        if operation.status == 201 and operation.body is not None and operation.body not in sent:
            sent.add(operation.body)
            body: Json = getattr(operation.body, "example")  # noqa: B009  # each body has one, by convention
            response = await owner.post("/api" + operation.path.format(**created), json=body)
            assert response.status_code == 201, response.text
            created[f"{response.json()['object']}_id"] = response.json()["id"]
            created["request_id"] = response.headers["X-Request-Id"]
            created |= {name: value for name, value in response.json().items() if name == "transcript_timeline_id"}
    await owner.patch(f"/api/v2/contacts/{created['contact_id']}", json={"first_name": "Augusta"})
    deliveries = await owner.get(f"/api/herdbook/webhooks/{created['webhook_endpoint_id']}/deliveries")
    created["event_id"] = deliveries.json()["data"][0]["id"]
    uploaded = await owner.post("/api/herdbook/imports", content=b"First name\nAda\n")
    created["import_id"] = uploaded.json()["id"]
    return OwnedWorkspace(owner, created)


async def ask(person: Person, operation: Operation, named: Mapping[str, str]) -> httpx.Response:
    """Make a request that the owner could make."""
    body: Json = None if operation.body is None else getattr(operation.body, "example", None)
    return await person.request(operation.method, "/api" + operation.path.format(**named), json=body)


def without_request(response: httpx.Response) -> Json:
    """Return a problem without the members that differ in each request."""
    return {name: value for name, value in response.json().items() if name != "request_id"}


def test_what_is_public_is_public_on_purpose() -> None:
    """Each operation that needs no credential is listed here by name."""
    assert {operation.id for operation in OPERATIONS} - {operation.id for operation in GUARDED} == PUBLIC


@every_operation
async def test_nobody_gets_in(client: httpx.AsyncClient, untouched: OwnedWorkspace, operation: Operation) -> None:
    """A request without a credential learns only that one is needed, and changes nothing."""
    body: Json = None if operation.body is None else getattr(operation.body, "example", None)
    response = await client.request(operation.method, "/api" + operation.path.format(**untouched.ids), json=body)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="herdbook"'
    assert not any(object_id in response.text for object_id in untouched.ids.values())


@about_an_object
async def test_a_stranger_finds_nothing(untouched: OwnedWorkspace, charlie: Person, operation: Operation) -> None:
    """An object of another workspace looks like one that never existed, and it stays unchanged."""
    response = await ask(charlie, operation, untouched.ids)
    never = await ask(charlie, operation, UNKNOWN)

    assert response.status_code == never.status_code == 404
    assert without_request(response) == without_request(never)
    assert response.headers.keys() == never.headers.keys()


@of_the_workspace
async def test_a_strangers_lists_are_empty(untouched: OwnedWorkspace, charlie: Person, operation: Operation) -> None:
    """A list shows only the objects of its own workspace."""
    assert untouched.ids
    response = await ask(charlie, operation, {})

    assert response.json() == {"object": "list", "data": [], "has_more": False, "next_cursor": None}


def test_each_kind_of_path_is_walked() -> None:
    """A new kind of object must be added to the workspace."""
    parameters = {part[1:-1] for operation in OPERATIONS for part in operation.path.split("/") if part.startswith("{")}

    # A path names a transcript by its engagement.
    assert parameters == UNKNOWN.keys() - {"transcript_id"}
    assert all(ids.decoded(value.partition("_")[0] + "_", value) for value in UNKNOWN.values())


DOCUMENT: Final[Json] = openapi.document(OPERATIONS, "https://problems.test/")
KINDS: Final = {"request_id": ids.REQUEST, "transcript_timeline_id": ids.TRANSCRIPT_TIMELINE} | {
    name: value.partition("_")[0] + "_" for name, value in UNKNOWN.items()
}


class Place(NamedTuple):
    """A part of a request that takes an id: the schema of the body, the path to the id, and the id's kind."""

    operation: Operation
    schema: Json
    way: tuple[str | int, ...]
    kind: str

    async def ask(self, owned: OwnedWorkspace, object_id: str) -> httpx.Response:
        """Make a request in the workspace that names the object."""
        path = "/api" + self.operation.path.format(**owned.ids)
        if self.schema is None:
            return await owned.owner.request(self.operation.method, path, params={str(self.way[0]): object_id})
        return await owned.owner.request(self.operation.method, path, json=filled(self.schema, owned, self.way, object_id))


def resolved(schema: Json) -> Json:
    """Return a schema with its reference resolved."""
    return DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def kind_of(schema: Json) -> str | None:
    """Return the kind of ids that a schema takes, by its pattern or its examples."""
    texts = [schema.get("pattern", "").removeprefix("^"), *map(str, schema.get("examples", ()))]
    return next((name for name, prefix in KINDS.items() if any(text.startswith(prefix) for text in texts)), None)


def places(schema: Json) -> Iterator[tuple[Json, tuple[str | int, ...], str]]:
    """Return the places where a schema takes ids, with each choice made."""
    schema = resolved(schema)
    for choice in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        yield from places(choice)
    if (kind := kind_of(schema)) is not None:
        yield schema, (), kind
    for name, member in schema.get("properties", {}).items():
        for chosen, way, kind in places(member):
            yield {**schema, "properties": {**schema["properties"], name: chosen}}, (name, *way), kind
    if "items" in schema:
        for chosen, way, kind in places(schema["items"]):
            yield {**schema, "items": chosen}, (0, *way), kind


def filled(schema: Json, owned: OwnedWorkspace, way: tuple[str | int, ...] = (), object_id: str | None = None) -> Any:
    """Return the members that a schema requires, with the id at the end of the path."""
    schema = resolved(schema)
    if object_id is not None and not way:
        return object_id
    if "properties" in schema:
        named = {*schema.get("required", ()), *way[:1]}
        return {
            name: filled(member, owned, way[1:], object_id) if (name,) == way[:1] else filled(member, owned)
            for name, member in schema["properties"].items()
            if name in named
        }
    if "items" in schema:
        return [filled(schema["items"], owned, way[1:], object_id)]
    if (kind := kind_of(schema)) is not None:
        return owned.ids[kind]
    return schema["enum"][0] if "enum" in schema else "ada@example.test"


def all_places() -> Iterator[Place]:
    """Return all places where a request takes an id, except in its path."""
    for operation in GUARDED:
        described = DOCUMENT["paths"][operation.path][operation.method.lower()]
        for content in described.get("requestBody", {}).get("content", {}).values():
            for place in places(content["schema"]):
                yield Place(operation, *place)
        for parameter in described["parameters"]:
            schema: Json = parameter.get("schema", {}) if parameter.get("in") == "query" else {}
            if (kind := kind_of(schema.get("items", schema))) is not None:
                yield Place(operation, None, (parameter["name"],), kind)


@pytest.mark.parametrize("place", list(all_places()), ids=lambda place: f"{place.operation.id}-{'.'.join(map(str, place.way))}")
async def test_an_id_in_a_request_finds_nothing_elsewhere(
    untouched: OwnedWorkspace, owned: OwnedWorkspace, place: Place
) -> None:
    """An id of another workspace in a body or a query looks like one that never existed; its object stays unchanged."""
    never = KINDS[place.kind] + NEVER_GIVEN
    responses = [await place.ask(owned, object_id) for object_id in (untouched.ids[place.kind], never)]
    told = [
        (response.status_code, sorted(response.headers), response.text.replace(response.headers["X-Request-Id"], ""))
        for response in responses
    ]

    assert told[0] == told[1]
    assert not any(object_id in responses[0].text for object_id in untouched.ids.values())


def test_the_places_are_those_there_are() -> None:
    """Ids are found in lists, choices and queries, and of each kind that a body takes."""
    found = {(place.operation.id, place.way) for place in all_places()}

    assert found >= {
        ("update-contact", ("company_id",)),
        ("merge-contacts", ("from", 0)),
        ("bulk-write-contacts", ("operations", 0, "id")),
        ("bulk-write-contacts", ("operations", 0, "contact", "company_id")),
        ("bulk-write-companies", ("operations", 0, "id")),
        ("bulk-write-companies", ("operations", 0, "company", "tag_ids", 0)),
        ("bulk-write-companies", ("operations", 0, "company", "take_from")),
        ("replace-engagement-tags", ("tag_ids", 0)),
        ("undo-request", ("request_id",)),
        ("list-engagements", ("filter[contact_ids][eq]",)),
    }
    assert "transcript_timeline_id" in {place.kind for place in all_places()}
