"""Rows that a command asks for and has not named beforehand: they are loaded, and the command is applied again."""

import contextlib
from asyncio import gather
from collections.abc import AsyncGenerator, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.auth.store import create_workspace
from herdbook.bulk.commands import WriteAll, WriteItem
from herdbook.companies.commands import DeleteCompany
from herdbook.companies.model import CompanyCreate, CompanyDomainRequest, CompanyUpdate
from herdbook.companies.store import COMPANY
from herdbook.contacts.bulk import CONTACTS_IN_BULK
from herdbook.contacts.commands import ContactsOfCompany, CreateContact, UpdateContact, UpsertContact
from herdbook.contacts.model import ContactRecordUpdatePhoneNumber, ContactUpdate, ContactUpsert
from herdbook.contacts.store import CONTACT, CONTACTS
from herdbook.db.pool import Pool, open_pool
from herdbook.engagements.commands import CreateEngagement, ReplaceContacts, ReplaceTags
from herdbook.engagements.model import EngagementCreate, Participant
from herdbook.errors import Refusal
from herdbook.history.commands import Restore, Reversal, UndoReversals
from herdbook.ledger.commands import Create, Delete, SetCrmAssociation, Update
from herdbook.ledger.index_entries import MIN_RANGE
from herdbook.ledger.kept import Kept
from herdbook.ledger.ledger import MAX_LOADS, MAX_MISSED_ROWS, Ledger, TooManyLoads, Written
from herdbook.ledger.object_types import ObjectType
from herdbook.ledger.unit_of_work import Command, Need, Result, UnitOfWork
from herdbook.merging.commands import Merge
from herdbook.merging.store import COMPANY_MERGE, CONTACT_MERGE
from herdbook.object_types import OBJECT_TYPES
from herdbook.tags.model import TagCreate, TagUpdate
from herdbook.tags.store import TAG
from herdbook.users.commands import CreateUser
from herdbook.users.model import NewUser
from tests.ledger.ledger_client import LedgerClient, Unprepared, creation, id_of, items
from tests.ledger.promises import Pool as AnyPool
from tests.ledger.promises import kept_promises
from tests.ledger.proxy import Proxy, proxy_to
from tests.ledger.test_connection_cut import loads, saves, together
from tests.ledger.test_two_processes import late_batches
from tests.nodes import create_neighbour, recorded

NUMBER: Final = "+44 20 7946 0958"


class World(NamedTuple):
    """The objects that commands meet: contacts of a company, one of them deleted, and an engagement of two of them."""

    company: str
    ada: UUID
    grace: UUID
    gone: UUID
    engagement: UUID
    tag: UUID
    gone_version: int


async def world_of(client: LedgerClient) -> World:
    """Fill a workspace."""

    async def make(command: Command) -> str:
        return msgspec.json.decode((await client.write(command)).body)["id"]

    company = await make(Create(COMPANY, CompanyCreate(name="Engine", domains=(CompanyDomainRequest("engine.test"),))))
    await make(CreateUser(NewUser("Edith", "Clarke", ("edith@grid.test",))))
    ada = id_of(await client.create("ada@engine.test", "king@x.test", first_name="Ada", company_id=company))
    numbers = (ContactRecordUpdatePhoneNumber(NUMBER),)
    grace = id_of(await client.create("grace@x.test", first_name="Grace", company_id=company, phone_numbers=numbers))
    gone = id_of(await client.create("gone@x.test", "left@x.test", first_name="Mary", company_id=company))
    gone_version = (await client.delete(gone)).version
    talk = await make(engaging("ada@engine.test", "grace@x.test"))
    tag = await make(Create(TAG, TagCreate(name="Renewal")))
    engagement_id, tag_id = ids.decoded(ids.ENGAGEMENT, talk), ids.decoded(ids.TAG, tag)
    assert engagement_id is not None
    assert tag_id is not None
    return World(company, ada, grace, gone, engagement_id, tag_id, gone_version)


