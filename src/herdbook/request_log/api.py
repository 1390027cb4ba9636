"""The operations of /herdbook/requests."""

from typing import Final
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.errors import InvalidQuery, NotFound
from herdbook.history.model import HistoryAction
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Operation
from herdbook.http.page import not_this_cursor
from herdbook.ledger.changes import Action
from herdbook.request_log import store
from herdbook.request_log.model import (
    ChangeRow,
    LoggedRequestList,
    MadeChange,
    RequestCursor,
    RequestsQuery,
    RequestWithChanges,
    shown,
)
from herdbook.webhooks.events import event_id, event_type

_LAST: Final = UUID(int=2**128 - 1)
# A request with more has the rest in the feed.
_MOST_CHANGES: Final = 20


async def list_requests(call: Call, query: RequestsQuery) -> Answer:
    """List the latest requests of the workspace. Refusal: InvalidQuery."""
    before = _LAST
    # A cursor is for the filters that it was made with.
    salt = f"{call.cursor_salt}:{msgspec.json.encode(msgspec.structs.replace(query, cursor=UNSET, limit=1)).decode()}"
    if query.cursor:
        cursor = call.services.cursors.read(query.cursor, salt, RequestCursor)
        if cursor is None:
            raise InvalidQuery([not_this_cursor()])
        before = ids.decoded(ids.REQUEST, cursor.id) or ids.NIL
    found = await store.page(call.services.database.pool, call.caller.workspace_id, query.wanted(), before, query.limit + 1)
    data = tuple(map(shown, found[: query.limit]))
    has_more = len(found) > query.limit
    next_cursor = call.services.cursors.cursor(RequestCursor(data[-1].id), salt) if has_more else None
    return Answer(msgspec.json.encode(LoggedRequestList(data=data, has_more=has_more, next_cursor=next_cursor)))


async def get_request(call: Call, request_id: UUID) -> Answer:
    """Read one request, with the changes that it made. Refusal: NotFound."""
    pool, workspace_id = call.services.database.pool, call.caller.workspace_id
    row = await store.find(pool, workspace_id, request_id)
    changes = await store.changes_of(pool, workspace_id, request_id, _MOST_CHANGES + 1)
    if row is None and not changes:
        raise NotFound("request", "It may be too old. Requests that were refused without a valid key are not kept.")
    found = RequestWithChanges(
        id=ids.encoded(ids.REQUEST, request_id),
        logged=None if row is None else shown(row),
        changes=tuple(_change(call, each) for each in changes[:_MOST_CHANGES]),
        has_more_changes=len(changes) > _MOST_CHANGES,
    )
    return Answer(msgspec.json.encode(found))


def _change(call: Call, change: ChangeRow) -> MadeChange:
    object_types = call.services.object_types
    kind, action = object_types.of(change.kind_action[0]), Action(change.kind_action[1])
    type_ = event_type(object_types, change.kind_action)
    return MadeChange(
        object_type=kind.name,
        object_id=ids.encoded(kind.prefix, change.object_id),
        action=HistoryAction[action.name],
        version=change.seq,
        event_id=None if type_ is None else event_id(call.caller.workspace_id, change.seq, change.at),
        event_type=type_,
    )


_TAG: Final = "subpackage_requests"
_SCOPES: Final = (ADMIN,)

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/herdbook/requests",
        id="list-requests",
        summary="List requests",
        description="Lists the latest requests of the workspace that the log has, the latest first: all of programs, and the "
        "forms and the refusals of people in the console. It has neither bodies nor the values of parameters.",
        tag=_TAG,
        scopes=_SCOPES,
        handler=list_requests,
        query=RequestsQuery,
        answer=LoggedRequestList,
        answer_description="Request list response.",
        bypasses_ledger=True,
    ),
    Operation(
        method="GET",
        path="/herdbook/requests/{request_id}",
        id="get-request-by-id",
        summary="Get request",
        description="Reads a single request, with the changes that it made and the events that they became.",
        tag=_TAG,
        scopes=_SCOPES,
        handler=get_request,
        answer=RequestWithChanges,
        answer_description="Request response.",
        bypasses_ledger=True,
    ),
)
