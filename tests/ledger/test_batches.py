"""Batches of the ledger, in one process and in two: commands share a transaction, and bad ones fail alone."""

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import msgspec
import pytest

from herdbook import ids
from herdbook.auth.store import create_workspace
from herdbook.contacts.commands import UpdateContact
from herdbook.contacts.model import ContactUpdate
from herdbook.contacts.store import ADDRESSES, CONTACT, CONTACTS
from herdbook.engagements.store import TRANSCRIPTS
from herdbook.errors import Busy, KeyReused, NotFound, Stale, Taken, Unavailable
from herdbook.ledger.batch import DECODING_TURN_BYTES, TURN_BYTES, decoded_in_turns, encoded_in_turns
from herdbook.ledger.claims import Claim
from herdbook.ledger.commands import Delete
from herdbook.ledger.idempotency import IdempotencyKey
from herdbook.ledger.ledger import BATCH_BYTES, TURN_ROWS, Ledger, Written
from herdbook.ledger.unit_of_work import Need, Origin
from tests.cast import Stored
from tests.ledger.ledger_client import (
    AnswerUnspeakable,
    AttemptAll,
    ChangedMind,
    ClaimUnseen,
    CreateAmong,
    LedgerClient,
    NeedNothingKnown,
    ThinkTwice,
    contact_of,
    creation,
    id_of,
    items,
    ledger_on,
    unstorable,
)
from tests.ledger.promises import Pool, kept_promises
from tests.nodes import create_neighbour
from tests.waiting import until_blocked

KEY = IdempotencyKey("a key", "a fingerprint")

T = TypeVar("T")


async def transactions_of(pool: Pool, workspace_ids: Sequence[UUID]) -> int:
    """Return the number of transactions that entered the workspaces' changes."""
    count: int = await pool.fetchval(
        "select count(distinct xmin::text) from change where workspace_id = any($1)", list(workspace_ids)
    )
    return count


async def stored_rows(pool: Pool, workspace_id: UUID) -> tuple[list[asyncpg.Record], ...]:
    """Return all stored rows of a workspace, with the transactions that wrote them."""
    return (
        await pool.fetch("select xmin::text, * from workspace where id = $1", workspace_id),
        await pool.fetch("select xmin::text, * from change where workspace_id = $1 order by seq", workspace_id),
        await pool.fetch("select xmin::text, * from contact where workspace_id = $1 order by id", workspace_id),
        await pool.fetch("select xmin::text, * from contact_email where workspace_id = $1 order by address", workspace_id),
        await pool.fetch("select xmin::text, * from contact_word where workspace_id = $1 order by word", workspace_id),
        await pool.fetch("select xmin::text, * from idempotency_record where workspace_id = $1 order by key", workspace_id),
    )


async def together(*writes: Any) -> list[Any]:
    """Start writes at once, in this order; return the results and refusals."""
    return await asyncio.gather(*writes, return_exceptions=True)


def kinds(outcomes: Sequence[Any]) -> list[type]:
    """Return the types of these outcomes."""
    return [type(outcome) for outcome in outcomes]


# Shared transactions


async def test_concurrent_commands_share_transactions(ledger_client: LedgerClient, pool: Pool) -> None:
    """Two hundred waiting commands become two batches, and each command gets its own number and answer."""
    written = await asyncio.gather(*(ledger_client.create(first_name=f"Ada {number}") for number in range(200)))

    assert [one.version for one in written] == list(range(1, 201))
    assert [contact_of(one).first_name for one in written] == [f"Ada {number}" for number in range(200)]
    assert await transactions_of(pool, [ledger_client.workspace_id]) == 2
    await kept_promises(pool, ledger_client.workspace_id)


