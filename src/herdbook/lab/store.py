"""Every SQL statement of the lab. Its workspaces are in a database of their own, so that no chore of the server sees them."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, LiteralString, NamedTuple
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg

from herdbook import ids
from herdbook.db.migrate import create_schema
from herdbook.db.pool import Executor, OwnConnection, connect
from herdbook.settings import SettingOutOfRange

# A lab takes the first that no other lab of the database server has.
DATABASES: Final[Sequence[LiteralString]] = ("herdbook_lab", "herdbook_lab_2", "herdbook_lab_3", "herdbook_lab_4")
_TAKEN: Final = (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError, asyncpg.InvalidCatalogNameError)
INBOXES: Final = "/api/herdbook/lab/inboxes/"

# Statements of the product say `now()`, and find this schema before the system's. The clock is a setting of the session.
_CLOCK: Final[LiteralString] = """
    create schema lab;
    create function lab.now() returns timestamptz language sql stable parallel safe return coalesce(
        nullif(current_setting('lab.frozen_at', true), '')::timestamptz,
        pg_catalog.now() + nullif(current_setting('lab.ahead', true), '')::interval,
        pg_catalog.now()
    );
    create function lab.clock_timestamp() returns timestamptz language sql volatile parallel safe return coalesce(
        nullif(current_setting('lab.frozen_at', true), '')::timestamptz,
        pg_catalog.clock_timestamp() + nullif(current_setting('lab.ahead', true), '')::interval,
        pg_catalog.clock_timestamp()
    );
    alter database $database set search_path = lab, pg_catalog;
    set search_path = lab, pg_catalog;
