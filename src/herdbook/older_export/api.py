"""The operations of /v1/meetings/export."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from herdbook import ids
from herdbook.db.paging import PageQuery
from herdbook.engagements import store
from herdbook.engagements.api import ShownEngagement, expanded
from herdbook.engagements.commands import PRIVATE_READ
from herdbook.engagements.model import Engagement
from herdbook.errors import InvalidQuery
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Operation
from herdbook.http.page import not_this_cursor, not_with_cursor
from herdbook.older_export.model import MAX_EXPORTED, Export, ExportedEngagement, ExportQuery, ExportRequest

_EXPANDED: Final = ("transcript", "media_url")
_decode: Final = msgspec.json.Decoder(Engagement).decode


async def export_page(call: Call, query: ExportQuery) -> Answer:
    """Export a page of all engagements that the caller may see."""
    page_query, salt = _page_query(call, query), call.cursor_salt
    rows = await store.page(
        call.services.database.pages, call.caller.workspace_id, page_query, sees_private=call.caller.may(PRIVATE_READ)
    )
    shown = [ShownEngagement.of_row(row) for row in rows[: page_query.limit]]
    exported = await _exported(call, shown)
    cursor = None
    if len(rows) > len(exported):
        continued = msgspec.structs.replace(page_query, after=rows[len(exported) - 1].place)
        cursor = call.services.cursors.cursor(continued, salt)
    return _answer(exported, cursor, ())


async def export_some(call: Call, asked: ExportRequest) -> Answer:
    """Export the engagements with these ids, each once, in their order."""
    wanted = tuple(dict.fromkeys(asked.engagement_ids))
    shown: list[ShownEngagement] = []
    missing: list[str] = []
    found = await asyncio.gather(*(_found(call, shown_id) for shown_id in wanted))
    for shown_id, engagement in zip(wanted, found, strict=True):
        if engagement is None:
            missing.append(shown_id)
        else:
            shown.append(engagement)
    exported: list[ExportedEngagement] = []
    # Expanding stops at so many bytes. There is no next page here, and only so few engagements that all may come.
    while len(exported) < len(shown):
        exported += await _exported(call, shown[len(exported) :])
    return _answer(exported, None, missing)


async def _found(call: Call, shown_id: str) -> ShownEngagement | None:
    engagement_id = ids.decoded(ids.ENGAGEMENT, shown_id) or ids.NIL
    found = await store.find(call.services.database, call.caller.workspace_id, engagement_id)
    if found is None or (found.is_private and not call.caller.may(PRIVATE_READ)):
        return None
    return ShownEngagement(engagement_id, found.found.body, found.details)


async def _exported(call: Call, shown: Sequence[ShownEngagement]) -> list[ExportedEngagement]:
    return [ExportedEngagement.of(_decode(body)) for body in await expanded(call, shown, _EXPANDED)]


def _page_query(call: Call, query: ExportQuery) -> PageQuery:
    """Return the query of a page. Refusal: InvalidQuery."""
    is_descending = query.sort_direction != "asc"
    if not query.cursor:
        return PageQuery(limit=MAX_EXPORTED, order="start_at", descending=is_descending)
    continued = call.services.cursors.read(query.cursor, call.cursor_salt, PageQuery)
    if continued is None:
        raise InvalidQuery([not_this_cursor("nextCursor")])
    if query.sort_direction and continued.descending != is_descending:
        raise InvalidQuery([not_with_cursor("sortDirection")])
    return continued


def _answer(exported: Sequence[ExportedEngagement], cursor: str | None, missing: Sequence[str]) -> Answer:
    export = Export(engagements=tuple(exported), next_cursor=cursor, not_found_engagement_ids=tuple(missing))
    return Answer(msgspec.json.encode(export))


_UNDOCUMENTED: Final = (
    "The vendor does not document this operation: it is as programs that call it use it. They send the key in `X-Api-Key`, and "
    "a 429 says `retryAfterSeconds`, too. Private engagements are left out without the scope `engagements:private:read`."
)
OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/meetings/export",
        id="export-meetings",
        summary="Export meetings",
        description=f"Exports engagements with their transcripts, in pages of {MAX_EXPORTED}. {_UNDOCUMENTED}",
        tag="subpackage_engagements",
        scopes=("engagements:read",),
        handler=export_page,
        query=ExportQuery,
        answer=Export,
        answer_description="A page of the export.",
        is_older=True,
    ),
    Operation(
        method="POST",
        path="/v1/meetings/export",
        id="export-some-meetings",
        summary="Export some meetings",
        description=f"Exports up to {MAX_EXPORTED} engagements by their ids, with their transcripts. {_UNDOCUMENTED}",
        tag="subpackage_engagements",
        scopes=("engagements:read",),
        handler=export_some,
        body=ExportRequest,
        answer=Export,
        answer_description="The engagements, and the ids that name none.",
        bypasses_ledger=True,
        is_older=True,
    ),
)
