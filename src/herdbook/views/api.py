"""The operations of /herdbook/views. A change of a view is no entry of the ledger, because it changes no contact or company."""

from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids, sources
from herdbook.companies.query_store import QUERIED_COMPANIES
from herdbook.contacts.query_store import QUERIED_CONTACTS
from herdbook.errors import FieldError, Forbidden, Invalid, NotFound
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Operation
from herdbook.querying.store import QueriedType, definitions
from herdbook.shared_schemas import Deleted
from herdbook.views import store
from herdbook.views.model import (
    MAX_VIEWS,
    View,
    ViewContent,
    ViewCreate,
    ViewList,
    ViewObjectType,
    ViewRow,
    ViewsQuery,
    ViewUpdate,
    shown,
)
from herdbook.workspaces.store import region_of

_QUERIED: Final = {ViewObjectType.CONTACT: QUERIED_CONTACTS, ViewObjectType.COMPANY: QUERIED_COMPANIES}


async def list_views(call: Call, query: ViewsQuery) -> Answer:
    """List the views that the caller may see. Refusal: Forbidden."""
    readable = [each for each in _readable(call) if query.object_type in ("", each)]
    rows = await store.list_views(call.services.database.pool, call.caller.workspace_id, call.caller.own_user_id, readable)
    return Answer(msgspec.json.encode(ViewList(object="list", data=tuple(map(shown, rows)))))


async def create_view(call: Call, asked: ViewCreate) -> Answer:
    """Save a view. Refusals: Forbidden, Invalid."""
    queried = _QUERIED[asked.object_type]
    call.caller.require(_read(queried))
    if asked.shared:
        call.caller.require(_write(queried))
    elif call.caller.own_user_id is None:
        message = (
            "`shared` is false, and this credential was made for no user, so nobody would see the view. Send true, or use a "
            "key that was made for a user (`herdbook keys create --user`)."
        )
        raise Invalid([FieldError("shared", "not_allowed", message)])
    content = ViewContent(where=asked.where, search=asked.search, sort=asked.sort, columns=asked.columns)
    await _require_valid(call, queried, content)
    now = sources.now()
    row = ViewRow(
        ids.new_id(),
        asked.object_type.value,
        call.caller.own_user_id,
        asked.name,
        asked.shared,
        msgspec.json.encode(content),
        now,
        now,
    )
    if not await store.create(call.services.database.pool, call.caller.workspace_id, row):
        message = f"You have {MAX_VIEWS} views, which is the limit. Delete one that is no longer needed."
        raise Invalid([FieldError("object_type", "too_long", message)])
    return await get_view(call, row.id)


async def get_view(call: Call, view_id: UUID) -> Answer:
    """Read one view. Refusal: NotFound."""
    return Answer(msgspec.json.encode(shown(await _found(call, view_id))))


async def update_view(call: Call, view_id: UUID, patch: ViewUpdate) -> Answer:
    """Change one view. Absent leaves a member alone; null clears it. Refusals: NotFound, Forbidden, Invalid."""
    row = await _writable(call, view_id)
    queried = _QUERIED[ViewObjectType(row.object_type)]
    is_shared = row.is_shared if patch.shared is UNSET else patch.shared
    if is_shared:
        call.caller.require(_write(queried))
    elif row.is_shared and (row.owner_id is None or row.owner_id != call.caller.own_user_id):
        message = "`shared` can be taken back by the owner of the view alone. Save a view of your own instead."
        raise Invalid([FieldError("shared", "not_allowed", message)])
    content = msgspec.json.decode(row.content, type=ViewContent)
    changes: dict[str, Any] = {
        name: value for name in ("where", "search", "sort", "columns") if (value := getattr(patch, name)) is not UNSET
    }
    content = msgspec.structs.replace(
        content, **{name: () if value is None and name in ("sort", "columns") else value for name, value in changes.items()}
    )
    if changes.keys() & {"where", "sort"}:
        await _require_valid(call, queried, content)
    name = row.name if patch.name is UNSET else patch.name
    changed = row._replace(
        name=name, is_shared=is_shared, content=msgspec.json.encode(content), updated_by=call.caller.own_user_id
    )
    await store.update(call.services.database.pool, call.caller.workspace_id, changed)
    return await get_view(call, view_id)


