"""A distributed database: Citus, which keeps each workspace on one of its nodes.

A statement whose tables all have `workspace_id = $1` goes to that node as it is. The tables without a workspace are copied to
all nodes.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, LiteralString, NamedTuple
from uuid import UUID

import asyncpg

from herdbook.db.pool import Executor, Pool, is_distributed
from herdbook.faults import OperatorFault

# A workspace may move to another node. Until that is known, it only shares the connections of the former one.
_KNOWN_FOR_SECONDS: Final = 30.0
_MOST_KNOWN: Final = 50_000
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
            and not exists (select from pg_catalog.pg_dist_partition p where p.logicalrelid = c.oid)
            and not relation_is_a_known_shard(c.oid)
        order by c.relname <> 'workspace', (
            select count(*) from pg_catalog.pg_constraint f where f.conrelid = c.oid and f.contype = 'f'
        ), c.relname
        """,
        _COPIED,
    )
    if records:
        await statements.execute(_FOR_OTHER_RELEASES)
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


class Nodes:
    """The nodes that have the workspaces. Each has a share of the connections, so that one which is away holds up no other."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: dict[UUID, tuple[str, float]] = {}
        self._asked: set[UUID] = set()
        self._asking: asyncio.Task[None] | None = None
        self._shares: dict[str, asyncio.Semaphore] = {}
        self.share_size = 1

    async def share_of(self, workspace_id: UUID) -> asyncio.Semaphore:
        """Return the share of connections of the node that has a workspace, for one purpose."""
        return self.share(await self.of(workspace_id))

    def share(self, node: str) -> asyncio.Semaphore:
        """Return the share of connections of a node."""
        found = self._shares.get(node)
        if found is None:
            found = self._shares[node] = asyncio.Semaphore(self.share_size)
        return found

    async def of(self, workspace_id: UUID) -> str:
        """Return the node that has a workspace, or an empty text if that is not known."""
        while (known := self._known.get(workspace_id)) is None or known[1] < time.monotonic():
            self._asked.add(workspace_id)
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask())
            await asyncio.shield(self._asking)
        return known[0]

    async def _ask(self) -> None:
        # All that ask in one iteration of the event loop share a statement.
        await asyncio.sleep(0)
        asked, self._asked, self._asking = self._asked, set(), None
        try:
            found = await nodes_of(self._pool, [*asked])
            nodes: int = await self._pool.fetchval(_MANY_NODES)
            # Reads and writes have a share each, and others the rest.
            self.share_size = max(1, self._pool.get_size() // (2 * nodes + 1))
        except Exception:  # whatever it is, the statement that needs the node tells it
            found = {}
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        until = time.monotonic() + _KNOWN_FOR_SECONDS
        self._known.update((each, (found.get(each, ""), until)) for each in asked)


_MANY_NODES: Final[LiteralString] = """
    select greatest(1, count(*)) from pg_catalog.pg_dist_node where noderole = 'primary' and isactive and shouldhaveshards
"""


async def nodes_of(statements: Executor, workspace_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Return the nodes that have some workspaces. No node is asked but this one."""
    records = await statements.fetch(
        """
        select asked.id, n.nodename || ':' || n.nodeport
        from unnest($1::uuid[]) as asked(id)
        join pg_catalog.pg_dist_placement p on p.shardid = get_shard_id_for_distribution_column('workspace', asked.id)
        join pg_catalog.pg_dist_node n on n.groupid = p.groupid and n.noderole = 'primary'
        """,
        list(workspace_ids),
    )
    return {record[0]: record[1] for record in records}


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
    join pg_catalog.pg_dist_shard s on s.shardid = get_shard_id_for_distribution_column('workspace', w.id)
    join pg_catalog.pg_dist_placement p on p.shardid = s.shardid
    join pg_catalog.pg_dist_node n on n.groupid = p.groupid and n.noderole = 'primary'
"""


async def places(statements: Executor) -> list[Place]:
    """Return where each workspace is, the oldest first. Refusal: NotDistributed."""
    await _require_distributed(statements)
    sizes = {
        record[0]: int(record[1])
        for record in await statements.fetch(
            """
            select s.shardminvalue, sum(c.shard_size)
            from citus_shards c join pg_catalog.pg_dist_shard s on s.shardid = c.shardid
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
        select nodename || ':' || nodeport, nodename, nodeport from pg_catalog.pg_dist_node
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
    shard: int = place["shardid"]
    if place["shardminvalue"] != place["shardmaxvalue"]:
        say(f"parting it from the others on {source[0]}:{source[1]}")
        shard = await statements.fetchval(
            "select isolate_tenant_to_new_shard('workspace', $1::uuid, 'CASCADE', shard_transfer_mode => 'force_logical')",
            workspace_id,
        )
    say(f"moving it to {target[0]}")
    await statements.execute(
        "select citus_move_shard_placement($1::bigint, $2::text, $3::int, $4::text, $5::int, 'force_logical')",
        shard,
        *source,
        target["nodename"],
        target["nodeport"],
    )
    return True


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
        join pg_catalog.pg_dist_node n on n.nodeid = r.nodeid
        """,
        name,
    )
    for _, has in records:
        if has and not set(needed) <= {each.strip() for each in has.split(",")}:
            raise NodesLack(name, has, ", ".join(needed), [each for each, its in records if its == has])
