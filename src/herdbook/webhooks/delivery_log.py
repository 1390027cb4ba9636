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
from herdbook.shared_schemas import shown_time
from herdbook.webhooks import store
from herdbook.webhooks.events import event_id, event_type, marks, seq_of, to_event
from herdbook.webhooks.model import (
    MAX_STORED_BYTES,
    Attempt,
    Delivery,
    DeliveryObject,
    DeliveryState,
    EndpointKey,
    EventType,
    FullDelivery,
)
from herdbook.webhooks.store import DeliveryFilter, DeliveryRow, EndpointState
from herdbook.webhooks.subscription import span_of

# The number of entries to walk over for one page.
_WALKED: Final = 20_000
# Deliveries in these states always have a row.
_NOTED: Final = (DeliveryState.WAITING, DeliveryState.FAILED, DeliveryState.SKIPPED, DeliveryState.EXPIRED)
# Keyed by the second word of an event's type.
_PREFIXES: Final = {"contact": ids.CONTACT, "company": ids.COMPANY, "engagement": ids.ENGAGEMENT, "tag": ids.TAG}
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


async def page(pool: Pool, place: EndpointKey, reading: EndpointState, asked: DeliveryQuery) -> DeliveryPage:
    """Return one page of an endpoint's deliveries."""
    types = tuple(EventType) if asked.types is None else asked.types
    wanted = DeliveryFilter(
        behind=await _behind(pool, place.workspace_id, asked),
        before=await _before(pool, place.workspace_id, reading, asked),
        event_types=[each.value for each in types],
        marks=marks(types),
        state=asked.state and asked.state.value,
    )
    if asked.state in _NOTED:
        rows = await store.deliveries_noted(pool, place, wanted, asked.limit + 1)
        return _cut(rows, asked.limit, None)
    floor = max(wanted.behind, wanted.before - 1 - _WALKED)
    floor = await store.behind_bytes(pool, place.workspace_id, floor, wanted.before, MAX_STORED_BYTES)
    rows = await _walked(pool, place, reading, wanted._replace(behind=floor), asked.limit + 1)
    return _cut(rows, asked.limit, floor + 1 if floor > max(wanted.behind, _begin(reading)) else None)


async def find(pool: Pool, place: EndpointKey, reading: EndpointState, shown_id: str) -> DeliveryRow | None:
    """Return the delivery of an event, or None if the endpoint is not subscribed to it."""
    seq = seq_of(shown_id)
    found = None if seq is None else await store.find_delivery(pool, place, seq)
    if found is None or event_id(place.workspace_id, found.seq, found.at) != shown_id:
        return None
    if found.state is not None:
        return found
    span = span_of(reading.told, found.seq)
    is_told = span is not None and found.mark in marks(span.event_types) and _body(place, found) is not None
    return found._replace(state="queued" if found.seq > reading.position else "delivered") if is_told else None


def shown(place: EndpointKey, row: DeliveryRow) -> Delivery:
    """Return a delivery as the API shows it."""
    type_ = type_of(row)
    return Delivery(
        object=DeliveryObject.WEBHOOK_DELIVERY,
        id=event_id(place.workspace_id, row.seq, row.at),
        type=type_,
        created_at=shown_time(row.at),
        object_id=None if row.object_id is None else ids.encoded(_PREFIXES[type_.value.split(".")[1]], row.object_id),
        state=DeliveryState(row.state),
        # A delivery without a row took one attempt.
        attempt_count=int(row.state == "delivered") if row.attempt_count is None else row.attempt_count,
        next_attempt_at=None if row.next_attempt_at is None else shown_time(row.next_attempt_at),
        attempts=() if row.attempts is None else _attempts.decode(row.attempts),
    )


def shown_in_list(place: EndpointKey, row: DeliveryRow) -> Delivery:
    """Return a delivery as lists show it: without response bodies, which may be long."""
    delivery = shown(place, row)
    attempts = tuple(msgspec.structs.replace(each, answer="") for each in delivery.attempts)
    return msgspec.structs.replace(delivery, attempts=attempts)


def shown_whole(place: EndpointKey, row: DeliveryRow) -> FullDelivery:
    """Return a delivery with its request body."""
    body = _body(place, row)
    delivery = msgspec.structs.asdict(shown(place, row))
    return FullDelivery(**delivery, request_body=None if body is None else body.decode())


def type_of(row: DeliveryRow) -> EventType:
    """Return the type of a delivery's event."""
    type_ = event_type(row.mark or "")
    return EventType(row.event_type) if type_ is None else type_


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


async def _walked(
    pool: Pool, place: EndpointKey, reading: EndpointState, wanted: DeliveryFilter, limit: int
) -> list[DeliveryRow]:
    """Return deliveries from one span after another, the latest first."""
    rows: list[DeliveryRow] = []
    end = wanted.before
    for span in reversed(reading.told):
        part = wanted._replace(behind=max(wanted.behind, span.after), before=end)
        if len(rows) < limit and part.behind + 1 < part.before:
            told_here = marks(span.event_types)
            rows += await store.deliveries(pool, place, part, told_here, reading.position, limit - len(rows))
        end = min(end, span.after + 1)
    return rows


def _cut(rows: Sequence[DeliveryRow], limit: int, below: int | None) -> DeliveryPage:
    return DeliveryPage(rows[:limit], rows[limit - 1].seq) if len(rows) > limit else DeliveryPage(rows, below)


def _body(place: EndpointKey, row: DeliveryRow) -> bytes | None:
    if row.mark is None or row.object is None:
        return None
    event = to_event(place.workspace_id, row.seq, row.at, row.mark, row.object, row.previous)
    return None if event is None else event.body