"""


# The functions have a statement for each table, so that all are planned once. Credentials are no part of a seed.
_COPIES: Final[LiteralString] = """
    insert into lab.setting (name, value) values ('erasure_key', replace(gen_random_uuid()::text, '-', ''));
    create index credential_by_workspace on lab.credential (workspace_id);
    -- The tables in which a workspace differs from the state that it began with, so that a reset need not copy the others. The
    -- changes that were only added have a name of their own, because the others can stay.
    create unlogged table lab.touched (workspace uuid not null, name text not null, primary key (workspace, name));
    -- The transactions that have written the rows of a workspace as its seed has them: a reset leaves those alone.
    create unlogged table lab.copied (workspace uuid not null, by xid8 not null, primary key (workspace, by));
    create function lab.note_touched() returns trigger language plpgsql as $$
    begin
        insert into lab.touched (workspace, name)
            select distinct workspace_id,
                case when tg_op = 'INSERT' and tg_table_name = 'change' then 'change+' else tg_table_name end
            from touching
            on conflict do nothing;
        return null;
    end $$;
    do $setup$
    declare
        copies text := '';
        mends text := '';
        deletions text := '';
        counts text := '';
        operation text;
        each record;
    begin
        -- No chore of the product looks at these workspaces, and its indexes cost a copy a third of its time.
        for each in select indexname from pg_indexes where schemaname = 'lab' and indexname ~ '_(to_refresh|to_sort)$' loop
            execute format('drop index lab.%I', each.indexname);
        end loop;
        for each in
            select c.relname as name, string_agg(quote_ident(a.attname), ', ' order by a.attnum) as columns,
                string_agg('o.' || quote_ident(a.attname), ', ' order by a.attnum) as values,
                (
                    select string_agg(format('t.%1$I = o.%1$I', k.attname), ' and ') from pg_index i
                    join pg_attribute k on k.attrelid = c.oid and k.attnum = any(i.indkey) and k.attname <> 'workspace_id'
                    where i.indrelid = c.oid and i.indisprimary
                ) as same
            from pg_class c
            join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
                and a.attname <> 'workspace_id'
            where c.relnamespace = 'lab'::regnamespace and c.relkind = 'r'
                and c.relname <> all('{credential,credential_change,oauth_client,person_user,sign_in_link,console_session}')
                and exists (select from pg_attribute w where w.attrelid = c.oid and w.attname = 'workspace_id')
            group by c.oid, c.relname order by c.relname
        loop
            copies := copies || format(
                'if %L = any(tables) then insert into lab.%I (workspace_id, %s) select target, %s from lab.%I o '
                'where o.workspace_id = origin; end if;',
                each.name, each.name, each.columns, each.values, each.name
            );
            mends := mends || format(
                'if %1$L = any(tables) then '
                'delete from lab.%1$I t where t.workspace_id = target and t.xmin <> all(copied); '
                'insert into lab.%1$I (workspace_id, %2$s) select target, %3$s from lab.%1$I o where o.workspace_id = origin '
                'and not exists (select from lab.%1$I t where t.workspace_id = target and %4$s); end if;',
                each.name, each.columns, each.values, coalesce(each.same, 'true')
            );
            deletions := deletions || format(
                'if tables is null or %L = any(tables) then delete from lab.%I where workspace_id = target; end if;',
                each.name, each.name
            );
            foreach operation in array '{insert,update,delete}'::text[] loop
                execute format(
                    'create trigger note_touched_%s after %s on lab.%I referencing %s table as touching '
                    'for each statement execute function lab.note_touched()',
                    operation, operation, each.name, case operation when 'delete' then 'old' else 'new' end
                );
            end loop;
            counts := counts || format(
                'if exists (select from lab.%I where workspace_id = origin) then return next %L; end if;', each.name, each.name
            );
        end loop;
        execute format(
            'create function lab.copy_rows(origin uuid, target uuid, tables text[]) returns void language plpgsql as %L',
            'begin ' || copies || ' end'
        );
        execute format(
            'create function lab.mend_rows(origin uuid, target uuid, tables text[], copied xid[]) returns void '
            'language plpgsql as %L',
            'begin ' || mends || ' end'
        );
        execute format(
            'create function lab.delete_rows(target uuid, tables text[]) returns void language plpgsql as %L',
            'begin ' || deletions || ' end'
        );
        execute format(
            'create function lab.tables_of(origin uuid) returns setof text language plpgsql as %L', 'begin ' || counts || ' end'
        );
    end
    $setup$;
    create function lab.create_workspace(
        origin uuid, target uuid, tables text[], key_id uuid, key_name text, key_scopes text[], key_hash bytea
    ) returns void language plpgsql as $$
    begin
        insert into lab.workspace (id, name, created_at, seq, last_at, region, has_usual_fields)
            select target, name, created_at, seq, last_at, region, has_usual_fields from lab.workspace where id = origin;
        if key_id is not null then
            insert into lab.credential (id, workspace_id, name, scopes, secret_hash)
                values (key_id, target, key_name, key_scopes, key_hash);
        end if;
        perform lab.copy_rows(origin, target, tables);
        insert into lab.copied (workspace, by) values (target, pg_current_xact_id());
    end $$;
    -- A webhook to the inbox of a workspace is one to the inbox of its copy, whatever the copy is made for.
    create function lab.rename_inbox(target uuid, of_origin text, of_target text) returns void language plpgsql as $$
    begin
        if not exists (select from lab.webhook_endpoint where workspace_id = target) then
            return;
        end if;
        update lab.webhook_endpoint set object = replace(object::text, of_origin, of_target)::json
            where workspace_id = target and strpos(object::text, of_origin) > 0;
        update lab.change
            set object = replace(object::text, of_origin, of_target)::json,
                previous = replace(previous::text, of_origin, of_target)::json
            where workspace_id = target and kind = 'w'
                and (strpos(object::text, of_origin) > 0 or strpos(previous::text, of_origin) > 0);
    end $$;
    create function lab.touch_all(target uuid) returns void language plpgsql as $$
    begin
        delete from lab.copied where workspace = target;
        insert into lab.touched (workspace, name)
            select target, relname from pg_class where relnamespace = 'lab'::regnamespace and relkind = 'r'
            on conflict do nothing;
    end $$;
    create function lab.reset_workspace(origin uuid, target uuid) returns void language plpgsql as $$
    declare
        tables text[];
        copied xid[];
    begin
        -- A workspace that is reset for ever is written anew now and then, so that few transactions are to be known.
        if (select count(*) > 500 from lab.copied where workspace = target) then
            perform lab.touch_all(target);
        end if;
        tables := array(select name from lab.touched where workspace = target);
        copied := array(select by::xid from lab.copied where workspace = target);
        if 'change+' = any(tables) and not 'change' = any(tables) then
            delete from lab.change c using lab.workspace o
                where o.id = origin and c.workspace_id = target and c.seq > o.seq;
        end if;
        perform lab.mend_rows(origin, target, tables, copied);
        update lab.workspace w
            set name = o.name, seq = o.seq, last_at = o.last_at, region = o.region, has_usual_fields = o.has_usual_fields
            from lab.workspace o where o.id = origin and w.id = target;
        delete from lab.touched where workspace = target;
        insert into lab.copied (workspace, by) values (target, pg_current_xact_id());
    end $$;
    create function lab.refill_workspace(origin uuid, target uuid, tables text[]) returns void language plpgsql as $$
    begin
        perform lab.delete_rows(target, null);
        update lab.workspace w
            set name = o.name, seq = o.seq, last_at = o.last_at, region = o.region, has_usual_fields = o.has_usual_fields
            from lab.workspace o where o.id = origin and w.id = target;
        perform lab.copy_rows(origin, target, tables);
        -- It may be reset to another state.
        perform lab.touch_all(target);
    end $$;
    create function lab.delete_credentials(target uuid) returns void language plpgsql as $$
    begin
        delete from lab.oauth_refresh_token t using lab.oauth_grant g, lab.oauth_client c
            where t.grant_id = g.id and g.client_id = c.id and c.workspace_id = target;
        delete from lab.oauth_grant g using lab.oauth_client c where g.client_id = c.id and c.workspace_id = target;
        delete from lab.oauth_access_token t using lab.oauth_client c where t.client_id = c.id and c.workspace_id = target;
        delete from lab.oauth_client where workspace_id = target;
        delete from lab.sign_in_link where workspace_id = target;
        delete from lab.console_session where workspace_id = target;
        delete from lab.passkey where person_id in (select person_id from lab.person_user where workspace_id = target);
        delete from lab.person where id in (select person_id from lab.person_user where workspace_id = target);
        delete from lab.person_user where workspace_id = target;
        delete from lab.credential_change where workspace_id = target;
        delete from lab.credential where workspace_id = target;
    end $$;
    create function lab.delete_workspace(target uuid) returns void language plpgsql as $$
    begin
        perform lab.delete_rows(target, null);
        perform lab.delete_credentials(target);
        delete from lab.touched where workspace = target;
        delete from lab.copied where workspace = target;
        delete from lab.workspace where id = target;
    end $$;
