"""POST /herdbook/webhooks/{webhook_endpoint_id}/enable and /disable, and endpoints that the courier disables."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from herdbook import ids
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.retention import trim_slice
from herdbook.ledger.unit_of_work import Origin
from herdbook.webhook_endpoints.commands import DisableEndpoint
from herdbook.webhook_endpoints.model import DisabledReason
from tests.cast import Json, Person, Stored, faults
from tests.webhooks.endpoints import UNKNOWN, DeliveryTables, Endpoint, add_contacts

ORIGIN = Origin(request_id=ids.new_id(), credential_id=ids.NIL)


@pytest.mark.parametrize("what", ["enable", "disable"])
async def test_only_its_administrator_may(
    client: httpx.AsyncClient, alice: Person, bob: Person, charlie: Person, endpoint: Endpoint, what: str
) -> None:
    """Enabling and disabling need a credential and a scope; foreign and unknown endpoints are not found."""
    url = f"{endpoint.url}/{what}"
    responses = [await client.post(url), await bob.post(url), await charlie.post(url), await alice.post(f"{UNKNOWN}/{what}")]

    assert [response.status_code for response in responses] == [401, 403, 404, 404]


async def test_it_is_disabled_by_request(endpoint: Endpoint, delivery_tables: DeliveryTables, stored: Stored) -> None:
    """A disabled endpoint gives its reason, the courier skips it, and the ledger has the change."""
    disabled = await endpoint.post("disable")

    reader = await delivery_tables.reader(endpoint)
    assert (disabled["is_enabled"], disabled["disabled_reason"]) == (False, "by_request")
    assert (reader["is_enabled"], reader["position"]) == (False, 1)
    assert (await stored.changes())[1].previous == {"is_enabled": True, "disabled_reason": None}


async def test_once_is_enough(endpoint: Endpoint, stored: Stored) -> None:
    """Disabling or enabling twice writes nothing the second time."""
    assert await endpoint.post("enable") == endpoint.json
    disabled = await endpoint.post("disable")

    assert await endpoint.post("disable") == disabled
    assert len(await stored.changes()) == 2


async def test_it_goes_on_where_it_stopped(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """By default an enabled endpoint continues where it stopped, so nothing is lost, and its old reason is cleared."""
    await endpoint.post("disable")
    await add_contacts(alice, "Ada")
    enabled = await endpoint.post("enable")

    reader = await delivery_tables.reader(endpoint)
    assert enabled == endpoint.json | {"updated_at": enabled["updated_at"]}
    assert (reader["is_enabled"], reader["position"]) == (True, 1)
    assert await endpoint.deliveries() == [("contact.created", "queued")]


@pytest.mark.parametrize("body", [{}, {"from": "where_it_stopped"}])
async def test_that_can_be_said(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables, body: Json) -> None:
    """`where_it_stopped` is the default start."""
    await endpoint.post("disable")
    await add_contacts(alice, "Ada")
    await endpoint.post("enable", body)

    assert (await delivery_tables.reader(endpoint))["position"] == 1


async def test_it_may_go_on_from_now(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """Starting from now skips the changes in between and the waiting deliveries; the next change is sent."""
    await add_contacts(alice, "Ada")
    await delivery_tables.note(endpoint, 2, "waiting")
    await delivery_tables.read_to(endpoint)
    await endpoint.post("disable")
    await add_contacts(alice, "Grace", "Edith")
    await endpoint.post("enable", {"from": "now"})
    await add_contacts(alice, "Kathleen")

    reader = await delivery_tables.reader(endpoint)
    assert (reader["is_enabled"], reader["position"]) == (True, 6)
    assert await endpoint.deliveries() == [("contact.created", "queued"), ("contact.created", "skipped")]
    assert (await endpoint.read("status"))["waiting"] == 0


async def test_what_is_enabled_goes_on_as_before(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """Enabling an enabled endpoint from now on skips nothing."""
    await add_contacts(alice, "Ada")
    await endpoint.post("enable", {"from": "now"})

    assert (await delivery_tables.reader(endpoint))["position"] == 1


async def test_the_position_never_falls_behind(
    alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables, ledger: Ledger
) -> None:
    """A position that the courier writes is not overwritten by the ledger's older row."""
    await add_contacts(alice, "Ada", "Grace")
    await delivery_tables.read_to(endpoint, 3)
    await delivery_tables.set(endpoint, delivered=2, failed=1, failing_since="2026-03-01 12:00:00+00", failures_in_a_row=5)
    await ledger.write(alice.workspace_id, DisableEndpoint(endpoint.uuid, DisabledReason.FAILING), ORIGIN)

    reader = await delivery_tables.reader(endpoint)
    assert (reader["position"], reader["delivered"], reader["failed"], reader["failures_in_a_row"]) == (3, 2, 1, 5)
    assert reader["failing_since"] is not None


