"""The primary of a database dies, and its replica takes its place."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from herdbook import ids
from herdbook.auth.keys import ApiKey
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key
from herdbook.first_start import prepare
from herdbook.settings import Settings
from tests.ledger.promises import kept_promises
from tests.replicated import primary_in
from tests.serving import serving
from tests.waiting import until

_CONTACTS = "/api/v2/contacts"


async def test_nobody_notices_a_promotion_but_by_waiting(tmp_path: Path) -> None:
    """Writes and look-ups of keys that come while there is no primary are answered by the next one, and nothing is lost."""
    with tempfile.TemporaryDirectory(prefix="herdbook-") as name:
        folder = Path(name)
        async with primary_in(folder / "1") as primary:
            workspace_id = (await prepare(primary.url)).workspace_id
            pool: Any = await asyncpg.connect(primary.url)
            known, *strangers = [await create_key(pool, workspace_id, "Key", [ADMIN]) for _ in range(9)]
            await pool.close()
            replica = await primary.copy(folder / "2")
            hosts = f"host={primary.host},{replica.host}&port=5432,5432&target_session_attrs=read-write"
            url = f"postgresql://postgres@/herdbook?{hosts}"
            async with serving(Settings(rate_limit=0, data_dir=tmp_path), url) as client:
                written: list[httpx.Response] = []
                writing = [asyncio.create_task(write(client, known, written)) for _ in range(8)]
                await until(lambda: len(written) > 20)
                await asyncio.to_thread(primary.end)
                asked = [asyncio.create_task(client.get(_CONTACTS, headers=_by(key))) for key in strangers]
                await replica.ask("select pg_promote()")
                answers = await asyncio.gather(*asked)
                enough = len(written) + 20
                await until(lambda: len(written) > enough)
                for each in writing:
                    each.cancel()
                await asyncio.wait(writing)
            async with asyncpg.create_pool(replica.url, min_size=1, max_size=1) as connections:
                changes = await kept_promises(connections, workspace_id)

    assert {each.status_code for each in (*answers, *written)} == {200, 201}
    stored = {change["object_id"] for change in changes.values()}
    assert {ids.decoded(ids.CONTACT, each.json()["id"]) for each in written} <= stored


async def write(client: httpx.AsyncClient, key: ApiKey, written: list[httpx.Response]) -> None:
    """Create contacts, one after the other, and note the answers, for ever."""
    while True:
        written.append(await client.post(_CONTACTS, json={}, headers=_by(key)))


def _by(key: ApiKey) -> dict[str, str]:
    return {"Authorization": str(key)}
