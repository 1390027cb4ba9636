"""The search for duplicates: a first pass over all objects, and then the changes of the ledger, a step at a time.

A step computes the keys of some objects, looks up who shares one, compares, and saves what it found in one statement. Each step
begins where the last one ended, in whatever process, so nothing is lost and nothing is done twice.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from herdbook.companies.store import COMPANY
from herdbook.contacts.store import CONTACT
from herdbook.db.pool import Executor
from herdbook.db.slices import each_slice_of_workspaces
from herdbook.duplicates import store
from herdbook.duplicates.comparison import (
    Evidence,
    Firm,
    Keys,
    Person,
    StoredCompany,
    StoredContact,
    evidence_of_firms,
    evidence_of_persons,
    firm_of,
    has_name,
    key_in_words,
    keys_of_firm,
    keys_of_person,
    person_of,
    score,
)
from herdbook.duplicates.model import LEAST_SCORE
from herdbook.duplicates.store import MAX_TOO_COMMON, Pair, Search, Step, StoredObject
from herdbook.ledger.notifier import ChangeNotifier
from herdbook.ledger.object_types import ObjectType
from herdbook.merging.store import COMPANY_MERGE, CONTACT_MERGE, MergeType

# A change of the keys or the weights needs a new number, so that all objects are compared anew.
FORM: Final = 2
# Objects are not compared by a key that more of them have. A name alone says little if several have it, and with anything else
# that two have in common, they share another key.
MAX_SHARING: Final = 100
MAX_NAMESAKES: Final = 10
# Limits the objects of a step, and how long it computes before others have their turn.
_SLICE: Final = 250
_TURN_SECONDS: Final = 0.003
_FOLLOW_SECONDS: Final = 2.0

ProfileT = TypeVar("ProfileT", Person, Firm)
_contact: Final = msgspec.json.Decoder(StoredContact).decode
_company: Final = msgspec.json.Decoder(StoredCompany).decode


class _Own(msgspec.Struct, frozen=True):
    """The own members of an object that are compared."""

    fields: dict[str, Any] = {}


_own: Final = msgspec.json.Decoder(_Own).decode


@dataclass(frozen=True, kw_only=True)
class DuplicateKind(Generic[ProfileT]):
    """A kind of objects of which some may be there twice.

    `members` are those of an entry that are compared, and `fields` the fields of a workspace's own. `profile` prepares an
    object for that, given the state of the search.
    """

    object_type: ObjectType[Any, Any]
    merge_type: MergeType
    members: Sequence[str]
    fields: Sequence[str]
    profile: Callable[[StoredObject, Search], ProfileT]
    keys: Callable[[ProfileT], Keys]
    evidence: Callable[[ProfileT, ProfileT], list[Evidence]]

    @property
    def field_keys(self) -> list[str]:
        """The fields, as they are claimed."""
        return [f"{self.object_type.name}.{each}" for each in self.fields]


def _person(row: StoredObject, search: Search) -> Person:
    return person_of(_contact(row.object), _fields(row, search), search.region, row.numbers)


def _firm(row: StoredObject, search: Search) -> Firm:
    return firm_of(_company(row.object), _fields(row, search))


def _fields(row: StoredObject, search: Search) -> Mapping[str, Any]:
    """Return the values of the fields that are compared, without archived ones, of which nobody sees anything."""
    if row.own is None or not search.fields:
        return {}
    values = _own(row.own).fields
    return {name: value for key in search.fields if (value := values.get(name := key.partition(".")[2])) is not None}


CONTACTS: Final = DuplicateKind(
    object_type=CONTACT,
    merge_type=CONTACT_MERGE,
    members=("first_name", "last_name", "company", "emails", "phone_numbers", "crm_association", "fields"),
    fields=("address", "birthday"),
    profile=_person,
    keys=keys_of_person,
    evidence=evidence_of_persons,
)
COMPANIES: Final = DuplicateKind(
    object_type=COMPANY,
    merge_type=COMPANY_MERGE,
    members=("name", "domains", "crm_association", "fields"),
    fields=("address",),
    profile=_firm,
    keys=keys_of_firm,
    evidence=evidence_of_firms,
)
KINDS: Final[Mapping[str, DuplicateKind[Any]]] = {each.object_type.name: each for each in (CONTACTS, COMPANIES)}


class Place(NamedTuple):
    """A kind of objects in a workspace, and the connections to read them."""

    statements: Executor
    workspace_id: UUID
    kind: DuplicateKind[Any]

    @property
    def name(self) -> str:
        """The type of the objects."""
        return self.kind.object_type.name

    async def objects(self, object_ids: Collection[UUID]) -> list[StoredObject]:
        """Return the active ones of these objects."""
        found = await store.objects(self.statements, self.kind.object_type.table.name, self.workspace_id, object_ids)
        return [each for each in found if each.is_active]


class _Turns:
    """Lets other tasks run after each few milliseconds of work."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    async def next(self) -> None:
        if time.perf_counter() - self._began > _TURN_SECONDS:
            await asyncio.sleep(0)
            self._began = time.perf_counter()


