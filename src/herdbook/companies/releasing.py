"""What is left to do when a company with many contacts was deleted: to clear it from all of them.

It goes in slices, so that no neighbour's write waits for all. The deletion is decided and answered for by then: if a slice
cannot be carried out now, or this process dies, a later round does it, and the ledger tells of it as of the same request.
"""

import logging
from typing import Final
from uuid import UUID

import msgspec

from herdbook.companies.actions import Released, ReleaseStaff, Staff
from herdbook.db.pool import Statements
from herdbook.errors import Refusal
from herdbook.ledger.book import Origin
from herdbook.ledger.ledger import Ledger

_log: Final = logging.getLogger("herdbook.companies")


async def release_rest(ledger: Ledger, staff: Staff, workspace_id: UUID, company_id: UUID, origin: Origin) -> None:
    """Clear a company that was deleted from all contacts that it still has, or from as many as can be now."""
    released = Released(all=False)
    while not released.all:
        try:
            written = await ledger.write(workspace_id, ReleaseStaff(company_id, staff), origin)
        except Refusal as refusal:
            _log.warning("a deleted company keeps contacts for now", extra={"error": type(refusal).__name__})
            return
        released = msgspec.json.decode(written.body, type=Released)


async def release_left_behind(statements: Statements, ledger: Ledger, staff: Staff) -> None:
    """Finish what was begun and not finished, in whatever process."""
    for workspace_id, company_id, origin in await staff.left_behind(statements):
        await release_rest(ledger, staff, workspace_id, company_id, origin)
