"""The type of webhook endpoints, with its tables, and every SQL statement about them."""

import asyncio
from datetime import datetime
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

import asyncpg
import msgspec

from herdbook import ids, sources
from herdbook.auth.scopes import ADMIN
from herdbook.db.paging import ListQuery, ListRow, PageQuery
from herdbook.db.pool import CONNECTION_ERRORS, PagePool, Pool
from herdbook.ledger.object_types import ObjectRow, ObjectType, object_table
from herdbook.ledger.unit_of_work import Table
from herdbook.webhook_endpoints.model import (
    LEASE_SECONDS,
    EndpointKey,
    Missed,
    WebhookEndpoint,
    WebhookEndpointObject,
    missed,
    patched,
)
from herdbook.webhook_endpoints.signing import new_secret, signing_secrets
from herdbook.webhook_endpoints.subscription import SubscriptionSpan

_SHORTEST_LOOK_SECONDS: Final = 0.005
_MAX_LOOK_SECONDS: Final = 0.1


class WebhookEndpointRow(ObjectRow, frozen=True, kw_only=True):
    """A webhook endpoint's row."""

    secret: str
    former_secret: str | None
    former_secret_until: datetime | None
    own_headers: str | None
    object: WebhookEndpoint

    @classmethod
    def columns(cls, before: Self | None, after: WebhookEndpoint) -> dict[str, Any]:  # noqa: ARG003  # secrets are no part of it
        return {
            "secret": new_secret() if before is None else before.secret,
            "former_secret": None if before is None else before.former_secret,
            "former_secret_until": None if before is None else before.former_secret_until,
            "own_headers": None if before is None else before.own_headers,
        }


