"""The data of other persons in the rows of a person, and how they are withheld (GDPR, article 15 (4))."""

import re
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from herdbook import ids
from herdbook.addresses import NotAnAddress, addresses_within, comparable_address
from herdbook.contacts.store import CONTACT, number_keys
from herdbook.erasure.model import Subject, lowered, texts_of
from herdbook.erasure.places import Place
from herdbook.search_text import searchable, words

_Members: TypeAlias = dict[str, Any]
WITHHELD: Final = "[withheld: it concerns somebody else]"
_ADDRESSES: Final = frozenset({"email"})
_NUMBERS: Final = frozenset({"phone", "phone_number", "phone_number_e164"})
# Digits without a plus may stand for anything else.
_is_number: Final = re.compile(r"\s*\+[\d\s()./-]{5,}").fullmatch
_may_be_number: Final = re.compile(r"[+\d\s()./-]{6,}").fullmatch
# The team has written these rows about anybody: a view or a mapping names the person, and often others beside.
_OF_ANYBODY: Final = frozenset({"saved_view", "import_mapping", "import_slice"})


class Withholder:
    """Withholds addresses, numbers, contacts and ids of others. Names and spoken words in shared engagements stay.

    Views, mappings and outcomes of imported rows are shown without all that does not name the person.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        shown = [ids.encoded(ids.CONTACT, each) for each in subject.contact_ids]
        self._contact_ids = frozenset({*shown, *map(str, subject.contact_ids)})
        # Terms are in lower case, in which no id is written.
        self._terms = dict(zip(subject.terms, subject.terms, strict=True)) | {each.lower(): each for each in shown}
        self._names = frozenset(word for name in subject.names for word in name.split())

    def shown(self, place: Place, row: _Members) -> _Members:
        """Return a row as the person may see it."""
        if place.table == "webhook_delivery":
            return self._delivery(row)
        if place.table in _OF_ANYBODY:
            return self._of_anybody(row)
        is_own = place.is_own or row.get("kind") == CONTACT.kind
        told = row if is_own else self._members(row)
        # A key, or a message in an answer, may have an address within a text.
        return self._without_addresses(told) if place.table == "idempotency_record" else told

    def _of_anybody(self, row: _Members) -> _Members:
        """Return a row with its name, if that is the person's, and what else of it names the person."""
        told = {name: value for name, value in row.items() if not isinstance(value, (dict, list))}
        if "name" in told:
            told["name"] = self._naming(told["name"]) or WITHHELD
        if "row" in row:
            told["row"] = {name: row["row"][name] for name in ("row", "verdict")}
        content: list[Any] = [value for value in row.values() if isinstance(value, (dict, list))]
        return told | {"mentions": sorted({naming for text in texts_of(content) if (naming := self._naming(text))})}

    def _without_addresses(self, value: Any) -> Any:
        """Return JSON without the texts that have addresses, and none of the person's."""
        if isinstance(value, dict):
            return {name: self._without_addresses(each) for name, each in value.items()}  # pyright: ignore[reportUnknownVariableType]
        if isinstance(value, list):
            return [self._without_addresses(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
        found: set[str] = addresses_within(value) if isinstance(value, str) and "@" in value else set()
        return WITHHELD if found and found.isdisjoint(self._subject.addresses) else value

    def _naming(self, text: str) -> str:
        """Return the part of a text that names the person, or an empty text."""
        found = words(searchable(text))
        if (found and self._names.issuperset(found)) or (_may_be_number(text) and self._has_number(text)):
            return text
        lower = lowered(text)
        return ", ".join(shown for term, shown in self._terms.items() if term in lower)

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
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        """Return a text, unless it is the address, the number or the id of somebody else, whatever its member is called."""
        if ids.decoded(ids.CONTACT, text) is not None:
            return text if text in self._contact_ids else WITHHELD
        if _is_number(text):
            return text if self._has_number(text) else WITHHELD
        return text if "@" not in text or not _is_address(text) or self._has_address(text) else WITHHELD

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
        if isinstance(value, list) and name == "unique_values":
            keyed = [each.partition("=") for each in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            return [key + sign + self._text(each) for key, sign, each in keyed]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return self._value(value)

    def _has_address(self, text: str) -> bool:
        return _is_address(text) and comparable_address(text.strip()) in self._subject.addresses

    def _has_number(self, text: str) -> bool:
        if text in self._subject.phone_numbers:
            return True
        return not self._subject.number_keys.isdisjoint(number_keys(text, self._subject.region))


def _is_address(text: str) -> bool:
    try:
        comparable_address(text.strip())
    except NotAnAddress:
        return False
    return True


def host_of(url: str) -> str:
    """Return the scheme and the host of a URL. The rest may be a secret of the receiver."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}"
