"""A distributed database: Citus, which keeps each workspace on one of its nodes.

A statement whose tables all have `workspace_id = $1` goes to that node as it is. The tables without a workspace are copied to
all nodes.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final, LiteralString, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

import asyncpg

from herdbook.db.pool import CONNECTION_ERRORS, Connection, DatabaseAway, Executor, connect, is_distributed
from herdbook.db.shards import (
    HOLD_SHARD,
    MOST_UNITED,
    MOVING_SECONDS,
    PATIENCE_SECONDS,
    Shard,
    ShardConnection,
    ShardMoved,
    Shards,
    require_here,
)
from herdbook.faults import OperatorFault

T = TypeVar("T")

_log: Final = logging.getLogger("herdbook.db")
# The nodes that were away when somebody last asked.
_away: Final[set[str]] = set()
# It says which workspaces a person belongs to, and is read by the person.
_COPIED: Final = ("person_user",)
# A trigger for the release before this one, which does not run on a distributed database. Citus allows none.
_FOR_OTHER_RELEASES: Final[LiteralString] = "drop trigger if exists company_not_merged on company"
_MOST_TRIES: Final = 5


async def distribute(statements: Executor) -> Sequence[str]:
    """Give each table that is on this node alone its place on all nodes; return the names of those that had none.

    A table whose rows are found by their workspace is spread by it. The others are copied to all nodes, those first that others
    refer to.
    """
    records = await statements.fetch(
        """
        select c.oid::regclass::text as name, c.relname = 'workspace' as is_workspace,
            (a.attname = 'workspace_id' and c.relname <> all($1)) as is_spread
        from pg_catalog.pg_class c
        join pg_catalog.pg_index i on i.indrelid = c.oid and i.indisprimary
        join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0]
        where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r'
            and not exists (select from pg_dist_partition p where p.logicalrelid = c.oid)
            and not relation_is_a_known_shard(c.oid)
        order by c.relname <> 'workspace', (
            select count(*) from pg_catalog.pg_constraint f where f.conrelid = c.oid and f.contype = 'f'
        ), c.relname
        """,
        _COPIED,
    )
    # A start must not need all nodes, so nothing is changed that is there.
    if await statements.fetchval("select to_regprocedure('herdbook_hold_shard(bigint)') is null"):
        await statements.execute(HOLD_SHARD)
    if records:
        await statements.execute(_FOR_OTHER_RELEASES)
        # A statement writes to one node.
        await statements.execute("set citus.shard_replication_factor = 1")
    for name, is_workspace, is_spread in records:
        if is_workspace:
            await statements.execute("select create_distributed_table($1::text::regclass, 'id')", name)
        elif is_spread:
            await statements.execute(
                "select create_distributed_table($1::text::regclass, 'workspace_id', colocate_with => 'workspace')", name
            )
        else:
            await statements.execute("select create_reference_table($1::text::regclass)", name)
    for name, *_ in records:
        # The rows that were on this node alone have been copied, and are no longer seen.
        await statements.execute("select truncate_local_data_after_distributing_table($1::text::regclass)", name)
    return [record["name"] for record in records]


async def placement_of(statements: Executor, workspace_id: UUID) -> int | None:
    """Return the number of the place of a workspace, which has another one after each move; None on a database of one node."""
    if not await is_distributed(statements):
        return None
    number: int | None = await statements.fetchval(
        "select placementid from pg_dist_placement where shardid = get_shard_id_for_distribution_column('workspace', $1::uuid)",
        workspace_id,
    )
    return number


@asynccontextmanager
async def connection_of(database_url: str, connection: Connection, workspace_id: UUID) -> AsyncGenerator[Connection]:
    """Yield a connection to the shard in which a workspace is, or would be; on a database of one node, the given one."""
    if not await is_distributed(connection):
        yield connection
        return
    shard = await Shards(connection).of(workspace_id)
    on_node = await connect(database_url, shard.place)
    try:
        yield ShardConnection(on_node, shard)
    finally:
        await on_node.close()


@asynccontextmanager
async def on_each_node(database_url: str, connection: Connection) -> AsyncGenerator[Sequence[Connection]]:
    """Yield a connection to each node; on a database of one node, the given one. Refusal: DatabaseAway if a node is."""
    async with AsyncExitStack() as closing:
        if not await is_distributed(connection):
            yield [connection]
            return
        nodes: list[Connection] = []
        for record in await connection.fetch(
            "select nodename, nodeport from pg_dist_node where noderole = 'primary' order by groupid"
        ):
            node = await connect(database_url, (record["nodename"], record["nodeport"]))
            closing.push_async_callback(node.close)
            nodes.append(node)
        yield nodes


Act: TypeAlias = Callable[[Executor], Awaitable[object]]
ActOn: TypeAlias = Callable[[Executor, Collection[UUID]], Awaitable[object]]


class Found(NamedTuple):
    """The rows that statements found on all nodes, or on those that are not away, and whether those are all."""

    records: list[asyncpg.Record]
    is_all: bool


async def fetch_everywhere(statements: Executor, query: LiteralString, *args: Any) -> Found:
    """Return what a statement about all workspaces finds. A node that is away costs only what is there.

    Refusal: that of the first node, if all are away.
    """
    shards = _shards_of(statements)
    if shards is None:
        return Found(await statements.fetch(query, *args), is_all=True)

    async def look() -> Found:
        by_node: dict[str, list[Shard]] = {}
        for shard in await shards.all():
            by_node.setdefault(shard.node, []).append(shard)
        return await _found({node: partial(_fetch_united, of_node, query, args) for node, of_node in by_node.items()})

    return await _followed(shards, look)


async def fetch_of(statements: Executor, workspace_ids: Collection[UUID], query: LiteralString, *args: Any) -> Found:
    """Do as `fetch_everywhere` with a statement about some workspaces, which are its last parameter."""
    shards = _shards_of(statements)
    if shards is None:
        return Found(await statements.fetch(query, *args, list(workspace_ids)), is_all=True)

    async def look() -> Found:
        by_node: dict[str, list[tuple[Shard, list[UUID]]]] = {}
        by_shard = await _by_shard(shards, workspace_ids)
        for shard, of_shard in by_shard.items():
            by_node.setdefault(shard.node, []).append((shard, of_shard))
        found = await _found({node: partial(_fetch_each, of_node, query, args) for node, of_node in by_node.items()})
        return found._replace(is_all=found.is_all and sum(map(len, by_shard.values())) == len(workspace_ids))

    return await _followed(shards, look)


async def _followed(shards: Shards, look: Callable[[], Awaitable[T]]) -> T:
    """Return what a look finds that was at no shard which had left its place."""
    late_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await look()
        except ShardMoved:
            if time.monotonic() > late_at:
                raise
            await asyncio.sleep(MOVING_SECONDS)
            await shards.all()


async def _by_shard(shards: Shards, workspace_ids: Iterable[UUID]) -> dict[Shard, list[UUID]]:
    """Return the shards in which workspaces are. Those that are in none just now are left out."""
    by_shard: dict[Shard, list[UUID]] = {}
    asked = [*workspace_ids]
    places = await asyncio.gather(*map(shards.of, asked), return_exceptions=True)
    for workspace_id, place in zip(asked, places, strict=True):
        if isinstance(place, Shard):
            by_shard.setdefault(place, []).append(workspace_id)
        elif not isinstance(place, ShardMoved):
            raise place
    return by_shard


async def _fetch_united(shards: Sequence[Shard], query: LiteralString, args: Sequence[Any]) -> list[asyncpg.Record]:
    """Run a statement in all of these shards of a node, many at once. Refusal: ShardMoved."""
    found: list[asyncpg.Record] = []
    for start in range(0, len(shards), MOST_UNITED):
        first, *others = shards[start : start + MOST_UNITED]
        found += await first.fetch_with(others, query, *args)
    return found


async def _fetch_each(
    asked: Sequence[tuple[Shard, list[UUID]]], query: LiteralString, args: Sequence[Any]
) -> list[asyncpg.Record]:
    """Run a statement in each of these shards of a node, with its workspaces as the last parameter. Refusal: ShardMoved."""
    found: list[asyncpg.Record] = []
    for shard, workspace_ids in asked:
        async with shard.acquire() as connection:
            found += await connection.fetch(query, *args, workspace_ids)
            # It is long since somebody asked for their places, and the tables of a shard that has moved stay for a while.
            await require_here(connection)
    return found


async def _found(by_node: Mapping[str, Callable[[], Awaitable[list[asyncpg.Record]]]]) -> Found:
    """Return what is found on all nodes, which are asked side by side, and note those that are away. Refusal: ShardMoved."""
    results = await asyncio.gather(*(ask() for ask in by_node.values()), return_exceptions=True)
    failures: dict[str, Exception] = {}
    for node, result in zip(by_node, results, strict=True):
        if isinstance(result, CONNECTION_ERRORS) and not isinstance(result, ShardMoved):
            failures[node] = result
        elif isinstance(result, BaseException):
            raise result
    _note(by_node, failures)
    if failures and len(failures) == len(by_node):
        raise _all_of(failures)
    return Found([record for result in results if isinstance(result, list) for record in result], is_all=not failures)


async def each_part(statements: Executor, act: Act) -> None:
    """Act on the whole database or, where it is distributed, on each of its shards. Statements are then about a shard alone.

    A node that is away costs only what is there, and a shard that fails only itself. Refusals, once all others are done:
    DatabaseAway, which names the nodes that are away; the error of a shard that failed.
    """
    shards = _shards_of(statements)
    if shards is None:
        await act(statements)
        return

    done: set[int] = set()

    async def find() -> _Parts:
        return _Parts({shard: () for shard in await shards.all() if shard.id not in done})

    async def act_once(shard: Shard, _: Collection[UUID]) -> None:
        await act(shard)
        done.add(shard.id)

    await _each(find, act_once)


async def each_part_of(statements: Executor, workspace_ids: Iterable[UUID], act: ActOn) -> None:
    """Do as `each_part` where some workspaces are, which `act` is told. It acts once on each that is found."""
    left = set(workspace_ids)
    shards = _shards_of(statements)
    if shards is None:
        await act(statements, left)
        return

    async def find() -> _Parts:
        by_shard = await _by_shard(shards, left)
        return _Parts(by_shard, is_all=sum(map(len, by_shard.values())) == len(left))

    async def act_once(shard: Shard, of_shard: Collection[UUID]) -> None:
        try:
            await act(shard, of_shard)
        except ShardMoved:
            shards.forget_all(of_shard)
            raise
        left.difference_update(of_shard)

    await _each(find, act_once)


class _Parts(NamedTuple):
    """Shards with their workspaces, and whether those are all for which somebody has asked."""

    by_shard: Mapping[Shard, Collection[UUID]]
    is_all: bool = True


async def _each(find: Callable[[], Awaitable[_Parts]], act: Callable[[Shard, Collection[UUID]], Awaitable[object]]) -> None:
    """Act on what is found, and again on what is left as long as shards move. `find` leaves out what is done."""
    late_at = time.monotonic() + PATIENCE_SECONDS
    passes = _Passes()
    while True:
        try:
            is_all = await passes.make(await find(), act)
        except ShardMoved:
            is_all = False
        if is_all or time.monotonic() > late_at:
            break
        await asyncio.sleep(MOVING_SECONDS)
    _note(passes.nodes, passes.failures)
    if passes.failures:
        raise _all_of(passes.failures)
    if not is_all:
        raise ShardMoved


class _Passes:
    """Passes over the shards: the nodes that they came to, and the failures there."""

    def __init__(self) -> None:
        self.nodes: set[str] = set()
        self.failures: dict[str, Exception] = {}
        self._failed: set[int] = set()

    async def make(self, parts: _Parts, act: Callable[[Shard, Collection[UUID]], Awaitable[object]]) -> bool:
        """Act on shards that have not failed yet, unless their node is away; return whether these were all, and none moved."""
        is_all = parts.is_all
        for shard, of_shard in parts.by_shard.items():
            self.nodes.add(shard.node)
            if shard.id in self._failed or _is_away(self.failures.get(shard.node)):
                continue
            try:
                await act(shard, of_shard)
            except ShardMoved:
                is_all = False
            except (*CONNECTION_ERRORS, asyncpg.PostgresError) as error:
                self._failed.add(shard.id)
                if _is_away(error) or shard.node not in self.failures:
                    self.failures[shard.node] = error
        return is_all


def _is_away(error: Exception | None) -> bool:
    """Whether an error says that a node is away: one that ends a statement in time is there."""
    return isinstance(error, CONNECTION_ERRORS) and not isinstance(error, asyncpg.QueryCanceledError)


def _shards_of(statements: Executor) -> Shards | None:
    # A single connection has none: Citus brings its statements to the nodes.
    return getattr(statements, "shards", None)


def _note(nodes: Iterable[str], failures: Mapping[str, Exception]) -> None:
    """Log which nodes are away, and which have come back, once each, and any other failure."""
    for node in nodes:
        error = failures.get(node)
        if error is not None and not _is_away(error):
            _log.error("a statement failed on a node: what is there is left out", extra={"node": node, "error": repr(error)})
        if not _is_away(error):
            if node in _away:
                _away.discard(node)
                _log.warning("a node is back", extra={"node": node})
        elif node not in _away:
            _away.add(node)
            _log.error("a node is away: what is there is left out", extra={"node": node, "error": repr(error)})


def _all_of(failures: Mapping[str, Exception]) -> Exception:
    """Return one error for those of several nodes."""
    away = {node: error for node, error in failures.items() if _is_away(error)}
    if not away:
        return next(iter(failures.values()))
    return DatabaseAway("; ".join(f"the node {node} is away: {error!r}" for node, error in away.items()))


class NotDistributed(OperatorFault):
    """The database has one node."""

    def __init__(self) -> None:
        super().__init__(
            "This database keeps all workspaces on one node. Only one with the extension Citus has several "
            "(docs/operations.md, From one machine to a cluster)."
        )


class NotCoordinator(OperatorFault):
    """The database is a node that others coordinate."""

    def __init__(self) -> None:
        super().__init__(
            "Only the coordinator knows all nodes, and --database-url leads to another one. Give the coordinator's."
        )


class NotSpread(OperatorFault):
    """The database has the extension, and its tables are not spread yet."""

    def __init__(self) -> None:
        super().__init__("The workspaces are not spread over the nodes yet. Run `herdbook migrate` first.")


class NoSuchNode(OperatorFault):
    """No node has the name, or several have."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"`{name}` names no node, or several, that take workspaces. Choose one of {', '.join(known)}.")


