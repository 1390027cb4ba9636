"""GET /herdbook/fields/{field_id}."""

import httpx

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