def engaging(*addresses: str, external_id: str = "1842", numbers: tuple[str, ...] = ()) -> CreateEngagement:
    """Return a command that creates an engagement."""
    people = (*(Participant(email=address) for address in addresses), *(Participant(phone=number) for number in numbers))
    fields = EngagementCreate(
        type="CALL", title="Talk", source_system="x", external_id=external_id, transcript="x", participants=people
    )
    return CreateEngagement(engagement_id=ids.new_id(), fields=fields, created_by=ids.NIL, owner_user_id=None)


def upsert(*addresses: str, **members: Any) -> UpsertContact:
    """Return a command that upserts a contact."""
    return UpsertContact(ContactUpsert(emails=items(*addresses), **members))


def write_all(*commands: CreateContact | Delete | UpsertContact) -> WriteAll:
    """Return these commands as one."""
    return WriteAll(
        CONTACTS_IN_BULK, tuple(WriteItem(index, command, CONTACTS_IN_BULK) for index, command in enumerate(commands))
    )


def undo(object_type: ObjectType[Any, Any], object_id: UUID, version: int, before: Any) -> UndoReversals:
    """Return the command that undoes the changes of one object."""
    reversal = Reversal(object_type=object_type, object_id=object_id, version=version, before=before)
    return UndoReversals(request_id="", reversals=(reversal,), object_types=OBJECT_TYPES, may_name=frozenset())


def company_id(world: World) -> UUID:
    """Return the id of the company."""
    found = ids.decoded(ids.COMPANY, world.company)
    assert found is not None
    return found


def shown(*contact_ids: UUID) -> tuple[str, ...]:
    """Return ids of contacts as the API shows them."""
    return tuple(ids.encoded(ids.CONTACT, contact_id) for contact_id in contact_ids)


Makes: TypeAlias = Callable[[World], Command]

_SCOPES: Final = frozenset[str]()
_COMMANDS: Final[dict[str, Makes]] = {
    "create": lambda world: creation("new@x.test", first_name="Ida", company_id=world.company),
    "create with an address taken": lambda _: creation("king@x.test"),
    "create at no company": lambda _: creation(company_id=ids.encoded(ids.COMPANY, ids.NIL)),
    "update": lambda world: UpdateContact(world.ada, ContactUpdate(first_name="A.", emails=items("a@x.test"))),
    "update with an address taken": lambda world: UpdateContact(world.ada, ContactUpdate(emails=items("grace@x.test"))),
    "update of nobody": lambda _: UpdateContact(ids.NIL, ContactUpdate(first_name="A.")),
    "delete": lambda world: Delete(CONTACT, world.ada),
    "upsert of one there": lambda _: upsert("grace@x.test", "g@x.test", first_name="G."),
    "upsert of one gone": lambda _: upsert("gone@x.test", first_name="M."),
    "upsert of a new one": lambda _: upsert("new@x.test"),
    "restore": lambda world: Restore(object_type=CONTACT, object_id=world.gone),
    "restore of one there": lambda world: Restore(object_type=COMPANY, object_id=company_id(world)),
    "merge": lambda world: Merge(merge_type=CONTACT_MERGE, target_id=world.ada, sources=shown(world.grace)),
    "company": lambda _: Create(COMPANY, CompanyCreate(domains=(CompanyDomainRequest("engine.test"),))),
    "company update": lambda world: Update(COMPANY, company_id(world), CompanyUpdate(name="Mill")),
    "company link": lambda world: SetCrmAssociation(COMPANY, company_id(world), None),
    "company deletion": lambda world: DeleteCompany(company_id(world), ContactsOfCompany()),
    "tag": lambda _: Create(TAG, TagCreate(name="renewal")),
    "tag update": lambda world: Update(TAG, world.tag, TagUpdate(name="Renewals")),
    "tag deletion": lambda world: Delete(TAG, world.tag),
    "user": lambda _: CreateUser(NewUser("Edith", "Clarke", ("edith@grid.test",))),
    "engagement": lambda _: engaging("edith@grid.test", "ada@engine.test", "new@x.test", external_id="2", numbers=(NUMBER,)),
    "contacts": lambda world: ReplaceContacts(
        engagement_id=world.engagement, contact_ids=shown(world.grace), private_scopes=_SCOPES
    ),
    "tags": lambda world: ReplaceTags(
        engagement_id=world.engagement, tag_ids=(ids.encoded(ids.TAG, world.tag),), private_scopes=_SCOPES
    ),
    "undo of a deletion": lambda world: undo(CONTACT, world.gone, world.gone_version, None),
    "undo of much": lambda world: UndoReversals(
        request_id="",
        reversals=tuple(
            Reversal(object_type=CONTACT, object_id=contact_id, version=version, before=None)
            for contact_id, version in ((world.ada, 3), (world.grace, 4), *((ids.new_id(), 1) for _ in range(20)))
        ),
        object_types=OBJECT_TYPES,
        may_name=frozenset(),
    ),
    "merge of many": lambda world: Merge(
        merge_type=CONTACT_MERGE,
        target_id=world.ada,
        sources=shown(world.grace, world.gone, *(ids.new_id() for _ in range(20))),
    ),
    "undo of something changed": lambda world: undo(TAG, world.tag, 1, None),
    "bulk": lambda world: write_all(
        upsert("gone@x.test"), Delete(CONTACT, world.ada), upsert("king@x.test"), creation("ada2@x.test")
    ),
    "bulk refused": lambda _: write_all(upsert("gone@x.test"), Delete(CONTACT, ids.NIL), creation("grace@x.test")),
}


