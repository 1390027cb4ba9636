"""The permissions of a credential."""

from typing import Final

import asyncpg
import httpx
import pytest

from herdbook import ids
from herdbook.app import OPERATIONS
from herdbook.auth.scopes import ADMIN, SCOPES
from herdbook.auth.store import create_key
from herdbook.http.operation import Operation
from herdbook.object_types import OBJECT_TYPES
from tests.cast import Json, Person

NEVER_GIVEN: Final = "01HQXVB4Y9Y0Q6P0QH5GX2CT7T"
UNKNOWN: Final = {f"{each.name}_id": each.prefix + NEVER_GIVEN for each in OBJECT_TYPES} | {
    "event_id": ids.EVENT + NEVER_GIVEN,
    "view_id": ids.VIEW + NEVER_GIVEN,
    "request_id": ids.REQUEST + NEVER_GIVEN,
    "invitation_id": ids.SIGN_IN_LINK + NEVER_GIVEN,
    "import_id": ids.IMPORT + NEVER_GIVEN,
}
# Scopes that are enough for operations whose scopes depend on the objects.
OF_THE_OBJECTS: Final[dict[str, tuple[str, ...]]] = {
    "list-changes": ("contacts:read",),
    "list-activity": ("contacts:read",),
    "undo-request": ("contacts:write",),
    "get-note": ("contacts:read",),
    "update-note": ("contacts:read", "contacts:write"),
    "delete-note": ("companies:read", "companies:write"),
    "list-views": ("companies:read",),
    "create-view": ("contacts:read", "contacts:write"),
    "get-view-by-id": ("companies:read",),
    "update-view": ("contacts:read",),
    "delete-view": ("contacts:read",),
    **dict.fromkeys(
        (
            *("list-imports", "create-import", "get-import-by-id", "update-import", "delete-import"),
            *("check-import", "run-import", "pause-import", "cancel-import"),
            *("list-import-rows", "get-import-problems", "list-import-mappings", "undo-import", "list-import-kept"),
        ),
        ("companies:read", "companies:write"),
    ),
    "list-fields": ("companies:read",),
    "get-field-by-id": ("contacts:read",),
    "get-field-history": ("companies:read",),
    "list-deleted-fields": ("companies:read",),
    "get-field-conversion": ("companies:read",),
    "get-openapi-document": ("companies:read",),
    "list-duplicates": ("contacts:read",),
    "list-distinct": ("contacts:read",),
    "set-distinct": ("contacts:read", "contacts:write"),
    "merge-duplicates": ("contacts:read", "contacts:write"),
    "export-objects": ("contacts:read",),
    "export-found-objects": ("contacts:read",),
}
# Operations without a credential protect nothing that scopes could guard.
GUARDED: Final = [operation for operation in OPERATIONS if operation.scopes is not None]

every_operation = pytest.mark.parametrize("operation", GUARDED, ids=lambda operation: operation.id)


async def ask(person: Person, operation: Operation) -> httpx.Response:
    """Make a request that gets exactly as far as its scopes allow."""
    # The body names the objects, so these operations read it first.
    body: Json = getattr(operation.body, "example", None) if operation.id in OF_THE_OBJECTS else None
    return await person.request(operation.method, "/api" + operation.path.format(**UNKNOWN), json=body)


async def with_scopes(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", scopes: list[str]) -> Person:
    """Return a person in Alice's workspace with these scopes."""
    return Person(alice.client, alice.workspace_id, await create_key(pool, alice.workspace_id, "Somebody", scopes))


@every_operation
async def test_its_own_scope_is_enough(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", operation: Operation) -> None:
    """An operation needs only the scopes that it declares."""
    somebody = await with_scopes(alice, pool, list(operation.scopes or OF_THE_OBJECTS[operation.id]))
    response = await ask(somebody, operation)

    assert response.status_code in (200, 201, 404, 422)


@pytest.mark.parametrize(
    ("operation", "needed"),
    [(operation, scope) for operation in OPERATIONS for scope in operation.scopes or ()],
    ids=lambda each: each.id if isinstance(each, Operation) else each,
)
async def test_all_others_are_not(
    alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", operation: Operation, needed: str
) -> None:
    """An operation is refused without a scope that it needs, even with all others. The refusal names the scope."""
    somebody = await with_scopes(alice, pool, sorted(SCOPES.keys() - {needed, ADMIN}))
    response = await ask(somebody, operation)

    assert response.status_code == 403
    assert f"`{needed}`" in response.json()["detail"]


@every_operation
async def test_the_administrator_may_do_everything(charlie: Person, operation: Operation) -> None:
    """`workspace:admin` grants everything."""
    response = await ask(charlie, operation)

    assert response.status_code in (200, 201, 404, 422)


@every_operation
async def test_no_scope_is_none(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", operation: Operation) -> None:
    """A key without scopes is valid but may do nothing."""
    response = await ask(await with_scopes(alice, pool, []), operation)

    assert response.status_code == 403


@pytest.mark.parametrize("scope", ["contacts", "contacts:*", "contacts:rea", "contacts:read ", "CONTACTS:READ", "admin"])
async def test_a_scope_is_taken_as_a_whole(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", scope: str) -> None:
    """A part of a scope, or a string like it, grants nothing."""
    somebody = await with_scopes(alice, pool, [scope])
    response = await somebody.get("/api/v2/contacts")

    assert response.status_code == 403
