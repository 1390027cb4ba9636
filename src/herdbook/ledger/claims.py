"""Claims: unique keys. Only one active object of a workspace may hold a key such as an e-mail address or a domain.

The table's primary key is the proof. A unit of work decides a claim. It also says which object holds the key in the table
before the batch is saved, so that a key that changes hands within a batch is moved, not given twice.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, LiteralString, NamedTuple, Protocol, TypeAlias, TypeVar
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.errors import FieldError, Taken
from herdbook.ledger.unit_of_work import Need, NotLoaded, Table, UnitOfWork


class Claim(msgspec.Struct, frozen=True):
    """The object that holds a key, if any, and the object that holds it in the table before the batch is saved."""

    workspace_id: UUID
    key: str
    holder_id: UUID | None
    stored_holder_id: UUID | None


ClaimTable: TypeAlias = Table[Claim]

# An object may list a key that another one holds, because a migration made their keys the same. The table frees and moves a key
# only if the object holds it.
# A plain insert without `on conflict`: if two objects ever claimed the same key, the primary key must refuse the batch.
_SAVE: Final[LiteralString] = """
    $table_claim as (
        select r.workspace_id, r.key, r.holder_id, r.stored_holder_id
        from json_to_recordset($rows) as r(workspace_id uuid, key text, holder_id uuid, stored_holder_id uuid)
        join held on held.id = r.workspace_id
    ), $table_freed as (
        delete from $table t using $table_claim r
        where t.workspace_id = r.workspace_id and t.$key = r.key and t.$holder = r.stored_holder_id and r.holder_id is null
    ), $table_moved as (
        update $table t set $holder = r.holder_id from $table_claim r
        where t.workspace_id = r.workspace_id and t.$key = r.key and t.$holder = r.stored_holder_id
            and r.holder_id <> r.stored_holder_id
    ), $table_claimed as (
        insert into $table (workspace_id, $key, $holder)
        select workspace_id, key, holder_id from $table_claim where holder_id is not null and stored_holder_id is null
    )
"""
_LOAD: Final[LiteralString] = """
    select t.workspace_id, t.$key as key, t.$holder as holder_id, t.$holder as stored_holder_id
    from json_to_recordset($rows) as asked(workspace_id uuid, key text)
    join $table t on t.workspace_id = asked.workspace_id and t.$key = asked.key
