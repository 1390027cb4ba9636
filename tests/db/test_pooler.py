"""Sessions that come through a pooler: they have the settings of their role, because they take none from their clients."""

import asyncio
from pathlib import Path

import pytest

from herdbook.db.pool import connect, open_pool
from herdbook.db.pooler import PoolerUnfit, require_fit, set_role
from herdbook.settings import SettingOutOfRange, Settings
from tests.cli.programs import herdbook
from tests.db.conftest import NewDatabase


async def test_the_role_has_the_settings_of_sessions(new_database: NewDatabase) -> None:
    """A start is refused until the role has them, and commands are free of them."""
    url = await new_database()
    with pytest.raises(
        PoolerUnfit, match=r"lack settings of herdbook: enable_bitmapscan, .* Run `herdbook migrate --set-role`"
    ):
        await require_fit(url, url)
    await set_role(url, url)
    await require_fit(url, url)
    pool, command = await open_pool(url, 1, is_pooled=True), await connect(url)
    limits = [await each.fetchval("select current_setting('statement_timeout')") for each in (pool, command)]
    await pool.close()
    await command.close()

    assert limits == ["8s", "0"]


async def test_both_addresses_lead_to_one_database(new_database: NewDatabase, tmp_path: Path) -> None:
    """A start and `migrate` are refused before anything is changed in another database."""
    url, other = await new_database(), await new_database()
    with pytest.raises(PoolerUnfit, match="--database-url and --database-direct-url lead to different databases"):
        await require_fit(url, other)
    words = ("migrate", "--set-role", f"--database-url={url}", f"--database-direct-url={other}")
    refused = await asyncio.to_thread(herdbook, *words, folder=tmp_path)
    connection = await connect(other)
    has_schema = await connection.fetchval("select to_regclass('workspace') is not null")
    await connection.close()

    assert "lead to different databases" in refused.complained
    assert not has_schema


async def test_a_direct_connection_needs_no_role(database_url: str) -> None:
    """Without a pooler, sessions bring their settings."""
    await require_fit(database_url, None)


def test_a_direct_address_is_not_the_only_one() -> None:
    """The refusal says what the other address is for."""
    with pytest.raises(SettingOutOfRange, match="--database-direct-url needs --database-url, which leads through the pooler"):
        Settings(database_direct_url="postgresql://herdbook@database/herdbook")
