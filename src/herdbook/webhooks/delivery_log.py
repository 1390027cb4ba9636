"""Deliveries to one endpoint, derived from the ledger and from stored rows.

Most deliveries have no row because they succeeded at once. A page is built by walking back through the ledger, but only
over a limited number of entries. If more entries remain, the next page continues there, even if this page is empty.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.db.pool import Pool
from herdbook.ledger.object_types import ObjectTypes
from herdbook.shared_schemas import shown_time
from herdbook.webhook_endpoints.model import EndpointKey, EventType
from herdbook.webhook_endpoints.store import EndpointState
from herdbook.webhook_endpoints.subscription import SubscriptionSpan, span_of
from herdbook.webhooks import store
from herdbook.webhooks.events import EventEntry, event_id, event_type, kind_actions, sends_event, seq_of, to_event
from herdbook.webhooks.model import MAX_STORED_BYTES, Attempt, Delivery, DeliveryObject, DeliveryState, FullDelivery
from herdbook.webhooks.store import DeliveryFilter, DeliveryRow, ToldEntries

# The number of entries to walk over for one page.
_WALKED: Final = 20_000
# Deliveries in these states always have a row.
_NOTED: Final = (DeliveryState.WAITING, DeliveryState.FAILED, DeliveryState.SKIPPED, DeliveryState.EXPIRED)
_attempts: Final = msgspec.json.Decoder(tuple[Attempt, ...])


class DeliveryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A query for deliveries; `below` is the entry that the last page ended at."""

    limit: int
    state: DeliveryState | None = None
    types: tuple[EventType, ...] | None = None
    after: datetime | None = None
    before: datetime | None = None
    below: int | None = None


class DeliveryPage(NamedTuple):
    """Deliveries, the latest first, and the entry that the next page begins below; None on the last page."""

    rows: Sequence[DeliveryRow]
    below: int | None


async def page(
    pool: Pool, object_types: ObjectTypes, place: EndpointKey, reading: EndpointState, asked: DeliveryQuery
) -> DeliveryPage:
    """Return one page of an endpoint's deliveries."""
    types: Sequence[str] = tuple(EventType) if asked.types is None else asked.types
    wanted = DeliveryFilter(
        behind=await _behind(pool, place.workspace_id, asked),
        before=await _before(pool, place.workspace_id, reading, asked),
        event_types=types,
        kind_actions=kind_actions(object_types, types),
        state=asked.state and asked.state.value,
    )
    if asked.state in _NOTED:
        rows = await store.deliveries_noted(pool, place, wanted, asked.limit + 1)
        return _cut(rows, asked.limit, None)
    floor = max(wanted.behind, wanted.before - 1 - _WALKED)
    floor = await store.behind_bytes(pool, place.workspace_id, floor, wanted.before, MAX_STORED_BYTES)
    spans = [(span.after, _told(object_types, span)) for span in reading.told]
    rows = await _walked(pool, place, spans, reading.position, wanted._replace(behind=floor), asked.limit + 1)
    return _cut(rows, asked.limit, floor + 1 if floor > max(wanted.behind, _begin(reading)) else None)


async def find(
    pool: Pool, object_types: ObjectTypes, place: EndpointKey, reading: EndpointState, shown_id: str
) -> DeliveryRow | None:
    """Return the delivery of an event, or None if the endpoint is not subscribed to it."""
    seq = seq_of(shown_id)
    if seq is None:
        return None
    span = span_of(reading.told, seq)
    with_own = span is not None and span.include_fields
    found = await store.find_delivery(pool, place, seq, sends_event(object_types, with_own=with_own))
    if found is None or event_id(place.workspace_id, found.seq, found.at) != shown_id:
        return None
    found = found._replace(with_own=with_own)
    if found.state is not None:
        return found
    is_told = span is not None and found.kind_action in kind_actions(object_types, span.event_types)
    return found._replace(state="queued" if found.seq > reading.position else "delivered") if is_told else None


