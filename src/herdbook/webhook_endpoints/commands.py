"""Commands on webhook endpoints, applied to a unit of work."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from herdbook import ids
from herdbook.errors import FieldError, Invalid, Stale
from herdbook.ledger.object_types import active, created, current, deleted, updated
from herdbook.ledger.unit_of_work import Need, Result, UnitOfWork
from herdbook.shared_schemas import Deleted
from herdbook.webhook_endpoints import subscription
from herdbook.webhook_endpoints.model import (
    DisabledReason,
    EnabledWebhookEndpoint,
    EnableFrom,
    WebhookEndpoint,
    WebhookEndpointCreate,
    WebhookEndpointUpdate,
    WebhookEndpointWithSecret,
    WebhookHeader,
    header_lines,
    missed,
    patched,
    shown_secret,
)
from herdbook.webhook_endpoints.signing import new_secret
from herdbook.webhook_endpoints.store import READERS, WEBHOOK_ENDPOINT, WEBHOOK_ENDPOINTS, ReaderRow, WebhookEndpointRow


class CreateEndpoint(msgspec.Struct, frozen=True):
    """Create an endpoint; it is sent all later changes. `faults` are the errors of its URL.

    Refusals: Invalid; Stale if a version is required.
    """

    fields: WebhookEndpointCreate
    faults: tuple[FieldError, ...] = ()
    has_precondition: bool = False

    def needs(self) -> Iterator[Need]:
        yield from ()

    def apply(self, work: UnitOfWork) -> Result:
        _require_none(self.faults)
        if self.has_precondition:
            raise Stale(None)
        endpoint_id = ids.new_id()
        endpoint = WEBHOOK_ENDPOINT.new(endpoint_id, work.time, self.fields)
        result = created(work, WEBHOOK_ENDPOINT, endpoint_id, endpoint)
        row = _with_headers(work, endpoint_id, self.fields.headers)
        reader = ReaderRow(
            workspace_id=work.workspace_id,
            endpoint_id=endpoint_id,
            is_enabled=True,
            position=row.version,
            told=(_subscribed(row.version, endpoint),),
        )
        work.put(READERS, reader)
        shown: dict[str, Any] = msgspec.structs.asdict(endpoint) | {"headers": self.fields.headers or UNSET}
        return result._replace(answer=WebhookEndpointWithSecret(**shown, secret=row.secret))


class _OfOne(msgspec.Struct, frozen=True, kw_only=True):
    """A command on one existing endpoint."""

    endpoint_id: UUID
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(WEBHOOK_ENDPOINTS, self.endpoint_id)
        yield Need(READERS, self.endpoint_id)

    def current(self, work: UnitOfWork) -> WebhookEndpointRow:
        """Return the endpoint's row. Refusals: NotFound, Stale."""
        return current(work, WEBHOOK_ENDPOINTS, self.endpoint_id, self.if_version, WEBHOOK_ENDPOINT.noun)


class UpdateEndpoint(_OfOne, frozen=True, kw_only=True):
    """Change some fields of an endpoint. `faults` are the errors of the new URL.

    Refusals: Invalid, NotFound, Stale.
    """

    patch: WebhookEndpointUpdate
    faults: tuple[FieldError, ...] = ()

    def apply(self, work: UnitOfWork) -> Result:
        _require_none(self.faults)
        before = self.current(work)
        after = patched(before.object, self.patch)
        if self.patch.headers is UNSET or header_lines(self.patch.headers) == before.own_headers:
            return _changed(work, before, after)
        # The values are no part of the object, and their change is a change.
        result = _changed(work, before, msgspec.structs.replace(after, headers_set_at=work.time))
        _with_headers(work, self.endpoint_id, self.patch.headers)
        return result


class DeleteEndpoint(_OfOne, frozen=True, kw_only=True):
    """Delete an endpoint, and send it nothing more. Refusals: NotFound, Stale."""

    def apply(self, work: UnitOfWork) -> Result:
        before = self.current(work)
        result = deleted(work, WEBHOOK_ENDPOINT, before)
        _follow(work, before)
        return result


class EnableEndpoint(_OfOne, frozen=True, kw_only=True):
    """Enable an endpoint, which resumes where it stopped or with new events. Refusals: NotFound, Stale."""

    start: EnableFrom

    def apply(self, work: UnitOfWork) -> Result:
        before = self.current(work)
        after = msgspec.structs.replace(before.object, is_enabled=True, disabled_reason=UNSET)
        result = _changed(work, before, after)
        if before.object.is_enabled:
            return result
        reader = _reader_of(work, self.endpoint_id)
        if self.start is EnableFrom.NOW:
            told = subscription.passed_over(reader.told, reader.position, _subscribed(work.seq, after))
            work.put(READERS, msgspec.structs.replace(reader, position=work.seq, told=told, gives_up=True))
        answer = EnabledWebhookEndpoint(
            **msgspec.structs.asdict(_row_of(work, self.endpoint_id).object),
            missed=missed(reader.missed_from, reader.missed_to) or UNSET,
        )
        return result._replace(answer=answer)