@pytest.mark.parametrize(("size", "transactions"), [(BATCH_BYTES, 6), (BATCH_BYTES // 3, 2), (BATCH_BYTES // 6, 1)])
async def test_large_requests_share_no_transaction(
    ledger_client: LedgerClient, pool: Pool, size: int, transactions: int
) -> None:
    """The bodies of a batch's requests are limited together, so that its rows are, too."""
    origin = Origin(request_id=ids.new_id(), credential_id=ledger_client.credential_id)
    ledger, workspace_id = ledger_client.ledger, ledger_client.workspace_id
    await asyncio.gather(*(ledger.write(workspace_id, creation(), origin, size=size) for _ in range(6)))

    assert await transactions_of(pool, [workspace_id]) == transactions


@pytest.mark.parametrize(("transcripts", "transactions"), [(6, 3), (1, 1)])
async def test_few_large_rows_are_loaded_at_once(
    ledger_client: LedgerClient, pool: Pool, transcripts: int, transactions: int
) -> None:
    """A batch needs only some transcripts. Commands that need the same one share it."""
    needs = [Need(TRANSCRIPTS, ids.new_id()) for _ in range(transcripts)] * (6 // transcripts)
    await asyncio.gather(*(ledger_client.write(CreateAmong((need,), [], [])) for need in needs))

    assert await transactions_of(pool, [ledger_client.workspace_id]) == transactions


async def test_others_have_their_turn_in_a_batch(ledger_client: LedgerClient, pool: Pool) -> None:
    """However much the commands of a batch need, one iteration of the event loop applies a limited number of them."""
    iterations: list[None] = []
    noted: list[int] = []

    async def count() -> None:
        while True:
            iterations.append(None)
            await asyncio.sleep(0)

    needs = tuple(Need(CONTACTS, ids.new_id()) for _ in range(TURN_ROWS // 4))
    counting = asyncio.create_task(count())
    await asyncio.gather(*(ledger_client.write(CreateAmong(needs, noted, iterations)) for _ in range(100)))
    counting.cancel()

    assert await transactions_of(pool, [ledger_client.workspace_id]) == 1
    assert max(Counter(noted).values()) <= 4


async def test_refused_commands_leave_no_garbage(ledger_client: LedgerClient) -> None:
    """Refusals and their commands do not refer to each other, because collecting thousands of them takes long."""

    async def refused() -> None:
        with pytest.raises(NotFound):
            await ledger_client.delete(ids.new_id())

    await refused()
    gc.collect()
    gc.disable()
    for _ in range(100):
        await refused()
    garbage = gc.collect()
    gc.enable()

    assert garbage < 100


async def turns_during(work: Awaitable[T]) -> tuple[T, int]:
    """Return the result of some work, and how often another task has its turn meanwhile."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    await asyncio.sleep(0)
    result = await work
    counting.cancel()
    return result, turns


async def test_others_have_their_turn_while_rows_are_encoded() -> None:
    """One iteration of the event loop encodes a limited number of bytes."""
    encoded, turns = await turns_during(encoded_in_turns(["a" * TURN_BYTES] * 10))

    assert msgspec.json.decode(encoded) == ["a" * TURN_BYTES] * 10
    assert turns >= 9


async def test_others_have_their_turn_while_rows_are_decoded() -> None:
    """One iteration of the event loop decodes a limited number of bytes."""
    rows = [Claim(ids.NIL, "a" * number, None, None) for number in range(2000)]
    encoded = msgspec.json.encode(rows)
    decoded, turns = await turns_during(decoded_in_turns(ADDRESSES.table, encoded))

    assert decoded == rows
    assert turns >= len(encoded) // DECODING_TURN_BYTES - 1 > 10


async def test_batch_spans_workspaces(ledger: Ledger, pool: Pool) -> None:
    """One command in each of thirty workspaces makes one transaction, and each workspace counts for itself."""
    first = await create_workspace(pool, "Workspace")
    workspace_ids = [first, *[await create_neighbour(pool, first) for _ in range(29)]]
    written = await asyncio.gather(*(LedgerClient(ledger, one).create("ada@engine.test") for one in workspace_ids))

    assert {one.version for one in written} == {1}
    assert await transactions_of(pool, workspace_ids) == 1
    for workspace_id in workspace_ids:
        await kept_promises(pool, workspace_id)


async def test_later_command_sees_earlier_one_of_its_batch(ledger_client: LedgerClient, pool: Pool) -> None:
    """The commands of a batch apply in order, each to the result of those before it."""
    ada, grace = id_of(await ledger_client.create("a@x.test", "b@x.test")), id_of(await ledger_client.create("c@x.test"))
    outcomes = await together(
        ledger_client.update(ada, emails=items("b@x.test")),
        ledger_client.update(grace, emails=items("c@x.test", "a@x.test")),
        ledger_client.update(ada, emails=items("a@x.test")),
        ledger_client.delete(grace),
        ledger_client.update(ada, emails=items("a@x.test", "c@x.test")),
        ledger_client.update(grace, first_name="Grace"),
    )

    assert kinds(outcomes) == [Written, Written, Taken, Written, Written, NotFound]
    assert [email.email for email in contact_of(outcomes[4]).emails] == ["a@x.test", "c@x.test"]
    assert await transactions_of(pool, [ledger_client.workspace_id]) == 3
    await kept_promises(pool, ledger_client.workspace_id)


async def test_two_contacts_swap_addresses_in_one_batch(ledger_client: LedgerClient, pool: Pool) -> None:
    """Addresses that move in a circle within a batch end as the last command leaves them."""
    ada, grace = id_of(await ledger_client.create("a@x.test")), id_of(await ledger_client.create("b@x.test"))
    outcomes = await together(
        ledger_client.update(ada, emails=()),
        ledger_client.update(grace, emails=items("a@x.test")),
        ledger_client.update(ada, emails=items("b@x.test")),
    )

    assert kinds(outcomes) == [Written] * 3
    await kept_promises(pool, ledger_client.workspace_id)


# Failing alone


async def test_refusal_refuses_its_command_alone(ledger_client: LedgerClient, pool: Pool) -> None:
    """Stale, not found and taken concern one command each, and use up no number."""
    ada = id_of(await ledger_client.create("ada@engine.test"))
    outcomes = await together(
        ledger_client.update(ada, first_name="Ada"),
        ledger_client.update(ada, first_name="Eve", if_version=1),
        ledger_client.create("ADA@engine.test"),
        ledger_client.update(ids.new_id(), first_name="Eve"),
        ledger_client.update(ada, last_name="Lovelace", if_version=2),
    )

    assert kinds(outcomes) == [Written, Stale, Taken, NotFound, Written]
    assert [outcomes[0].version, outcomes[4].version] == [2, 3]
    assert len(await kept_promises(pool, ledger_client.workspace_id)) == 3


async def test_refused_command_leaves_nothing_of_itself(ledger_client: LedgerClient, pool: Pool) -> None:
    """A command that refuses after writing loses its own rows, and not those of the commands before it."""
    ada = id_of(await ledger_client.create("ada@engine.test"))
    rename = UpdateContact(ada, ContactUpdate(first_name="Eve", emails=items("eve@engine.test")))
    outcomes = await together(
        ledger_client.write(ThinkTwice(rename)),
        ledger_client.update(ada, first_name="Ada", emails=items("ada@engine.test", "countess@engine.test")),
        ledger_client.write(ThinkTwice(rename)),
        ledger_client.write(ThinkTwice(creation("mallory@engine.test"))),
        ledger_client.create("eve@engine.test", "mallory@engine.test"),
    )

    assert kinds(outcomes) == [ChangedMind, Written, ChangedMind, ChangedMind, Written]
    assert [outcomes[1].version, outcomes[4].version] == [2, 3]
    assert len(await kept_promises(pool, ledger_client.workspace_id)) == 3


async def test_command_that_postgresql_refuses_fails_alone(ledger_client: LedgerClient, pool: Pool) -> None:
    """The one of forty waiting commands whose row cannot be stored fails; halving the batch finds it."""
    outcomes = await together(
        *(ledger_client.write(unstorable() if number == 25 else creation(f"{number}@x.test")) for number in range(40))
    )

    assert type(outcomes.pop(25)) is asyncpg.UntranslatableCharacterError
    assert kinds(outcomes) == [Written] * 39
    assert len(await kept_promises(pool, ledger_client.workspace_id)) == 39
    assert await transactions_of(pool, [ledger_client.workspace_id]) <= 6


async def test_bad_commands_of_one_workspace_spare_others(ledger: Ledger, pool: Pool) -> None:
    """A command that PostgreSQL refuses fails no command of another workspace in its batch."""
    ledger_clients = [LedgerClient(ledger, await create_workspace(pool, f"Workspace {number}")) for number in range(8)]
    outcomes = await together(
        *(ledger_client.write(unstorable()) for ledger_client in ledger_clients[:2]),
        *(ledger_client.create("ada@engine.test") for ledger_client in ledger_clients),
    )

    assert kinds(outcomes) == [asyncpg.UntranslatableCharacterError] * 2 + [Written] * 8
    for ledger_client in ledger_clients:
        assert len(await kept_promises(pool, ledger_client.workspace_id)) == 1


async def test_unique_key_is_the_proof(ledger_client: LedgerClient, pool: Pool) -> None:
    """The database's unique key refuses a claim that the ledger overlooks, with everything its command wrote."""
    await ledger_client.create("ada@engine.test")
    outcomes = await together(
        ledger_client.create("b@x.test"), ledger_client.write(ClaimUnseen("ada@engine.test")), ledger_client.create("c@x.test")
    )

    assert kinds(outcomes) == [Written, asyncpg.UniqueViolationError, Written]
    assert len(await kept_promises(pool, ledger_client.workspace_id)) == 3


@pytest.mark.parametrize(
    ("bug", "error"), [(NeedNothingKnown(), ChangedMind), (AnswerUnspeakable(), TypeError)], ids=["needs", "answer"]
)
async def test_command_with_a_bug_fails_alone(
    ledger_client: LedgerClient, pool: Pool, bug: Any, error: type[Exception]
) -> None:
    """A bug fails its own command only, in whichever phase it strikes."""
    outcomes = await together(ledger_client.create("a@x.test"), ledger_client.write(bug), ledger_client.create("b@x.test"))

    assert kinds(outcomes) == [Written, error, Written]
    assert [outcomes[0].version, outcomes[2].version] == [1, 2]
    assert len(await kept_promises(pool, ledger_client.workspace_id)) == 2


async def test_unknown_workspace_is_refused(ledger_client: LedgerClient, pool: Pool) -> None:
    """A command for an unknown workspace is not found, and others in the batch succeed."""
    stranger = LedgerClient(ledger_client.ledger, ids.new_id())
    outcomes = await together(stranger.create("ada@engine.test"), ledger_client.create("ada@engine.test"))

    assert kinds(outcomes) == [NotFound, Written]
    assert await pool.fetchval("select count(*) from contact where workspace_id = $1", stranger.workspace_id) == 0


# No-ops


async def test_what_changes_nothing_writes_nothing(ledger_client: LedgerClient, pool: Pool) -> None:
    """An update without a change touches no row, and returns the current object."""
    created = await ledger_client.create("ada@engine.test", first_name="Ada")
    before = await stored_rows(pool, ledger_client.workspace_id)
    written = await ledger_client.update(id_of(created), first_name="Ada", emails=items("ada@engine.test"))

    assert written == created
    assert await stored_rows(pool, ledger_client.workspace_id) == before


async def test_refused_commands_write_nothing(ledger_client: LedgerClient, pool: Pool) -> None:
    """A batch of refused commands touches no row, not even for a key."""
    ada = id_of(await ledger_client.create("ada@engine.test"))
    before = await stored_rows(pool, ledger_client.workspace_id)
    outcomes = await together(
        ledger_client.create("ada@engine.test", key=KEY),
        ledger_client.update(ada, first_name="Ada", if_version=7, key=IdempotencyKey("another", "a fingerprint")),
        ledger_client.write(ThinkTwice(creation("b@x.test"))),
    )

    assert kinds(outcomes) == [Taken, Stale, ChangedMind]
    assert await stored_rows(pool, ledger_client.workspace_id) == before


async def test_keyed_no_op_enters_no_change(ledger_client: LedgerClient, pool: Pool) -> None:
    """A keyed update without a change stores its key, so that a repeat is recognised, and nothing else."""
    created = await ledger_client.create(first_name="Ada")
    first = await ledger_client.update(id_of(created), first_name="Ada", key=KEY)
    await ledger_client.update(id_of(created), first_name="Grace")
    repeat = await ledger_client.update(id_of(created), first_name="Ada", key=KEY)

    assert first == created
    assert repeat == first._replace(replayed=True)
    assert len(await kept_promises(pool, ledger_client.workspace_id)) == 2


# Idempotency


async def test_same_key_twice_in_one_batch_creates_once(ledger_client: LedgerClient, pool: Pool) -> None:
    """The first of several waiting requests with a key is carried out, and the others get its answer."""
    first, *repeats = await asyncio.gather(*(ledger_client.create("ada@engine.test", key=KEY) for _ in range(5)))

    assert not first.replayed
    assert repeats == [first._replace(replayed=True)] * 4
    assert len(await kept_promises(pool, ledger_client.workspace_id)) == 1


async def test_same_key_in_two_processes_creates_once(
    ledger_client: LedgerClient, other_ledger_client: LedgerClient, pool: Pool
) -> None:
    """A key is used once even if several ledgers receive it at once."""
    for number in range(20):
        key = IdempotencyKey(f"key {number}", "a fingerprint")
        writes = [one.create(key=key, first_name="Ada") for one in (ledger_client, other_ledger_client) * 3]
        written = await asyncio.gather(*writes)
        assert len({(one.version, one.body) for one in written}) == 1
        assert [one.replayed for one in written].count(False) == 1

    assert len(await kept_promises(pool, ledger_client.workspace_id)) == 20


async def test_key_with_another_request_is_refused(ledger_client: LedgerClient, pool: Pool) -> None:
    """A key that returns with another request is refused, in the same batch and in a later one."""
    other_request = IdempotencyKey(KEY.key, "another fingerprint")
    outcomes = await together(ledger_client.create(key=KEY), ledger_client.create(key=other_request))
    outcomes += await together(ledger_client.create(key=other_request))

    assert kinds(outcomes) == [Written, KeyReused, KeyReused]
    assert len(await kept_promises(pool, ledger_client.workspace_id)) == 1


async def test_key_belongs_to_one_credential(ledger_client: LedgerClient, pool: Pool) -> None:
    """Two credentials may use the same key independently."""
    other = LedgerClient(ledger_client.ledger, ledger_client.workspace_id)
    written = await asyncio.gather(ledger_client.create(key=KEY), other.create(key=KEY))

    assert [one.replayed for one in written] == [False, False]
    assert len(await kept_promises(pool, ledger_client.workspace_id)) == 2


async def test_refused_request_may_use_its_key_again(ledger_client: LedgerClient) -> None:
    """A refusal is not stored: the same request with the same key is tried again."""
    holder = id_of(await ledger_client.create("ada@engine.test"))
    [refused] = await together(ledger_client.create("ada@engine.test", key=KEY))
    await ledger_client.delete(holder)
    written = await ledger_client.create("ada@engine.test", key=KEY)

    assert type(refused) is Taken
    assert not written.replayed


async def test_key_is_free_after_a_day(ledger_client: LedgerClient, pool: Pool) -> None:
    """A key older than 24 hours no longer counts, even if its record still exists, and is replaced."""
    first = await ledger_client.create(key=KEY)
    await pool.execute(
        "update idempotency_record set at = $2 where workspace_id = $1",
        ledger_client.workspace_id,
        datetime.now(UTC) - timedelta(hours=24, seconds=1),
    )
    second = await ledger_client.create(key=KEY)
    third = await ledger_client.create(key=KEY)

    assert not second.replayed
    assert id_of(second) != id_of(first)
    assert third == second._replace(replayed=True)


# Changes and times


async def test_changes_tell_all(ledger_client: LedgerClient, pool: Pool, stored: Stored) -> None:
    """An entry holds the object as it was answered, and the old values of the changed fields."""
    created = await ledger_client.create("ada@engine.test", first_name="Ada", description="Countess")
    updated = await ledger_client.update(id_of(created), description=None, time_zone="Europe/London")
    await ledger_client.delete(id_of(created))
    entries = await stored.changes()
    texts = await pool.fetch("select object from change where workspace_id = $1 order by seq", ledger_client.workspace_id)

    assert [entry.action for entry in entries] == ["c", "u", "d"]
    assert [entry.previous for entry in entries] == [None, {"description": "Countess", "time_zone": None}, None]
    assert [text["object"].encode() for text in texts] == [created.body, updated.body, updated.body]
    await kept_promises(pool, ledger_client.workspace_id)


async def test_change_names_request_and_credential(ledger_client: LedgerClient, pool: Pool) -> None:
    """An entry names its request and credential."""
    request_ids = [ids.new_id() for _ in range(3)]
    await asyncio.gather(*(ledger_client.write(creation(), request_id=request_id) for request_id in request_ids))
    entries = await pool.fetch(
        "select request_id, credential_id from change where workspace_id = $1 order by seq", ledger_client.workspace_id
    )

    assert [tuple(entry) for entry in entries] == [(request_id, ledger_client.credential_id) for request_id in request_ids]


@pytest.mark.parametrize("locked", [False, True], ids=["alone", "contended"])
async def test_times_increase_whatever_the_clock_does(
    ledger_client: LedgerClient, other_ledger_client: LedgerClient, pool: Pool, *, locked: bool
) -> None:
    """A clock behind the last batch makes each next batch a microsecond later than the one before."""
    future = datetime.now(UTC) + timedelta(days=1)
    await pool.execute("update workspace set last_at = $2 where id = $1", ledger_client.workspace_id, future)
    for _ in range(5):
        await asyncio.gather(
            ledger_client.create(), ledger_client.create(), *([other_ledger_client.create()] if locked else [])
        )

    changes = await kept_promises(pool, ledger_client.workspace_id)
    times = sorted({change["at"] for change in changes.values()})
    assert times == [future + timedelta(microseconds=number) for number in range(1, len(times) + 1)]
    assert len(times) >= 5


async def test_times_follow_the_clock(ledger_client: LedgerClient, pool: Pool) -> None:
    """A batch has the time of a clock that works."""
    before = datetime.now(UTC)
    await ledger_client.create()
    changes = await kept_promises(pool, ledger_client.workspace_id)

    assert before <= changes[1]["at"] <= datetime.now(UTC)


# The queue


async def test_full_queue_refuses_and_writes_nothing(ledger_client: LedgerClient, database_url: str, pool: Pool) -> None:
    """A command over the limit is refused at once, and never carried out."""
    async with ledger_on(database_url, queue_limit=5) as ledger:
        crowded, calm = (
            LedgerClient(ledger, ledger_client.workspace_id),
            LedgerClient(ledger, await create_workspace(pool, "Calm")),
        )
        outcomes = await together(*(crowded.create(f"{number}@x.test") for number in range(8)), calm.create())
        again = await crowded.create("7@x.test")

    assert kinds(outcomes) == [Written] * 5 + [Busy] * 3 + [Written]
    assert again.version == 6
    addresses = await pool.fetch("select address from contact_email where workspace_id = $1", ledger_client.workspace_id)
    assert {record["address"] for record in addresses} == {f"{number}@x.test" for number in (0, 1, 2, 3, 4, 7)}


async def test_command_that_nobody_waits_for_is_dropped(ledger_client: LedgerClient, pool: Pool) -> None:
    """A caller who leaves before the batch begins takes the command back; the others are answered."""
    leaving = asyncio.create_task(ledger_client.create("gone@x.test"))
    staying = asyncio.create_task(ledger_client.create("here@x.test"))
    await asyncio.sleep(0)
    leaving.cancel()
    written = await staying

    assert leaving.cancelled() or leaving.cancelling()
    assert written.version == 1
    assert len(await kept_promises(pool, ledger_client.workspace_id)) == 1


async def test_close_carries_out_what_waits_and_refuses_the_rest(
    database_url: str, ledger_client: LedgerClient, pool: Pool
) -> None:
    """Closing answers all waiting callers, and refuses later ones with nothing written."""
    workspace_ids = [ledger_client.workspace_id, *[await create_workspace(pool, f"Workspace {number}") for number in range(3)]]
    async with ledger_on(database_url) as ledger:
        ledger_clients = [LedgerClient(ledger, workspace_id) for workspace_id in workspace_ids]
        waiting = [asyncio.create_task(one.create()) for one in ledger_clients for _ in range(100)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(ledger.close())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await ledger_clients[0].create()
        await closing
        assert all(task.done() for task in waiting)
        written = [task.result() for task in waiting]

    assert [one.version for one in written] == [*range(1, 101)] * 4
    for workspace_id in workspace_ids:
        assert len(await kept_promises(pool, workspace_id)) == 100


async def test_stuck_workspace_does_not_delay_another(ledger: Ledger, ledger_client: LedgerClient, pool: Pool) -> None:
    """A locked row of one workspace does not block writes in another."""
    neighbour = LedgerClient(ledger, await create_neighbour(pool, ledger_client.workspace_id))
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select from workspace where id = $1 for update", ledger_client.workspace_id)
        stuck = asyncio.create_task(ledger_client.create())
        await until_blocked(pool)
        written = [await neighbour.create() for _ in range(3)]
        assert not stuck.done()

    assert [one.version for one in written] == [1, 2, 3]
    assert (await stuck).version == 1


async def test_what_comes_while_a_batch_is_young_shares_the_next_one(
    ledger: Ledger, ledger_client: LedgerClient, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands in other workspaces that come one after the other are in one batch, although a writer is free for the first."""
    monkeypatch.setattr("herdbook.ledger.ledger._YOUNG_SECONDS", 60.0)
    first = ledger_client.workspace_id
    neighbours = [LedgerClient(ledger, await create_neighbour(pool, first)) for _ in range(3)]
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select from workspace where id = $1 for update", first)
        young = asyncio.create_task(ledger_client.create())
        await until_blocked(pool)
        others: list[asyncio.Task[Written]] = []
        for each in neighbours:
            others.append(asyncio.create_task(each.create()))
            await pool.fetchval("select 1")
        assert not any(each.done() for each in (young, *others))

    await asyncio.gather(young, *others)
    assert await transactions_of(pool, [each.workspace_id for each in neighbours]) == 1


# Two processes


async def test_late_batch_begins_again(ledger_client: LedgerClient, other_ledger_client: LedgerClient, pool: Pool) -> None:
    """A batch that another process overtook writes nothing, and begins again with the current rows."""
    ada = id_of(await ledger_client.create("ada@engine.test"))
    rounds = [
        asyncio.gather(
            ledger_client.update(ada, first_name=f"Ada {number}"),
            other_ledger_client.update(ada, last_name=f"Lovelace {number}"),
        )
        for number in range(50)
    ]
    for one in rounds:
        await one

    contact = msgspec.json.decode((await pool.fetchval("select object from contact where id = $1", ada)).encode())
    changes = await kept_promises(pool, ledger_client.workspace_id)
    assert len(changes) == 101
    assert {contact["first_name"], contact["last_name"]} <= {
        f"{name} {number}" for name in ("Ada", "Lovelace") for number in range(50)
    }


@pytest.mark.parametrize("refuses", [False, True])
async def test_a_part_that_refuses_takes_back_itself_alone(ledger_client: LedgerClient, pool: Pool, *, refuses: bool) -> None:
    """A composite command keeps its successful parts without those that refused; or, if it refuses itself, nothing."""
    ada = id_of(await ledger_client.create("ada@engine.test", first_name="Ada"))
    parts = AttemptAll(
        (
            UpdateContact(ada, ContactUpdate(emails=items("ada@home.test"))),
            ThinkTwice(UpdateContact(ada, ContactUpdate(emails=items("ada@engine.test", "x@x.test"), last_name="King"))),
            ThinkTwice(creation("ada@engine.test")),
            creation("ada@home.test"),
            creation("ada@engine.test", first_name="Augusta"),
            ThinkTwice(Delete(CONTACT, ada)),
        ),
        refuses,
    )
    _, outcome, after = await together(ledger_client.create(), ledger_client.write(parts), ledger_client.create("x@x.test"))

    rows = await pool.fetch("select address, contact_id from contact_email where workspace_id = $1", ledger_client.workspace_id)
    held = {"ada@engine.test": ada} if refuses else {"ada@home.test": ada, "ada@engine.test": id_of(outcome)}
    assert isinstance(outcome, ChangedMind) == refuses
    assert {row["address"]: row["contact_id"] for row in rows} == {**held, "x@x.test": id_of(after)}
    assert after.version == (3 if refuses else 5)