async def told(pool: AnyPool, workspace_id: UUID) -> list[tuple[str, str | None]]:
    """Return the kinds and actions of a workspace's entries, with the first names of contacts."""
    entries = await pool.fetch(
        "select kind::text || action::text, object ->> 'first_name' from change where workspace_id = $1 order by seq",
        workspace_id,
    )
    return [(entry[0], entry[1]) for entry in entries]


@pytest.mark.parametrize("makes", _COMMANDS.values(), ids=_COMMANDS)
async def test_a_command_that_names_no_needs_has_the_same_outcome(ledger: Ledger, pool: AnyPool, makes: Makes) -> None:
    """Whether a command names its needs changes neither its outcome nor the entries that it makes."""
    outcomes: list[Any] = []
    for is_prepared in (True, False):
        client = LedgerClient(ledger, await create_workspace(pool, "Workspace"))
        world = await world_of(client)
        try:
            command = makes(world)
            outcome: Any = (await client.write(command if is_prepared else Unprepared(command))).version
        except Refusal as refusal:
            outcome = (type(refusal), refusal.detail, [error[:3] for error in getattr(refusal, "errors", ())])
        outcomes.append((outcome, await told(pool, client.workspace_id)))

    assert outcomes[0] == outcomes[1]


class Careless(msgspec.Struct, frozen=True):
    """A command that attempts another one, and takes any exception for a refusal."""

    part: Any

    def needs(self) -> Iterator[Need]:
        yield from ()

    def apply(self, work: UnitOfWork) -> Result:
        with contextlib.suppress(Exception):
            work.attempt(self.part)
        return creation(first_name="Ida").apply(work)


async def test_an_attempt_that_misses_rows_is_no_refusal(ledger_client: LedgerClient, pool: AnyPool) -> None:
    """A part of a command is applied, even if the command ignores that the part missed rows."""
    ada = id_of(await ledger_client.create("ada@engine.test", first_name="Ada"))
    await ledger_client.write(Careless(UpdateContact(ada, ContactUpdate(first_name="Augusta"))))

    assert await told(pool, ledger_client.workspace_id) == [("cc", "Ada"), ("cu", "Augusta"), ("cc", "Ida")]


async def test_commands_keep_their_order(ledger_client: LedgerClient, pool: AnyPool) -> None:
    """Commands of a batch follow each other in their order, also if some of them are applied again."""
    ada, grace = [id_of(await ledger_client.create()) for _ in range(2)]
    names = [str(number) for number in range(9)]
    commands = [UpdateContact(grace if int(name) % 3 else ada, ContactUpdate(first_name=name)) for name in names]
    await gather(*(ledger_client.write(Unprepared(each) if each.contact_id == ada else each) for each in commands))

    assert await told(pool, ledger_client.workspace_id) == [("cc", None), ("cc", None), *(("cu", name) for name in names)]


