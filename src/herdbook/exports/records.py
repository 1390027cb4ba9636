"""The pages of contacts and companies, with the names of what they refer to and their notes, as rows, lines and cards."""

import contextlib
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.cards import store as cards
from herdbook.cards.model import content_of_contact, properties_in, united, visible
from herdbook.companies.query_store import QUERIED_COMPANIES
from herdbook.contacts.query_store import QUERIED_CONTACTS
from herdbook.custom_fields.model import Field
from herdbook.exports import store
from herdbook.exports.files import Exporting, Source
from herdbook.exports.model import ObjectExportRequest
from herdbook.exports.rows import Columns, Whole, Widths
from herdbook.formats.card_content import properties_of
from herdbook.formats.cards import Property, written
from herdbook.querying import store as querying
from herdbook.querying.model import Sort
from herdbook.querying.store import QueriedType, Query
from herdbook.workspaces.store import region_of

_PAGE: Final = 500
# The bytes of kept cards that are read at once, unless a single contact has more.
_CARD_BYTES: Final = 4_194_304
_OLDEST_FIRST: Final = (Sort("created_at", "asc"),)
_encoder: Final = msgspec.json.Encoder()


async def exporting(source: Source, asked: ObjectExportRequest) -> Exporting:
    """Return an export of contacts or companies. Refusal: Invalid, now or with the first page."""
    kind: LiteralString = "contact" if asked.object_type == "contact" else "company"
    queried = QUERIED_CONTACTS if kind == "contact" else QUERIED_COMPANIES
    definitions = (await querying.definitions(source.pool, source.workspace_id, queried)).fields
    pages = _named(source, kind, await _records(source, queried, asked, definitions))
    is_table = asked.format in ("csv", "xlsx")
    widths = await _widths(source, kind) if is_table else Widths(1, 1, 0, 0)
    columns = Columns(definitions, widths, has_people=kind == "contact")
    return Exporting(queried.object_type.plural.capitalize(), pages, columns.header, columns.row, _lines)


def _lines(page: Sequence[Whole]) -> bytes:
    return _encoder.encode_lines([_exported(whole) for whole in page])


async def _records(
    source: Source, queried: QueriedType, asked: ObjectExportRequest, definitions: Sequence[Field]
) -> AsyncGenerator[Sequence[Any]]:
    """Return the pages of the records. Refusal: Invalid, with the first page or before."""
    pool, workspace_id = source.pool, source.workspace_id
    shown = {field.key for field in definitions if not field.archived}
    if asked.object_ids:
        return _by_id(source, queried, asked.object_ids, shown)
    reader = queried.reader(definitions, await region_of(pool, workspace_id))
    query = Query(None if asked.where is None else reader.where(asked.where), reader.sort(asked.sort or _OLDEST_FIRST), _PAGE)
    reader.refuse()

    async def found() -> AsyncGenerator[Sequence[Any]]:
        after = query
        while True:
            page = await querying.page(pool, workspace_id, queried, after, source.breathe)
            yield await querying.shown(pool, workspace_id, queried, page, shown)
            if page.next_place is None:
                return
            after = after._replace(after=page.next_place)
            await source.check()

    return found()


async def _by_id(
    source: Source, queried: QueriedType, shown_ids: Sequence[str], shown: Collection[str]
) -> AsyncGenerator[Sequence[Any]]:
    wanted = ids.decoded_all(queried.object_type.prefix, dict.fromkeys(shown_ids))
    for start in range(0, len(wanted), _PAGE):
        some = querying.Matches(wanted[start : start + _PAGE], {}, None)
        yield await querying.shown(source.pool, source.workspace_id, queried, some, shown)
        await source.check()


