"""What is left to do when contacts with many engagements were merged: to let all of these name the one that goes on.

It goes in slices, so that no neighbour's write waits for all. The merging is decided and answered for by then: if a slice
cannot be carried out now, or this process dies, a later round does it, and the ledger tells of it as of the same request.
"""

import logging
from collections.abc import Iterable
from typing import Final

import msgspec

from herdbook.db.pool import Statements
from herdbook.errors import Refusal
from herdbook.ledger.ledger import Ledger
from herdbook.merging.actions import Moved, MoveEngagements
from herdbook.merging.store import Left, left_anywhere

_log: Final = logging.getLogger("herdbook.merging")


async def move_rest(ledger: Ledger, left: Iterable[Left]) -> None:
    """Move all engagements that are left with contacts that were merged, or as many as can be now."""
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


async def move_left_behind(statements: Statements, ledger: Ledger) -> None:
    """Finish what was begun and not finished, in whatever process."""
    await move_rest(ledger, await left_anywhere(statements))
