"""Every SQL statement about merging."""

from typing import Final
from uuid import UUID

import msgspec

from herdbook.ledger.unit_of_work import Table


class Counted(msgspec.Struct, frozen=True):
    """The number of engagements that some contacts have together."""

    workspace_id: UUID
    contact_ids: tuple[UUID, ...]
    many: int


# Limits how many engagements a batch moves.
MAX_MOVED_ENGAGEMENTS: Final = 500
COUNTED: Final = Table(
    row=Counted,
    key=lambda counted: counted.contact_ids,
    load="""
        select asked.workspace_id, asked.key as contact_ids, (
            select count(distinct l.engagement_id) from engagement_contact l
            where l.workspace_id = asked.workspace_id and l.contact_id = any(asked.key)
        ) as many
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid[])
    """,
    save=None,
)
