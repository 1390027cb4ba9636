"""Entries of the ledger, as histories and the activity tell them."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.auth.authenticate import Caller
from herdbook.db.pool import Executor
from herdbook.history import store
from herdbook.history.model import HistoryAction, HistoryBy, HistoryEntry, changes_of
from herdbook.history.store import DeletedRow, HistoryRow
from herdbook.ledger.object_types import ObjectType
from herdbook.shared_schemas import shown_time

# Maps each list in an engagement's details to the scope that is needed to see it in a history.
_LISTS: Final = {"contact_ids": "contacts:read", "company_ids": "companies:read", "tag_ids": None}


def told(object_type: ObjectType[Any, Any], caller: Caller, entry: HistoryRow) -> dict[str, Any]:
    """Return the members that an entry has in a history and in the activity."""
    lists = [name for name, scope in _LISTS.items() if scope is None or caller.may(scope)]
    return {
        "version": entry.seq,
        "action": HistoryAction[entry.action.name],
        "at": shown_time(entry.at),
        "request_id": ids.encoded(ids.REQUEST, entry.request_id),
        "by": by_of(entry),
        "changes": None if entry.object is None else changes_of(entry.action, entry.object, entry.previous, lists),
        "merged_into": UNSET if entry.merged_into is None else ids.encoded(object_type.prefix, entry.merged_into),
        "undoes": UNSET if entry.undoes is None else ids.encoded(ids.REQUEST, entry.undoes),
    }


def entry_of(object_type: ObjectType[Any, Any], caller: Caller, entry: HistoryRow) -> HistoryEntry:
    """Return an entry as the history of its object has it."""
    members = told(object_type, caller, entry)
    assert members["changes"] is not None, "a history leaves no object out"
    return HistoryEntry(object="history_entry", **members)


def by_of(entry: HistoryRow | DeletedRow) -> HistoryBy:
    """Return the author of an entry."""
    return HistoryBy.of(entry.credential_id, entry.credential_name, entry.user_id, is_client=entry.is_client)


async def recorded(  # the object, and the page of its history
    statements: Executor,
    caller: Caller,
    object_type: ObjectType[Any, Any],
    object_id: UUID,
    version: int | None,
    limit: int,
) -> list[Mapping[str, Any]] | None:
    """Return the entries of an object whose type has no operation for its history, the latest first; None if there is none.

    `version` is that of the first entry, if it is not the last one.
    """
    row = await store.stored_object(statements, object_type, caller.workspace_id, object_id)
    if row is None:
        return None
    first = row.version if version is None else version
    found = await store.entries(statements, object_type, caller.workspace_id, row.id, first, limit)
    return [msgspec.json.decode(msgspec.json.encode(entry_of(object_type, caller, each))) for each in found]