class AskForEver(msgspec.Struct, frozen=True):
    """A command with a bug: each time it asks for another row."""

    def needs(self) -> Iterator[Need]:
        yield from ()

    def apply(self, work: UnitOfWork) -> Result:
        creation(first_name="Mallory").apply(work)
        work.get(CONTACTS, ids.new_id())
        raise NotImplementedError


async def test_loads_are_limited(ledger_client: LedgerClient, pool: AnyPool) -> None:
    """A command that asks for rows without end fails alone, with an error that names it."""
    before, endless, after = await gather(
        ledger_client.create(first_name="Ada"),
        ledger_client.write(AskForEver()),
        ledger_client.write(Unprepared(upsert("grace@x.test", first_name="Grace"))),
        return_exceptions=True,
    )

    assert (type(before), type(after)) == (Written, Written)
    assert isinstance(endless, TooManyLoads)
    assert "AskForEver" in str(endless)
    assert len(await kept_promises(pool, ledger_client.workspace_id)) == 2


class CreateAfter(msgspec.Struct, frozen=True):
    """A command that asks for another row after each change of the commands before it."""

    def needs(self) -> Iterator[Need]:
        yield from ()

    def apply(self, work: UnitOfWork) -> Result:
        work.get(CONTACTS, UUID(int=work.seq))
        return creation(first_name="Ada").apply(work)


async def test_commands_may_wait_for_many_loads_of_earlier_ones(ledger_client: LedgerClient) -> None:
    """A command that misses other rows after each earlier one is carried out, however many there are before it."""
    outcomes = await gather(*(ledger_client.write(CreateAfter()) for _ in range(3 * MAX_LOADS)))

    assert [outcome.version for outcome in outcomes] == [*range(1, 3 * MAX_LOADS + 1)]


@pytest_asyncio.fixture
async def proxy(database_url: str, tmp_path: Path) -> AsyncGenerator[Proxy]:
    """A proxy between a ledger and PostgreSQL."""
    async with proxy_to(database_url, tmp_path) as proxy:
        yield proxy
        proxy.disarm()


class Watched(NamedTuple):
    """A client whose statements are recorded."""

    client: LedgerClient
    statements: list[str]


@pytest_asyncio.fixture
async def watched(ledger_client: LedgerClient, database_url: str) -> AsyncGenerator[Watched]:
    """A client that writes over one connection, and has written once. It loads each time, because its clock goes too fast."""
    pool: Pool = await open_pool(database_url, 1)
    statements = await recorded(pool)
    ledger = Ledger(pool, 10_000, kept=Kept(count(step=10.0).__next__))
    ledger.open()
    client = LedgerClient(ledger, ledger_client.workspace_id)
    await client.create()
    statements.clear()
    yield Watched(client, statements)
    await ledger.close()
    await pool.close()


def in_short(statements: list[str]) -> str:
    """Return a letter for each statement: a load, a save, or another one."""
    return "".join("l" if loads(sql) else "s" if saves(sql) else "?" for sql in statements)


_COSTS: Final[list[tuple[Makes, str]]] = [
    (lambda _: creation("new@x.test", first_name="Ida"), "ls"),
    (lambda world: creation("new@x.test", company_id=world.company), "ls"),
    (lambda world: UpdateContact(world.ada, ContactUpdate(first_name="Augusta")), "ls"),
    (lambda world: UpdateContact(world.ada, ContactUpdate(emails=items("king@x.test", "new@x.test"))), "ls"),
    (lambda world: Delete(CONTACT, world.ada), "ls"),
    (lambda _: upsert("new@x.test"), "ls"),
    (lambda _: upsert("grace@x.test", first_name="G."), "lls"),
    (lambda _: upsert("gone@x.test", first_name="M."), "llls"),
    (lambda world: Restore(object_type=CONTACT, object_id=world.gone), "lls"),
    (lambda _: engaging("new@x.test", external_id="2"), "ls"),
    (lambda _: engaging("edith@grid.test", "ada@engine.test", external_id="2", numbers=(NUMBER,)), "lls"),
    (lambda world: Merge(merge_type=CONTACT_MERGE, target_id=world.gone, sources=shown(world.ada)), "l"),
    (lambda world: Merge(merge_type=CONTACT_MERGE, target_id=world.ada, sources=shown(world.grace)), "lls"),
    (lambda world: DeleteCompany(company_id(world), ContactsOfCompany()), "lls"),
]


