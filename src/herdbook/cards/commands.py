"""How an import keeps a card beside its contact, and how somebody removes it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.cards.model import content_of_contact, lines_of, properties_in, united
from herdbook.cards.store import CARDS, CardRow
from herdbook.contacts.commands import record
from herdbook.contacts.model import ContactRecord, LabelledContactRecord
from herdbook.contacts.store import CONTACT, CONTACTS
from herdbook.errors import NotFound
from herdbook.formats.card_content import CardContent, left_by
from herdbook.formats.cards import Property, fitting
from herdbook.ledger.object_types import current, updated
from herdbook.ledger.unit_of_work import Need, Result, UnitOfWork


class KeptCard(NamedTuple):
    """A card of an import, and what its contact has beside the record: its company, tags and notes.

    `says_more` if the card has more than a contact that takes all of it over.
    Properties of names that the contact's cards lack are added to these or, if the card overwrites them, theirs are.
    """

    properties: Sequence[Property]
    says_more: bool
    company_name: str
    tags: Sequence[str]
    notes: Sequence[str]
    overwrites: bool

    def beside(self, work: UnitOfWork, contact: ContactRecord) -> ContactRecord:
        """Return a contact that is about to be written, with the card beside it, if that has more than the contact."""
        before: tuple[Property, ...] = ()
        for card in work.get_all(CARDS, ids.decoded_all(ids.CARD, contact.card_ids or ())):
            if card is not None:
                before = united(before, properties_in(card.properties) or ())
        one, other = (self.properties, before) if self.overwrites else (before, self.properties)
        after = fitting(united(one, other, adds_names=True))
        left = left_by(self._content(contact), after)
        if {*after} == {*before} or not (before or left or self.says_more):
            return contact
        card_id = ids.new_id()
        row = CardRow(
            workspace_id=work.workspace_id,
            id=card_id,
            contact_id=ids.decoded(ids.CONTACT, contact.id) or ids.NIL,
            properties=lines_of(after),
            left_out=left,
        )
        work.put(CARDS, row)
        return msgspec.structs.replace(contact, card_ids=(ids.encoded(ids.CARD, card_id),))

    def _content(self, contact: ContactRecord) -> CardContent:
        record = msgspec.convert(msgspec.to_builtins(contact), LabelledContactRecord)
        company_name = "" if contact.company is UNSET else self.company_name
        return content_of_contact(record, company_name, self.tags if contact.tag_ids else (), self.notes)


class RemoveCards(msgspec.Struct, frozen=True):
    """Remove the cards of a contact, or one of them. The answer is the whole contact. Refusals: NotFound, Stale.

    The card itself stays for the history, and for an undo, until the contact goes.
    """

    contact_id: UUID
    card_id: str = ""
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(CONTACTS, self.contact_id)

    def apply(self, work: UnitOfWork) -> Result:
        before = current(work, CONTACTS, self.contact_id, self.if_version, "contact")
        known = before.entry.card_ids or ()
        if self.card_id and self.card_id not in known:
            raise NotFound("card", "`GET` lists those that it has.", fault="The contact keeps no such card.")
        kept = tuple(each for each in known if self.card_id and each != self.card_id)
        after = msgspec.structs.replace(before.entry, card_ids=kept or UNSET)
        version, _ = updated(work, CONTACT, before, after)
        return Result(version, record(work, self.contact_id))
