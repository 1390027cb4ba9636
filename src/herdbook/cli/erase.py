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
from herdbook.counts import number_of
from herdbook.db.distribution import on_each_node
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
    sweep_uploads,
)
from herdbook.erasure.model import Certificate, unread_files
from herdbook.erasure.places import OF_IMPORTS
from herdbook.erasure.scrub_store import EarlierMomentRead, scrub_log, scrubbed_tables
from herdbook.erasure.store import DescribedContact, contacts_known_by, described
from herdbook.erasure_list import NAME, ErasureList, ErasureListCut
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
    yes: bool = False,
    workspace: str | None = None,
    database: _Database = DatabaseSettings(),
) -> None:
    """Erase a person for good, and print a certificate for each contact.

    Parameters
    ----------
    person
        A contact's id, or an e-mail address: it erases all contacts that have or had it, deleted and merged ones, too, and
        participants without a contact. All imports of the workspace go with their files, because any row may be about the
        person.
    engagements
        Erase the engagements that are linked to the contacts as well, with their transcripts, comments and recordings.
        Otherwise only the person's participation goes.
    dry_run
        Show what would be erased, and change nothing.
    yes
        Erase several contacts with the address without a question.
    workspace
        The workspace's id; not needed if there is only one.

    """
    contact_id = ids.decoded(ids.CONTACT, person)
    try:
        address = "" if contact_id is not None else comparable_address(person.strip())
    except NotAnAddress:
        raise CommandFailed(f"`{person}` is neither the id of a contact nor an e-mail address.") from None

    async def meant(connection: Connection) -> tuple[UUID, list[UUID], list[DescribedContact]]:
        workspace_id = await workspace_called(connection, workspace)
        found = [contact_id] if contact_id is not None else sorted(await contacts_known_by(connection, workspace_id, address))
        return workspace_id, found, await described(connection, workspace_id, found)

    with open_database(database) as url:
        if not dry_run:
            _require_list(database)
        workspace_id, contact_ids, contacts = with_connection(DatabaseSettings(database_url=url), meant)
        _introduce(contacts, is_dry_run=dry_run)
        if not (dry_run or yes):
            _require_consent(person, len(contacts))
        certificates: list[Certificate] = []

        async def erase_each(place: _Place) -> None:
            async for each in _erasures(place, _Asked(workspace_id, contact_ids, address, engagements, dry_run)):
                certificates.append(each)  # noqa: PERF401  # those before a refusal are shown, too
            gone = [each for done in certificates for each in ids.decoded_all(ids.ENGAGEMENT, done.engagement_ids)]
            if not dry_run:
                folder = database.data_dir / "media"
                await sweep(folder, partial(needing_recordings, place.pool), files_of(folder, workspace_id, gone))
                await sweep_uploads(place.pool, database.data_dir / "imports")

        try:
            asyncio.run(_at_place(url, database.data_dir, erase_each))
        finally:
            if certificates:
                environment.say(msgspec.json.format(msgspec.json.encode(certificates), indent=2).decode())


def _introduce(contacts: Sequence[DescribedContact], *, is_dry_run: bool) -> None:
    """Show by name whom a dry run means, or an erasure of several contacts, beside the certificates."""
    for each in contacts if is_dry_run or len(contacts) > 1 else ():
        known = [each.name, *each.addresses, *(["deleted"] if each.is_deleted else [])]
        environment.complain(f"{ids.encoded(ids.CONTACT, each.id)}  {', '.join(dict.fromkeys(known))}")
    if len(contacts) > 1:
        environment.complain("Check that these contacts are one person.")


def _require_consent(person: str, many: int) -> None:
    """Ask whether several contacts are to be erased, or refuse them where nobody can answer."""
    if many < 2:  # several
        return
    if environment.is_terminal and environment.confirms(f"Erase these {many} contacts for good?"):
        return
    remedy = "Erase one of them by its id, or all of them with --yes."
    raise CommandFailed(f"`{person}` means {many} contacts. Nothing was erased. {remedy}")


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
    return await preview(place.pool, command, Origin(ids.new_id(), ids.NIL))


async def _erased(place: _Place, workspace_id: UUID, contact_id: UUID, *, with_engagements: bool) -> Certificate:
    command = await command_for(place.pool, workspace_id, contact_id, with_engagements=with_engagements)
    try:
        # Access to the database's files is enough; no credential is needed.
        await place.ledger.write(workspace_id, command, Origin(request_id=ids.new_id(), credential_id=ids.NIL))
    except NotFound as error:
        raise await not_erasable(place.pool, workspace_id, command) or error from None
    is_listed = await finished(place.pool, place.ledger, place.erasures, (workspace_id, [contact_id]))
    done = await certificate(place.pool, workspace_id, contact_id, is_listed=is_listed)
    assert done is not None, "the command keeps the erasure"
    return done


async def _address_erased(place: _Place, asked: _Asked) -> Certificate | None:
    """Erase the participants with an address. Return the certificate, or None if only contacts had it.

    Refusal: CommandFailed, if nothing has it.
    """
    workspace_id = asked.workspace_id
    command = await command_for_address(place.pool, workspace_id, asked.address)
    # An address with a slip in it must not take the imports along, which are there in any case.
    has_rows = any(many for table, many in command.found.rows.items() if table not in OF_IMPORTS)
    if not (has_rows or asked.contact_ids):
        raise _nobody(asked.address, [each.id for each in command.found.imports])
    if asked.is_dry_run:
        return await preview(place.pool, command, Origin(ids.new_id(), ids.NIL)) if has_rows else None
    # The list keeps the address, too, so that contacts with it do not come back with an earlier backup.
    origin = Origin(request_id=ids.new_id(), credential_id=ids.NIL)
    written = await place.ledger.write(workspace_id, command, origin)
    task_id = msgspec.json.decode(written.body, type=AddressErased).task_id
    is_listed = await finish_address(place.pool, place.ledger, place.erasures, workspace_id, task_id, origin)
    return await certificate_of_address(place.pool, workspace_id, asked.address, is_listed=is_listed) if has_rows else None


def _nobody(address: str, import_ids: Sequence[str]) -> CommandFailed:
    """Return the refusal for an address that nothing has. It names the imports, whose files are not searched."""
    unread = f" {unread_files(import_ids)}" if import_ids else ""
    return CommandFailed(f"No contact has or had the address `{address}`, and no participant has it.{unread}")


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
    environment.say(
        f"`{file}` has the erasures of this database: {number_of(len(listed), 'hash', 'hashes')} of ids and addresses."
    )


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
    try:
        listed = ErasureList(file).read_copy()
    except ErasureListCut as cut:
        raise CommandFailed(str(cut)) from None

    async def again(place: _Place) -> int:
        many = await erase_again(place.pool, place.ledger, place.erasures, listed)
        await sweep(database.data_dir / "media", partial(needing_recordings, place.pool))
        await sweep_uploads(place.pool, database.data_dir / "imports")
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
        rewritten = "Nothing was"
        try:
            async with on_each_node(database.direct_url or "", connection) as nodes:
                for node in nodes:
                    async for table, seconds in scrubbed_tables(node):
                        environment.say(f"{table}: {seconds:.1f} s")
                    rewritten = "Only some nodes were"
        except EarlierMomentRead:
            raise CommandFailed(
                "Another program reads an earlier moment of the database, such as a backup, and needs the erased rows. "
                f"{rewritten} rewritten. Run the command again once it has ended."
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
