"""The data of a contact in plain words: each member with a name and a value that people can read."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import msgspec

from herdbook import ids
from herdbook.contacts.model import ContactRecordEmail, ContactRecordPhoneNumber, LabelledContactRecord
from herdbook.custom_fields.model import LISTS, REFERENCES, Field, FieldKind

# The prefixes of objects that a contact refers to.
REFERRED: tuple[str, ...] = (ids.USER, ids.CONTACT, ids.COMPANY, ids.TAG)


class Words(NamedTuple):
    """The workspace's fields of contacts by their keys, and the names of the objects that contacts refer to by their ids."""

    definitions: Mapping[str, Field]
    names: Mapping[str, str]


class Told(msgspec.Struct, frozen=True):
    """A member of a contact: its name, and its value as a text that may have several lines."""

    name: str
    value: str


def referred_to(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ids of the objects that a row of a contact refers to. Texts that have the form of an id are among them."""
    own: dict[str, Any] = row["own"] or {}
    company: dict[str, str] = row["object"].get("company") or {}
    values: dict[str, Any] = own.get("fields", {})
    yield from (each for each in (company.get("id"), *own.get("tag_ids", ())) if each is not None)
    for value in values.values():
        if isinstance(value, str) and any(ids.decoded(prefix, value) is not None for prefix in REFERRED):
            yield value


def name_of(members: Mapping[str, Any]) -> str:
    """Return the name by which people know an object: a contact, a company, a user or a tag."""
    full = " ".join(part for part in (members.get("first_name"), members.get("last_name")) if part)
    addresses = [each["email"] for each in members.get("emails") or ()]
    domains = [each["domain"] for each in members.get("domains") or ()]
    return next((text for text in (members.get("name"), full, *addresses, *domains) if text), "without a name")


def told(row: Mapping[str, Any], words: Words) -> list[Told]:
    """Return the members of a contact's row that have a value, in plain words."""
    record = msgspec.convert({**row["object"], **(row["own"] or {})}, LabelledContactRecord).labelled
    return [
        *_contact_data(record, words),
        *_own_fields(record, words),
        *([Told("Tags", ", ".join(words.names.get(each, each) for each in record.tag_ids))] if record.tag_ids else []),
        *([Told("Ids in other systems", ", ".join(record.external_ids))] if record.external_ids else []),
    ]


def _contact_data(record: LabelledContactRecord, words: Words) -> Iterator[Told]:
    yield from (Told("First name", each) for each in (record.first_name,) if each)
    yield from (Told("Last name", each) for each in (record.last_name,) if each)
    yield from (Told(_with_label("E-mail", each, record.emails), each.email) for each in record.emails)
    numbers = record.phone_numbers
    yield from (Told(_with_label("Phone", each, numbers), each.phone_number) for each in numbers)
    if record.description:
        yield Told("Description", record.description)
    if record.company:
        yield Told("Company", words.names.get(record.company.id, record.company.id))
    if record.time_zone:
        yield Told("Time zone", record.time_zone)
    if record.crm_association:
        association = record.crm_association
        yield Told("Record in a CRM", f"{association.crm_object_id} ({association.source})")


def _with_label(
    noun: str,
    item: ContactRecordEmail | ContactRecordPhoneNumber,
    items: Iterable[ContactRecordEmail | ContactRecordPhoneNumber],
) -> str:
    remarks = [item.label] if isinstance(item.label, str) else []
    if item.is_primary and len([*items]) > 1:
        remarks.append("primary")
    return f"{noun} ({', '.join(remarks)})" if remarks else noun


def _own_fields(record: LabelledContactRecord, words: Words) -> Iterator[Told]:
    """Yield the values of the workspace's own fields, in the order of these. Those without a definition are the last."""
    values = record.fields or {}
    unknown = [key for key in values if key not in words.definitions]
    defined = sorted(words.definitions.values(), key=lambda field: (field.archived, field.order, field.key))
    for field in defined:
        if field.key in values:
            name = f"{field.label} (no longer used)" if field.archived else field.label
            yield Told(name, shown_value(field, values[field.key], words.names))
    yield from (Told(key.replace("_", " ").capitalize(), _as_text(values[key])) for key in unknown)


def shown_value(field: Field, value: Any, names: Mapping[str, str]) -> str:
    """Return a value of a field as people read it: options by their labels, and references by the names of their objects."""
    labels = {option.id: option.label for option in field.options} if field.kind in LISTS else {}
    if field.kind in REFERENCES:
        labels = names
    if isinstance(value, list):
        return ", ".join(labels.get(each, each) for each in cast("list[str]", value))
    if field.kind is FieldKind.DATE_TIME:
        return shown_time(str(value))
    return labels.get(value, value) if isinstance(value, str) else _as_text(value)


def _as_text(value: Any) -> str:
    match value:
        case bool():
            return "Yes" if value else "No"
        case {"amount": amount, "currency": currency}:
            return f"{amount} {currency}"
        case dict():
            return "\n".join(cast("dict[str, str]", value).values())
        case list():
            return ", ".join(cast("list[str]", value))
        case _:
            return str(value)


def shown_time(time: str) -> str:
    """Return a time for a reader: to the second, in UTC."""
    return time[:19].replace("T", " ") + " UTC"