async def test_it_begins_anew(endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """An enabled endpoint starts without failures and without a pause."""
    await delivery_tables.set(
        endpoint,
        failing_since="2026-03-01 12:00:00+00",
        failures_in_a_row=50,
        paused_until="2030-03-01 12:00:00+00",
        delivered=3,
    )
    await endpoint.post("disable")
    await endpoint.post("enable")

    reader = await delivery_tables.reader(endpoint)
    assert (reader["failing_since"], reader["failures_in_a_row"], reader["paused_until"]) == (None, 0, None)
    assert reader["delivered"] == 3


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"from": "yesterday"}, [("from", "invalid_choice")]),
        ({"from": None}, [("from", "invalid_choice")]),
        ({"start": "now"}, [("start", "unknown_field")]),
    ],
)
async def test_other_beginnings_are_refused(
    alice: Person, endpoint: Endpoint, body: Json, expected: list[tuple[str, str]]
) -> None:
    """Any other start is refused."""
    assert faults(await alice.post(f"{endpoint.url}/enable", json=body)) == expected


async def test_if_match_decides(alice: Person, endpoint: Endpoint) -> None:
    """A stale If-Match refuses both enabling and disabling."""
    await endpoint.patch(description="Other words.")
    responses = [
        await alice.post(f"{endpoint.url}/{what}", headers={"If-Match": endpoint.etag}) for what in ("disable", "enable")
    ]

    assert [response.status_code for response in responses] == [412, 412]


async def test_a_retry_gets_the_first_answer(alice: Person, endpoint: Endpoint) -> None:
    """A retry with its key gets the first answer, even if the endpoint was enabled meanwhile."""
    key = {"Idempotency-Key": str(uuid4())}
    first = await endpoint.post("disable", headers=key)
    await endpoint.post("enable")
    second = await alice.post(f"{endpoint.url}/disable", headers=key)

    assert second.json() == first
    assert (await endpoint.read())["is_enabled"]


@pytest.mark.parametrize("reason", [DisabledReason.GONE, DisabledReason.FAILING])
async def test_the_courier_disables(alice: Person, endpoint: Endpoint, ledger: Ledger, reason: DisabledReason) -> None:
    """An endpoint that the courier disabled, because it was gone or failed too long, says so."""
    await ledger.write(alice.workspace_id, DisableEndpoint(endpoint.uuid, reason), ORIGIN)

    assert (await endpoint.read())["disabled_reason"] == reason.value


async def test_the_first_reason_stays(alice: Person, endpoint: Endpoint, ledger: Ledger, stored: Stored) -> None:
    """The courier leaves disabled and deleted endpoints as they are, without a refusal."""
    await endpoint.post("disable")
    await ledger.write(alice.workspace_id, DisableEndpoint(endpoint.uuid, DisabledReason.GONE), ORIGIN)
    reason = (await endpoint.read())["disabled_reason"]
    await alice.delete(endpoint.url)
    await ledger.write(alice.workspace_id, DisableEndpoint(endpoint.uuid, DisabledReason.GONE), ORIGIN)
    await ledger.write(alice.workspace_id, DisableEndpoint(UUID(int=1), DisabledReason.GONE), ORIGIN)

    assert reason == "by_request"
    assert len(await stored.changes()) == 3


async def test_what_went_meanwhile_is_told(
    alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """An endpoint that was disabled for longer than changes are kept reports the gap, and its delivery is expired."""
    await add_contacts(alice, "Ada", "Grace", "Edith")
    event = await delivery_tables.note(endpoint, 2, "waiting")
    await delivery_tables.read_to(endpoint, 2)
    await endpoint.post("disable")
    before = await endpoint.read("status")
    age, now = "update change set at = $2 where workspace_id = $1 and seq < $3", datetime.now(UTC)
    await delivery_tables.pool.execute(age, alice.workspace_id, now - timedelta(days=4), 1000)
    statements: Any = pool
    kept = await trim_slice(statements, alice.workspace_id, 3)
    await delivery_tables.pool.execute(age, alice.workspace_id, now - timedelta(days=44), 4)
    await trim_slice(statements, alice.workspace_id, 3)
    disabled = await endpoint.read("status")
    enabled = await endpoint.post("enable")

    assert (kept, "missed" in before) == (1, False)
    assert disabled["missed"] == enabled["missed"] == (await endpoint.read("status"))["missed"] == {"from": 2, "to": 3}
    delivery = await endpoint.read(f"deliveries/{event}")
    assert (delivery["state"], delivery["attempts"]) == ("expired", []), "an erasure would not find the answers"
    assert await endpoint.event_ids(state="expired") == [event]
    await endpoint.post("disable")
    assert "missed" not in await endpoint.post("enable")