class NodesLack(OperatorFault):
    """The nodes lack a setting that a move needs."""

    def __init__(self, setting: str, has: str, needed: str, nodes: Sequence[str]) -> None:
        super().__init__(
            f"A workspace moves while it is in use only if all nodes have `{setting} = {needed}`; "
            f"{', '.join(nodes)} has `{has}`. Set it there in postgresql.conf, restart that PostgreSQL, and try again."
        )


class Place(NamedTuple):
    """The place of a workspace: its node, the bytes of the shards in which it is, and how many workspaces are in these."""

    workspace_id: UUID
    name: str
    node: str
    changes: int
    bytes: int
    workspaces: int


# The shards of all tables with the same range of workspaces are on one node.
_SHARDS: Final[LiteralString] = """
    select w.id, w.name, w.seq, s.shardid, s.shardminvalue, s.shardmaxvalue, n.nodename, n.nodeport
    from (select id, name, seq from workspace $of_one) as w
    join pg_dist_shard s on s.shardid = get_shard_id_for_distribution_column('workspace', w.id)
    join pg_dist_placement p on p.shardid = s.shardid
    join pg_dist_node n on n.groupid = p.groupid and n.noderole = 'primary'
"""


async def places(statements: Executor) -> list[Place]:
    """Return where each workspace is, the oldest first. Refusals: NotDistributed; NotCoordinator; NotSpread."""
    await _require_spread(statements)
    sizes = {
        record[0]: int(record[1])
        for record in await statements.fetch(
            """
            select s.shardminvalue, sum(c.shard_size)
            from citus_shards c join pg_dist_shard s on s.shardid = c.shardid
            where s.shardminvalue is not null group by 1
            """
        )
    }
    records = await statements.fetch(_SHARDS.replace("$of_one", ""))
    many = Counter(record["shardid"] for record in records)
    found = [
        Place(
            record["id"],
            record["name"],
            f"{record['nodename']}:{record['nodeport']}",
            record["seq"],
            sizes.get(record["shardminvalue"], 0),
            many[record["shardid"]],
        )
        for record in records
    ]
    return sorted(found, key=lambda place: place.workspace_id)


