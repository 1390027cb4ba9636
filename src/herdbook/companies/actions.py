"""What can be done to companies: commands, applied to a book."""

from collections.abc import Iterator

import msgspec
from msgspec import UNSET

from herdbook import fields, ids
from herdbook.companies.model import Company, CompanyCreate, CompanyDomain, CompanyObject, normal_domain
from herdbook.companies.store import COMPANIES, DOMAIN_CLAIMS, CompanyRow, DomainClaim
from herdbook.errors import FieldError, Stale, Taken
from herdbook.ledger.book import Book, Need, Result
from herdbook.ledger.changes import Action, Kind


class CreateCompany(msgspec.Struct, frozen=True):
    """Create a company. Refusals: Stale where a version is asked for, Taken."""

    fields: CompanyCreate
    has_precondition: bool = False

    def needs(self) -> Iterator[Need]:
        for item in self.fields.domains:
            yield Need(DOMAIN_CLAIMS, normal_domain(item.domain))

    def apply(self, book: Book) -> Result:
        if self.has_precondition:
            raise Stale(None)
        domains = [normal_domain(item.domain) for item in self.fields.domains]
        _refuse_taken(book, domains)
        company_id = ids.new_id()
        primary = fields.primary_index(self.fields.domains, lambda _: False)
        company = Company(
            object=CompanyObject.COMPANY,
            id=ids.encoded(ids.COMPANY, company_id),
            name=None if self.fields.name is UNSET else self.fields.name,
            description=self.fields.description,
            domains=tuple(CompanyDomain(domain, index == primary) for index, domain in enumerate(domains)),
            created_at=book.time,
            updated_at=book.time,
        )
        for domain in domains:
            book.put(DOMAIN_CLAIMS, DomainClaim(book.workspace_id, domain, company_id))
        version = book.enter(Kind.COMPANY, company_id, Action.CREATED, None, company)
        row = CompanyRow(
            workspace_id=book.workspace_id,
            id=company_id,
            version=version,
            updated_at=book.at,
            deleted_at=None,
            object=company,
        )
        book.put(COMPANIES, row)
        return Result(version, company)


def _refuse_taken(book: Book, domains: list[str]) -> None:
    errors: list[FieldError] = []
    holders: list[tuple[str, str]] = []
    for index, domain in enumerate(domains):
        if (claim := book.find(DOMAIN_CLAIMS, domain)) is not None:
            place = f"domains[{index}].domain"
            message = f"`{domain}` belongs to another active company of this workspace. Update that one instead."
            errors.append(FieldError(place, "already_in_use", message))
            holders.append(("company", ids.encoded(ids.COMPANY, claim.company_id)))
    if errors:
        raise Taken(errors, holders, "companies:read")
