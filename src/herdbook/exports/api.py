"""The operations of /herdbook/exports."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UnsetType

from herdbook import ids
from herdbook.companies.store import COMPANY
from herdbook.contacts.store import CONTACT
from herdbook.db.paging import PageQuery
from herdbook.engagements.api import LIST_OF
from herdbook.engagements.store import ENGAGEMENT
from herdbook.errors import FieldError, Invalid, InvalidQuery, NoLongerKept, NotFound, quoted
from herdbook.exports import streams
from herdbook.exports.engagements import chosen_by
from herdbook.exports.files import Source
from herdbook.exports.model import (
    MEDIA_TYPES,
    PLURALS,
    SUFFIXES,
    Exported,
    ExportQuery,
    ExportSort,
    ExportType,
    ObjectExportRequest,
)
from herdbook.feed.store import View
from herdbook.feed.telling import view_of
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Operation
from herdbook.http.query import is_filter, pairs
from herdbook.views import store as views
from herdbook.views.model import ViewContent

_TYPES: Final = {each.name: each for each in (CONTACT, COMPANY, ENGAGEMENT)}


async def export_all(call: Call, query: ExportQuery) -> Answer:
    """Export all objects, those of a saved view, or the engagements that filters choose.

    Refusals: Forbidden, InvalidQuery, NoLongerKept, NotFound.
    """
    _readable(call, query.object_type, query.types)
    content = await _view(call, query) if query.view_id else ViewContent()
    sort = tuple(ExportSort(each.field, each.direction) for each in content.sort)
    asked = ObjectExportRequest(
        object_type=query.object_type,
        format=query.format,
        where=content.where,
        sort=sort,
        after=query.after,
        types=query.types,
    )
    chosen = _chosen(call, query.object_type)
    try:
        return await _exported(call, asked, chosen)
    except Invalid as refusal:
        raise InvalidQuery(refusal.errors) from None


async def export_found(call: Call, asked: ObjectExportRequest) -> Answer:
    """Export what a query or filters find, or some objects. Refusals: Forbidden, Invalid, NoLongerKept."""
    return await _exported(call, asked, None)


async def _exported(call: Call, asked: ObjectExportRequest, chosen: PageQuery | None) -> Answer:
    feed = _readable(call, asked.object_type, asked.types)
    workspace_id = call.caller.workspace_id
    source = Source(call.services.database.pages, workspace_id, call.time_slice, call.check_caller, call.caller.may, feed)
    stream = await streams.export(source, asked, chosen)
    disposition = f'attachment; filename="{PLURALS[asked.object_type]}.{SUFFIXES[asked.format]}"'
    headers = ((b"content-disposition", disposition.encode()), (b"cache-control", b"no-store"))
    return Answer(b"", headers=headers, stream=stream, media_type=MEDIA_TYPES[asked.format])


def _chosen(call: Call, object_type: ExportType) -> PageQuery | None:
    """Return the choice of engagements in the query string, None if there is none. Refusal: InvalidQuery."""
    sent = [(name, text) for name, text in pairs(call.query_string, []) if is_filter(name)]
    if sent and object_type != "engagement":
        name = quoted(sent[0][0])
        message = f"`{name}` does not go with the `object_type` `{object_type}`. Leave it out."
        raise InvalidQuery([FieldError(name, "conflict", message)])
    return chosen_by(sent) if sent else None


def _readable(call: Call, object_type: ExportType, types: Sequence[str] | UnsetType) -> View:
    """Return the part of the feed that an export of changes has. Refusal: Forbidden, if the caller may not read the objects."""
    if object_type == "change":
        return view_of(call.caller, call.services.object_types, types)
    for scope in _TYPES[object_type].read_scopes:
        call.caller.require(scope)
    return View((), sees_private=False, sees_details=False)


async def _view(call: Call, query: ExportQuery) -> ViewContent:
    """Return what a saved view lists. Refusals: NotFound, InvalidQuery."""
    view_id = ids.decoded(ids.VIEW, query.view_id) or ids.NIL
    row = await views.find(call.services.database.pool, call.caller.workspace_id, call.caller.user_id, view_id)
    if row is None or row.object_type != query.object_type:
        raise NotFound("view")
    content = msgspec.json.decode(row.content, type=ViewContent)
    if content.search:
        message = "`view_id` names a view with a search, which an export does not know. Save the view with filters instead."
        raise InvalidQuery([FieldError("view_id", "invalid_choice", message)])
    return content


_TAG: Final = "subpackage_exports"
_DESCRIBED: Final = (
    "The file comes in parts, as it is read; it has the objects as they are when their part is read. A table has a column for "
    "each member, each field of the workspace and each note, under names by which an import knows them. It needs the scope to "
    "read the objects: contacts have the names of their company and tags, companies those of their tags, and engagements their "
    "contacts, companies and owner if the credential may read these, and private engagements "
    "require `engagements:private:read`. The earliest engagement is first. Changes require what the change feed does, and end "
    "with the last one at that time."
)
_FILES: Final = tuple(dict.fromkeys(each.decode().partition(";")[0] for each in MEDIA_TYPES.values()))
OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/herdbook/exports",
        id="export-objects",
        summary="Export objects",
        description="Exports all contacts, companies, engagements or changes, what a saved view lists, or the engagements "
        f"that the filters and the search of their list find. {_DESCRIBED}",
        tag=_TAG,
        scopes=(),
        handler=export_all,
        query=ExportQuery,
        filters_of=LIST_OF,
        answer=Exported,
        answer_description="The file, in the form that was asked for.",
        files=_FILES,
        refusals=(NotFound, NoLongerKept),
    ),
    Operation(
        method="POST",
        path="/herdbook/exports",
        id="export-found-objects",
        summary="Export what a query finds",
        description="Exports what meets a condition, the engagements that filters find, the objects with some ids, or changes. "
        f"{_DESCRIBED}",
        tag=_TAG,
        scopes=(),
        handler=export_found,
        body=ObjectExportRequest,
        answer=Exported,
        answer_description="The file, in the form that was asked for.",
        files=_FILES,
        bypasses_ledger=True,
        refusals=(NoLongerKept,),
    ),
)
