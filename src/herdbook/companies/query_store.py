"""The declaration by which queries find companies."""

from collections.abc import Iterable
from typing import Any, Final

from herdbook.addresses import without_www
from herdbook.companies.model import CompanyRecord, normal_domain
from herdbook.companies.store import COMPANY
from herdbook.errors import FieldError
from herdbook.querying.conditions import (
    BY_AGE,
    BY_CHANGE,
    BY_CRM,
    BY_TAGS,
    Member,
    parts_member,
    text_member,
    text_value,
)
from herdbook.querying.store import QueriedType
from herdbook.search_text import first_word, folded, searchable


def _domain(value: Any, path: str, errors: list[FieldError]) -> Iterable[str]:
    text = text_value(value, path, errors)
    if text is None:
        return ()
    try:
        return (normal_domain(text),)
    except ValueError as error:
        message = f"`{path}` is not a domain: {str(error).removesuffix('.')}. Part of one goes with `contains`."
        errors.append(FieldError(path, "invalid_format", message))
        return ()


def _domains(record: CompanyRecord) -> Iterable[str]:
    return [without_www(item.domain) for item in record.domains]


def _domain_texts(record: CompanyRecord) -> Iterable[str]:
    return [folded(item.domain) for item in record.domains]


def _name_word(text: str) -> str | None:
    return first_word(searchable(text))


_MEMBERS: Final[tuple[Member, ...]] = (
    text_member("name")._replace(lookup="word", keys=_name_word),
    text_member("description"),
    parts_member("domains", "domain", _domain, _domains, _domain_texts, lookup="domain"),
    BY_CRM,
    BY_AGE,
    BY_CHANGE,
    BY_TAGS,
)
QUERIED_COMPANIES: Final = QueriedType(
    object_type=COMPANY,
    members=lambda _: _MEMBERS,
    record=CompanyRecord,
    lookups={
        "domain": "select l.company_id from company_domain l where l.workspace_id = $1 and l.domain = any($keys) limit $most"
    },
)