async def move(
    statements: Executor, workspace_id: UUID, node: str, say: Callable[[str], None], *, is_parted: bool = False
) -> bool:
    """Move a workspace to a node, while it is in use; return whether it was elsewhere. `say` is told what begins.

    Those that are kept together with it move, too, unless it is parted from them. Writes there pause less if somebody calls
    `wake` meanwhile.

    Refusals: NotDistributed; NotCoordinator; NotSpread; NoSuchNode; NodesLack, before anything is moved.
    """
    await _require_spread(statements)
    records = await statements.fetch(
        """
        select nodename || ':' || nodeport, nodename, nodeport, nodeid from pg_dist_node
        where noderole = 'primary' and isactive and shouldhaveshards order by 1
        """
    )
    named = [record for record in records if node in (record[0], record[1])]
    if len(named) != 1:
        raise NoSuchNode(node, [record[0] for record in records])
    (target,) = named
    await _require_setting(statements, "wal_level", ("logical",))
    await _require_setting(statements, "output_plugin_libraries", ("citus", "citus_pgoutput", "pgoutput"))
    place = await _shard_of(statements, workspace_id)
    source = (place["nodename"], place["nodeport"])
    there = (target["nodename"], target["nodeport"])
    if source == there:
        return False
    # A node that was added later lacks the tables that all nodes have, and no shard moves until it has them.
    await statements.execute("select replicate_reference_tables('force_logical')")
    await statements.execute("listen herdbook_move")
    # Indexes of a table that are built side by side wait for each other, and take the processors from those who write.
    await statements.execute("set citus.max_adaptive_executor_pool_size = 1")
    least, most = int(place["shardminvalue"]), int(place["shardmaxvalue"])
    if not is_parted or least == most:
        say(f"moving it to {target[0]}, with those that are kept together with it")
        await _move_shard(statements, place["shardid"], source, there, say)
        return True
    hashed: int = await statements.fetchval("select worker_hash($1::uuid)", workspace_id)
    points = [str(each) for each in (hashed - 1, hashed) if least <= each < most]
    # Citus can part a shard where it is only if no row changes meanwhile: its parts have no keys there when changes begin to be
    # copied. On another node they have.
    say(f"moving it to {target[0]}, with those that are kept together with it, and parting it from them")

    async def part() -> None:
        await statements.execute(
            "select citus_split_shard_by_split_points($1::bigint, $2::text[], $3::int[], 'force_logical')",
            place["shardid"],
            points,
            [target["nodeid"]] * (len(points) + 1),
        )

    await _until_unlocked(part, say)
    for record in await statements.fetch(
        """
        select shardid from pg_dist_shard
        where logicalrelid = 'workspace'::regclass and shardminvalue::bigint between $1 and $2
            and shardminvalue::bigint <> $3
        """,
        least,
        most,
        hashed,
    ):
        say(f"moving some of the others back to {source[0]}:{source[1]}")
        await _move_shard(statements, record["shardid"], there, source, say)
    return True