def shown(object_types: ObjectTypes, place: EndpointKey, row: DeliveryRow) -> Delivery:
    """Return a delivery as the API shows it."""
    object_id = None
    if row.object_id is not None and row.kind_action is not None:
        object_id = ids.encoded(object_types.of(row.kind_action[0]).prefix, row.object_id)
    return Delivery(
        object=DeliveryObject.WEBHOOK_DELIVERY,
        id=event_id(place.workspace_id, row.seq, row.at),
        type=EventType(type_of(object_types, row)),
        created_at=shown_time(row.at),
        object_id=object_id,
        state=DeliveryState(row.state),
        # A delivery without a row took one attempt.
        attempt_count=int(row.state == "delivered") if row.attempt_count is None else row.attempt_count,
        next_attempt_at=None if row.next_attempt_at is None else shown_time(row.next_attempt_at),
        attempts=() if row.attempts is None else _attempts.decode(row.attempts),
    )


def shown_in_list(object_types: ObjectTypes, place: EndpointKey, row: DeliveryRow) -> Delivery:
    """Return a delivery as lists show it: without response bodies, which may be long."""
    delivery = shown(object_types, place, row)
    attempts = tuple(msgspec.structs.replace(each, answer="") for each in delivery.attempts)
    return msgspec.structs.replace(delivery, attempts=attempts)


def shown_whole(object_types: ObjectTypes, place: EndpointKey, row: DeliveryRow) -> FullDelivery:
    """Return a delivery with its request body."""
    body = request_body(object_types, place, row)
    delivery = msgspec.structs.asdict(shown(object_types, place, row))
    return FullDelivery(**delivery, request_body=None if body is None else body.decode())


def request_body(object_types: ObjectTypes, place: EndpointKey, row: DeliveryRow) -> bytes | None:
    """Return the request body of a delivery, or None if its entry was trimmed or erased."""
    if row.kind_action is None or row.object is None:
        return None
    entry = EventEntry(row.seq, row.at, row.kind_action, row.object, row.previous, row.merged_into)
    event = to_event(object_types, place.workspace_id, entry, with_own=row.with_own)
    return None if event is None else event.body


def type_of(object_types: ObjectTypes, row: DeliveryRow) -> str:
    """Return the type of a delivery's event. Only its stored row tells it once the entry is trimmed."""
    found = row.event_type if row.kind_action is None else event_type(object_types, row.kind_action)
    assert found is not None, "only entries with an event have a delivery"
    return found


def _told(object_types: ObjectTypes, span: SubscriptionSpan) -> ToldEntries:
    return ToldEntries(kind_actions(object_types, span.event_types), sends_event(object_types, with_own=span.include_fields))


async def _behind(pool: Pool, workspace_id: UUID, asked: DeliveryQuery) -> int:
    if asked.after is None:
        return 0
    return await store.last_before(pool, workspace_id, asked.after, included=True)


async def _before(pool: Pool, workspace_id: UUID, reading: EndpointState, asked: DeliveryQuery) -> int:
    below = reading.head + 1 if asked.below is None else asked.below
    if asked.before is None:
        return below
    return min(below, await store.last_before(pool, workspace_id, asked.before, included=False) + 1)


def _begin(reading: EndpointState) -> int:
    return reading.told[0].after if reading.told else reading.head


async def _walked(  # one statement with all its limits
    pool: Pool, place: EndpointKey, spans: Sequence[tuple[int, ToldEntries]], position: int, wanted: DeliveryFilter, limit: int
) -> list[DeliveryRow]:
    """Return deliveries from one span after another, the latest first."""
    rows: list[DeliveryRow] = []
    end = wanted.before
    for after, told in reversed(spans):
        part = wanted._replace(behind=max(wanted.behind, after), before=end)
        if len(rows) < limit and part.behind + 1 < part.before:
            rows += await store.deliveries(pool, place, part, told, position, limit - len(rows))
        end = min(end, after + 1)
    return rows


def _cut(rows: Sequence[DeliveryRow], limit: int, below: int | None) -> DeliveryPage:
    return DeliveryPage(rows[:limit], rows[limit - 1].seq) if len(rows) > limit else DeliveryPage(rows, below)
