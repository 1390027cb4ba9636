"""Groups of objects that may be the same, made of the pairs that the search has found."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from herdbook.custom_fields.naming import Named, name_of
from herdbook.duplicates import store
from herdbook.duplicates.comparison import reasons_of, score
from herdbook.duplicates.searching import Place
from herdbook.duplicates.store import Pair, Search, StoredObject
from herdbook.merging.model import MAX_SOURCES

# The pairs that are read at once, and how far the pairs of pairs are followed.
_PAIRS: Final = 100
_ROUNDS: Final = 8
_MAX_OBJECTS: Final = 2_000
# Very many pairs of the same few objects make few groups.
_PAGE_SECONDS: Final = 1.5
_MAX_MEMBERS: Final = MAX_SOURCES + 1


class FoundPair(NamedTuple):
    """Two objects that may be the same, how likely that is, of a thousand, and why."""

    pair: Pair
    reasons: list[str]


class FoundGroup(NamedTuple):
    """Objects that may all be the same: the one to keep comes first. `score` is that of their most likely pair."""

    score: int
    members: list[tuple[UUID, str]]
    pairs: list[FoundPair]

    @property
    def object_ids(self) -> list[UUID]:
        """The ids of the objects."""
        return [object_id for object_id, _ in self.members]


class FoundPage(NamedTuple):
    """Groups, the most likely first. `after` is the pair behind which the next page begins; None if there is none."""

    groups: list[FoundGroup]
    after: Pair | None


def _rank(pair: Pair) -> tuple[int, UUID, UUID]:
    return (-pair.score, pair.one_id, pair.other_id)


async def groups(place: Place, search: Search, least: int, after: Pair | None, limit: int) -> FoundPage:
    """Return a page of the groups of pairs that have at least a score. `search` is its state.

    It has fewer groups than it may, or none, if these take too long to put together, although more follow.
    """
    found: list[FoundGroup] = []
    began = time.monotonic()
    while True:
        pairs = await store.best_pairs(place.statements, place.workspace_id, place.name, least, after, _PAIRS)
        for group, first in await _groups_of(place, search, least, pairs):
            # The group of a pair that is more likely than all of these was on an earlier page.
            if first not in pairs:
                continue
            if len(found) == limit:
                return FoundPage(found, after)
            found.append(group)
            after = first
        if len(pairs) < _PAIRS:
            return FoundPage(found, None)
        after = pairs[-1]
        if time.monotonic() - began > _PAGE_SECONDS:
            return FoundPage(found, after)


async def groups_with(place: Place, search: Search, least: int, object_id: UUID) -> list[FoundGroup]:
    """Return the group that has an object, if there is one."""
    pairs = await store.pairs_of(place.statements, place.workspace_id, [object_id], least)
    return [group for group, _ in await _groups_of(place, search, least, pairs) if object_id in group.object_ids]


async def _groups_of(place: Place, search: Search, least: int, pairs: Collection[Pair]) -> list[tuple[FoundGroup, Pair]]:
    """Return the groups that have some pairs, each with its most likely pair, the most likely group first."""
    all_pairs = await _connected(place, least, pairs)
    object_ids = {each for pair in all_pairs for each in (pair.one_id, pair.other_id)}
    table = place.kind.object_type.table.name
    distinct = await store.distinct_among(place.statements, table, place.workspace_id, object_ids)
    rows = {row.id: row for row in await place.objects(object_ids)}
    joined = _Joined(distinct)
    profiles = {each: place.kind.profile(row, search) for each, row in rows.items()}
    reasons: dict[Pair, list[str]] = {}
    for pair in sorted(all_pairs, key=_rank):
        if not {pair.one_id, pair.other_id} <= rows.keys():
            continue
        evidence = place.kind.evidence(profiles[pair.one_id], profiles[pair.other_id])
        # Either may have changed since they were compared.
        if score(evidence) * 1000 >= least and joined.join(pair):
            reasons[pair] = reasons_of(evidence)
    found: list[tuple[FoundGroup, Pair]] = []
    for members, of_group in joined.groups():
        first = min(of_group, key=_rank)
        found.append((_group(first, members, of_group, rows, reasons), first))
    return sorted(found, key=lambda each: _rank(each[1]))


async def _connected(place: Place, least: int, pairs: Collection[Pair]) -> set[Pair]:
    """Return these pairs, and those that are connected with them."""
    found = set(pairs)
    known: set[UUID] = set()
    for _ in range(_ROUNDS):
        new = {each for pair in found for each in (pair.one_id, pair.other_id)} - known
        if not new or len(known) > _MAX_OBJECTS:
            break
        known |= new
        found.update(await store.pairs_of(place.statements, place.workspace_id, new, least))
    return found


class _Joined:
    """Objects that pairs join to groups, unless two of a group are not the same, or it would have too many."""

    def __init__(self, distinct: Collection[tuple[UUID, UUID]]) -> None:
        self._distinct: dict[UUID, set[UUID]] = {}
        for one, other in distinct:
            self._distinct.setdefault(one, set()).add(other)
            self._distinct.setdefault(other, set()).add(one)
        self._members: dict[UUID, set[UUID]] = {}
        self._pairs: list[Pair] = []

    def join(self, pair: Pair) -> bool:
        """Join the objects of a pair, with those that each was joined with. Return whether they are together."""
        one = self._members.setdefault(pair.one_id, {pair.one_id})
        other = self._members.setdefault(pair.other_id, {pair.other_id})
        if one is not other:
            is_distinct = any(not self._distinct.get(each, set[UUID]()).isdisjoint(other) for each in one)
            if is_distinct or len(one) + len(other) > _MAX_MEMBERS:
                return False
            one |= other
            for each in other:
                self._members[each] = one
        self._pairs.append(pair)
        return True

    def groups(self) -> Iterable[tuple[set[UUID], list[Pair]]]:
        """Return the members and the pairs of each group."""
        by_group: dict[int, tuple[set[UUID], list[Pair]]] = {}
        for pair in self._pairs:
            members = self._members[pair.one_id]
            by_group.setdefault(id(members), (members, []))[1].append(pair)
        return by_group.values()


def _group(
    first: Pair,
    members: Collection[UUID],
    pairs: Sequence[Pair],
    rows: Mapping[UUID, StoredObject],
    reasons: Mapping[Pair, list[str]],
) -> FoundGroup:
    kept_first = sorted(members, key=lambda each: (-_filled(rows[each]), each))
    return FoundGroup(
        score=first.score,
        members=[(each, name_of(msgspec.json.decode(rows[each].object, type=Named))) for each in kept_first],
        pairs=[FoundPair(pair, reasons[pair]) for pair in sorted(pairs, key=_rank)],
    )


def _filled(row: StoredObject) -> int:
    """Return how many members of an object have a value: the one with most is kept, and of these the oldest."""
    own = {} if row.own is None else msgspec.json.decode(row.own, type=dict[str, Any])
    members = msgspec.json.decode(row.object, type=dict[str, Any]) | own | own.get("fields", {})
    return sum(bool(value) for value in members.values())
