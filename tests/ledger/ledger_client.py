"""A writer for the tests of the ledger, and commands that no caller of the API could send."""

import contextlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.contacts.commands import CreateContact, UpdateContact, UpdateContactRecord
from herdbook.contacts.model import Contact, ContactCreate, ContactRecordUpdateEmail, ContactUpdate
from herdbook.contacts.store import ADDRESSES, CONTACT, CONTACTS
from herdbook.db.pool import open_pool
from herdbook.errors import Refusal
from herdbook.ledger.claims import Claim
from herdbook.ledger.commands import Delete
from herdbook.ledger.idempotency import IdempotencyKey
from herdbook.ledger.ledger import Ledger, Written
from herdbook.ledger.unit_of_work import Command, Need, Origin, Result, UnitOfWork
from herdbook.shared_schemas import Deleted


@asynccontextmanager
async def ledger_on(
    database_url: str, *, queue_limit: int = 10_000, connections: int = 3, patience_seconds: float = 60.0
) -> AsyncGenerator[Ledger]:
    """Open a ledger with a pool of its own, as another process would have it."""
    pool = await open_pool(database_url, connections)
    ledger = Ledger(pool, queue_limit, patience_seconds)
    ledger.open()
    yield ledger
    await ledger.close()
    await pool.close()


class LedgerClient:
    """A writer in one workspace, with one credential."""

    def __init__(self, ledger: Ledger, workspace_id: UUID, credential_id: UUID | None = None) -> None:
        self.ledger = ledger
        self.workspace_id = workspace_id
        self.credential_id = credential_id or ids.new_id()

    async def write(self, command: Command, key: IdempotencyKey | None = None, request_id: UUID | None = None) -> Written:
        """Carry out a command through the ledger."""
        origin = Origin(request_id=request_id or ids.new_id(), credential_id=self.credential_id)
        return await self.ledger.write(self.workspace_id, command, origin, key)

    async def create(self, *addresses: str, key: IdempotencyKey | None = None, **members: Any) -> Written:
        """Create a contact."""
        return await self.write(creation(*addresses, **members), key)

    async def update(
        self, contact_id: UUID, *, if_version: int | None = None, key: IdempotencyKey | None = None, **members: Any
    ) -> Written:
        """Update a contact."""
        versions = None if if_version is None else frozenset({if_version})
        return await self.write(UpdateContact(contact_id, ContactUpdate(**members), versions), key)

    async def delete(self, contact_id: UUID) -> Written:
        """Delete a contact."""
        return await self.write(Delete(CONTACT, contact_id))


def creation(*addresses: str, **members: Any) -> CreateContact:
    """Return a command that creates a contact with these addresses."""
    return CreateContact(ContactCreate(emails=items(*addresses), **members))


def items(*addresses: str) -> tuple[ContactRecordUpdateEmail, ...]:
    """Return addresses in the form of a body."""
    return tuple(ContactRecordUpdateEmail(address) for address in addresses)


def contact_of(written: Written) -> Contact:
    """Return the contact of an answer."""
    return msgspec.json.decode(written.body, type=Contact)


def id_of(written: Written) -> UUID:
    """Return the id of the contact of an answer."""
    contact_id = ids.decoded(ids.CONTACT, contact_of(written).id)
    assert contact_id is not None, "the ledger gave it"
    return contact_id


def unstorable() -> CreateContact:
    """Return a command whose row PostgreSQL refuses: it contains a NUL, which the API never lets through."""
    return creation(first_name="A\x00da")


class ChangedMind(Exception):
    """The refusal that the tests' own commands raise."""


class ClaimUnseen(msgspec.Struct, frozen=True):
    """A command with a bug: it claims an address for a new contact without looking at whose it is."""

    address: str

    def needs(self) -> Iterator[Need]:
        yield from ()

    def apply(self, work: UnitOfWork) -> Result:
        result = creation(first_name="Mallory").apply(work)
        (row,) = [row for row in work.changed_in(CONTACTS) if row.version == result.version]
        work.put(ADDRESSES.table, Claim(work.workspace_id, self.address, row.id, None))
        return result


class EnterTwice(msgspec.Struct, frozen=True):
    """A command with a bug: it enters a change twice, which only a save that is not late runs into, at a unique key."""

    def needs(self) -> Iterator[Need]:
        yield from ()

    def apply(self, work: UnitOfWork) -> Result:
        result = creation(first_name="Mallory").apply(work)
        work.changes.append(work.changes[-1])
        return result


class CreateAmong(msgspec.Struct, frozen=True):
    """A command that needs some rows, creates a contact, and notes in which iteration of the event loop it is applied."""

    rows: tuple[Need, ...]
    noted: list[int]
    iterations: list[None]

    def needs(self) -> Iterator[Need]:
        yield from self.rows

    def apply(self, work: UnitOfWork) -> Result:
        self.noted.append(len(self.iterations))
        return creation(first_name="Ada").apply(work)


class Unprepared(msgspec.Struct, frozen=True):
    """Another command, of which no need is named beforehand."""

    command: Any

    def needs(self) -> Iterator[Need]:
        yield from ()

    def apply(self, work: UnitOfWork) -> Result:
        return self.command.apply(work)


class ThinkTwice(msgspec.Struct, frozen=True):
    """A command that applies another one and then refuses: nothing of it may remain."""

    first: CreateContact | UpdateContact | UpdateContactRecord | Delete

    def needs(self) -> Iterator[Need]:
        yield from self.first.needs()

    def apply(self, work: UnitOfWork) -> Result:
        self.first.apply(work)
        raise ChangedMind


class AttemptAll(msgspec.Struct, frozen=True):
    """A command that applies several others, skips those that refuse, and may refuse itself at the end."""

    parts: tuple[CreateContact | UpdateContact | UpdateContactRecord | Delete | ThinkTwice, ...]
    refuses: bool = False

    def needs(self) -> Iterator[Need]:
        for part in self.parts:
            yield from part.needs()

    def apply(self, work: UnitOfWork) -> Result:
        result = Result(0, Deleted("", "contact"))
        for part in self.parts:
            with contextlib.suppress(ChangedMind, Refusal):
                result = work.attempt(part)
        if self.refuses:
            raise ChangedMind
        return result


class NeedNothingKnown(msgspec.Struct, frozen=True):
    """A command with a bug: its `needs` raises."""

    def needs(self) -> Iterator[Need]:
        raise ChangedMind

    def apply(self, work: UnitOfWork) -> Result:
        raise NotImplementedError(work)


class AnswerUnspeakable(msgspec.Struct, frozen=True):
    """A command with a bug: it writes, and then returns an answer that JSON cannot express."""

    def needs(self) -> Iterator[Need]:
        yield from ()

    def apply(self, work: UnitOfWork) -> Result:
        version = creation(first_name="Mallory").apply(work).version
        unspeakable: Any = object()
        return Result(version, Deleted(unspeakable, "contact"))
