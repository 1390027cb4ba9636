"""The operations of /herdbook/.../history, deleted and restore, /herdbook/activity and /herdbook/undo."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import fields, ids
from herdbook.auth.authenticate import Caller
from herdbook.auth.keys import CLIENT_PREFIX
from herdbook.engagements.commands import PRIVATE_READ
from herdbook.engagements.store import TRANSCRIPT
from herdbook.erasure.erasing import not_found
from herdbook.errors import InvalidQuery, NoLongerKept, NotFound, Stale, Taken
from herdbook.history import store
from herdbook.history.commands import Restore
from herdbook.history.model import (
    Activity,
    ActivityEntry,
    ActivityQuery,
    Bin,
    BinItem,
    BinQuery,
    History,
    HistoryCursor,
    HistoryQuery,
    Undo,
    UndoQuery,
    UndoRequest,
    state_before,
    without_details,
)
from herdbook.history.store import ActivityRow, ActivityView, DeletedRow, EntryThen, StoredObject
from herdbook.history.telling import by_of, entry_of, told
from herdbook.history.undoing import undo
from herdbook.http.call import Call
from herdbook.http.etag import etag
from herdbook.http.operation import Answer, Operation
from herdbook.http.page import not_this_cursor, not_with_cursor
from herdbook.ledger.changes import Action
from herdbook.ledger.object_types import ObjectType
from herdbook.object_types import OBJECT_TYPES, readable_types
from herdbook.shared_schemas import shown_time
from herdbook.tags.api import shown_record, with_existing_tags
from herdbook.transcript_comments.store import TRANSCRIPT_COMMENT


async def show_history(object_type: ObjectType[Any, Any], call: Call, object_id: UUID, query: HistoryQuery) -> Answer:
    """Return the changes of an object or, with `at`, the object as it was at that time."""
    object_type.require_reader(call.caller.may)
    pool, workspace_id = call.services.database.pool, call.caller.workspace_id
    row = await store.stored_object(pool, object_type, workspace_id, object_id)
    if row is None or (row.is_private and not call.caller.may(PRIVATE_READ)):
        raise await not_found(pool, workspace_id, object_type, object_id)
    if query.at is not UNSET:
        if query.cursor:
            raise InvalidQuery([not_with_cursor("at")])
        return await _as_it_was(object_type, call, row, query.at)
    version = row.version
    salt = call.cursor_salt
    if query.cursor:
        cursor = call.services.cursors.read(query.cursor, salt, HistoryCursor)
        if cursor is None:
            raise InvalidQuery([not_this_cursor()])
        version = cursor.version
    found = await store.entries(pool, object_type, workspace_id, row.id, version, query.limit + 1)
    shown, following = found[: query.limit], found[query.limit :]
    history = History(
        object="list",
        data=tuple(entry_of(object_type, call.caller, entry) for entry in shown),
        has_more=bool(following),
        next_cursor=call.services.cursors.cursor(HistoryCursor(following[0].seq), salt) if following else None,
        complete=bool(shown) and shown[-1].action is Action.CREATED,
    )
    return Answer(msgspec.json.encode(history))


async def _as_it_was(object_type: ObjectType[Any, Any], call: Call, row: StoredObject, at: str) -> Answer:
    """Return an object as it was at some time. Refusals: NotFound, NoLongerKept."""
    pool, workspace_id = call.services.database.pool, call.caller.workspace_id
    time = fields.parsed_time(at)
    assert time is not None, "the query's rules refuse a malformed time"
    if row.updated_at <= time:
        return _object_then(object_type, row.version, row.object, is_there=not row.is_deleted)
    entry = await store.entry_at(pool, object_type, workspace_id, row, time)
    if entry is not None and entry.at <= time:
        return _object_then(object_type, entry.seq, entry.object, is_there=entry.action is not Action.DELETED)
    began = _parsed(msgspec.json.decode(row.object, type=_Began).created_at)
    if time < began or (entry is not None and entry.action is Action.CREATED):
        raise _was_not_there(object_type)
    head, trimmed, since = await store.ledger_range(pool, workspace_id)
    if entry is not None and since is not None and (then := _before(object_type, entry, time, since)) is not None:
        return then
    message = f"The {object_type.name} of that time is no longer kept, nor are entries up to {trimmed}. Ask for a later time."
    raise NoLongerKept(message, trimmed, head)


class _Began(msgspec.Struct):
    """The part of an object that says when it was created."""

    created_at: str


def _before(object_type: ObjectType[Any, Any], entry: EntryThen, time: datetime, since: datetime) -> Answer | None:
    """Return an object as it was at a time before its oldest entry that is kept, or None if that is unknown.

    An entry gives the state before it, which dates from the previous entry. That one is no longer kept, so it happened at
    `since` at the latest. Refusal: NotFound.
    """
    match entry.action:
        case Action.UPDATED:
            assert entry.previous is not None, "an update has old values"
            state = state_before(entry.object, entry.previous, object_type.entry)
            # The entry does not say when the object got this state, but that was at `since` at the latest.
            state = msgspec.structs.replace(state, updated_at=shown_time(since))
        case Action.DELETED:
            state = msgspec.json.decode(entry.object, type=object_type.entry)
            since = min(since, _parsed(state.updated_at))
        case _:
            state = None
    if time < since:
        return None
    return _object_then(object_type, entry.previous_version, msgspec.json.encode(state), is_there=state is not None)


def _parsed(shown: str) -> datetime:
    time = fields.parsed_time(shown)
    assert time is not None, "the server wrote this time"
    return time


def _object_then(object_type: ObjectType[Any, Any], version: int | None, object_: bytes, *, is_there: bool) -> Answer:
    if not is_there:
        raise _was_not_there(object_type)
    # Entries of older releases do not record the previous version.
    headers = () if version is None else ((b"etag", etag(version)),)
    return Answer(without_details(object_), headers=headers)


def _was_not_there(object_type: ObjectType[Any, Any]) -> NotFound:
    fault = f"This {object_type.noun} did not exist at that time."
    return NotFound(object_type.noun, "Ask for another time: its history shows when it was created and deleted.", fault=fault)


async def list_activity(call: Call, query: ActivityQuery) -> Answer:
    """List the changes of the workspace, the latest first."""
    view = _view(call, query)
    pool, workspace_id = call.services.database.pages, call.caller.workspace_id
    salt = f"{call.cursor_salt}:{msgspec.json.encode(msgspec.structs.replace(query, cursor=UNSET, limit=1)).decode()}"
    head, trimmed, _ = await store.ledger_range(pool, workspace_id)
    below = head + 1
    if query.cursor:
        cursor = call.services.cursors.read(query.cursor, salt, HistoryCursor)
        if cursor is None:
            raise InvalidQuery([not_this_cursor()])
        below = cursor.version + 1
    found = await store.activity(pool, workspace_id, view, below, query.limit + 1)
    shown, following = found[: query.limit], found[query.limit :]
    # The scan may have ended before the page was full.
    next_version = following[0].entry.seq if following else below - store.LOOKED_AT - 1
    has_more = next_version > trimmed
    activity = Activity(
        object="list",
        data=tuple(_activity_entry(call.caller, entry) for entry in shown),
        has_more=has_more,
        next_cursor=call.services.cursors.cursor(HistoryCursor(next_version), salt) if has_more else None,
    )
    return Answer(msgspec.json.encode(activity))


def _view(call: Call, query: ActivityQuery) -> ActivityView:
    """Return the part of the activity that a caller may see. Refusal: Forbidden, if that is nothing or less than requested."""
    caller, object_types = call.caller, call.services.object_types
    shown = readable_types(caller, object_types, query.types)
    # Ids of another length name nobody.
    user_id = None if query.user_id is UNSET else ids.decoded(ids.USER, query.user_id) or ids.NIL
    credential_id = None
    if query.credential_id is not UNSET:
        found = [ids.decoded(prefix, query.credential_id) for prefix in (ids.CREDENTIAL, CLIENT_PREFIX)]
        credential_id = next(each for each in found if each is not None)
    return ActivityView(tuple(shown), caller.may(PRIVATE_READ), user_id, credential_id)


class _Called(msgspec.Struct):
    """The members by which people know an object. Those of an entry with details are in these."""

    name: str | None = None
    title: str | None = None
    label: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    contact_id: str | None = None
    company_id: str | None = None
    engagement_id: str | None = None


def _part_of(object_type: ObjectType[Any, Any], object_id: str, called: _Called) -> str | None:
    if object_type is TRANSCRIPT:
        return object_id
    return called.engagement_id if object_type is TRANSCRIPT_COMMENT else called.contact_id or called.company_id


def _activity_entry(caller: Caller, row: ActivityRow) -> ActivityEntry:
    object_type = row.object_type
    object_id = ids.encoded(object_type.prefix, row.object_id)
    called = _Called() if row.entry.object is None else msgspec.json.decode(row.entry.object, type=_Called)
    full = " ".join(part for part in (called.first_name, called.last_name) if part)
    return ActivityEntry(
        object="activity_entry",
        object_type=object_type.name,
        object_id=object_id,
        name=called.name or called.title or called.label or full or None,
        part_of=_part_of(object_type, object_id, called),
        **told(object_type, caller, row.entry),
    )


async def list_deleted(object_type: ObjectType[Any, Any], call: Call, query: BinQuery) -> Answer:
    """List the deleted objects of a type that can come back, the latest deletion first."""
    object_type.require_reader(call.caller.may)
    pool, workspace_id = call.services.database.pages, call.caller.workspace_id
    version, salt = None, call.cursor_salt
    if query.cursor:
        cursor = call.services.cursors.read(query.cursor, salt, HistoryCursor)
        if cursor is None:
            raise InvalidQuery([not_this_cursor()])
        version = cursor.version
    found = await store.deleted_objects(
        pool, object_type, workspace_id, version, query.limit + 1, sees_private=call.caller.may(PRIVATE_READ)
    )
    shown, following = found[: query.limit], found[query.limit :]
    if object_type.has_own:
        shown = await _with_existing_tags(object_type, call, shown)
    page = Bin(
        object="list",
        data=tuple(_bin_item(object_type, each) for each in shown),
        has_more=bool(following),
        next_cursor=call.services.cursors.cursor(HistoryCursor(following[0].version), salt) if following else None,
    )
    return Answer(msgspec.json.encode(page))


async def _with_existing_tags(object_type: ObjectType[Any, Any], call: Call, deleted: Sequence[DeletedRow]) -> list[DeletedRow]:
    """Return deleted objects without tags that are deleted, too."""
    tagged = {
        each.id: msgspec.json.decode(each.object, type=object_type.entry) for each in deleted if b'"tag_ids":' in each.object
    }
    entries = dict(zip(tagged, await with_existing_tags(call, [*tagged.values()]), strict=True))
    return [each._replace(object=msgspec.json.encode(entries[each.id])) if each.id in entries else each for each in deleted]


def _bin_item(object_type: ObjectType[Any, Any], each: DeletedRow) -> BinItem:
    return BinItem(
        object="bin_item",
        object_type=object_type.name,
        id=ids.encoded(object_type.prefix, each.id),
        version=each.version,
        deleted_at=shown_time(each.deleted_at),
        request_id=None if each.request_id is None else ids.encoded(ids.REQUEST, each.request_id),
        by=None if each.request_id is None else by_of(each),
        data=msgspec.Raw(without_details(each.object)),
    )


async def restore_object(object_type: ObjectType[Any, Any], call: Call, object_id: UUID) -> Answer:
    """Restore a deleted object."""
    try:
        restoring = Restore(
            object_type=object_type,
            object_id=object_id,
            if_version=call.if_version,
            tells_values=object_type.may_be_read(call.caller.may),
        )
        answer = await call.write(restoring)
        return await shown_record(call, answer, object_type.entry) if object_type.has_own else answer
    except NotFound as refusal:
        if refusal.object_id not in (None, object_id):
            # Another object is missing, which this one is on.
            raise
        raise await not_found(call.services.database.pool, call.caller.workspace_id, object_type, object_id) from None


async def undo_request(call: Call, asked: UndoRequest, query: UndoQuery) -> Answer:
    """Undo the changes of a request."""
    if call.has_precondition:
        raise Stale(None)
    return await undo(call, asked.request_id, is_dry_run=query.dry_run)


def history_of(object_type: ObjectType[Any, Any]) -> Iterator[Operation]:
    """Yield the operations on the history of an object that its type has."""
    if object_type.history is None:
        return
    name, plural = object_type.name, object_type.plural
    either = " or ".join(f"the `{scope}`" for scope in object_type.read_scopes)
    readers = f" Requires {either} scope." if object_type.one_scope_reads else ""
    yield Operation(
        method="GET",
        path=f"/herdbook/{plural}/{{{name}_id}}/history",
        id=f"get-{name}-history",
        summary=f"Get {name} history",
        description=f"Lists the changes of a single {name}, deleted or not, latest first. With `at`, returns the {name} as it "
        f"was at that time, with the ETag that it had. {object_type.history.history}".strip()
        + readers,
        tag=f"subpackage_{plural}",
        scopes=object_type.reading_scopes,
        handler=partial(show_history, object_type),
        query=HistoryQuery,
        answer=History,
        or_answer=object_type.shown,
        answer_description=f"The changes of the {name} or, with `at`, the {name}.",
        refusals=(NoLongerKept,),
    )
    yield Operation(
        method="GET",
        path=f"/herdbook/{plural}/deleted",
        id=f"list-deleted-{plural}",
        summary=f"List deleted {plural}",
        description=f"Lists the deleted {plural} that are still kept, the latest deletion first. Those that were merged into "
        "others are left out."
        if object_type.merges
        else f"Lists the deleted {plural} that are still kept, the latest deletion first.{readers}",
        tag=f"subpackage_{plural}",
        scopes=object_type.reading_scopes,
        handler=partial(list_deleted, object_type),
        query=BinQuery,
        answer=Bin,
        answer_description=f"The deleted {plural} of a page.",
    )
    if object_type.history.restoring is None or not object_type.write_scopes:
        return
    yield Operation(
        method="POST",
        path=f"/herdbook/{plural}/{{{name}_id}}/restore",
        id=f"restore-{name}",
        summary=f"Restore {name}",
        description=f"Restores a single deleted {name} as it was. If it is not deleted, it stays unchanged. "
        f"{object_type.history.restoring} If-Match is compared with the version of the deletion, which the history shows.",
        tag=f"subpackage_{plural}",
        scopes=object_type.write_scopes,
        handler=partial(restore_object, object_type),
        answer=object_type.shown,
        answer_description=f"Restored {name} response.",
        has_variants=object_type.has_own,
        refusals=(Taken,),
    )


OPERATIONS: Final = (
    *(operation for object_type in OBJECT_TYPES for operation in history_of(object_type)),
    Operation(
        method="GET",
        path="/herdbook/activity",
        id="list-activity",
        summary="List activity",
        description="Lists the changes of the workspace, the latest first, with old and new values, and their authors. "
        "The changes of a request have the same `request_id`. Requires the scopes for reading the objects: of all `types`, or "
        "without `types` of any kind. Private engagements and their objects also require `engagements:private:read`. With a "
        "filter, a page has what is found among the next 20,000 changes.",
        tag="subpackage_changes",
        scopes=(),
        handler=list_activity,
        query=ActivityQuery,
        answer=Activity,
        answer_description="The changes of a page.",
    ),
    Operation(
        method="POST",
        path="/herdbook/undo",
        id="undo-request",
        summary="Undo request",
        description="Undoes a request: each object that it changed gets back its earlier state, by a new change. Objects that "
        "changed since stay as they are, and so do those whose earlier state conflicts with other objects: `kept` says why. "
        "Requires the write scopes of these objects. Private engagements, their transcripts and their comments also require "
        "the `engagements:private:write` scope.",
        tag="subpackage_changes",
        scopes=(),
        handler=undo_request,
        body=UndoRequest,
        query=UndoQuery,
        answer=Undo,
        answer_description="The result of the undo or, for a dry run, the expected result.",
        refusals=(NotFound, NoLongerKept),
    ),
)
