"""The pages of engagements, with the names of those who took part, and with what was said."""

import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.db.paging import PageQuery
from herdbook.engagements import store as engagements
from herdbook.engagements.api import LIST_OF, ShownEngagement
from herdbook.engagements.commands import PRIVATE_READ
from herdbook.engagements.model import Engagement
from herdbook.engagements.store import ENGAGEMENT, texts
from herdbook.errors import Invalid, InvalidQuery
from herdbook.exports import store
from herdbook.exports.files import Exporting, Source
from herdbook.exports.model import ObjectExportRequest
from herdbook.exports.rows import BETWEEN
from herdbook.exports.store import StoredEngagement
from herdbook.formats.lists import joined
from herdbook.http.page import CRM, FilterReader

_PAGE: Final = 100
# A page ends once its engagements have so many contacts, companies and tags together.
_MAX_REFERENCES: Final = 5000
_TEXT_BYTES: Final = 4_194_304
_encoder: Final = msgspec.json.Encoder()
_filters: Final = FilterReader(LIST_OF)
_PARAMETER: Final = re.compile(r"filter\[(\w+)\]\[(\w+)\]")
# The scopes that the parts of an engagement need beside that to read it.
_CONTACTS: Final = "contacts:read"
_COMPANIES: Final = "companies:read"
_USERS: Final = "users:read"


class _Told(NamedTuple):
    """An engagement with the names of what it refers to, by their ids, and its transcript as plain text."""

    shown: Engagement
    stored: StoredEngagement
    contacts: Mapping[str, str]
    companies: Mapping[str, str]
    owner: str
    tags: tuple[str, ...]
    transcript: str | None


def chosen_by(parameters: Iterable[tuple[str, str]]) -> PageQuery:
    """Return the choice of engagements that query parameters of their list make. Refusal: InvalidQuery."""
    return _filters.read(parameters, [])


def _chosen(asked: ObjectExportRequest) -> PageQuery:
    """Return the choice of engagements that a request makes. Refusal: Invalid."""
    try:
        return chosen_by(_parameters(asked))
    except InvalidQuery as refusal:
        errors = [each._replace(field=_member(each.field), message=_member(each.message)) for each in refusal.errors]
        raise Invalid(errors) from None


def _parameters(asked: ObjectExportRequest) -> Iterator[tuple[str, str]]:
    """Yield the choice of a request as query parameters of the list."""
    members: dict[str, Any] = {} if asked.filter is UNSET else msgspec.to_builtins(asked.filter)
    for name, value in members.items():
        if name in LIST_OF.times:
            yield from ((f"filter[{name}][{bound}]", time) for bound, time in value.items())
        elif name == "crm_associations":
            yield CRM, msgspec.json.encode(value).decode()
        else:
            yield f"filter[{name}][in]", ",".join(value)
    if asked.search:
        yield "search", asked.search


def _member(text: str) -> str:
    """Return a text with members of a request in place of query parameters."""
    return _PARAMETER.sub(lambda found: f"filter.{found[1]}" + ("" if found[2] in ("eq", "in") else f".{found[2]}"), text)


def exporting(source: Source, asked: ObjectExportRequest, chosen: PageQuery | None) -> Exporting:
    """Return an export of engagements: of some ids, or what a query or the request chooses. Refusal: Invalid.

    It has private ones only for callers that may see them.
    """
    columns = [name for name, scope in _COLUMNS.items() if scope is None or source.may(scope)]
    parts = frozenset(scope for scope in (_CONTACTS, _COMPANIES, _USERS) if source.may(scope))

    def row(told: _Told) -> list[str]:
        cells = _cells(told)
        return [cells[name] if name in cells else _cell(told, name) for name in columns]

    def lines(page: Sequence[_Told]) -> bytes:
        return _encoder.encode_lines([_exported(told, parts) for told in page])

    return Exporting(
        ENGAGEMENT.plural.capitalize(),
        _pages(source, _by_id(source, asked.object_ids) if asked.object_ids else _listed(source, chosen or _chosen(asked))),
        columns,
        row,
        lines,
    )


async def _pages(source: Source, pages: AsyncGenerator[list[StoredEngagement]]) -> AsyncGenerator[Sequence[_Told]]:
    async for found in pages:
        for some in _few(found):
            left = some
            while left:
                said = await texts(source.pool, source.workspace_id, [each.id for each in left], _TEXT_BYTES)
                yield await _told(source, left[: said.covered], said.found)
                left = left[said.covered :]
                await source.breathe()


async def _by_id(source: Source, shown_ids: Sequence[str]) -> AsyncGenerator[list[StoredEngagement]]:
    """Yield the engagements with some ids, in the order of these."""
    wanted = ids.decoded_all(ids.ENGAGEMENT, dict.fromkeys(shown_ids))
    for start in range(0, len(wanted), _PAGE):
        some = wanted[start : start + _PAGE]
        rows = await store.some_engagements(source.pool, source.workspace_id, some, sees_private=source.may(PRIVATE_READ))
        by_id = {row.id: row for row in rows}
        yield [by_id[each] for each in some if each in by_id]
        await source.check()


