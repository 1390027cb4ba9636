"""The merge of contacts as clients see it, and the rules by which fields are combined."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta

from herdbook import fields, ids
from herdbook.contacts.model import (
    Contact,
    ContactUpdate,
    ContactUpdateEmail,
    ContactUpdatePhoneNumber,
    patched,
    with_emails,
    with_phone_numbers,
)
from herdbook.errors import FieldError

MAX_SOURCES: Final = 50
_ID: Final = fields.id_of(ids.CONTACT, "contact")
# All fields of a contact, except those that tell which contact it is and since when.
_MEMBERS: Final = tuple(name for name in Contact.__struct_fields__ if name not in {"object", "id", "created_at", "updated_at"})
_NOTHING: Final = (None, UNSET, ())


def _sources(values: Sequence[str], path: str) -> Iterator[FieldError]:
    for index, value in enumerate(values):
        place = f"{path}[{index}]"
        yield from _ID(value, place)
        if value in values[:index]:
            message = f"`{place}` is the same contact as `{path}[{values.index(value)}]`. Send each contact once."
            yield FieldError(place, "duplicate", message)


class MergeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for merging contacts into another one."""

    schema_name: ClassVar[str] = "contact_merge_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"from": _sources}
    example: ClassVar[dict[str, Any]] = {"from": [ids.example(ids.CONTACT, "01HQXVB5M3Y3Y7Q2J7Y5R9T0WZ")]}

    sources: Annotated[
        tuple[Annotated[str, fields.id_schema(ids.CONTACT)], ...],
        Meta(
            min_length=1,
            max_length=MAX_SOURCES,
            description="The contacts to merge. Each field that the target lacks is taken from the first of them that has it.",
        ),
    ] = msgspec.field(name="from")


class MergeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of a merge."""

    schema_name: ClassVar[str] = "contact_merge_query"
    rules: ClassVar[dict[str, fields.Rule]] = {}

    dry_run: Annotated[bool, Meta(description="Whether to return the expected result only, and change nothing.")] = False


class Merge(msgspec.Struct, frozen=True, kw_only=True):
    """The result of merging contacts."""

    schema_name: ClassVar[str] = "contact_merge"
    example: ClassVar[dict[str, Any]] = {
        "object": "merge",
        "dry_run": False,
        "contact": Contact.example,
        "merged": MergeRequest.example["from"],
        "engagements_moved": 2,
    }

    object: Literal["merge"]
    dry_run: bool
    contact: Annotated[Contact, Meta(description="The contact that the others were merged into.")]
    merged: Annotated[tuple[str, ...], Meta(description="The contacts that were merged, which no longer exist.")]
    engagements_moved: Annotated[int, Meta(description="The number of engagements that move to the contact.")]


def merged(target: Contact, sources: Sequence[Contact]) -> Contact:
    """Return the target with missing fields taken from the first source that has them, and all addresses and numbers.

    The target's primary address stays primary. If it has none, the first source with a primary address provides it. The same
    holds for numbers.
    """
    members: dict[str, Any] = {}
    for name in _MEMBERS:
        values = (getattr(each, name) for each in (target, *sources))
        members[name] = next((value for value in values if value not in _NOTHING), getattr(target, name))
    first = msgspec.structs.replace(target, **members)
    others = ContactUpdate(
        emails=with_emails(first.emails, [ContactUpdateEmail(item.email) for each in sources for item in each.emails]),
        phone_numbers=with_phone_numbers(
            first.phone_numbers,
            [ContactUpdatePhoneNumber(item.phone_number) for each in sources for item in each.phone_numbers],
        ),
    )
    return patched(first, others)
