"""A distributed database: Citus, which keeps each workspace on one of its nodes.

A statement whose tables all have `workspace_id = $1` goes to that node as it is. The tables without a workspace are copied to all
nodes.
"""

from collections.abc import Sequence
from typing import Final, LiteralString

from herdbook.db.pool import Executor

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