async def _listed(source: Source, chosen: PageQuery) -> AsyncGenerator[list[StoredEngagement]]:
    """Yield the engagements that are chosen, the earliest first. The beginning of one never changes, so none is passed over."""
    query = msgspec.structs.replace(chosen, limit=_PAGE, order="start_at", descending=False)
    while True:
        rows = await engagements.page(source.pool, source.workspace_id, query, sees_private=source.may(PRIVATE_READ))
        yield [StoredEngagement(*ShownEngagement.of_row(row)) for row in rows[:_PAGE]]
        if len(rows) <= _PAGE:
            return
        query = msgspec.structs.replace(query, after=rows[_PAGE - 1].place)
        await source.check()


def _few(found: Sequence[StoredEngagement]) -> Iterator[list[StoredEngagement]]:
    """Yield engagements in groups with few references."""
    some, references = list[StoredEngagement](), 0
    for each in found:
        some.append(each)
        details = each.details
        references += len(details.contact_ids) + len(details.company_ids) + len(details.tag_ids)
        if references >= _MAX_REFERENCES:
            yield some
            some, references = [], 0
    if some:
        yield some


async def _told(source: Source, some: Sequence[StoredEngagement], said: Mapping[UUID, str]) -> list[_Told]:
    shown = [msgspec.json.decode(each.object, type=Engagement) for each in some]
    contacts = await _names(source, "contact", ids.CONTACT, [each.details.contact_ids for each in some], _CONTACTS)
    companies = await _names(source, "company", ids.COMPANY, [each.details.company_ids for each in some], _COMPANIES)
    tags = await _names(source, "tag", ids.TAG, [each.details.tag_ids for each in some], None)
    owners = await _names(source, "user", ids.USER, [[each.owner_user_id] for each in shown if each.owner_user_id], _USERS)
    return [
        _Told(
            engagement,
            each,
            {key: contacts[key] for key in each.details.contact_ids if key in contacts},
            {key: companies[key] for key in each.details.company_ids if key in companies},
            "" if engagement.owner_user_id is UNSET else owners.get(engagement.owner_user_id, ""),
            tuple(tags[key] for key in each.details.tag_ids if key in tags),
            said.get(each.id),
        )
        for engagement, each in zip(shown, some, strict=True)
    ]


async def _names(
    source: Source, kind: str, prefix: str, shown_ids: Sequence[Sequence[str]], scope: str | None
) -> dict[str, str]:
    """Return the names of active objects by their ids, empty for those without one, if the caller may read them."""
    if scope is not None and not source.may(scope):
        return {}
    wanted = ids.decoded_all(prefix, {each for some in shown_ids for each in some})
    found = await store.names_of_active(source.pool, source.workspace_id, kind, wanted)
    return {ids.encoded(prefix, key): name for key, name in found.items()}


def _exported(told: _Told, parts: frozenset[str]) -> dict[str, Any]:
    """Return an engagement as a line shows it, with the parts that need these scopes."""
    members: dict[str, Any] = msgspec.to_builtins(told.shown)
    if told.transcript is not None:
        members["transcript"] = told.transcript
    if told.tags:
        members["tags"] = told.tags
    if _CONTACTS in parts:
        details = told.stored.details
        members["external_id"] = details.external_id
        members["participants"] = details.participants
        members["contacts"] = [{"id": key, "name": name} for key, name in told.contacts.items()]
    if _COMPANIES in parts:
        members["companies"] = [{"id": key, "name": name} for key, name in told.companies.items()]
    if told.owner:
        members["owner_name"] = told.owner
    return members


# The columns, and the scope that each needs beside that to read engagements.
_COLUMNS: Final[Mapping[str, str | None]] = {
    **dict.fromkeys(("id", "title", "engagement_type", "processing_status", "is_private", "start_at", "end_at"), None),
    **dict.fromkeys(("duration_seconds", "description", "data_source"), None),
    "external_id": _CONTACTS,
    **dict.fromkeys(("external_url", "meeting_url", "owner_user_id"), None),
    "owner_name": _USERS,
    **dict.fromkeys(("contact_ids", "contact_names"), _CONTACTS),
    **dict.fromkeys(("company_ids", "company_names"), _COMPANIES),
    **dict.fromkeys(("tags", "transcript", "created_at", "updated_at"), None),
}


def _cells(told: _Told) -> dict[str, str]:
    """Return the cells of an engagement by their columns, beside those of members that are texts or numbers."""
    return {
        "engagement_type": told.shown.engagement_type.value,
        "processing_status": told.shown.processing_status.value,
        "is_private": "true" if told.shown.is_private else "false",
        "external_id": told.stored.details.external_id,
        "owner_name": told.owner,
        "contact_ids": BETWEEN.join(told.contacts),
        "contact_names": joined(told.contacts.values()),
        "company_ids": BETWEEN.join(told.companies),
        "company_names": joined(told.companies.values()),
        "tags": joined(told.tags),
        "transcript": told.transcript or "",
    }


def _cell(told: _Told, name: str) -> str:
    value: Any = getattr(told.shown, name)
    return "" if value is UNSET or value is None else str(value)
