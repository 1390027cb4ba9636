"""Helpers that call the operations on webhooks, and write the rows that a courier would."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx
import msgspec

from herdbook import ids
from herdbook.webhooks.events import event_id
from herdbook.webhooks.model import Attempt
from tests.cast import Json, Person

WEBHOOKS: Final = "/api/herdbook/webhooks"
_TYPES: Final = {"delivered": "bigint", "failed": "bigint", "failures_in_a_row": "integer"}
UNKNOWN: Final = f"{WEBHOOKS}/whep_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"


class Endpoint:
    """An endpoint that a test has created."""

    def __init__(self, owner: Person, response: httpx.Response) -> None:
        assert response.status_code == 201, response.text
        self.owner = owner
        self.json: Json = {name: value for name, value in response.json().items() if name != "secret"}
        self.secret: str = response.json()["secret"]
        self.id: str = self.json["id"]
        self.etag = response.headers["ETag"]
        self.url = f"{WEBHOOKS}/{self.id}"

    @property
    def uuid(self) -> UUID:
        """The endpoint's id in the form that the database stores."""
        uuid = ids.decoded(ids.WEBHOOK_ENDPOINT, self.id)
        assert uuid is not None, "the API gave it"
        return uuid

    async def post(self, what: str, json: Json = None, **options: Any) -> Json:
        """Make a request that succeeds."""
        response = await self.owner.post(f"{self.url}/{what}", json=json, **options)
        assert response.status_code == 200, response.text
        return response.json()

    async def patch(self, **members: Any) -> Json:
        """Change the endpoint."""
        response = await self.owner.patch(self.url, json=members)
        assert response.status_code == 200, response.text
        return response.json()

    async def read(self, what: str = "", **params: Any) -> Json:
        """Read the endpoint or one of its subresources."""
        response = await self.owner.get(f"{self.url}/{what}".rstrip("/"), params=params)
        assert response.status_code == 200, response.text
        return response.json()

    async def deliveries(self, **params: Any) -> list[tuple[str, str]]:
        """Return a page of the endpoint's deliveries: types without their common prefix, and states."""
        page = await self.read("deliveries", **params)
        return [(each["type"].removeprefix("v1."), each["state"]) for each in page["data"]]

    async def event_ids(self, **params: Any) -> list[str]:
        """Return the ids of the events on a page."""
        return [each["id"] for each in (await self.read("deliveries", **params))["data"]]