class Candidate(NamedTuple):
    """An object that may be the same as another: the probability, and the evidence."""

    object_id: UUID
    score: float
    evidence: list[Evidence]


async def search_state(place: Place) -> Search:
    """Return how far the search has come. If it is the first one, or objects are read in another way now, it begins."""
    statements, workspace_id, kind = place
    read = partial(store.read_search, statements, workspace_id, place.name, kind.field_keys)
    search = await read()
    reading = " ".join((str(FORM), search.region or "-", *search.fields))
    if search.reading != reading or search.trimmed > search.seq:
        await store.begin_search(statements, workspace_id, place.name, reading)
        search = await read()
    return search


def is_behind(search: Search) -> bool:
    """Whether there are objects or changes that a search has not taken in."""
    return search.scanned_to is not None or search.seq < search.head


async def follow(place: Place, most_steps: int) -> Search:
    """Take in what is new, in at most so many steps and two seconds. Return how far the search has come then."""
    search = await search_state(place)
    # A step that takes longer is left to the background.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_FOLLOW_SECONDS):
            for _ in range(most_steps):
                if not is_behind(search):
                    break
                await take_step(place, search)
                search = await search_state(place)
    return search


async def follow_all(statements: Executor) -> None:
    """Take in what is new in all workspaces in which somebody has asked for duplicates. Leave half of the time to others."""

    async def look(part: Executor, workspace_ids: list[UUID]) -> None:
        await _take_in(statements, await store.searches_behind(part, workspace_ids))

    await each_slice_of_workspaces(statements, look)


async def follow_moved(statements: Executor, notifier: ChangeNotifier) -> None:
    """Do as `follow_all` does where this process has changed something, and go on with first passes, whoever began them."""
    moved = notifier.take_moved()
    try:
        if moved:
            await _take_in(statements, await store.searches_behind(statements, list(moved)))
        await _take_in(statements, await store.first_passes(statements))
    except BaseException:
        notifier.give_back(moved)
        raise


async def _take_in(statements: Executor, searches: Iterable[tuple[UUID, str]]) -> None:
    for workspace_id, name in searches:
        place = Place(statements, workspace_id, KINDS[name])
        search = await search_state(place)
        while is_behind(search):
            began = time.monotonic()
            if await take_step(place, search) is None:
                # Another process is at it.
                break
            await asyncio.sleep(time.monotonic() - began)
            search = await search_state(place)


async def take_step(place: Place, search: Search) -> int | None:
    """Take in the next objects of the first pass or, once that is over, the next changes.

    Return how many objects these are, or None if another process has taken the step meanwhile.
    """
    statements, workspace_id, kind = place
    table = kind.object_type.table.name
    if search.scanned_to is not None:
        rows = await store.next_objects(statements, table, workspace_id, search.scanned_to, _SLICE)
        seq, scanned_to = search.seq, rows[-1].id if len(rows) == _SLICE else None
    else:
        changed, seq = await store.changed_ids(statements, workspace_id, kind.object_type.kind, search, kind.members, _SLICE)
        rows, scanned_to = await store.objects(statements, table, workspace_id, changed), None
        # An erased object has no row any more.
        known = {row.id for row in rows}
        rows += [StoredObject(each, b"", None, is_active=False) for each in changed if each not in known]
    step = await _Looking(place, search).step(rows, seq, scanned_to)
    return len(rows) if await store.save_step(statements, workspace_id, place.name, step) else None


