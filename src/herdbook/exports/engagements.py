"""The pages of engagements, with the names of those who took part, and with what was said."""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.engagements.commands import PRIVATE_READ
from herdbook.engagements.model import Engagement
from herdbook.engagements.store import ENGAGEMENT, texts
from herdbook.exports import store
from herdbook.exports.files import Exporting, Source
from herdbook.exports.model import ObjectExportRequest
from herdbook.exports.rows import BETWEEN
from herdbook.exports.store import StoredEngagement
from herdbook.formats.lists import joined

_PAGE: Final = 100
# A page ends once its engagements have so many contacts, companies and tags together.
_MAX_REFERENCES: Final = 5000
_TEXT_BYTES: Final = 4_194_304
_encoder: Final = msgspec.json.Encoder()
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


def exporting(source: Source, asked: ObjectExportRequest) -> Exporting:
    """Return an export of engagements: all, or those with some ids. It has private ones only for callers that may see them."""
    columns = [column for column in _COLUMNS if column.scope is None or source.may(column.scope)]
    parts = frozenset(scope for scope in (_CONTACTS, _COMPANIES, _USERS) if source.may(scope))

    def lines(page: Sequence[_Told]) -> bytes:
        return _encoder.encode_lines([_exported(told, parts) for told in page])

    return Exporting(
        ENGAGEMENT.plural.capitalize(),
        _pages(source, asked.object_ids),
        [column.name for column in columns],
        lambda told: [column.cell(told) for column in columns],
        lines,
    )


async def _pages(source: Source, shown_ids: Sequence[str]) -> AsyncGenerator[Sequence[_Told]]:
    async for found in _found(source, shown_ids):
        for some in _few(found):
            left = some
            while left:
                said = await texts(source.pool, source.workspace_id, [each.id for each in left], _TEXT_BYTES)
                yield await _told(source, left[: said.covered], said.found)
                left = left[said.covered :]
                await source.breathe()


async def _found(source: Source, shown_ids: Sequence[str]) -> AsyncGenerator[list[StoredEngagement]]:
    """Yield engagements as they are stored: those with the ids, in their order, or all, the oldest first."""
    sees_private = source.may(PRIVATE_READ)
    if shown_ids:
        wanted = ids.decoded_all(ids.ENGAGEMENT, dict.fromkeys(shown_ids))
        for start in range(0, len(wanted), _PAGE):
            some = wanted[start : start + _PAGE]
            rows = await store.some_engagements(source.pool, source.workspace_id, some, sees_private=sees_private)
            by_id = {row.id: row for row in rows}
            yield [by_id[each] for each in some if each in by_id]
            await source.check()
        return
    after = ids.NIL
    while True:
        rows = await store.engagements(source.pool, source.workspace_id, after, _PAGE, sees_private=sees_private)
        yield rows
        if len(rows) < _PAGE:
            return
        after = rows[-1].id
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


class _Column(NamedTuple):
    """A column: its name, the scope that it needs beside that to read engagements, and the cell of an engagement."""

    name: str
    cell: Callable[[_Told], str]
    scope: str | None = None


def _member(name: str) -> _Column:
    def cell(told: _Told) -> str:
        value = getattr(told.shown, name)
        return "" if value is UNSET or value is None else str(getattr(value, "value", value))

    return _Column(name, cell)


_COLUMNS: Final = (
    _member("id"),
    _member("title"),
    _member("engagement_type"),
    _member("processing_status"),
    _Column("is_private", lambda told: "true" if told.shown.is_private else "false"),
    *map(_member, ("start_at", "end_at", "duration_seconds", "description", "data_source")),
    _Column("external_id", lambda told: told.stored.details.external_id, _CONTACTS),
    *map(_member, ("external_url", "meeting_url", "owner_user_id")),
    _Column("owner_name", lambda told: told.owner, _USERS),
    _Column("contact_ids", lambda told: BETWEEN.join(told.contacts), _CONTACTS),
    _Column("contact_names", lambda told: joined(told.contacts.values()), _CONTACTS),
    _Column("company_ids", lambda told: BETWEEN.join(told.companies), _COMPANIES),
    _Column("company_names", lambda told: joined(told.companies.values()), _COMPANIES),
    _Column("tags", lambda told: joined(told.tags)),
    _Column("transcript", lambda told: told.transcript or ""),
    _member("created_at"),
    _member("updated_at"),
)