class ReaderRow(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint's position in the ledger: the columns that commands write. The courier writes the others.

    `missed_from` and `missed_to` are the entries that were trimmed before they could be sent because the endpoint was disabled.
    `gives_up` drops the deliveries that wait for another attempt. `begins_anew` resets the failure state and retries waiting
    deliveries at once.
    """

    workspace_id: UUID
    endpoint_id: UUID
    is_enabled: bool
    position: int
    told: tuple[SubscriptionSpan, ...]
    missed_from: int | None = None
    missed_to: int | None = None
    gives_up: bool = False
    begins_anew: bool = False


WEBHOOK_ENDPOINTS: Final = object_table(
    WebhookEndpointRow,
    "webhook_endpoint",
    {"secret": "text", "former_secret": "text", "former_secret_until": "timestamptz", "own_headers": "text"},
)
WEBHOOK_ENDPOINT: Final = ObjectType(
    kind="w",
    name="webhook_endpoint",
    plural="webhook_endpoints",
    prefix=ids.WEBHOOK_ENDPOINT,
    table=WEBHOOK_ENDPOINTS,
    entry=WebhookEndpoint,
    example=WebhookEndpoint.example,
    read_scopes=(ADMIN,),
    blank=lambda endpoint_id, time: WebhookEndpoint(
        object=WebhookEndpointObject.WEBHOOK_ENDPOINT,
        id=endpoint_id,
        url="",
        is_enabled=True,
        created_at=time,
        updated_at=time,
    ),
    patched=patched,
)
# The courier also writes these rows and moves the position all the time, so loaded values are never written back and a
# position never decreases.
READERS: Final = Table(
    row=ReaderRow,
    key=lambda reader: reader.endpoint_id,
    load="""
        select t.workspace_id, t.endpoint_id, t.is_enabled, t.position, t.told, t.missed_from, t.missed_to
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
        join webhook_reader t on t.workspace_id = asked.workspace_id and t.endpoint_id = asked.key
    """,
    save="""
        webhook_reader_asked as (
            select r.*, now() as now from json_to_recordset($rows) as r(
                workspace_id uuid, endpoint_id uuid, is_enabled boolean, position bigint, told json, gives_up boolean,
                begins_anew boolean
            )
            join held on held.id = r.workspace_id
        ), webhook_reader_created as (
            insert into webhook_reader (workspace_id, endpoint_id, is_enabled, position, told)
            select workspace_id, endpoint_id, is_enabled, position, told from webhook_reader_asked
            on conflict do nothing
        ), webhook_reader_saved as (
            update webhook_reader t
            set is_enabled = r.is_enabled, position = greatest(t.position, r.position), told = r.told,
                failing_since = case when not r.begins_anew then t.failing_since end,
                failed_at = case when not r.begins_anew then t.failed_at end,
                failing_seconds = case when r.begins_anew then 0 else t.failing_seconds end,
                failures_in_a_row = case when r.begins_anew then 0 else t.failures_in_a_row end,
                paused_until = case when not r.begins_anew then t.paused_until end,
                missed_from = case when r.is_enabled or not t.is_enabled then t.missed_from end,
                missed_to = case when r.is_enabled or not t.is_enabled then t.missed_to end
            from webhook_reader_asked r
            where t.workspace_id = r.workspace_id and t.endpoint_id = r.endpoint_id
        ), webhook_delivery_begun_anew as (
            update webhook_delivery d
            set state = case when r.gives_up then 'skipped' else d.state end,
                next_attempt_at = case when not r.gives_up then least(d.next_attempt_at, r.now) end
            from webhook_reader_asked r
            where d.workspace_id = r.workspace_id and d.endpoint_id = r.endpoint_id and d.state = 'waiting'
                and (r.gives_up or r.begins_anew)
        )
    """,
)


class EndpointState(NamedTuple):
    """An active endpoint with its secrets and its position."""

    endpoint: WebhookEndpoint
    told: tuple[SubscriptionSpan, ...]
    secret: str
    former_secret: str | None
    former_secret_until: datetime | None
    own_headers: str | None
    position: int
    failing_since: datetime | None
    delivered: int
    failed: int
    missed_from: int | None
    missed_to: int | None
    head: int

    @property
    def missed(self) -> Missed | None:
        """The entries that it missed because it was disabled for too long."""
        return missed(self.missed_from, self.missed_to)

    @property
    def former_signs_until(self) -> datetime | None:
        """The time until which the former secret also signs, or None if it no longer does."""
        until = self.former_secret_until
        return until if until is not None and until > sources.now() else None

    @property
    def signing_secrets(self) -> list[str]:
        """The secrets to sign with."""
        return signing_secrets(self.secret, self.former_secret, self.former_secret_until, sources.now())


async def page(pool: PagePool, workspace_id: UUID, query: PageQuery) -> list[ListRow]:
    """Return the webhook endpoints of a page, plus one more if there is a next page."""
    return await ListQuery(workspace_id, query).fetch(pool, "webhook_endpoint")


async def read(pool: Pool, place: EndpointKey) -> EndpointState | None:
    """Return an active endpoint with its position."""
    record = await pool.fetchrow(
        """
        select e.object, r.told, e.secret, e.former_secret, e.former_secret_until, e.own_headers,
            r.position, r.failing_since, r.delivered, r.failed, r.missed_from, r.missed_to, w.seq
        from webhook_endpoint e
        join webhook_reader r on r.workspace_id = $1 and r.endpoint_id = e.id
        join workspace w on w.id = $1
        where e.workspace_id = $1 and e.id = $2 and coalesce(e.deleted_at, 'infinity') = 'infinity'
        """,
        *place,
    )
    if record is None:
        return None
    endpoint = msgspec.json.decode(record[0], type=WebhookEndpoint)
    return EndpointState(endpoint, msgspec.json.decode(record[1], type=tuple[SubscriptionSpan, ...]), *record[2:])


async def until_in_force(pool: Pool, place: EndpointKey, version: int) -> None:
    """Wait until nobody sends as an older version of the endpoint than the committed one.

    A courier sends as one version until it reports otherwise or its lease ends. After the commit, no courier takes or renews a
    lease for the older version. This takes no longer than a lease, even if the courier is dead or the database is away.
    """
    pause = _SHORTEST_LOOK_SECONDS
    try:
        async with asyncio.timeout(LEASE_SECONDS):
            while await _is_sent_as_before(pool, place, version):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MAX_LOOK_SECONDS)
    except TimeoutError:
        return
    except (*CONNECTION_ERRORS, asyncpg.PostgresError):
        await asyncio.sleep(LEASE_SECONDS)


async def _is_sent_as_before(pool: Pool, place: EndpointKey, version: int) -> bool:
    is_sent: bool = await pool.fetchval(
        """
        select exists (
            select from webhook_reader
            where workspace_id = $1 and endpoint_id = $2 and sends_as < $3 and leased_until > now()
        )
        """,
        *place,
        version,
    )
    return is_sent
