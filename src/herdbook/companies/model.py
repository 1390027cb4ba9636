"""The company as clients see it, and the rules that need nothing but the company itself."""

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

import idna
import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids, shared_schemas
from herdbook.addresses import without_www
from herdbook.bulk import model as bulk
from herdbook.custom_fields.values import UniqueValues, Values
from herdbook.errors import FieldError, Invalid
from herdbook.ledger.object_types import Record
from herdbook.querying.model import MAX_SORT_KEYS, Query, QueryPage, Sort
from herdbook.shared_schemas import CrmAssociation, Time
from herdbook.tags.model import TagIds, tag_ids

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://")
_BEHIND: Final = re.compile(r"(?::\d*)?(?:[/?#].*)?\Z", re.DOTALL)
_MAX_DOMAIN: Final = 253
_LABELS: Final = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class NotADomain(ValueError):
    """The text is not a domain name."""


def normal_domain(domain: str) -> str:
    """Return a domain in lower case and A-label form (RFC 5890), without a trailing dot or a leading `www.`.

    Raise NotADomain if it is malformed. The address of a web page, such as `https://www.Example.com/about`, is reduced to its
    domain.
    """
    address = domain.strip().lower()
    name = _BEHIND.sub("", _SCHEME.sub("", address, count=1) if _SCHEME.match(address) else address, count=1).removesuffix(".")
    if len(name) > _MAX_DOMAIN:
        raise NotADomain(f"it has {len(name):,} characters, and a domain has {_MAX_DOMAIN} at most")
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii").removesuffix(".")
        except idna.IDNAError as error:
            raise NotADomain(str(error)) from None
    if _LABELS.fullmatch(name) is None:
        raise NotADomain("a domain is two or more labels of letters, digits and hyphens, such as `example.com`")
    return without_www(name)


class CompanyDomainRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A domain to give a company."""

    schema_name: ClassVar[str] = "CompanyCreateRequestDomainsItems"

    domain: Annotated[str, Meta(min_length=1, max_length=255)]
    is_primary: bool | UnsetType = UNSET


_RULES: Final[dict[str, fields.Rule]] = {
    "domains": fields.each_once("domain", "domain", "a domain name", normal_domain),
    "name": fields.text,
    "description": fields.text,
}
_Domains: TypeAlias = Annotated[tuple[CompanyDomainRequest, ...], Meta(max_length=fields.MAX_ITEMS)]
_TakeFrom: TypeAlias = Annotated[
    str,
    fields.id_schema(ids.COMPANY, "Another company, which gives up the domains and unique values that this one gets with it."),
]


class CompanyCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for creating a company."""

    schema_name: ClassVar[str] = "company_create_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES
    example: ClassVar[dict[str, Any]] = {"name": "Analytical Engines", "domains": [{"domain": "example.com"}]}

    domains: _Domains
    name: fields.Name | UnsetType = UNSET
    description: fields.Description | UnsetType = UNSET


class CompanyUpdate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for updating a company."""

    schema_name: ClassVar[str] = "company_update_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES
    example: ClassVar[dict[str, Any]] = {"description": "Difference engines, too."}

    domains: _Domains | None | UnsetType = UNSET
    name: fields.Name | None | UnsetType = UNSET
    description: fields.Description | None | UnsetType = UNSET


class CompanyCrmAssociation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for linking a company to a CRM record."""

    schema_name: ClassVar[str] = "company_crm_association_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"crm_object_id": fields.text, "source": fields.text}
    example: ClassVar[dict[str, Any]] = {"object_type": "company", "crm_object_id": "12345", "source": "hubspot"}

    object_type: Literal["company"]
    crm_object_id: fields.Name
    source: fields.Name


def _crm_association(value: CompanyCrmAssociation | None, path: str) -> Iterator[FieldError]:
    if value is not None:
        yield from fields.text(value.crm_object_id, f"{path}.crm_object_id")
        yield from fields.text(value.source, f"{path}.source")


