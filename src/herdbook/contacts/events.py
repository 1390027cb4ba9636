"""The data of the events about contacts, from the entries of the ledger."""

from typing import Any, Final

import msgspec

from herdbook.contacts.model import OwnMembers
from herdbook.ledger.object_types import EventData

_OWN: Final = OwnMembers.__struct_fields__
_NAMES: Final = tuple(f'"{name}"'.encode() for name in _OWN)


def contact_data(object_: bytes, previous: bytes | None) -> EventData | None:
    """Remove the members that the vendor's operations do not show. An update of these alone sends no event."""
    shown = _without_own(object_)
    if previous is None:
        return EventData(shown, None)
    changed = _without_own(previous)
    return None if changed == b"{}" else EventData(shown, changed)


def _without_own(members: bytes) -> bytes:
    if not any(name in members for name in _NAMES):
        return members
    decoded: dict[str, Any] = msgspec.json.decode(members, type=dict[str, msgspec.Raw])
    return msgspec.json.encode({name: value for name, value in decoded.items() if name not in _OWN})
