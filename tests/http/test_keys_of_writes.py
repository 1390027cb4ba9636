"""An Idempotency-Key is checked once, for every write, before anything else of the request."""

import re
from typing import Any, Final

import pytest

from herdbook.app import OPERATIONS
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key
from herdbook.http.operation import Operation
from tests.cast import Person, faults

_WRITES: Final = [each for each in OPERATIONS if each.is_write]


@pytest.mark.parametrize("operation", _WRITES, ids=[each.id for each in _WRITES])
@pytest.mark.parametrize("query", ["", "?dry_run=true"])
async def test_a_key_that_is_none_is_refused(alice: Person, pool: Any, operation: Operation, query: str) -> None:
    """Every write refuses a key that is none, be it a dry run or not, and writes nothing."""
    admin = Person(alice.client, alice.workspace_id, await create_key(pool, alice.workspace_id, "Admin", [ADMIN]))
    before = await pool.fetchval("select seq from workspace where id = $1", alice.workspace_id)
    path = re.sub(r"\{\w+\}", "x", operation.path) + query

    response = await admin.request(operation.method, f"/api{path}", headers={"Idempotency-Key": "nöt ascii"})

    assert (response.status_code, faults(response)) == (422, [("Idempotency-Key", "invalid_format")])
    assert await pool.fetchval("select seq from workspace where id = $1", alice.workspace_id) == before
