"""A command that is applied while the batch before it is saved, and again if that was in vain."""

import asyncio
from collections.abc import Generator, Iterator
from typing import ClassVar
from uuid import UUID

import msgspec
import pytest

from herdbook.companies.model import CompanyCreate
from herdbook.companies.store import COMPANY
from herdbook.contacts.store import ADDRESSES, CONTACT, CONTACTS
from herdbook.errors import Refusal
from herdbook.importing.preparing import company_key
from herdbook.importing.store import NAMED_COMPANIES
from herdbook.ledger.commands import Create
from herdbook.ledger.ledger import Ledger, Written
from herdbook.ledger.object_types import updated
from herdbook.ledger.unit_of_work import LongCommand, Need, Result, UnitOfWork
from tests.ledger.ledger_client import ChangedMind, LedgerClient, contact_of, creation, id_of
from tests.ledger.promises import Pool, kept_promises


class Steps:
    """The steps of a command: how often it was applied, whether it has begun, and whether it may end."""

    def __init__(self, *, may_end: bool = True) -> None:
        self.applied = 0
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        if may_end:
            self.may_end.set()


class Append(LongCommand, frozen=True):
    """Append a letter to the description of a contact, in steps."""

    goes_ahead: ClassVar[bool] = True

    contact_id: UUID
    letter: str
    told: Steps
    address: str = ""
    names_its_needs: bool = True

    def needs(self) -> Iterator[Need]:
        if self.names_its_needs:
            yield Need(CONTACTS, self.contact_id)

    def steps(self, work: UnitOfWork) -> Generator[None, None, Result]:
        self.told.applied += 1
        self.told.begun.set()
        before = work.get(CONTACTS, self.contact_id)
        assert before is not None, "the test has made it"
        if self.address and ADDRESSES.holder(work, self.address) is None:
            raise ChangedMind
        while not self.told.may_end.is_set():
            yield
        described = "" if not before.object.description else before.object.description
        return updated(work, CONTACT, before, msgspec.structs.replace(before.entry, description=described + self.letter))


async def _ahead(
    client: LedgerClient, first: Append, second: Append
) -> tuple["asyncio.Task[Written]", "asyncio.Task[Written]"]:
    """Write two commands, the second of which waits when the first is about to be saved."""
    one = asyncio.create_task(client.write(first))
    await first.told.begun.wait()
    other = asyncio.create_task(client.write(second))
    while client.ledger.waiting_in(client.workspace_id) == 0:  # noqa: ASYNC110  # the queue sets no event
        await asyncio.sleep(0)
    return one, other


def _description(written: Written) -> str | None:
    return contact_of(written).description or None


@pytest.mark.parametrize("names_its_needs", [True, False])
async def test_a_command_is_applied_once_to_what_the_one_before_has_put(
    ledger_client: LedgerClient, pool: Pool, *, names_its_needs: bool
) -> None:
    """It sees the rows that are being saved, and is saved as it was applied; also if it names no rows beforehand."""
    contact_id = id_of(await ledger_client.create("ada@engine.test"))
    first = Append(contact_id, "a", Steps(may_end=False))
    second = Append(contact_id, "b", Steps(), names_its_needs=names_its_needs)
    one, other = await _ahead(ledger_client, first, second)
    first.told.may_end.set()

    assert _description(await one) == "a"
    assert _description(await other) == "ab"
    assert first.told.applied == 1
    assert second.told.applied == 1
    await kept_promises(pool, ledger_client.workspace_id)


async def test_a_save_that_came_too_late_takes_the_next_command_with_it(
    ledger_client: LedgerClient, other_ledger_client: LedgerClient, pool: Pool
) -> None:
    """If another process moves the head before the save, both commands are applied again, to what is there then."""
    contact_id = id_of(await ledger_client.create("ada@engine.test"))
    first, second = Append(contact_id, "a", Steps(may_end=False)), Append(contact_id, "b", Steps())
    one, other = await _ahead(ledger_client, first, second)
    await other_ledger_client.update(contact_id, description="z")
    first.told.may_end.set()

    assert [_description(await one), _description(await other)] == ["za", "zab"]
    assert first.told.applied == 2
    await kept_promises(pool, ledger_client.workspace_id)


