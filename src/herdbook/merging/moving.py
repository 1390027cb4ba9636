"""The rest of the work after a merge of contacts with many engagements: all of these move to the contact that remains.

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
from herdbook.merging.commands import Moved, MoveEngagements
from herdbook.merging.store import Left, left_anywhere

_log: Final = logging.getLogger("herdbook.merging")


async def move_rest(ledger: Ledger, left: Iterable[Left]) -> None:
    """Move all engagements that merged contacts still have. Leave a contact for later if a slice is refused."""
    for contact in left:
        try:
            await _move(ledger, contact)
        except Refusal as refusal:
            _log.warning("a merged contact keeps engagements for now", extra={"error": type(refusal).__name__})


async def _move(ledger: Ledger, left: Left) -> None:
    moved = Moved(all=False)
    while not moved.all:
        written = await ledger.write(left.workspace_id, MoveEngagements(left.contact_id), left.origin)
        moved = msgspec.json.decode(written.body, type=Moved)


async def move_left_behind(statements: Executor, ledger: Ledger) -> None:
    """Finish merges that any process left unfinished."""
    await move_rest(ledger, await left_anywhere(statements))
