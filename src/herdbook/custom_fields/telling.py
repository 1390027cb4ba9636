"""Changes as people read them: members by their labels, options by theirs, and objects and users by their names."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeGuard

import msgspec

from herdbook import ids
from herdbook.console.visit import Listed, Visit
from herdbook.custom_fields.model import LISTS, REFERENCES, Field, FieldKind

# The types of objects that have names, by their plural in operations and paths.
PLURALS: Final = {"user": "users", "contact": "contacts", "company": "companies", "tag": "tags"}
_BY_PREFIX: Final = {ids.USER: "user", ids.CONTACT: "contact", ids.COMPANY: "company", ids.TAG: "tag"}
_LABELS: Final = {
    "emails": "E-mail",
    "phone_numbers": "Phone",
    "domains": "Domains",
    "tag_ids": "Tags",
    "contact_ids": "Contacts",
    "company_ids": "Companies",
    "company_id": "Company",
    "contact_id": "Contact",
    "owner_user_id": "Owner",
    "created_by": "Author",
    "crm_association": "CRM record",
    "external_ids": "External ids",
    "hex_color": "Colour",
    "is_pinned": "Pinned",
    "is_private": "Private",
}
# Members that say nothing that others do not say.
_UNTOLD: Final = frozenset({"unique_values"})
# Members that consist of values under keys, each of which is told as a change of its own.
_KEYED: Final = frozenset({"fields", "labels"})
_CONSOLE: Final = "Console"


class _Address(msgspec.Struct):
    """An e-mail address of a user or a contact."""

    email: str


class _Domain(msgspec.Struct):
    """A domain of a company."""

    domain: str


class Named(msgspec.Struct):
    """The parts of a contact, a company, a tag or a user by which people know it."""

    id: str
    name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    emails: tuple[_Address, ...] = ()
    domains: tuple[_Domain, ...] = ()


def name_of(record: Any) -> str:
    """Return the name of a contact, a company or a user, or an address or domain that stands for it."""
    name = getattr(record, "name", None) or ""
    full = " ".join(part for part in (getattr(record, "first_name", None), getattr(record, "last_name", None)) if part)
    addresses = [each.email for each in getattr(record, "emails", ())]
    domains = [each.domain for each in getattr(record, "domains", ())]
    return next((text for text in (name, full, *addresses[:1], *domains[:1]) if text.strip()), "No name")


async def names_of(visit: Visit, object_ids: Iterable[str]) -> dict[str, str]:
    """Return the names of the objects with these ids that the person may read, by their ids."""
    by_type: dict[str, list[str]] = {}
    for object_id in dict.fromkeys(object_ids):
        if (name := _BY_PREFIX.get(object_id.partition("_")[0] + "_")) is not None:
            by_type.setdefault(name, []).append(object_id)
    found = await asyncio.gather(*(visit.each(f"get-{name}-by-id", Named, some) for name, some in by_type.items()))
    return {key: name_of(value) for each in found for key, value in each.items()}


async def definitions(visit: Visit, object_type: str) -> list[Field]:
    """Return the definitions of the fields of contacts or companies, archived ones included."""
    return await visit.all_of("list-fields", Listed[Field], {"filter[object_type][eq]": object_type})


class Told(NamedTuple):
    """A changed member: its label, and its values before and after; None if it had none."""

    label: str
    before: str | None
    after: str | None


class ToldEntry(NamedTuple):
    """An entry of a history: the entry itself, the name of its author, the key that the author used, and its changes."""

    entry: Mapping[str, Any]
    author: str
    key: str
    changes: Sequence[Told]

    @property
    def labels(self) -> str:
        """The labels of the changed members."""
        return ", ".join(dict.fromkeys(change.label for change in self.changes)) or "it"


async def told(
    visit: Visit, entries: Sequence[Mapping[str, Any]], type_of: Callable[[Mapping[str, Any]], str]
) -> list[ToldEntry]:
    """Return the entries of histories as people read them. `type_of` returns the type of the object of an entry."""
    holders = {type_of(entry) for entry in entries if "fields" in entry["changes"]}
    found = await asyncio.gather(*(definitions(visit, holder) for holder in sorted(holders)))
    teller = _Teller({(field.object_type.value, field.key): field for some in found for field in some})
    # The first time finds the ids, and the second time they are told by their names.
    for entry in entries:
        teller.changes(type_of(entry), entry["changes"])
    authors = [entry["by"]["user_id"] for entry in entries if entry["by"]["user_id"] is not None]
    teller.names = await names_of(visit, [*teller.wanted, *authors])
    return [
        ToldEntry(entry, *author_of(entry["by"], teller.names), teller.changes(type_of(entry), entry["changes"]))
        for entry in entries
    ]


def author_of(by: Mapping[str, Any], names: Mapping[str, str]) -> tuple[str, str]:
    """Return the name of an author, and that of the key that the author used, if it is not the console's."""
    key = by["credential_name"] or ""
    if by["user_id"] is None:
        return key or "herdbook", ""
    return names.get(by["user_id"], "Somebody"), "" if key == _CONSOLE else key