# The rules of members that the vendor's requests do not have.
_OWN_RULES: Final[dict[str, fields.Rule]] = {"crm_association": _crm_association, "tag_ids": tag_ids}
_TAKE_RULES: Final[dict[str, fields.Rule]] = {"take_from": fields.id_of(ids.COMPANY, "company")}


class CompanyRecordCreate(CompanyCreate, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for creating a company with all that its record has."""

    schema_name: ClassVar[str] = "company_record_create_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES | _OWN_RULES | _TAKE_RULES
    example: ClassVar[dict[str, Any]] = {
        "name": "Difference Engines",
        "domains": [{"domain": "engines.example.com"}],
        "crm_association": CompanyCrmAssociation.example,
    }

    crm_association: CompanyCrmAssociation | UnsetType = UNSET
    fields: Values | UnsetType = UNSET
    tag_ids: TagIds | UnsetType = UNSET
    take_from: _TakeFrom | UnsetType = UNSET


class CompanyRecordUpdate(CompanyUpdate, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for updating the whole of a company."""

    schema_name: ClassVar[str] = "company_record_update_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES | _OWN_RULES | _TAKE_RULES
    example: ClassVar[dict[str, Any]] = {"description": "Difference engines, too."}

    crm_association: CompanyCrmAssociation | None | UnsetType = UNSET
    fields: Values | UnsetType = UNSET
    tag_ids: TagIds | None | UnsetType = UNSET
    take_from: _TakeFrom | UnsetType = UNSET


class CompanyUpsert(CompanyUpdate, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for updating the company that is looked up by `match_by`, or creating one if there is none.

    The member that `match_by` names is required: at least one domain, or the link.
    """

    schema_name: ClassVar[str] = "company_upsert_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES | _OWN_RULES
    example: ClassVar[dict[str, Any]] = {"name": "Analytical Engines", "domains": [{"domain": "example.com"}]}

    domains: _Domains | UnsetType = UNSET
    match_by: Annotated[
        Literal["domains", "crm_association"],
        Meta(description="The member by which the company is looked up: its primary domain, or the link."),
    ] = "domains"
    crm_association: CompanyCrmAssociation | None | UnsetType = UNSET
    fields: Values | UnsetType = UNSET
    tag_ids: TagIds | UnsetType = UNSET

    def require_match(self, path: str) -> None:
        """Refuse an upsert without a value to look up; `path` is that of the company. Refusal: Invalid."""
        value = getattr(self, self.match_by)
        if not value:
            place = f"{path}.{self.match_by}"
            message = f"`{place}` is missing or empty, and the company is looked up by it. Send it, or another `match_by`."
            raise Invalid([FieldError(place, "too_short" if value == () else "required", message)])

    @property
    def domain(self) -> str:
        """The domain by which the company is looked up, in the form in which domains are compared."""
        assert self.domains, "the request has a domain"
        return normal_domain(next((item for item in self.domains if item.is_primary is True), self.domains[0]).domain)


_SETS_OWN: Final = (CompanyRecordCreate, CompanyRecordUpdate, CompanyUpsert)


class CompanyObject(Enum):
    """Resource discriminator for company payloads."""

    COMPANY = "company"


class CompanyDomain(msgspec.Struct, frozen=True):
    """A domain of a company."""

    schema_name: ClassVar[str] = "CompanyDomainsItems"

    domain: str
    is_primary: bool


class Company(msgspec.Struct, frozen=True, kw_only=True):
    """Public representation of a workspace company."""

    schema_name: ClassVar[str] = "company"
    read_scopes: ClassVar[tuple[str, ...]] = ("companies:read",)
    example: ClassVar[dict[str, Any]] = {
        "object": "company",
        "id": ids.example(ids.COMPANY),
        "name": "Analytical Engines",
        "domains": [{"domain": "example.com", "is_primary": True}],
        "created_at": "2026-03-01T12:00:00.000000Z",
        "updated_at": "2026-03-01T12:00:00.000000Z",
    }

    object: CompanyObject
    id: Annotated[str, fields.id_schema(ids.COMPANY)]
    created_at: Time
    updated_at: Time
    name: Annotated[str | None, Meta(description="Display name of the company.")] = None
    description: str | UnsetType = UNSET
    industry: str | UnsetType = UNSET
    website: str | UnsetType = UNSET
    number_of_employees: int | UnsetType = UNSET
    logo_url: str | UnsetType = UNSET
    crm_association: CrmAssociation | UnsetType = UNSET
    domains: tuple[CompanyDomain, ...] = ()


class OwnMembers(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a company that the vendor's operations neither show nor set."""

    fields: dict[str, Any] | UnsetType = UNSET
    unique_values: tuple[str, ...] | UnsetType = UNSET
    tag_ids: tuple[str, ...] | UnsetType = UNSET


class CompanyRecord(Company, Record, frozen=True, kw_only=True):
    """The whole of a company: what the vendor's operations show of it, and the members that only herdbook's own ones show.

    The ledger records companies in this form. Without members of its own, it is the company that the vendor's operations show.
    """

    schema_name: ClassVar[str] = "company_record"
    example: ClassVar[dict[str, Any]] = Company.example | {"fields": {"founded": "1837-12-01"}}
    own_type: ClassVar[type[msgspec.Struct]] = OwnMembers

    fields: Values | UnsetType = UNSET
    unique_values: UniqueValues | UnsetType = UNSET
    tag_ids: TagIds | UnsetType = UNSET


class MergedCompany(msgspec.Struct, frozen=True, kw_only=True):
    """A company that was merged into another one, which replaces it."""

    schema_name: ClassVar[str] = "merged_company"
    example: ClassVar[dict[str, Any]] = {
        "object": "company",
        "id": "cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
        "merged_into": "cmp_01HQXVB5M3Y3Y7Q2J7Y5R9T0WZ",
    }

    object: CompanyObject
    id: Annotated[str, fields.id_schema(ids.COMPANY)]
    merged_into: Annotated[str, fields.id_schema(ids.COMPANY, "The company that replaces it.")]


def patched(before: CompanyRecord, patch: CompanyUpdate | CompanyCreate) -> CompanyRecord:
    """Return the company with the patch applied. Absent leaves a field unchanged; null clears it (RFC 7396)."""
    others: dict[str, Any] = {}
    if patch.domains is not UNSET:
        items = patch.domains or ()
        old = next((without_www(item.domain) for item in before.domains if item.is_primary), None)
        primary = fields.primary_index(items, lambda item: normal_domain(item.domain) == old)
        others["domains"] = tuple(
            CompanyDomain(normal_domain(item.domain), index == primary) for index, item in enumerate(items)
        )
    if isinstance(patch, _SETS_OWN):
        if patch.crm_association is not UNSET:
            others["crm_association"] = shared_schemas.crm_link(patch.crm_association)
        if patch.tag_ids is not UNSET:
            others["tag_ids"] = tuple(dict.fromkeys(patch.tag_ids or ())) or UNSET
        # Values follow from definitions, too, so the command sets them.
        others["fields"] = before.fields
    return shared_schemas.patched(before, patch, others)


def upserted(before: CompanyRecord, asked: CompanyUpsert) -> CompanyRecord:
    """Return the company with the upsert applied. Its domains and tags are added to those that the company has."""
    changes: dict[str, Any] = {}
    if asked.domains is not UNSET:
        changes["domains"] = _with_domains(before.domains, asked.domains)
    if asked.tag_ids is not UNSET:
        changes["tag_ids"] = (*(before.tag_ids or ()), *asked.tag_ids)
    return patched(before, msgspec.structs.replace(asked, **changes))


def _with_domains(old: Sequence[CompanyDomain], more: Sequence[CompanyDomainRequest]) -> tuple[CompanyDomainRequest, ...]:
    """Return the old domains followed by the new ones, each once. A new one that is marked as primary stays marked."""
    asked = {normal_domain(item.domain): item for item in more}
    known = {without_www(item.domain): item.domain for item in old}
    marked = {domain for domain, item in asked.items() if item.is_primary is True}
    kept = (CompanyDomainRequest(spelled, True if domain in marked else UNSET) for domain, spelled in known.items())
    return (*kept, *(item for domain, item in asked.items() if domain not in known))


_BulkId: TypeAlias = Annotated[
    str, Meta(description="Identifier of the company.", extra_json_schema={"examples": [Company.example["id"]]})
]


class CompanyBulkCreate(bulk.BulkOperation, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="create"):
    """Create a company, as `POST /herdbook/companies` does."""

    schema_name: ClassVar[str] = "company_bulk_create"

    company: CompanyRecordCreate


class CompanyBulkUpdate(bulk.BulkOperation, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="update"):
    """Change some members of a company, as `PATCH /herdbook/companies/{company_id}/record` does."""

    schema_name: ClassVar[str] = "company_bulk_update"

    id: _BulkId
    company: CompanyRecordUpdate


class CompanyBulkDelete(bulk.BulkOperation, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="delete"):
    """Delete a company, and clear it from its contacts, as `DELETE /v2/companies/{company_id}` does."""

    schema_name: ClassVar[str] = "company_bulk_delete"

    id: _BulkId


class CompanyBulkUpsert(bulk.BulkOperation, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="upsert"):
    """Update the company that `match_by` finds, or create one.

    Domains and tags are added to those that the company has. Its primary domain stays primary, unless another is marked here.
    Absent leaves any other field unchanged, and null clears it. A deleted company that had the domain is restored, without its
    contacts.
    """

    schema_name: ClassVar[str] = "company_bulk_upsert"

    company: CompanyUpsert


class CompanyBulkWrite(bulk.BulkWrite, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for writing many companies at once."""

    schema_name: ClassVar[str] = "company_bulk_write_request"
    example: ClassVar[dict[str, Any]] = {
        "operations": [
            {"action": "create", "company": CompanyRecordCreate.example},
            {"action": "upsert", "company": CompanyUpsert.example},
        ]
    }

    operations: Annotated[
        tuple[CompanyBulkCreate | CompanyBulkUpdate | CompanyBulkDelete | CompanyBulkUpsert, ...],
        Meta(min_length=1, max_length=bulk.MAX_OPERATIONS, description="The operations, which are applied in this order."),
    ]


class CompanyBulkItem(bulk.BulkItem, frozen=True, kw_only=True):
    """The result of one operation."""

    schema_name: ClassVar[str] = "company_bulk_item"

    company: (
        Annotated[CompanyRecord, Meta(description="The whole of the company, unless it was deleted or the write failed.")]
        | UnsetType
    ) = UNSET


class CompanyBulkResult(bulk.BulkResult, frozen=True, kw_only=True):
    """The results of all operations, in the order of the request."""

    schema_name: ClassVar[str] = "company_bulk_result"
    example: ClassVar[dict[str, Any]] = {
        "object": "bulk_result",
        "atomic": False,
        "results": [{"index": 0, "result": "created", "version": 1842, "company": Company.example}],
    }

    results: tuple[CompanyBulkItem, ...]


class CompanySort(Sort, frozen=True, forbid_unknown_fields=True):
    """A member to sort companies by. Those without a value come last."""

    schema_name: ClassVar[str] = "company_sort"


class CompanyQuery(Query, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for querying companies."""

    schema_name: ClassVar[str] = "company_query_request"
    example: ClassVar[dict[str, Any]] = {
        "where": {"or": [{"field": "fields.tier", "op": "eq", "value": "gold"}, {"field": "domains", "op": "is_not_set"}]},
        "sort": [{"field": "fields.renews_on"}],
    }

    sort: Annotated[
        tuple[CompanySort, ...],
        Meta(max_length=MAX_SORT_KEYS, description="By default, the company that was changed last is first."),
    ] = ()


class CompanyQueryPage(QueryPage, frozen=True, kw_only=True):
    """A page of the companies that a query finds."""

    schema_name: ClassVar[str] = "company_query_page"
    example: ClassVar[dict[str, Any]] = {
        "object": "list",
        "data": [Company.example | {"fields": {"tier": "gold"}}],
        "has_more": False,
        "next_cursor": None,
    }

    data: Annotated[
        tuple[CompanyRecord, ...],
        Meta(description="The whole of each company. It may hold fewer than `limit`, or none, while more follow."),
    ]
