"""Retried and repeated requests are done once, with a key or without, across processes and broken connections."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from herdbook.errors import KeyReused, OutcomeUnknown
from herdbook.ledger.idempotency import IdempotencyKey
from herdbook.ledger.ledger import Ledger, Written
from tests.ledger.ledger_client import LedgerClient, id_of, ledger_on
from tests.ledger.promises import Pool, kept_promises
from tests.ledger.proxy import Proxy, proxy_to

KEY = IdempotencyKey("a key", "a fingerprint")
CREDENTIAL = UUID(int=1)
OTHER_REQUEST = IdempotencyKey(KEY.key, "another fingerprint")


@pytest_asyncio.fixture
async def proxy(database_url: str, tmp_path: Path) -> AsyncGenerator[Proxy]:
    """A proxy between the ledger and PostgreSQL."""
    async with proxy_to(database_url, tmp_path) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def ledger(proxy: Proxy) -> AsyncGenerator[Ledger]:
    """A ledger behind the proxy; `other_ledger` is not."""
    async with ledger_on(proxy.url) as ledger:
        yield ledger


def saves(sql: str) -> bool:
    """Whether a statement is the save."""
    return "held as (" in sql


async def record_of(pool: Pool, workspace_id: UUID) -> Any:
    """Return the record of the workspace's only key, with the transaction that wrote it."""
    [record] = await pool.fetch("select xmin::text, * from idempotency_record where workspace_id = $1", workspace_id)
    return record


@pytest.mark.parametrize("theirs_changes", [False, True], ids=["no-op meets no-op", "no-op meets update"])
async def test_key_of_a_no_op_is_not_taken_over(
    proxy: Proxy, ledger_client: LedgerClient, other_ledger_client: LedgerClient, pool: Pool, *, theirs_changes: bool
) -> None:
    """One of two requests with one key in two processes is refused, even if neither enters a change."""
    ada = id_of(await ledger_client.create(first_name="Ada"))
    trap = proxy.trap(saves)
    ours = asyncio.create_task(ledger_client.update(ada, first_name="Grace" if theirs_changes else "Ada", key=KEY))
    caught = await trap
    # Their update changes nothing, so it uses up no number.
    theirs = await other_ledger_client.update(ada, first_name="Ada", key=OTHER_REQUEST)
    caught.let_go()

    with pytest.raises(KeyReused):
        await ours
    assert not theirs.replayed
    assert (await record_of(pool, ledger_client.workspace_id))["fingerprint"] == OTHER_REQUEST.fingerprint
    assert await other_ledger_client.update(ada, first_name="Ada", key=OTHER_REQUEST) == theirs._replace(replayed=True)
    assert len(await kept_promises(pool, ledger_client.workspace_id)) == 1


async def test_late_save_of_a_no_op_writes_nothing(proxy: Proxy, ledger_client: LedgerClient, pool: Pool) -> None:
    """A save that only stores a key, and arrives after its repetition on another connection, is late like any other."""
    ada = id_of(await ledger_client.create(first_name="Ada"))
    trap = proxy.trap(saves)
    ours = asyncio.create_task(ledger_client.update(ada, first_name="Ada", key=KEY))
    caught = await trap
    caught.cut_client()
    written = await ours
    before = await record_of(pool, ledger_client.workspace_id)
    late = await caught.deliver()

    assert b"SELECT 0\0" in late
    assert type(written) is Written
    assert await record_of(pool, ledger_client.workspace_id) == before


async def cut_each(proxy: Proxy) -> None:
    """Cut the connection of each attempt that looks, behind a lock, whether an earlier one was committed."""
    while True:
        (await proxy.trap(lambda sql: sql.endswith("order by id for update"))).cut()


@pytest.mark.parametrize("arrives", ["before", "after", "never"])
async def test_unknown_outcome_is_cleared_up_by_the_key(proxy: Proxy, workspace_id: UUID, pool: Pool, arrives: str) -> None:
    """A caller with an unknown outcome repeats the request with its key, and it is carried out once."""
    # The first process gives its caller up, however long each step takes. Another one has all the time that the repeat needs.
    async with ledger_on(proxy.url, patience_seconds=2) as hasty, ledger_on(proxy.url) as other:
        client, again = LedgerClient(hasty, workspace_id, CREDENTIAL), LedgerClient(other, workspace_id, CREDENTIAL)
        trap = proxy.trap(saves)
        first = asyncio.create_task(client.create("ada@engine.test", key=KEY))
        caught = await trap
        if arrives == "before":
            await caught.deliver()
        cutting = asyncio.create_task(cut_each(proxy))
        caught.cut_client()
        with pytest.raises(OutcomeUnknown):
            await first
        cutting.cancel()
        repeat = await again.create("ada@engine.test", key=KEY)
        if arrives == "after":
            assert b"SELECT 0\0" in await caught.deliver()
        caught.cut()

    assert repeat.replayed == (arrives == "before")
    changes = await kept_promises(pool, workspace_id)
    assert {seq: change["object"].encode() for seq, change in changes.items()} == {repeat.version: repeat.body}


async def test_command_that_could_be_repeated_is_not(proxy: Proxy, ledger_client: LedgerClient, pool: Pool) -> None:
    """A lost answer to a save never leads to a second execution, because the ledger itself prevents it."""
    ada = id_of(await ledger_client.create(first_name="Ada"))
    trap = proxy.trap(saves)
    writes = asyncio.gather(
        ledger_client.create(), ledger_client.update(ada, first_name="Grace"), ledger_client.update(ada, first_name="Ada")
    )
    caught = await trap
    await caught.deliver()
    caught.cut()
    # Callers are answered before the batch ends; the next write in the workspace waits for that end.
    written = [*await writes, await ledger_client.create()]

    changes = await kept_promises(pool, ledger_client.workspace_id)
    assert [one.version for one in written] == [2, 3, 4, 5]
    assert [changes[one.version]["object"].encode() for one in written] == [one.body for one in written]
    assert len(changes) == 5