class DeliveryTables:
    """The tables that a courier keeps."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool: Any = pool

    async def reader(self, endpoint: Endpoint) -> asyncpg.Record:
        """Return the row with an endpoint's position."""
        record = await self.pool.fetchrow(
            "select * from webhook_reader where workspace_id = $1 and endpoint_id = $2",
            endpoint.owner.workspace_id,
            endpoint.uuid,
        )
        assert record is not None, "each endpoint has a reader"
        return record

    async def endpoint(self, endpoint: Endpoint) -> asyncpg.Record:
        """Return an endpoint's row."""
        record = await self.pool.fetchrow(
            "select * from webhook_endpoint where workspace_id = $1 and id = $2", endpoint.owner.workspace_id, endpoint.uuid
        )
        assert record is not None, "the row exists"
        return record

    async def end_overlap(self, endpoint: Endpoint) -> None:
        """End the period in which two secrets sign."""
        await self.pool.execute(
            "update webhook_endpoint set former_secret_until = now() where workspace_id = $1 and id = $2",
            endpoint.owner.workspace_id,
            endpoint.uuid,
        )

    async def read_to(self, endpoint: Endpoint, position: int | None = None) -> None:
        """Set an endpoint's position, by default to the end."""
        await self.pool.execute(
            """
            update webhook_reader set position = coalesce($3, (select seq from workspace where id = $1))
            where workspace_id = $1 and endpoint_id = $2
            """,
            endpoint.owner.workspace_id,
            endpoint.uuid,
            position,
        )

    async def set(self, endpoint: Endpoint, **columns: Any) -> None:
        """Set columns of an endpoint's reader."""
        for name, value in columns.items():
            await self.pool.execute(
                f"update webhook_reader set {name} = $3::text::{_TYPES.get(name, 'timestamptz')}"
                " where workspace_id = $1 and endpoint_id = $2",
                endpoint.owner.workspace_id,
                endpoint.uuid,
                str(value),
            )

    async def note(
        self, endpoint: Endpoint, seq: int, state: str, attempts: int = 1, event_type: str = "v1.contact.created"
    ) -> str:
        """Store a delivery of an entry in a state; return the event's id."""
        workspace_id = endpoint.owner.workspace_id
        entry = await self.pool.fetchrow("select at from change where workspace_id = $1 and seq = $2", workspace_id, seq)
        assert entry is not None, "the entry exists"
        made = [attempt(endpoint, status=500, answer="Oh no")] * attempts
        await self.pool.execute(
            """
            insert into webhook_delivery
                (workspace_id, endpoint_id, seq, event_type, created_at, state, attempt_count, next_attempt_at, attempts)
            values ($1, $2, $3, $9, $4, $5, $6, $7, $8)
            on conflict (workspace_id, endpoint_id, seq) do update set state = excluded.state
            """,
            workspace_id,
            endpoint.uuid,
            seq,
            entry["at"],
            state,
            attempts,
            datetime.now(UTC) + timedelta(hours=1) if state == "waiting" else None,
            msgspec.json.encode(made).decode(),
            event_type,
        )
        return event_id(workspace_id, seq, entry["at"])

    async def trim(self, endpoint: Endpoint, seq: int) -> None:
        """Trim the ledger up to an entry."""
        await self.pool.execute("delete from change where workspace_id = $1 and seq <= $2", endpoint.owner.workspace_id, seq)
        await self.pool.execute(
            "insert into change_trimmed (workspace_id, seq) values ($1, $2)", endpoint.owner.workspace_id, seq
        )

    async def note_many(self, endpoint: Endpoint, count: int) -> None:
        """Store a number of failed deliveries."""
        await self.pool.execute(
            """
            insert into webhook_delivery
                (workspace_id, endpoint_id, seq, event_type, created_at, state, attempt_count, attempts)
            select $1, $2, seq, 'v1.contact.created', now(), 'failed', 8, '[]' from generate_series(1, $3) as seq
            """,
            endpoint.owner.workspace_id,
            endpoint.uuid,
            count,
        )

    async def age_deletion(self, endpoint: Endpoint) -> None:
        """Move an endpoint's deletion back by an hour."""
        await self.pool.execute(
            "update webhook_endpoint set deleted_at = now() - interval '1 hour' where workspace_id = $1 and id = $2",
            endpoint.owner.workspace_id,
            endpoint.uuid,
        )

    async def has_reader(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint's position is still stored."""
        return await self.pool.fetchval(
            "select exists (select from webhook_reader where workspace_id = $1 and endpoint_id = $2)",
            endpoint.owner.workspace_id,
            endpoint.uuid,
        )

    async def is_due(self, endpoint: Endpoint) -> bool:
        """Whether a courier would send one of the endpoint's deliveries again now."""
        return await self.pool.fetchval(
            """
            select exists (
                select from webhook_delivery
                where workspace_id = $1 and endpoint_id = $2 and state = 'waiting' and next_attempt_at <= now()
            )
            """,
            endpoint.owner.workspace_id,
            endpoint.uuid,
        )

    async def noted(self, endpoint: Endpoint) -> list[asyncpg.Record]:
        """Return an endpoint's stored deliveries."""
        return await self.pool.fetch(
            "select * from webhook_delivery where workspace_id = $1 and endpoint_id = $2 order by seq",
            endpoint.owner.workspace_id,
            endpoint.uuid,
        )


def attempt(endpoint: Endpoint, **members: Any) -> Attempt:
    """Return an attempt at an endpoint."""
    return Attempt(at=datetime.now(UTC), url=endpoint.json["url"], headers={"webhook-id": "evt_"}, milliseconds=1.5, **members)


async def add_contacts(person: Person, *names: str) -> list[str]:
    """Create contacts; return their ids."""
    responses = [await person.post("/api/v2/contacts", json={"first_name": name}) for name in names]
    return [json.loads(response.content)["id"] for response in responses]
