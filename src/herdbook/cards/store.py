"""The cards that are kept beside contacts, and every SQL statement about them.

A card is written once and never changed: a contact names its cards, so its history, an undo and a merge have those of their
time. They go with the contact.
"""

from collections.abc import Collection
from typing import Final
from uuid import UUID

import msgspec

from herdbook.db.pool import Pool
from herdbook.ledger.insertion import insertion
from herdbook.ledger.object_types import removals_of
from herdbook.ledger.unit_of_work import Table, UnitOfWork


class CardRow(msgspec.Struct, frozen=True, kw_only=True):
    """A card: the contact that it was imported for, its properties as lines, and what the contact did not take over."""

    workspace_id: UUID
    id: UUID
    contact_id: UUID
    properties: str
    left_out: tuple[str, ...] = ()


_SAVE: Final = insertion("card_saved", "card", {"id": "uuid", "contact_id": "uuid", "properties": "text", "left_out": "text[]"})
CARDS: Final = Table(
    row=CardRow,
    key=lambda card: card.id,
    is_large=True,
    load="""
        select c.workspace_id, c.id, c.contact_id, c.properties, c.left_out
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
        join card c on c.workspace_id = asked.workspace_id and c.id = asked.key
    """,
    save=_SAVE,
    removals=removals_of("card"),
)


class ForgottenCards(msgspec.Struct, frozen=True):
    """A contact that is gone, and its cards with it."""

    workspace_id: UUID
    contact_id: UUID


_FORGOTTEN_CARDS: Final = Table(
    row=ForgottenCards,
    key=lambda forgotten: forgotten.contact_id,
    load=None,
    save="""
        card_forgotten as (
            delete from card c
            using json_to_recordset($rows) as r(workspace_id uuid, contact_id uuid) join held on held.id = r.workspace_id
            where c.workspace_id = r.workspace_id and c.contact_id = r.contact_id
        )
    """,
)


def forget_cards(work: UnitOfWork, contact_id: UUID) -> None:
    """Remove all cards of a contact that goes."""
    for card in work.changed_in(CARDS):
        if card.contact_id == contact_id:
            work.remove(CARDS, card.id)
    work.put(_FORGOTTEN_CARDS, ForgottenCards(work.workspace_id, contact_id))


async def sizes(pool: Pool, workspace_id: UUID, card_ids: Collection[UUID]) -> dict[UUID, int]:
    """Return the bytes of those of the cards that there are."""
    records = await pool.fetch(
        "select id, octet_length(properties) from card where workspace_id = $1 and id = any($2)", workspace_id, [*card_ids]
    )
    return {record[0]: record[1] for record in records}


async def found(pool: Pool, workspace_id: UUID, card_ids: Collection[UUID]) -> dict[UUID, CardRow]:
    """Return those of the cards that there are, by their ids."""
    records = await pool.fetch(
        "select id, contact_id, properties, left_out from card where workspace_id = $1 and id = any($2)",
        workspace_id,
        [*card_ids],
    )
    return {
        record[0]: CardRow(
            workspace_id=workspace_id, id=record[0], contact_id=record[1], properties=record[2], left_out=tuple(record[3])
        )
        for record in records
    }
