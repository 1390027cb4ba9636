"""Each table is archived, or left out for a reason."""

import asyncpg

from herdbook.archives.places import LEFT_OUT, PLACES


async def test_no_table_is_forgotten(embedded_url: str) -> None:
    """Each table of the schema is archived or left out for a reason, and none is both."""
    connection = await asyncpg.connect(embedded_url)
    records = await connection.fetch(
        "select relname from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace"
    )
    await connection.close()

    named = [place.table for place in PLACES] + list(LEFT_OUT)
    assert sorted(named) == sorted(record["relname"] for record in records)


async def test_each_column_that_is_left_out_exists(database_url: str) -> None:
    """The columns for which an archive has something else are those of the tables."""
    connection = await asyncpg.connect(database_url)
    records = await connection.fetch("select table_name, column_name from information_schema.columns")
    await connection.close()

    there = {(record["table_name"], record["column_name"]) for record in records}
    named = {(place.table, column) for place in PLACES for column in place.columns_instead(with_secrets=False)}
    assert named <= there
    assert {(place.table, place.workspace_column) for place in PLACES if place.workspace_column is not None} <= there


async def test_each_hash_and_secret_is_left_out(database_url: str) -> None:
    """An archive without secrets has no column that is named like one, of any table."""
    connection = await asyncpg.connect(database_url)
    records = await connection.fetch(
        """
        select table_name, column_name from information_schema.columns
        where table_schema = 'public' and (column_name like '%secret%' or column_name like '%hash' or column_name like 'own_h%')
        """
    )
    await connection.close()

    open_places = {place.table: place.columns_instead(with_secrets=False) for place in PLACES if not place.is_secret}
    named = [(table, column) for table, column in records if table in open_places]
    assert [(table, column) for table, column in named if column not in open_places[table]] == [("erasure", "hash")]
    assert len(named) > 5