async def test_a_head_that_was_moved_behind_the_save_is_noticed(
    ledger_client: LedgerClient, other_ledger_client: LedgerClient, pool: Pool
) -> None:
    """If another process writes between the save and the next one, the command that went ahead is applied again."""
    contact_id = id_of(await ledger_client.create("ada@engine.test"))
    first, second = Append(contact_id, "a", Steps(may_end=False)), Append(contact_id, "b", Steps(may_end=False))
    one, other = await _ahead(ledger_client, first, second)
    first.told.may_end.set()
    assert _description(await one) == "a"
    await second.told.begun.wait()
    await other_ledger_client.update(contact_id, description="z")
    second.told.may_end.set()

    assert _description(await other) == "zb"
    assert second.told.applied == 2
    await kept_promises(pool, ledger_client.workspace_id)


async def test_commands_that_came_meanwhile_are_saved_with_it(ledger_client: LedgerClient, pool: Pool) -> None:
    """Other writes of the workspace need not wait for another batch, and see what went ahead of them."""
    contact_id = id_of(await ledger_client.create("ada@engine.test"))
    first, second = Append(contact_id, "a", Steps(may_end=False)), Append(contact_id, "b", Steps())
    one, other = await _ahead(ledger_client, first, second)
    third = asyncio.create_task(ledger_client.update(contact_id, first_name="Ada"))
    await asyncio.sleep(0)
    first.told.may_end.set()
    done = [await each for each in (one, other, third)]

    assert [contact_of(each).first_name or None for each in done] == [None, None, "Ada"]
    assert _description(done[2]) == "ab"
    assert [each.version for each in done] == [done[0].version, done[0].version + 1, done[0].version + 2]
    changes = await kept_promises(pool, ledger_client.workspace_id)
    assert changes[done[1].version]["transaction"] == changes[done[2].version]["transaction"]


async def test_an_address_that_the_one_before_has_claimed_is_seen(ledger_client: LedgerClient) -> None:
    """A claim of the batch that is being saved counts, and may be moved by the command behind it."""
    contact_id = id_of(await ledger_client.create("ada@engine.test"))
    told = Steps(may_end=False)

    class AppendAndCreate(Append, frozen=True):
        """The same, which also creates a contact with an address."""

        def steps(self, work: UnitOfWork) -> Generator[None, None, Result]:
            creation("grace@navy.test").apply(work)
            return (yield from Append.steps(self, work))

    first = AppendAndCreate(contact_id, "a", told)
    second = Append(contact_id, "b", Steps(), address="grace@navy.test")
    one, other = await _ahead(ledger_client, first, second)
    first.told.may_end.set()

    assert [_description(await one), _description(await other)] == ["a", "ab"]


async def test_a_row_that_was_read_before_the_save_is_read_again(ledger_client: LedgerClient, pool: Pool) -> None:
    """A row that no command has put, but that follows from what was put, was read too early: the command is applied again."""
    contact_id = id_of(await ledger_client.create("ada@engine.test"))
    seen: list[bool] = []

    class AppendAndFound(Append, frozen=True):
        """The same, which also creates a company."""

        def steps(self, work: UnitOfWork) -> Generator[None, None, Result]:
            Create(COMPANY, CompanyCreate(name="Engines", domains=())).apply(work)
            return (yield from Append.steps(self, work))

    class AppendAndLook(Append, frozen=True):
        """The same, which notes whether that company is there."""

        def needs(self) -> Iterator[Need]:
            yield from Append.needs(self)
            yield Need(NAMED_COMPANIES, company_key("Engines"))

        def steps(self, work: UnitOfWork) -> Generator[None, None, Result]:
            seen.append(work.get(NAMED_COMPANIES, company_key("Engines")) is not None)
            return (yield from Append.steps(self, work))

    first = AppendAndFound(contact_id, "a", Steps(may_end=False))
    second = AppendAndLook(contact_id, "b", Steps())
    async with pool.acquire() as connection, connection.transaction():
        # The save waits for this lock, and the load of the command ahead of it does not.
        one, other = await _ahead(ledger_client, first, second)
        await connection.execute("select from workspace where id = $1 for update", ledger_client.workspace_id)
        first.told.may_end.set()
        await second.told.begun.wait()

    assert [_description(await one), _description(await other)] == ["a", "ab"]
    assert seen == [False, True]