async def wake(statements: Executor) -> None:
    """Have a move look now whether the last changes are copied: it looks once a second, and writes wait for it in the end."""
    await statements.execute("select pg_notify('herdbook_move', '')")


async def _move_shard(
    statements: Executor, shard_id: int, source: tuple[str, int], target: tuple[str, int], say: Callable[[str], None]
) -> None:
    async def move_it() -> None:
        await statements.execute(
            "select citus_move_shard_placement($1::bigint, $2::text, $3::int, $4::text, $5::int, 'force_logical')",
            shard_id,
            *source,
            *target,
        )

    await _until_unlocked(move_it, say)


async def _until_unlocked(act: Callable[[], Awaitable[object]], say: Callable[[str], None]) -> None:
    """Act, and again a few times if a lock was not to be had: sessions of a move have the lock timeout of their role."""
    for tries_left in reversed(range(_MOST_TRIES)):
        try:
            await act()
        except asyncpg.LockNotAvailableError:
            if not tries_left:
                raise
            say("a table was locked on a node, so nothing has moved; trying again")
        else:
            return


async def moved_bytes(statements: Executor) -> tuple[int, int]:
    """Return how many bytes the move that is under way has copied, and how many there are, if that is known."""
    record = await statements.fetchrow(
        """
        select coalesce(sum(target_shard_size), 0)::bigint, coalesce(sum(source_shard_size), 0)::bigint
        from get_rebalance_progress() where progress <> 2
        """
    )
    return (0, 0) if record is None else (record[0], record[1])


async def _shard_of(statements: Executor, workspace_id: UUID) -> asyncpg.Record:
    record = await statements.fetchrow(_SHARDS.replace("$of_one", "where id = $1"), workspace_id)
    assert record is not None, "the caller has found the workspace"
    return record


async def _require_spread(statements: Executor) -> None:
    if not await is_distributed(statements):
        raise NotDistributed
    if not await statements.fetchval("select citus_is_coordinator()"):
        raise NotCoordinator
    if not await statements.fetchval(
        "select exists (select from pg_dist_partition where logicalrelid = 'workspace'::regclass)"
    ):
        raise NotSpread


async def _require_setting(statements: Executor, name: str, needed: Sequence[str]) -> None:
    """Require that a setting of all nodes has all of some values, if they know it."""
    records = await statements.fetch(
        """
        select n.nodename || ':' || n.nodeport, r.result
        from run_command_on_all_nodes('select coalesce(current_setting(' || quote_literal($1::text) || ', true), '''')') as r
        join pg_dist_node n on n.nodeid = r.nodeid
        """,
        name,
    )
    for _, has in records:
        if has and not set(needed) <= {each.strip() for each in has.split(",")}:
            raise NodesLack(name, has, ", ".join(needed), [each for each, its in records if its == has])