class DisableEndpoint(msgspec.Struct, frozen=True):
    """Disable an endpoint for a reason. A disabled endpoint keeps its first reason.

    Refusals: Stale; NotFound, but only for requests: the courier may disable an endpoint that was deleted meanwhile.
    """

    endpoint_id: UUID
    reason: DisabledReason
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(WEBHOOK_ENDPOINTS, self.endpoint_id)
        yield Need(READERS, self.endpoint_id)

    def apply(self, work: UnitOfWork) -> Result:
        if self.reason is not DisabledReason.BY_REQUEST and active(work, WEBHOOK_ENDPOINTS, self.endpoint_id) is None:
            return Result(0, Deleted(ids.encoded(ids.WEBHOOK_ENDPOINT, self.endpoint_id), WEBHOOK_ENDPOINT.name))
        before = current(work, WEBHOOK_ENDPOINTS, self.endpoint_id, self.if_version, WEBHOOK_ENDPOINT.noun)
        after = before.object
        if after.is_enabled:
            after = msgspec.structs.replace(after, is_enabled=False, disabled_reason=self.reason)
        return _changed(work, before, after)


class RotateSecret(_OfOne, frozen=True, kw_only=True):
    """Replace the secret of an endpoint; for a while the former one also signs. Refusals: NotFound, Stale."""

    overlap_seconds: float

    def apply(self, work: UnitOfWork) -> Result:
        before = self.current(work)
        after = msgspec.structs.replace(before.object, secret_rotated_at=work.time)
        result = updated(work, WEBHOOK_ENDPOINT, before, after)
        overlaps = self.overlap_seconds > 0
        row = msgspec.structs.replace(
            _row_of(work, self.endpoint_id),
            secret=new_secret(),
            former_secret=before.secret if overlaps else None,
            former_secret_until=work.at + timedelta(seconds=self.overlap_seconds) if overlaps else None,
        )
        work.put(WEBHOOK_ENDPOINTS, row)
        return result._replace(answer=shown_secret(after.id, row.secret, row.former_secret_until))


def _require_none(faults: tuple[FieldError, ...]) -> None:
    if faults:
        raise Invalid(faults)


def _row_of(work: UnitOfWork, endpoint_id: UUID) -> WebhookEndpointRow:
    row = work.get(WEBHOOK_ENDPOINTS, endpoint_id)
    assert row is not None, "the command has just written it"
    return row


def _with_headers(
    work: UnitOfWork, endpoint_id: UUID, headers: Sequence[WebhookHeader] | UnsetType | None
) -> WebhookEndpointRow:
    row = msgspec.structs.replace(_row_of(work, endpoint_id), own_headers=header_lines(headers))
    work.put(WEBHOOK_ENDPOINTS, row)
    return row


def _reader_of(work: UnitOfWork, endpoint_id: UUID) -> ReaderRow:
    reader = work.get(READERS, endpoint_id)
    assert reader is not None, "each endpoint has one"
    return reader


def _changed(work: UnitOfWork, before: WebhookEndpointRow, after: WebhookEndpoint) -> Result:
    result = updated(work, WEBHOOK_ENDPOINT, before, after)
    _follow(work, before)
    return result


def _follow(work: UnitOfWork, before: WebhookEndpointRow) -> None:
    """Tell the courier whether the endpoint is enabled now, and store its subscription.

    A new URL, or enabling the endpoint again, resets its failure state.
    """
    reader, after = _reader_of(work, before.id), _row_of(work, before.id)
    told, is_enabled = _told(reader, before, after), after.deleted_at is None and after.object.is_enabled
    is_moved = before.object.url != after.object.url
    if is_moved or (is_enabled, told) != (reader.is_enabled, reader.told):
        begins_anew = reader.begins_anew or is_moved or (is_enabled and not reader.is_enabled)
        work.put(READERS, msgspec.structs.replace(reader, is_enabled=is_enabled, told=told, begins_anew=begins_anew))


def _told(
    reader: ReaderRow, before: WebhookEndpointRow, after: WebhookEndpointRow
) -> tuple[subscription.SubscriptionSpan, ...]:
    new = _subscribed(after.version, after.object)
    if new == _subscribed(after.version, before.object):
        return reader.told
    if not reader.is_enabled:
        return subscription.told_anew(reader.told, reader.position, new)
    return subscription.told_otherwise(reader.told, reader.position, new)


def _subscribed(seq: int, endpoint: WebhookEndpoint) -> subscription.SubscriptionSpan:
    """Return the subscription of an endpoint as that of the entries after one."""
    return subscription.SubscriptionSpan(seq, endpoint.event_types, endpoint.include_fields)
