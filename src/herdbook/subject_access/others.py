"""The data of other persons in the rows of a person, and how they are withheld (GDPR, article 15 (4))."""

from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from herdbook import ids
from herdbook.addresses import NotAnAddress, comparable_address
from herdbook.contacts.store import CONTACT, number_keys
from herdbook.erasure.model import Subject
from herdbook.erasure.places import Place

_Members: TypeAlias = dict[str, Any]
WITHHELD: Final = "[withheld: it concerns somebody else]"
_ADDRESSES: Final = frozenset({"email"})
_NUMBERS: Final = frozenset({"phone", "phone_number", "phone_number_e164"})


class Withholder:
    """Withholds addresses, numbers, contacts and ids of others. Names and spoken words in shared engagements stay."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        shown = (ids.encoded(ids.CONTACT, each) for each in subject.contact_ids)
        self._contact_ids = frozenset({*shown, *map(str, subject.contact_ids)})

    def shown(self, place: Place, row: _Members) -> _Members:
        """Return a row as the person may see it."""
        if place.table == "webhook_delivery":
            return self._delivery(row)
        is_own = place.is_own or row.get("kind") == CONTACT.kind
        return row if is_own else self._members(row)

    def _delivery(self, row: _Members) -> _Members:
        """Return a delivery without secrets of the receiver, which may be in its URL and in headers."""
        is_own = row["event_type"].startswith("v1.contact.")
        attempts: list[_Members] = []
        for attempt in row["attempts"]:
            told = {name: value for name, value in attempt.items() if name != "headers"}
            told["url"] = host_of(attempt["url"])
            # A receiver may repeat the whole engagement in its answer.
            if "answer" in attempt and not is_own:
                told["answer"] = WITHHELD
            attempts.append(told)
        return row | {"attempts": attempts}

    def _value(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self._members(value)  # pyright: ignore[reportUnknownArgumentType]  # members of JSON
        if isinstance(value, list):
            return [self._value(each) for each in value]  # pyright: ignore[reportUnknownVariableType]  # items of JSON
        return value

    def _members(self, members: _Members) -> _Members:
        if members.get("object") == CONTACT.name:
            is_own = members.get("id") in self._contact_ids
            return members if is_own else {"object": CONTACT.name, "withheld": WITHHELD}
        address = members.get("email")
        if isinstance(address, str) and self._has_address(address):
            return members
        return {name: self._member(name, value) for name, value in members.items()}

    def _member(self, name: str, value: Any) -> Any:
        if isinstance(value, str) and name in _ADDRESSES:
            return WITHHELD
        if isinstance(value, str) and name in _NUMBERS:
            return value if self._has_number(value) else WITHHELD
        if isinstance(value, list) and name == "contact_ids":
            return [each if each in self._contact_ids else WITHHELD for each in value]  # pyright: ignore[reportUnknownVariableType]
        return self._value(value)

    def _has_address(self, text: str) -> bool:
        try:
            return comparable_address(text.strip()) in self._subject.addresses
        except NotAnAddress:
            return False

    def _has_number(self, text: str) -> bool:
        if text in self._subject.phone_numbers:
            return True
        return not self._subject.number_keys.isdisjoint(number_keys(text, self._subject.region))


def host_of(url: str) -> str:
    """Return the scheme and the host of a URL. The rest may be a secret of the receiver."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}"
