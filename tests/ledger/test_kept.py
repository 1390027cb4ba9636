"""Heads and rows that a process keeps from one batch to the next, so that most writes of what it has written need no load."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.companies.model import CompanyCreate
from herdbook.companies.store import COMPANY
from herdbook.contacts.commands import CreateContactRecord
from herdbook.contacts.model import ContactCreate, ContactRecordUpdatePhoneNumber
from herdbook.db.pool import open_pool
from herdbook.errors import NotFound
from herdbook.ledger.batch import SavedRows, decoded_row, load, save
from herdbook.ledger.commands import Create
from herdbook.ledger.kept import MAX_BYTES, MAX_COMMANDS, ROW_SECONDS, SHARED_SECONDS, Kept
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import LARGE_BYTES, Need, Origin, Table
from tests.ledger.ledger_client import LedgerClient, id_of, items
from tests.ledger.promises import Pool, kept_promises
from tests.ledger.test_loading import in_short
from tests.nodes import create_neighbour, home_of, recorded


class Watched(NamedTuple):
    """A writer whose statements are recorded, and a contact that it has created."""

    client: LedgerClient
    ada: UUID
    statements: list[str]

    async def costs(self, **members: Any) -> str:
        """Update the contact; return a letter for each statement that this took."""
        self.statements.clear()
        await self.client.update(self.ada, **members)
        return in_short(self.statements)


@pytest_asyncio.fixture
async def watched(ledger_client: LedgerClient, database_url: str) -> AsyncGenerator[Watched]:
    """A writer whose statements are recorded."""
    pool = await open_pool(database_url, 1)
    statements = await recorded(pool)
    # Its clocks stand still, so that the time of the database stays known, however slow the test is.
    ledger = Ledger(pool, 10_000, kept=Kept(lambda: 0.0, lambda: 0.0))
    ledger.open()
    client = LedgerClient(ledger, ledger_client.workspace_id, ledger_client.credential_id)
    ada = id_of(await client.create("ada@engine.test", first_name="Ada"))
    yield Watched(client, ada, statements)
    await ledger.close()
    await pool.close()


async def stored(pool: Pool, contact_id: UUID) -> dict[str, Any]:
    """Return a contact as its row has it."""
    return json.loads(await pool.fetchval("select object from contact where id = $1", contact_id))


# One statement


async def test_a_row_that_was_just_written_is_not_loaded(watched: Watched, pool: Pool) -> None:
    """Writes of a row by the only process that writes it take a single statement each."""
    costs = [await watched.costs(first_name=name) for name in ("Augusta", "Ada")]

    assert costs == ["s", "s"]
    changes = await kept_promises(pool, watched.client.workspace_id)
    assert [json.loads(change["previous"] or "null") for change in changes.values()] == [
        None,
        {"first_name": "Ada"},
        {"first_name": "Augusta"},
    ]


async def test_a_new_contact_needs_no_load(watched: Watched) -> None:
    """A command that needs no row takes one statement, too."""
    watched.statements.clear()
    await watched.client.create(first_name="Grace")

    assert in_short(watched.statements) == "s"


async def test_rows_that_are_not_kept_are_loaded(watched: Watched) -> None:
    """A command that needs the holder of an address takes a load."""
    assert await watched.costs(emails=items("king@engine.test")) == "ls"


async def test_times_go_on(ledger_client: LedgerClient, pool: Pool) -> None:
    """The time of a write without a load is that of the database, and later than the one before."""
    for number in range(20):
        await ledger_client.create(first_name=str(number))
    changes = await kept_promises(pool, ledger_client.workspace_id)
    times = [change["at"] for change in changes.values()]
    now = await pool.fetchval("select clock_timestamp()")

    assert times == sorted(set(times))
    assert now - timedelta(minutes=1) < times[-1] <= now


# Others write, too


async def test_a_change_of_another_process_is_not_lost(watched: Watched, other_ledger_client: LedgerClient, pool: Pool) -> None:
    """A save on a head that another process has moved writes nothing, and the command is applied to what that one wrote."""
    await other_ledger_client.update(watched.ada, last_name="King")
    costs = [await watched.costs(first_name=name) for name in ("Augusta", "Ada")]

    assert costs == ["sls", "ls"]
    contact = await stored(pool, watched.ada)
    assert (contact["first_name"], contact["last_name"]) == ("Ada", "King")
    await kept_promises(pool, watched.client.workspace_id)


async def test_a_change_that_moved_no_head_is_not_lost(watched: Watched, pool: Pool) -> None:
    """A migration may change a row beside the ledger."""
    await pool.execute(
        "update contact set object = jsonb_set(object::jsonb, '{last_name}', '\"King\"')::json where id = $1", watched.ada
    )

    assert await watched.costs(first_name="Augusta") == "sls"
    contact = await stored(pool, watched.ada)
    assert (contact["first_name"], contact["last_name"]) == ("Augusta", "King")


async def test_a_row_that_was_only_read_is_proved_too(watched: Watched, pool: Pool) -> None:
    """A contact joins a company that was just made, unless something beside the ledger has changed that."""
    made = await watched.client.write(Create(COMPANY, CompanyCreate(name="Engines", domains=())))
    company_id = json.loads(made.body)["id"]
    watched.statements.clear()
    await watched.client.create(first_name="Grace", company_id=company_id)
    first = in_short(watched.statements)
    await pool.execute("update company set object = object where id = $1", ids.decoded(ids.COMPANY, company_id))
    watched.statements.clear()
    await watched.client.create(first_name="Edith", company_id=company_id)

    assert (first, in_short(watched.statements)) == ("s", "sls")
    await kept_promises(pool, watched.client.workspace_id)


async def test_a_workspace_whose_row_differs_holds_up_no_other(watched: Watched, pool: Pool) -> None:
    """A save of two workspaces writes in the one whose kept row is right, and nothing in the other."""
    neighbour = LedgerClient(watched.client.ledger, await create_neighbour(pool, watched.client.workspace_id))
    grace = id_of(await neighbour.create(first_name="Grace"))
    await pool.execute("update contact set object = object where id = $1", watched.ada)
    watched.statements.clear()
    updates = watched.client.update(watched.ada, first_name="Augusta"), neighbour.update(grace, first_name="Amazing")
    await asyncio.gather(*updates)

    assert in_short(watched.statements) == "sls"
    first, *others = [await kept_promises(pool, each.workspace_id) for each in (neighbour, watched.client)]
    assert [len(first), *map(len, others)] == [2, 2]
    assert first[2]["at"] < others[0][2]["at"]


async def test_a_refusal_is_of_what_is_stored(watched: Watched, other_ledger_client: LedgerClient) -> None:
    """A version that only another process knows is not refused."""
    version = (await other_ledger_client.update(watched.ada, last_name="King")).version

    assert (await watched.client.update(watched.ada, if_version=version, first_name="Augusta")).version == version + 1


async def test_nothing_changed_is_said_of_what_is_stored(
    watched: Watched, other_ledger_client: LedgerClient, pool: Pool
) -> None:
    """A patch that would change nothing of a kept row changes what another process has made of it."""
    await other_ledger_client.update(watched.ada, first_name="Augusta")
    await watched.costs(first_name="Ada")

    assert (await stored(pool, watched.ada))["first_name"] == "Ada"


async def test_a_number_is_given_once(watched: Watched, other_ledger_client: LedgerClient, pool: Pool) -> None:
    """A change of another object by another process takes its number, although the kept row is right."""
    await other_ledger_client.create(first_name="Grace")

    assert await watched.costs(first_name="Augusta") == "sls"
    assert list(await kept_promises(pool, watched.client.workspace_id)) == [1, 2, 3]


async def test_a_removed_row_is_not_kept(watched: Watched) -> None:
    """A deleted contact is unknown to the next command."""
    await watched.client.delete(watched.ada)

    with pytest.raises(NotFound):
        await watched.client.update(watched.ada, first_name="Augusta")


async def test_large_batches_leave_no_old_row(watched: Watched) -> None:
    """Rows that a batch of many commands has written are not kept in their form before it."""
    updates = (watched.client.update(watched.ada, last_name=str(number)) for number in range(MAX_COMMANDS + 1))
    await asyncio.gather(*updates)

    assert await watched.costs(first_name="Augusta") == "ls"
    assert await watched.costs(first_name="Ada") == "s"


# Kept as they are stored, and not for long


async def test_a_kept_row_is_what_a_load_returns(ledger_client: LedgerClient, database_url: str) -> None:
    """A row as it was written is the row that a load finds, with the transaction that wrote it."""
    fields = ContactCreate(
        first_name="Zoë",
        emails=items("zoe@engine.test"),
        phone_numbers=(ContactRecordUpdatePhoneNumber("+44 20 7946 0958", label="work"),),
        external_ids=("1",),
        time_zone="Europe/London",
    )
    command = CreateContactRecord(fields)
    noted: list[SavedRows] = []
    pool = await open_pool(database_url, 1)
    home = await home_of(pool, ledger_client.workspace_id)
    async with home.acquire() as connection:
        work = (await load(connection, {ledger_client.workspace_id: set(command.needs())}))[ledger_client.workspace_id]
        work.carry_out(command, Origin(ids.new_id(), ids.new_id()))
        await save(connection, [work], noted.append)
        ((workspace_id, need, text),) = noted[0].rows
        again = (await load(connection, {workspace_id: {need}}))[workspace_id]
        xmin = await connection.fetchval("select xmin from contact where id = $1", need.key)
    await pool.close()

    assert decoded_row(need.table, text) == again.get(*need)
    assert noted[0].transaction == xmin


class Clocks:
    """The clocks of a machine."""

    def __init__(self) -> None:
        self.monotonic = 1000.0
        self.wall = 2000.0

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.monotonic += seconds
        self.wall += seconds


NOW = datetime(2026, 3, 1, tzinfo=UTC)
WORKSPACE = ids.new_id()
TEXT = msgspec.json.encode({"key": "", "workspace_id": ids.NIL})


class _Note(msgspec.Struct, frozen=True):
    workspace_id: UUID
    key: str


_NOTES = Table(row=_Note, key=lambda row: row.key, load=None, save=None)


def keeping(clocks: Clocks, *, rows: int = 1, text: bytes = TEXT) -> Kept:
    """Return what a process keeps that has just written some rows."""
    kept = Kept(lambda: clocks.monotonic, lambda: clocks.wall)
    kept.note_time(NOW)
    kept.note_head(WORKSPACE, 7, NOW)
    kept.note_rows(SavedRows(1, [(WORKSPACE, Need(_NOTES, number), text) for number in range(rows)]))
    return kept


def knows(kept: Kept, number: int = 0) -> bool:
    """Whether a row and the head of its workspace are known."""
    return kept.units({WORKSPACE: [Need(_NOTES, number)]}) is not None


def test_the_time_is_worked_out_for_a_second() -> None:
    """The time of the database goes on with the clocks of the machine."""
    clocks = Clocks()
    kept = keeping(clocks)
    clocks.pass_by(0.5)
    units = kept.units({WORKSPACE: [Need(_NOTES, 0)]})
    assert units is not None
    assert units[WORKSPACE].at == NOW + timedelta(seconds=0.5)
    clocks.pass_by(0.6)
    assert not knows(kept)


def test_a_time_is_later_than_the_last_one() -> None:
    """If the clock of the database was set back, times go on from the last one."""
    kept = keeping(Clocks())
    kept.note_head(WORKSPACE, 8, NOW + timedelta(hours=1))
    units = kept.units({WORKSPACE: []})

    assert units is not None
    assert units[WORKSPACE].at == NOW + timedelta(hours=1, microseconds=1)


def test_no_time_is_known_after_a_suspension() -> None:
    """While a machine is suspended, only one of its clocks goes on."""
    clocks = Clocks()
    kept = keeping(clocks)
    assert knows(kept)
    clocks.wall += 3600

    assert not knows(kept)


def test_rows_are_kept_for_a_minute() -> None:
    """Rows have personal data, so they go, whether or not anybody asks for them."""
    clocks = Clocks()
    kept = keeping(clocks)
    clocks.pass_by(ROW_SECONDS - 1)
    kept.forget_old()
    kept.note_time(NOW)
    assert knows(kept)
    clocks.pass_by(2)
    kept.forget_old()
    kept.note_time(NOW)

    assert not knows(kept)


def test_rows_are_bounded_in_bytes() -> None:
    """Those that were written first go first."""
    many = 2 * MAX_BYTES // LARGE_BYTES
    kept = keeping(Clocks(), rows=many, text=TEXT.ljust(LARGE_BYTES))

    assert (knows(kept, 0), knows(kept, many - 1)) == (False, True)


def test_large_rows_are_not_kept() -> None:
    """A batch must know the size of a large row, which only a load tells."""
    assert not knows(keeping(Clocks(), text=TEXT.ljust(LARGE_BYTES + 1)))


def test_shared_workspaces_are_loaded_for_a_minute() -> None:
    """After another process has written in a workspace, its head is not kept for a while."""
    clocks = Clocks()
    kept = keeping(clocks)
    kept.note_shared({WORKSPACE})
    kept.note_head(WORKSPACE, 8, NOW)
    assert kept.units({WORKSPACE: []}) is None
    clocks.pass_by(SHARED_SECONDS + 1)
    kept.note_time(NOW)
    kept.note_head(WORKSPACE, 9, NOW)

    assert kept.units({WORKSPACE: []}) is not None


def test_many_shared_workspaces_make_no_write_dearer() -> None:
    """A batch looks at its own workspaces alone, also if two servers write in thousands."""

    def seconds(shared: int) -> float:
        kept = keeping(Clocks())
        kept.note_shared([ids.new_id() for _ in range(shared)])
        began = time.process_time()
        for number in range(200):
            kept.note_head(WORKSPACE, number, NOW)
        return time.process_time() - began

    few, many = (min(seconds(shared) for _ in range(3)) for shared in (1, 10_000))

    assert many < 20 * few


def test_it_is_forgotten_that_workspaces_were_shared() -> None:
    """Those in which another process wrote long ago take no memory, and those in which it wrote again stay shared."""
    clocks = Clocks()
    kept = keeping(clocks)
    kept.note_shared([WORKSPACE, ids.NIL])
    clocks.pass_by(SHARED_SECONDS / 2)
    kept.note_shared([WORKSPACE])
    clocks.pass_by(SHARED_SECONDS / 2 + 1)
    kept.forget_old()
    kept.note_time(NOW)
    for each in (WORKSPACE, ids.NIL):
        kept.note_head(each, 8, NOW)

    assert kept.units({WORKSPACE: []}) is None
    assert kept.units({ids.NIL: []}) is not None
