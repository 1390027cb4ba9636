"""A distributed database: Citus, which keeps each workspace on one of its nodes.

A statement whose tables all have `workspace_id = $1` goes to that node as it is. The tables without a workspace are copied to
all nodes.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, LiteralString
from uuid import UUID

from herdbook.db.pool import Executor, Pool

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
