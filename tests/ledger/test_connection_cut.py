"""Broken connections to PostgreSQL: each command is done once, and its caller gets the stored result."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from herdbook.errors import OutcomeUnknown, Refusal, Taken, Unavailable
from herdbook.ledger.idempotency import IdempotencyKey
from herdbook.ledger.ledger import Ledger, Written
from tests.ledger.ledger_client import ClaimUnseen, LedgerClient, id_of, ledger_on
from tests.ledger.promises import Pool, kept_promises
from tests.ledger.proxy import Caught, Proxy, proxy_to
from tests.nodes import create_neighbour
from tests.waiting import until_blocked

Writes: TypeAlias = "asyncio.Future[list[Any]]"
Trap: TypeAlias = "asyncio.Future[Caught]"


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
        proxy.disarm()


@pytest_asyncio.fixture
async def neighbour(ledger: Ledger, ledger_client: LedgerClient, pool: Pool) -> LedgerClient:
    """A writer in another workspace, which shares batches with `ledger_client`."""
    return LedgerClient(ledger, await create_neighbour(pool, ledger_client.workspace_id))


def saves(sql: str) -> bool:
    """Whether a statement is the save."""
    return "held as (" in sql


def loads(sql: str) -> bool:
    """Whether a statement is the load."""
    return "json_agg(w)" in sql


def locks(sql: str) -> bool:
    """Whether a statement is the lock."""
    return sql.endswith("order by id for update")


def commits(sql: str) -> bool:
    """Whether a statement is the commit of a locked batch."""
    return sql.startswith("COMMIT")


def together(*writes: Awaitable[Written]) -> Writes:
    """Start writes that share a batch."""
    return asyncio.ensure_future(asyncio.gather(*writes, return_exceptions=True))


async def lost(caught: Caught) -> None:
    """Break the connection before the request arrives."""
    caught.cut()


async def unanswered(caught: Caught) -> None:
    """Break the connection after the request was carried out, before its answer arrives."""
    await caught.deliver()
    caught.cut()


async def torn(caught: Caught) -> None:
    """Break the connection at the moment at which the request arrives."""
    caught.send()
    caught.cut()


@pytest.mark.parametrize("breaks", [lost, unanswered, torn])
@pytest.mark.parametrize("matches", [loads, saves])
async def test_batch_is_carried_out_once(
    proxy: Proxy,
    ledger_client: LedgerClient,
    neighbour: LedgerClient,
    pool: Pool,
    matches: Callable[[str], bool],
    breaks: Callable[[Caught], Awaitable[None]],
) -> None:
    """Each command is carried out once, wherever the connection breaks, and its answer is the stored result."""
    ada = id_of(await ledger_client.create("ada@engine.test"))
    trap = proxy.trap(matches)
    writes = together(
        ledger_client.update(ada, first_name="Ada", if_version=1),
        ledger_client.create("ada@engine.test"),
        neighbour.create("ada@engine.test"),
        ledger_client.create("b@x.test"),
    )
    await breaks(await trap)

    await assert_answers(pool, await writes, [ledger_client, Taken, neighbour, ledger_client])


@pytest.mark.parametrize("breaks", [lost, unanswered, torn])
@pytest.mark.parametrize("matches", [locks, loads, saves, commits])
async def test_locked_batch_is_carried_out_once(
    proxy: Proxy,
    ledger_client: LedgerClient,
    neighbour: LedgerClient,
    pool: Pool,
    matches: Callable[[str], bool],
    breaks: Callable[[Caught], Awaitable[None]],
) -> None:
    """A locked batch that breaks again, even at its commit, is carried out once."""
    first = proxy.trap(saves)
    writes = together(ledger_client.create("a@x.test"), neighbour.create("a@x.test"), ledger_client.create("A@x.test"))
    caught = await first
    second = proxy.trap(matches)
    caught.cut()
    await breaks(await second)

    await assert_answers(pool, await writes, [ledger_client, neighbour, Taken])


@pytest.mark.parametrize("breaks", [lost, unanswered])
async def test_keyed_command_is_carried_out_once(
    proxy: Proxy, ledger_client: LedgerClient, pool: Pool, breaks: Callable[[Caught], Awaitable[None]]
) -> None:
    """A key is stored with its change, so a repeat gets the answer of the batch that broke."""
    key = IdempotencyKey("a key", "a fingerprint")
    trap = proxy.trap(saves)
    writes = together(ledger_client.create("a@x.test", key=key))
    await breaks(await trap)
    answers = await writes
    repeat = await ledger_client.create("a@x.test", key=key)

    await assert_answers(pool, answers, [ledger_client])
    assert repeat == answers[0]._replace(replayed=True)


async def test_late_save_writes_nothing(proxy: Proxy, ledger_client: LedgerClient, neighbour: LedgerClient, pool: Pool) -> None:
    """A save that arrives after its batch was redone on another connection finds itself late and writes nothing."""
    trap = proxy.trap(saves)
    writes = together(ledger_client.create("a@x.test"), neighbour.create("a@x.test"))
    caught = await trap
    caught.cut_client()
    answers = await writes
    late = await caught.deliver()

    assert b"SELECT 0\0" in late
    await assert_answers(pool, answers, [ledger_client, neighbour])


async def test_save_that_waits_for_the_lock_of_its_repetition_writes_nothing(
    proxy: Proxy, ledger_client: LedgerClient, pool: Pool
) -> None:
    """A save that arrives while its batch is redone waits for that commit, and is then late."""
    first = proxy.trap(saves)
    writes = together(ledger_client.create("a@x.test"), ledger_client.create("b@x.test"))
    late_save = await first
    second = proxy.trap(commits)
    late_save.cut_client()
    commit = await second
    late_save.send()
    await until_blocked(pool)
    commit.let_go()
    answers = await writes
    late = await late_save.answer()

    assert b"SELECT 0\0" in late
    await assert_answers(pool, answers, [ledger_client, ledger_client])


async def test_save_that_arrives_between_two_repetitions_counts(proxy: Proxy, ledger_client: LedgerClient, pool: Pool) -> None:
    """A first save that arrives after its repetition broke counts: its objects are the ones answered."""
    first = proxy.trap(saves)
    writes = together(ledger_client.create("a@x.test"), ledger_client.create("b@x.test"))
    late_save = await first
    second = proxy.trap(saves)
    late_save.cut_client()
    repetition = await second
    # Hold the client until the first save is through, because it must not start a third attempt before.
    repetition.cut_server()
    late = await late_save.deliver()
    repetition.cut()

    assert b"SELECT 2\0" not in late
    assert b"SELECT 1\0" in late
    await assert_answers(pool, await writes, [ledger_client, ledger_client])


async def test_save_of_another_process_is_not_taken_for_ones_own(
    proxy: Proxy, ledger_client: LedgerClient, other_ledger_client: LedgerClient, pool: Pool
) -> None:
    """Two processes with slow clocks choose the same next time, and still recognise their own changes."""
    future = datetime.now(UTC) + timedelta(hours=1)
    await pool.execute("update workspace set last_at = $2 where id = $1", ledger_client.workspace_id, future)
    trap = proxy.trap(saves)
    writes = together(ledger_client.create("a@x.test"))
    caught = await trap
    theirs = await other_ledger_client.create("b@x.test")
    caught.cut()
    answers = await writes

    await assert_answers(pool, [*answers, theirs], [ledger_client, other_ledger_client])


async def test_commands_that_are_answered_are_not_done_again_with_the_late_ones(
    proxy: Proxy, ledger_client: LedgerClient, neighbour: LedgerClient, other_ledger: Ledger, pool: Pool
) -> None:
    """A repetition that PostgreSQL refuses is halved and repeated without the commands already answered."""
    rival = LedgerClient(other_ledger, neighbour.workspace_id)
    trap = proxy.trap(saves)
    writes = together(ledger_client.create(), neighbour.create("b@x.test"), neighbour.write(ClaimUnseen("ada@engine.test")))
    caught = await trap
    theirs = await rival.create("ada@engine.test")
    caught.let_go()
    answers = await writes

    await assert_answers(pool, [*answers, theirs], [ledger_client, neighbour, asyncpg.UniqueViolationError, rival])


@pytest.mark.parametrize("code", ["53200", "55P03", "40P01", "57014"])
async def test_doubt_survives_an_error_of_the_database(
    proxy: Proxy, ledger_client: LedgerClient, pool: Pool, code: str
) -> None:
    """A save that may have been committed stays in doubt if the next attempt fails: it is not called unwritten, nor redone."""
    first = proxy.trap(saves)
    writes = together(ledger_client.create("a@x.test"), ledger_client.create("b@x.test"), ledger_client.create("c@x.test"))
    caught = await first
    second = proxy.trap(locks)
    await caught.deliver()
    caught.cut()
    (await second).refuse(code, in_transaction=True)
    answers = await writes

    await assert_answers(pool, answers, [ledger_client, ledger_client, ledger_client])


async def test_what_the_database_cannot_take_now_is_unavailable(proxy: Proxy, ledger_client: LedgerClient, pool: Pool) -> None:
    """A save that the database refuses for lack of resources wrote nothing, and the caller may retry."""
    trap = proxy.trap(saves)
    writes = together(ledger_client.create("a@x.test"), ledger_client.create("b@x.test"))
    (await trap).refuse("53100", in_transaction=False)
    answers = await writes

    await assert_answers(pool, answers, [Unavailable, Unavailable])
    assert (await ledger_client.create("a@x.test")).version == 1


@pytest.mark.parametrize(("matches", "refusal"), [(loads, Unavailable), (saves, OutcomeUnknown)])
async def test_database_that_stays_away_is_given_up(
    proxy: Proxy, workspace_id: UUID, pool: Pool, matches: Callable[[str], bool], refusal: type[Refusal]
) -> None:
    """Without patience left, the ledger says that nothing was written, or that the outcome is unknown; it recovers later."""
    async with ledger_on(proxy.url, patience_seconds=1.0) as ledger:
        ledger_client = LedgerClient(ledger, workspace_id)
        trap = proxy.trap(matches)
        writes = together(ledger_client.create("a@x.test"), ledger_client.create("b@x.test"))
        await trap
        await proxy.close()
        refused = [*await writes, *await together(ledger_client.create("c@x.test"))]
        await proxy.open()
        answer = await ledger_client.create("d@x.test")

    assert [type(one) for one in refused] == [refusal, refusal, Unavailable]
    await assert_answers(pool, [answer], [ledger_client])


async def test_database_that_comes_back_in_time_is_waited_for(proxy: Proxy, ledger_client: LedgerClient, pool: Pool) -> None:
    """A short outage only costs time."""
    await ledger_client.create("a@x.test")
    trap = proxy.trap(saves)
    writes = together(ledger_client.create("b@x.test"), ledger_client.create("c@x.test"))
    await (await trap).deliver()
    await proxy.close()
    more = together(ledger_client.create("d@x.test"))
    await proxy.open()
    answers = [*await writes, *await more]

    assert [one.version for one in answers] == [2, 3, 4]
    assert len(await kept_promises(pool, ledger_client.workspace_id)) == 4


async def test_many_cuts(
    proxy: Proxy, ledger_client: LedgerClient, neighbour: LedgerClient, other_ledger: Ledger, pool: Pool
) -> None:
    """Each command is done once through many cuts, before and after requests, while another process writes too."""
    dice = random.Random(1)  # noqa: S311  # repeatable on purpose
    ledger_clients = [
        ledger_client,
        neighbour,
        *(LedgerClient(other_ledger, one.workspace_id) for one in (ledger_client, neighbour)),
    ]
    everything: list[Any] = []

    async def write(one: LedgerClient, number: int) -> None:
        everything.extend([(one, await one.create(f"{number}.{turn}@x.test")) for turn in range(20)])

    async def cut() -> None:
        while True:
            caught = await proxy.trap(lambda _: dice.random() < 0.1)
            await dice.choice([lost, unanswered, torn])(caught)

    cutting = asyncio.create_task(cut())
    await asyncio.gather(*(write(one, number) for number, one in enumerate(ledger_clients * 6)))
    cutting.cancel()

    assert len(everything) == 480
    await assert_answers(pool, [answer for _, answer in everything], [one for one, _ in everything])


async def assert_answers(pool: Pool, answers: list[Any], expected: list[LedgerClient | type[Exception]]) -> None:
    """Check that each caller got the expected refusal, or an entry of the workspace that it writes in."""
    written: dict[UUID, list[Written]] = {one.workspace_id: [] for one in expected if isinstance(one, LedgerClient)}
    for answer, one in zip(answers, expected, strict=True):
        if isinstance(one, LedgerClient):
            assert type(answer) is Written, repr(answer)
            written[one.workspace_id].append(answer)
        else:
            assert type(answer) is one, repr(answer)
    for workspace_id, its in written.items():
        changes = await kept_promises(pool, workspace_id)
        shown = {one.version: one.body.decode() for one in its}
        entered = {seq: change["object"] for seq, change in changes.items()}
        assert {seq: entered.get(seq) for seq in shown} == shown
        assert len(its) == len(shown), "no two callers got the same answer"


async def test_a_primary_that_was_demoted_is_left(proxy: Proxy, ledger_client: LedgerClient, pool: Pool) -> None:
    """A write that a replica refuses is done on a new connection, which may lead to the primary; the old one is closed."""
    await ledger_client.create()
    trap = proxy.trap(saves)
    writing = asyncio.create_task(ledger_client.create())
    caught = await trap
    caught.refuse("25006", in_transaction=False)
    written = await writing

    assert written.version == 2
    assert len(await kept_promises(pool, ledger_client.workspace_id)) == 2
    assert not caught.is_connected
