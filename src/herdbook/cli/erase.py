"""`herdbook erase` and `herdbook erasures`: persons are forgotten, and stay so after a backup is restored."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from cyclopts import App, Parameter

from herdbook import ids
from herdbook.addresses import NotAnAddress, comparable_address
from herdbook.cli.database import database as open_database
from herdbook.cli.database import with_connection, workspace_called
from herdbook.cli.environment import CommandFailed, environment
from herdbook.db.pool import Connection, Pool, open_pool
from herdbook.engagements.store import needing_recordings
from herdbook.erasure import store
from herdbook.erasure.commands import AddressErased
from herdbook.erasure.erasing import (
    certificate,
    certificate_of_address,
    command_for,
    command_for_address,
    erase_again,
    finish_address,
    finished,
    not_erasable,
    preview,
)
from herdbook.erasure.model import Certificate
from herdbook.erasure.scrub_store import EarlierMomentRead, scrub_log, scrubbed_tables
from herdbook.erasure_list import NAME, ErasureList
from herdbook.errors import NotFound, Refusal
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Origin
from herdbook.media_sweep import files_of, sweep
from herdbook.settings import DatabaseSettings

T = TypeVar("T")
_Database = Annotated[DatabaseSettings, Parameter(name="*")]

app = App(name="erasures", help="Carry the list of erasures past a backup, and remove erased bytes.", version_flags=[])


class _Place(NamedTuple):
    """The database of an erasure, and the list outside of it."""

    pool: Pool
    ledger: Ledger
    erasures: ErasureList


def erase(  # one argument per option
    person: str,
    *,
    engagements: Annotated[bool, Parameter(name=("--engagements", "--with-engagements"))] = False,
    dry_run: bool = False,
    workspace: str | None = None,
    database: _Database = DatabaseSettings(),
) -> None:
    """Erase a person for good, and print a certificate for each contact.

    Parameters
    ----------
    person
        A contact's id, or an e-mail address: it erases all contacts that have or had it, deleted and merged ones, too, and
        participants without a contact.
    engagements
        Erase the engagements that are linked to the contacts as well, with their transcripts, comments and recordings.
        Otherwise only the person's participation goes.
    dry_run
        Show what would be erased, and change nothing.
    workspace
        The workspace's id; not needed if there is only one.

    """
    contact_id = ids.decoded(ids.CONTACT, person)
    try:
        address = "" if contact_id is not None else comparable_address(person.strip())
    except NotAnAddress:
        raise CommandFailed(f"`{person}` is neither the id of a contact nor an e-mail address.") from None

    async def meant(connection: Connection) -> tuple[UUID, list[UUID]]:
        workspace_id = await workspace_called(connection, workspace)
        if contact_id is not None:
            return workspace_id, [contact_id]
        return workspace_id, sorted(await store.contacts_known_by(connection, workspace_id, address))

    with open_database(database) as url:
        if not dry_run:
            _require_list(database)
        workspace_id, contact_ids = with_connection(DatabaseSettings(database_url=url), meant)
        certificates: list[Certificate] = []

        async def erase_each(place: _Place) -> None:
            async for each in _erasures(place, _Asked(workspace_id, contact_ids, address, engagements, dry_run)):
                certificates.append(each)  # noqa: PERF401  # those before a refusal are shown, too
            gone = [each for done in certificates for each in ids.decoded_all(ids.ENGAGEMENT, done.engagement_ids)]
            if not dry_run:
                folder = database.data_dir / "media"
                await sweep(folder, partial(needing_recordings, place.pool), files_of(folder, workspace_id, gone))

        try:
            asyncio.run(_at_place(url, database.data_dir, erase_each))
        finally:
            if certificates:
                environment.say(msgspec.json.format(msgspec.json.encode(certificates), indent=2).decode())
    if not certificates:
        raise CommandFailed(f"No contact has or had the address `{person}`, and no participant has it.")


def _require_list(database: DatabaseSettings) -> None:
    """Refuse an erasure that a restored database could not learn of."""
    path = database.data_dir / NAME
    try:
        ErasureList(path).check()
    except OSError as error:
        raise CommandFailed(
            f"The list of erasures `{path}` cannot be written: {error.strerror}. Nothing was erased. Choose the data folder of "
            "the server with --data-dir, or create the folder."
        ) from None


class _Asked(NamedTuple):
    """The contacts to erase, the address if one was asked for, and how."""

    workspace_id: UUID
    contact_ids: Sequence[UUID]
    address: str
    with_engagements: bool
    is_dry_run: bool


async def _erasures(place: _Place, asked: _Asked) -> AsyncGenerator[Certificate]:
    """Erase the contacts, then the participants without a contact, and yield each certificate."""
    erase_contact = _preview if asked.is_dry_run else _erased
    for each in asked.contact_ids:
        yield await erase_contact(place, asked.workspace_id, each, with_engagements=asked.with_engagements)
    if asked.address and (further := await _address_erased(place, asked)) is not None:
        yield further


async def _preview(place: _Place, workspace_id: UUID, contact_id: UUID, *, with_engagements: bool) -> Certificate:
    command = await command_for(place.pool, workspace_id, contact_id, with_engagements=with_engagements)
    if (refusal := await not_erasable(place.pool, workspace_id, command)) is not None:
        raise refusal
    return await preview(command, ids.new_id(), None)


async def _erased(place: _Place, workspace_id: UUID, contact_id: UUID, *, with_engagements: bool) -> Certificate:
    command = await command_for(place.pool, workspace_id, contact_id, with_engagements=with_engagements)
    try:
        # Access to the database's files is enough; no credential is needed.
        await place.ledger.write(workspace_id, command, Origin(request_id=ids.new_id(), credential_id=ids.NIL))
    except NotFound as error:
        raise await not_erasable(place.pool, workspace_id, command) or error from None
    await finished(place.pool, place.ledger, place.erasures, (workspace_id, [contact_id]))
    done = await certificate(place.pool, workspace_id, contact_id)
    assert done is not None, "the command keeps the erasure"
    return done


async def _address_erased(place: _Place, asked: _Asked) -> Certificate | None:
    """Erase the participants with an address. Return the certificate, or None if there are none."""
    workspace_id = asked.workspace_id
    command = await command_for_address(place.pool, workspace_id, asked.address)
    has_rows = any(command.found.rows.values())
    if asked.is_dry_run:
        return await preview(command, ids.new_id(), None) if has_rows else None
    # The list keeps the address, too, so that contacts with it do not come back with an earlier backup.
    if has_rows or asked.contact_ids:
        origin = Origin(request_id=ids.new_id(), credential_id=ids.NIL)
        written = await place.ledger.write(workspace_id, command, origin)
        task_id = msgspec.json.decode(written.body, type=AddressErased).task_id
        await finish_address(place.pool, place.ledger, place.erasures, workspace_id, task_id, origin)
    return await certificate_of_address(place.pool, workspace_id, asked.address) if has_rows else None


@app.command
def export(file: Path, *, database: _Database = DatabaseSettings()) -> None:
    """Add the erasures to a list in a file, which names nobody. Keep it beside the backups, and secret: it has the hashes' key.

    Parameters
    ----------
    file
        The file to write. Erasures that it has already stay in it.

    """
    listed = with_connection(database, store.listed)
    try:
        ErasureList(file).add(listed)
    except OSError as error:
        raise CommandFailed(f"`{file}` cannot be written: {error.strerror}. Choose a file in a folder that exists.") from None
    environment.say(f"`{file}` has the erasures of this database: {len(listed)} hashes of ids and addresses.")


@app.command
def apply(file: Path, *, database: _Database = DatabaseSettings()) -> None:
    """Erase again those whom a list has and the database does not, because it was restored from an earlier backup.

    Parameters
    ----------
    file
        A file that `herdbook erasures export` wrote, or `erasures.jsonl` of another data folder.

    """
    if not file.is_file():
        raise CommandFailed(f"There is no file `{file}`.")
    listed = ErasureList(file).read()

    async def again(place: _Place) -> int:
        many = await erase_again(place.pool, place.ledger, place.erasures, listed)
        await sweep(database.data_dir / "media", partial(needing_recordings, place.pool))
        return many

    with open_database(database) as url:
        _require_list(database)
        # Refuse a database whose schema is not up to date.
        with_connection(DatabaseSettings(database_url=url), store.read_key)
        many = asyncio.run(_at_place(url, database.data_dir, again))
    environment.say(f"Contacts erased again: {many}")


@app.command
def scrub(*, database: _Database = DatabaseSettings()) -> None:
    """Remove the bytes of erased rows from the files of the database. Each table is out of reach while it is rewritten."""

    async def rewrite(connection: Connection) -> None:
        try:
            async for table, seconds in scrubbed_tables(connection):
                environment.say(f"{table}: {seconds:.1f} s")
        except EarlierMomentRead:
            raise CommandFailed(
                "Another program reads an earlier moment of the database, such as a backup, and needs the erased rows. Nothing "
                "was rewritten. Run the command again once it has ended."
            ) from None
        if database.database_url is None:
            await scrub_log(connection)
            environment.say("The write-ahead log has begun anew.")
        else:
            environment.say("The write-ahead log, its archive and replicas are yours to renew.")

    with_connection(database, rewrite)


async def _at_place(url: str, data_dir: Path, act: Callable[[_Place], Awaitable[T]]) -> T:
    pool = await open_pool(url, size=3)
    ledger = Ledger(pool, queue_limit=10)
    ledger.open()
    try:
        return await act(_Place(pool, ledger, ErasureList(data_dir / NAME)))
    except Refusal as refusal:
        raise CommandFailed(refusal.detail) from None
    finally:
        await ledger.close()
        await pool.close()
