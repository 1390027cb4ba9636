"""Routing: the operation that a path and a method reach."""

from typing import Final
from uuid import UUID

import asyncpg
import httpx
import pytest

from herdbook import ids
from herdbook.app import OPERATIONS
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key
from herdbook.http.operation import Operation
from herdbook.object_types import OBJECT_TYPES
from tests.cast import Json, Person, Thing

_PREFIXES: Final = {each.name: each.prefix for each in OBJECT_TYPES} | {
    "event": ids.EVENT,
    "view": ids.VIEW,
    "import": ids.IMPORT,
    "request": ids.REQUEST,
    "invitation": ids.SIGN_IN_LINK,
}
NEVER_GIVEN: Final = "01HQXVB4Y9Y0Q6P0QH5GX2CT7T"
UNKNOWN: Final = ids.CONTACT + NEVER_GIVEN
OF_ONE_OBJECT: Final = [operation for operation in OPERATIONS if operation.path_parameters]


@pytest.mark.parametrize(
    "path",
    [
        *("/api", "/api/", "/api/v2", "/v2", "/v2/", "/api/v2/contact", "/api/v3/contacts", "/API/v2/contacts"),
        *("/api/api/v2/contacts", "//v2/contacts", "/api//v2/contacts", "/v2/contacts/x/y"),
        f"/v2/contacts/{UNKNOWN}/crm_association/",
        *("/api/v2/../v2/contacts/x/y/z", "/%00", "/favicon.ico"),
    ],
)
async def test_where_nothing_is_the_problem_says_so(client: httpx.AsyncClient, path: str) -> None:
    """An unknown path gets a 404 problem, with or without a credential."""
    response = await client.get(path)

    assert response.status_code == 404
    assert response.json()["type"].endswith("/not_found")
    assert "no operation at this path" in response.json()["detail"]


async def test_both_base_paths_are_the_same(alice: Person, ada: Thing) -> None:
    """`/v2/...` answers as `/api/v2/...` does."""
    long, short = await alice.get(ada.url), await alice.get(ada.url.removeprefix("/api"))

    assert short.status_code == 200
    assert short.content == long.content
    assert short.headers["ETag"] == long.headers["ETag"]


async def test_a_slash_more_is_another_path(alice: Person) -> None:
    """A trailing slash makes another path, because it is followed by an empty id."""
    response = await alice.get("/api/v2/contacts/")

    assert response.status_code == 404


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("/api/v2/contacts/", "/api/v2/contacts"),
        ("/v2/contacts//", "/v2/contacts"),
        ("/api//v2/contacts", "/api/v2/contacts"),
        ("/api/v2//contacts", "/api/v2/contacts"),
        ("/api/v2/contacts//crm_association", "/api/v2/contacts/crm_association"),
        (f"/api/v2/contacts/{UNKNOWN}/", f"/api/v2/contacts/{UNKNOWN}"),
        (f"/api/v2/contacts/{UNKNOWN}/crm_association/", f"/api/v2/contacts/{UNKNOWN}/crm_association"),
        ("/api/v1/oauth/token/", "/api/v1/oauth/token"),
        ("/api/herdbook/changes/", "/api/herdbook/changes"),
        *(("/docs/", "/docs"), ("/healthz/", "/healthz"), ("/readyz/", "/readyz"), ("/openapi.json/", "/openapi.json")),
        *(("/api/openapi.json/", "/api/openapi.json"), ("/metrics/", "/metrics"), ("/nowhere/", "/nowhere")),
    ],
)
async def test_a_slash_too_many_is_named(alice: Person, method: str, path: str, right: str) -> None:
    """A path with an empty part, such as a slash at its end, gets a problem with the path to send, whatever the method."""
    response = await alice.request(method, path)

    assert response.status_code == 404
    assert f"send `{right}`" in response.json()["detail"]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
async def test_no_operation_has_a_slash_at_its_end(alice: Person, operation: Operation) -> None:
    """Each operation names its path to those who append a slash."""
    path = path_with(operation, "*" + NEVER_GIVEN)
    response = await alice.request(operation.method, path + "/")

    assert response.status_code == 404
    assert f"send `{path[:100]}" in response.json()["detail"]