@pytest.mark.parametrize(("makes", "expected"), _COSTS)
async def test_statements_are_few(watched: Watched, makes: Makes, expected: str) -> None:
    """Common writes take one load and one save, and others one more load for each step of the way to their rows."""
    world = await world_of(watched.client)
    watched.statements.clear()
    with contextlib.suppress(Refusal):
        await watched.client.write(makes(world))

    assert in_short(watched.statements) == expected


async def test_all_commands_of_a_batch_share_the_further_loads(watched: Watched) -> None:
    """Forty upserts of deleted contacts take as many statements as one, be they one command or many."""
    client = watched.client
    addresses = [f"ada{number}@x.test" for number in range(40)]
    for many in ([write_all(*(upsert(each) for each in addresses))], [upsert(each) for each in addresses]):
        for made in await gather(*(client.create(each, f"old.{each}") for each in addresses)):
            await client.delete(id_of(made))
        watched.statements.clear()
        await gather(*(client.write(command) for command in many))
        assert in_short(watched.statements) == "llls"
        for index, each in enumerate(addresses):
            found = await client.write(upsert(each, first_name=f"Ada {index}"))
            assert len(msgspec.json.decode(found.body)["emails"]) == 2
            await client.delete(id_of(found))


async def staffed(client: LedgerClient, many: int) -> tuple[UUID, list[UUID]]:
    """Create a company with this many contacts."""
    company = msgspec.json.decode((await client.write(Create(COMPANY, CompanyCreate(name="Engine", domains=())))).body)["id"]
    hired = await client.write(write_all(*(creation(company_id=company) for _ in range(many))))
    contacts = [ids.decoded(ids.CONTACT, each["contact"]["id"]) for each in msgspec.json.decode(hired.body)["results"]]
    found = ids.decoded(ids.COMPANY, company)
    assert found is not None
    return found, [contact_id for contact_id in contacts if contact_id is not None]


def deletions(contacts: list[UUID]) -> WriteAll:
    """Return a command that deletes contacts."""
    return write_all(*(Delete(CONTACT, contact_id) for contact_id in contacts))


async def test_a_range_reaches_past_all_objects_that_the_batch_removed(watched: Watched) -> None:
    """After deletions of most contacts of a company in the same batch, one further load finds the others."""
    client = watched.client
    company, contacts = await staffed(client, 4 * MIN_RANGE)
    watched.statements.clear()
    *_, gone = await gather(
        client.write(deletions(contacts[: 2 * MIN_RANGE])),
        client.write(deletions(contacts[2 * MIN_RANGE : -1])),
        client.write(DeleteCompany(company, ContactsOfCompany())),
    )

    # The further loads: the rest of the contacts, and the row of the last one.
    assert in_short(watched.statements) == "llls"
    # One more change follows: the last contact loses the company.
    assert gone.version == 1 + 2 * len(contacts) + 1


async def test_the_ranges_of_all_merged_objects_are_loaded_together(watched: Watched) -> None:
    """Merging companies whose first contacts were deleted in the same batch takes one further load for all of them."""
    client = watched.client
    target, _ = await staffed(client, 1)
    staffs = [await staffed(client, MIN_RANGE + 1) for _ in range(3)]
    sources = tuple(ids.encoded(ids.COMPANY, company) for company, _ in staffs)
    watched.statements.clear()
    *_, merged = await gather(
        *(client.write(deletions(contacts[:-1])) for _, contacts in staffs),
        client.write(Merge(merge_type=COMPANY_MERGE, target_id=target, sources=sources)),
    )

    assert in_short(watched.statements) == "llls"
    assert msgspec.json.decode(merged.body)["contacts_moved"] == 3


