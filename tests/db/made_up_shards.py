"""A database that is distributed as far as herdbook can tell: the tables of Citus that it reads, on a plain PostgreSQL.

All workspaces are in one shard, but for those that a test has put elsewhere. The names of the tables stand for the whole, as
they do on Citus, and are views of the shard here.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, TypeAlias
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import asyncpg

from herdbook.db import shards
from herdbook.first_start import prepare
from tests.test_one_workspace import SPREAD

Plain: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_TABLES: Final = sorted(SPREAD)
HERE: Final = 1
# Its node is away: nobody listens at its port.
AWAY: Final = 2
MOVED: Final = 3
_RENUMBER: Final = f"""
    update pg_dist_shard set shardid = shardid + 1000 * {MOVED - HERE} where shardid < 2000;
    update pg_dist_placement set shardid = shardid + 1000 * {MOVED - HERE} where shardid < 2000;
"""
_CITUS: Final = """
    create table pg_dist_local_group (groupid int);
    insert into pg_dist_local_group values (1);
    create table pg_dist_node (
        groupid int, nodename text, nodeport int, noderole text, nodeid int, isactive boolean default true,
        shouldhaveshards boolean default true
    );
    create table pg_dist_partition (logicalrelid regclass, partmethod text, repmodel text, colocationid int);
    create table pg_dist_shard (logicalrelid regclass, shardid bigint, shardminvalue text, shardmaxvalue text default '1');
    create table pg_dist_placement (shardid bigint, groupid int, placementid bigserial);
    create table placed (workspace_id uuid, shardminvalue text);
    create function shard_name(regclass, bigint) returns text language sql as $$ select $1::text || '_' || $2 $$;
    create function get_shard_id_for_distribution_column(text, uuid) returns bigint language sql as $$
        select s.shardid from pg_dist_shard s
        where s.logicalrelid = $1::regclass
            and s.shardminvalue = coalesce((select p.shardminvalue from placed p where p.workspace_id = $2), '0')
    $$;
    create function relation_is_a_known_shard(regclass) returns boolean language sql as 'select true';
    create function run_command_on_all_nodes(text) returns table (nodeid int, result text) language sql as
        $$ select nodeid, '' from pg_dist_node $$;
    create function get_rebalance_progress() returns table (target_shard_size bigint, source_shard_size bigint, progress int)
        language sql as 'select 0, 0, 2 where false';
    create function citus_is_coordinator() returns boolean language sql as 'select true';
    create sequence copied_to_all;
    create function replicate_reference_tables(text) returns void language sql as $$ select nextval('copied_to_all') $$;
    create sequence tries;
    -- No shard moves to a node that lacks tables. The first move meets a lock. The next one ends once its session is notified.
    create function citus_move_shard_placement(bigint, text, int, text, int, text) returns void language plpgsql as $$
    begin
        if not (select is_called from copied_to_all) then
            raise exception 'there are missing reference tables on some nodes';
        end if;
        if nextval('tries') = 1 then
            raise lock_not_available;
        end if;
        for each in 1..1000 loop
            perform pg_stat_clear_snapshot();
            if exists (select from pg_listening_channels() as c where c = 'herdbook_move') and exists (
                select from pg_stat_activity
                where query like '%pg_notify(''herdbook_move''%' and pid <> pg_backend_pid()
            ) then
                return;
            end if;
            perform pg_sleep(0.01);
        end loop;
        raise exception 'nobody has woken it';
    end $$;
    create function lock_shard_metadata(int, bigint[]) returns void language sql as $$
        select pg_advisory_xact_lock_shared(each) from unnest($2) as each
    $$;
