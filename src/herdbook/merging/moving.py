"""The rest of the work after a merge of objects to which many others refer: all of these move to the object that remains.

The work is done in slices, so that other writes do not wait for all of it. The merge itself is already committed. If a slice
fails, or this process dies, a later round does it, and the ledger records it under the same request.
"""

import logging
from collections.abc import Iterable
from typing import Final

import msgspec

from herdbook.db.pool import Executor
from herdbook.errors import Refusal
from herdbook.ledger.ledger import Ledger
from herdbook.merging.commands import Moved, MoveReferences
from herdbook.merging.store import MERGE_TYPES, Left, MergeType, left_anywhere

_log: Final = logging.getLogger("herdbook.merging")


async def move_rest(ledger: Ledger, merge_type: MergeType, left: Iterable[Left]) -> None:
    """Move all that still refers to merged objects. Leave an object for later if a slice is refused."""
    for each in left:
        try:
            await _move(ledger, merge_type, each)
        except Refusal as refusal:
            _log.warning("objects refer to a merged one for now", extra={"error": type(refusal).__name__})


async def _move(ledger: Ledger, merge_type: MergeType, left: Left) -> None:
    moved = Moved(all=False)
    while not moved.all:
        written = await ledger.write(left.workspace_id, MoveReferences(merge_type, left.object_id), left.origin)
        moved = msgspec.json.decode(written.body, type=Moved)


async def move_left_behind(statements: Executor, ledger: Ledger) -> None:
    """Finish merges that any process left unfinished."""
    for merge_type in MERGE_TYPES:
        await move_rest(ledger, merge_type, await left_anywhere(statements, merge_type))