def path_with(operation: Operation, form: str) -> str:
    """Return the path of an operation with ids of this form, in which `*` stands for the prefix."""
    given = {f"{name}_id": form.replace("*", _PREFIXES[name]) for name in operation.path_parameters}
    return "/api" + operation.path.format(**given)


@pytest.mark.parametrize("form", ["*", NEVER_GIVEN, f"*{NEVER_GIVEN.lower()}", f"*{NEVER_GIVEN}0", ids.WORKSPACE + NEVER_GIVEN])
@pytest.mark.parametrize("operation", OF_ONE_OBJECT, ids=lambda operation: operation.id)
async def test_a_malformed_id_is_unknown(charlie: Person, operation: Operation, form: str) -> None:
    """A malformed id gets a 404 like an unknown one, after the body is checked, which quotes it and shows the right form."""
    body: Json = getattr(operation.body, "example", None)
    malformed = await charlie.request(operation.method, path_with(operation, form), json=body)
    unknown = await charlie.request(operation.method, path_with(operation, f"*{NEVER_GIVEN}"), json=body)

    assert malformed.status_code == unknown.status_code == 404
    assert malformed.json()["title"] == unknown.json()["title"]
    name = operation.path_parameters[0]
    assert f"as `{form.replace('*', _PREFIXES[name])}`. Send its id there: `{_PREFIXES[name]}`" in malformed.json()["detail"]
    assert "as `" not in unknown.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/v2/contacts", "GET, HEAD, POST"),
        ("OPTIONS", "/api/v2/contacts", "GET, HEAD, POST"),
        ("PUT", f"/api/v2/contacts/{UNKNOWN}", "DELETE, GET, HEAD, PATCH"),
        ("FROB", f"/v2/contacts/{UNKNOWN}", "DELETE, GET, HEAD, PATCH"),
        ("get", f"/v2/contacts/{UNKNOWN}", "DELETE, GET, HEAD, PATCH"),
        ("GET", f"/api/v2/contacts/{UNKNOWN}/crm_association", "DELETE, PUT"),
        ("HEAD", f"/api/v2/contacts/{UNKNOWN}/crm_association", "DELETE, PUT"),
    ],
)
async def test_another_method_is_told_which_there_are(client: httpx.AsyncClient, method: str, path: str, allowed: str) -> None:
    """405 names the path's methods; methods are case-sensitive (RFC 9110, section 9.1)."""
    request = client.build_request(method, path)
    request.method = method
    response = await client.send(request)

    assert response.status_code == 405
    assert response.headers["Allow"] == allowed


async def test_another_method_is_a_problem(client: httpx.AsyncClient) -> None:
    """405 is a problem whose detail names the path's methods, too."""
    response = await client.put("/api/v2/contacts")

    assert response.json()["type"].endswith("/method_not_allowed")
    assert response.json()["detail"] == "This path supports GET, HEAD, POST."


async def test_head_is_answered_as_get(alice: Person, ada: Thing) -> None:
    """HEAD has the status and the headers of GET."""
    get, head = await alice.get(ada.url), await alice.request("HEAD", ada.url)

    assert head.status_code == 200
    assert {**head.headers, "x-request-id": ""} == {**get.headers, "x-request-id": ""}


async def test_head_has_its_scope_and_its_conditions(alice: Person, dave: Person, ada: Thing) -> None:
    """HEAD requires the scope of GET and honours the preconditions of GET."""
    fresh = await alice.request("HEAD", ada.url, headers={"If-None-Match": ada.etag})
    refused = await dave.request("HEAD", ada.url)

    assert (fresh.status_code, refused.status_code) == (304, 403)


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.list_of is not None], ids=lambda operation: operation.id
)
async def test_an_empty_cursor_is_that_of_the_first_page(
    alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID, operation: Operation
) -> None:
    """Every list takes an empty cursor for none."""
    key = await create_key(pool, workspace_id, "all", [ADMIN])
    path = path_with(operation, "*" + NEVER_GIVEN)
    urls = [f"{path}?cursor=", path]
    answers = [await alice.request("GET", url, headers={"Authorization": str(key)}) for url in urls]

    assert answers[0].status_code == answers[1].status_code != 400