async def _named(source: Source, kind: LiteralString, pages: AsyncGenerator[Sequence[Any]]) -> AsyncGenerator[Sequence[Whole]]:
    """Return the pages with the names of companies and tags, and with notes."""
    pool, workspace_id = source.pool, source.workspace_id
    prefix = ids.CONTACT if kind == "contact" else ids.COMPANY
    async with contextlib.aclosing(pages):
        async for records in pages:
            object_ids = ids.decoded_all(prefix, [record.id for record in records])
            names_companies = kind == "contact" and source.may("companies:read")
            company_ids = {record.company.id for record in records if names_companies and record.company is not UNSET}
            tag_ids = {tag_id for record in records if source.may("tags:read") for tag_id in record.tag_ids or ()}
            companies = await store.names(pool, workspace_id, "company", ids.decoded_all(ids.COMPANY, company_ids))
            tags = await store.names(pool, workspace_id, "tag", ids.decoded_all(ids.TAG, tag_ids))
            notes = await store.notes(pool, workspace_id, kind, object_ids)
            yield [
                Whole(
                    record,
                    _name(companies, ids.COMPANY, record.company.id) if names_companies and record.company else "",
                    tuple(filter(None, (_name(tags, ids.TAG, tag_id) for tag_id in record.tag_ids or ()))),
                    tuple(notes.get(object_id, ())),
                )
                for object_id, record in zip(object_ids, records, strict=True)
            ]


def _name(names: dict[UUID, str], prefix: str, shown_id: str) -> str:
    return names.get(ids.decoded(prefix, shown_id) or ids.NIL, "")


async def _widths(source: Source, kind: LiteralString) -> Widths:
    lists = ("emails", "phone_numbers") if kind == "contact" else ("domains", "domains")
    first, second, own_ids = await store.longest(source.pool, source.workspace_id, kind, *lists)
    notes = await store.most_notes(source.pool, source.workspace_id, kind)
    return Widths(max(first, 1), max(second, 1), own_ids, notes)


async def cards_of(
    source: Source, first: Sequence[Whole], pages: AsyncGenerator[Sequence[Whole]], version: str
) -> AsyncGenerator[bytes]:
    """Yield the parts of a file of cards, which begins with a page that was read already."""
    async with contextlib.aclosing(pages):
        async for part in _cards_of(source, first, version):
            yield part
        async for page in pages:
            async for part in _cards_of(source, page, version):
                yield part


async def _cards_of(source: Source, page: Sequence[Whole], version: str) -> AsyncGenerator[bytes]:
    """Yield the cards of some contacts, with what is kept beside these. Few contacts at a time have large cards."""
    known = {whole.record.id: ids.decoded_all(ids.CARD, whole.record.card_ids or ()) for whole in page}
    wanted = [card_id for card_ids in known.values() for card_id in card_ids]
    sizes = await cards.sizes(source.pool, source.workspace_id, wanted) if wanted else {}
    some, size = list[Whole](), 0
    for whole in page:
        size += sum(sizes.get(card_id, 0) for card_id in known[whole.record.id])
        if some and size > _CARD_BYTES:
            yield await _written(source, some, known, version)
            await source.breathe()
            some, size = [], 0
        some.append(whole)
    yield await _written(source, some, known, version)


async def _written(source: Source, some: Sequence[Whole], known: Mapping[str, Sequence[UUID]], version: str) -> bytes:
    wanted = [card_id for whole in some for card_id in known[whole.record.id]]
    found = await cards.found(source.pool, source.workspace_id, wanted) if wanted else {}
    written_cards: list[str] = []
    for whole in some:
        kept = [found[card_id] for card_id in known[whole.record.id] if card_id in found]
        properties: tuple[Property, ...] = ()
        for card in kept:
            properties = united(properties, visible(properties_in(card.properties) or (), source.may))
        content = content_of_contact(whole.record, whole.company_name, whole.tags, whole.notes)
        left_out = [each for card in kept for each in card.left_out]
        written_cards.append(written(properties_of(content, properties, left_out), version))
    return "".join(written_cards).encode()


def _exported(whole: Whole) -> dict[str, Any]:
    members: dict[str, Any] = msgspec.to_builtins(whole.record)
    added = {"company_name": whole.company_name, "tags": whole.tags, "notes": whole.notes}
    return members | {name: value for name, value in added.items() if value}
