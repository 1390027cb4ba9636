"""A distributed database: Citus, which keeps each workspace on one of its nodes.

A statement whose tables all have `workspace_id = $1` goes to that node as it is. The tables without a workspace are copied to
all nodes.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, LiteralString, NamedTuple, TypeAlias
from uuid import UUID

import asyncpg

from herdbook.db.pool import CONNECTION_ERRORS, Connection, DatabaseAway, Executor, connect, is_distributed
from herdbook.db.shards import HOLD_SHARD, MOST_UNITED, Shard, ShardConnection, Shards
from herdbook.faults import OperatorFault

_log: Final = logging.getLogger("herdbook.db")
# The nodes that were away when somebody last asked.
_away: Final[set[str]] = set()
# It says which workspaces a person belongs to, and is read by the person.
_COPIED: Final = ("person_user",)
# A trigger for the release before this one, which does not run on a distributed database. Citus allows none.
_FOR_OTHER_RELEASES: Final[LiteralString] = "drop trigger if exists company_not_merged on company"


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


Act: TypeAlias = Callable[[Executor], Awaitable[object]]


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
    by_node: dict[str, list[Shard]] = {}
    for shard in await shards.all():
        by_node.setdefault(shard.node, []).append(shard)
    return await _found({node: partial(_fetch_united, of_node, query, args) for node, of_node in by_node.items()})


async def fetch_of(statements: Executor, workspace_ids: Collection[UUID], query: LiteralString, *args: Any) -> Found:
    """Do as `fetch_everywhere` with a statement about some workspaces, which are its last parameter."""
    shards = _shards_of(statements)
    if shards is None:
        return Found(await statements.fetch(query, *args, list(workspace_ids)), is_all=True)
    by_node: dict[str, list[tuple[Shard, list[UUID]]]] = {}
    for shard, of_shard in (await _by_shard(shards, workspace_ids)).items():
        by_node.setdefault(shard.node, []).append((shard, of_shard))
    return await _found({node: partial(_fetch_each, of_node, query, args) for node, of_node in by_node.items()})


async def parts_of(statements: Executor, workspace_ids: Collection[UUID]) -> Iterable[tuple[Executor, Collection[UUID]]]:
    """Return who runs statements about some workspaces: the database or, where it is distributed, their shards."""
    shards = _shards_of(statements)
    return [(statements, workspace_ids)] if shards is None else (await _by_shard(shards, workspace_ids)).items()


async def _by_shard(shards: Shards, workspace_ids: Iterable[UUID]) -> dict[Shard, list[UUID]]:
    by_shard: dict[Shard, list[UUID]] = {}
    asked = [*workspace_ids]
    for workspace_id, shard in zip(asked, await asyncio.gather(*map(shards.of, asked)), strict=True):
        by_shard.setdefault(shard, []).append(workspace_id)
    return by_shard


async def _fetch_united(shards: Sequence[Shard], query: LiteralString, args: Sequence[Any]) -> list[asyncpg.Record]:
    """Run a statement in all of these shards of a node, many at once."""
    found: list[asyncpg.Record] = []
    for start in range(0, len(shards), MOST_UNITED):
        first, *others = shards[start : start + MOST_UNITED]
        found += await first.fetch_with(others, query, *args)
    return found


async def _fetch_each(
    asked: Sequence[tuple[Shard, list[UUID]]], query: LiteralString, args: Sequence[Any]
) -> list[asyncpg.Record]:
    """Run a statement in each of these shards of a node, with its workspaces as the last parameter."""
    return [record for shard, workspace_ids in asked for record in await shard.fetch(query, *args, workspace_ids)]


async def _found(by_node: Mapping[str, Callable[[], Awaitable[list[asyncpg.Record]]]]) -> Found:
    """Return what is found on all nodes, which are asked side by side, and note those that are away."""
    results = await asyncio.gather(*(ask() for ask in by_node.values()), return_exceptions=True)
    away: dict[str, Exception] = {}
    for node, result in zip(by_node, results, strict=True):
        if isinstance(result, CONNECTION_ERRORS):
            away[node] = result
        elif isinstance(result, BaseException):
            raise result
    _note(by_node, away)
    if away and len(away) == len(by_node):
        raise DatabaseAway(_told(away))
    return Found([record for result in results if isinstance(result, list) for record in result], is_all=not away)


async def each_part(statements: Executor, act: Act) -> None:
    """Act on the whole database or, where it is distributed, on each of its shards. Statements are then about a shard alone.

    A node that is away costs only what is there. Refusal: DatabaseAway, which names such nodes, once all others are done.
    """
    shards = _shards_of(statements)
    if shards is None:
        await act(statements)
        return
    away: dict[str, Exception] = {}
    parts = await shards.all()
    for shard in parts:
        if shard.node not in away:
            try:
                await act(shard)
            except CONNECTION_ERRORS as error:
                away[shard.node] = error
    _note({shard.node for shard in parts}, away)
    if away:
        raise DatabaseAway(_told(away))


def _shards_of(statements: Executor) -> Shards | None:
    # A single connection has none: Citus brings its statements to the nodes.
    return getattr(statements, "shards", None)


def _note(nodes: Iterable[str], away: Mapping[str, Exception]) -> None:
    """Log which nodes are away, and which have come back, once each."""
    for node in nodes:
        if node in away and node not in _away:
            _away.add(node)
            _log.error("a node is away: what is there is left out", extra={"node": node, "error": repr(away[node])})
        elif node in _away and node not in away:
            _away.discard(node)
            _log.warning("a node is back", extra={"node": node})


def _told(away: Mapping[str, Exception]) -> str:
    return "; ".join(f"the node {node} is away: {error!r}" for node, error in away.items())


class NotDistributed(OperatorFault):
    """The database has one node."""

    def __init__(self) -> None:
        super().__init__(
            "This database keeps all workspaces on one node. Only one with the extension Citus has several "
            "(docs/operations.md, From one machine to a cluster)."
        )


class NoSuchNode(OperatorFault):
    """No node has the name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"There is no node `{name}` that takes workspaces. Choose one of {', '.join(known)}.")


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
    """Return where each workspace is, the oldest first. Refusal: NotDistributed."""
    await _require_distributed(statements)
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