async def delete_view(call: Call, view_id: UUID) -> Answer:
    """Delete one view. Refusals: NotFound, Forbidden."""
    await _writable(call, view_id)
    await store.delete(call.services.database.pool, call.caller.workspace_id, view_id)
    return Answer(msgspec.json.encode(Deleted(id=ids.encoded(ids.VIEW, view_id), object="view")))


def _read(queried: QueriedType) -> str:
    return f"{queried.object_type.plural}:read"


def _write(queried: QueriedType) -> str:
    return f"{queried.object_type.plural}:write"


def _readable(call: Call) -> list[str]:
    """Return the types of objects that the caller may read. Refusal: Forbidden, if there is none."""
    readable = [each.value for each, queried in _QUERIED.items() if call.caller.may(_read(queried))]
    if not readable:
        raise Forbidden(_read(QUERIED_CONTACTS))
    return readable


async def _found(call: Call, view_id: UUID) -> ViewRow:
    """Return a view that the caller may see. Refusals: Forbidden, NotFound."""
    readable = _readable(call)
    row = await store.find(call.services.database.pool, call.caller.workspace_id, call.caller.own_user_id, view_id)
    if row is None or row.object_type not in readable:
        raise NotFound("view", object_id=view_id)
    return row


async def _writable(call: Call, view_id: UUID) -> ViewRow:
    """Return a view that the caller may change. Refusals: NotFound, Forbidden."""
    row = await _found(call, view_id)
    if row.is_shared:
        call.caller.require(_write(_QUERIED[ViewObjectType(row.object_type)]))
    return row


async def _require_valid(call: Call, queried: QueriedType, content: ViewContent) -> None:
    """Refuse a condition or an order that a query would refuse. Refusal: Invalid."""
    pool, workspace_id = call.services.database.pages, call.caller.workspace_id
    region = await region_of(pool, workspace_id)
    reader = queried.reader((await definitions(pool, workspace_id, queried)).fields, region)
    if content.where is not None:
        reader.where(content.where)
    reader.sort(content.sort)
    reader.refuse()


_TAG: Final = "subpackage_views"
_ONE: Final = "/herdbook/views/{view_id}"
_SCOPES: Final = "It needs the scope to read these objects; a view of the team needs the scope to write them as well."

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/herdbook/views",
        id="list-views",
        summary="List views",
        description="Lists the saved views of the team, and those of the user for whom the credential was made, by name: all "
        "of those whose objects the credential may read.",
        tag=_TAG,
        scopes=(),
        handler=list_views,
        query=ViewsQuery,
        answer=ViewList,
        answer_description="View list response.",
        bypasses_ledger=True,
    ),
    Operation(
        method="POST",
        path="/herdbook/views",
        id="create-view",
        summary="Create view",
        description=f"Saves a view of a list of contacts or companies: its condition, search, order and columns. {_SCOPES}",
        tag=_TAG,
        scopes=(),
        handler=create_view,
        body=ViewCreate,
        answer=View,
        answer_description="Created view response.",
        status=201,
        bypasses_ledger=True,
    ),
    Operation(
        method="GET",
        path=_ONE,
        id="get-view-by-id",
        summary="Get view",
        description="Reads a single view of the team, or of the user for whom the credential was made.",
        tag=_TAG,
        scopes=(),
        handler=get_view,
        answer=View,
        answer_description="View response.",
        bypasses_ledger=True,
    ),
    Operation(
        method="PATCH",
        path=_ONE,
        id="update-view",
        summary="Update view",
        description=f"Changes a view. Absent leaves a member alone; null clears it. {_SCOPES} Its owner alone takes it back "
        "from the team.",
        tag=_TAG,
        scopes=(),
        handler=update_view,
        body=ViewUpdate,
        answer=View,
        answer_description="Updated view response.",
        bypasses_ledger=True,
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        id="delete-view",
        summary="Delete view",
        description=f"Deletes a view. The objects that it lists stay. {_SCOPES}",
        tag=_TAG,
        scopes=(),
        handler=delete_view,
        answer=Deleted,
        answer_description="Deleted view response.",
        bypasses_ledger=True,
    ),
)
