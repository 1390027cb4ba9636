"""Subscription spans: the event types that an endpoint was subscribed to, per range of ledger entries.

A delivery that succeeds at once leaves no row. It is derived from the ledger: an entry up to the endpoint's position whose
event type the endpoint was subscribed to. The subscription may change, so each span stores where it begins.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from herdbook.webhook_endpoints.model import EventType

# After more changes than this, the oldest spans are forgotten. Spans of unread entries are always kept: there, each span
# allows no more than the next one, so no more of them differ than there are event types.
_MAX: Final = 100


class SubscriptionSpan(msgspec.Struct, frozen=True, array_like=True):
    """The subscription after a position, up to the next span. `event_types` None means all."""

    after: int
    event_types: tuple[EventType, ...] | None


def told_otherwise(
    spans: Sequence[SubscriptionSpan], position: int, seq: int, event_types: tuple[EventType, ...] | None
) -> tuple[SubscriptionSpan, ...]:
    """Return the spans after an enabled endpoint changes its subscription at an entry.

    Entries between its position and that entry may already be under way, so only types in both subscriptions are sent there.
    """
    begun = max((index for index, each in enumerate(spans) if each.after <= position), default=0)
    between = (SubscriptionSpan(max(each.after, position), _both(each.event_types, event_types)) for each in spans[begun:])
    return _joined(spans, position, *between, SubscriptionSpan(seq, event_types))


def told_anew(
    spans: Sequence[SubscriptionSpan], position: int, event_types: tuple[EventType, ...] | None
) -> tuple[SubscriptionSpan, ...]:
    """Return the spans after a disabled endpoint changes its subscription. The new one applies after its position."""
    return _joined(spans, position, SubscriptionSpan(position, event_types))


def passed_over(
    spans: Sequence[SubscriptionSpan], position: int, seq: int, event_types: tuple[EventType, ...] | None
) -> tuple[SubscriptionSpan, ...]:
    """Return the spans of an endpoint that resumes at an entry and skips everything before it."""
    return _joined(spans, position, SubscriptionSpan(position, ()), SubscriptionSpan(seq, event_types))


def span_of(spans: Sequence[SubscriptionSpan], seq: int) -> SubscriptionSpan | None:
    """Return the span that an entry lies in, or None if the entry is older than the endpoint."""
    return next((each for each in reversed(spans) if each.after < seq), None)


def _joined(spans: Sequence[SubscriptionSpan], position: int, *behind: SubscriptionSpan) -> tuple[SubscriptionSpan, ...]:
    joined = (*(each for each in spans if each.after < position), *behind)
    if len(joined) > _MAX:
        joined = tuple(
            each for index, each in enumerate(joined) if index == 0 or each.event_types != joined[index - 1].event_types
        )
    return joined[-_MAX:]


def _both(one: tuple[EventType, ...] | None, other: tuple[EventType, ...] | None) -> tuple[EventType, ...] | None:
    if one is None or other is None:
        return other if one is None else one
    return tuple(each for each in one if each in other)