"""


class Kept(NamedTuple):
    """A workspace that others are copied from: its id, the tables in which it has rows, and its changes, at least 1."""

    id: UUID
    tables: Sequence[str]
    changes: int


def _inboxes(kept: Kept, workspace_id: UUID) -> list[str]:
    """Return the paths of the inboxes of a workspace and its copy."""
    return [INBOXES + ids.encoded(ids.WORKSPACE, each) for each in (kept.id, workspace_id)]


def lab_url(database_url: str, name: LiteralString) -> str:
    """Return the address of a lab's database on the same server."""
    return urlunsplit(urlsplit(database_url)._replace(path=f"/{name}"))


async def create_database(database_url: str) -> tuple[LiteralString, OwnConnection]:
    """Create a lab's database anew; return its name, and a connection that keeps other labs from it.

    Refusal: SettingOutOfRange, if other labs have all that there may be.
    """
    connection = await connect(database_url)
    try:
        for name in DATABASES:
            # One that a killed server left is made anew; that of a running one cannot be dropped, nor that of another role.
            try:
                await connection.execute("drop database if exists " + name)
            except (asyncpg.ObjectInUseError, asyncpg.InsufficientPrivilegeError):
                continue
            # Another lab may begin, too.
            with suppress(*_TAKEN):
                await connection.execute("create database " + name + " template template0")
                keeping = await connect(lab_url(database_url, name))
                if await keeping.fetchval("select pg_try_advisory_lock(1)"):
                    return name, keeping
                await keeping.close()
    finally:
        await connection.close()
    raise SettingOutOfRange(
        f"--lab: {len(DATABASES)} other servers have a lab on this database server. Stop one, or choose another data folder."
    )


