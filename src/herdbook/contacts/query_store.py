"""The declaration by which queries find contacts."""

from collections.abc import Iterable
from typing import Any, Final

from herdbook import ids
from herdbook.addresses import comparable_address
from herdbook.contacts.model import ContactRecord, LabelledContactRecord
from herdbook.contacts.store import CONTACT
from herdbook.errors import FieldError
from herdbook.phone_numbers import number_keys, read_number, sure_keys
from herdbook.querying.conditions import (
    BY_AGE,
    BY_CHANGE,
    BY_CRM,
    BY_TAGS,
    Member,
    Read,
    exact_member,
    id_member,
    number_texts,
    parts_member,
    text_member,
    text_value,
)
from herdbook.querying.store import FOUND, QueriedType, Walk
from herdbook.search_text import folded, name_key


def _address(value: Any, path: str, errors: list[FieldError]) -> Iterable[str]:
    text = text_value(value, path, errors)
    if text is None:
        return ()
    try:
        return (comparable_address(text.strip()),)
    except ValueError as error:
        message = f"`{path}` is not an e-mail address: {str(error).removesuffix('.')}. Part of one goes with `contains`."
        errors.append(FieldError(path, "invalid_format", message))
        return ()


def _number_reader(region: str | None) -> Read:
    def read(value: Any, path: str, errors: list[FieldError]) -> Iterable[str]:
        text = text_value(value, path, errors)
        if text is not None and read_number(text) is None:
            message = f"`{path}` is not a phone number: it has no digits. Part of a text goes with `contains`."
            errors.append(FieldError(path, "invalid_format", message))
            return ()
        return () if text is None else number_keys(text, region)

    return read


def _name_member(name: str) -> Member:
    return text_member(name)._replace(lookup=name, keys=name_key, walk=name, sort_form=name_key)


def _emails(record: ContactRecord) -> Iterable[str]:
    return [comparable_address(item.email) for item in record.emails]


def _email_texts(record: ContactRecord) -> Iterable[str]:
    return [folded(item.email) for item in record.emails]


def _numbers(record: ContactRecord) -> Iterable[str]:
    # These are the keys under which a number is found, without any region.
    return [key for item in record.phone_numbers for key in sure_keys(item.phone_number, None)]


def _number_texts(record: ContactRecord) -> Iterable[str]:
    return number_texts(folded(item.phone_number) for item in record.phone_numbers)


def _phone_numbers(region: str | None) -> Member:
    member = parts_member("phone_numbers", "phone_number", _number_reader(region), _numbers, _number_texts, lookup="word")
    return member._replace(has_numbers=True)


def _company(record: ContactRecord) -> Iterable[str]:
    return (record.company.id,) if record.company else ()


def _external_ids(record: ContactRecord) -> Iterable[str]:
    return record.external_ids or ()


def _members(region: str | None) -> tuple[Member, ...]:
    return (
        _name_member("first_name"),
        _name_member("last_name"),
        text_member("description"),
        parts_member("emails", "email_address", _address, _emails, _email_texts, lookup="email"),
        _phone_numbers(region),
        id_member("company_id", ids.COMPANY, "company", _company, walk="company_id"),
        BY_CRM,
        text_member("time_zone"),
        BY_AGE,
        BY_CHANGE,
        exact_member("external_ids", _external_ids, lookup="external_id", sorts=False),
        BY_TAGS,
    )


QUERIED_CONTACTS: Final = QueriedType(
    object_type=CONTACT,
    members=_members,
    record=LabelledContactRecord,
    shown=lambda record: record.labelled,
    lookups={
        "email": "select l.contact_id from contact_email l where l.workspace_id = $1 and l.address = any($keys) limit $most",
        "external_id": """
            select l.contact_id from contact_external_id l
            where l.workspace_id = $1 and l.external_id = any($keys) limit $most
        """,
        "company": """
            select l.contact_id from company_contact l where l.workspace_id = $1 and l.company_id = any($keys) limit $most
        """,
        "first_name": """
            select c.id from contact c
            where c.workspace_id = $1 and c.first_name_word = any($keys) and c.deleted_at is null limit $most
        """,
        "last_name": """
            select c.id from contact c
            where c.workspace_id = $1 and c.last_name_word = any($keys) and c.deleted_at is null limit $most
        """,
    },
    probes={
        "company": "c.company_id = any($value::uuid[])",
        "first_name": "c.first_name_word = any($value::text[])",
        "last_name": "c.last_name_word = any($value::text[])",
    },
    probed=", f.company_id, f.first_name_word, f.last_name_word",
    walks={
        "company_id": Walk("company_contact f where f.workspace_id = $1", "f.company_id", "f.contact_id"),
        "first_name": Walk(
            "contact f where f.workspace_id = $1 and f.deleted_at is null and f.first_name_word is not null",
            "f.first_name_word",
            "f.id",
            is_alone=False,
            is_scattered=True,
            is_own=True,
        ),
        "last_name": Walk(
            "contact f where f.workspace_id = $1 and f.deleted_at is null and f.last_name_word is not null",
            "f.last_name_word",
            "f.id",
            is_alone=False,
            is_scattered=True,
            is_own=True,
        ),
    },
    among={
        "company_id": Walk(FOUND + "f.deleted_at is null and f.company_id is not null", "f.company_id", "f.id"),
        "first_name": Walk(FOUND + "f.deleted_at is null and f.first_name_word is not null", "f.first_name_word", "f.id"),
        "last_name": Walk(FOUND + "f.deleted_at is null and f.last_name_word is not null", "f.last_name_word", "f.id"),
    },
)