"""


class MadeUpShards:
    """The shards of a database."""

    def __init__(self, url: str, plain: Plain) -> None:
        self.url = url
        self.plain = plain

    async def put_away(self, workspace_id: UUID) -> None:
        """Put a workspace on a node that is away."""
        await self.plain.execute("insert into placed values ($1, 'away')", workspace_id)

    async def bring_back(self) -> None:
        """Put the workspaces of the node that is away on the one that is there."""
        for place, name in enumerate(_TABLES):
            await self.plain.execute(
                f"create view {name}_{_number(AWAY, place)} as select * from {name}_{_number(HERE, place)}"
            )
        await self.plain.execute("update pg_dist_placement set groupid = 1")

    async def take_away(self) -> None:
        """Put those workspaces on the node that is away again, and leave nothing of them."""
        await self.plain.execute(f"update pg_dist_placement set groupid = 2 where shardid between {_number(AWAY, 0)} and 2999")
        for place, name in enumerate(_TABLES):
            await self.plain.execute(f"drop view {name}_{_number(AWAY, place)}")

    async def misplace(self, workspace_id: UUID) -> None:
        """Leave a workspace without a shard, as it is between two looks while shards are parted."""
        await self.plain.execute("insert into placed values ($1, 'nowhere')", workspace_id)

    async def place(self, workspace_id: UUID) -> None:
        """Put a workspace that had no shard into the one that is there."""
        await self.plain.execute("delete from placed where workspace_id = $1", workspace_id)

    async def copy_until_looked_for(self) -> None:
        """Copy the shard, until somebody has asked for the names of its tables."""
        number = _number(HERE, _TABLES.index("workspace"))
        await self.plain.execute(
            f"""
            insert into pg_dist_placement values ({number}, 2);
            create or replace function shard_name(regclass, bigint) returns text language plpgsql as $$
            begin
                delete from pg_dist_placement where shardid = {number} and groupid = 2;
                return $1::text || '_' || $2;
            end $$
            """
        )

    async def disagree(self) -> None:
        """Let the node take its shards for moved, while no other place of theirs is known."""
        await self.plain.execute("update pg_dist_local_group set groupid = 9")

    async def lose(self, table: str) -> None:
        """Drop a table in the shard, which stays where it is."""
        await self.plain.execute(f"drop table {table}_{_number(HERE, _TABLES.index(table))} cascade")

    async def move_with(self, table: str) -> None:
        """Let the shard be another one as soon as somebody has written in a table of it."""
        await self._copy()
        await self.plain.execute(
            f"""
            create function leave() returns trigger language plpgsql as $$ begin {_RENUMBER} return null; end $$;
            create trigger leave after update on {table}_{_number(HERE, _TABLES.index(table))} execute function leave()
            """
        )

    async def move_during_look(self) -> None:
        """Let the shard be another one as soon as a look calls `move_away()`, which returns how many looks have called it."""
        await self._copy()
        await self.plain.execute(
            f"""
            create sequence looks;
            create function move_away() returns bigint language plpgsql as
            $$ begin {_RENUMBER} return nextval('looks'); end $$
            """
        )

    async def move_to_and_fro(self) -> None:
        """Let each shard be where it was, after it has been elsewhere: its place is a new one."""
        await self.plain.execute("update pg_dist_placement set placementid = default")

    async def begin_move(self) -> None:
        """Begin what ends a move: nobody writes in the shard until the transaction of the connection ends."""
        await self.plain.execute("select pg_advisory_xact_lock($1)", _number(HERE, _TABLES.index("workspace")))

    async def move(self) -> None:
        """Make the shard another one, whose tables have other names."""
        await self._copy()
        await self.plain.execute(_RENUMBER)

    async def _copy(self) -> None:
        for place, name in enumerate(_TABLES):
            await self.plain.execute(
                f"create view {name}_{_number(MOVED, place)} as select * from {name}_{_number(HERE, place)}"
            )


def _number(shard: int, place: int) -> int:
    """Return the number that a shard has in the table at a place."""
    return 1000 * shard + place


@asynccontextmanager
async def made_up_shards(url: str) -> AsyncGenerator[MadeUpShards]:
    """Prepare an empty database, and make it a distributed one."""
    await prepare(url)
    plain = await asyncpg.connect(url)
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        host = query.get("host", [parts.hostname or "127.0.0.1"])[0]
        port = int(query.get("port", [parts.port or 5432])[0])
        await plain.execute(_CITUS)
        await plain.execute(
            "insert into pg_dist_node values (1, $1, $2, 'primary', 1), (2, '127.0.0.1', 1, 'primary', 2)", host, port
        )
        for place, name in enumerate(_TABLES):
            await plain.execute(f"alter table {name} rename to {name}_{_number(HERE, place)}")
            await plain.execute(f"create view {name} as select * from {name}_{_number(HERE, place)}")
            await plain.execute("insert into pg_dist_partition values ($1::text::regclass, 'h', 's', 7)", name)
            for shard, least, group in ((HERE, "0", 1), (AWAY, "away", 2)):
                number = _number(shard, place)
                await plain.execute("insert into pg_dist_shard values ($1::text::regclass, $2, $3)", name, number, least)
                await plain.execute("insert into pg_dist_placement values ($1, $2)", number, group)
        await plain.execute(shards.HOLD_SHARD)
        yield MadeUpShards(url, plain)
    finally:
        await plain.close()
