"""A small model of upserting and deleting contacts, written from the rules, which shares nothing with the code under test."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

# An address by its meaning, or an external id.
Key: TypeAlias = tuple[str, str]
# Spellings of addresses, with their meaning.
ADDRESSES: Final = {"ada": "ada", "ADA": "ada", "bob": "bob", "Bob": "bob", "cyd": "cyd", "dan": "dan"}


EXTERNAL_IDS: Final = ("1", "2", "3", " 3")


def keys_of(addresses: Iterable[str], external_ids: Iterable[str]) -> set[Key]:
    """Return the keys of a contact."""
    return {*(("address", each) for each in addresses), *(("id", each) for each in external_ids)}


class Upsert(NamedTuple):
    """An upsert: local parts of addresses, which of them is marked, if any, a first name, or None if absent, and external ids.

    `by_id` tells whether the contact is looked up by the first external id.
    """

    spellings: tuple[str, ...]
    marked: int | None
    first_name: str | None
    external_ids: tuple[str, ...] = ()
    by_id: bool = False

    @property
    def meanings(self) -> list[str]:
        """The normalized addresses."""
        return [ADDRESSES[spelling] for spelling in self.spellings]

    @property
    def match(self) -> Key:
        """The key that selects the contact."""
        return ("id", self.external_ids[0]) if self.by_id else ("address", self.meanings[self.marked or 0])

    @property
    def keys(self) -> set[Key]:
        """The keys that the contact gets."""
        return keys_of(self.meanings, self.external_ids)


class Delete(NamedTuple):
    """A deletion of the contact with this index in order of creation, modulo their number."""

    place: int


class Bulk(NamedTuple):
    """Operations, separate or all or none."""

    operations: tuple[Upsert | Delete, ...]
    atomic: bool


@dataclass(frozen=True)
class Known:
    """A contact: its addresses by meaning in their spelling, the primary one, its external ids, and its time of deletion."""

    spelled: dict[str, str]
    primary: str | None
    first_name: str | None
    external_ids: tuple[str, ...] = ()
    deleted: int | None = None

    @property
    def keys(self) -> set[Key]:
        """The keys that it has, or had when it was deleted."""
        return keys_of(self.spelled, self.external_ids)


@dataclass
class World:
    """All contacts in order of creation."""

    contacts: list[Known] = field(default_factory=list[Known])
    moment: int = 0

    def holder(self, key: Key) -> int | None:
        """Return the active contact that has a key."""
        return next((n for n, each in enumerate(self.contacts) if each.deleted is None and key in each.keys), None)

    def former(self, key: Key) -> int | None:
        """Return the contact that was deleted last with a key."""
        had = [(each.deleted, n) for n, each in enumerate(self.contacts) if each.deleted is not None and key in each.keys]
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
        if any(self.holder(key) not in (None, place) for key in asked.keys):
            return "failed"
        if place is None:
            self.contacts.append(_with(Known({}, None, None), asked))
            return "created"
        before = self.contacts[place]
        after = _with(self._back(before), asked)
        self.contacts[place] = after
        return "unchanged" if after == before else verdict

    def _back(self, contact: Known) -> Known:
        """Return a contact with those of its keys that are free."""
        if contact.deleted is None:
            return contact
        left = {each: spelling for each, spelling in contact.spelled.items() if self.holder(("address", each)) is None}
        primary = contact.primary if contact.primary in left else next(iter(left), None)
        external_ids = tuple(each for each in contact.external_ids if self.holder(("id", each)) is None)
        return Known(left, primary, contact.first_name, external_ids)


def _with(contact: Known, asked: Upsert) -> Known:
    spelled = dict(contact.spelled)
    for address, spelling in zip(asked.meanings, asked.spellings, strict=True):
        spelled.setdefault(address, spelling)
    return Known(
        spelled,
        primary=(contact.primary or next(iter(spelled), None)) if asked.marked is None else asked.meanings[asked.marked],
        first_name=contact.first_name if asked.first_name is None else asked.first_name,
        external_ids=tuple(dict.fromkeys((*contact.external_ids, *asked.external_ids))),
    )


def carried_out(world: World, operations: Sequence[Upsert | Delete]) -> list[str]:
    """Run operations in order; return the verdicts. A deletion refers to contacts that existed before the first operation."""
    many = len(world.contacts)
    return [
        world.upsert(operation) if isinstance(operation, Upsert) else world.delete(operation.place % many)
        for operation in operations
        if many or isinstance(operation, Upsert)
    ]


def _upsert(spellings: Sequence[str], marked: int, first_name: str | None, external_ids: Sequence[str], match: str) -> Upsert:
    by_id = bool(external_ids) and match == "external_ids"
    # An upsert by address has one.
    spellings = spellings or (() if by_id else ("ada",))
    return Upsert(tuple(spellings), marked if marked < len(spellings) else None, first_name, tuple(external_ids), by_id)


_SPELLINGS: Final = st.lists(st.sampled_from([*ADDRESSES]), max_size=3, unique_by=ADDRESSES.__getitem__)
_IDS: Final = st.lists(st.sampled_from(EXTERNAL_IDS), max_size=2, unique=True)
_MATCHES: Final = st.sampled_from(["emails", "external_ids"])
_UPSERTS: Final = st.builds(_upsert, _SPELLINGS, st.integers(0, 5), st.sampled_from([None, "Ada", "Bob"]), _IDS, _MATCHES)
_DELETES: Final = st.builds(Delete, st.integers(0, 3))
BULKS: Final[SearchStrategy[Bulk]] = st.builds(
    Bulk, st.lists(_UPSERTS | _UPSERTS | _DELETES, min_size=1, max_size=5).map(tuple), st.booleans()
)
