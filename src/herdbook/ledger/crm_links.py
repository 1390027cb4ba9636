"""CRM links: how a command finds the object that is linked to a CRM record."""

from typing import Final, LiteralString, TypeVar
from uuid import UUID

import msgspec

from herdbook.ledger.object_types import ObjectRow, ObjectTable, all_active
from herdbook.ledger.unit_of_work import Table, UnitOfWork
from herdbook.shared_schemas import CrmAssociation

RowT = TypeVar("RowT", bound=ObjectRow)


class Linked(msgspec.Struct, frozen=True):
    """The oldest active objects that are linked to a CRM record, which has an id and a source."""

    workspace_id: UUID
    crm_object_id: str
    source: str
    object_ids: tuple[UUID, ...]


_LOAD: Final[LiteralString] = """
    select asked.workspace_id, asked.key ->> 0 as crm_object_id, asked.key ->> 1 as source, array(
        select c.id from $table c
        where c.workspace_id = asked.workspace_id and c.crm_object_id = asked.key ->> 0 and c.deleted_at is null
            and c.object -> 'crm_association' ->> 'source' = asked.key ->> 1
        order by c.id
        limit 100
    ) as object_ids
    from json_to_recordset($rows) as asked(workspace_id uuid, key json)
"""


def linked_table(table_name: LiteralString) -> Table[Linked]:
    """Return the look-up of the objects in a table by their links."""
    load = _LOAD.replace("$table", table_name)
    return Table(row=Linked, key=lambda linked: (linked.crm_object_id, linked.source), load=load, save=None)


def oldest_linked(work: UnitOfWork, links: Table[Linked], objects: ObjectTable[RowT], link: CrmAssociation) -> RowT | None:
    """Return the oldest active object that has a link."""
    stored = work.get(links, (link.crm_object_id, link.source))
    changed = {row.id for row in work.changed_in(objects)}
    object_ids = sorted(changed.union(() if stored is None else stored.object_ids))
    rows = all_active(work, objects, object_ids)
    return next((row for row in rows if row is not None and row.object.crm_association == link), None)
