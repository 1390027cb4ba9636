"""A small model of upserting and deleting contacts, written from the rules, which shares nothing with the code under test."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

# Spellings of addresses, with their meaning.
ADDRESSES: Final = {"ada": "ada", "ADA": "ada", "bob": "bob", "Bob": "bob", "cyd": "cyd", "dan": "dan"}


class Upsert(NamedTuple):
    """An upsert: local parts of addresses, which of them is marked, if any, and a first name, or None if absent."""

    spellings: tuple[str, ...]
    marked: int | None
    first_name: str | None

    @property
    def meanings(self) -> list[str]:
        """The normalized addresses."""
        return [ADDRESSES[spelling] for spelling in self.spellings]

    @property
    def match(self) -> str:
        """The address that selects the contact."""
        return self.meanings[self.marked or 0]


class Delete(NamedTuple):
    """A deletion of the contact with this index in order of creation, modulo their number."""

    place: int


class Bulk(NamedTuple):
    """Operations, separate or all or none."""

    operations: tuple[Upsert | Delete, ...]
    atomic: bool


@dataclass(frozen=True)
class Known:
    """A contact: its addresses by meaning in their spelling, the primary one, and its time of deletion, if any."""

    spelled: dict[str, str]
    primary: str
    first_name: str | None
    deleted: int | None = None


@dataclass
class World:
    """All contacts in order of creation."""

    contacts: list[Known] = field(default_factory=list[Known])
    moment: int = 0

    def holder(self, address: str) -> int | None:
        """Return the active contact that has an address."""
        return next((n for n, each in enumerate(self.contacts) if each.deleted is None and address in each.spelled), None)

    def former(self, address: str) -> int | None:
        """Return the contact that was deleted last with an address."""
        had = [
            (each.deleted, n) for n, each in enumerate(self.contacts) if each.deleted is not None and address in each.spelled
        ]
        return max(had)[1] if had else None

    def delete(self, place: int) -> str:
        """Delete a contact; return the verdict."""
        if self.contacts[place].deleted is not None:
            return "failed"
        self.moment += 1
        self.contacts[place] = replace(self.contacts[place], deleted=self.moment)
        return "deleted"

    def upsert(self, asked: Upsert) -> str:
        """Upsert a contact; return the verdict."""
        place, verdict = self.holder(asked.match), "updated"
        if place is None:
            place, verdict = self.former(asked.match), "restored"
        if any(self.holder(address) not in (None, place) for address in asked.meanings):
            return "failed"
        if place is None:
            self.contacts.append(_with(Known({}, asked.match, None), asked))
            return "created"
        before = self.contacts[place]
        after = _with(self._back(before), asked)
        self.contacts[place] = after
        return "unchanged" if after == before else verdict

    def _back(self, contact: Known) -> Known:
        """Return a contact with those of its addresses that are free."""
        if contact.deleted is None:
            return contact
        left = {address: spelling for address, spelling in contact.spelled.items() if self.holder(address) is None}
        primary = contact.primary if contact.primary in left else next(iter(left))
        return Known(left, primary, contact.first_name)


def _with(contact: Known, asked: Upsert) -> Known:
    spelled = dict(contact.spelled)
    for address, spelling in zip(asked.meanings, asked.spellings, strict=True):
        spelled.setdefault(address, spelling)
    return Known(
        spelled,
        primary=contact.primary if asked.marked is None else asked.match,
        first_name=contact.first_name if asked.first_name is None else asked.first_name,
    )


def carried_out(world: World, operations: Sequence[Upsert | Delete]) -> list[str]:
    """Run operations in order; return the verdicts. A deletion refers to contacts that existed before the first operation."""
    many = len(world.contacts)
    return [
        world.upsert(operation) if isinstance(operation, Upsert) else world.delete(operation.place % many)
        for operation in operations
        if many or isinstance(operation, Upsert)
    ]


def _upsert(spellings: Sequence[str], marked: int, first_name: str | None) -> Upsert:
    return Upsert(tuple(spellings), marked if marked < len(spellings) else None, first_name)


_SPELLINGS: Final = st.lists(st.sampled_from([*ADDRESSES]), min_size=1, max_size=3, unique_by=ADDRESSES.__getitem__)
_UPSERTS: Final = st.builds(_upsert, _SPELLINGS, st.integers(0, 5), st.sampled_from([None, "Ada", "Bob"]))
_DELETES: Final = st.builds(Delete, st.integers(0, 3))
BULKS: Final[SearchStrategy[Bulk]] = st.builds(
    Bulk, st.lists(_UPSERTS | _UPSERTS | _DELETES, min_size=1, max_size=5).map(tuple), st.booleans()
)