"""


def claim_table(table_name: LiteralString, key: LiteralString, holder: LiteralString) -> ClaimTable:
    """Return the mapping of a table (workspace_id, key, holder) whose primary key is the first two columns."""

    def stated(sql: LiteralString) -> LiteralString:
        return sql.replace("$table", table_name).replace("$key", key).replace("$holder", holder)

    return Table(row=Claim, key=_key_of, load=stated(_LOAD), save=stated(_SAVE))


def _key_of(claim: Claim) -> str:
    return claim.key


EntryT = TypeVar("EntryT", bound=msgspec.Struct)


class HolderType(Protocol):
    """The type of the objects that hold keys: its name, the prefix of their ids, and the scopes that may see them."""

    @property
    def name(self) -> str: ...
    @property
    def prefix(self) -> str: ...
    @property
    def read_scopes(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, eq=False)
class UniqueKey(Generic[EntryT]):
    """A unique key of a type of objects.

    `keys` returns the keys of an entry as they are compared. `field_path` returns the path of the field with a key, given the
    key's index and the key. `is_held` tells whether an object that holds a key in the table has it. None if it always does: an
    earlier release that does not know the key frees none when it deletes an object.
    """

    table: ClaimTable
    keys: Callable[[EntryT], list[str]]
    field_path: Callable[[int, str], str]
    is_held: Callable[[UnitOfWork, UUID, str], bool] | None = None

    def needs(self, keys: Collection[str]) -> list[Need]:
        """Return the rows that a command must see to claim these keys."""
        return [Need(self.table, key) for key in keys]

    def holder(self, work: UnitOfWork, key: str) -> UUID | None:
        """Return the id of the object that holds a key, or None."""
        claim = work.get(self.table, key)
        holder = None if claim is None else claim.holder_id
        if holder is None or self.is_held is None or work.has_changed(self.table, key) or self.is_held(work, holder, key):
            return holder
        return None

    def holders(self, work: UnitOfWork, keys: Collection[str]) -> dict[str, UUID | None]:
        """Return what `holder` does for each key. All rows that were not loaded are missed at once, and so loaded together."""
        work.require(self.needs(keys))
        found: dict[str, UUID | None] = {}
        missing: list[Need] = []
        for key in keys:
            try:
                found[key] = self.holder(work, key)
            except NotLoaded as missed:
                missing += missed.needs
        work.require(missing)
        return found

    def claim(  # the object, its keys, and how to refuse one
        self,
        work: UnitOfWork,
        holder_type: HolderType,
        object_id: UUID,
        old: Collection[str],
        new: Sequence[str],
        field_path: Callable[[int, str], str] | None = None,
    ) -> None:
        """Claim the new keys for an object and free its old ones. Refusal: Taken. `field_path` may replace that of the key."""
        errors: list[FieldError] = []
        holders: list[tuple[str, str]] = []
        added = [key for key in new if key not in old]
        claims = dict(zip(added, work.get_all(self.table, added), strict=True))
        held = [key for key, claim in claims.items() if claim and claim.holder_id not in (None, object_id)]
        # Most keys are free.
        taken = self.holders(work, held) if held else {}
        kind = holder_type.name
        for index, key in enumerate(new) if taken else ():
            if (holder := taken.get(key)) is not None:
                errors.append(_already_in_use((field_path or self.field_path)(index, key), kind))
                holders.append((kind, ids.encoded(holder_type.prefix, holder)))
        if errors:
            raise Taken(errors, holders, holder_type.read_scopes[0])
        if old:
            self.free(work, object_id, set(old).difference(new))
        for key, claim in claims.items():
            work.put(self.table, Claim(work.workspace_id, key, object_id, None if claim is None else claim.stored_holder_id))

    def free(self, work: UnitOfWork, object_id: UUID, keys: Collection[str]) -> None:
        """Free those of the keys that the object holds."""
        for key in keys:
            claim = work.get_if_loaded(self.table, key)
            # Not loaded: the object's row lists this key, so the table already gives it to this object.
            if claim is None or claim.holder_id == object_id:
                stored = object_id if claim is None else claim.stored_holder_id
                work.put(self.table, Claim(work.workspace_id, key, None, stored))


def paths_in_request(unique_key: UniqueKey[Any], asked: Sequence[str]) -> Callable[[int, str], str]:
    """Return the function that names where a request has a key which is added to those of an object.

    The object may always keep its own keys, so a key that is refused was sent in the request.
    """
    return lambda _, key: unique_key.field_path(asked.index(key), key)


def _already_in_use(path: str, kind: str) -> FieldError:
    message = f"`{path}` belongs to another active {kind} of this workspace. Use that one, or choose another."
    return FieldError(path, "already_in_use", message)


def in_use(holder_type: HolderType, held: Mapping[str, UUID]) -> Taken:
    """Return the refusal of values that other objects have, by the paths of their fields."""
    kind = holder_type.name
    holders = [(kind, ids.encoded(holder_type.prefix, holder)) for holder in held.values()]
    return Taken([_already_in_use(path, kind) for path in held], holders, holder_type.read_scopes[0])


class HeldKey(NamedTuple):
    """A key of an entry: the unique key that it belongs to, the text that is compared, and its place in the entry."""

    unique_key: UniqueKey[Any]
    key: str
    place: int

    @property
    def field_path(self) -> str:
        """The path of the field with the key."""
        return self.unique_key.field_path(self.place, self.key)

    @property
    def need(self) -> Need:
        """The row that a command must see to claim the key."""
        return Need(self.unique_key.table, self.key)


def united(refusals: Sequence[Taken]) -> Taken:
    """Return refusals to claim keys of one object as one refusal."""
    errors = [error for refusal in refusals for error in refusal.errors]
    holders = [holder for refusal in refusals for holder in refusal.holders]
    return Taken(errors, holders, refusals[0].read_scope)
