"""Subscription spans: the event types that an endpoint was subscribed to, and their form, per range of ledger entries.

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
    """The subscription after a position, up to the next span. `event_types` None means all.

    With `include_fields`, events show the members of herdbook's own.
    """

    after: int
    event_types: tuple[EventType, ...] | None
    include_fields: bool = False


def told_otherwise(spans: Sequence[SubscriptionSpan], position: int, new: SubscriptionSpan) -> tuple[SubscriptionSpan, ...]:
    """Return the spans after an enabled endpoint changes its subscription to a new one.

    Entries between its position and the new span may already be under way, so only what is in both subscriptions is sent there.
    """
    begun = max((index for index, each in enumerate(spans) if each.after <= position), default=0)
    between = (
        SubscriptionSpan(
            max(each.after, position),
            _both(each.event_types, new.event_types),
            each.include_fields and new.include_fields,
        )
        for each in spans[begun:]
    )
    return _joined(spans, position, *between, new)


def told_anew(spans: Sequence[SubscriptionSpan], position: int, new: SubscriptionSpan) -> tuple[SubscriptionSpan, ...]:
    """Return the spans after a disabled endpoint changes its subscription. The new one applies after its position."""
    return _joined(spans, position, msgspec.structs.replace(new, after=position))


def passed_over(spans: Sequence[SubscriptionSpan], position: int, new: SubscriptionSpan) -> tuple[SubscriptionSpan, ...]:
    """Return the spans of an endpoint that resumes with a new one and skips everything before it."""
    return _joined(spans, position, SubscriptionSpan(position, ()), new)


def span_of(spans: Sequence[SubscriptionSpan], seq: int) -> SubscriptionSpan | None:
    """Return the span that an entry lies in, or None if the entry is older than the endpoint."""
    return next((each for each in reversed(spans) if each.after < seq), None)


def _joined(spans: Sequence[SubscriptionSpan], position: int, *behind: SubscriptionSpan) -> tuple[SubscriptionSpan, ...]:
    joined = (*(each for each in spans if each.after < position), *behind)
    if len(joined) > _MAX:
        joined = tuple(each for index, each in enumerate(joined) if index == 0 or not _is_same(each, joined[index - 1]))
    return joined[-_MAX:]


def _is_same(one: SubscriptionSpan, other: SubscriptionSpan) -> bool:
    return msgspec.structs.replace(one, after=other.after) == other


def _both(one: tuple[EventType, ...] | None, other: tuple[EventType, ...] | None) -> tuple[EventType, ...] | None:
    if one is None or other is None:
        return other if one is None else one
    return tuple(each for each in one if each in other)
