"""GET /herdbook/fields/{field_id}/conversion."""

from uuid import UUID

import asyncpg
import httpx

from herdbook.ledger.ledger import Ledger
from tests.cast import Json, Person
from tests.custom_fields.claims import convert
from tests.custom_fields.definitions import define, half_converted

_NONE: Json = {"unclaimed": 0, "examples": []}
_FINISHED: Json = {"object": "field_conversion", "finished": True, "done": 0, "total": 0, **_NONE}


async def test_anonymous_is_refused(client: httpx.AsyncClient, frank: Person) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.get(f"{(await define(frank, 'tier')).url}/conversion")

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, frank: Person) -> None:
    """A field of another workspace is not found."""
    assert (await charlie.get(f"{(await define(frank, 'tier')).url}/conversion")).status_code == 404


async def test_conversion_is_finished_unless_one_goes_on(
    bob: Person, frank: Person, ledger: Ledger, workspace_id: UUID, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A slice has looked through some of 300 contacts, and no more is told once all are done."""
    tier = await define(frank, "tier")
    assert (await bob.get(f"{tier.url}/conversion")).json() == _FINISHED
    number = await half_converted(frank, ledger, workspace_id)

    going_on = (await bob.get(f"{number.url}/conversion")).json()

    assert going_on == {"object": "field_conversion", "finished": False, "done": going_on["done"], "total": 300, **_NONE}
    assert 100 <= going_on["done"] < 300
    await convert(pool, ledger)
    assert (await bob.get(f"{number.url}/conversion")).json() == _FINISHED