class CreateNamed(LongCommand, frozen=True):
    """Create a contact whose first name is the description of the contacts that were just changed, or `nobody`."""

    goes_ahead: ClassVar[bool] = True

    told: Steps

    def needs(self) -> Iterator[Need]:
        yield from ()

    def steps(self, work: UnitOfWork) -> Generator[None, None, Result]:
        self.told.begun.set()
        changed = [row.object.description for row in work.changed_in(CONTACTS) if row.object.description]
        yield
        return creation(first_name="".join(changed) or "nobody").apply(work)


async def test_a_save_that_was_in_vain_leaves_nothing_to_the_next(ledger_client: LedgerClient, pool: Pool) -> None:
    """If another process takes the very number and time of a save whose caller is gone, what went ahead of that is dropped."""
    contact_id = id_of(await ledger_client.create("ada@engine.test"))
    # The clock is behind the head, so all processes choose the same next time.
    behind = "update workspace set last_at = now() + interval '1 hour' where id = $1"
    await pool.execute(behind, ledger_client.workspace_id)
    first, second = Append(contact_id, "a", Steps(may_end=False)), CreateNamed(Steps())
    async with pool.acquire() as connection, connection.transaction():
        one = asyncio.create_task(ledger_client.write(first))
        await first.told.begun.wait()
        other = asyncio.create_task(ledger_client.write(second))
        await connection.execute("select from workspace where id = $1 for update", ledger_client.workspace_id)
        first.told.may_end.set()
        await second.told.begun.wait()
        one.cancel()
        moved = """
            update workspace
            set seq = seq + 1, last_at = (last_at at time zone 'UTC' + interval '1 microsecond') at time zone 'UTC'
            where id = $1
        """
        await connection.execute(moved, ledger_client.workspace_id)

    assert contact_of(await other).first_name == "nobody"


async def test_a_refusal_ahead_is_asked_again(ledger_client: LedgerClient) -> None:
    """A command that was refused ahead is applied again behind the save, and its caller gets that refusal."""
    contact_id = id_of(await ledger_client.create("ada@engine.test"))
    first = Append(contact_id, "a", Steps(may_end=False))
    second = Append(contact_id, "b", Steps(), address="nobody@x.test")
    one, other = await _ahead(ledger_client, first, second)
    first.told.may_end.set()

    assert _description(await one) == "a"
    with pytest.raises(ChangedMind):
        await other
    assert second.told.applied >= 2


async def test_a_ledger_closes_with_a_command_ahead(ledger: Ledger, ledger_client: LedgerClient) -> None:
    """A caller that went away meanwhile leaves nothing behind."""
    contact_id = id_of(await ledger_client.create("ada@engine.test"))
    first, second = Append(contact_id, "a", Steps(may_end=False)), Append(contact_id, "b", Steps(may_end=False))
    one, other = await _ahead(ledger_client, first, second)
    first.told.may_end.set()
    assert _description(await one) == "a"
    await second.told.begun.wait()
    other.cancel()
    second.told.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await other
    await ledger.close()

    with pytest.raises(Refusal):
        await ledger_client.update(contact_id, first_name="Ada")
