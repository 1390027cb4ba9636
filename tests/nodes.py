"""Look at connections and workspaces of a database in one way, whether it has one node or several."""

from typing import Any, Final
from uuid import UUID

from herdbook.auth.store import create_workspace
from herdbook.db.executor import Connection, Lender
from herdbook.db.pool import Executor, Pool, is_distributed
from herdbook.db.shards import Shard, ShardConnection

_OF_PLACES: Final = (
    "pg_dist_shard",
    "get_shard_id_for_distribution_column",
    "typeinfo_tree",
    "set_config('jit'",
    "select exists (select where true",
)


async def home_of(pool: Pool, workspace_id: UUID) -> Pool | Shard:
    """Return who runs the statements of the ledger about a workspace, and lends the connections for them."""
    return pool if pool.shards is None else await pool.shards.of(workspace_id)


def of_asyncpg(connection: Connection) -> Any:
    """Return a connection as asyncpg has it."""
    return connection.connection if isinstance(connection, ShardConnection) else connection


async def recorded(pool: Pool) -> list[str]:
    """Return the list to which statements of a pool of one connection, or of one to each node, are added from now on."""
    statements: list[str] = []

    def add(record: Any) -> None:
        # To find the place of a workspace is no part of what is done there.
        if not any(part in record.query for part in _OF_PLACES):
            statements.append(record.query)

    lenders: list[Lender] = [pool]
    if pool.shards is not None:
        lenders += {shard.node: shard for shard in await pool.shards.all()}.values()
    for lender in lenders:
        async with lender.acquire() as connection:
            of_asyncpg(connection).add_query_logger(add)
    return statements


async def create_neighbour(pool: Executor, workspace_id: UUID, name: str = "Neighbour") -> UUID:
    """Create a workspace that shares batches with another one: on several nodes, they are in one shard."""
    created = await create_workspace(pool, name)
    while await is_distributed(pool) and not await pool.fetchval(
        """
        select get_shard_id_for_distribution_column('workspace', $1::uuid)
            = get_shard_id_for_distribution_column('workspace', $2::uuid)
        """,
        created,
        workspace_id,
    ):
        created = await create_workspace(pool, name)
    return created
