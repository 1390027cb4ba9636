"""The merges of contacts and companies as clients see them, and the rules by which fields are combined."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta

from herdbook import fields, ids
from herdbook.companies.model import Company, CompanyDomainRequest, CompanyRecord, CompanyRecordUpdate, normal_domain
from herdbook.companies.model import patched as patched_company
from herdbook.contacts.model import (
    Contact,
    ContactRecord,
    ContactRecordUpdate,
    ContactRecordUpdateEmail,
    ContactRecordUpdatePhoneNumber,
    patched,
    united_labels,
    with_emails,
    with_phone_numbers,
)
from herdbook.custom_fields.values import merged_values
from herdbook.errors import FieldError
from herdbook.shared_schemas import defaults

MAX_SOURCES: Final = 50
# The fields that tell which object it is and since when.
_IDENTITY: Final = frozenset({"object", "id", "created_at", "updated_at"})
# The members that are united, not taken as a whole.
_VALUES: Final = frozenset({"fields", "unique_values", "labels", "tag_ids", "card_ids"})


def _sources_of(prefix: str, kind: str) -> fields.Rule:
    id_rule = fields.id_of(prefix, kind)

    def rule(values: Sequence[str | None], path: str) -> Iterator[FieldError]:
        for index, value in enumerate(values):
            if value is None:
                continue
            place = f"{path}[{index}]"
            yield from id_rule(value, place)
            if value in values[:index]:
                message = f"`{place}` is the same {kind} as `{path}[{values.index(value)}]`. Send each {kind} once."
                yield FieldError(place, "duplicate", message)

    return rule


class MergeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for merging contacts into another one."""

    schema_name: ClassVar[str] = "contact_merge_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"from": _sources_of(ids.CONTACT, "contact")}
    example: ClassVar[dict[str, Any]] = {"from": [ids.example(ids.CONTACT, "01HQXVB5M3Y3Y7Q2J7Y5R9T0WZ")]}

    sources: Annotated[
        tuple[Annotated[str, fields.id_schema(ids.CONTACT)], ...],
        Meta(
            min_length=1,
            max_length=MAX_SOURCES,
            description="The contacts to merge. Each field that the target lacks is taken from the first of them that has it.",
        ),
    ] = msgspec.field(name="from")


class CompanyMergeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for merging companies into another one."""

    schema_name: ClassVar[str] = "company_merge_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"from": _sources_of(ids.COMPANY, "company")}
    example: ClassVar[dict[str, Any]] = {"from": [ids.example(ids.COMPANY, "01HQXVB5M3Y3Y7Q2J7Y5R9T0WZ")]}

    sources: Annotated[
        tuple[Annotated[str, fields.id_schema(ids.COMPANY)], ...],
        Meta(
            min_length=1,
            max_length=MAX_SOURCES,
            description="The companies to merge. Each field that the target lacks is taken from the first of them that has it.",
        ),
    ] = msgspec.field(name="from")


class MergeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of a merge."""

    schema_name: ClassVar[str] = "merge_query"
    rules: ClassVar[dict[str, fields.Rule]] = {}

    dry_run: Annotated[bool, Meta(description="Whether to return the expected result only, and change nothing.")] = False


class ContactMerge(msgspec.Struct, frozen=True, kw_only=True):
    """The result of merging contacts."""

    schema_name: ClassVar[str] = "contact_merge"
    example: ClassVar[dict[str, Any]] = {
        "object": "merge",
        "dry_run": False,
        "contact": Contact.example,
        "merged": MergeRequest.example["from"],
        "engagements_moved": 2,
        "notes_moved": 1,
    }

    object: Literal["merge"]
    dry_run: bool
    contact: Annotated[ContactRecord, Meta(description="The contact that the others were merged into.")]
    merged: Annotated[tuple[str, ...], Meta(description="The contacts that were merged, which no longer exist.")]
    engagements_moved: Annotated[int, Meta(description="The number of engagements that move to the contact.")]
    notes_moved: Annotated[int, Meta(description="The number of notes that move to the contact.")]


class CompanyMerge(msgspec.Struct, frozen=True, kw_only=True):
    """The result of merging companies."""

    schema_name: ClassVar[str] = "company_merge"
    example: ClassVar[dict[str, Any]] = {
        "object": "merge",
        "dry_run": False,
        "company": Company.example,
        "merged": CompanyMergeRequest.example["from"],
        "contacts_moved": 12,
        "engagements_moved": 2,
        "notes_moved": 1,
    }

    object: Literal["merge"]
    dry_run: bool
    company: Annotated[CompanyRecord, Meta(description="The company that the others were merged into.")]
    merged: Annotated[tuple[str, ...], Meta(description="The companies that were merged, which no longer exist.")]
    contacts_moved: Annotated[int, Meta(description="The number of contacts that move to the company.")]
    engagements_moved: Annotated[int, Meta(description="The number of engagements that move to the company.")]
    notes_moved: Annotated[int, Meta(description="The number of notes that move to the company.")]


ObjectT = TypeVar("ObjectT", ContactRecord, CompanyRecord)


def _filled(target: ObjectT, sources: Sequence[ObjectT]) -> ObjectT:
    """Return the target with missing fields taken from the first source that has them."""
    members: dict[str, Any] = {}
    for name, default in defaults(type(target)).items():
        if name not in _IDENTITY | _VALUES:
            values = (getattr(each, name) for each in (target, *sources))
            members[name] = next((value for value in values if value != default), default)
    return msgspec.structs.replace(target, **members)


def merged_contact(target: ContactRecord, sources: Sequence[ContactRecord], region: str | None) -> ContactRecord:
    """Return the target with missing fields taken from the first source that has them, and all that lists have.

    The target's primary address stays primary. If it has none, the first source with a primary address provides it. The same
    holds for numbers. `region` is the workspace's default region for numbers.
    """
    first = _filled(merged_values(target, sources), sources)
    others = ContactRecordUpdate(
        emails=with_emails(first.emails, [ContactRecordUpdateEmail(item.email) for each in sources for item in each.emails]),
        phone_numbers=with_phone_numbers(
            first.phone_numbers,
            [ContactRecordUpdatePhoneNumber(item.phone_number) for each in sources for item in each.phone_numbers],
            region,
        ),
        external_ids=tuple(dict.fromkeys(each for contact in (first, *sources) for each in contact.external_ids or ())),
        tag_ids=_united_tags((first, *sources)),
    )
    card_ids = tuple(dict.fromkeys(each for contact in (first, *sources) for each in contact.card_ids or ()))
    whole = msgspec.structs.replace(first, labels=united_labels((target, *sources)), card_ids=card_ids or UNSET)
    return patched(whole, others, region)


def merged_company(target: CompanyRecord, sources: Sequence[CompanyRecord], _region: str | None) -> CompanyRecord:
    """Return the target with missing fields taken from the first source that has them, and all domains, each once.

    The target's primary domain stays primary. If it has none, the first source with domains provides it.
    """
    first = _filled(merged_values(target, sources), sources)
    domains = dict.fromkeys(normal_domain(item.domain) for each in (first, *sources) for item in each.domains)
    others = CompanyRecordUpdate(domains=tuple(map(CompanyDomainRequest, domains)), tag_ids=_united_tags((first, *sources)))
    return patched_company(first, others)


def _united_tags(objects: Sequence[ContactRecord] | Sequence[CompanyRecord]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tag_id for each in objects for tag_id in each.tag_ids or ()))
