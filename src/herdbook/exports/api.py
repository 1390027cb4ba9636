"""The operations of /herdbook/exports."""

from typing import Final

import msgspec

from herdbook import ids
from herdbook.custom_fields.model import FieldObjectType
from herdbook.errors import FieldError, Invalid, InvalidQuery, NotFound
from herdbook.exports import streams
from herdbook.exports.model import MEDIA_TYPES, SUFFIXES, Exported, ExportQuery, ExportSort, ObjectExportRequest
from herdbook.exports.streams import Source
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Operation
from herdbook.views import store as views
from herdbook.views.model import ViewContent

_SCOPES: Final = {FieldObjectType.CONTACT: "contacts:read", FieldObjectType.COMPANY: "companies:read"}


async def export_all(call: Call, query: ExportQuery) -> Answer:
    """Export all objects, or those of a saved view. Refusals: Forbidden, InvalidQuery, NotFound."""
    object_type = FieldObjectType(query.object_type)
    call.caller.require(_SCOPES[object_type])
    content = await _view(call, query) if query.view_id else ViewContent()
    sort = tuple(ExportSort(each.field, each.direction) for each in content.sort)
    asked = ObjectExportRequest(object_type=object_type, format=query.format, where=content.where, sort=sort)
    try:
        return await _answer(call, asked)
    except Invalid as refusal:
        raise InvalidQuery(refusal.errors) from None


async def export_found(call: Call, asked: ObjectExportRequest) -> Answer:
    """Export what a query finds, or some objects. Refusals: Forbidden, Invalid."""
    call.caller.require(_SCOPES[asked.object_type])
    if asked.object_ids and (asked.where is not None or asked.sort):
        message = "`object_ids` goes without `where` and `sort`. Send either."
        raise Invalid([FieldError("object_ids", "conflict", message)])
    return await _answer(call, asked)


async def _answer(call: Call, asked: ObjectExportRequest) -> Answer:
    source = Source(call.services.database.pages, call.caller.workspace_id, call.time_slice, call.check_caller)
    stream = await streams.export(source, asked)
    name = "contacts" if asked.object_type is FieldObjectType.CONTACT else "companies"
    disposition = f'attachment; filename="{name}.{SUFFIXES[asked.format]}"'
    headers = ((b"content-disposition", disposition.encode()), (b"cache-control", b"no-store"))
    return Answer(b"", headers=headers, stream=stream, media_type=MEDIA_TYPES[asked.format])


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
    "read the objects."
)
_FILES: Final = tuple(dict.fromkeys(each.decode().partition(";")[0] for each in MEDIA_TYPES.values()))
OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/herdbook/exports",
        id="export-objects",
        summary="Export objects",
        description=f"Exports all contacts or companies, or those of a saved view. {_DESCRIBED}",
        tag=_TAG,
        scopes=(),
        handler=export_all,
        query=ExportQuery,
        answer=Exported,
        answer_description="The file, in the form that was asked for.",
        files=_FILES,
        refusals=(NotFound,),
    ),
    Operation(
        method="POST",
        path="/herdbook/exports",
        id="export-found-objects",
        summary="Export what a query finds",
        description=f"Exports the contacts or companies that meet a condition, or those with some ids. {_DESCRIBED}",
        tag=_TAG,
        scopes=(),
        handler=export_found,
        body=ObjectExportRequest,
        answer=Exported,
        answer_description="The file, in the form that was asked for.",
        files=_FILES,
        bypasses_ledger=True,
    ),
)
