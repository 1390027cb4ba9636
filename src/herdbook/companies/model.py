"""What a company is on the wire, and the rules that need nothing but the company itself."""

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, TypeAlias

import idna
import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields
from herdbook.errors import FieldError
from herdbook.wire import CrmAssociation, Time

_MOST_ITEMS: Final = 100
_Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255, extra_json_schema=fields.TEXT_SCHEMA)]
_Description: TypeAlias = Annotated[str, Meta(min_length=1, max_length=2000, extra_json_schema=fields.TEXT_SCHEMA)]
_LABELS: Final = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class NotADomain(ValueError):
    """The text is no domain name."""


def normal_domain(domain: str) -> str:
    """Return a domain in lower case and A-label form (RFC 5890), without a trailing dot; NotADomain where it is none.

    A domain is refused, not guessed, where it comes with a scheme, a path or a port.
    """
    name = domain.strip().lower().removesuffix(".")
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise NotADomain(str(error)) from None
    if _LABELS.fullmatch(name) is None:
        raise NotADomain("a domain is two or more labels of letters, digits and hyphens, such as `example.com`")
    return name


def _domains(items: Sequence["CompanyCreateDomain | None"], path: str) -> Iterator[FieldError]:
    yield from fields.one_primary(items, path)
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        if item is None:
            continue
        place = f"{path}[{index}].domain"
        try:
            domain = normal_domain(item.domain)
        except NotADomain as error:
            message = f"`{place}` is not a domain name: {error}. Send it without scheme, port and path."
            yield FieldError(place, "invalid_format", message)
            continue
        first = seen.setdefault(domain, index)
        if first != index:
            message = f"`{place}` is the same domain as `{path}[{first}].domain`. Send each domain once."
            yield FieldError(place, "duplicate", message)


class CompanyCreateDomain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A domain to give a company."""

    schema_name: ClassVar[str] = "CompanyCreateRequestDomainsItems"

    domain: Annotated[str, Meta(min_length=1, max_length=255)]
    is_primary: bool | UnsetType = UNSET


class CompanyCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for creating a company."""

    schema_name: ClassVar[str] = "company_create_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"domains": _domains, "name": fields.text, "description": fields.text}
    example: ClassVar[dict[str, Any]] = {"name": "Analytical Engines", "domains": [{"domain": "example.com"}]}

    domains: Annotated[tuple[CompanyCreateDomain, ...], Meta(max_length=_MOST_ITEMS)]
    name: _Name | UnsetType = UNSET
    description: _Description | UnsetType = UNSET


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
    example: ClassVar[dict[str, Any]] = {
        "object": "company",
        "id": "cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
        "name": "Analytical Engines",
        "domains": [{"domain": "example.com", "is_primary": True}],
        "created_at": "2026-03-01T12:00:00.000000Z",
        "updated_at": "2026-03-01T12:00:00.000000Z",
    }

    object: CompanyObject
    id: Annotated[str, Meta(extra_json_schema={"pattern": "^cmp_[A-Za-z0-9]+$"})]
    name: str | None = None
    description: str | UnsetType = UNSET
    domains: tuple[CompanyDomain, ...] = ()
    crm_association: CrmAssociation | UnsetType = UNSET
    created_at: Time
    updated_at: Time