class _Looking:
    """One look at some objects, and at those that share keys with them."""

    def __init__(self, place: Place, search: Search) -> None:
        self._place = place
        self._search = search
        self._turns = _Turns()
        self._profiles: dict[UUID, Any] = {}
        self._keys: dict[UUID, Keys] = {}
        self._holders: dict[int, set[UUID]] = defaultdict(set)
        self._limits: dict[int, int] = {}
        self._too_common = {**search.too_common}
        # The objects beside those of the look that share a name with several, and with how many.
        self._namesakes: dict[UUID, int] = {}
        self._looked_at: set[UUID] = set()

    async def step(self, rows: Sequence[StoredObject], seq: int, scanned_to: UUID | None) -> Step:
        """Return what there is to save of some objects."""
        statements, workspace_id, _ = self._place
        old = await self._take(rows)
        gone = [row.id for row in rows if not row.is_active and row.id in old]
        old |= await self._take(await self._place.objects(await self._freed(*self._moves(old)) - self._looked_at))
        new = {each: keys.all for each, keys in self._keys.items()}
        lost, learned = self._moves(old)
        await self._look_up(frozenset(lost))
        pairs = await self._pairs()
        existing = await store.pairs_of(statements, workspace_id, [*old, *self._namesakes])
        pairs += self._of_namesakes(existing)
        found = {(pair.one_id, pair.other_id) for pair in pairs}
        return Step(
            before=self._search,
            seq=seq,
            scanned_to=scanned_to,
            too_common=self._too_common,
            keys={each: keys for each, keys in new.items() if keys != old.get(each)},
            gone=gone,
            learned=learned,
            lost=lost,
            pairs=pairs,
            parted=[
                (pair.one_id, pair.other_id)
                for pair in existing
                if (pair.one_id, pair.other_id) not in found and self._is_compared(pair)
            ],
        )

    async def _take(self, rows: Sequence[StoredObject]) -> dict[UUID, frozenset[int]]:
        """Take objects into this look. Return the keys that they had before."""
        self._looked_at.update(row.id for row in rows)
        for row in rows:
            if row.is_active:
                await self._prepare(row)
        return await store.keys_of(self._place.statements, self._place.workspace_id, [row.id for row in rows])

    def _moves(self, old: Mapping[UUID, frozenset[int]]) -> tuple[list[tuple[UUID, int]], list[tuple[UUID, int]]]:
        """Return the keys that objects of this look have lost, and those that they have got."""
        new = {each: keys.all for each, keys in self._keys.items()}
        lost = [(each, key) for each, keys in old.items() for key in keys - new.get(each, frozenset())]
        return lost, [(each, key) for each, keys in new.items() for key in keys - old.get(each, frozenset())]

    async def _freed(self, lost: Iterable[tuple[UUID, int]], learned: Iterable[tuple[UUID, int]]) -> set[UUID]:
        """Return the objects that share a key which too many had before, so that they were not compared for it."""
        left, come = defaultdict[int, set[UUID]](set), defaultdict[int, set[UUID]](set)
        for moves, found in ((lost, left), (learned, come)):
            for object_id, key in moves:
                found[key].add(object_id)
        limits = {key: MAX_SHARING + len(left[key]) for key in {*left, *self._too_common}}
        shared = await store.sharing(self._place.statements, self._place.workspace_id, limits) if limits else {}
        freed = set[UUID]()
        for key in limits:
            before = {*shared.get(key, ())}
            holders = (before - left[key]) | come[key]
            # An erasure takes keys away before the search learns of it.
            is_rare = len(holders) <= MAX_SHARING and self._too_common.pop(key, None) is not None
            # Nothing tells whether a key that is lost was that of a name.
            if is_rare or any(len(before) > most >= len(holders) for most in (MAX_NAMESAKES, MAX_SHARING)):
                freed |= holders
        return freed

    def _is_compared(self, pair: Pair) -> bool:
        """Whether this look has compared a pair: one of the two is among its objects, or both have a name of one of them."""
        both = {pair.one_id, pair.other_id}
        return not both.isdisjoint(self._looked_at) or both <= self._namesakes.keys()

    def _of_namesakes(self, existing: Sequence[Pair]) -> list[Pair]:
        """Return the pairs of others that have the name of an object of this look, which says less now."""
        found: list[Pair] = []
        for pair in existing:
            if pair.one_id in self._namesakes and pair.other_id in self._namesakes:
                evidence = self._place.kind.evidence(self._profiles[pair.one_id], self._profiles[pair.other_id])
                likely = score(evidence, max(self._namesakes[pair.one_id], self._namesakes[pair.other_id]))
                if likely >= LEAST_SCORE:
                    found.append(pair._replace(score=round(likely * 1000)))
        return found

    async def candidates(self, row: StoredObject) -> list[Candidate]:
        """Return the objects that may be the same as one, the most likely first."""
        await self._prepare(row)
        await self._look_up(frozenset())
        found = [each async for each in self._compared(row.id)]
        return sorted(found, key=lambda each: -each.score)

    async def _prepare(self, row: StoredObject) -> None:
        kind = self._place.kind
        profile = self._profiles[row.id] = kind.profile(row, self._search)
        keys = self._keys[row.id] = kind.keys(profile)
        for key in keys.all:
            self._holders[key].add(row.id)
            self._limits[key] = MAX_NAMESAKES if key in keys.names else MAX_SHARING
        await self._turns.next()

    async def _look_up(self, lost: frozenset[tuple[UUID, int]]) -> None:
        """Find who shares the keys, and prepare them for the comparison."""
        statements, workspace_id, kind = self._place
        shared = await store.sharing(statements, workspace_id, self._limits)
        for key, object_ids in shared.items():
            self._holders[key].update(each for each in object_ids if (each, key) not in lost)
        few = (holders for key, holders in self._holders.items() if len(holders) <= self._limits[key])
        others = {each for holders in few for each in holders} - self._profiles.keys()
        for row in await self._place.objects(others):
            self._profiles[row.id] = kind.profile(row, self._search)
            await self._turns.next()

    async def _pairs(self) -> list[Pair]:
        pairs: list[Pair] = []
        for object_id in self._keys:
            async for each in self._compared(object_id):
                # Two objects of this look are compared once.
                if each.object_id not in self._keys or object_id < each.object_id:
                    one, other = sorted((object_id, each.object_id))
                    pairs.append(Pair(round(each.score * 1000), one, other))
        return pairs

    async def _compared(self, object_id: UUID) -> AsyncIterator[Candidate]:
        keys, profile = self._keys[object_id], self._profiles[object_id]
        others: set[UUID] = set()
        namesakes = 0
        for key in keys.all:
            holders = self._holders[key]
            if len(holders) <= self._limits[key]:
                others |= holders
            elif key in keys.names:
                namesakes = MAX_NAMESAKES
            elif len(self._too_common) < MAX_TOO_COMMON:
                self._too_common[key] = key_in_words(profile, key)
        others.discard(object_id)
        compared = [
            (other, self._place.kind.evidence(profile, prepared))
            for other in others
            if (prepared := self._profiles.get(other)) is not None
        ]
        named = [other for other, evidence in compared if has_name(evidence)]
        namesakes = max(namesakes, len(named))
        if namesakes > 1:
            self._namesakes |= {other: namesakes for other in named if other not in self._looked_at}
        for other, evidence in compared:
            likely = score(evidence, namesakes)
            if likely >= LEAST_SCORE:
                yield Candidate(other, likely, evidence)
        await self._turns.next()


async def candidates_of(place: Place, search: Search, row: StoredObject) -> list[Candidate]:
    """Return the objects that may be the same as one, the most likely first."""
    return await _Looking(place, search).candidates(row)