async def set_up(connection: Executor, name: LiteralString) -> None:
    """Create the schema of a lab in its database, which is empty."""
    await connection.execute(_CLOCK.replace("$database", name))
    await create_schema(connection)
    await connection.execute(_COPIES)


async def drop_database(database_url: str, name: LiteralString) -> None:
    """Remove a lab's database, if it is there, and end the sessions in it."""
    connection = await connect(database_url)
    try:
        await connection.execute("drop database if exists " + name + " with (force)")
    finally:
        await connection.close()


async def set_clock(connection: Executor, frozen_at: str, ahead: str) -> None:
    """Set the clock of a session: a time at which it stands, or an interval by which it is ahead. Nothing survives a crash."""
    await connection.execute(
        """
        select set_config('lab.frozen_at', $1, false), set_config('lab.ahead', $2, false),
            set_config('synchronous_commit', 'off', false)
        """,
        frozen_at,
        ahead,
    )


async def kept(statements: Executor, workspace_id: UUID) -> Kept:
    """Return a workspace as others are copied from it."""
    records = await statements.fetch("select lab.tables_of($1)", workspace_id)
    changes: int = await statements.fetchval("select greatest(seq, 1) from workspace where id = $1", workspace_id)
    return Kept(workspace_id, [record[0] for record in records], changes)


async def database_size(statements: Executor) -> int:
    """Return the size of the lab's database, in bytes."""
    size: int = await statements.fetchval("select pg_database_size(current_database())")
    return size


async def leave_triggers_out(connection: Executor) -> None:
    """Let a session copy rows without the triggers that note what a workspace itself has touched."""
    await connection.execute("set session_replication_role = replica")
    await connection.execute("set synchronous_commit = off")


async def copy_workspace(
    statements: Executor, kept: Kept, workspace_id: UUID, key: tuple[UUID, str, Sequence[str], bytes] | None
) -> None:
    """Create a workspace with the rows of another one, and perhaps a key: id, name, scopes, and the hash of its secret."""
    await statements.execute(
        "select lab.create_workspace($1, $2, $3, $4, $5, $6, $7), lab.rename_inbox($2, $8, $9)",
        kept.id,
        workspace_id,
        list(kept.tables),
        *(key or (None, None, None, None)),
        *_inboxes(kept, workspace_id),
    )


async def reset_workspace(statements: Executor, kept: Kept, workspace_id: UUID) -> None:
    """Give a workspace the rows again that it was created with. It keeps its credentials."""
    await statements.execute(
        "select lab.reset_workspace($1, $2), lab.rename_inbox($2, $3, $4)",
        kept.id,
        workspace_id,
        *_inboxes(kept, workspace_id),
    )


async def add_key(
    statements: Executor, workspace_id: UUID, key: tuple[UUID, str, Sequence[str], bytes], expires_at: datetime | None
) -> None:
    """Give a workspace another key: its id, name, scopes, and the hash of its secret."""
    await statements.execute(
        "insert into credential (id, workspace_id, name, scopes, secret_hash, expires_at) values ($2, $1, $3, $4, $5, $6)",
        workspace_id,
        *key,
        expires_at,
    )


