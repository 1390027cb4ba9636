"""The operations of /herdbook/contacts/{contact_id}/cards: the cards that are kept beside a contact."""

from typing import Final
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.cards import store
from herdbook.cards.commands import RemoveCards
from herdbook.cards.model import ContactCard, ContactCardList, ContactCardQuery, properties_in, visible
from herdbook.contacts.api import shown_whole
from herdbook.contacts.model import ContactRecord, LabelledContactRecord
from herdbook.contacts.store import find_record
from herdbook.errors import NotFound
from herdbook.formats.cards import kept_line
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Operation


async def list_cards(call: Call, contact_id: UUID) -> Answer:
    """List the cards that are kept beside one contact, its own first."""
    found = await find_record(call.services.database, call.caller.workspace_id, contact_id)
    if found is None:
        raise NotFound("contact", object_id=contact_id)
    card_ids = ids.decoded_all(ids.CARD, msgspec.json.decode(found.body, type=ContactRecord).card_ids or ())
    kept = await store.found(call.services.database.pool, call.caller.workspace_id, card_ids)
    cards = tuple(
        ContactCard(
            object="contact_card",
            id=ids.encoded(ids.CARD, card_id),
            properties=tuple(map(kept_line, visible(properties_in(kept[card_id].properties) or (), call.caller.may))),
            left_out=kept[card_id].left_out,
        )
        for card_id in card_ids
        if card_id in kept
    )
    return Answer(msgspec.json.encode(ContactCardList(object="list", data=cards)))


async def remove_cards(call: Call, contact_id: UUID, query: ContactCardQuery) -> Answer:
    """Remove the cards that are kept beside one contact, or one of them."""
    return await shown_whole(call, await call.write(RemoveCards(contact_id, query.card_id, call.if_version)))


_TAG: Final = "subpackage_cards"
OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/herdbook/contacts/{contact_id}/cards",
        id="list-contact-cards",
        summary="List contact cards",
        description="Lists the vCards that imports have kept beside a contact, because they have more than the contact. The "
        "properties that name its company (`ORG`, `X-PHONETIC-ORG`, `LOGO`, an `FN` that is its name) are there with "
        "`companies:read`, and `CATEGORIES`, its tags, with `tags:read`.",
        tag=_TAG,
        scopes=("contacts:read",),
        handler=list_cards,
        answer=ContactCardList,
        answer_description="Contact card list response.",
        bypasses_ledger=True,
    ),
    Operation(
        method="DELETE",
        path="/herdbook/contacts/{contact_id}/cards",
        id="remove-contact-cards",
        summary="Remove contact cards",
        description="Removes the vCards that are kept beside a contact, or one of them. It is a change of the contact: its "
        "history shows it, and an undo brings the cards back.",
        tag=_TAG,
        scopes=("contacts:write",),
        handler=remove_cards,
        query=ContactCardQuery,
        answer=LabelledContactRecord,
        answer_description="The whole of the contact.",
        has_variants=True,
    ),
)