class _Teller:
    """Tells values, and notes the ids of objects whose names it lacks."""

    def __init__(self, fields: Mapping[tuple[str, str], Field]) -> None:
        self.names: dict[str, str] = {}
        self.wanted: set[str] = set()
        self._fields = fields

    def changes(self, object_type: str, changes: Mapping[str, Mapping[str, Any]]) -> list[Told]:
        """Return the changes of an object of a type."""
        return [
            told
            for name, change in changes.items()
            if name not in _UNTOLD
            for told in self._changes(object_type, name, change["from"], change["to"])
        ]

    def _changes(self, object_type: str, name: str, before: Any, after: Any) -> list[Told]:
        """Return the changes of a member: one, or one for each value under a key."""
        if name not in _KEYED:
            told = Told(_label(name), self._member(name, before), self._member(name, after))
            return [] if told.before == told.after else [told]
        before, after = before or {}, after or {}
        keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        if name == "labels":
            return [Told(f"{_label(key)} labels", self._text(before.get(key)), self._text(after.get(key))) for key in keys]
        return [self._field(self._fields.get((object_type, key)), key, before.get(key), after.get(key)) for key in keys]

    def _field(self, field: Field | None, key: str, before: Any, after: Any) -> Told:
        if field is None:
            return Told(_label(key), self._text(before), self._text(after))
        return Told(field.label, self._value(field, before), self._value(field, after))

    def _value(self, field: Field, value: Any) -> str | None:
        if field.kind in LISTS and value is not None:
            labels = {option.id: option.label for option in field.options}
            return self._text([labels.get(each, each) for each in (value if _is_list(value) else [value])])
        if field.kind in REFERENCES and isinstance(value, str):
            return self._named(value)
        if field.kind is FieldKind.MONEY and _is_object(value):
            return f"{value.get('amount')} {value.get('currency')}"
        if field.kind is FieldKind.ADDRESS and _is_object(value):
            return self._text([*value.values()])
        return self._text(value)

    def _member(self, name: str, value: Any) -> str | None:
        if isinstance(value, str) and (name.endswith("_id") or name == "created_by"):
            return self._named(value)
        if name.endswith("_ids") and name != "external_ids" and _is_list(value):
            return self._text([self._named(each) for each in value])
        return self._text(value)

    def _named(self, object_id: str) -> str:
        self.wanted.add(object_id)
        return self.names.get(object_id, object_id)

    def _text(self, value: Any) -> str | None:
        if value is None or value in ("", []):
            return None
        if _is_list(value):
            return ", ".join(self._text(each) or "nothing" for each in value)
        if _is_object(value):
            return self._object(value)
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)

    def _object(self, value: Mapping[str, Any]) -> str | None:
        if "id" in value and "object" in value:
            return value.get("name") or self._named(value["id"])
        if "crm_object_id" in value:
            return f"{value['crm_object_id']} in {value.get('source')}"
        shown = next((value[name] for name in ("email", "phone_number", "domain") if name in value), None)
        if shown is not None:
            return f"{shown} (primary)" if value.get("is_primary") else str(shown)
        return ", ".join(f"{_spoken(name)}: {self._text(each) or 'nothing'}" for name, each in value.items()) or None


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _label(name: str) -> str:
    return _LABELS.get(name) or _spoken(name).capitalize()


def _spoken(name: str) -> str:
    return name.replace("_", " ")