async def refill_workspace(statements: Executor, kept: Kept, workspace_id: UUID) -> None:
    """Give a workspace the rows of another one instead of its own. It keeps its credentials."""
    await statements.execute(
        "select lab.refill_workspace($1, $2, $3), lab.rename_inbox($2, $4, $5)",
        kept.id,
        workspace_id,
        list(kept.tables),
        *_inboxes(kept, workspace_id),
    )


async def renew_workspace(statements: Executor, kept: Kept, workspace_id: UUID) -> None:
    """Give a workspace the rows again that it was created with, and take its credentials away."""
    await statements.execute(
        "select lab.reset_workspace($1, $2), lab.rename_inbox($2, $3, $4), lab.delete_credentials($2)",
        kept.id,
        workspace_id,
        *_inboxes(kept, workspace_id),
    )


async def delete_workspace(statements: Executor, workspace_id: UUID) -> None:
    """Delete a workspace with all that belongs to it."""
    await statements.execute("select lab.delete_workspace($1)", workspace_id)


async def workspace_of_credential(statements: Executor, credential_id: UUID) -> UUID | None:
    """Return the workspace of an API key, an OAuth client or an access token."""
    found: UUID | None = await statements.fetchval(
        """
        select coalesce(
            (select workspace_id from credential where id = $1),
            (select workspace_id from oauth_client where id = $1),
            (select c.workspace_id from oauth_access_token t join oauth_client c on c.id = t.client_id where t.id = $1)
        )
        """,
        credential_id,
    )
    return found


async def workspace_of_visit(statements: Executor, link_id: UUID | None, session_id: UUID | None) -> UUID | None:
    """Return the workspace of a sign-in link, or else that of a session of the console."""
    found: UUID | None = await statements.fetchval(
        """
        select coalesce(
            (select workspace_id from sign_in_link where id = $1),
            (select workspace_id from console_session where id = $2)
        )
        """,
        link_id,
        session_id,
    )
    return found


async def add_person(statements: Executor, person_id: UUID, address: str) -> None:
    """Create a person for the console."""
    await statements.execute("insert into person (id, address) values ($1, $2)", person_id, address)


async def expire_credential(statements: Executor, credential_id: UUID) -> datetime | None:
    """Let an API key or an access token end now. Return when a key would have ended; None: never, or it is no key."""
    ends_at: datetime | None = await statements.fetchval("select expires_at from credential where id = $1", credential_id)
    await statements.execute("update credential set expires_at = now() where id = $1", credential_id)
    await statements.execute("update oauth_access_token set expires_at = now() where id = $1", credential_id)
    return ends_at


async def renew_key(statements: Executor, credential_id: UUID, ends_at: datetime | None) -> None:
    """Let an API key end at another time; None: never."""
    await statements.execute("update credential set expires_at = $2 where id = $1", credential_id, ends_at)


async def webhook_work(statements: Executor, workspace_id: UUID) -> list[tuple[UUID, datetime]]:
    """Return the endpoints of a workspace for which something waits, and when it can be sent, perhaps at once."""
    records = await statements.fetch(
        """
        select r.endpoint_id, greatest(least(due.at, case when r.position < w.seq then now() end), r.paused_until)
        from workspace w
        join webhook_reader r on r.workspace_id = w.id and r.is_enabled
        left join lateral (
            select min(d.next_attempt_at) as at from webhook_delivery d
            where d.workspace_id = r.workspace_id and d.endpoint_id = r.endpoint_id and d.next_attempt_at is not null
        ) as due on true
        where w.id = $1 and (due.at is not null or r.position < w.seq)
        order by r.endpoint_id
        """,
        workspace_id,
    )
    return [(record[0], record[1]) for record in records]