async def test_a_batch_loads_further_rows_for_few_commands(watched: Watched) -> None:
    """Deletions of companies with many contacts that come together are saved a few at a time."""
    client = watched.client
    companies = [(await staffed(client, MAX_MISSED_ROWS - 1))[0] for _ in range(4)]
    watched.statements.clear()
    gone = await gather(*(client.write(DeleteCompany(company, ContactsOfCompany())) for company in companies))

    assert in_short(watched.statements) == "llslls"
    assert [gone[number + 1].version - gone[number].version for number in range(3)] == [MAX_MISSED_ROWS] * 3


async def test_a_change_between_two_loads_begins_the_commands_again(
    proxy: Proxy, ledger_client: LedgerClient, pool: AnyPool
) -> None:
    """If another process changes the workspace between two loads, its commands see that change, and each is done once."""
    ada = id_of(await ledger_client.create("ada@engine.test"))
    neighbour_id = await create_neighbour(pool, ledger_client.workspace_id)
    async with ledger_behind(proxy) as ledger:
        client, neighbour = LedgerClient(ledger, ledger_client.workspace_id), LedgerClient(ledger, neighbour_id)
        late_before = late_batches()
        first = proxy.trap(loads)
        writes = together(
            client.create("b@x.test"),
            client.write(upsert("ada@engine.test", last_name="King")),
            client.write(upsert("new@x.test", last_name="Byron")),
            neighbour.create("ada@engine.test"),
        )
        caught = await first
        second = proxy.trap(loads)
        caught.let_go()
        caught = await second
        await ledger_client.update(ada, first_name="Augusta")
        caught.let_go()
        outcomes = await writes

    assert late_batches() == late_before + 1
    assert [type(outcome) for outcome in outcomes] == [Written] * 4
    assert [outcome.version for outcome in outcomes] == [3, 4, 5, 1]
    upserted = msgspec.json.decode(outcomes[1].body)
    assert (upserted["first_name"], upserted["last_name"]) == ("Augusta", "King")
    assert [len(await kept_promises(pool, each)) for each in (ledger_client.workspace_id, neighbour_id)] == [5, 1]


class LookAndCreate(msgspec.Struct, frozen=True):
    """A command that names an address, but not the contact that it looks at before it creates one with the address."""

    address: str
    contact_id: UUID

    def needs(self) -> Iterator[Need]:
        yield from creation(self.address).needs()

    def apply(self, work: UnitOfWork) -> Result:
        work.get(CONTACTS, self.contact_id)
        return creation(self.address, first_name="Ida").apply(work)


async def test_a_refusal_by_rows_of_two_moments_is_not_answered(
    proxy: Proxy, ledger_client: LedgerClient, pool: AnyPool
) -> None:
    """A command that would be refused by rows of different moments begins again, although it writes nothing."""
    ada = id_of(await ledger_client.create("ada@engine.test"))
    async with ledger_behind(proxy) as ledger:
        client = LedgerClient(ledger, ledger_client.workspace_id)
        first = proxy.trap(loads)
        writes = together(client.write(LookAndCreate("ada@engine.test", ada)))
        caught = await first
        second = proxy.trap(loads)
        caught.let_go()
        caught = await second
        # The address was taken at the moment of the first load, and is free at that of the second.
        await ledger_client.delete(ada)
        caught.let_go()
        (outcome,) = await writes

    assert (type(outcome), outcome.version) == (Written, 3)
    assert len(await kept_promises(pool, ledger_client.workspace_id)) == 3


@contextlib.asynccontextmanager
async def ledger_behind(proxy: Proxy) -> AsyncGenerator[Ledger]:
    """Open a ledger whose statements go through the proxy."""
    pool = await open_pool(proxy.url, 2)
    ledger = Ledger(pool, 100)
    ledger.open()
    yield ledger
    await ledger.close()
    await pool.close()
