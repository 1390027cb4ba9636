"""A scrub that was killed, and one of an external database."""

import asyncio
from pathlib import Path
from urllib.parse import quote

from herdbook import ids
from herdbook.db.pool import connect
from herdbook.embedded import EmbeddedPostgres
from herdbook.erasure.scrub_store import scrub_log
from herdbook.first_start import prepare
from tests.cli.programs import Finished, herdbook
from tests.erasure.test_bytes import files_with


def test_a_killed_scrub_is_ended_by_the_next_start(tmp_path: Path) -> None:
    """A setting that a killed scrub has left goes with the next start of a server that has the database alone."""
    server = EmbeddedPostgres(tmp_path)

    async def settings_after(url: str) -> list[str]:
        connection = await connect(url)
        try:
            await connection.execute("alter system set wal_recycle = off")
            await connection.execute("select pg_reload_conf()")
            await prepare(url, is_alone=True)
            left = "select coalesce(max(setting), 'none') from pg_file_settings where name = 'wal_recycle'"
            after = [await connection.fetchval(left)]
            await scrub_log(connection)
            return [*after, await connection.fetchval(left)]
        finally:
            await connection.close()

    try:
        assert asyncio.run(settings_after(server.start())) == ["none", "none"]
    finally:
        server.stop()


def test_an_external_database_is_scrubbed(tmp_path: Path) -> None:
    """A scrub rewrites all tables of an external database, and says that its log is not touched."""
    server = EmbeddedPostgres(tmp_path / "outside")

    async def tables(url: str) -> set[str]:
        connection = await connect(url)
        try:
            found = "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
            return {record[0] for record in await connection.fetch(found)}
        finally:
            await connection.close()

    try:
        url = server.start()
        asyncio.run(prepare(url))
        done = herdbook("erasures", "scrub", "--database-url", url, folder=tmp_path)
        all_tables = asyncio.run(tables(url))
    finally:
        server.stop()

    assert done.status == 0, done.complained
    rewritten = {line.partition(":")[0] for line in done.said.splitlines()[:-1]}
    assert rewritten == all_tables | {"pg_catalog.pg_statistic"}
    assert done.said.endswith("The write-ahead log, its archive and replicas are yours to renew.\n")


def test_a_scrub_of_tables_that_are_anothers_is_refused(tmp_path: Path) -> None:
    """A scrub by an account that does not own the tables fails, and claims nothing."""
    server = EmbeddedPostgres(tmp_path / "outside")

    async def give(url: str) -> None:
        connection = await connect(url)
        try:
            await connection.execute("create role guest; grant pg_read_all_data, pg_write_all_data to guest")
        finally:
            await connection.close()

    try:
        url = server.start()
        asyncio.run(prepare(url))
        asyncio.run(give(url))
        guest = f"{url}{'&' if '?' in url else '?'}role={quote('guest')}"
        done = herdbook("erasures", "scrub", "--database-url", guest, folder=tmp_path)
    finally:
        server.stop()

    assert done.status == 1, done.said
    assert "yours to renew" not in done.said


def test_a_scrub_waits_for_earlier_snapshots(tmp_path: Path) -> None:
    """A scrub fails while another program reads a moment before the erasure, whose rows must stay, and claims nothing."""
    folder = tmp_path / "outside"
    server = EmbeddedPostgres(folder)
    marker = "zyxomma@marker.test"

    async def scrubbed_during_a_snapshot(url: str) -> tuple[Finished, list[str], Finished]:
        connection, other = await connect(url), await connect(url)
        try:
            await connection.execute(
                "insert into contact_email (workspace_id, address, contact_id) values ($1, $2, $1)", ids.new_id(), marker
            )
            await other.execute("begin isolation level repeatable read, read only; select 1")
            await connection.execute("delete from contact_email; checkpoint")
            refused = herdbook("erasures", "scrub", "--database-url", url, folder=tmp_path)
            left = files_with([marker], folder / "postgres" / "base")
            await other.execute("commit")
            return refused, left, herdbook("erasures", "scrub", "--database-url", url, folder=tmp_path)
        finally:
            await connection.close()
            await other.close()

    try:
        url = server.start()
        asyncio.run(prepare(url))
        refused, left, done = asyncio.run(scrubbed_during_a_snapshot(url))
    finally:
        server.stop()

    assert left
    assert (refused.status, refused.said) == (1, "")
    assert "reads an earlier moment" in refused.complained
    assert done.status == 0, done.complained
    assert files_with([marker], folder / "postgres" / "base") == []
