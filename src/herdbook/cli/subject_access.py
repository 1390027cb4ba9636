"""`herdbook subject-access`: everything that is kept about a person, as JSON and as a page."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from herdbook import ids
from herdbook.addresses import NotAnAddress, comparable_address
from herdbook.cli.database import with_connection, workspace_called
from herdbook.cli.environment import CommandFailed, environment
from herdbook.contacts.store import CONTACT
from herdbook.counts import number_of
from herdbook.db.pool import Connection
from herdbook.erasure.erasing import not_found
from herdbook.erasure.model import unread_files
from herdbook.settings import DatabaseSettings
from herdbook.subject_access import store
from herdbook.subject_access.about import Retention, about_record
from herdbook.subject_access.others import Withholder
from herdbook.subject_access.page import About, Digest
from herdbook.subject_access.record import Record, zipped


def subject_access(  # one argument per option
    person: str,
    to: Path = Path("subject-access"),
    *,
    workspace: str | None = None,
    history_days: int = 90,
    deleted_days: int | None = None,
    database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings(),
) -> None:
    """Write everything that is kept about a person: `data.json`, and `index.html` for the person to read. Change nothing.

    Parameters
    ----------
    person
        A contact's id, or an e-mail address: it means all contacts that have or had it, deleted and merged ones, too.
    to
        The folder to write or, if it ends with `.zip`, the file. It must not exist yet, and only its owner may read it.
    workspace
        The workspace's id; not needed if there is only one.
    history_days
        The setting of the server, which the page tells.
    deleted_days
        Likewise; by default as many as --history-days.

    """
    contact_id = ids.decoded(ids.CONTACT, person)
    try:
        address = "" if contact_id is not None else comparable_address(person.strip())
    except NotAnAddress:
        raise CommandFailed(f"`{person}` is neither the id of a contact nor an e-mail address.") from None
    if to.exists():
        raise CommandFailed(f"`{to}` exists. Name a new folder, or a new file that ends with `.zip`.")
    if not to.parent.is_dir():
        raise CommandFailed(f"There is no folder `{to.parent}`. Create it, or name another one.")
    retention = Retention(history_days, history_days if deleted_days is None else deleted_days)

    async def write(connection: Connection, folder: Path) -> tuple[About, Digest]:
        async with store.snapshot(connection):
            workspace_id = await workspace_called(connection, workspace)
            if contact_id is not None:
                subject = await store.subject_with_contact(connection, workspace_id, contact_id)
                if not subject.contact_ids:
                    raise CommandFailed((await not_found(connection, workspace_id, CONTACT, contact_id)).detail)
            else:
                subject = await store.subject_with_address(connection, workspace_id, address)
            about = await about_record(connection, workspace_id, subject, person.strip(), retention)
            record = Record(folder, database.data_dir / "media" / workspace_id.hex)
            rows = store.rows_of(connection, workspace_id, subject)
            digest = await record.write(about, rows, Withholder(subject), partial(store.words_of, connection, workspace_id))
        if not any(digest.rows.values()):
            unread = f" {unread_files(about.unread_imports)}" if about.unread_imports else ""
            raise CommandFailed(f"Nothing is kept about the address `{person}`.{unread}")
        return about, digest

    # It is on the same file system as the target, so that this appears as a whole.
    with _scratch(to.parent) as scratch:
        folder = Path(scratch) / "record"
        folder.mkdir(mode=0o700)
        about, digest = with_connection(database, lambda connection: write(connection, folder))
        whole = folder
        if to.suffix == ".zip":
            whole = Path(scratch) / "record.zip"
            zipped(folder, whole)
        whole.rename(to)
    _report(to, about, digest)


def _scratch(folder: Path) -> "tempfile.TemporaryDirectory[str]":
    """Create a folder that is removed at its end. Refusal: CommandFailed."""
    try:
        return tempfile.TemporaryDirectory(prefix=".subject-access-", dir=folder)
    except OSError as error:
        raise CommandFailed(f"The folder `{folder}` cannot be written: {error.strerror}. Name another one.") from None


def _report(to: Path, about: About, digest: Digest) -> None:
    found = ", ".join(about.contact_ids) or "none"
    environment.say(f"`{to}` has {number_of(sum(digest.rows.values()), 'entry', 'entries')}. Contacts: {found}.")
    if digest.missing_recordings:
        missing = ", ".join(digest.missing_recordings)
        environment.say(f"These recordings are not in the data folder; name it with --data-dir: {missing}.")
    if about.unread_imports:
        environment.say(unread_files(about.unread_imports))
    environment.say("Check that these contacts are one person, and fill in the marked places, before you hand it over.")
