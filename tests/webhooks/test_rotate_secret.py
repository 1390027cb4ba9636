"""POST /herdbook/webhooks/{webhook_endpoint_id}/rotate_secret."""

from datetime import datetime, timedelta
from uuid import uuid4

import httpx
import pytest

from tests.cast import Json, Person, Stored, faults
from tests.webhooks.endpoints import UNKNOWN, DeliveryTables, Endpoint


async def test_only_its_administrator_may(
    client: httpx.AsyncClient, alice: Person, bob: Person, charlie: Person, endpoint: Endpoint
) -> None:
    """Rotation needs a credential and a scope; foreign and unknown endpoints are not found."""
    url = f"{endpoint.url}/rotate_secret"
    responses = [await client.post(url), await bob.post(url), await charlie.post(url)]
    responses += [await alice.post(f"{UNKNOWN}/rotate_secret")]

    assert [response.status_code for response in responses] == [401, 403, 404, 404]
    assert (await endpoint.read("secret"))["secret"] == endpoint.secret


async def test_the_former_secret_signs_for_a_day(endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """The former secret signs for a day beside the new one, so that receivers can be updated."""
    rotated = await endpoint.post("rotate_secret")

    row = await delivery_tables.endpoint(endpoint)
    assert rotated["secret"] != endpoint.secret
    assert rotated == await endpoint.read("secret")
    assert (row["secret"], row["former_secret"]) == (rotated["secret"], endpoint.secret)
    assert row["former_secret_until"] == row["updated_at"] + timedelta(days=1)
    assert datetime.fromisoformat(rotated["former_secret_until"]) == row["former_secret_until"]


async def test_how_long_can_be_said(endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """The overlap may be up to a week."""
    await endpoint.post("rotate_secret", {"overlap_seconds": 604_800})

    row = await delivery_tables.endpoint(endpoint)
    assert row["former_secret_until"] == row["updated_at"] + timedelta(days=7)


async def test_a_secret_that_leaked_ends_at_once(endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """An overlap of zero removes a leaked secret at once."""
    rotated = await endpoint.post("rotate_secret", {"overlap_seconds": 0})

    row = await delivery_tables.endpoint(endpoint)
    assert (row["former_secret"], row["former_secret_until"], rotated["former_secret_until"]) == (None, None, None)


async def test_what_is_over_is_not_shown(endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """An expired former secret is not shown."""
    await endpoint.post("rotate_secret")
    await delivery_tables.end_overlap(endpoint)

    assert (await endpoint.read("secret"))["former_secret_until"] is None


async def test_of_three_secrets_two_sign(endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """A second rotation ends the oldest of three secrets, and two sign."""
    first = await endpoint.post("rotate_secret")
    second = await endpoint.post("rotate_secret")

    row = await delivery_tables.endpoint(endpoint)
    assert (row["secret"], row["former_secret"]) == (second["secret"], first["secret"])


async def test_it_is_entered_without_secrets(endpoint: Endpoint, stored: Stored) -> None:
    """The ledger has a new version with the time and without secrets, so that couriers load the new secret."""
    rotated = await endpoint.post("rotate_secret")

    change = (await stored.changes())[1]
    assert change.previous == {"secret_rotated_at": None}
    assert change.object == await endpoint.read()
    assert change.object["secret_rotated_at"] == change.object["updated_at"]
    assert rotated["secret"] not in str(await stored.changes())


async def test_other_changes_keep_both(endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """Updating or disabling the endpoint keeps both secrets."""
    rotated = await endpoint.post("rotate_secret")
    await endpoint.patch(description="Other words.")
    await endpoint.post("disable")

    row = await delivery_tables.endpoint(endpoint)
    assert (row["secret"], row["former_secret"]) == (rotated["secret"], endpoint.secret)
    assert row["former_secret_until"] is not None


async def test_a_retry_gets_the_first_answer(alice: Person, endpoint: Endpoint) -> None:
    """A retry with its key returns the same secret, which is still the current one."""
    key = {"Idempotency-Key": str(uuid4())}
    first = await endpoint.post("rotate_secret", headers=key)
    second = await alice.post(f"{endpoint.url}/rotate_secret", headers=key)

    assert second.json() == first
    assert second.headers["Idempotency-Replayed"] == "true"
    assert (await endpoint.read("secret"))["secret"] == first["secret"]


async def test_if_match_decides(alice: Person, endpoint: Endpoint) -> None:
    """If-Match refuses the second of two rotations from the same version."""
    responses = [await alice.post(f"{endpoint.url}/rotate_secret", headers={"If-Match": endpoint.etag}) for _ in range(2)]

    assert [response.status_code for response in responses] == [200, 412]
    assert responses[0].headers["ETag"] == '"2"'


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"overlap_seconds": -1}, "invalid_range"),
        ({"overlap_seconds": 604_800.5}, "invalid_range"),
        ({"overlap_seconds": "1"}, "invalid_type"),
        ({"overlap_seconds": None}, "invalid_type"),
        ({"overlap_seconds": True}, "invalid_type"),
    ],
)
async def test_other_overlaps_are_refused(alice: Person, endpoint: Endpoint, body: Json, code: str) -> None:
    """An overlap must be from zero to a week."""
    assert faults(await alice.post(f"{endpoint.url}/rotate_secret", json=body)) == [("overlap_seconds", code)]
