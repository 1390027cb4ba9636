"""The upkeep of search data: rows of an earlier release get the searchable text, index entries and unique keys of this one.

They do so in small slices, as commands of the ledger, so that other writes go on. No version changes, and no entry is recorded.
An earlier release that still serves beside this one may write further such rows, so they are looked for again and again.
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.companies.store import COMPANY
from herdbook.contacts.store import CONTACT
from herdbook.db.distribution import fetch_everywhere
from herdbook.db.pool import Executor
from herdbook.engagements.store import ENGAGEMENT
from herdbook.errors import Refusal
from herdbook.ledger.index_entries import reindex
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.object_types import ObjectType, all_active
from herdbook.ledger.unit_of_work import Need, Origin, Result, UnitOfWork
from herdbook.users.store import USER

_log: Final = logging.getLogger("herdbook.app")

SLICE: Final = 200
# The partial index on such a condition is empty once all rows are up to date.
_OUTDATED: Final[LiteralString] = """
    select c.workspace_id, c.id from $table c
    where c.deleted_at is null and strpos(c.search, chr(30)) = 0
    order by c.workspace_id, c.id
    limit 200
"""
_OUTDATED_NAMES: Final[LiteralString] = """
    select c.workspace_id, c.id from contact c
    where c.deleted_at is null and (
        c.first_name_word <> left(replace(substr(
            split_part(c.search, chr(10), 1), strpos(split_part(c.search, chr(10), 1), chr(31))
        ), chr(31), ''), 200)
        or c.last_name_word <> left(replace(substr(
            split_part(split_part(c.search, chr(30), 1), chr(10), 2),
            strpos(split_part(split_part(c.search, chr(30), 1), chr(10), 2), chr(31))
        ), chr(31), ''), 200)
    )
    order by c.workspace_id, c.id
    limit 200
"""
# The statements that find outdated objects of the types.
_SEARCHED: Final[tuple[tuple[ObjectType[Any, Any], LiteralString], ...]] = (
    (CONTACT, _OUTDATED.replace("$table", "contact")),
    (CONTACT, _OUTDATED_NAMES),
    (COMPANY, _OUTDATED.replace("$table", "company")),
    (USER, _OUTDATED.replace("$table", "workspace_user")),
    (ENGAGEMENT, _OUTDATED.replace("$table", "engagement")),
)


class Refreshed(msgspec.Struct, frozen=True):
    """The answer to `RefreshSearch`, which has no caller."""


class RefreshSearch(msgspec.Struct, frozen=True):
    """Make the search data of some objects anew. It is no change of theirs."""

    object_type: ObjectType[Any, Any]
    object_ids: tuple[UUID, ...]

    def needs(self) -> Iterator[Need]:
        for object_id in self.object_ids:
            yield Need(self.object_type.table, object_id)

    def apply(self, work: UnitOfWork) -> Result:
        rows = [row for row in all_active(work, self.object_type.table, self.object_ids) if row is not None]
        work.require(held.need for row in rows for held in self.object_type.held(row.entry))
        for row in rows:
            for unique_key in self.object_type.unique_keys:
                # An earlier release may have held the key in another form. A key that another object has by now stays there.
                free = [key for key in unique_key.keys(row.entry) if unique_key.holder(work, key) is None]
                unique_key.claim(work, self.object_type, row.id, (), free)
        for row in rows:
            # Parts that seem the same would be taken from the row.
            outdated = msgspec.structs.replace(row, search="")
            after = msgspec.structs.replace(row, **row.columns(outdated, row.entry))
            work.put(self.object_type.table, after)
            reindex(work, self.object_type.indexes, row, after)
            # An earlier release may lack one of the indexes, so its rows have no entries there.
            reindex(work, self.object_type.indexes, None, after)
        return Result(work.seq, Refreshed())


async def refresh_search(statements: Executor, ledger: Ledger) -> None:
    """Bring the search data of all objects up to date. Stop early if a slice is refused."""
    for object_type, outdated in _SEARCHED:
        try:
            while await _refresh_slice(statements, ledger, object_type, outdated):
                pass
        except Refusal as refusal:
            _log.warning("search data stays outdated for now", extra={"error": type(refusal).__name__})


async def _refresh_slice(
    statements: Executor, ledger: Ledger, object_type: ObjectType[Any, Any], find_outdated: LiteralString
) -> bool:
    """Refresh a slice of a table. Return whether there was anything to refresh."""
    began = time.monotonic()
    outdated: dict[UUID, list[UUID]] = {}
    for workspace_id, object_id in (await fetch_everywhere(statements, find_outdated)).records:
        outdated.setdefault(workspace_id, []).append(object_id)
    for workspace_id, object_ids in outdated.items():
        origin = Origin(request_id=ids.new_id(), credential_id=ids.NIL)
        await ledger.write(workspace_id, RefreshSearch(object_type, tuple(object_ids)), origin)
    # Leave half of the time to others, however much there is to refresh.
    await asyncio.sleep(time.monotonic() - began)
    return bool(outdated)
