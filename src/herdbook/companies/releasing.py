"""The rest of the work after the deletion of a company with many contacts: the company is cleared from all of them.

The work is done in slices, so that other writes do not wait for all of it. The deletion itself is already committed. If a
slice fails, or this process dies, a later round does it, and the ledger records it under the same request.
"""

import logging
from typing import Final
from uuid import UUID

import msgspec

from herdbook.companies.commands import Released, ReleaseStaff, Staff
from herdbook.db.pool import Executor
from herdbook.errors import Refusal
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Origin

_log: Final = logging.getLogger("herdbook.companies")


async def release_rest(ledger: Ledger, staff: Staff, workspace_id: UUID, company_id: UUID, origin: Origin) -> None:
    """Clear a deleted company from all contacts that it still has. Stop early if a slice is refused."""
    released = Released(all=False)
    while not released.all:
        try:
            written = await ledger.write(workspace_id, ReleaseStaff(company_id, staff), origin)
        except Refusal as refusal:
            _log.warning("a deleted company keeps contacts for now", extra={"error": type(refusal).__name__})
            return
        released = msgspec.json.decode(written.body, type=Released)


async def release_left_behind(statements: Executor, ledger: Ledger, staff: Staff) -> None:
    """Finish deletions that any process left unfinished."""
    for workspace_id, company_id, origin in await staff.left_behind(statements):
        await release_rest(ledger, staff, workspace_id, company_id, origin)