async def move(statements: Executor, workspace_id: UUID, node: str, say: Callable[[str], None]) -> bool:
    """Move a workspace to a node, while it is in use; return whether it was elsewhere. `say` is told what begins.

    Refusals: NotDistributed; NoSuchNode; NodesLack, before anything is moved.
    """
    await _require_distributed(statements)
    records = await statements.fetch(
        """
        select nodename || ':' || nodeport, nodename, nodeport, nodeid from pg_dist_node
        where noderole = 'primary' and isactive and shouldhaveshards order by 1
        """
    )
    target = next((record for record in records if node in (record[0], record[1])), None)
    if target is None:
        raise NoSuchNode(node, [record[0] for record in records])
    await _require_setting(statements, "wal_level", ("logical",))
    await _require_setting(statements, "output_plugin_libraries", ("citus", "citus_pgoutput", "pgoutput"))
    place = await _shard_of(statements, workspace_id)
    source = (place["nodename"], place["nodeport"])
    if source == (target["nodename"], target["nodeport"]):
        return False
    there = (target["nodename"], target["nodeport"])
    least, most = int(place["shardminvalue"]), int(place["shardmaxvalue"])
    if least == most:
        say(f"moving it to {target[0]}")
        await _move_shard(statements, place["shardid"], source, there)
        return True
    hashed: int = await statements.fetchval("select worker_hash($1::uuid)", workspace_id)
    points = [str(each) for each in (hashed - 1, hashed) if least <= each < most]
    # Citus can part a shard where it is only if no row changes meanwhile: its parts have no keys there when changes begin to be
    # copied. On another node they have.
    say(f"moving it to {target[0]}, with those that are kept together with it, and parting it from them")
    await statements.execute(
        "select citus_split_shard_by_split_points($1::bigint, $2::text[], $3::int[], 'force_logical')",
        place["shardid"],
        points,
        [target["nodeid"]] * (len(points) + 1),
    )
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
        await _move_shard(statements, record["shardid"], there, source)
    return True


async def _move_shard(statements: Executor, shard_id: int, source: tuple[str, int], target: tuple[str, int]) -> None:
    await statements.execute(
        "select citus_move_shard_placement($1::bigint, $2::text, $3::int, $4::text, $5::int, 'force_logical')",
        shard_id,
        *source,
        *target,
    )


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


async def _require_distributed(statements: Executor) -> None:
    if not await is_distributed(statements):
        raise NotDistributed


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
