"""What an endpoint was told of: from which position on, up to which.

A delivery that succeeds at once leaves nothing behind. That there was one is read from the ledger: an entry up to the
endpoint's position, of a kind that it is told of. What it is told of may change, so it is kept from where on that was so.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from herdbook.webhooks.model import EventType

# Where it changed more often than that, what lies before is not known any more. What was not read yet always is: there, each
# stretch tells no more than the next one, so no more of them differ than there are types of events.
_MOST: Final = 100


class Stretch(msgspec.Struct, frozen=True, array_like=True):
    """Of the entries behind a position, up to that of the next stretch, these are told; None: all that there are."""

    after: int
    event_types: tuple[EventType, ...] | None


def told_otherwise(
    stretches: Sequence[Stretch], position: int, seq: int, event_types: tuple[EventType, ...] | None
) -> tuple[Stretch, ...]:
    """Return the stretches of an endpoint that is told of other events from an entry on, and had read up to a position.

    What lies between may be on its way already, or may not: only what is told either way counts as told.
    """
    begun = max((index for index, each in enumerate(stretches) if each.after <= position), default=0)
    between = (Stretch(max(each.after, position), _both(each.event_types, event_types)) for each in stretches[begun:])
    return _joined(stretches, position, *between, Stretch(seq, event_types))


def told_anew(stretches: Sequence[Stretch], position: int, event_types: tuple[EventType, ...] | None) -> tuple[Stretch, ...]:
    """Return the stretches of an endpoint that is told of other events behind its position, where it has stopped."""
    return _joined(stretches, position, Stretch(position, event_types))


def passed_over(
    stretches: Sequence[Stretch], position: int, seq: int, event_types: tuple[EventType, ...] | None
) -> tuple[Stretch, ...]:
    """Return the stretches of an endpoint that goes on from an entry, and is told of nothing that lies before."""
    return _joined(stretches, position, Stretch(position, ()), Stretch(seq, event_types))


def stretch_of(stretches: Sequence[Stretch], seq: int) -> Stretch | None:
    """Return the stretch that an entry lies in; None where it is older than the endpoint."""
    return next((each for each in reversed(stretches) if each.after < seq), None)


def _joined(stretches: Sequence[Stretch], position: int, *behind: Stretch) -> tuple[Stretch, ...]:
    joined = (*(each for each in stretches if each.after < position), *behind)
    if len(joined) > _MOST:
        joined = tuple(
            each for index, each in enumerate(joined) if index == 0 or each.event_types != joined[index - 1].event_types
        )
    return joined[-_MOST:]


def _both(one: tuple[EventType, ...] | None, other: tuple[EventType, ...] | None) -> tuple[EventType, ...] | None:
    if one is None or other is None:
        return other if one is None else one
    return tuple(each for each in one if each in other)
